/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stock - stock.c and stock_hold.c: admission, and memory that is held
 */
#include "mm/phys/stock.h"

#include <errno.h>
#include <pthread.h>

#include "base/inject.h"
#include "base/memalloc.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "os/os.h"

static struct stock_snapshot look(enum stock_kind kind)
{
	struct stock_snapshot s = { 0 };

	EXPECT(stock_snapshot(0, kind, &s));
	EXPECT(s.held + s.present <= s.reserve);
	EXPECT(s.committed <= s.reserve - s.margin);
	return s;
}

static struct section *region_of(enum stock_kind kind, uint64_t mib)
{
	struct section_request request = {
		.name = "region", .nr_frames = mib * FRAMES_PER_MIB, .kind = kind,
		.type = SECTION_REGION, .map = true,
	};
	struct section *s;

	EXPECT_EQ(section_add(&request, &s), 0);
	return s;
}

static int populate(struct section *s, uint64_t mib)
{
	return stock_populate(&(struct stock_populate_request){
		.section = s, .length = mib << 20, .huge = true });
}

static void commit_is_refused_at_the_limit(void)
{
	struct stock_snapshot s;

	phys_start(&(struct phys_setup){ .base_mib = 64, .no_metadata = true });
	s = look(STOCK_BASE);
	EXPECT_EQ(s.margin, 2 * PAGEBLOCK_PAGES);
	EXPECT_EQ(s.reserve, 64 * FRAMES_PER_MIB);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, s.reserve), -ENOMEM);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, UINT64_MAX), -ENOMEM);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, s.reserve - s.margin), 0);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1), -ENOMEM);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	stock_uncommit(0, STOCK_BASE, s.reserve - s.margin);
	EXPECT_EQ(look(STOCK_BASE).nr_refused, 3);
	phys_stop();
}

static void a_node_without_a_stock_admits_nothing(void)
{
	struct stock_snapshot s;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT(!stock_snapshot(0, STOCK_HUGE, &s));
	EXPECT_EQ(stock_commit(0, STOCK_HUGE, 1), -ENOMEM);
	EXPECT_EQ(stock_take(0, STOCK_HUGE, 1), -ENOMEM);
	EXPECT_EQ(stock_commit(3, STOCK_BASE, 1), -ENOMEM);
	phys_stop();
}

static void a_reserve_above_the_host_is_refused(void)
{
	struct stock_request request = { .reserve = 65536, .available = 65535 };

	phys_start(&(struct phys_setup){ .no_metadata = true });
	EXPECT_EQ(stock_init(&request), -ENOMEM);
	request.reserve = 3 * PAGEBLOCK_PAGES;
	EXPECT_EQ(stock_init(&request), -EINVAL);
	phys_stop();
}

static void hold_takes_the_reserve_but_the_slack(void)
{
	struct stock_snapshot s;

	phys_start(&(struct phys_setup){ .base_mib = 64, .mode = STOCK_HOLD, .no_metadata = true });
	s = look(STOCK_BASE);
	EXPECT_EQ(s.slack, PAGEBLOCK_PAGES);
	EXPECT_EQ(s.held, s.reserve - s.slack);
	EXPECT(s.hold && s.locked);
	EXPECT_EQ(fake_os_used(0, false) - meta_bytes(), s.held << PAGE_SHIFT);
	EXPECT_EQ(stock_refill_step(0, STOCK_BASE), 0);
	phys_stop();
}

