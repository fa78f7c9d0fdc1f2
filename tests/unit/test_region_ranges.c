/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_region_ranges - advice and locks on ranges (verbs_range.c), and what a region's figures say
 *                      (verbs_region.c)
 */
#include <errno.h>

#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { UID = 1000, MIB = 1 << 20 };

static struct session *a, *b;
static uint32_t pool_a, pool_b;
static struct region_opened r, shared; /* of a; b's opening of the same */
static struct client_counts before;

static void begin_page(uint32_t page_size, const struct client_options *options)
{
	struct region_open_args args = {
		.name = "r", .length = 8 * MIB, .page_size = page_size, .flags = MMB_REGION_CREATE
	};

	client_begin(options);
	client_count(&before);
	client_share_pool(UID, &a, &pool_a, &b, &pool_b);
	args.pool = pool_a;
	EXPECT_EQ(verb_region_open(a, &args, &r, &client_why), 0);
	client_map(a, &r);
	shared = client_region(b, pool_b, "r", 0, 0);
}

static void begin(void)
{
	begin_page(PAGE_SIZE, NULL);
}

static void end(void)
{
	client_expect_valid();
	EXPECT_EQ(client_unlink(a, pool_a, "r", &client_why), 0);
	client_leave(a);
	client_leave(b);
	client_settle();
	client_expect_counts(&before);
	client_end();
}

static struct region_range_args range(uint64_t offset, uint64_t length)
{
	return (struct region_range_args){ .region = r.handle, .offset = offset, .length = length };
}

static int advise(uint32_t advice, uint64_t offset, uint64_t length)
{
	struct region_range_args args = range(offset, length);

	args.advice = advice;
	return verb_region_advise(a, &args, &client_why);
}

static int lock(uint64_t offset, uint64_t length)
{
	struct region_range_args args = range(offset, length);

	return verb_region_lock(a, &args, &client_why);
}

static int unlock(uint64_t offset, uint64_t length)
{
	struct region_range_args args = range(offset, length);

	return verb_region_unlock(a, &args, &client_why);
}

static struct region_stat stat_of(void)
{
	struct region_stat stat;

	EXPECT_EQ(verb_region_stat(a, r.handle, &stat, &client_why), 0);
	return stat;
}

/* ---- ranges ---- */

static void wrong_ranges_are_refused_in_words(void)
{
	static const struct {
		uint64_t offset, length;
		const char *words;
	} table[] = {
		{ 0, 0, "above 0" },
		{ 1, PAGE_SIZE, "multiples" },
		{ 0, 1, "multiples" },
		{ 0, 8 * MIB + PAGE_SIZE, "beyond" },
		{ 8 * MIB, PAGE_SIZE, "beyond" },
		{ UINT64_MAX & ~4095ull, PAGE_SIZE, "beyond" },
		{ PAGE_SIZE, UINT64_MAX & ~4095ull, "beyond" },
	};

	begin();
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		EXPECT_REFUSED(advise(MMB_ADVISE_WILLNEED, table[i].offset, table[i].length),
			       -EINVAL, table[i].words);
		EXPECT_REFUSED(lock(table[i].offset, table[i].length), -EINVAL, table[i].words);
		EXPECT_REFUSED(unlock(table[i].offset, table[i].length), -EINVAL, table[i].words);
	}
	EXPECT_REFUSED(advise(9, 0, MIB), -EINVAL, "doesn't exist");
	EXPECT_REFUSED(advise(10, 0, MIB), -EINVAL, "doesn't exist");
	EXPECT_REFUSED(advise(UINT32_MAX, 0, MIB), -EINVAL, "doesn't exist");
	end();
}

