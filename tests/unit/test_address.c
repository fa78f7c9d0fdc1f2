/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_address - places for windows, the same in every client
 */
#include "client/address.h"

#include <errno.h>

#include "lib/test.h"

enum { MANY = 1000 };
static const uint64_t mib = 1 << 20, gib = 1 << 30, tib = 1ull << 40;

static struct range ranges[MANY];

static void expect_valid(void)
{
	struct validation v = { 0 };

	addresses_validate(&v);
	EXPECT(v.nr_checked > 0);
	EXPECT_EQ(v.nr_differences, 0);
}

static bool overlap(const struct range *a, const struct range *b)
{
	return a->start < b->start + b->length && b->start < a->start + a->length;
}

static void places_are_aligned_and_apart(void)
{
	uint64_t random = test_seed();

	addresses_init();
	for (int i = 0; i < MANY; i++) {
		uint64_t align = 4096ull << test_below(&random, 12);

		EXPECT_EQ(address_alloc(&ranges[i], (1 + test_below(&random, 64)) * mib, align), 0);
		EXPECT_EQ(ranges[i].start % align, 0);
		EXPECT(address_is_legal(ranges[i].start, ranges[i].length));
		for (int j = 0; j < i; j++)
			if (overlap(&ranges[i], &ranges[j]))
				EXPECT_EQ(i, j);
	}
	expect_valid();
	for (int i = 0; i < MANY; i++)
		address_free(&ranges[i]);
	expect_valid();
}

static bool legal_under_asan(const struct range *r)
{
	return r->start >= 0x10007fff8000ull;
}

static bool legal_under_tsan(const struct range *r)
{
	return (r->start >= 0x550000000000ull && r->start + r->length <= 0x568000000000ull) ||
	       (r->start >= 0x7e8000000000ull && r->start + r->length <= 0x800000000000ull);
}

static void what_fits_is_legal_under_both_sanitizers(void)
{
	addresses_init();
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(address_alloc(&ranges[i], 32 * gib, 2 * mib), 0);
		EXPECT(legal_under_asan(&ranges[i]) && legal_under_tsan(&ranges[i]));
	}
	EXPECT_EQ(address_alloc(&ranges[20], 2 * tib, 2 * mib), 0);
	EXPECT(legal_under_asan(&ranges[20]));
	for (int i = 0; i <= 20; i++)
		address_free(&ranges[i]);
	expect_valid();
}

/* Arenas of 100 MiB to 3 GiB, and gaps between them that others fill. */
static void what_begins_early_ends_a_span(void)
{
	const uint64_t lead = 32 * mib;
	int nr = 0;

	addresses_init();
	for (; nr < 40; nr++) {
		EXPECT_EQ(address_alloc_early(&ranges[nr], (nr + 1) * 100 * mib, 4 * mib, lead), 0);
		EXPECT_EQ((ranges[nr].start + lead) % ADDRESS_SPAN, 0);
		EXPECT(legal_under_asan(&ranges[nr]) && legal_under_tsan(&ranges[nr]));
		EXPECT(!nr || ranges[nr].start >= ranges[nr - 1].start + ranges[nr - 1].length);
	}
	EXPECT_EQ(address_alloc(&ranges[nr++], 64 * mib, 4 * mib), 0);
	EXPECT(ranges[nr - 1].start < ranges[0].start);
	expect_valid();
	address_free(&ranges[5]);
	EXPECT_EQ(address_alloc_early(&ranges[5], 500 * mib, 4 * mib, lead), 0);
	EXPECT(ranges[5].start < ranges[6].start);
	while (nr--)
		address_free(&ranges[nr]);
	expect_valid();
}

/* A place that begins otherwise is better than none, and than one that fewer processes can have. */
static void without_such_a_place_it_is_another(void)
{
	const uint64_t blocks = 448ull * 1024 * mib / (512 * mib);
	uint64_t nr = 0;

	addresses_init();
	for (; nr < blocks; nr++) /* every other half of a span stays free */
		EXPECT_EQ(address_take(&ranges[nr], 0x7e8000000000ull + nr * 512 * mib,
				       nr % 2 ? 512 * mib : 256 * mib), 0);
	EXPECT_EQ(address_alloc_early(&ranges[nr], 64 * mib, 4 * mib, 32 * mib), 0);
	EXPECT_EQ(ranges[nr].start, 0x7e8000000000ull + 256 * mib);
	EXPECT_EQ(address_alloc_early(&ranges[nr + 1], 64 * tib, 4 * mib, 32 * mib),
		  -EADDRNOTAVAIL);
	do
		address_free(&ranges[nr]);
	while (nr--);
	expect_valid();
}

static void there_is_an_end(void)
{
	int nr = 0;

	addresses_init();
	EXPECT_EQ(address_alloc(&ranges[0], 64 * tib, 2 * mib), -EADDRNOTAVAIL);
	EXPECT_EQ(ranges[0].length, 0);
	address_free(&ranges[0]); /* nothing */
	while (nr < MANY && !address_alloc(&ranges[nr], tib, 2 * mib))
		nr++;
	EXPECT(nr >= 40 && nr < 50);
	address_free(&ranges[7]);
	EXPECT_EQ(address_alloc(&ranges[7], tib, 2 * mib), 0);
	while (nr--)
		address_free(&ranges[nr]);
	expect_valid();
}

static void private_places_are_others(void)
{
	addresses_init();
	for (int i = 0; i < 47; i++) {
		if (address_alloc(&ranges[i], tib, 2 * mib))
			break;
		EXPECT(ranges[i].start + ranges[i].length <= address_private_bounds[0] ||
		       ranges[i].start >= address_private_bounds[1]);
	}
	addresses_init();
}

static void legality_is_a_process_s(void)
{
	EXPECT(!address_is_legal(0, 4096));
	EXPECT(!address_is_legal(0xffff, 4096));
	EXPECT(address_is_legal(0x10000, 4096));
	EXPECT(address_is_legal((1ull << 47) - 4096, 4096));
	EXPECT(!address_is_legal((1ull << 47) - 4096, 8192));
	EXPECT(!address_is_legal(1ull << 47, 4096));
	EXPECT(!address_is_legal(UINT64_MAX, 4096));
	EXPECT(!address_is_legal(0x10000, UINT64_MAX));
}

static const struct test_case cases[] = {
	{ "places are aligned and never share an address (X1)", places_are_aligned_and_apart },
	{ "what fits there is legal under both sanitizers",
	  what_fits_is_legal_under_both_sanitizers },
	{ "what begins early ends a span, and others fill the gaps",
	  what_begins_early_ends_a_span },
	{ "without such a place it is another one", without_such_a_place_it_is_another },
	{ "there is an end, and what is freed is used again", there_is_an_end },
	{ "a session's own places are none of the table's", private_places_are_others },
	{ "what a process can have is legal", legality_is_a_process_s },
};
TEST_MAIN(cases)
