/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_death - how fast the broker is rid of a client that was killed
 *
 * Purpose     A client with a resident region and page runs gets SIGKILL. Measured from there:
 *             until its session is gone from the books, and until its memory is back, beside the
 *             limits that are promised (100 ms; 4 GiB/s).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/clock.h"
#include "lib/raw.h"
#include "mmbroker.h"
#include "suites.h"

#define GiB              (1ull << 30)
#define BOOKS_LIMIT_MS   100.0
#define RATE_LIMIT       4.0 /* GiB/s */

enum {
	BOOKS_MS, /* figures */
	RATE,
	RUNS = 64,
	RUN_ORDER = 3,
	READY_MS = 30000,
	GONE_MS = 10000,
	POLL_NS = 2000000, /* of the books: they take their share of a CPU too */
};

struct victim {
	const char *socket;
	uint64_t    bytes;
	int         ready; /* pipe: a byte when everything is there */
};

static int victim_child(void *arg, struct sample *out)
{
	const struct victim *v = arg;
	struct mmb_region_options options = { .size = sizeof(options),
					      .flags = MMB_REGION_POPULATE };
	struct mmb_region *region;
	struct mmb_pool *pool;
	struct mmb *mmb;
	int error = mmb_open(v->socket, NULL, &mmb);

	if (error == 0)
		error = mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool);
	if (error == 0)
		error = mmb_region_create(pool, v->bytes, &options, &region);
	for (int i = 0; i < RUNS && error == 0; i++)
		error = mmb_alloc_pages(pool, RUN_ORDER, 0) ? 0 : -errno;
	if (error != 0)
		return bench_because(error, "the victim: %s", mmb_error());
	memset(mmb_region_address(region), 1, v->bytes);
	if (write(v->ready, "r", 1) != 1)
		return bench_because(-errno, "the victim's pipe");
	for (;;)
		pause();
}

/* Polls the books until sessions and memory are as before. */
static int watch(struct raw *raw, const struct raw_status *before, uint64_t bytes,
		 struct sample *out)
{
	uint64_t killed = clock_ns();
	struct raw_status now;
	int error = raw_status(raw, &now);

	while (error == 0) {
		uint64_t ns = clock_ns() - killed;

		if (out->v[BOOKS_MS] == 0 && now.sessions <= before->sessions)
			out->v[BOOKS_MS] = (double)ns / 1e6;
		if (out->v[BOOKS_MS] != 0 && now.present <= before->present) {
			out->v[RATE] = (double)bytes / (double)GiB * 1e9 / (double)ns;
			return 0;
		}
		if (ns > GONE_MS * 1000000ull)
			return bench_because(-ETIMEDOUT, "%lld KiB not back after %d s",
					     (long long)(now.present - before->present) / 1024,
					     GONE_MS / 1000);
		clock_sleep_until(clock_ns() + POLL_NS);
		error = raw_status(raw, &now);
	}
	return error;
}

static int kill_and_watch(struct raw *raw, const struct raw_status *before, struct child *victim,
			  struct sample *out)
{
	struct sample ignored;
	struct raw_status full;
	int error = raw_status(raw, &full);

	kill(victim->pid, SIGKILL);
	if (error == 0)
		error = watch(raw, before, full.present - before->present, out);
	child_finish(victim, READY_MS, &ignored);
	return error;
}

static int death_side(struct bench *b, const void *arg, struct sample *out)
{
	struct victim job = { .socket = b->socket, .bytes = *(const uint64_t *)arg };
	struct raw_status before;
	struct sample ignored;
	struct child victim;
	struct raw *raw;
	int ready[2], error = raw_open(b->socket, &raw);
	char byte;

	if (error == 0)
		error = raw_status(raw, &before);
	if (error == 0 && pipe(ready) != 0)
		error = bench_because(-errno, "pipe: %s", strerror(errno));
	if (error != 0)
		goto out;
	job.ready = ready[1];
	error = child_start(&victim, victim_child, &job);
	close(ready[1]);
	if (error == 0) {
		if (read(ready[0], &byte, 1) == 1)
			error = kill_and_watch(raw, &before, &victim, out);
		else
			error = child_finish(&victim, READY_MS, &ignored);
	}
	close(ready[0]);
out:
	raw_close(raw);
	return error;
}

void suite_death(struct bench *b)
{
	const uint64_t bytes = b->quick ? GiB / 8 : GiB;
	const struct side side = { "mmbroker", death_side, &bytes };
	const struct comparison comparisons[] = {
		{ .metric = "books", .unit = "ms", .ours = { 0, BOOKS_MS }, .peer_name = "limit",
		  .constant = BOOKS_LIMIT_MS, .goal = 1.0 },
		{ .metric = "memory back", .unit = "GiB/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, RATE }, .peer_name = "limit", .constant = RATE_LIMIT, .goal = 1.0 },
	};

	bench_run(b, &(struct bench_case){ b->quick ? "killed with 128 MiB" : "killed with 1 GiB",
					   &side, 1, comparisons, 2, 0 });
}
