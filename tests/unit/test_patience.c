/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_patience - for how long a lane spins for a read: patience.h
 */
#include "mm/space/patience.h"

#include "lib/test.h"

enum { FAST_NS = 80 * 1000, SLOW_NS = 900 * 1000, MANY = 40 };

/* What a disk that takes so long teaches in one read. */
static bool read_once(struct patience *p, uint64_t disk_ns)
{
	uint64_t patience_ns = patience_begin(p);

	if (!patience_ns)
		return false;
	if (disk_ns <= patience_ns)
		patience_came(p, disk_ns);
	else
		patience_lost(p, patience_ns);
	return true;
}

static unsigned int spun_for(struct patience *p, uint64_t disk_ns, unsigned int nr)
{
	unsigned int spun = 0;

	for (unsigned int i = 0; i < nr; i++)
		spun += read_once(p, disk_ns);
	return spun;
}

static void fast_reads_are_spun_for(void)
{
	struct patience p = { 0 };

	EXPECT_EQ(patience_begin(&p), PATIENCE_NS_MAX);
	EXPECT_EQ(spun_for(&p, FAST_NS, MANY), MANY);
	EXPECT_EQ(patience_begin(&p), PATIENCE_TIMES * FAST_NS);
}

static void slow_reads_are_slept_for(void)
{
	struct patience p = { 0 };

	spun_for(&p, SLOW_NS, MANY);
	EXPECT_EQ(spun_for(&p, SLOW_NS, 10 * PATIENCE_TRIAL), 10);
}

static void a_disk_that_slows_down_is_noticed(void)
{
	struct patience p = { 0 };

	spun_for(&p, FAST_NS, MANY);
	EXPECT(spun_for(&p, SLOW_NS, 10 * MANY) < MANY);
}

static void a_disk_that_speeds_up_is_found_out(void)
{
	struct patience p = { 0 };

	spun_for(&p, SLOW_NS, MANY);
	spun_for(&p, FAST_NS, PATIENCE_TRIAL);
	EXPECT_EQ(spun_for(&p, FAST_NS, MANY), MANY);
}

static const struct test_case cases[] = {
	{ "fast reads are spun for", fast_reads_are_spun_for },
	{ "slow reads are slept for, but for a trial (C2)", slow_reads_are_slept_for },
	{ "a disk that slows down is noticed", a_disk_that_slows_down_is_noticed },
	{ "a disk that speeds up is found out (C2)", a_disk_that_speeds_up_is_found_out },
};
TEST_MAIN(cases)
