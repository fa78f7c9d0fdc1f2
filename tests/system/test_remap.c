/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_remap - clients that fork, move, cut, protect, drop and lock their windows themselves
 *
 * Purpose     Never silent zeros, never another page's data, and nothing of it is any trouble to
 *             the daemon: what can't be served ends in a signal for the client that did it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB, PAGES = BYTES / PAGE, PART = 1 * MIB };

static const char *const flags[] = { "--memory.reserve=128M", NULL };
static const struct setting setting = { .flags = flags };

/* The first half written, the second not yet touched. */
static struct mmb_region *half_written(struct actor *a)
{
	struct mmb_region *region = act_region(a, BYTES, 0);

	stamp(act_at(region), BYTES / 2, 1);
	return region;
}

static bool is_half_written(const char *at)
{
	return is_stamped(at, BYTES / 2, 1) && is_zero(at + BYTES / 2, BYTES / 2);
}

/* ---- fork ---- */

/* 0, or the line of the first thing that was not as expected: the child is no actor. */
#define CHILD_EXPECT(e)                  \
	do {                             \
		if (!(e))                \
			return __LINE__; \
	} while (0)

static struct {
	struct actor *a;
	struct mmb_region *region, *named;
	char *at, *run;
} mine;

static int use_what_is_the_parents(void)
{
	struct mmb_region_stat stat = { .size = sizeof(stat) };
	struct mmb_region *other;
	char value;

	CHILD_EXPECT(mmb_region_stat(mine.region, &stat) == -EOWNERDEAD);
	CHILD_EXPECT(mmb_region_advise(mine.region, 0, PAGE, MMB_ADVISE_DONTNEED) == -EOWNERDEAD);
	CHILD_EXPECT(mmb_region_lock(mine.region, 0, PAGE) == -EOWNERDEAD);
	CHILD_EXPECT(mmb_region_create(mine.a->pool, PAGE, NULL, &other) == -EOWNERDEAD);
	CHILD_EXPECT(!mmb_alloc_pages(mine.a->pool, 0, 0) && errno == EOWNERDEAD);
	CHILD_EXPECT(touch_read(mine.at, &value) == SIGSEGV);
	CHILD_EXPECT(touch_write(mine.at + BYTES - 1, 1) == SIGSEGV);
	CHILD_EXPECT(touch_read(mine.run, &value) == SIGSEGV);
	mmb_region_close(mine.region);
	mmb_free_pages(mine.a->pool, mine.run, 0);
	mmb_pool_close(mine.a->pool);
	mmb_close(mine.a->mmb);
	return 0;
}

static int open_anew(void)
{
	struct actor own = { .socket = mine.a->socket };
	struct mmb_region *region;

	act_common_pool(&own);
	region = act_named(&own, "forked", 0);
	CHILD_EXPECT(act_at(region) == mmb_region_address(region));
	CHILD_EXPECT(is_stamped(act_at(region), BYTES, 2));
	CHILD_EXPECT(mmb_alloc_pages(own.pool, 0, 0));
	mmb_close(own.mmb);
	return 0;
}

/* Without the library's fork handlers, as clone() makes them. */
static pid_t fork_unseen(void)
{
	return _Fork();
}

static void child_does(pid_t (*make)(void), int (*body)(void))
{
	int status;
	pid_t child;

	fflush(stdout);
	child = make();
	CLIENT_EXPECT(child >= 0);
	if (!child)
		_exit(body() ? 1 : 0);
	CLIENT_EXPECT_EQ(waitpid(child, &status, 0), child);
	CLIENT_EXPECT_EQ(status, 0);
}

