/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fault_threads - the fault threads at work: events of several sessions, and parked faults
 */
#include "mm/space/lane.h"

#include <errno.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/fault.h"

enum { BASE = 0x10000000, FAR = 2 * BASE, PAGES = 1024, NR_SESSIONS = 3, PATIENCE = 20 };

static struct region *region;
static struct mm *mms[NR_SESSIONS];
static struct os_ops ticking_os; /* the fake one, with real time: lanes spin by the clock */

static void begin(void)
{
	struct lanes_request request = { .nr_fast = 2, .pin = true };

	space_begin(&(struct space_options){ .deadline_ns = 3600000000000ull });
	ticking_os = os_fake;
	ticking_os.now_ns = os_linux.now_ns;
	os = &ticking_os;
	region = space_region(PAGES, PAGE_SHIFT);
	EXPECT_EQ(lanes_start(&request), 0);
	for (int i = 0; i < NR_SESSIONS; i++) {
		mms[i] = space_mm();
		space_window(mms[i], region, BASE, 1);
		EXPECT_EQ(lanes_add(mms[i]), 0);
	}
}

static void end(void)
{
	for (int i = 0; i < NR_SESSIONS; i++) {
		lanes_del(mms[i]);
		space_close_mm(mms[i]);
	}
	lanes_stop();
	os = &os_fake;
	space_settle();
	space_expect_valid(region, NULL);
	EXPECT_EQ(atomic_load(&region->refs), 1);
	space_drop_region(region);
	space_end();
}

static void post_fault(struct mm *mm, uint64_t address, uint32_t tid)
{
	struct os_uffd_event event = { .kind = OS_EVENT_FAULT, .address = address, .tid = tid };

	fake_uffd_post(mm->uffd, &event);
}

struct place {
	struct mm *mm;
	uint64_t address;
};

static bool is_mapped(void *arg)
{
	struct place *place = arg;

	return fake_uffd_mapped(place->mm->uffd, place->address);
}

static bool is_poisoned(void *arg)
{
	struct place *place = arg;

	return fake_uffd_poisoned(place->mm->uffd, place->address);
}

static void faults_of_all_sessions_are_answered(void)
{
	begin();
	for (uint32_t i = 0; i < 200; i++)
		post_fault(mms[i % NR_SESSIONS], BASE + i * 5 * PAGE_SIZE, i % 7);
	for (uint32_t i = 0; i < 200; i++) {
		struct place place = { mms[i % NR_SESSIONS], BASE + i * 5 * PAGE_SIZE };

		EXPECT(test_wait(is_mapped, &place, PATIENCE));
	}
	end();
}

static bool has_moved(void *mm)
{
	struct mm_target t;
	struct mm_hint hint;

	if (!mm_find(mm, FAR, &t, &hint))
		return false;
	region_put(t.region);
	return true;
}

static bool has_no_window(void *mm)
{
	struct mm_target t;
	struct mm_hint hint;

	if (!mm_find(mm, FAR, &t, &hint))
		return true;
	region_put(t.region);
	return false;
}

static void moves_and_unmaps_are_followed(void)
{
	struct os_uffd_event event = {
		.kind = OS_EVENT_REMAP, .address = BASE, .to = FAR, .length = PAGES * PAGE_SIZE
	};

	begin();
	fake_uffd_post(mms[0]->uffd, &event);
	EXPECT(test_wait(has_moved, mms[0], PATIENCE));
	event = (struct os_uffd_event){ .kind = OS_EVENT_UNMAP,
					.address = FAR,
					.length = PAGES * PAGE_SIZE };
	fake_uffd_post(mms[0]->uffd, &event);
	EXPECT(test_wait(has_no_window, mms[0], PATIENCE));
	event.kind = OS_EVENT_OTHER;
	fake_uffd_post(mms[0]->uffd, &event);
	end();
}

static void parked_faults_are_retried(void)
{
	struct place place, lost;

	begin();
	place = (struct place){ mms[1], BASE + 7 * PAGE_SIZE };
	lost = (struct place){ mms[1], FAR };
	fake_os_set_limit(0, fake_os_used(0, false), 0);
	fake_uffd_window(mms[1]->uffd, FAR, PAGE_SIZE, region->section->fd, 0);
	post_fault(mms[1], FAR, 1); /* a stray, which is looked up twice */
	post_fault(mms[1], place.address, 1);
	EXPECT(test_wait(is_poisoned, &lost, PATIENCE));
	EXPECT(!is_mapped(&place));
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	EXPECT(test_wait(is_mapped, &place, PATIENCE));
	end();
}

static void sessions_come_and_go_under_faults(void)
{
	begin();
	for (uint32_t i = 0; i < 300; i++) {
		int at = (int)(i % NR_SESSIONS);

		post_fault(mms[at], BASE + i * PAGE_SIZE, i);
		if (i % 3)
			continue;
		lanes_del(mms[at]);
		space_close_mm(mms[at]);
		mms[at] = space_mm();
		space_window(mms[at], region, BASE, 1);
		EXPECT_EQ(lanes_add(mms[at]), 0);
	}
	end();
}

static const struct test_case cases[] = {
	{ "faults of all sessions are answered", faults_of_all_sessions_are_answered },
	{ "moves and unmaps are followed", moves_and_unmaps_are_followed },
	{ "parked faults are retried", parked_faults_are_retried },
	{ "sessions come and go under faults", sessions_come_and_go_under_faults },
};
TEST_MAIN(cases)
