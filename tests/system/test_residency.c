/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_residency - POPULATE, locks, exact statistics; what is granted is real, and what can't be
 * granted is refused with figures
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 2 * MIB, PAGES = BYTES / PAGE };

static const char *const base_flags[] = { "--memory.reserve=96M", NULL };
static const struct setting base_setting = { .flags = base_flags };
static const char *const crowd_flags[] = { "--memory.reserve=512M", "--limits.sessions_per_uid=300",
					   "--limits.regions_per_uid=12000", NULL };
static const struct setting crowd_setting = { .flags = crowd_flags };

static bool sentence_has(const char *part)
{
	bool found = strstr(mmb_error(), part);

	if (!found)
		printf("  \"%s\" doesn't mention \"%s\"\n", mmb_error(), part);
	return found;
}

/* ---- POPULATE, LOCKED, lock ---- */

static void populate(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, MMB_REGION_POPULATE);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 0);
	CLIENT_EXPECT_EQ(act_stat(region).faults, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_RANDOM), 0);
	for (size_t i = 0; i < PAGES; i++)
		CLIENT_EXPECT_EQ(act_at(region)[i * PAGE], 0);
	CLIENT_EXPECT_EQ(act_stat(region).faults, PAGES);
	CLIENT_EXPECT_EQ(act_stat(region).write_faults, 0);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
}

static void populated(void)
{
	PLAY(ROLE(populate));
}

static void lock_whole(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, MMB_REGION_LOCKED);
	CLIENT_EXPECT_EQ(act_stat(region).locked, BYTES);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	stamp(act_at(region), BYTES, 2);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), -EBUSY);
	CLIENT_EXPECT(sentence_has("locked"));
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, 0, BYTES), 0);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 0);
	CLIENT_EXPECT(is_zero(act_at(region), BYTES));
}

static void lock_parts(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, PAGE, 3 * PAGE), 0);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 3 * PAGE);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 3 * PAGE);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 2 * PAGE, 4 * PAGE), 0);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 5 * PAGE);
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, 0, 2 * PAGE), 0);
	CLIENT_EXPECT_EQ(act_stat(region).locked, 4 * PAGE);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 5 * PAGE);
	stamp(act_at(region), BYTES, 3);
	/* What isn't locked goes, what is stays. */
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), -EBUSY);
	CLIENT_EXPECT_EQ(act_stat(region).resident, 4 * PAGE);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 1, PAGE), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, PAGE + 1), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, BYTES + PAGE), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, BYTES, PAGE), -EINVAL);
	mmb_region_close(region);
}

static void locked(void)
{
	PLAY(ROLE(lock_whole));
	PLAY(ROLE(lock_parts));
}

/* ---- the statistics are exact ---- */

static void count_touches(struct actor *a)
{
	struct mmb_region_stat stat;
	struct mmb_region *region;
	uint64_t state = test_seed(), page;
	bool touched[PAGES] = { false };
	uint64_t nr = 0, writes = 0;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_RANDOM), 0);
	for (int i = 0; i < 200; i++) {
		page = test_below(&state, PAGES);
		if (i % 2)
			act_at(region)[page * PAGE + 5] = 1;
		else
			CLIENT_EXPECT(act_at(region)[page * PAGE + 9] == 0);
		nr += !touched[page];
		writes += !touched[page] && i % 2;
		touched[page] = true;
	}
	stat = act_stat(region);
	CLIENT_EXPECT_EQ(stat.resident, nr * PAGE);
	CLIENT_EXPECT_EQ(stat.faults, nr);
	CLIENT_EXPECT_EQ(stat.write_faults, writes);
	CLIENT_EXPECT_EQ(stat.locked, 0);
	CLIENT_EXPECT_EQ(stat.swapped, 0);
	CLIENT_EXPECT_EQ(stat.sessions, 1);
}

static void statistics(void)
{
	PLAY(ROLE(count_touches));
}

