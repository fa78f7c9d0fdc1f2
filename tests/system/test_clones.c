/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_clones - clones of regions, seen by several processes
 *
 * Not here    Snapshots by name, charging (test_snapshots.c), divergence step by step
 *             (tests/unit/test_cow.c), random trees of clones (tests/model/test_clone_model.c).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB, PAGES = BYTES / PAGE };

/* More than the stack of a thread of the library's: those have room for it all the same. */
static _Thread_local volatile char thread_local_memory[MIB];

static const char *const base_flags[] = { "--memory.reserve=128M", "--memory.pass_userfaultfd=all",
					  NULL };
static const char *const huge_flags[] = { "--memory.reserve=128M", "--memory.reserve_huge=64M",
					  "--memory.pass_userfaultfd=all", NULL };
static const struct setting base_setting = { .flags = base_flags };
static const struct setting huge_setting = { .flags = huge_flags };

static void diverge_both(struct mmb_region *region, size_t page)
{
	size_t length = mmb_region_length(region), half = length / 2;
	struct mmb_region *clone;
	char *at = act_at(region), *copy;

	stamp(at, half, 1);
	clone = act_clone(region, NULL, 0);
	copy = act_at(clone);
	CLIENT_EXPECT_EQ(mmb_region_length(clone), length);
	CLIENT_EXPECT(is_stamped(copy, half, 1));
	CLIENT_EXPECT(is_zero(copy + half, half));
	for (size_t i = 0; i < length; i += 2 * page)
		stamp(at + i, page, 2);
	for (size_t i = 0; i < length; i += 3 * page)
		stamp(copy + i, page, 3);
	for (size_t i = 0; i < length; i += page) {
		CLIENT_EXPECT(i % (2 * page) == 0 ? is_stamped(at + i, page, 2)
			      : i < half	  ? memcmp(at + i, copy + i, page) == 0 ||
							   i % (3 * page) == 0
						  : is_zero(at + i, page));
		CLIENT_EXPECT(i % (3 * page) ? i < half || is_zero(copy + i, page)
					     : is_stamped(copy + i, page, 3));
	}
	mmb_region_close(clone);
}

static void small_pages(struct actor *a)
{
	struct mmb_region *region;

	thread_local_memory[0] = 1;
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	diverge_both(region, PAGE);
	mmb_region_close(region);
}

static void both_diverge_with_4_kib_pages(void)
{
	PLAY(ROLE(small_pages));
}

static void huge_pages(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region = NULL;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 6 * HUGE_PAGE, &options, &region), 0);
	diverge_both(region, HUGE_PAGE);
	mmb_region_close(region);
}

static void both_diverge_with_2_mib_pages(void)
{
	if (!hugepages_get(32))
		SKIP("no 64 MiB of free huge pages: vm.nr_hugepages is too low");
	stage_set(&huge_setting);
	PLAY(ROLE(huge_pages));
}

static void both_diverge_with_2_mib_pages_without_hugetlb(void)
{
	stage_set(&base_setting);
	PLAY(ROLE(huge_pages));
}

/* ---- by name, in another process ---- */

static void name_one(struct actor *a)
{
	struct mmb_region *region, *clone, *again = NULL;
	const struct mmb_clone_options taken = { .size = sizeof(taken), .name = "snapshot" };

	act_common_pool(a);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 5);
	clone = act_clone(region, "snapshot", 0);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, &taken, &again), -EEXIST);
	CLIENT_EXPECT(!again && strstr(mmb_error(), "snapshot"));
	mmb_region_close(clone);
	cue(1);
	for (size_t i = 0; i < BYTES; i += 7 * PAGE)
		stamp(act_at(region) + i, PAGE, 6);
	await(2);
	mmb_region_close(region);
	cue(3);
	await(4);
}

static void open_it(struct actor *a)
{
	struct mmb_region *clone = NULL;
	char *at;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "snapshot", 0, 0, NULL, &clone), 0);
	at = act_at(clone);
	CLIENT_EXPECT(is_stamped(at, BYTES / 2, 5));
	cue(2);
	await(3);
	CLIENT_EXPECT(is_stamped(at, BYTES, 5));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "snapshot"), 0);
	mmb_region_close(clone);
	cue(4);
}

