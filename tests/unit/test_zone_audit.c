/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_zone_audit - frames conjured in absent pageblocks go, granted ones stay
 */
#include "mm/phys/zone_audit.h"

#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"

static struct zone *zone;

static void begin(void)
{
	enum grow_failure why;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 32);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
}

static void end(void)
{
	phys_expect_valid();
	phys_zone_end(zone);
	phys_stop();
}

static void an_honest_arena_is_left_alone(void)
{
	struct fake_os_calls before, after;

	begin();
	fake_os_calls(&before);
	EXPECT_EQ(zone_audit(zone), 0);
	fake_os_calls(&after);
	EXPECT_EQ(after.punch, before.punch);
	end();
}

static void conjured_frames_go_and_granted_ones_stay(void)
{
	uint64_t present;

	begin();
	present = atomic_load(&zone->present) << PAGE_SHIFT;
	fake_os_conjure(zone->section->fd, 9 * (uint64_t)PAGEBLOCK_SIZE + 5 * PAGE_SIZE);
	fake_os_conjure(zone->section->fd, 12 * (uint64_t)PAGEBLOCK_SIZE);
	EXPECT_EQ(zone_audit(zone), 2);
	EXPECT_EQ(os->allocated(zone->section->fd), present);
	EXPECT_EQ(zone_audit(zone), 0);
	end();
}

static const struct test_case cases[] = {
	{ "an honest arena is left alone", an_honest_arena_is_left_alone },
	{ "conjured frames go, granted ones stay", conjured_frames_go_and_granted_ones_stay },
};
TEST_MAIN(cases)
