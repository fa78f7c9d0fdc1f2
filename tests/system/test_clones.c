/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_clones - clones of regions, seen by several processes
 *
 * Not here    Divergence step by step (tests/unit/test_cow.c), random trees of clones
 *             (tests/model/test_clone_model.c).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB, PAGES = BYTES / PAGE };

static const char *const base_flags[] = { "--memory.reserve=128M", "--memory.pass_userfaultfd=all",
					  NULL };
static const char *const huge_flags[] = { "--memory.reserve=128M", "--memory.reserve_huge=64M",
					  "--memory.pass_userfaultfd=all", NULL };
static const struct setting base_setting = { .flags = base_flags };
static const struct setting huge_setting = { .flags = huge_flags };

static struct mmb_region *clone_of(struct mmb_region *region, const char *name, uint32_t flags)
{
	const struct mmb_clone_options options = { .size = sizeof(options),
						   .name = name,
						   .flags = flags };
	struct mmb_region *clone = NULL;
	int error = mmb_region_clone(region, &options, &clone);

	if (error)
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	return clone;
}

static void diverge_both(struct mmb_region *region, size_t page)
{
	size_t length = mmb_region_length(region), half = length / 2;
	struct mmb_region *clone;
	char *at = act_at(region), *copy;

	stamp(at, half, 1);
	clone = clone_of(region, NULL, 0);
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
	clone = clone_of(region, "snapshot", 0);
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
	counted[COUNTERS - 1] = clone_of(of, NULL, 0);
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
	snapshot = clone_of(region, NULL, MMB_REGION_READONLY);
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
	snapshot = clone_of(region, NULL, MMB_REGION_READONLY);
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
	counted[0] = clone_of(region, NULL, 0);
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
	snapshot = clone_of(region, NULL, 0);
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

/* Nothing is made or broken around a touch, so that what is counted is exact. */
static struct mmb_region *one_by_one(struct mmb_region *region)
{
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, mmb_region_length(region),
					   MMB_ADVISE_RANDOM), 0);
	return region;
}

/* ---- what mmbctl does by name ---- */

static int64_t figure(struct actor *a, const char *name, const char *key)
{
	char mark[80];

	snprintf(mark, sizeof(mark), "\"name\":\"%s\"", name);
	return json_number(mmbctl(a->socket, "region ls common --json"), mark, key);
}

static void snapshot_by_name(struct actor *a)
{
	struct mmb_region *region, *other, *snapshot = NULL;

	act_common_pool(a);
	region = one_by_one(act_named(a, "table", BYTES));
	other = act_named(a, "index", BYTES);
	stamp(act_at(region), BYTES, 1);
	stamp(act_at(other), BYTES, 2);
	CLIENT_EXPECT(mmbctl(a->socket, "region clone common table t1 index i1"));
	CLIENT_EXPECT_EQ(figure(a, "t1", "parent"), figure(a, "table", "id"));
	CLIENT_EXPECT_EQ(figure(a, "t1", "inherited"), BYTES);
	stamp(act_at(region), BYTES / 4, 3);
	stamp(act_at(other), BYTES, 4);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "i1", 0, MMB_REGION_READONLY, NULL, &snapshot),
			 0);
	CLIENT_EXPECT(is_stamped(act_at(snapshot), BYTES, 2));
	CLIENT_EXPECT_EQ(figure(a, "t1", "inherited"), BYTES - BYTES / 4);
	CLIENT_EXPECT_EQ(figure(a, "t1", "own"), BYTES / 4);
	CLIENT_EXPECT_EQ(figure(a, "t1", "shared"), BYTES - BYTES / 4);
	CLIENT_EXPECT(mmbctl(a->socket, "region rollback common table t1"));
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	/* One that is there already, or isn't: nothing is made. */
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone common table t2 index i1"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone common table t2 nothing n2"));
	CLIENT_EXPECT_EQ(figure(a, "t2", "id"), -1);
	CLIENT_EXPECT(!mmbctl(a->socket, "region rollback common table nothing"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone nowhere table t2"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common t1"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common i1"));
	mmb_region_close(snapshot);
	mmb_region_close(other);
	mmb_region_close(region);
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common table"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common index"));
	CLIENT_EXPECT_EQ(figure(a, "table", "id"), -1);
}

static void snapshots_by_name(void)
{
	PLAY(ROLE(snapshot_by_name));
}

static void rob(struct actor *a)
{
	await(1);
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone common private-table copy"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region rollback common private-table private-table"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region rm common private-table"));
	cue(2);
}