static void a_named_clone_outlives_its_parent(void)
{
	PLAY(ROLE(name_one), ROLE(open_it));
}

/* ---- several sessions of one clone ---- */

enum { STEPS = 24 };

static void make_shared_clone(struct actor *a)
{
	struct mmb_region *region, *clone;

	act_common_pool(a);
	region = act_region(a, BYTES, 0);
	for (size_t i = 0; i < BYTES; i += PAGE)
		stamp(act_at(region) + i, PAGE, 1);
	clone = act_clone(region, "common", 0);
	cue(1);
	await(2);
	/* Everybody has all of it mapped. What one writes, the others see next. */
	for (int step = 0; step < STEPS; step++) {
		await(3 + 2 * (uint32_t)step);
		CLIENT_EXPECT(is_stamped(act_at(clone) + step * 9 * PAGE, PAGE, 100));
		stamp(act_at(region) + step * 7 * PAGE, PAGE, 200);
		cue(4 + 2 * (uint32_t)step);
	}
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "common"), 0);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void write_shared_clone(struct actor *a)
{
	struct mmb_region *clone = NULL;
	char *at;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "common", 0, 0, NULL, &clone), 0);
	at = act_at(clone);
	for (size_t i = 0; i < BYTES; i += PAGE)
		CLIENT_EXPECT(is_stamped(at + i, PAGE, 1));
	cue(2);
	for (int step = 0; step < STEPS; step++) {
		stamp(at + step * 9 * PAGE, PAGE, 100);
		cue(3 + 2 * (uint32_t)step);
		await(4 + 2 * (uint32_t)step);
		for (size_t i = 0; i < BYTES; i += PAGE)
			CLIENT_EXPECT(is_stamped(at + i, PAGE,
						 i % (9 * PAGE) == 0 &&
								 i <= (size_t)step * 9 * PAGE
							 ? 100
							 : 1));
	}
	mmb_region_close(clone);
}

static void sessions_of_a_clone_see_its_writes_at_once(void)
{
	PLAY(ROLE(make_shared_clone), ROLE(write_shared_clone));
}

/* ---- a stopped clone ---- */

static void write_beside_it(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_common_pool(a);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	stamp(at, BYTES, 1);
	mmb_region_close(act_clone(region, "stopped", 0));
	cue(1);
	await(2);
	stamp(at, BYTES, 2); /* waits for nobody, or never ends */
	cue(3);
	await(4);
	CLIENT_EXPECT(is_stamped(at, BYTES, 2));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "stopped"), 0);
	mmb_region_close(region);
}

static void be_stopped(struct actor *a)
{
	struct mmb_region *clone = NULL;
	char *at;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "stopped", 0, 0, NULL, &clone), 0);
	at = act_at(clone);
	CLIENT_EXPECT(is_stamped(at, BYTES, 1));
	atomic_store(&board->number[0], 1);
	await(3);
	CLIENT_EXPECT(is_stamped(at, BYTES, 1));
	cue(4);
	mmb_region_close(clone);
}

static void a_stopped_clone_with_frames_seen(void)
{
	stage_begin();
	CAST(ROLE(write_beside_it), ROLE(be_stopped));
	EXPECT(cue_comes(1));
	for (int i = 0; i < 10000 && !atomic_load(&board->number[0]); i++)
		usleep(1000);
	EXPECT(stop_process(stage_pid(1)));
	cue(2);
	EXPECT(cue_comes(3));
	stage_kill(1, SIGCONT);
	stage_end();
}

/* ---- the bound on mappings ---- */

enum { PIECES_OF_BLOCK = 17, BLOCK = 2 << 20, BLOCKS = 12, RANDOM_WRITES = 2000 };

static unsigned int mappings_of(const char *at, size_t bytes)
{
	unsigned long from, to;
	unsigned int nr = 0;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	CLIENT_EXPECT(maps != NULL);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			nr += from < (uintptr_t)at + bytes && to > (uintptr_t)at;
	fclose(maps);
	return nr;
}

