/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_rpc - what asking the broker costs
 *
 * Purpose     The round trip of the smallest request beside a bare socket ping-pong, and connect
 *             plus first region beside three such round trips plus 50 us, and beside the system
 *             calls that it takes alone (connect_floor.h). With client and broker
 *             on one CPU, on two, and (without a goal, for the placement isn't the same then)
 *             where the scheduler puts them.
 * Goals       1.3 times the bare round trip; connect and first region within the sum above.
 */
#include <errno.h>
#include <stdlib.h>

#include "connect_floor.h"
#include "lib/child.h"
#include "lib/clock.h"
#include "lib/place.h"
#include "lib/raw.h"
#include "lib/stats.h"
#include "mmbroker.h"
#include "pingpong.h"
#include "suites.h"

#define GOAL_ROUND_TRIP (1 / 1.3)
#define GOAL_CONNECT    1.0

enum {
	P50 = PINGPONG_P50,
	P99 = PINGPONG_P99,
	CHILD_MS = 60000,
	FIRST_REGION = 64 << 10,
	SETTLE_PINGS = 30,
};

/* One of ours: where it runs and how often. */
struct rpc_args {
	int          place, daemon_place; /* CPUs, or PLACE_ANYWHERE */
	unsigned int rounds;
	const char  *socket; /* set here */
	uint64_t    *ns;     /* set here */
};

struct placement {
	int         client, daemon;
	bool        goals;
	const char *ping, *connect; /* names of the cases */
};

static void keep_percentiles(uint64_t *ns, unsigned int nr, struct sample *out)
{
	stats_sort(ns, nr);
	out->v[P50] = (double)stats_permille(ns, nr, 500);
	out->v[P99] = (double)stats_permille(ns, nr, 990);
}

/* ---- the daemon's threads go where ours go, for one measurement ---- */

static int place_daemon(const struct bench *b, int place, struct place_saved *saved)
{
	struct raw_status status;
	struct raw *raw;
	int error;

	saved->nr = 0;
	if (place == PLACE_ANYWHERE)
		return 0;
	error = raw_open(b->socket, &raw);
	if (error == 0)
		error = raw_status(raw, &status);
	raw_close(raw);
	if (error != 0)
		return error;
	if (place_process((pid_t)status.pid, place, saved) != 0)
		return bench_because(BENCH_SKIP, "may not place the daemon's threads");
	return 0;
}

static int measure_placed(struct bench *b, const struct rpc_args *args, child_fn run,
			  struct sample *out)
{
	struct rpc_args job = *args;
	struct place_saved saved;
	int error = place_daemon(b, args->daemon_place, &saved);

	if (error != 0)
		return error;
	job.socket = b->socket;
	job.ns = calloc(args->rounds, sizeof(*job.ns));
	error = job.ns ? child_run(run, &job, CHILD_MS, out) : bench_because(-ENOMEM, "memory");
	free(job.ns);
	place_restore(&saved);
	return error;
}

/* ---- PING ---- */

static int ping_child(void *arg, struct sample *out)
{
	const struct rpc_args *args = arg;
	struct raw *raw;
	int error;

	place_self(args->place);
	error = raw_open(args->socket, &raw);
	for (unsigned int i = 0; error == 0 && i < args->rounds; i++) {
		uint64_t before = clock_ns();

		error = raw_ping(raw);
		args->ns[i] = clock_ns() - before;
	}
	raw_close(raw);
	if (error == 0)
		keep_percentiles(args->ns, args->rounds, out);
	return error;
}

static int ping_side(struct bench *b, const void *arg, struct sample *out)
{
	return measure_placed(b, arg, ping_child, out);
}

/* ---- connect, open a pool, create the first region ---- */

static int first_region(const char *socket, uint64_t *ns)
{
	uint64_t before = clock_ns();
	struct mmb *mmb;
	struct mmb_pool *pool = NULL;
	struct mmb_region *region = NULL;
	int error = mmb_open(socket, NULL, &mmb);

	if (error != 0)
		return bench_because(error, "mmb_open: %s", mmb_error());
	error = mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool);
	if (error == 0)
		error = mmb_region_create(pool, FIRST_REGION, NULL, &region);
	*ns = clock_ns() - before;
	if (error != 0)
		bench_because(error, "first region: %s", mmb_error());
	else
		mmb_region_close(region);
	if (pool != NULL)
		mmb_pool_close(pool);
	mmb_close(mmb);
	return error;
}

