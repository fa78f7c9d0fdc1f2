/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_model - random operations against a plain reference
 *
 * mm/map/swap.c against an array of counts: takers with cursors and hints, huge pages, more words,
 * fewer words, retired slots, areas that stop accepting.
 */
#include <stdio.h>
#include <string.h>

#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/map/swap.h"

enum { AREAS = 3, CURSORS = 3, MOST_CLUSTERS = 12, SEEDS = 12, STEPS = 1500, RUN = 700 };

static struct {
	uint32_t nr_slots;
	bool     accepting;
	uint16_t counts[MOST_CLUSTERS * CLUSTER_SLOTS]; /* SLOT_BAD: retired */
} model[AREAS];

static struct swap_cursor cursors[CURSORS];
static uint64_t           state;

static uint16_t *count_of(uint32_t slot)
{
	EXPECT(slot_area(slot) < AREAS);
	EXPECT(slot_index(slot) > 0 && slot_index(slot) < model[slot_area(slot)].nr_slots);
	return &model[slot_area(slot)].counts[slot_index(slot)];
}

static uint64_t model_free(void)
{
	uint64_t nr = 0;

	for (uint32_t a = 0; a < AREAS; a++)
		for (uint32_t i = 1; model[a].accepting && i < model[a].nr_slots; i++)
			nr += !model[a].counts[i];
	return nr;
}

static uint32_t random_slot(void)
{
	uint32_t area = (uint32_t)test_below(&state, AREAS);

	return slot_make(area, 1 + (uint32_t)test_below(&state, model[area].nr_slots - 1));
}

/* How many from `slot` on, at most nr, are named by a word. */
static uint32_t named_from(uint32_t slot, uint32_t nr)
{
	uint32_t i = 0;

	while (i < nr && slot_index(slot) + i < model[slot_area(slot)].nr_slots &&
	       *count_of(slot + i) && *count_of(slot + i) != SLOT_BAD)
		i++;
	return i;
}

static void take(void)
{
	uint32_t hint = test_below(&state, 2) ? random_slot() : SLOT_NONE;
	uint32_t nr = 1 + (uint32_t)test_below(&state, RUN);
	uint64_t before = model_free();
	bool     hint_free = hint && model[slot_area(hint)].accepting && !*count_of(hint);
	uint32_t got;
	uint32_t slot = swap_alloc(&cursors[test_below(&state, CURSORS)], nr, hint, &got);

	EXPECT_EQ(slot == SLOT_NONE, before == 0);
	EXPECT(!hint_free || slot == hint);
	if (!slot)
		return;
	EXPECT(got >= 1 && got <= nr);
	EXPECT(model[slot_area(slot)].accepting);
	EXPECT_EQ(slot / CLUSTER_SLOTS, (slot + got - 1) / CLUSTER_SLOTS);
	for (uint32_t i = 0; i < got; i++) {
		EXPECT_EQ(*count_of(slot + i), 0);
		*count_of(slot + i) = 1;
	}
}

static void take_huge(void)
{
	uint32_t slot = swap_alloc_huge(&cursors[test_below(&state, CURSORS)]);

	if (!slot)
		return;
	EXPECT(is_aligned(slot, CLUSTER_SLOTS));
	for (uint32_t i = 0; i < CLUSTER_SLOTS; i++) {
		EXPECT_EQ(*count_of(slot + i), 0);
		*count_of(slot + i) = 1;
	}
}

static void name_more(void)
{
	uint32_t slot = random_slot();
	uint32_t nr = named_from(slot, 1 + (uint32_t)test_below(&state, RUN));

	EXPECT_EQ(swap_count(slot), nr ? *count_of(slot) : 0);
	if (!nr)
		return;
	EXPECT_EQ(swap_dup(slot, nr), 0);
	for (uint32_t i = 0; i < nr; i++)
		++*count_of(slot + i);
}

static void name_less(bool retire)
{
	uint32_t slot = random_slot();
	uint32_t nr = named_from(slot, 1 + (uint32_t)test_below(&state, retire ? 3 : RUN));

	if (!nr)
		return;
	if (retire)
		swap_retire(slot, nr);
	else
		swap_free(slot, nr);
	for (uint32_t i = 0; i < nr; i++)
		if (!--*count_of(slot + i) && retire)
			*count_of(slot + i) = SLOT_BAD;
}

static void change_area(void)
{
	uint32_t area = (uint32_t)test_below(&state, AREAS);

	model[area].accepting = test_below(&state, 3) > 0;
	swap_area_accept(area, model[area].accepting);
}

static void step(void)
{
	switch (test_below(&state, 12)) {
	case 0: take_huge(); break;
	case 1: case 2: case 3: take(); break;
	case 4: name_more(); break;
	case 5: name_less(true); break;
	case 6: swap_cursor_put(&cursors[test_below(&state, CURSORS)]); break;
	case 7: change_area(); break;
	default: name_less(false); break;
	}
}

static void start(void)
{
	phys_start(&(struct phys_setup){ .base_mib = 64 });
	memset(model, 0, sizeof(model));
	memset(cursors, 0, sizeof(cursors));
	for (uint32_t i = 0; i < AREAS; i++) {
		struct swap_area_request request = { .priority = (int16_t)test_below(&state, 2) };
		uint32_t                 area;

		request.nr_slots = 2 + test_below(&state, MOST_CLUSTERS * CLUSTER_SLOTS - 2);
		EXPECT_EQ(swap_area_add(&request, &area), 0);
		EXPECT_EQ(area, i);
		model[i].nr_slots = (uint32_t)request.nr_slots;
		model[i].accepting = true;
		swap_area_accept(i, true);
	}
}

static void stop(void)
{
	phys_expect_valid();
	for (uint32_t a = 0; a < AREAS; a++) {
		for (uint32_t i = 1; i < model[a].nr_slots; i++) {
			uint32_t slot = slot_make(a, i);

			while (*count_of(slot) && *count_of(slot) != SLOT_BAD) {
				swap_free(slot, 1);
				--*count_of(slot);
			}
		}
	}
	phys_expect_valid();
	for (uint32_t a = 0; a < AREAS; a++)
		swap_area_remove(a);
	phys_stop();
}

static void slots_are_what_a_plain_array_says(void)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		state = test_seed() + seed;
		start();
		for (int i = 0; i < STEPS; i++)
			step();
		EXPECT_EQ(swap_free_slots(), model_free());
		stop();
	}
}

static const struct test_case cases[] = {
	{ "slots are what a plain array says", slots_are_what_a_plain_array_says },
};
TEST_MAIN(cases)