/* Every other page is written: first pieces, then whole blocks. */
static void diverge_everywhere(struct actor *a)
{
	struct mmb_region *region, *clone;
	bool shares = !getenv("MMB_HIDE"); /* older kernels copy at the first touch */
	unsigned int nr, most = 0;
	char *at;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	clone = act_clone(region, NULL, 0);
	at = act_at(clone);
	CLIENT_EXPECT_EQ(mappings_of(at, BYTES), 1);
	CLIENT_EXPECT(is_stamped(at, BYTES, 1));
	if (shares) /* nothing was copied for that */
		CLIENT_EXPECT_EQ(act_stat(clone).resident, 0);
	for (size_t i = 0; i < BYTES; i += 2 * PAGE) {
		stamp(at + i, PAGE, 2);
		nr = mappings_of(at, BYTES);
		most = nr > most ? nr : most;
	}
	CLIENT_EXPECT(shares ? most > 4 : most == 1);
	CLIENT_EXPECT(most <= PIECES_OF_BLOCK * ((BYTES + BLOCK - 1) / BLOCK) + 2);
	CLIENT_EXPECT(!shares || mappings_of(at, BYTES) < most);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	for (size_t i = 0; i < BYTES; i += 2 * PAGE)
		CLIENT_EXPECT(is_stamped(at + i, PAGE, 2));
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void mappings_stay_bounded(void)
{
	PLAY(ROLE(diverge_everywhere));
}

/* Both sides write anywhere, and the clone looks at what the other has written. */
static void diverge_anywhere(struct actor *a)
{
	const size_t bytes = (size_t)BLOCKS * BLOCK;
	struct mmb_region *region, *clone;
	uint64_t random = 5;
	char *at, *of;

	act_pool(a, 0);
	region = act_region(a, bytes, 0);
	of = act_at(region);
	for (size_t i = 0; i < bytes; i += PAGE)
		of[i] = 1;
	clone = act_clone(region, NULL, 0);
	at = act_at(clone);
	for (unsigned int i = 1; i <= RANDOM_WRITES; i++) {
		size_t mine = test_below(&random, bytes / PAGE) * PAGE;
		size_t its = test_below(&random, bytes / PAGE) * PAGE;

		at[mine] = 2;
		of[its] = 3;
		CLIENT_EXPECT(at[its] == 1 || at[its] == 2);
		if (i % 50 == 0)
			CLIENT_EXPECT(mappings_of(at, bytes) <= PIECES_OF_BLOCK * BLOCKS);
	}
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void mappings_stay_bounded_at_random(void)
{
	PLAY(ROLE(diverge_anywhere));
}

/* ---- one instant ---- */

enum { COUNTERS = 3 };

static _Atomic bool enough;
static struct mmb_region *counted[COUNTERS];

/* Writes the same number everywhere, one place after the other. */
static void *count_on(void *unused)
{
	for (uint64_t n = 1; !atomic_load(&enough); n++)
		for (int i = 0; i < COUNTERS && counted[i]; i++)
			for (size_t at = 0; at < BYTES; at += 64 * PAGE)
				*(volatile uint64_t *)(act_at(counted[i]) + at) = n;
	return unused;
}

/* Each place has the number of the first one, or one less from some place on. */
static void expect_one_instant(struct mmb_region *const *clones, int nr)
{
	uint64_t first = *(uint64_t *)(void *)act_at(clones[0]), last = first;

	for (int i = 0; i < nr; i++) {
		for (size_t at = 0; at < BYTES; at += 64 * PAGE) {
			uint64_t n = *(uint64_t *)(void *)(act_at(clones[i]) + at);

			CLIENT_EXPECT(n == last || n + 1 == last);
			last = n;
		}
	}
	CLIENT_EXPECT(first - last <= 1);
}

/* Pages that are there, that are first touched meanwhile, that are locked, and that are another
 * clone's. */
static void open_counters(struct actor *a)
{
	struct mmb_region *of;

	for (int i = 0; i < COUNTERS - 1; i++)
		counted[i] = act_region(a, BYTES, 0);
	memset(act_at(counted[0]), 0, BYTES);
	CLIENT_EXPECT_EQ(mmb_region_lock(counted[0], BYTES / 4, BYTES / 8), 0);
	of = act_region(a, BYTES, 0);
	memset(act_at(of), 0, BYTES);
	counted[COUNTERS - 1] = act_clone(of, NULL, 0);
	mmb_region_close(of);
}

static void count_and_clone(struct actor *a)
{
	struct mmb_region *clones[COUNTERS];
	pthread_t thread;

	open_counters(a);
	atomic_store(&enough, false);
	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, count_on, NULL), 0);
	for (int round = 0; round < 6; round++) {
		CLIENT_EXPECT_EQ(mmb_region_clone_many(COUNTERS, counted, NULL, clones), 0);
		expect_one_instant(clones, COUNTERS);
		for (int i = 0; i < COUNTERS; i++)
			mmb_region_close(clones[i]);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	for (int i = 0; i < COUNTERS; i++)
		mmb_region_close(counted[i]);
}

static void one_instant(struct actor *a)
{
	act_pool(a, 0);
	for (int i = 0; i < 5; i++)
		count_and_clone(a);
}

static void several_regions_at_one_instant(void)
{
	PLAY(ROLE(one_instant));
}

/* ---- snapshots ---- */

static void roll_back(struct actor *a)
{
	struct mmb_region *region, *snapshot, *other;
	struct mmb_region_stat stat;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	snapshot = act_clone(region, NULL, MMB_REGION_READONLY);
	stat = act_stat(snapshot);
	CLIENT_EXPECT_EQ(stat.shared, BYTES);
	CLIENT_EXPECT_EQ(stat.own, 0);
	stat = act_stat(region);
	CLIENT_EXPECT_EQ(stat.shared, BYTES);
	CLIENT_EXPECT_EQ(stat.resident, BYTES);
	for (size_t i = 0; i < BYTES; i += 5 * PAGE)
		stamp(act_at(region) + i, PAGE, 2);
	CLIENT_EXPECT_EQ(mmb_region_rollback(snapshot, region), -EACCES);
	CLIENT_EXPECT_EQ(mmb_region_rollback(region, snapshot), 0);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	CLIENT_EXPECT(is_stamped(act_at(snapshot), BYTES, 1));
	other = act_region(a, 2 * BYTES, 0);
	CLIENT_EXPECT_EQ(mmb_region_rollback(other, snapshot), -EINVAL);
	mmb_region_close(snapshot);
	for (int i = 0; i < 10000 && act_stat(region).shared; i++)
		usleep(1000); /* its memory is on its way back */
	CLIENT_EXPECT_EQ(act_stat(region).shared, 0);
	mmb_region_close(other);
	mmb_region_close(region);
}

static void rollback_to_a_snapshot(void)
{
	PLAY(ROLE(roll_back));
}

/* ---- rollback under writers ---- */

enum { WRITERS = 3, ROUNDS = 30, WORDS = PAGES / WRITERS };
enum { ROUND, ROLLED, RESTING }; /* numbers on the board; RESTING + i: of writer i */

struct writer {
	pthread_t thread;
	volatile uint64_t *at; /* the region */
	unsigned int number;
	uint64_t sequence, written[WORDS];
};

static volatile uint64_t *word_of(const struct writer *w, unsigned int i)
{
	return w->at + (size_t)(i * WRITERS + w->number) * (PAGE / 8);
}

/* What it wrote last before some instant is lost, and what it wrote after it is there. */
static void expect_suffix(struct writer *w)
{
	uint64_t lost = 0, kept = UINT64_MAX;

	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t seen = *word_of(w, i), written = w->written[i];

		if (!written)
			CLIENT_EXPECT_EQ(seen, 1);
		else if (seen == 1)
			lost = written > lost ? written : lost;
		else if (seen != written)
			CLIENT_EXPECT_EQ(seen, written);
		else
			kept = written < kept ? written : kept;
	}
	CLIENT_EXPECT(lost < kept);
	memset(w->written, 0, sizeof(w->written));
}

