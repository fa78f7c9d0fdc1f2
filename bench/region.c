/* SPDX-License-Identifier: Apache-2.0 */
/* region - see region.h */
#include "region.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/raw.h"
#include "mmbroker.h"

enum { CHILD_MS = 60000 };

struct region_job {
	const char               *socket;
	const struct region_args *args;
};

int region_complain(int error, const char *what)
{
	return bench_because(error, "%s: %s", what, mmb_error());
}

static int touch_region(const struct region_args *args, struct mmb_region *region,
			struct sample *out)
{
	struct touch touch = args->touch;

	touch.base = mmb_region_address(region);
	return touch_run(&touch, out);
}

static int touch_fresh(struct mmb_pool *pool, const struct region_args *args, struct sample *out)
{
	struct mmb_region_options options = { .size = sizeof(options),
					      .page_size = (uint32_t)args->touch.page };
	struct mmb_region *region;
	int error = mmb_region_create(pool, args->touch.page * args->touch.pages, &options,
				      &region);

	if (error != 0)
		return region_complain(error, "mmb_region_create");
	error = touch_region(args, region, out);
	mmb_region_close(region);
	return error;
}

/* A named region outlives its handle: populated through one, touched through the next. */
static int touch_populated(struct mmb_pool *pool, const struct region_args *args,
			   struct sample *out)
{
	struct mmb_region_options options = { .size = sizeof(options),
					      .page_size = (uint32_t)args->touch.page };
	size_t bytes = args->touch.page * args->touch.pages;
	struct mmb_region *region;
	char name[64];
	int error;

	snprintf(name, sizeof(name), "bench-%d", (int)getpid());
	error = mmb_region_open(pool, name, bytes,
				MMB_REGION_CREATE | MMB_REGION_EXCL | MMB_REGION_POPULATE, &options,
				&region);
	if (error != 0)
		return region_complain(error, "mmb_region_open with POPULATE");
	mmb_region_close(region);
	error = mmb_region_open(pool, name, bytes, 0, &options, &region);
	if (error != 0) {
		region_complain(error, "mmb_region_open");
	} else {
		error = touch_region(args, region, out);
		mmb_region_close(region);
	}
	mmb_region_unlink(pool, name);
	return error;
}

static int region_child(void *arg, struct sample *out)
{
	const struct region_job *job = arg;
	struct mmb *mmb;
	struct mmb_pool *pool;
	int error = mmb_open(job->socket, NULL, &mmb);

	if (error != 0)
		return region_complain(error, "mmb_open");
	error = mmb_pool_open(mmb, "bench", MMB_POOL_CREATE, NULL, &pool);
	if (error == 0) {
		if (job->args->state == REGION_FRESH)
			error = touch_fresh(pool, job->args, out);
		else
			error = touch_populated(pool, job->args, out);
		mmb_pool_close(pool);
	} else {
		region_complain(error, "mmb_pool_open");
	}
	mmb_close(mmb);
	return error;
}

int region_side(struct bench *b, const void *arg, struct sample *out)
{
	struct region_job job = { .socket = b->socket, .args = arg };

	return raw_child_run(b->socket, region_child, &job, CHILD_MS, out);
}