static void taking_makes_held_memory_go_and_putting_brings_it_back(void)
{
	struct stock_snapshot s;
	struct section       *r;

	phys_start(&(struct phys_setup){ .base_mib = 64, .mode = STOCK_HOLD, .no_metadata = true });
	r = region_of(STOCK_BASE, 32);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, r->nr_frames), 0);
	EXPECT_EQ(stock_take(0, STOCK_BASE, r->nr_frames), 0);
	EXPECT_EQ(populate(r, 32), 0);
	s = look(STOCK_BASE);
	EXPECT_EQ(s.present, r->nr_frames);
	EXPECT_EQ(s.held, s.reserve - s.present);
	/* The slack comes back first. */
	EXPECT_EQ(stock_refill_step(0, STOCK_BASE), 1);
	EXPECT_EQ(look(STOCK_BASE).held, s.held - PAGEBLOCK_PAGES);
	EXPECT_EQ(stock_refill_step(0, STOCK_BASE), 0);
	phys_expect_valid();
	EXPECT_EQ(os->punch(r->fd, 0, 32 << 20), 0);
	stock_put(0, STOCK_BASE, r->nr_frames);
	stock_uncommit(0, STOCK_BASE, r->nr_frames);
	for (int i = 0; i < 16; i++)
		EXPECT_EQ(stock_refill_step(0, STOCK_BASE), 1);
	EXPECT_EQ(stock_refill_step(0, STOCK_BASE), 0);
	s = look(STOCK_BASE);
	EXPECT_EQ(s.held, s.reserve - s.slack);
	section_remove(r);
	phys_stop();
}

static void small_takes_come_out_of_the_slack(void)
{
	struct fake_os_calls before, after;

	phys_start(&(struct phys_setup){ .base_mib = 64, .mode = STOCK_HOLD, .no_metadata = true });
	EXPECT_EQ(stock_commit(0, STOCK_BASE, PAGEBLOCK_PAGES + 1), 0);
	fake_os_calls(&before);
	for (int i = 0; i < PAGEBLOCK_PAGES; i++)
		EXPECT_EQ(stock_take(0, STOCK_BASE, 1), 0);
	fake_os_calls(&after);
	EXPECT_EQ(after.punch, before.punch);
	EXPECT_EQ(stock_take(0, STOCK_BASE, 1), 0);
	fake_os_calls(&after);
	EXPECT_EQ(after.punch, before.punch + 1);
	look(STOCK_BASE);
	stock_put(0, STOCK_BASE, PAGEBLOCK_PAGES + 1);
	stock_uncommit(0, STOCK_BASE, PAGEBLOCK_PAGES + 1);
	phys_stop();
}

