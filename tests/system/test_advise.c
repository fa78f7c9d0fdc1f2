/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_advise - each advice, on parts of regions, seen from all sides
 *
 * Not here    Locked ranges (test_residency.c), read-only opens (test_readonly.c).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 8 * MIB, PAGES = BYTES / PAGE };

static const char *const flags[] = { "--memory.reserve=128M", NULL };
static const struct setting setting = { .flags = flags };

static void advise(struct mmb_region *region, size_t offset, size_t length, int advice)
{
	int error = mmb_region_advise(region, offset, length, advice);

	if (error)
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
}

/* ---- WILLNEED ---- */

static void will_need(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	advise(region, 3 * PAGE, 5 * PAGE, MMB_ADVISE_WILLNEED);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 5 * PAGE);
	CLIENT_EXPECT_EQ(act_stat(region).faults, 0);
	advise(region, 4 * PAGE, 8 * PAGE, MMB_ADVISE_WILLNEED);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 9 * PAGE);
	advise(region, 0, BYTES, MMB_ADVISE_WILLNEED);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT(is_zero(act_at(region), BYTES));
	stamp(act_at(region), BYTES, 1);
	advise(region, 0, BYTES, MMB_ADVISE_WILLNEED);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
}

static void willneed(void)
{
	PLAY(ROLE(will_need));
}

/* ---- DONTNEED ---- */

enum { HOLE = 16 * PAGE, HOLE_BYTES = 32 * PAGE };

static void drop_for_all(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = act_named(a, "d", BYTES);
	stamp(act_at(region), BYTES, 1);
	cue(1);
	await(2);
	advise(region, HOLE, HOLE_BYTES, MMB_ADVISE_DONTNEED);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES - HOLE_BYTES);
	cue(3);
	await(4);
	CLIENT_EXPECT(is_stamped(act_at(region) + HOLE, PAGE, 9));
	CLIENT_EXPECT(is_zero(act_at(region) + HOLE + PAGE, HOLE_BYTES - PAGE));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "d"), 0);
}

/* It has every page mapped before they go. */
static void lose_pages(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_common_pool(a);
	await(1);
	region = act_named(a, "d", 0);
	at = act_at(region);
	CLIENT_EXPECT(is_stamped(at, BYTES, 1));
	cue(2);
	await(3);
	CLIENT_EXPECT(is_zero(at + HOLE, HOLE_BYTES));
	stamp(at + HOLE, PAGE, 9);
	stamp(at + HOLE + HOLE_BYTES, PAGE, 2);
	CLIENT_EXPECT(is_stamped(at + HOLE + HOLE_BYTES, PAGE, 2));
	cue(4);
}

static void dontneed(void)
{
	PLAY(ROLE(drop_for_all), ROLE(lose_pages));
}

enum { RACE_ROUNDS = 400, RACE_PAGES = 64 };

static void drop_again_and_again(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = act_named(a, "race", RACE_PAGES * PAGE);
	cue(1);
	for (int i = 0; i < RACE_ROUNDS; i++)
		advise(region, 0, RACE_PAGES * PAGE, MMB_ADVISE_DONTNEED);
	atomic_store(&board->number[0], 1);
	await(2);
	advise(region, 0, RACE_PAGES * PAGE, MMB_ADVISE_DONTNEED);
	CLIENT_EXPECT(is_zero(act_at(region), RACE_PAGES * PAGE));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "race"), 0);
}

/* A word is what was written last, or zero: nothing else, whatever happens to its page. */
static void write_meanwhile(struct actor *a)
{
	struct mmb_region *region;
	volatile uint64_t *word;

	act_common_pool(a);
	await(1);
	region = act_named(a, "race", 0);
	word = (volatile uint64_t *)(void *)act_at(region);
	for (uint64_t i = 1; !atomic_load(&board->number[0]); i++) {
		volatile uint64_t *w = &word[i % RACE_PAGES * (PAGE / sizeof(*word))];
		uint64_t seen;

		*w = i;
		seen = *w;
		CLIENT_EXPECT(seen == i || seen == 0);
	}
	cue(2);
}