static void ranges_are_of_the_region_s_pages(void)
{
	begin_page(PAGEBLOCK_SIZE, &(struct client_options){ .space.huge_mib = 32 });
	EXPECT_REFUSED(advise(MMB_ADVISE_WILLNEED, 0, MIB), -EINVAL, "2097152");
	EXPECT_REFUSED(lock(MIB, 2 * MIB), -EINVAL, "2097152");
	EXPECT_EQ(advise(MMB_ADVISE_WILLNEED, 2 * MIB, 4 * MIB), 0);
	EXPECT_EQ(stat_of().resident, 4 * MIB);
	EXPECT_EQ(advise(MMB_ADVISE_DONTNEED, 2 * MIB, 2 * MIB), 0);
	EXPECT_EQ(stat_of().resident, 2 * MIB);
	end();
}

/* ---- advice ---- */

static void willneed_makes_and_dontneed_drops(void)
{
	begin();
	EXPECT_EQ(advise(MMB_ADVISE_WILLNEED, MIB, 2 * MIB), 0);
	EXPECT_EQ(stat_of().resident, 2 * MIB);
	EXPECT_EQ(client_touch(b, shared.address + MIB), TOUCH_MAPPED);
	EXPECT_EQ(advise(MMB_ADVISE_DONTNEED, 0, 2 * MIB), 0);
	EXPECT_EQ(stat_of().resident, MIB);
	EXPECT(!fake_uffd_mapped(client_uffd(b), shared.address + MIB));
	EXPECT_EQ(client_told.nr_zaps, 0); /* nothing is poisoned */
	end();
}

static void advice_about_order_stays_with_the_window(void)
{
	begin();
	EXPECT_EQ(advise(MMB_ADVISE_SEQUENTIAL, 0, 2 * MIB), 0);
	EXPECT_EQ(advise(MMB_ADVISE_RANDOM, 4 * MIB, MIB), 0);
	EXPECT_EQ(a->mm->nr_windows, 4);
	EXPECT_EQ(b->mm->nr_windows, 1);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT(fake_uffd_mapped(client_uffd(a), r.address + MIB));
	space_settle();
	EXPECT_EQ(advise(MMB_ADVISE_NORMAL, 0, 8 * MIB), 0);
	EXPECT_EQ(a->mm->nr_windows, 1);
	end();
}

static void advice_needs_a_window(void)
{
	begin();
	EXPECT_EQ(mm_remove_range(a->mm, r.address, 8 * MIB), 0);
	EXPECT_REFUSED(advise(MMB_ADVISE_SEQUENTIAL, 0, MIB), -ENOENT, "can't be kept");
	end();
}

static void free_is_kept_and_hugepage_comes_by_blocks(void)
{
	begin();
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT_EQ(advise(MMB_ADVISE_FREE, 0, MIB), 0);
	EXPECT_EQ(stat_of().resident, PAGE_SIZE);
	EXPECT_EQ(advise(MMB_ADVISE_HUGEPAGE, 0, 8 * MIB), 0);
	EXPECT_EQ(client_touch(a, r.address + 5 * MIB), TOUCH_MAPPED);
	EXPECT_EQ(stat_of().resident, PAGEBLOCK_SIZE + PAGE_SIZE);
	end();
}

static void a_host_without_memory_is_told(void)
{
	begin();
	fake_os_set_limit(0, fake_os_used(0, false), 0);
	EXPECT_REFUSED(advise(MMB_ADVISE_WILLNEED, 0, MIB), -ENOMEM, "can't be produced");
	EXPECT_REFUSED(lock(0, MIB), -ENOMEM, "can't be produced");
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	EXPECT_EQ(stat_of().locked, 0);
	end();
}

/* ---- locks ---- */

static void locked_ranges_are_resident_and_stay(void)
{
	begin();
	EXPECT_EQ(lock(MIB, MIB), 0);
	EXPECT_EQ(stat_of().locked, MIB);
	EXPECT_EQ(stat_of().resident, MIB);
	EXPECT_REFUSED(advise(MMB_ADVISE_DONTNEED, 0, 8 * MIB), -EBUSY, "locked");
	EXPECT_EQ(stat_of().resident, MIB);
	EXPECT_EQ(unlock(0, 8 * MIB), 0);
	EXPECT_EQ(stat_of().locked, 0);
	EXPECT_EQ(advise(MMB_ADVISE_DONTNEED, 0, 8 * MIB), 0);
	EXPECT_EQ(stat_of().resident, 0);
	end();
}

