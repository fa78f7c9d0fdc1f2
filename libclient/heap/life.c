/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life - a heap's birth and end
 *
 * Purpose     The memory of a thread's heap: where it comes from, what a hit may see of it before
 *             and after (H4 to H6 of heap.h), and how what it owned is left to others.
 * Locking     heap_pool.lock for the list of heaps and their numbers.
 * Not here    What it does meanwhile (heap.c), who visits it (visit.c).
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/harden.h"
#include "heap/heap.h"
#include "heap/magazine.h"

enum { HEAP_AHEAD_UNITS = 1 << 20 };

/* Misses always: its pool is no pool, its window is empty. Nobody looks behind what a hit looks at
 * before that, so nothing else of it is there: the library's data is on one page less. */
static _Alignas(struct heap) union {
	_Atomic(struct mmb_pool *) open_pool;
	uint8_t                    bytes[offsetof(struct heap, quick)];
} heap_none = { .open_pool = HEAP_CLOSED };
#define HEAP_NONE ((struct heap *)(void *)&heap_none)
_Thread_local struct heap *heap_current = HEAP_NONE;

bool heap_grow_ids(struct heap_pool *hp)
{
	uint32_t nr = hp->nr_ids ? hp->nr_ids * 2 : 2;
	uint64_t *ids = nr <= HEAP_THREADS / 64 ? calloc(nr, sizeof(*ids)) : NULL;

	if (!ids)
		return false;
	if (hp->nr_ids)
		memcpy(ids, hp->ids, hp->nr_ids * sizeof(*ids));
	else
		ids[0] = 1; /* the shelf's */
	free(hp->ids);
	hp->ids = ids;
	hp->nr_ids = nr;
	return true;
}

static uint32_t take_id_locked(struct heap_pool *hp)
{
	for (uint32_t i = 0; i < hp->nr_ids || heap_grow_ids(hp); i++) {
		uint32_t bit;

		if (hp->ids[i] == UINT64_MAX)
			continue;
		bit = (uint32_t)__builtin_ctzll(~hp->ids[i]);
		hp->ids[i] |= 1ull << bit;
		return heap_shelf_id(hp) | (i * 64 + bit);
	}
	return 0;
}

void heap_open(struct heap *h)
{
	uint64_t length = h->pool->no_hits ? 0 : h->home->length;

	atomic_store_explicit(&h->open_length, length, memory_order_release);
	atomic_store_explicit(&h->open_pool, h->mark, memory_order_release);
}

/* H4 */
static struct mmb_pool *mark_of(const struct heap_pool *hp)
{
	return (struct mmb_pool *)((uintptr_t)hp->handle | (hp->no_hits ? 2 : 0));
}

static size_t bytes_of(uint32_t nr_units)
{
	return sizeof(struct heap) + nr_units * sizeof(struct heap_magazine *);
}

/* A page of what of_unit takes is there once a slab of its 32 MiB is the heap's. */
static struct heap *heap_memory(uint32_t nr_units)
{
	size_t bytes = bytes_of(nr_units);
	struct heap *h = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (h == MAP_FAILED)
		return NULL;
	/* H5 */
	if (madvise(h, bytes, MADV_WIPEONFORK)) {
		munmap(h, bytes);
		return NULL;
	}
	h->nr_units = nr_units;
	atomic_store_explicit(&h->open_pool, HEAP_CLOSED, memory_order_relaxed);
	return h;
}

struct heap *heap_ahead(void)
{
	struct heap *h = heap_memory(HEAP_AHEAD_UNITS);

	if (!h)
		return NULL;
	heap_begin_bins(h, SLAB_SIZE_CLASSES - 1);
	h->cold[0] = (struct heap_bin){ 0 };
	h->of_unit[0] = NULL;
	return h;
}

struct heap *heap_new(struct heap_pool *hp, struct heap *spare)
{
	const struct heap_view *home =
		&hp->views[atomic_load_explicit(&hp->home, memory_order_relaxed)];
	uint32_t nr_units = (uint32_t)(home->length >> SLAB_UNIT_SHIFT);
	struct heap *h = spare;

	if (spare && spare->nr_units < nr_units) {
		heap_free(spare);
		h = NULL;
	}
	if (!h)
		h = heap_memory(nr_units);
	if (!h)
		return NULL;
	h->pool = hp;
	h->mark = mark_of(hp);
	h->home = home;
	h->base = h->home->base;
	h->map = h->home->map;
	h->key = hp->key;
	h->free_mark = slab_mark(hp->key);
	h->keeps_any = hp->is_private && hp->magazine_bytes;
	static_assert(offsetof(struct heap, magazines[SLAB_SIZE_CLASSES]) <= 4096, "one page");
	h->nr_bins = 0;
	heap_begin_bins(h, SLAB_SIZE_CLASSES - 1);
	pthread_mutex_lock(&hp->lock);
	h->id = take_id_locked(hp);
	if (h->id) {
		LIST_INSERT_HEAD(&hp->heaps, h, link);
		/* With the lock: who visits it now has it closed until it is done. */
		if (!hp->left)
			heap_open(h);
	}
	pthread_mutex_unlock(&hp->lock);
	if (!h->id) {
		heap_free(h);
		errno = EAGAIN;
		return NULL;
	}
	return h;
}

void heap_add_counts(struct heap_counts *sum, const struct heap_counts *add)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)add;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
}

void heap_leave_current(void)
{
	heap_current = HEAP_NONE;
}

void heap_free(struct heap *h)
{
	if (heap_current == h)
		heap_leave_current();
	/* In a forked child nr_units is 0 (H5): the rest of an old heap is address space only. */
	munmap(h, bytes_of(h->nr_units));
}

/* H6: every hit misses, and what a hit doesn't look at before that is zero again. */
static void wipe(struct heap *h)
{
	char *second = (char *)h + 4096, *end = (char *)h + bytes_of(h->nr_units);

	static_assert(offsetof(struct heap, quick) < 4096, "hits look there first");
	magazine_fini(h);
	harden_fini(h);
	atomic_store(&h->open_pool, HEAP_CLOSED);
	atomic_store(&h->open_length, 0);
	memset(h->quick, 0, (size_t)(second - (char *)h->quick));
	if (madvise(second, (size_t)(end - second), MADV_DONTNEED))
		memset(second, 0, (size_t)(end - second));
	if (heap_current == h)
		heap_leave_current();
}

void heap_retire(struct heap *h)
{
	struct heap_pool *hp = h->pool;
	uint32_t number = h->id % HEAP_THREADS;

	pthread_mutex_lock(&hp->lock);
	if (!hp->left)
		heap_tidy(h, true);
	LIST_REMOVE(h, link);
	heap_add_counts(&hp->counts, &h->counts);
	hp->ids[number / 64] &= ~(1ull << number % 64);
	pthread_mutex_unlock(&hp->lock);
	wipe(h);
}

void heap_abandon(struct heap *h)
{
	struct heap_pool *hp = h->pool;

	pthread_mutex_lock(&hp->lock);
	LIST_REMOVE(h, link);
	pthread_mutex_unlock(&hp->lock);
	wipe(h);
}