static void dontneed_in_a_race(void)
{
	PLAY(ROLE(drop_again_and_again), ROLE(write_meanwhile));
}

/* ---- FREE, HUGEPAGE ---- */

static void free_keeps(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 4);
	advise(region, PAGE, BYTES - PAGE, MMB_ADVISE_FREE);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 4));
}

static void advice_free(void)
{
	PLAY(ROLE(free_keeps));
}

/* What a huge page takes is counted, all of it. */
static void ask_for_huge(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	advise(region, 0, BYTES, MMB_ADVISE_RANDOM);
	act_at(region)[HUGE_PAGE + 7] = 1;
	CLIENT_EXPECT_EQ(act_stat(region).resident, PAGE);
	advise(region, 0, BYTES, MMB_ADVISE_HUGEPAGE);
	act_at(region)[3 * HUGE_PAGE + 5 * PAGE] = 2;
	CLIENT_EXPECT_EQ(act_stat(region).resident, HUGE_PAGE + PAGE);
	act_at(region)[HUGE_PAGE + 9 * PAGE] = 3;
	CLIENT_EXPECT_EQ(act_at(region)[HUGE_PAGE + 7], 1);
	CLIENT_EXPECT_EQ(act_at(region)[3 * HUGE_PAGE + 5 * PAGE], 2);
	stamp(act_at(region), BYTES, 5);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 5));
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
}

static void hugepage(void)
{
	PLAY(ROLE(ask_for_huge));
}

/* ---- SEQUENTIAL, RANDOM, NORMAL ---- */

/* Faults of touching each page once in order. */
static uint64_t faults_in_order(struct actor *a, int advice)
{
	struct mmb_region *region = act_region(a, BYTES, 0);
	uint64_t faults;

	advise(region, 0, BYTES, advice);
	for (size_t i = 0; i < PAGES; i++)
		act_at(region)[i * PAGE] = (char)(i | 1);
	for (size_t i = 0; i < PAGES; i++)
		CLIENT_EXPECT(act_at(region)[i * PAGE] == (char)(i | 1));
	faults = act_stat(region).faults;
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	mmb_region_close(region);
	return faults;
}

static void touch_in_order(struct actor *a)
{
	act_pool(a, 0);
	CLIENT_EXPECT_EQ(faults_in_order(a, MMB_ADVISE_RANDOM), PAGES);
	CLIENT_EXPECT(faults_in_order(a, MMB_ADVISE_NORMAL) < PAGES / 4);
	CLIENT_EXPECT(faults_in_order(a, MMB_ADVISE_SEQUENTIAL) < PAGES / 16);
}

/* A single touch brings its neighbours only where that was asked for. */
static void touch_parts(struct actor *a)
{
	struct mmb_region *region;
	uint64_t resident;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	advise(region, 0, BYTES / 2, MMB_ADVISE_RANDOM);
	advise(region, BYTES / 2, BYTES / 2, MMB_ADVISE_SEQUENTIAL);
	for (size_t i = 0; i < 16; i++)
		act_at(region)[i * PAGE] = 1;
	CLIENT_EXPECT_EQ(act_stat(region).resident, 16 * PAGE);
	act_at(region)[BYTES / 2] = 1;
	resident = act_stat(region).resident;
	CLIENT_EXPECT(resident > 17 * PAGE);
	advise(region, 0, BYTES, MMB_ADVISE_NORMAL);
	CLIENT_EXPECT_EQ(act_at(region)[BYTES / 2], 1);
}

static void order_of_touches(void)
{
	PLAY(ROLE(touch_in_order));
	PLAY(ROLE(touch_parts));
}

static void check_windows(struct actor *a, unsigned int nr, unsigned int sequential,
			  unsigned int random)
{
	const char *maps = mmbctl_maps(a->socket, getpid());

	CLIENT_EXPECT(maps);
	CLIENT_EXPECT_EQ(occurrences(maps, "(private)/"), nr);
	CLIENT_EXPECT_EQ(occurrences(maps, " sr "), sequential);
	CLIENT_EXPECT_EQ(occurrences(maps, " rr "), random);
}

