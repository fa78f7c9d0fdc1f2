/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_evict_model - random touches, evictions, locks and drops against what each page must hold
 *
 * Purpose     One thread against a plain reference; then one that evicts against others that touch,
 *             lock and drop, each its own pages.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/evict.h"
#include "mm/space/reclaim.h"

enum {
	BASE = 0x10000000,
	NR = 512,
	NR_STEPS = 6000,
	NR_THREADS = 3,
	THREAD_STEPS = 1500,
	SWAP_MIB = 16,
};

struct model_page {
	uint64_t value; /* 0: never written, or dropped */
	bool locked, lazy;
};

static struct region *region;
static struct mm *mm;
static struct model_page model[NR];
static _Atomic bool stop_evicting;

static void begin(void)
{
	space_begin(&(struct space_options){ .base_mib = 16, .swap_mib = SWAP_MIB });
	region = space_region(NR, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_set_advice(mm, 1, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
	memset(model, 0, sizeof(model));
}

static void end(void)
{
	space_expect_valid(region, mm);
	space_drop_region(region); /* not the last reference */
	space_close_mm(mm);
	space_settle();
	space_end_swap();
}

static uint64_t address(uint64_t page)
{
	return BASE + page * PAGE_SIZE;
}

/* As a client's load or store: faults until the entry is there, and may be written if need be. */
static void touch(uint64_t page, bool write)
{
	for (int i = 0; i < 100000; i++) {
		bool mapped = fake_uffd_mapped(mm->uffd, address(page));

		if (mapped && !(write && fake_uffd_protected(mm->uffd, address(page))))
			return;
		space_fault(mm, address(page), (write ? OS_FAULT_WRITE : 0) |
						       (mapped ? OS_FAULT_WP : 0));
	}
	EXPECT(!"the page comes");
}

static uint64_t read_value(uint64_t page)
{
	uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)];

	EXPECT_EQ(os->read(region->section->fd, page << PAGE_SHIFT, bytes, PAGE_SIZE), 0);
	for (unsigned int i = 1; i < ARRAY_SIZE(bytes); i++)
		EXPECT_EQ(bytes[i], bytes[0] ? bytes[0] + i * (bytes[0] & 1) : 0);
	return bytes[0];
}

/* Odd values fill a page with a pattern, even ones repeat. */
static void write_value(uint64_t page, uint64_t value)
{
	uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)];

	for (unsigned int i = 0; i < ARRAY_SIZE(bytes); i++)
		bytes[i] = value + i * (value & 1);
	EXPECT_EQ(os->write(region->section->fd, page << PAGE_SHIFT, bytes, PAGE_SIZE), 0);
}

static void expect_value(uint64_t page)
{
	struct model_page *m = &model[page];
	uint64_t value;

	touch(page, false);
	value = read_value(page);
	if (m->lazy && !value)
		m->value = 0; /* it was dropped, and stays so */
	EXPECT_EQ(value, m->value);
}

static void step(uint64_t *random, uint64_t number)
{
	uint64_t page = test_below(random, NR);
	struct page_range one = { page, 1 };
	struct page_range some = { page, 1 + test_below(random, min_t(uint64_t, 64, NR - page)) };
	struct model_page *m = &model[page];

	switch (test_below(random, 8)) {
	case 0:
	case 1:
		expect_value(page);
		return;
	case 2:
	case 3:
		expect_value(page);
		touch(page, true);
		m->value = (number % 3 ? number | 1 : (number << 33 | number << 1));
		m->lazy = false;
		write_value(page, m->value);
		return;
	case 4:
		reclaim_range(region, some);
		return;
	case 5:
		m->locked = !m->locked;
		if (m->locked)
			EXPECT_EQ(region_lock_pages(region, one), 0);
		else
			region_unlock_pages(region, one);
		return;
	case 6:
		EXPECT_EQ(region_drop(region, one), m->locked ? -EBUSY : 0);
		if (!m->locked)
			m->value = 0;
		return;
	default:
		evict_lazily(region, one);
		m->lazy = true;
		return;
	}
}

static void pages_hold_what_the_model_says(void)
{
	uint64_t random = test_seed();

	begin();
	swapper_keep(true);
	for (uint64_t i = 1; i <= NR_STEPS; i++)
		step(&random, i);
	for (uint64_t page = 0; page < NR; page++)
		expect_value(page);
	end();
}

/* ---- threads ---- */

static void *evict_all(void *unused)
{
	swapper_keep(true);
	while (!atomic_load(&stop_evicting))
		reclaim_range(region, (struct page_range){ 0, NR });
	swapper_keep(false);
	return unused;
}

static void *use_own(void *argument)
{
	uint64_t me = (uint64_t)(uintptr_t)argument;
	uint64_t random = test_seed() + me + 1;

	swapper_keep(true);
	for (uint64_t i = 1; i <= THREAD_STEPS; i++) {
		uint64_t page = test_below(&random, NR / NR_THREADS) * NR_THREADS + me;
		struct page_range one = { page, 1 };

		/* Others may go again before they are read. */
		EXPECT_EQ(region_lock_pages(region, one), 0);
		EXPECT_EQ(read_value(page), model[page].value);
		if (test_below(&random, 2)) {
			touch(page, true);
			model[page].value = i << 8 | 1;
			write_value(page, model[page].value);
		}
		region_unlock_pages(region, one);
		if (!test_below(&random, 8)) {
			while (region_drop(region, one) == -EBUSY)
				;
			model[page].value = 0;
		}
	}
	swapper_keep(false);
	return NULL;
}

static void nothing_is_lost_between_threads(void)
{
	pthread_t evictor, users[NR_THREADS];

	begin();
	atomic_store(&stop_evicting, false);
	EXPECT_EQ(pthread_create(&evictor, NULL, evict_all, NULL), 0);
	for (uintptr_t i = 0; i < NR_THREADS; i++)
		EXPECT_EQ(pthread_create(&users[i], NULL, use_own, (void *)i), 0);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(users[i], NULL);
	atomic_store(&stop_evicting, true);
	pthread_join(evictor, NULL);
	swapper_keep(true);
	for (uint64_t page = 0; page < NR / NR_THREADS * NR_THREADS; page++)
		expect_value(page);
	end();
}

static const struct test_case cases[] = {
	{ "pages hold what the model says", pages_hold_what_the_model_says },
	{ "threads that use and one that evicts lose nothing", nothing_is_lost_between_threads },
};
TEST_MAIN(cases)