/* Odd rounds: writes one page after the other until a rollback has passed under it and one in four
 * pages has been written since. */
static void *write_on(void *arg)
{
	struct writer *w = arg;

	for (uint64_t round = 1; round < 2 * ROUNDS; round += 2) {
		while (atomic_load(&board->number[ROUND]) < round)
			usleep(100);
		for (unsigned int i = 0, rest = WORDS / 4; rest; i = (i + 1) % WORDS) {
			*word_of(w, i) = w->written[i] = 2 + w->sequence++;
			rest -= atomic_load(&board->number[ROLLED]) >= round;
		}
		atomic_store(&board->number[RESTING + w->number], round);
		while (atomic_load(&board->number[ROUND]) < round + 1)
			usleep(100);
		expect_suffix(w);
		atomic_store(&board->number[RESTING + w->number], round + 1);
	}
	return NULL;
}

static void start_writer(struct writer *w, struct mmb_region *region, unsigned int number)
{
	*w = (struct writer){ .at = (uint64_t *)(void *)act_at(region), .number = number };
	CLIENT_EXPECT_EQ(pthread_create(&w->thread, NULL, write_on, w), 0);
}

static void let_them(uint64_t round)
{
	atomic_store(&board->number[ROUND], round);
}

static void wait_for_writers(uint64_t round)
{
	for (int i = 0; i < WRITERS; i++)
		while (atomic_load(&board->number[RESTING + i]) < round)
			usleep(100);
}