static void a_read_only_opening_changes_nothing(void)
{
	struct region_opened look;
	struct region_range_args args;

	begin();
	look = client_region(b, pool_b, "r", 0, MMB_REGION_READONLY);
	args = (struct region_range_args){ .region = look.handle, .length = MIB };
	EXPECT_REFUSED(verb_region_lock(b, &args, &client_why), -EACCES, "read-only");
	EXPECT_REFUSED(verb_region_unlock(b, &args, &client_why), -EACCES, "read-only");
	args.advice = MMB_ADVISE_DONTNEED;
	EXPECT_REFUSED(verb_region_advise(b, &args, &client_why), -EACCES, "read-only");
	args.advice = MMB_ADVISE_FREE;
	EXPECT_REFUSED(verb_region_advise(b, &args, &client_why), -EACCES, "read-only");
	args.advice = MMB_ADVISE_WILLNEED;
	EXPECT_EQ(verb_region_advise(b, &args, &client_why), 0);
	args.advice = MMB_ADVISE_SEQUENTIAL;
	EXPECT_EQ(verb_region_advise(b, &args, &client_why), 0);
	end();
}

/* ---- poison ---- */

static void lose_page(const struct window *w, void *page)
{
	region_poison(w->region, *(uint64_t *)page, "a test");
}

static void after_dontneed_a_lost_page_reads_zero_for_all(void)
{
	uint64_t page = 5;

	begin();
	mm_for_each_window(a->mm, lose_page, &page);
	EXPECT_EQ(client_touch(a, r.address + page * PAGE_SIZE), TOUCH_SIGBUS);
	EXPECT_EQ(client_touch(b, shared.address + page * PAGE_SIZE), TOUCH_SIGBUS);
	EXPECT_REFUSED(advise(MMB_ADVISE_WILLNEED, 0, MIB), -EIO, "can't be produced");
	EXPECT_EQ(advise(MMB_ADVISE_DONTNEED, 0, MIB), 0);
	EXPECT_EQ(client_told.nr_zaps, 2); /* entries are the client's to drop */
	EXPECT_EQ(client_told.last_zap.length, MIB);
	EXPECT_EQ(client_touch(a, r.address + page * PAGE_SIZE), TOUCH_MAPPED);
	EXPECT_EQ(client_touch(b, shared.address + page * PAGE_SIZE), TOUCH_MAPPED);
	end();
}

static void after_dontneed_a_page_that_came_too_late_comes(void)
{
	begin();
	fake_os_set_limit(0, fake_os_used(0, false), 0);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_WAITS);
	fake_os_advance_ns(2000000000);
	while (fault_retry_parked(os->now_ns()))
		fake_os_advance_ns(1000000000);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_SIGBUS);
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_SIGBUS); /* nobody can take it back unasked */
	EXPECT_EQ(advise(MMB_ADVISE_DONTNEED, 0, MIB), 0);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	end();
}

static void many_windows_are_all_zapped(void)
{
	uint64_t page = 1;

	begin();
	for (uint64_t i = 0; i < 400; i += 2) /* advice cuts the window into many */
		EXPECT_EQ(advise(MMB_ADVISE_RANDOM, i * PAGE_SIZE, PAGE_SIZE), 0);
	for (page = 1; page < 400; page += 2) {
		mm_for_each_window(a->mm, lose_page, &page);
		EXPECT_EQ(client_touch(a, r.address + page * PAGE_SIZE), TOUCH_SIGBUS);
	}
	EXPECT_EQ(advise(MMB_ADVISE_DONTNEED, 0, 8 * MIB), 0);
	for (page = 0; page < 400; page++)
		EXPECT_EQ(client_touch(a, r.address + page * PAGE_SIZE), TOUCH_MAPPED);
	end();
}

