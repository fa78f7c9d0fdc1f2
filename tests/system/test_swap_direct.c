/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_direct - device reads into locked ranges while everything around them is evicted
 *
 * A client reads a file with O_DIRECT into a range that it has locked; threads sweep through the
 * rest of the region, four times what the pool may hold, and push out what they can, the locked
 * range, too, which must not go. Every read must have arrived.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/lib/clock.h"
#include "bench/lib/pattern.h"
#include "system/swap_scene.h"

enum {
	RESERVE_MIB = 96,
	SWAP_MIB = 96,
	LIMIT_MIB = 8,
	PAGES = 4 * LIMIT_MIB * MIB / PAGE,
	LOCKED = 256,
	FILE_PAGES = 512,
	READ_MAX = 64,
	SECONDS = 3,
	FILE_OBJECT = 7,
	REST_OBJECT = 8,
};

struct crew {
	struct actor *a;
	struct mmb_region *region;
	char *at;
	uint64_t random;
	uint32_t locked; /* the first page of the locked range */
	atomic_bool finish;
	atomic_bool wrong; /* a page of the rest */
};

static int make_file(void)
{
	const char *folder = getenv("TMPDIR");
	static char page[PAGE] __attribute__((aligned(PAGE)));
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%.60s/mmb-test-file-%d", folder ? folder : "/var/tmp",
		 (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	CLIENT_EXPECT(fd >= 0);
	unlink(path);
	for (uint32_t i = 0; i < FILE_PAGES; i++) {
		pattern_fill(page, PAGE, pattern_key(FILE_OBJECT, i), 1);
		CLIENT_EXPECT_EQ(pwrite(fd, page, PAGE, (off_t)i * PAGE), PAGE);
	}
	return fd;
}

/* The rest: swept, page by page, so that there is always something else to hold. */
static void *sweep(void *arg)
{
	struct crew *c = arg;

	for (uint32_t i = 0; !atomic_load(&c->finish); i = (i + 1) % PAGES) {
		char *page = c->at + (size_t)i * PAGE;

		if (i >= c->locked && i < c->locked + LOCKED)
			continue;
		if (pattern_check(page, PAGE, pattern_key(REST_OBJECT, i), 1) >= 0)
			atomic_store(&c->wrong, true);
		*(volatile uint64_t *)(void *)page = *(volatile uint64_t *)(void *)page;
	}
	return NULL;
}

static void *push_out(void *arg)
{
	struct crew *c = arg;

	while (!atomic_load(&c->finish)) {
		mmb_region_advise(c->region, 0, (size_t)PAGES * PAGE, MMB_ADVISE_PAGEOUT);
		clock_sleep_ms(2);
	}
	return NULL;
}

static void read_once(struct crew *c, int fd)
{
	uint32_t nr = 1 + (uint32_t)test_below(&c->random, READ_MAX);
	uint32_t from = (uint32_t)test_below(&c->random, FILE_PAGES - nr);
	uint32_t to = c->locked + (uint32_t)test_below(&c->random, LOCKED - nr);
	char *at = c->at + (size_t)to * PAGE;

	CLIENT_EXPECT_EQ(pread(fd, at, (size_t)nr * PAGE, (off_t)from * PAGE),
			 (long long)nr * PAGE);
	for (uint32_t i = 0; i < nr; i++)
		CLIENT_EXPECT(pattern_check(at + (size_t)i * PAGE, PAGE,
					    pattern_key(FILE_OBJECT, from + i), 1) < 0);
}

static void prepare(struct crew *c)
{
	struct mmb_pool_options limits = { .size = sizeof(limits),
					   .max = (uint64_t)LIMIT_MIB * MIB };

	CLIENT_EXPECT_EQ(mmb_open(c->a->socket, NULL, &c->a->mmb), 0);
	CLIENT_EXPECT_EQ(mmb_pool_open(c->a->mmb, "direct", MMB_POOL_PRIVATE, &limits, &c->a->pool),
			 0);
	c->region = act_region(c->a, (size_t)PAGES * PAGE, 0);
	c->at = act_at(c->region);
	for (uint32_t i = 0; i < PAGES; i++)
		pattern_fill(c->at + (size_t)i * PAGE, PAGE, pattern_key(REST_OBJECT, i), 1);
	CLIENT_EXPECT_EQ(mmb_region_lock(c->region, (size_t)c->locked * PAGE,
					 (size_t)LOCKED * PAGE),
			 0);
	CLIENT_EXPECT_EQ(act_stat(c->region).locked, (uint64_t)LOCKED * PAGE);
}

static void reads(struct actor *a)
{
	static struct crew c;
	uint64_t end = clock_ns() + SECONDS * 1000000000ull, nr = 0;
	pthread_t sweeper, pusher;
	int fd = make_file();

	c.a = a;
	c.random = test_seed();
	c.locked = PAGES / 2;
	prepare(&c);
	CLIENT_EXPECT_EQ(pthread_create(&sweeper, NULL, sweep, &c), 0);
	CLIENT_EXPECT_EQ(pthread_create(&pusher, NULL, push_out, &c), 0);
	for (; clock_ns() < end; nr++)
		read_once(&c, fd);
	atomic_store(&c.finish, true);
	pthread_join(sweeper, NULL);
	pthread_join(pusher, NULL);
	CLIENT_EXPECT(!atomic_load(&c.wrong));
	printf("  %llu reads\n", (unsigned long long)nr);
	CLIENT_EXPECT(nr > 0);
	close(fd);
	mmb_region_close(c.region);
}

static void direct_reads(void)
{
	struct fixture *f;

	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	f = stage_begin();
	CAST(ROLE(reads));
	EXPECT(stage_ended(0));
	EXPECT(swap_scene_count(f->socket, "pswpout") > 0);
	swap_scene_intact(f->socket, 0);
	stage_end();
}

static const struct test_case cases[] = {
	{ "device reads into locked ranges arrive whatever is evicted around them", direct_reads },
	STAGE_STOPS,
};
TEST_MAIN(cases)
