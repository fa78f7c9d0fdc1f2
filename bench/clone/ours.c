/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours - a region of a private pool, and its clone in the same process
 *
 * Purpose     The broker's subject. The clone's consumer is a thread, since a clone needs no
 *             second process.
 */
#include <errno.h>
#include <pthread.h>

#include "clone/subject.h"
#include "mmbroker.h"

/* One process has one subject. */
static struct {
	struct mmb           *mmb;
	struct mmb_pool      *pool;
	struct mmb_region    *region, *clone;
	const struct subject *subject;
	pthread_t             consumer;
	int                   fd, error;
} ours;

static int complain(int error, const char *what)
{
	return bench_because(error == -ENOMEM ? BENCH_SKIP : error, "%s: %s", what, mmb_error());
}

static int clone_take(struct subject *s)
{
	struct mmb_region_options options = { .size = sizeof(options), .page_size = s->page,
					      .flags = MMB_REGION_POPULATE };
	int error = mmb_open(s->socket, NULL, &ours.mmb);

	if (error != 0)
		return complain(error, "mmb_open");
	error = mmb_pool_open(ours.mmb, "bench",
			      MMB_POOL_PRIVATE | (s->overcommit ? MMB_POOL_OVERCOMMIT : 0), NULL,
			      &ours.pool);
	if (error != 0)
		return complain(error, "mmb_pool_open");
	error = mmb_region_create(ours.pool, s->bytes, &options, &ours.region);
	if (error != 0)
		return complain(error, "mmb_region_create");
	s->base = mmb_region_address(ours.region);
	return 0;
}

static int clone_copy(struct subject *s)
{
	int error = mmb_region_clone(ours.region, NULL, &ours.clone);

	if (error != 0)
		return complain(error, "mmb_region_clone");
	s->copy_base = mmb_region_address(ours.clone);
	return 0;
}

static int clone_drop(struct subject *s)
{
	mmb_region_close(ours.clone);
	s->copy_base = NULL;
	return 0;
}

static void *consumer_main(void *arg)
{
	ours.error = subject_pour(ours.subject, ours.subject->copy_base, ours.fd);
	return arg;
}

static int clone_stream(struct subject *s, int fd)
{
	ours.subject = s;
	ours.fd = fd;
	if (pthread_create(&ours.consumer, NULL, consumer_main, NULL) != 0)
		return bench_because(-EAGAIN, "no thread");
	return 0;
}

static int clone_streamed(struct subject *s)
{
	pthread_join(ours.consumer, NULL);
	return ours.error != 0 ? ours.error : clone_drop(s);
}

static int clone_memory(struct subject *s, uint64_t *bytes)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	int error = mmb_pool_stat(ours.pool, &stat);

	*bytes = stat.resident;
	return error != 0 ? complain(error, "mmb_pool_stat") : 0;
}

const struct subject_kind subject_clone = {
	.name = "mmbroker",
	.take = clone_take,
	.copy = clone_copy,
	.drop = clone_drop,
	.stream = clone_stream,
	.streamed = clone_streamed,
	.memory = clone_memory,
};
