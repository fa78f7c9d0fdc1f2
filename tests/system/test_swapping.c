/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swapping - several processes use more memory than the broker has, and lose nothing
 *
 * Purpose     Each page carries the number of its last writing, in its first and last word, which a
 *             table in shared memory knows, too. Whatever is evicted, killed, stopped, locked or
 *             swapped off meanwhile: a page holds what was written last, or, where its writer was
 *             killed in between, what it was about to write.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "system/stage.h"

enum {
	RESERVE_MIB = 64,
	NR_WRITERS = 4,
	REGION_MIB = 4 * RESERVE_MIB / NR_WRITERS, /* four times what there is, together */
	REGION_PAGES = REGION_MIB * (MIB / PAGE),
	SWAP_MIB = 4 * RESERVE_MIB,
	LOCK_PAGES = 256,
	FAMILY_PAGES = 32 * (MIB / PAGE),
	FAMILY = 4,
	FAMILY_MS = 40000,
};

static const char *const flags[] = { "--memory.reserve=64M", NULL };
static const struct setting setting = { .flags = flags };

/* What a page must hold: done, or intended if its writer ended in between. Shared by all. */
struct page_truth {
	_Atomic uint32_t done, intended;
};
static struct page_truth (*truth)[REGION_PAGES]; /* by writer */