static void faults_are_counted(void)
{
	begin();
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT_EQ(client_touch(b, shared.address), TOUCH_MAPPED);
	space_fault(a->mm, r.address + MIB, OS_FAULT_WRITE);
	EXPECT_EQ(stat_of().faults, 3);
	EXPECT_EQ(stat_of().write_faults, 1);
	EXPECT_EQ(stat_of().sessions, 2);
	EXPECT_EQ(stat_of().length, 8 * MIB);
	EXPECT_EQ(stat_of().page_size, PAGE_SIZE);
	end();
}

static void long_advice_takes_turns(void)
{
	struct region_range_args args;
	struct region_opened     large;
	struct region_stat       stat;
	uint64_t                 done = 0, turns = 1, before_turn;
	int                      error;

	begin();
	large = client_region(a, pool_a, "", 20 * MIB, 0);
	args = (struct region_range_args){ .region = large.handle,
					   .advice = MMB_ADVISE_WILLNEED,
					   .offset = 2 * MIB,
					   .length = 19 * MIB,
					   .done = &done };
	EXPECT_REFUSED(verb_region_advise(a, &args, &client_why), -EINVAL, "beyond");
	EXPECT_EQ(done, 0);
	args.length = 18 * MIB;
	do {
		before_turn = done;
		error = verb_region_advise(a, &args, &client_why);
		EXPECT(done > before_turn);
		EXPECT_EQ(verb_region_stat(a, large.handle, &stat, &client_why), 0);
		EXPECT_EQ(stat.resident, done);
		turns += error == -EAGAIN;
	} while (error == -EAGAIN);
	EXPECT_EQ(error, 0);
	EXPECT_EQ(done, 18 * MIB);
	EXPECT(turns > 2);
	EXPECT_EQ(verb_region_close(a, large.handle, &client_why), 0);
	end();
}

typedef int (*range_verb_fn)(struct session *s, const struct region_range_args *args,
			     struct refusal *why);

/* How many turns it took; *error is the last one's. */
static unsigned int in_turns(range_verb_fn verb, struct region_range_args args, int *error)
{
	uint64_t done = 0, before_turn;
	unsigned int turns = 0;

	args.done = &done;
	do {
		before_turn = done;
		*error = verb(a, &args, &client_why);
		turns++;
	} while (*error == -EAGAIN && done > before_turn);
	return turns;
}

