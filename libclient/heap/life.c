/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life - a heap's birth and end
 *
 * Purpose     A thread's heap is made at its first object in a pool. When the thread ends, or the
 *             pool, what it has goes to others. See heap.h.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/harden.h"
#include "heap/heap.h"

/* Misses always: its pool is no pool, its window is empty. */
static struct heap heap_none = { .open_pool = HEAP_CLOSED };
_Thread_local struct heap *heap_current = &heap_none;

static uint32_t take_id_locked(struct heap_pool *hp)
{
	for (uint32_t i = 0; i < HEAP_THREADS / 64; i++) {
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

static struct heap *heap_memory(void)
{
	struct heap *h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);

	if (h == MAP_FAILED)
		return NULL;
	/* H5 */
	if (madvise(h, sizeof(*h), MADV_WIPEONFORK)) {
		munmap(h, sizeof(*h));
		return NULL;
	}
	atomic_store_explicit(&h->open_pool, HEAP_CLOSED, memory_order_relaxed);
	return h;
}

struct heap *heap_new(struct heap_pool *hp, struct heap *spare)
{
	struct heap *h = spare ? spare : heap_memory();

	if (!h)
		return NULL;
	h->pool = hp;
	h->mark = mark_of(hp);
	h->home = &hp->views[atomic_load_explicit(&hp->home, memory_order_relaxed)];
	h->base = h->home->base;
	h->map = h->home->map;
	h->key = hp->key;
	for (unsigned int b = 0; b < SLAB_BINS; b++)
		heap_set_bin(h, b, &slab_none);
	pthread_mutex_lock(&hp->lock);
	h->id = take_id_locked(hp);
	if (h->id)
		LIST_INSERT_HEAD(&hp->heaps, h, link);
	pthread_mutex_unlock(&hp->lock);
	if (!h->id) {
		heap_free(h);
		errno = EAGAIN;
		return NULL;
	}
	heap_open(h);
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
	heap_current = &heap_none;
}

void heap_free(struct heap *h)
{
	if (heap_current == h)
		heap_leave_current();
	munmap(h, sizeof(*h));
}

/* H6: every hit misses, and what a hit doesn't look at before that is zero again. */
static void wipe(struct heap *h)
{
	char *second = (char *)h + 4096, *end = (char *)(h + 1);

	static_assert(offsetof(struct heap, quick) < 4096, "hits look there first");
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