static void all_that_was_committed_can_be_taken(void)
{
	struct stock_snapshot s;
	struct section       *r;

	phys_start(&(struct phys_setup){ .huge_mib = 64, .base_mib = 64, .mode = STOCK_HOLD });
	s = look(STOCK_HUGE);
	r = region_of(STOCK_HUGE, 60);
	EXPECT_EQ(stock_commit(0, STOCK_HUGE, s.reserve - s.margin), 0);
	for (uint64_t block = 0; block < 30; block++)
		EXPECT_EQ(stock_take(0, STOCK_HUGE, PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(populate(r, 60), 0);
	s = look(STOCK_HUGE);
	EXPECT_EQ(s.present, s.reserve - s.margin);
	phys_expect_valid();
	EXPECT_EQ(os->punch(r->fd, 0, 60 << 20), 0);
	stock_put(0, STOCK_HUGE, s.present);
	stock_uncommit(0, STOCK_HUGE, s.present);
	section_remove(r);
	phys_stop();
}

/* As after a restart, when regions find in their place what was put by before them. */
static void what_was_present_fits_again(void)
{
	struct stock_snapshot s;
	uint64_t taken;

	phys_start(&(struct phys_setup){ .huge_mib = 64, .base_mib = 64 });
	s = look(STOCK_HUGE);
	EXPECT_EQ(stock_keep_spare(0), 0);
	taken = s.reserve - PAGEBLOCK_PAGES;
	EXPECT_EQ(stock_retake(0, STOCK_HUGE, taken), 0);
	EXPECT_EQ(stock_take(0, STOCK_HUGE, PAGEBLOCK_PAGES), -ENOMEM);
	EXPECT_EQ(stock_retake(0, STOCK_HUGE, PAGEBLOCK_PAGES), 0);
	taken += PAGEBLOCK_PAGES;
	/* Of a larger reserve. */
	EXPECT_EQ(stock_retake(0, STOCK_HUGE, s.margin), -ENOMEM);
	EXPECT_EQ(stock_take(0, STOCK_HUGE, 1), -ENOMEM);
	stock_put(0, STOCK_HUGE, taken);
	stock_leave_spare(0);
	EXPECT_EQ(stock_take(0, STOCK_HUGE, s.reserve), 0);
	EXPECT_EQ(stock_take(0, STOCK_HUGE, 1), -ENOMEM);
	stock_put(0, STOCK_HUGE, s.reserve);
	EXPECT_EQ(stock_retake(1, STOCK_HUGE, 1), -ENOMEM);
	phys_stop();
}

static void a_full_host_gives_way_to_what_is_held(void)
{
	struct section *r;

	phys_start(&(struct phys_setup){ .huge_mib = 64, .base_mib = 64, .mode = STOCK_HOLD });
	r = region_of(STOCK_HUGE, 16);
	/* Somebody else took every hugepage that the broker didn't hold. */
	fake_os_set_limit(0, UINT64_MAX, fake_os_used(0, true));
	EXPECT_EQ(stock_commit(0, STOCK_HUGE, r->nr_frames), 0);
	for (uint64_t at = 0; at < 8; at++) {
		EXPECT_EQ(stock_take(0, STOCK_HUGE, PAGEBLOCK_PAGES), 0);
		EXPECT_EQ(stock_populate(&(struct stock_populate_request){
				  .section = r, .offset = at << PAGEBLOCK_SHIFT,
				  .length = PAGEBLOCK_SIZE }), 0);
	}
	phys_expect_valid();
	EXPECT_EQ(os->punch(r->fd, 0, 16 << 20), 0);
	stock_put(0, STOCK_HUGE, r->nr_frames);
	stock_uncommit(0, STOCK_HUGE, r->nr_frames);
	section_remove(r);
	phys_stop();
}

static void each_kind_is_populated_its_own_way(void)
{
	struct section *huge, *base;
	struct fake_os_calls before, after;

	phys_start(&(struct phys_setup){ .huge_mib = 64, .base_mib = 64 });
	huge = region_of(STOCK_HUGE, 4);
	base = region_of(STOCK_BASE, 4);
	fake_os_calls(&before);
	EXPECT_EQ(populate(huge, 2), 0);
	EXPECT_EQ(stock_populate(&(struct stock_populate_request){
			  .section = base, .length = PAGE_SIZE, .cleared = true }), 0);
	EXPECT_EQ(stock_populate(&(struct stock_populate_request){
			  .section = base, .offset = PAGE_SIZE, .length = PAGE_SIZE }), 0);
	fake_os_calls(&after);
	EXPECT_EQ(after.populate_mapped - before.populate_mapped, 1);
	EXPECT_EQ(after.populate_cleared - before.populate_cleared, 1);
	EXPECT_EQ(after.populate - before.populate, 1);
	section_remove(huge);
	section_remove(base);
	phys_stop();
}

static void a_refill_that_fails_can_be_repeated(void)
{
	struct stock_snapshot before;

	phys_start(&(struct phys_setup){ .base_mib = 64, .mode = STOCK_HOLD, .no_metadata = true });
	before = look(STOCK_BASE);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 2 * PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(stock_take(0, STOCK_BASE, 2 * PAGEBLOCK_PAGES), 0);
	stock_put(0, STOCK_BASE, 2 * PAGEBLOCK_PAGES);
	stock_uncommit(0, STOCK_BASE, 2 * PAGEBLOCK_PAGES);
	EXPECT_EQ(look(STOCK_BASE).held, before.held - PAGEBLOCK_PAGES);
	inject_arm(INJECT_POPULATE, 1, -ENOMEM);
	EXPECT_EQ(stock_refill_step(0, STOCK_BASE), -ENOMEM);
	inject_arm(NR_INJECT_POINTS, 0, 0);
	phys_expect_valid();
	EXPECT_EQ(stock_refill_step(0, STOCK_BASE), 1);
	EXPECT_EQ(look(STOCK_BASE).held, before.held);
	phys_stop();
}

/* ---- start-up that only takes, and locks later ---- */

static const struct phys_setup quick = {
	.base_mib = 64, .mode = STOCK_HOLD, .no_metadata = true, .quick = true
};

static uint64_t locked_bytes(void)
{
	struct fake_os_counts counts;

	fake_os_count(&counts);
	return counts.locked;
}

static void a_quick_start_takes_all_and_locks_it_later(void)
{
	struct fake_os_calls calls;
	struct stock_snapshot s;
	uint64_t              before = locked_bytes();

	phys_start(&quick);
	s = look(STOCK_BASE);
	EXPECT_EQ(s.held, s.reserve - s.slack);
	EXPECT_EQ(fake_os_used(0, false) - meta_bytes(), s.held << PAGE_SHIFT);
	/* One block tells whether locking is allowed. */
	EXPECT(s.locked);
	EXPECT_EQ(s.bare, s.held - PAGEBLOCK_PAGES);
	EXPECT_EQ(locked_bytes() - before, PAGEBLOCK_SIZE);
	fake_os_calls(&calls);
	EXPECT_EQ(calls.populate_huge, 0);
	phys_expect_valid();
	while (stock_settle_step(0, STOCK_BASE))
		phys_expect_valid();
	s = look(STOCK_BASE);
	EXPECT_EQ(s.bare, 0);
	EXPECT_EQ(locked_bytes() - before, s.held << PAGE_SHIFT);
	EXPECT(!stock_settle_step(0, STOCK_BASE));
	phys_stop();
}

/* Taken before its turn, a block is given up without having been locked, and locking never fills
 * it again. */
static void what_is_handed_over_early_is_never_locked(void)
{
	struct stock_snapshot s;
	struct section       *r;
	uint64_t              before = locked_bytes();

	phys_start(&quick);
	r = region_of(STOCK_BASE, 32);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, r->nr_frames), 0);
	EXPECT(stock_settle_step(0, STOCK_BASE));
	EXPECT_EQ(stock_take(0, STOCK_BASE, r->nr_frames), 0);
	EXPECT_EQ(populate(r, 32), 0);
	phys_expect_valid();
	while (stock_settle_step(0, STOCK_BASE))
		;
	s = look(STOCK_BASE);
	EXPECT_EQ(s.bare, 0);
	EXPECT_EQ(s.held, s.reserve - s.present);
	EXPECT_EQ(locked_bytes() - before, s.held << PAGE_SHIFT);
	phys_expect_valid();
	EXPECT_EQ(os->punch(r->fd, 0, 32 << 20), 0);
	stock_put(0, STOCK_BASE, r->nr_frames);
	stock_uncommit(0, STOCK_BASE, r->nr_frames);
	while (stock_refill_step(0, STOCK_BASE) > 0)
		;
	s = look(STOCK_BASE);
	EXPECT_EQ(s.held, s.reserve - s.slack);
	EXPECT_EQ(locked_bytes() - before, s.held << PAGE_SHIFT);
	section_remove(r);
	phys_stop();
}