static void fork_children(struct actor *a)
{
	act_common_pool(a);
	mine.a = a;
	mine.region = half_written(a);
	mine.at = act_at(mine.region);
	mine.named = act_named(a, "forked", BYTES);
	stamp(act_at(mine.named), BYTES, 2);
	mine.run = mmb_alloc_pages(a->pool, 0, 0);
	CLIENT_EXPECT(mine.run);
	stamp(mine.run, PAGE, 3);
	child_does(fork, use_what_is_the_parents);
	child_does(fork_unseen, use_what_is_the_parents);
	child_does(fork, open_anew);
	CLIENT_EXPECT(is_half_written(mine.at));
	CLIENT_EXPECT(is_stamped(mine.run, PAGE, 3));
	CLIENT_EXPECT(is_stamped(act_at(mine.named), BYTES, 2));
	CLIENT_EXPECT_EQ(act_stat(mine.region).resident, BYTES);
	mmb_free_pages(a->pool, mine.run, 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "forked"), 0);
}

static void forks(void)
{
	PLAY(ROLE(fork_children));
}

/* Forks while another thread faults: the parent's pages must not be marked for copying. */
static void *fork_in_a_loop(void *stop)
{
	while (!atomic_load((atomic_bool *)stop)) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		if (child > 0)
			waitpid(child, NULL, 0);
	}
	return NULL;
}

static void fault_while_forking(struct actor *a)
{
	static atomic_bool stop;
	pthread_t forker;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(pthread_create(&forker, NULL, fork_in_a_loop, &stop), 0);
	for (uint64_t i = 0; i < 4; i++) {
		struct mmb_region *region = act_region(a, BYTES, 0);

		stamp(act_at(region), BYTES, i);
		CLIENT_EXPECT(is_stamped(act_at(region), BYTES, i));
		mmb_region_close(region);
	}
	atomic_store(&stop, true);
	pthread_join(forker, NULL);
}

static void faults_while_forking(void)
{
	PLAY(ROLE(fault_while_forking));
}

/* ---- mremap ---- */