static void roll_under_writers(struct actor *a)
{
	struct mmb_region *region, *snapshot;
	struct writer w;

	act_common_pool(a);
	region = act_named(a, "rolled", BYTES);
	for (size_t i = 0; i < BYTES; i += PAGE)
		*(uint64_t *)(void *)(act_at(region) + i) = 1;
	snapshot = act_clone(region, NULL, MMB_REGION_READONLY);
	cue(1);
	start_writer(&w, region, 0);
	for (uint64_t round = 1; round < 2 * ROUNDS; round += 2) {
		let_them(round);
		usleep(round % 8 * 500);
		CLIENT_EXPECT_EQ(mmb_region_rollback(region, snapshot), 0);
		atomic_store(&board->number[ROLLED], round);
		wait_for_writers(round);
		let_them(round + 1);
		wait_for_writers(round + 1);
		CLIENT_EXPECT_EQ(mmb_region_rollback(region, snapshot), 0);
	}
	pthread_join(w.thread, NULL);
	for (size_t i = 0; i < BYTES; i += PAGE)
		CLIENT_EXPECT_EQ(*(uint64_t *)(void *)(act_at(snapshot) + i), 1);
	mmb_region_close(snapshot);
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "rolled"), 0);
}

static void write_under_rollback(struct actor *a)
{
	struct writer w[WRITERS - 1];
	struct mmb_region *region;

	act_common_pool(a);
	await(1);
	region = act_named(a, "rolled", BYTES);
	for (unsigned int i = 0; i < WRITERS - 1; i++)
		start_writer(&w[i], region, 1 + i);
	for (unsigned int i = 0; i < WRITERS - 1; i++)
		pthread_join(w[i].thread, NULL);
	mmb_region_close(region);
}

static void rollback_under_writers(void)
{
	PLAY(ROLE(roll_under_writers), ROLE(write_under_rollback));
}

/* The snapshot is written to all the time: the region gets what it had at one instant. */
static void roll_to_what_moves(struct actor *a)
{
	struct mmb_region *region;
	pthread_t thread;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	memset(act_at(region), 0, BYTES);
	memset(counted, 0, sizeof(counted));
	counted[0] = act_clone(region, NULL, 0);
	atomic_store(&enough, false);
	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, count_on, NULL), 0);
	for (int round = 0; round < 20; round++) {
		CLIENT_EXPECT_EQ(mmb_region_rollback(region, counted[0]), 0);
		expect_one_instant(&region, 1);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	mmb_region_close(counted[0]);
	mmb_region_close(region);
}

static void rollback_to_a_snapshot_under_writers(void)
{
	PLAY(ROLE(roll_to_what_moves));
}

static void roll_what_is_locked(struct actor *a)
{
	struct mmb_region *region, *snapshot;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, BYTES / 2, 4 * PAGE), 0);
	snapshot = act_clone(region, NULL, 0);
	stamp(act_at(region), BYTES, 2);
	CLIENT_EXPECT_EQ(mmb_region_rollback(region, snapshot), -EBUSY);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
	CLIENT_EXPECT(is_stamped(act_at(snapshot), BYTES, 1));
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, BYTES / 2, 4 * PAGE), 0);
	CLIENT_EXPECT_EQ(mmb_region_rollback(region, snapshot), 0);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	mmb_region_close(snapshot);
	mmb_region_close(region);
}

static void locked_pages_keep_a_rollback_off(void)
{
	PLAY(ROLE(roll_what_is_locked));
}