static uint64_t run_ms(void)
{
	return getenv("MMB_LONG") ? 60000 : 2500;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static const char area_one[] = "", area_two[] = "-too";

/* Of an area in this folder. */
static const char *path_of(const char *area)
{
	static char path[300];
	char *folder = getcwd(NULL, 0);

	snprintf(path, sizeof(path), "%s/swapping-%d%s", folder, (int)getpid(), area);
	free(folder);
	return path;
}

static void swapon(struct fixture *f, const char *area)
{
	char command[400];

	snprintf(command, sizeof(command), "swapon '%s' %dM", path_of(area), SWAP_MIB);
	EXPECT(mmbctl(f->socket, command));
	unlink(path_of(area)); /* nothing stays, however the test ends */
}

/* Regions that have just been closed may still be on their way back. */
static void swapoff(struct fixture *f, const char *area)
{
	bool is_off = false;
	char command[400];

	snprintf(command, sizeof(command), "swapoff '%s'", path_of(area));
	for (int i = 0; i < 200 && !is_off; i++) {
		if (i)
			nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
		is_off = mmbctl(f->socket, command);
	}
	EXPECT(is_off);
}

/* The area goes before everything must be as it was. */
static void end(struct fixture *f, unsigned int nr_actors)
{
	for (unsigned int place = 0; place < nr_actors; place++)
		EXPECT(stage_ended(place));
	swapoff(f, area_one);
	stage_end();
}

static struct fixture *begin(void)
{
	struct fixture *f;

	stage_set(&setting);
	if (!truth) {
		truth = mmap(NULL, sizeof(*truth) * NR_WRITERS, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		EXPECT(truth != MAP_FAILED);
	}
	memset(truth, 0, sizeof(*truth) * NR_WRITERS);
	f = stage_begin();
	swapon(f, area_one);
	return f;
}

/* ---- writers ---- */

static uint64_t stamp_of(unsigned int writer, uint64_t page, uint32_t number)
{
	return number ? (uint64_t)writer << 60 | page << 32 | number : 0;
}

static void check_page(unsigned int writer, const char *base, uint64_t page)
{
	const volatile uint64_t *first = (const volatile uint64_t *)(base + page * PAGE);
	uint64_t a = first[0], b = first[PAGE / sizeof(*first) - 1];
	uint64_t done = stamp_of(writer, page, truth[writer][page].done);
	uint64_t intended = stamp_of(writer, page, truth[writer][page].intended);

	if ((a == intended || a == done) && (b == intended || b == done))
		return;
	printf("  writer %u, page %llu: %#llx and %#llx, not %#llx\n", writer,
	       (unsigned long long)page, (unsigned long long)a, (unsigned long long)b,
	       (unsigned long long)done);
	CLIENT_EXPECT(!"a page holds what was written last");
}

static void write_page(unsigned int writer, char *base, uint64_t page)
{
	volatile uint64_t *first = (volatile uint64_t *)(base + page * PAGE);
	struct page_truth *t = &truth[writer][page];
	uint32_t next = atomic_load(&t->done) + 1;
	uint64_t stamp = stamp_of(writer, page, next);

	atomic_store(&t->intended, next);
	first[0] = stamp;
	first[PAGE / sizeof(*first) - 1] = stamp;
	atomic_store(&t->done, next);
}

static void use_pages(unsigned int writer, char *base, uint64_t until_ms)
{
	uint64_t random = writer + 1 + (uint64_t)getpid();

	for (unsigned int i = 0; now_ms() < until_ms; i++) {
		uint64_t page = test_below(&random, REGION_PAGES);
		uint64_t run = i % 64 ? 1 : 512; /* a sweep now and then */

		for (uint64_t p = page; p < page + run && p < REGION_PAGES; p++) {
			check_page(writer, base, p);
			if (test_below(&random, 2))
				write_page(writer, base, p);
		}
	}
}

static void check_all(unsigned int writer, const char *base)
{
	for (uint64_t page = 0; page < REGION_PAGES; page++)
		check_page(writer, base, page);
}

static void private_writer(struct actor *a)
{
	struct mmb_region *region;
	char *base;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, (size_t)REGION_MIB * MIB, 0);
	base = act_at(region);
	for (uint64_t page = 0; page < REGION_PAGES; page++)
		write_page(a->place, base, page);
	use_pages(a->place, base, now_ms() + run_ms());
	check_all(a->place, base);
	CLIENT_EXPECT(act_stat(region).refaults > 0);
}

static void everybodys_pages_come_back(void)
{
	struct fixture *f = begin();

	CAST(ROLE(private_writer), ROLE(private_writer), ROLE(private_writer),
	     ROLE(private_writer));
	end(f, NR_WRITERS);
}

/* ---- writers that are killed and stopped: regions with names outlive them ---- */

static void named_writer(struct actor *a)
{
	unsigned int writer = a->place % NR_WRITERS; /* of this round */
	struct mmb_region *region;
	char name[16];

	act_open(a);
	act_common_pool(a);
	snprintf(name, sizeof(name), "w%u", writer);
	region = act_named(a, name, (size_t)REGION_MIB * MIB);
	check_all(writer, act_at(region));
	use_pages(writer, act_at(region), now_ms() + run_ms());
}

static void finisher(struct actor *a)
{
	act_open(a);
	act_common_pool(a);
	for (unsigned int writer = 0; writer < NR_WRITERS; writer++) {
		struct mmb_region *region;
		char name[16];

		snprintf(name, sizeof(name), "w%u", writer);
		region = act_named(a, name, (size_t)REGION_MIB * MIB);
		check_all(writer, act_at(region));
		mmb_region_unlink(a->pool, name);
	}
}

static void disturb(unsigned int first, uint64_t until_ms)
{
	uint64_t random = now_ms();

	while (now_ms() < until_ms) {
		unsigned int place = first + (unsigned int)test_below(&random, NR_WRITERS);

		if (test_below(&random, 4)) {
			kill(stage_pid(place), SIGSTOP);
			nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
			kill(stage_pid(place), SIGCONT);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
	}
	for (unsigned int i = 0; i < NR_WRITERS; i++)
		stage_kill(first + i, SIGKILL);
}

static void the_killed_and_stopped_lose_nothing(void)
{
	static const struct role killed[NR_WRITERS] = {
		ROLE(named_writer, .status = -SIGKILL), ROLE(named_writer, .status = -SIGKILL),
		ROLE(named_writer, .status = -SIGKILL), ROLE(named_writer, .status = -SIGKILL),
	};
	struct fixture *f = begin();

	for (unsigned int first = 0; first < 3 * NR_WRITERS; first += NR_WRITERS) {
		stage_cast(killed, NR_WRITERS);
		disturb(first, now_ms() + run_ms() / 3);
		for (unsigned int i = 0; i < NR_WRITERS; i++)
			EXPECT(stage_ended(first + i));
	}
	CAST(ROLE(finisher));
	end(f, 3 * NR_WRITERS + 1);
}

/* ---- device I/O into locked pages ---- */

static char disk_pattern(uint64_t at, unsigned int round)
{
	return (char)(at / 512 + round * 7 + 1);
}

static void locked_reader(struct actor *a)
{
	static char bytes[LOCK_PAGES * PAGE];
	struct mmb_region *region;
	char name[64];
	char *base;
	int fd;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, (size_t)REGION_MIB * MIB, 0);
	base = act_at(region);
	snprintf(name, sizeof(name), "swapping-disk-%d", (int)getpid());
	fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
	CLIENT_EXPECT(fd >= 0);
	unlink(name);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, sizeof(bytes)), 0);
	for (unsigned int round = 0; round < 40; round++) {
		int plain;

		for (uint64_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = disk_pattern(i, round);
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		plain = open(name, O_WRONLY | O_CLOEXEC);
		CLIENT_EXPECT_EQ(pwrite(plain, bytes, sizeof(bytes), 0), sizeof(bytes));
		CLIENT_EXPECT_EQ(fsync(plain), 0);
		close(plain);
		CLIENT_EXPECT_EQ(pread(fd, base, sizeof(bytes), 0), sizeof(bytes));
		mmb_region_advise(region, 0, (size_t)REGION_MIB * MIB, MMB_ADVISE_PAGEOUT);
		CLIENT_EXPECT(!memcmp(base, bytes, sizeof(bytes)));
	}
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, 0, sizeof(bytes)), 0);
	close(fd);
}

