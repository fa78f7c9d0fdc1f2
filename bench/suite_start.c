/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_start - how long until the first request is served, and until all are served again
 *
 * Purpose     From fork to the reply to HELLO, in both reserve modes. `account` beside a fixed
 *             limit; `hold` beside the kernel populating as much of a memfd, by fallocate and
 *             through a mapping (MADV_POPULATE_WRITE). From SIGKILL for the worker of a supervised
 *             broker until each of 64 sessions has touched a page that wasn't there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crowd.h"
#include "lib/broker.h"
#include "lib/child.h"
#include "lib/clock.h"
#include "suites.h"

#define GiB              (1ull << 30)
#define ACCOUNT_RESERVE  (16 * GiB)
#define ACCOUNT_LIMIT_MS 100.0
#define RESUME_LIMIT_MS  1000.0
#define NS_PER_MS        1e6

enum { CHILD_MS = 60000 };

struct start_args {
	uint64_t    bytes;
	const char *mode; /* of the broker */
	bool        fallocates; /* the kernel's way; otherwise it populates a mapping */
};

static int start_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct start_args *args = arg;
	struct broker broker;
	int error = broker_start(&broker, &(struct broker_config){ .reserve = args->bytes,
								   .mode = args->mode });

	if (error != 0)
		return error;
	out->v[0] = (double)broker.ready_ns / NS_PER_MS;
	return broker_stop(&broker);
}

static int populate_child(void *arg, struct sample *out)
{
	const struct start_args *args = arg;
	int fd = memfd_create("populate", MFD_CLOEXEC);
	uint64_t before = clock_ns();
	void *map = MAP_FAILED;
	int error = ftruncate(fd, (off_t)args->bytes);

	if (error == 0 && args->fallocates)
		error = fallocate(fd, 0, 0, (off_t)args->bytes);
	if (error == 0 && !args->fallocates) {
		map = mmap(NULL, args->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		error = map == MAP_FAILED || madvise(map, args->bytes, MADV_POPULATE_WRITE);
	}
	out->v[0] = (double)(clock_ns() - before) / NS_PER_MS;
	return error ? bench_because(-errno, "populating: %s", strerror(errno)) : 0;
}

static int populate_side(struct bench *b, const void *arg, struct sample *out)
{
	struct start_args args = *(const struct start_args *)arg;

	return child_run(populate_child, &args, CHILD_MS, out);
}

/* What the host could give now. */
static uint64_t available(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f != NULL && kib == 0 && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
			kib = 0;
	if (f != NULL)
		fclose(f);
	return kib << 10;
}

static void start_account(struct bench *b)
{
	const struct start_args args = { .bytes = ACCOUNT_RESERVE, .mode = "account" };
	const struct side side = { "mmbroker", start_side, &args };
	const struct comparison comparison = { .metric = "ready", .unit = "ms",
					       .peer_name = "limit",
					       .constant = ACCOUNT_LIMIT_MS, .goal = 1.0 };
	static const char name[] = "account, 16 GiB";

	if (available() < ACCOUNT_RESERVE)
		bench_skip(b, name, "less than 16 GiB of memory available");
	else
		bench_run(b, &(struct bench_case){ name, &side, 1, &comparison, 1, 0 });
}

static void start_hold(struct bench *b)
{
	const uint64_t bytes = b->quick ? GiB / 4 : 2 * GiB;
	const struct start_args args = { .bytes = bytes, .mode = "hold" };
	const struct start_args fallocates = { .bytes = bytes, .fallocates = true };
	const struct side sides[] = {
		{ "mmbroker", start_side, &args },
		{ "kernel populates a memfd mapping", populate_side, &args },
		{ "kernel fallocates a memfd", populate_side, &fallocates },
	};
	const struct comparison comparisons[] = {
		{ .metric = "ready", .unit = "ms", .peer = { 1, 0 }, .goal = 1.0 },
		{ .metric = "ready", .unit = "ms", .peer = { 2, 0 } },
	};
	const char *name = b->quick ? "hold, 256 MiB" : "hold, 2 GiB";

	if (available() < 2 * bytes)
		bench_skip(b, name, "not enough memory available");
	else
		bench_run(b, &(struct bench_case){ name, sides, 3, comparisons, 2, 0 });
}

/* ---- resume ---- */

static int kill_and_turn(struct broker *broker, struct crowd *crowd, struct sample *out)
{
	uint64_t first, last, killed = clock_ns();
	int error = broker_kill_worker(broker);

	if (error == 0)
		error = crowd_turn(crowd, &first, &last);
	if (error == 0) {
		out->v[0] = (double)(last - killed) / NS_PER_MS;
		out->v[1] = (double)(first - killed) / NS_PER_MS;
	}
	return error;
}

static uint64_t resume_reserve(const struct crowd_shape *shape)
{
	uint64_t spanned = shape->bytes * shape->sessions * shape->regions;

	return spanned + spanned / 16;
}

static int resume_side(struct bench *b, const void *arg, struct sample *out)
{
	struct crowd_shape shape = *(const struct crowd_shape *)arg;
	struct crowd *crowd = NULL;
	struct broker broker;
	int stopped, error;

	error = broker_start(&broker, &(struct broker_config){ .reserve = resume_reserve(&shape),
							       .mode = "account",
							       .supervised = true });
	if (error != 0)
		return error;
	shape.socket = broker.socket;
	error = crowd_start(&shape, &crowd);
	if (error == 0)
		error = kill_and_turn(&broker, crowd, out);
	crowd_end(crowd);
	stopped = broker_stop(&broker);
	return error ? error : stopped;
}

static void start_resume(struct bench *b)
{
	const struct crowd_shape shape = { .sessions = b->quick ? 8 : 64, .regions = 16,
					   .bytes = 16 << 20 };
	const struct side side = { "mmbroker", resume_side, &shape };
	const struct comparison comparisons[] = {
		{ .metric = "all sessions served", .unit = "ms", .peer_name = "limit",
		  .constant = RESUME_LIMIT_MS, .goal = 1.0 },
		{ .metric = "first session served", .unit = "ms", .ours = { 0, 1 },
		  .peer_name = "limit", .constant = RESUME_LIMIT_MS },
	};
	const char *name = b->quick ? "resume, 2 GiB in 128 regions"
				    : "resume, 16 GiB in 1,024 regions, 64 sessions";

	if (available() < resume_reserve(&shape))
		bench_skip(b, name, "not enough memory available");
	else
		bench_run(b, &(struct bench_case){ name, &side, 1, comparisons, 2, 0 });
}

void suite_start(struct bench *b)
{
	start_account(b);
	start_hold(b);
	start_resume(b);
}