/* ---- a clone that stands still ---- */

static void stand_still(struct actor *a)
{
	struct mmb_region *clone = NULL;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "still", 0, 0, NULL, &clone), 0);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES / 2, 1));
	cue(2);
	await(4);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 1));
	mmb_region_close(clone);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "still"), 0);
}

static void write_past_it(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	mmb_region_close(act_clone(region, "still", 0));
	cue(1);
	await(3);
	stamp(act_at(region), BYTES, 2);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
	mmb_region_close(act_clone(region, NULL, 0));
	mmb_region_close(region);
	atomic_store(&board->number[0], 1);
}

static bool has_written(void *unused)
{
	return atomic_load(&board->number[0]);
}

static void a_stopped_clone_delays_nobody(void)
{
	stage_begin();
	CAST(ROLE(write_past_it), ROLE(stand_still));
	EXPECT(cue_comes(2));
	EXPECT(stop_process(stage_pid(1)));
	cue(3);
	EXPECT(test_wait(has_written, NULL, 30)); /* while the other stands still */
	stage_kill(1, SIGCONT);
	cue(4);
	stage_end();
}

/* ---- read-only, wrong ---- */

static void read_only(struct actor *a)
{
	struct mmb_region *region, *clone;
	char value;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 9);
	clone = act_clone(region, NULL, MMB_REGION_READONLY);
	stamp(act_at(region), BYTES, 10);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 9));
	CLIENT_EXPECT_EQ(touch_write(act_at(clone), 1), SIGSEGV);
	CLIENT_EXPECT_EQ(touch_read(act_at(clone), &value), 0);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void a_read_only_clone(void)
{
	PLAY(ROLE(read_only));
}

static void wrong_words(struct actor *a)
{
	struct mmb_clone_options options = { .size = sizeof(options), .flags = 1u << 31 };
	struct mmb_region *region, *clone = NULL;

	act_pool(a, 40 * MIB);
	region = act_region(a, 24 * MIB, 0);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, &options, &clone), -EINVAL);
	options = (struct mmb_clone_options){ .size = sizeof(options), .name = "" };
	CLIENT_EXPECT_EQ(mmb_region_clone(region, &options, &clone), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_clone(NULL, NULL, &clone), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_clone_many(0, &region, NULL, &clone), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, NULL, NULL), -EINVAL);
	/* Charged in full: the pool's limit holds. */
	CLIENT_EXPECT_EQ(mmb_region_clone(region, NULL, &clone), -ENOMEM);
	CLIENT_EXPECT(!clone && mmb_error()[0]);
	mmb_region_close(region);
}

static void what_cannot_be_cloned(void)
{
	PLAY(ROLE(wrong_words));
}

static const struct test_case cases[] = {
	{ "both diverge, with pages of 2 MiB", both_diverge_with_2_mib_pages },
	{ "both diverge, with pages of 2 MiB from the base stock",
	  both_diverge_with_2_mib_pages_without_hugetlb },
	{ "both diverge, with pages of 4 KiB", both_diverge_with_4_kib_pages },
	{ "a named clone outlives its parent", a_named_clone_outlives_its_parent },
	{ "sessions of a clone see its writes at once",
	  sessions_of_a_clone_see_its_writes_at_once },
	{ "a stopped clone that has the frames mapped delays nobody",
	  a_stopped_clone_with_frames_seen },
	{ "a clone that differs in many places has few mappings", mappings_stay_bounded },
	{ "a clone that differs anywhere has few mappings", mappings_stay_bounded_at_random },
	{ "several regions are cloned at one instant", several_regions_at_one_instant },
	{ "rollback to a snapshot", rollback_to_a_snapshot },
	{ "rollback under writers: each write is lost, or comes after all of it",
	  rollback_under_writers },
	{ "rollback to a region under writers gives one instant of it",
	  rollback_to_a_snapshot_under_writers },
	{ "locked pages keep a rollback off, and nothing changes",
	  locked_pages_keep_a_rollback_off },
	{ "a stopped clone delays nobody", a_stopped_clone_delays_nobody },
	{ "a read-only clone", a_read_only_clone },
	{ "what can't be cloned", what_cannot_be_cloned },
	STAGE_STOPS,
};
TEST_MAIN(cases)