/* Of one that overcommits: more than there is. */
static void locks_and_drops_take_turns(void)
{
	struct pool_open_args open = { .name = "o", .mode = 0666,
				       .flags = MMB_POOL_CREATE | MMB_POOL_OVERCOMMIT };
	struct region_range_args args = { .length = 18 * MIB };
	struct region_opened large;
	struct region_stat stat;
	uint32_t pool;
	int error;

	begin();
	EXPECT_EQ(client_open_pool(a, &open, &pool), 0);
	large = client_region(a, pool, "", 80 * MIB, 0);
	args.region = large.handle;
	EXPECT_EQ(in_turns(verb_region_lock, args, &error), 3);
	EXPECT_EQ(error, 0);
	EXPECT_EQ(verb_region_stat(a, large.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.locked, 18 * MIB);
	/* What lies behind them is dropped, and in the end the locked ones are told of. */
	EXPECT_EQ(client_touch(a, large.address + 70ull * MIB), TOUCH_MAPPED);
	args.length = 80ull * MIB;
	args.advice = MMB_ADVISE_DONTNEED;
	EXPECT_EQ(in_turns(verb_region_advise, args, &error), 3);
	EXPECT_EQ(error, -EBUSY);
	EXPECT_EQ(verb_region_stat(a, large.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.resident, 18 * MIB);
	EXPECT_EQ(in_turns(verb_region_unlock, args, &error), 3);
	EXPECT_EQ(error, 0);
	EXPECT_EQ(in_turns(verb_region_advise, args, &error), 3);
	EXPECT_EQ(error, 0);
	EXPECT_EQ(verb_region_stat(a, large.handle, &stat, &client_why), 0);
	EXPECT(!stat.resident && !stat.locked);
	/* What is hinted at needs no turns. */
	args.advice = MMB_ADVISE_RANDOM;
	EXPECT_EQ(in_turns(verb_region_advise, args, &error), 1);
	EXPECT_EQ(verb_region_close(a, large.handle, &client_why), 0);
	EXPECT_EQ(verb_pool_close(a, pool, &client_why), 0);
	end();
}

/* One turn has been, and a page of a later one is lost. */
static void a_lock_that_fails_late_takes_back_its_own_alone(void)
{
	struct region_range_args args = { .length = 18 * MIB }, other = { .length = MIB / 64 };
	struct pool_open_args open = { .name = "o", .mode = 0666,
				       .flags = MMB_POOL_CREATE | MMB_POOL_OVERCOMMIT };
	struct region_handle *rh;
	struct region_opened large;
	struct region_stat stat;
	uint64_t done = 0;
	uint32_t pool;

	begin();
	EXPECT_EQ(client_open_pool(a, &open, &pool), 0);
	large = client_region(a, pool, "", 20 * MIB, 0);
	args.region = other.region = large.handle;
	args.done = &done;
	EXPECT_EQ(verb_region_lock(a, &args, &client_why), -EAGAIN);
	other.offset = 4 * MIB;
	EXPECT_EQ(verb_region_lock(a, &other, &client_why), 0);
	rh = session_region(a, large.handle, &client_why);
	EXPECT(region_poison(rh->pr->region, (17 * MIB) >> PAGE_SHIFT, "a test"));
	region_handle_put(rh);
	EXPECT_EQ(verb_region_lock(a, &args, &client_why), -EAGAIN);
	EXPECT_EQ(verb_region_lock(a, &args, &client_why), -EIO);
	EXPECT_EQ(verb_region_stat(a, large.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.locked, other.length);
	/* In the other order, too. */
	done = 0;
	EXPECT_EQ(verb_region_lock(a, &args, &client_why), -EAGAIN);
	EXPECT_EQ(verb_region_lock(a, &args, &client_why), -EAGAIN);
	EXPECT_EQ(verb_region_lock(a, &args, &client_why), -EIO);
	EXPECT_EQ(verb_region_stat(a, large.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.locked, other.length);
	EXPECT_EQ(verb_region_unlock(a, &other, &client_why), 0);
	EXPECT_EQ(verb_region_stat(a, large.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.locked, 0);
	EXPECT_EQ(verb_region_close(a, large.handle, &client_why), 0);
	EXPECT_EQ(verb_pool_close(a, pool, &client_why), 0);
	end();
}

static const struct test_case cases[] = {
	{ "wrong ranges and advice are refused in words", wrong_ranges_are_refused_in_words },
	{ "ranges are of the region's own pages", ranges_are_of_the_region_s_pages },
	{ "WILLNEED makes resident, DONTNEED drops for all", willneed_makes_and_dontneed_drops },
	{ "advice that takes long takes turns", long_advice_takes_turns },
	{ "locks and drops of long ranges take turns", locks_and_drops_take_turns },
	{ "a lock that fails in a late turn takes back its own alone",
	  a_lock_that_fails_late_takes_back_its_own_alone },
	{ "advice about order is the window's own", advice_about_order_stays_with_the_window },
	{ "advice about order needs a window", advice_needs_a_window },
	{ "FREE is kept without reclaim, HUGEPAGE comes by blocks",
	  free_is_kept_and_hugepage_comes_by_blocks },
	{ "a host without memory is told", a_host_without_memory_is_told },
	{ "locked ranges are resident and stay", locked_ranges_are_resident_and_stay },
	{ "a read-only opening changes nothing", a_read_only_opening_changes_nothing },
	{ "after DONTNEED a lost page reads zero, for all users",
	  after_dontneed_a_lost_page_reads_zero_for_all },
	{ "after DONTNEED a page that missed its deadline comes",
	  after_dontneed_a_page_that_came_too_late_comes },
	{ "however many windows there are, all are zapped", many_windows_are_all_zapped },
	{ "faults and users are counted", faults_are_counted },
};
TEST_MAIN(cases)