static void guard(struct actor *a)
{
	struct mmb_region *region = NULL;

	act_common_pool(a);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "private-table", BYTES, MMB_REGION_CREATE, NULL,
					 &region), 0);
	cue(1);
	await(2);
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "private-table"), 0);
}

static void strangers_have_no_snapshots(void)
{
	need_root("another user's client");
	PLAY(ROLE(guard), ROLE(rob, .nobody = true));
}

/* ---- who is charged ---- */

static uint64_t committed(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	return stat.committed;
}

/* What has been closed is settled in the background. */
static void wait_for_committed(struct actor *a, uint64_t bytes)
{
	for (int i = 0; i < 20000 && committed(a) != bytes; i++)
		usleep(1000);
	CLIENT_EXPECT_EQ(committed(a), bytes);
}

static void heirs_are_charged(struct actor *a)
{
	struct mmb_region *region, *older, *younger;

	act_pool(a, 0);
	region = one_by_one(act_region(a, BYTES, 0));
	stamp(act_at(region), BYTES / 2, 1);
	older = one_by_one(clone_of(region, NULL, 0));
	younger = clone_of(region, NULL, 0);
	CLIENT_EXPECT_EQ(committed(a), 3 * BYTES); /* in full */
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES / 2);
	CLIENT_EXPECT_EQ(act_stat(older).own, 0);
	stamp(act_at(older), BYTES / 8, 2);
	CLIENT_EXPECT_EQ(act_stat(older).own, BYTES / 8);
	CLIENT_EXPECT_EQ(act_stat(older).shared, BYTES / 2 - BYTES / 8);
	/* The closed one is charged for what others show, and no more. */
	mmb_region_close(region);
	wait_for_committed(a, 2 * BYTES + BYTES / 2);
	mmb_region_close(younger);
	wait_for_committed(a, BYTES + BYTES / 2 - BYTES / 8);
	CLIENT_EXPECT_EQ(act_stat(older).own, BYTES / 2);
	CLIENT_EXPECT_EQ(act_stat(older).shared, 0);
	CLIENT_EXPECT(mmbctl(a->socket, "verify"));
	stamp(act_at(older), BYTES, 3);
	wait_for_committed(a, BYTES);
	CLIENT_EXPECT_EQ(act_stat(older).own, BYTES);
	mmb_region_close(older);
	wait_for_committed(a, 0);
}

static void closed_regions_are_charged_for_what_is_shown(void)
{
	PLAY(ROLE(heirs_are_charged));
}

static void clone_into_another_pool(struct actor *a)
{
	struct mmb_clone_options there = { .size = sizeof(there) };
	struct mmb_region *region, *clone = NULL;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &there.pool), 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, &there, &clone), 0);
	stamp(act_at(region), BYTES / 2, 2);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES / 4, 1));
	/* Nothing of the parent's stays in its pool for a clone in another. */
	mmb_region_close(region);
	wait_for_committed(a, 0);
	CLIENT_EXPECT_EQ(act_stat(clone).own, BYTES);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 1));
	mmb_region_close(clone);
	mmb_pool_close(there.pool);
}

static void clones_in_other_pools_are_copies(void)
{
	PLAY(ROLE(clone_into_another_pool));
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
	mmb_region_close(clone_of(region, "still", 0));
	cue(1);
	await(3);
	stamp(act_at(region), BYTES, 2);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
	mmb_region_close(clone_of(region, NULL, 0));
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
	clone = clone_of(region, NULL, MMB_REGION_READONLY);
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
	{ "several regions are cloned at one instant", several_regions_at_one_instant },
	{ "rollback to a snapshot", rollback_to_a_snapshot },
	{ "rollback under writers: each write is lost, or comes after all of it",
	  rollback_under_writers },
	{ "rollback to a region under writers gives one instant of it",
	  rollback_to_a_snapshot_under_writers },
	{ "locked pages keep a rollback off, and nothing changes",
	  locked_pages_keep_a_rollback_off },
	{ "mmbctl makes snapshots by name, and rolls back", snapshots_by_name },
	{ "mmbctl lets strangers do nothing to a region", strangers_have_no_snapshots },
	{ "closed regions are charged for what others show, and no more",
	  closed_regions_are_charged_for_what_is_shown },
	{ "a clone in another pool leaves nothing in its parent's",
	  clones_in_other_pools_are_copies },
	{ "a clone that is stopped delays nobody", a_stopped_clone_delays_nobody },
	{ "a read-only clone", a_read_only_clone },
	{ "what can't be cloned", what_cannot_be_cloned },
	STAGE_STOPS,
};
TEST_MAIN(cases)