/* A place of one's own, where neither the kernel nor the broker nor a sanitizer puts anything. */
static char *place_for(size_t bytes)
{
	static uintptr_t next = 0x120000000000;
	char *at = mmap((void *)next, bytes, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	CLIENT_EXPECT((uintptr_t)at == next);
	next += bytes;
	return at;
}

static void move_whole(struct actor *a)
{
	struct mmb_region *region;
	char *at, *to;
	char value = 1;

	act_pool(a, 0);
	region = half_written(a);
	at = act_at(region);
	to = place_for(BYTES);
	CLIENT_EXPECT(mremap(at, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CLIENT_EXPECT(is_half_written(to));
	CLIENT_EXPECT_EQ(touch_read(at, &value), SIGSEGV);
	/* Entries dropped at the new place come back from the region. */
	CLIENT_EXPECT_EQ(madvise(to, BYTES, MADV_DONTNEED), 0);
	CLIENT_EXPECT(is_half_written(to));
	stamp(to + BYTES / 2, BYTES / 2, 4);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, PAGE, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(to, PAGE));
	/* And back again. */
	CLIENT_EXPECT(mremap(to, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
	CLIENT_EXPECT_EQ(madvise(at, BYTES, MADV_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(at, PAGE));
	CLIENT_EXPECT(is_stamped(at + BYTES / 2, BYTES / 2, 4));
	mmb_region_close(region);
}

/* The middle moves; both ends stay. */
static void move_part(struct actor *a)
{
	struct mmb_region *region;
	char *at, *to;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	to = place_for(PART);
	stamp(at + PART, PART, 5);
	CLIENT_EXPECT(mremap(at + PART, PART, PART, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CLIENT_EXPECT(is_stamped(to, PART, 5));
	stamp(at, PART, 6);
	stamp(at + 2 * PART, BYTES - 2 * PART, 7);
	CLIENT_EXPECT_EQ(madvise(to, PART, MADV_DONTNEED), 0);
	CLIENT_EXPECT_EQ(madvise(at, PART, MADV_DONTNEED), 0);
	CLIENT_EXPECT(is_stamped(to, PART, 5));
	CLIENT_EXPECT(is_stamped(at, PART, 6));
	CLIENT_EXPECT(is_stamped(at + 2 * PART, BYTES - 2 * PART, 7));
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(to, PART));
	CLIENT_EXPECT(is_zero(at, PART));
}

/* The region has gone and its window was left behind: the old contents or SIGBUS, never zeros. */
static void touch_after_close(struct actor *a)
{
	struct mmb_region *region;
	char *to;
	char value = 1;
	int signal_number;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	/* Nothing is made and mapped ahead: what was never touched is an event. */
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_RANDOM), 0);
	stamp(act_at(region), BYTES / 2, 1);
	to = place_for(BYTES);
	CLIENT_EXPECT(mremap(act_at(region), BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
		      to);
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(touch_read(to + BYTES - PAGE, &value), SIGBUS);
	do {
		signal_number = touch_read(to, &value);
		CLIENT_EXPECT(signal_number || value);
	} while (!signal_number);
	CLIENT_EXPECT_EQ(signal_number, SIGBUS);
}

static void moves(void)
{
	PLAY(ROLE(move_whole));
	PLAY(ROLE(move_part));
	PLAY(ROLE(touch_after_close));
}

enum { MOVERS = 4, MOVES = 200 };

struct mover {
	pthread_t thread;
	char *at, *to;
};

static void *move_to_and_fro(void *argument)
{
	struct mover *m = argument;
	char *at = m->at, *to = m->to;

	for (uint64_t i = 1; i <= MOVES; i++) {
		uint64_t *word;
		char *swap = at;

		CLIENT_EXPECT(mremap(at, PART, PART, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		at = to;
		to = swap;
		word = (uint64_t *)(void *)(at + i % (PART / PAGE) * PAGE);
		CLIENT_EXPECT(*word == 0 || *word == i - PART / PAGE);
		*word = i;
		CLIENT_EXPECT_EQ(madvise(at, PART, MADV_DONTNEED), 0);
		CLIENT_EXPECT_EQ(*word, i);
	}
	return NULL;
}

/* Several fault threads serve such a client: one has the move, another the fault after it. */
static void move_in_threads(struct actor *a)
{
	struct mmb_region *region;
	struct mover movers[MOVERS];

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	for (int i = 0; i < MOVERS; i++) {
		movers[i].at = act_at(region) + i * PART;
		movers[i].to = place_for(PART);
	}
	for (int i = 0; i < MOVERS; i++)
		CLIENT_EXPECT_EQ(
			pthread_create(&movers[i].thread, NULL, move_to_and_fro, &movers[i]), 0);
	for (int i = 0; i < MOVERS; i++)
		pthread_join(movers[i].thread, NULL);
}

static void moves_and_faults_at_once(void)
{
	PLAY(ROLE(move_in_threads));
}

/* ---- munmap ---- */

static void unmap_middle(struct actor *a)
{
	struct mmb_region *region;
	char *at, *own;
	char value;

	act_pool(a, 0);
	region = half_written(a);
	at = act_at(region);
	CLIENT_EXPECT_EQ(munmap(at + PART, PART), 0);
	CLIENT_EXPECT_EQ(touch_read(at + PART, &value), SIGSEGV);
	CLIENT_EXPECT(is_zero(at + 2 * PART, 2 * PART));
	CLIENT_EXPECT(is_stamped(at, PART, 1));
	/* What somebody puts there is not the region's, and stays after it. */
	own = mmap(at + PART, PART, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CLIENT_EXPECT(own == at + PART);
	stamp(own, PART, 9);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_stamped(own, PART, 9));
	mmb_region_close(region);
	CLIENT_EXPECT(is_stamped(own, PART, 9));
	CLIENT_EXPECT_EQ(touch_read(at, &value), SIGSEGV);
}

static void unmap_all(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = half_written(a);
	CLIENT_EXPECT_EQ(munmap(act_at(region), BYTES), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, PAGE, MMB_ADVISE_WILLNEED), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	mmb_region_close(region);
	region = half_written(a);
	CLIENT_EXPECT(is_half_written(act_at(region)));
	CLIENT_EXPECT_EQ(munmap(act_at(region), BYTES), 0);
}

static void unmaps(void)
{
	PLAY(ROLE(unmap_middle));
	PLAY(ROLE(unmap_all));
}

/* ---- mprotect, MADV_DONTNEED, mlock (past AddressSanitizer, which makes nothing of it) ---- */

static void protect(struct actor *a)
{
	struct mmb_region *region;
	char *at;
	char value = 1;

	act_pool(a, 0);
	region = half_written(a);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mprotect(at, BYTES, PROT_READ), 0);
	CLIENT_EXPECT_EQ(touch_write(at, 1), SIGSEGV);
	CLIENT_EXPECT_EQ(touch_read(at + BYTES - PAGE, &value), 0);
	CLIENT_EXPECT_EQ(value, 0);
	CLIENT_EXPECT_EQ(mprotect(at + PART, PART, PROT_NONE), 0);
	CLIENT_EXPECT_EQ(touch_read(at + PART, &value), SIGSEGV);
	CLIENT_EXPECT_EQ(mprotect(at, BYTES, PROT_READ | PROT_WRITE), 0);
	CLIENT_EXPECT(is_half_written(at));
	stamp(at, BYTES, 2);
	CLIENT_EXPECT(is_stamped(at, BYTES, 2));
}

static void drop_own_entries(struct actor *a)
{
	struct mmb_region *region;
	uint64_t faults;
	char *at;

	act_pool(a, 0);
	region = half_written(a);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_RANDOM), 0);
	faults = act_stat(region).faults;
	for (int i = 0; i < 3; i++) {
		CLIENT_EXPECT_EQ(madvise(at, BYTES / 2, MADV_DONTNEED), 0);
		CLIENT_EXPECT(is_stamped(at, BYTES / 2, 1));
	}
	CLIENT_EXPECT_EQ(act_stat(region).faults - faults, 3 * PAGES / 2);
	CLIENT_EXPECT_EQ(act_stat(region).write_faults, act_stat(region).write_faults);
}

static void protection_and_entries(void)
{
	PLAY(ROLE(protect));
	PLAY(ROLE(drop_own_entries));
}

/* The kernel populates at mmap() what it is to lock: that must not reach the region's file before
 * the broker knows of it. */
static void lock_future(struct actor *a)
{
	struct mmb_region *region;
	char *run;

	act_open(a);
	CLIENT_EXPECT_EQ(syscall(SYS_mlockall, MCL_FUTURE), 0);
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 0);
	run = mmb_alloc_pages(a->pool, 2, MMB_GFP_ZERO);
	CLIENT_EXPECT(run);
	stamp(run, PAGE << 2, 2);
	stamp(act_at(region), BYTES, 3);
	CLIENT_EXPECT(strstr(mmbctl(a->socket, "verify"), " 0 differences"));
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 3));
	CLIENT_EXPECT(is_stamped(run, PAGE << 2, 2));
}

static void lock_window(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), PAGE, 1);
	CLIENT_EXPECT_EQ(syscall(SYS_mlock, act_at(region), BYTES), 0);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT(is_stamped(act_at(region), PAGE, 1));
	CLIENT_EXPECT(is_zero(act_at(region) + PAGE, BYTES - PAGE));
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(act_at(region), BYTES));
	CLIENT_EXPECT_EQ(syscall(SYS_munlock, act_at(region), BYTES), 0);
	mmb_region_close(region);
}

static void mlocks(void)
{
	need_root("faults inside system calls");
	PLAY(ROLE(lock_window));
}

static void mlocks_future(void)
{
	need_root("locking memory beyond RLIMIT_MEMLOCK");
	PLAY(ROLE(lock_future));
}

static const struct test_case cases[] = {
	{ "fork: the child's handles give -EOWNERDEAD, its touches SIGSEGV; the parent is as "
	  "before",
	  forks },
	{ "faults are right while the process forks in a loop", faults_while_forking },
	{ "mremap: contents are right at the new address; never zeros, also after close", moves },
	{ "mremap in threads that fault at once", moves_and_faults_at_once },
	{ "munmap of a part or of all is harmless, and close takes only what is the region's",
	  unmaps },
	{ "mprotect and MADV_DONTNEED by the client: the contents come back",
	  protection_and_entries },
	{ "mlock of a window makes it resident", mlocks },
	{ "mlockall(MCL_FUTURE): nothing gets into a region or an arena behind the broker",
	  mlocks_future },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