/* What could not be locked is held all the same, and can be taken. */
static void a_limit_on_locking_costs_nothing_else(void)
{
	struct stock_snapshot s;

	phys_start(&quick);
	inject_arm(INJECT_LOCK, 5, -ENOMEM);
	while (stock_settle_step(0, STOCK_BASE))
		;
	inject_arm(NR_INJECT_POINTS, 0, 0);
	EXPECT(!stock_settle_step(0, STOCK_BASE));
	s = look(STOCK_BASE);
	EXPECT(!s.locked);
	EXPECT(s.bare > 0);
	EXPECT_EQ(s.held, s.reserve - s.slack);
	phys_expect_valid();
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 30 * PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(stock_take(0, STOCK_BASE, 30 * PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(look(STOCK_BASE).present, 30 * PAGEBLOCK_PAGES);
	stock_put(0, STOCK_BASE, 30 * PAGEBLOCK_PAGES);
	stock_uncommit(0, STOCK_BASE, 30 * PAGEBLOCK_PAGES);
	phys_stop();
}

static void *settle(void *arg)
{
	while (stock_settle_step(0, STOCK_BASE))
		;
	return arg;
}

static void takers_and_the_locker_agree(void)
{
	pthread_t thread;

	phys_start(&quick);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 30 * PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(pthread_create(&thread, NULL, settle, NULL), 0);
	for (int i = 0; i < 30; i++)
		EXPECT_EQ(stock_take(0, STOCK_BASE, PAGEBLOCK_PAGES), 0);
	pthread_join(thread, NULL);
	stock_put(0, STOCK_BASE, 30 * PAGEBLOCK_PAGES);
	stock_uncommit(0, STOCK_BASE, 30 * PAGEBLOCK_PAGES);
	phys_expect_valid();
	phys_stop();
}

static void buffers_are_charged_while_there_is_room(void)
{
	struct stock_snapshot before, after;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT(stock_snapshot(0, STOCK_BASE, &before));
	EXPECT(stock_charge_buffers(1024));
	EXPECT(stock_snapshot(0, STOCK_BASE, &after));
	EXPECT_EQ(after.present - before.present, 1024);
	EXPECT_EQ(after.committed - before.committed, 1024);
	phys_expect_valid();
	EXPECT(!stock_charge_buffers(after.reserve));
	phys_expect_valid();
	stock_uncharge_buffers(1024);
	phys_stop();

	phys_start(&(struct phys_setup){ .base_mib = 64, .no_metadata = true });
	EXPECT(!stock_charge_buffers(1)); /* to nobody */
	phys_stop();
}

/* What is kept for emergencies is nobody else's, and comes back first. */
static void the_daemon_keeps_a_credit(void)
{
	uint64_t rest;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	rest = stock_available(0, STOCK_BASE);
	stock_keep_credit();
	EXPECT_EQ(stock_available(0, STOCK_BASE), rest - 2 * PAGEBLOCK_PAGES);
	stock_keep_credit(); /* it is there */
	rest -= 2 * PAGEBLOCK_PAGES;
	EXPECT_EQ(stock_available(0, STOCK_BASE), rest);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, rest), 0);
	EXPECT_EQ(stock_commit_own(0, STOCK_BASE, 1), -ENOMEM);
	memalloc_set(true);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1), -ENOMEM);
	EXPECT_EQ(stock_commit_own(0, STOCK_BASE, 2 * PAGEBLOCK_PAGES + 1), -ENOMEM);
	EXPECT_EQ(stock_commit_own(0, STOCK_BASE, PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(stock_commit_own(0, STOCK_BASE, PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(stock_commit_own(0, STOCK_BASE, 1), -ENOMEM);
	memalloc_set(false);
	phys_expect_valid();
	stock_uncommit(0, STOCK_BASE, 2 * PAGEBLOCK_PAGES);
	stock_keep_credit();
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	stock_uncommit(0, STOCK_BASE, rest);
	EXPECT_EQ(stock_available(0, STOCK_BASE), rest);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "the daemon keeps a credit for emergencies", the_daemon_keeps_a_credit },
	{ "commit is refused at the limit", commit_is_refused_at_the_limit },
	{ "a node without a stock admits nothing", a_node_without_a_stock_admits_nothing },
	{ "a reserve above the host is refused", a_reserve_above_the_host_is_refused },
	{ "hold takes the reserve but the slack", hold_takes_the_reserve_but_the_slack },
	{ "taking makes held memory go and putting brings it back",
	  taking_makes_held_memory_go_and_putting_brings_it_back },
	{ "small takes come out of the slack", small_takes_come_out_of_the_slack },
	{ "all that was committed can be taken", all_that_was_committed_can_be_taken },
	{ "after a restart what was present fits beside what has come by then",
	  what_was_present_fits_again },
	{ "a full host gives way to what is held", a_full_host_gives_way_to_what_is_held },
	{ "huge pages come through the direct map, populated ones are cleared",
	  each_kind_is_populated_its_own_way },
	{ "a refill that fails can be repeated", a_refill_that_fails_can_be_repeated },
	{ "a quick start takes all and locks it later",
	  a_quick_start_takes_all_and_locks_it_later },
	{ "what is handed over early is never locked", what_is_handed_over_early_is_never_locked },
	{ "a limit on locking costs nothing else", a_limit_on_locking_costs_nothing_else },
	{ "the daemon's own buffers are charged while there is room",
	  buffers_are_charged_while_there_is_room },
	{ "takers and the locker agree", takers_and_the_locker_agree },
};
TEST_MAIN(cases)
