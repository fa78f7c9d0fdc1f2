/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range_fixture - chunks for a range heap in plain memory, without a daemon
 *
 * Purpose     See range_fixture.h. Anywhere is the upper half of the area.
 */
#include "lib/range_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/test.h"

#define AREA_BYTES (FIXTURE_PAGES * RANGE_PAGE)

static bool is_free(const struct range_fixture *f, uint64_t first, uint64_t nr)
{
	for (uint64_t i = first; i < first + nr; i++)
		if (i >= FIXTURE_PAGES || f->taken[i])
			return false;
	return true;
}

static uint64_t find_place(const struct range_fixture *f, uint64_t nr)
{
	uint64_t first = FIXTURE_PAGES / 2 + 1;

	/* A page of distance: what is placed anywhere touches nothing. */
	while (first < FIXTURE_PAGES && !is_free(f, first - 1, nr + 2))
		first++;
	return first;
}

static int create(void *context, struct range_backing *b)
{
	struct range_fixture *f = context;
	uint64_t nr = b->length / RANGE_PAGE, first;

	EXPECT(b->length && b->length % RANGE_PAGE == 0);
	if (f->on_create)
		f->on_create();
	if (f->bytes + b->length > f->limit)
		return -ENOMEM;
	first = b->address ? (b->address - f->base) / RANGE_PAGE : find_place(f, nr);
	if (!is_free(f, first, nr) || (b->address && f->nothing_adjacent))
		return b->address ? -EADDRNOTAVAIL : -ENOMEM;
	b->address = f->base + first * RANGE_PAGE;
	EXPECT(!mprotect((void *)(uintptr_t)b->address, b->length, PROT_READ | PROT_WRITE));
	memset(&f->taken[first], true, nr);
	b->token = &f->taken[first];
	f->bytes += b->length;
	f->nr_chunks++;
	return 0;
}

static int empty(void *context, const struct range_backing *b, uint64_t offset, uint64_t length)
{
	struct range_fixture *f = context;

	EXPECT(length && offset + length <= b->length && (offset | length) % RANGE_PAGE == 0);
	if (f->fail_empty)
		return -EBUSY;
	EXPECT(!madvise((void *)(uintptr_t)(b->address + offset), length, MADV_DONTNEED));
	return 0;
}

static void destroy(void *context, const struct range_backing *b)
{
	struct range_fixture *f = context;
	uint64_t first = (b->address - f->base) / RANGE_PAGE;

	EXPECT(b->token == &f->taken[first]);
	EXPECT(!madvise((void *)(uintptr_t)b->address, b->length, MADV_DONTNEED));
	EXPECT(!mprotect((void *)(uintptr_t)b->address, b->length, PROT_NONE));
	memset(&f->taken[first], false, b->length / RANGE_PAGE);
	f->bytes -= b->length;
	f->nr_chunks--;
}

static void kick(void *context)
{
	struct range_fixture *f = context;

	atomic_fetch_add(&f->nr_kicks, 1);
}

static uint64_t now(void *context)
{
	struct range_fixture *f = context;

	return atomic_load(&f->now_ms);
}

void range_fixture_start(struct range_fixture *f)
{
	struct range_source source = { f, create, empty, destroy, kick, now, 0 };
	void *area = mmap(NULL, AREA_BYTES + RANGE_PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	EXPECT(area != MAP_FAILED);
	memset(f, 0, sizeof(*f));
	f->base = range_page_up((uintptr_t)area);
	/* Where the host has huge pages to give, a large object isn't 3,000 page faults. */
	madvise(area, AREA_BYTES + RANGE_PAGE, MADV_HUGEPAGE);
	source.home = f->base;
	f->limit = UINT64_MAX / 2;
	f->now_ms = 5000;
	f->heap = range_heap_new(&source);
	EXPECT(f->heap != NULL);
}

void range_fixture_stop(struct range_fixture *f)
{
	EXPECT_EQ(range_heap_validate(f->heap), 0);
	range_heap_free(f->heap);
	EXPECT_EQ(f->bytes, 0);
	EXPECT_EQ(f->nr_chunks, 0);
	EXPECT(!munmap((void *)(uintptr_t)f->base, AREA_BYTES));
}

uint64_t range_fixture_alloc(struct range_fixture *f, size_t size)
{
	uint64_t object = 0;

	range_heap_alloc(f->heap, &(struct range_request){ .size = size }, &object);
	return object;
}