static void devices_read_into_locked_pages(void)
{
	struct fixture *f = begin();

	CAST(ROLE(private_writer), ROLE(private_writer), ROLE(private_writer),
	     ROLE(locked_reader));
	end(f, 4);
}

/* ---- swapoff ---- */

static void small_writer(struct actor *a)
{
	struct mmb_region *region;
	char *base;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, (size_t)REGION_MIB * MIB / 8, 0);
	base = act_at(region);
	for (uint64_t round = 0; !atomic_load(&board->number[0]); round++) {
		for (uint64_t page = 0; page < REGION_PAGES / 8; page++) {
			check_page(a->place, base, page);
			if (page % 3 == round % 3)
				write_page(a->place, base, page);
		}
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, (size_t)REGION_MIB * MIB / 8,
						   MMB_ADVISE_PAGEOUT), 0);
		if (!round)
			cue(a->place + 1);
	}
	for (uint64_t page = 0; page < REGION_PAGES / 8; page++)
		check_page(a->place, base, page);
}

static void swapoff_under_load(void)
{
	struct fixture *f = begin();

	CAST(ROLE(small_writer), ROLE(small_writer), ROLE(small_writer));
	await(1);
	for (int i = 0; i < 3; i++) {
		swapoff(f, area_one);
		swapon(f, area_one);
	}
	atomic_store(&board->number[0], 1);
	end(f, 3);
}

static void *look_around(void *base)
{
	uint64_t until = now_ms() + FAMILY_MS, at = (uintptr_t)base;

	while (!atomic_load(&board->number[0]) && now_ms() < until) {
		uint64_t page = (at = at * 6364136223846793005u + 1) >> 33 & (FAMILY_PAGES - 1);

		CLIENT_EXPECT(is_stamped((char *)base + page * PAGE, PAGE, page));
	}
	return NULL;
}

/* A region and its clones, of which memory has a small part. */
static void thrashing_family(struct actor *a)
{
	size_t bytes = (size_t)FAMILY_PAGES * PAGE;
	struct mmb_region *region;
	char *base[FAMILY];
	pthread_t threads[FAMILY];

	act_open(a);
	act_pool(a, bytes / 2);
	region = act_region(a, bytes, 0);
	base[0] = act_at(region);
	for (uint64_t page = 0; page < FAMILY_PAGES; page++)
		stamp(base[0] + page * PAGE, PAGE, page);
	for (int i = 1; i < FAMILY; i++)
		base[i] = act_at(act_clone(region, NULL, 0));
	for (int i = 0; i < FAMILY; i++)
		CLIENT_EXPECT_EQ(pthread_create(&threads[i], NULL, look_around, base[i]), 0);
	cue(1);
	for (int i = 0; i < FAMILY; i++)
		CLIENT_EXPECT_EQ(pthread_join(threads[i], NULL), 0);
	cue(2);
	for (int i = 0; i < FAMILY; i++)
		for (uint64_t page = 0; page < FAMILY_PAGES; page++)
			CLIENT_EXPECT(is_stamped(base[i] + page * PAGE, PAGE, page));
}

static void swapoff_of_a_family(void)
{
	struct fixture *f = begin();
	uint64_t begun;

	CAST(ROLE(thrashing_family));
	await(1);
	swapon(f, area_two);
	begun = now_ms();
	swapoff(f, area_one);
	EXPECT(now_ms() - begun < FAMILY_MS / 2); /* the family hasn't come to rest before */
	atomic_store(&board->number[0], 1);
	EXPECT(stage_ended(0));
	swapoff(f, area_two);
	stage_end();
}

/* More than memory has room for, by far more than is locked in one turn. */
static void lock_too_much(struct actor *a)
{
	const size_t bytes = 2 * (size_t)RESERVE_MIB * MIB;
	struct mmb_region *region;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, bytes, 0);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, bytes), -ENOMEM);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 0);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 9 * MIB, 2 * MIB), 0);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, bytes), -ENOMEM);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 2 * MIB);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, 16 * MIB), 0);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 16 * MIB);
}

static void too_much_is_locked_not_at_all(void)
{
	struct fixture *f = begin();

	CAST(ROLE(lock_too_much));
	end(f, 1);
}

static const struct test_case cases[] = {
	{ "four processes over four times the memory find what they wrote",
	  everybodys_pages_come_back },
	{ "killed and stopped processes lose nothing either", the_killed_and_stopped_lose_nothing },
	{ "devices read into locked pages while everything is evicted",
	  devices_read_into_locked_pages },
	{ "swapoff brings everything back while it is used", swapoff_under_load },
	{ "a lock that can't be had whole leaves nothing locked", too_much_is_locked_not_at_all },
	{ "swapoff ends while a clone is used that memory has no room for", swapoff_of_a_family },
	STAGE_STOPS,
};
TEST_MAIN(cases)