/* ---- admission ---- */

/* What the base stock of node 0 still grants. */
static uint64_t grantable(const char *socket)
{
	static const char base[] = "\"stock\":\"base\"";
	const char *status = mmbctl(socket, "status --json");

	return (uint64_t)(json_number(status, base, "reserve") -
			  json_number(status, base, "margin") -
			  json_number(status, base, "committed"));
}

/* Of a region that has been closed all is back: the daemon answers before it is. */
static uint64_t grantable_without(const char *socket, struct mmb_region *region)
{
	uint64_t with = grantable(socket), now = with, before;

	mmb_region_close(region);
	do {
		before = now;
		usleep(50000);
		now = grantable(socket);
	} while (now == with || now != before);
	return now;
}

struct totals {
	int64_t committed, present, regions, metadata;
};

static struct totals totals(const char *socket)
{
	static const char base[] = "\"stock\":\"base\"";
	const char *status = mmbctl(socket, "status --json");

	return (struct totals){
		.committed = json_number(status, base, "committed"),
		.present = json_number(status, base, "present"),
		.regions = json_number(status, "\"pools\":", "regions"),
		.metadata = json_number(status, "\"pools\":", "metadata"),
	};
}

static void ask_for_too_much(struct actor *a)
{
	struct mmb_region *region = NULL;
	struct totals before, after;
	char figure[32];
	uint64_t most;

	act_pool(a, 0);
	most = grantable_without(a->socket, act_region(a, PAGE, 0));
	before = totals(a->socket);
	for (uint64_t wanted = most + PAGE; wanted < most << 20; wanted *= 16) {
		wanted &= ~(uint64_t)(PAGE - 1);
		CLIENT_EXPECT_EQ(mmb_region_create(a->pool, wanted, NULL, &region), -ENOMEM);
		CLIENT_EXPECT(!region);
		snprintf(figure, sizeof(figure), "%llu", (unsigned long long)wanted);
		CLIENT_EXPECT(sentence_has(figure));
		snprintf(figure, sizeof(figure), "%llu", (unsigned long long)most);
		CLIENT_EXPECT(sentence_has(figure));
	}
	after = totals(a->socket);
	CLIENT_EXPECT_EQ(before.committed, after.committed);
	CLIENT_EXPECT_EQ(before.present, after.present);
	CLIENT_EXPECT_EQ(before.regions, after.regions);
	CLIENT_EXPECT_EQ(before.metadata, after.metadata);
}

static void ask_beyond_max(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_region *region, *other = NULL;

	act_pool(a, BYTES);
	region = act_region(a, BYTES - PAGE, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 2 * PAGE, NULL, &other), -ENOMEM);
	CLIENT_EXPECT(sentence_has("2097152") && sentence_has("8192"));
	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	CLIENT_EXPECT_EQ(stat.committed, BYTES - PAGE);
	CLIENT_EXPECT_EQ(stat.max, BYTES);
	CLIENT_EXPECT_EQ(stat.refused, 1);
	CLIENT_EXPECT_EQ(stat.regions, 1);
	other = act_region(a, PAGE, 0);
	stamp(act_at(region), BYTES - PAGE, 1);
	stamp(act_at(other), PAGE, 2);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES - PAGE, 1));
}

static void refusals(void)
{
	PLAY(ROLE(ask_for_too_much));
	PLAY(ROLE(ask_beyond_max));
}

/* As much as possible, in halves: the page tables are charged as well. */
static struct mmb_region *take_most(struct actor *a, uint64_t share)
{
	struct mmb_region *region = NULL;
	uint64_t bytes = grantable(a->socket) / share & ~(uint64_t)(HUGE_PAGE - 1);

	while (bytes && mmb_region_create(a->pool, bytes, NULL, &region))
		bytes -= HUGE_PAGE;
	CLIENT_EXPECT(region);
	return region;
}

enum { NR_FILLERS = 2 };

