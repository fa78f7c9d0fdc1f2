/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_heap - heap.c: objects of the lowest floors
 */
#include "mm/phys/heap.h"

#include <string.h>

#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/obj/slub.h"

static void each_goes_back_to_where_it_came_from(void)
{
	static const struct phys_setup setup = { .base_mib = 64 };
	char                          *early, *late;

	phys_start(&setup);
	early = phys_alloc(1000);
	objects_start(&setup);
	late = phys_alloc(1000);
	for (int i = 0; i < 1000; i++)
		EXPECT_EQ(early[i] | late[i], 0);
	EXPECT(virt_to_slab(late) != NULL);
	EXPECT(is_aligned((uintptr_t)late | (uintptr_t)early, PHYS_HEAP_ALIGN));
	phys_free(late);
	phys_free(early);
	phys_free(NULL);
	objects_stop(&setup);
	phys_stop();
}

static void zones_and_sections_are_objects(void)
{
	struct zone *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true });
	zone = phys_zone(0, 8);
	EXPECT(virt_to_slab(zone) != NULL);
	EXPECT(virt_to_slab(zone->section) != NULL);
	phys_zone_end(zone);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "each goes back to where it came from (E1)", each_goes_back_to_where_it_came_from },
	{ "zones and sections are objects", zones_and_sections_are_objects },
};
TEST_MAIN(cases)
