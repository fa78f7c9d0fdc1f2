/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_psi - stalled time, its averages, and the text of a pressure file
 */
#include "mm/map/psi.h"

#include <string.h>

#include "lib/test.h"

static const uint64_t ms = 1000 * 1000, second = 1000ull * 1000 * 1000;
static struct psi psi;
static struct psi_snapshot s;

static void begin(uint64_t now)
{
	psi_init(&psi, now);
}

static void look(uint64_t now)
{
	psi_snapshot(&psi, now, &s);
}

static void some_is_the_time_in_which_anybody_waits(void)
{
	begin(second);
	psi_set_tasks(&psi, 3, second);
	psi_enter(&psi, second + 10 * ms);
	psi_enter(&psi, second + 20 * ms);
	psi_leave(&psi, second + 30 * ms);
	psi_leave(&psi, second + 50 * ms);
	psi_enter(&psi, second + 100 * ms);
	look(second + 101 * ms);
	EXPECT_EQ(s.total_us[PSI_SOME], 41000);
	EXPECT_EQ(s.total_us[PSI_FULL], 0);
	psi_leave(&psi, second + 101 * ms);
	psi_fini(&psi);
}

static void full_is_the_time_in_which_all_wait(void)
{
	begin(0);
	psi_set_tasks(&psi, 2, 0);
	psi_enter(&psi, 10 * ms);
	psi_enter(&psi, 15 * ms);
	psi_leave(&psi, 18 * ms);
	psi_set_tasks(&psi, 1, 20 * ms); /* the other one hasn't been seen for long */
	psi_leave(&psi, 25 * ms);
	look(30 * ms);
	EXPECT_EQ(s.total_us[PSI_SOME], 15000);
	EXPECT_EQ(s.total_us[PSI_FULL], 8000);
	psi_fini(&psi);
}

static void a_clock_read_too_early_takes_nothing_away(void)
{
	begin(second);
	psi_enter(&psi, second + 5 * ms);
	psi_leave(&psi, second + 4 * ms);
	look(second + 6 * ms);
	EXPECT_EQ(s.total_us[PSI_SOME], 0);
	psi_fini(&psi);
}

static void averages_go_towards_the_share_of_stalled_time(void)
{
	uint64_t now = 0;

	begin(0);
	for (int i = 0; i < 5; i++) { /* 10 s, half of each period */
		psi_enter(&psi, now);
		psi_leave(&psi, now + second);
		now += 2 * second;
		look(now);
		look(now); /* P3 */
	}
	/* 50 % times 1 - exp(-1), 1 - exp(-1/6), 1 - exp(-1/30) */
	EXPECT(s.average[PSI_SOME][PSI_10S] >= 3158 && s.average[PSI_SOME][PSI_10S] <= 3164);
	EXPECT(s.average[PSI_SOME][PSI_60S] >= 765 && s.average[PSI_SOME][PSI_60S] <= 771);
	EXPECT(s.average[PSI_SOME][PSI_300S] >= 162 && s.average[PSI_SOME][PSI_300S] <= 166);
	psi_fini(&psi);
}

static void averages_end_at_all_and_nothing(void)
{
	uint64_t now = 0;

	begin(0);
	psi_enter(&psi, 0);
	for (; now <= 4000 * second; now += 2 * second)
		look(now);
	for (int w = 0; w < NR_PSI_WINDOWS; w++)
		EXPECT_EQ(s.average[PSI_SOME][w], 10000);
	psi_leave(&psi, now);
	look(now += 10000 * second);
	look(now += 10000 * second);
	for (int w = 0; w < NR_PSI_WINDOWS; w++)
		EXPECT_EQ(s.average[PSI_SOME][w], 0);
	psi_fini(&psi);
}

static void periods_without_a_look_are_made_up_for(void)
{
	begin(0);
	psi_enter(&psi, 0);
	look(2 * second);
	psi_leave(&psi, 2 * second);
	look(12 * second + 1);
	/* 18.127 % times exp(-1) */
	EXPECT(s.average[PSI_SOME][PSI_10S] >= 665 && s.average[PSI_SOME][PSI_10S] <= 669);
	psi_fini(&psi);
}

static void the_text_is_the_kernels(void)
{
	char text[PSI_TEXT_BYTES];

	s = (struct psi_snapshot){ .total_us = { 1234567, 89 },
				   .average = { { 10000, 1205, 7 }, { 0, 99, 100 } } };
	psi_format(&s, text);
	EXPECT_EQ(strcmp(text, "some avg10=100.00 avg60=12.05 avg300=0.07 total=1234567\n"
			       "full avg10=0.00 avg60=0.99 avg300=1.00 total=89\n"), 0);
}

static const struct test_case cases[] = {
	{ "some: anybody waits (P1)", some_is_the_time_in_which_anybody_waits },
	{ "full: as many wait as there are (P2)", full_is_the_time_in_which_all_wait },
	{ "clocks a little behind do no harm", a_clock_read_too_early_takes_nothing_away },
	{ "averages decay as the kernel's", averages_go_towards_the_share_of_stalled_time },
	{ "averages reach 100 % and 0", averages_end_at_all_and_nothing },
	{ "periods in which nobody looked count", periods_without_a_look_are_made_up_for },
	{ "the text is a pressure file's", the_text_is_the_kernels },
};
TEST_MAIN(cases)