static void fill(struct actor *a)
{
	struct mmb_region *region, *more = NULL;
	size_t length;

	act_pool(a, 0);
	if (a->place)
		await(a->place);
	region = take_most(a, NR_FILLERS - a->place);
	length = mmb_region_length(region);
	cue(a->place + 1);
	await(NR_FILLERS);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 8 * MIB, NULL, &more), -ENOMEM);
	stamp(act_at(region), length, a->place);
	CLIENT_EXPECT_EQ(act_stat(region).resident, length);
	CLIENT_EXPECT(is_stamped(act_at(region), length, a->place));
	atomic_fetch_add(&board->number[0], length);
}

static void granted_is_real(void)
{
	PLAY(ROLE(fill), ROLE(fill));
	EXPECT(atomic_load(&board->number[0]) > 70 * MIB);
}

static void breathe(struct actor *a)
{
	act_pool(a, 0);
	for (int i = 0; i < 30; i++) {
		struct mmb_region *region = act_region(a, 2 * BYTES, 0);

		stamp(act_at(region), 2 * BYTES, (uint64_t)i);
		mmb_region_close(region);
	}
}

static void closing_gives_back(void)
{
	PLAY(ROLE(breathe));
}

/* ---- numbers ---- */

enum {
	CROWD = 16,
	CROWD_SESSIONS = 16, /* of each process: 256 in all */
	CROWD_REGIONS = 40,  /* of each session: 10,240 in all */
};

/* One session among many: its regions, the first page of each used. */
static void settle(struct actor *a, struct mmb_region **regions)
{
	a->mmb = NULL;
	act_pool(a, 0);
	for (int i = 0; i < CROWD_REGIONS; i++) {
		regions[i] = act_region(a, PAGE, 0);
		stamp(act_at(regions[i]), PAGE, a->place * 1000 + (uint64_t)i);
	}
}

static void come_in_numbers(struct actor *a)
{
	static struct mmb_region *regions[CROWD_SESSIONS][CROWD_REGIONS];
	struct mmb *sessions[CROWD_SESSIONS];

	for (int i = 0; i < CROWD_SESSIONS; i++) {
		settle(a, regions[i]);
		sessions[i] = a->mmb;
	}
	atomic_fetch_add(&board->number[0], 1);
	await(1);
	for (int i = 0; i < CROWD_SESSIONS; i++)
		for (int j = 0; j < CROWD_REGIONS; j++)
			CLIENT_EXPECT(is_stamped(act_at(regions[i][j]), PAGE,
						 a->place * 1000 + (uint64_t)j));
	for (int i = 0; i < CROWD_SESSIONS; i++)
		mmb_close(sessions[i]);
	a->mmb = NULL;
}

static bool all_are_in(void *unused)
{
	return atomic_load(&board->number[0]) == CROWD;
}

static void ten_thousand_regions(void)
{
	const struct role role = ROLE(come_in_numbers);
	struct broker_counters now;
	struct fixture *f;

	stage_set(&crowd_setting);
	f = stage_begin();
	for (int i = 0; i < CROWD; i++)
		stage_cast(&role, 1);
	EXPECT(test_wait(all_are_in, NULL, 60));
	EXPECT(fixture_read(f, &now));
	EXPECT(now.regions >= 10000);
	EXPECT(now.sessions >= 256);
	fixture_expect_verified(f);
	cue(1);
	stage_end();
}

static const struct test_case cases[] = {
	{ "POPULATE: every page is resident before the call returns", populated },
	{ "LOCKED and lock: resident, counted, not to be dropped until unlocked", locked },
	{ "statistics tell the touches exactly", statistics },
	{ "what can't be granted is refused with figures, and nothing has changed", refusals },
	{ "all that was granted can be touched, by two processes at once", granted_is_real },
	{ "closing a region gives its memory back", closing_gives_back },
	{ "10,000 regions and 256 sessions at once", ten_thousand_regions },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&base_setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