/* What the broker does when a session has ended is no part of the next one's beginning. Requests,
 * rather than a pause, let it have the CPU and keep both sides as warm as they were. */
static int settle(struct raw *raw)
{
	int error = 0;

	for (unsigned int i = 0; error == 0 && i < SETTLE_PINGS; i++)
		error = raw_ping(raw);
	return error;
}

static int connect_child(void *arg, struct sample *out)
{
	const struct rpc_args *args = arg;
	struct raw *raw;
	int error;

	place_self(args->place);
	error = raw_open(args->socket, &raw);
	for (unsigned int i = 0; error == 0 && i < args->rounds; i++) {
		error = first_region(args->socket, &args->ns[i]);
		if (error == 0)
			error = settle(raw);
	}
	raw_close(raw);
	if (error == 0)
		keep_percentiles(args->ns, args->rounds, out);
	return error;
}

static int connect_side(struct bench *b, const void *arg, struct sample *out)
{
	return measure_placed(b, arg, connect_child, out);
}

static void compare_placed(struct bench *b, const struct placement *where)
{
	enum { PING, CONNECT, BARE, FLOOR, NR_SIDES };
	const struct rpc_args pings = { .place = where->client, .daemon_place = where->daemon,
					.rounds = b->quick ? 500 : 5000 };
	const struct rpc_args connects = { .place = where->client, .daemon_place = where->daemon,
					   .rounds = b->quick ? 10 : 100 };
	const struct pingpong_args bare = { .place = where->client, .peer_place = where->daemon,
					    .rounds = pings.rounds };
	const struct connect_floor_args floor = { .place = where->client,
						  .peer_place = where->daemon,
						  .rounds = connects.rounds };
	const struct side sides[NR_SIDES] = {
		[PING] = { "mmbroker", ping_side, &pings },
		[CONNECT] = { "mmbroker", connect_side, &connects },
		[BARE] = { "bare socket ping-pong", pingpong_side, &bare },
		[FLOOR] = { "its system calls alone", connect_floor_side, &floor },
	};
	const struct comparison comparisons[] = {
		{ .name = where->ping, .metric = "p50", .unit = "ns", .ours = { PING, P50 },
		  .peer = { BARE, PINGPONG_P50 }, .goal = where->goals ? GOAL_ROUND_TRIP : 0 },
		{ .name = where->ping, .metric = "p99", .unit = "ns", .ours = { PING, P99 },
		  .peer = { BARE, PINGPONG_P99 } },
		{ .name = where->connect, .metric = "p50", .unit = "ns", .ours = { CONNECT, P50 },
		  .peer = { BARE, PINGPONG_CONNECT }, .peer_name = "3 bare round trips + 50 us",
		  .goal = where->goals ? GOAL_CONNECT : 0 },
		{ .name = where->connect, .metric = "p50", .unit = "ns", .ours = { CONNECT, P50 },
		  .peer = { FLOOR, CONNECT_FLOOR_P50 } },
	};

	bench_run(b, &(struct bench_case){ where->ping, sides, NR_SIDES, comparisons,
					   sizeof(comparisons) / sizeof(comparisons[0]), 0 });
}

void suite_rpc(struct bench *b)
{
	static const struct placement placements[] = {
		{ 0, 0, true, "ping, one CPU", "connect and first region, one CPU" },
		{ 0, 1, true, "ping, two CPUs", "connect and first region, two CPUs" },
		{ PLACE_ANYWHERE, PLACE_ANYWHERE, false, "ping, unpinned",
		  "connect and first region, unpinned" },
	};

	for (unsigned int i = 0; i < sizeof(placements) / sizeof(placements[0]); i++)
		compare_placed(b, &placements[i]);
}
