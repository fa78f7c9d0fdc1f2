/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_overhead - what the broker itself needs, and how much it can carry
 *
 * Purpose     Metadata beside its limit (2 % of the reserve plus 0.25 % of what regions span):
 *             idle, with one large resident region, and with 256 sessions that have 10,240
 *             regions between them, each with a page in use. Then everything has to be gone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crowd.h"
#include "lib/clock.h"
#include "lib/raw.h"
#include "mmbroker.h"
#include "suites.h"

enum {
	SESSIONS = 256,
	REGIONS = 10240,
	SESSIONS_QUICK = 16,
	REGIONS_QUICK = 320,
	REGION_BYTES = 64 << 10,
	GONE_MS = 10000,
	STEP_MS = 20,
	GIVEN_BACK_MS = 8000,
};

#define RESERVE_SHARE 0.02
#define SPANNED_SHARE 0.0025
#define LARGE_SHARE   4 /* the large region is a quarter of the reserve */

static void emit_metadata(struct bench *b, const char *name, const struct raw_status *s)
{
	const struct comparison how = { .metric = "metadata", .unit = "bytes",
					.peer_name = "2 % of reserve + 0.25 % of span",
					.goal = 1.0 };

	bench_emit(b, name, &how, (double)s->metadata,
		   RESERVE_SHARE * (double)s->reserve + SPANNED_SHARE * (double)s->spanned);
}

static void emit_count(struct bench *b, const char *name, const char *metric, uint64_t count,
		       uint64_t wanted)
{
	const struct comparison how = { .metric = metric, .unit = "1", .kind = HIGHER_IS_BETTER,
					.peer_name = "asked for", .goal = 1.0 };

	bench_emit(b, name, &how, (double)count, (double)wanted);
}

/* ---- one large region, resident ---- */

static int large_region(struct bench *b, struct raw *raw, uint64_t bytes)
{
	struct raw_status status;
	struct mmb_region *region;
	struct mmb_pool *pool = NULL;
	struct mmb *mmb;
	int error = mmb_open(b->socket, NULL, &mmb);

	if (error != 0)
		return bench_because(error, "mmb_open: %s", mmb_error());
	error = mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool);
	if (error == 0)
		error = mmb_region_create(pool, bytes, NULL, &region);
	if (error != 0) {
		bench_because(error, "a region of %llu MiB: %s", (unsigned long long)bytes >> 20,
			      mmb_error());
	} else {
		memset(mmb_region_address(region), 1, bytes);
		error = raw_status(raw, &status);
		mmb_region_close(region);
	}
	if (pool)
		mmb_pool_close(pool);
	mmb_close(mmb);
	if (error == 0)
		emit_metadata(b, "one resident region", &status);
	return error;
}

/* ---- a crowd of sessions and regions ---- */

static int wait_gone(struct raw *raw, const struct raw_status *before)
{
	struct raw_status now;
	int error = raw_status(raw, &now);

	for (int ms = 0; error == 0; ms += STEP_MS) {
		if (now.sessions <= before->sessions && now.regions <= before->regions &&
		    now.present <= before->present && now.committed <= before->committed)
			return 0;
		if (ms > GONE_MS)
			return bench_because(-ETIMEDOUT, "all have gone, left are %lld sessions,"
					     " %lld regions, %lld KiB",
					     (long long)(now.sessions - before->sessions),
					     (long long)(now.regions - before->regions),
					     (long long)(now.present - before->present) / 1024);
		clock_sleep_ms(STEP_MS);
		error = raw_status(raw, &now);
	}
	return error;
}

/* The broker gives its own memory back once a second, and what has been idle for two. */
static int wait_given_back(struct raw *raw, const struct raw_status *before,
			   struct raw_status *status)
{
	int error = raw_status(raw, status);

	for (int ms = 0; ms < GIVEN_BACK_MS && error == 0; ms += STEP_MS) {
		if (status->metadata <= before->metadata)
			break;
		clock_sleep_ms(STEP_MS);
		error = raw_status(raw, status);
	}
	return error;
}

static int many(struct bench *b, struct raw *raw, const struct raw_status *before)
{
	static const char name[] = "many sessions and regions";
	const struct crowd_shape shape = {
		.socket = b->socket,
		.sessions = b->quick ? SESSIONS_QUICK : SESSIONS,
		.regions = (b->quick ? REGIONS_QUICK / SESSIONS_QUICK : REGIONS / SESSIONS),
		.bytes = REGION_BYTES,
	};
	struct raw_status status = { 0 };
	struct crowd *crowd;
	int error = wait_gone(raw, before);

	if (error == 0)
		error = crowd_start(&shape, &crowd);
	if (error != 0)
		return error;
	error = raw_status(raw, &status);
	crowd_end(crowd);
	if (error != 0)
		return error;
	emit_count(b, name, "sessions", status.sessions - before->sessions, shape.sessions);
	emit_count(b, name, "regions", status.regions - before->regions,
		   (uint64_t)shape.sessions * shape.regions);
	emit_metadata(b, name, &status);
	error = wait_gone(raw, before);
	if (error == 0)
		error = wait_given_back(raw, before, &status);
	if (error == 0)
		emit_metadata(b, "all of them gone", &status);
	return error;
}

void suite_overhead(struct bench *b)
{
	struct raw_status status;
	struct raw *raw;
	int error = raw_open(b->socket, &raw);

	if (error == 0)
		error = raw_status(raw, &status);
	if (error != 0) {
		bench_fail(b, "status", bench_reason());
		raw_close(raw);
		return;
	}
	emit_metadata(b, "idle", &status);
	if (large_region(b, raw, status.reserve / LARGE_SHARE >> 21 << 21) != 0)
		bench_fail(b, "one resident region", bench_reason());
	if (many(b, raw, &status) != 0)
		bench_fail(b, "many sessions and regions", bench_reason());
	raw_close(raw);
}