static void split_windows(struct actor *a)
{
	struct mmb_region *region;
	char line[64];

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	check_windows(a, 1, 0, 0);
	advise(region, MIB, MIB, MMB_ADVISE_RANDOM);
	check_windows(a, 3, 0, 1);
	advise(region, 3 * MIB, MIB, MMB_ADVISE_SEQUENTIAL);
	check_windows(a, 5, 1, 1);
	snprintf(line, sizeof(line), "%lx-%lx ", (unsigned long)(uintptr_t)act_at(region) + 3 * MIB,
		 (unsigned long)(uintptr_t)act_at(region) + 4 * MIB);
	CLIENT_EXPECT(strstr(mmbctl_maps(a->socket, getpid()), line));
	act_at(region)[3 * MIB / 2] = 1;
	CLIENT_EXPECT(strstr(mmbctl_maps(a->socket, getpid()), "Rss:                   4 kB"));
	advise(region, MIB + PAGE, 3 * MIB, MMB_ADVISE_RANDOM);
	check_windows(a, 3, 0, 1);
	advise(region, 0, BYTES, MMB_ADVISE_NORMAL);
	check_windows(a, 1, 0, 0);
	mmb_region_close(region);
	check_windows(a, 0, 0, 0);
}

static void windows_in_maps(void)
{
	PLAY(ROLE(split_windows));
}

/* ---- wrong advice ---- */

static void advise_wrongly(struct actor *a)
{
	static const struct {
		size_t offset, length;
		int advice;
	} wrong[] = {
		{ 1, PAGE, MMB_ADVISE_DONTNEED },
		{ 0, 1, MMB_ADVISE_WILLNEED },
		{ BYTES, PAGE, MMB_ADVISE_RANDOM },
		{ 0, BYTES + PAGE, MMB_ADVISE_DONTNEED },
		{ PAGE, BYTES, MMB_ADVISE_WILLNEED },
		{ 0, SIZE_MAX - PAGE + 1, MMB_ADVISE_FREE },
		{ 0, PAGE, -1 },
		{ 0, PAGE, 9 },
		{ SIZE_MAX - PAGE + 1, PAGE, MMB_ADVISE_DONTNEED },
	};
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CLIENT_EXPECT_EQ(mmb_region_advise(region, wrong[i].offset, wrong[i].length,
						   wrong[i].advice),
				 -EINVAL);
	advise(region, 0, 0, MMB_ADVISE_DONTNEED);
	CLIENT_EXPECT_EQ(mmb_region_advise(NULL, 0, PAGE, MMB_ADVISE_DONTNEED), -EINVAL);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
}

static void advise_huge_wrongly(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 2 * HUGE_PAGE, &options, &region), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, PAGE, HUGE_PAGE, MMB_ADVISE_DONTNEED), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, PAGE, MMB_ADVISE_WILLNEED), -EINVAL);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 0);
	stamp(act_at(region), 2 * HUGE_PAGE, 1);
	advise(region, 0, HUGE_PAGE, MMB_ADVISE_DONTNEED);
	CLIENT_EXPECT_EQ(act_stat(region).resident, HUGE_PAGE);
	CLIENT_EXPECT(is_zero(act_at(region), HUGE_PAGE));
}

static void wrong_advice(void)
{
	PLAY(ROLE(advise_wrongly));
	PLAY(ROLE(advise_huge_wrongly));
}

static const struct test_case cases[] = {
	{ "WILLNEED makes exactly its range resident", willneed },
	{ "DONTNEED: the range reads zero for all its users, the rest is as it was", dontneed },
	{ "DONTNEED while another writes: a word is what was written or zero", dontneed_in_a_race },
	{ "FREE keeps contents while nothing is reclaimed", advice_free },
	{ "HUGEPAGE: a touch takes its 2 MiB block, and the whole of it is counted", hugepage },
	{ "RANDOM, NORMAL and SEQUENTIAL decide how much a touch brings", order_of_touches },
	{ "mmbctl maps shows windows as advice has split and merged them", windows_in_maps },
	{ "advice that can't be right is -EINVAL and changes nothing", wrong_advice },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
