/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object_ops - what the stress suite does with pooled objects, typed caches and mempools
 *
 * Purpose     Objects of all sizes in the common pool and the private one: kept, grown, passed to
 *             whichever client finds them, freed by it.
 * Invariants  O1  An object says itself what it must hold: its number, its length, then the pattern
 *                 of the number. Whoever has its address checks it.
 *             O2  The address of an object of the common pool is in one place, in shared memory: of
 *                 a client that is killed, at most the object that it was at is lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slot.h"
#include "stress/client.h"

enum {
	HEAD = 2, /* words */
	LEAST = 32,
	SHARED_MAX = 4 << 20, /* larger objects are private to their process */
	LARGE_MAX = 6 << 20,
	LARGE_EVERY = 64,
	BULK_MAX = 100,
	CACHED = 200,
	POOLED = 16,
};

static void fill(uint64_t *p, size_t bytes, uint64_t number)
{
	p[0] = number;
	p[1] = bytes;
	pattern_fill(p + HEAD, (bytes - HEAD * 8) & ~7ull, pattern_key(number, 0), 1);
}

static int check(struct stress_client *c, const uint64_t *p)
{
	size_t usable = mmb_usable_size(p), bytes = p[1];
	ptrdiff_t wrong;

	if (bytes < LEAST || bytes > usable)
		return stress_fail(c, "an object at %p (number %#llx) says %#zx bytes and has %zu",
				   (void *)p, (unsigned long long)p[0],
				   bytes, usable);
	wrong = pattern_check(p + HEAD, (bytes - HEAD * 8) & ~7ull, pattern_key(p[0], 0), 1);
	return wrong < 0 ? 0 :
			   stress_fail(c, "an object of %zu bytes at %p changed at %#tx", bytes,
				       (void *)p, wrong);
}

static int give(struct stress_client *c, uint64_t *p)
{
	int failed = p == NULL ? 0 : check(c, p);

	if (p != NULL && failed == 0) {
		p[1] = 0;
		mmb_free(p);
	}
	return failed;
}

static size_t any_size(struct stress_client *c, const struct mmb_pool *pool)
{
	static const uint32_t tops[] = { 64, 512, 4096, 32 << 10, 256 << 10 };
	uint32_t top = tops[stress_pick(c, sizeof(tops) / sizeof(tops[0]))];

	if (stress_pick(c, LARGE_EVERY) == 0)
		top = (pool == c->own ? LARGE_MAX : SHARED_MAX) - LEAST;
	return LEAST + stress_pick(c, top);
}

/* *out NULL with 0: refused for lack of memory. */
static int take(struct stress_client *c, struct mmb_pool *pool, uint64_t **out)
{
	uint64_t number = stress_object(c);
	size_t bytes = any_size(c, pool), align = (size_t)8 << stress_pick(c, 14);
	uint32_t way = stress_pick(c, 8);
	uint64_t *p;

	errno = 0;
	if (way == 0)
		p = mmb_calloc(pool, bytes, 1);
	else if (way == 1)
		p = mmb_aligned_alloc(pool, align, bytes);
	else
		p = mmb_malloc(pool, bytes);
	*out = p;
	if (p == NULL)
		return stress_accept(c, -errno, "mmb_malloc");
	if (way == 0 && pattern_check(p, bytes & ~7ull, 0, 0) >= 0)
		return stress_fail(c, "mmb_calloc gave %zu bytes that aren't zero", bytes);
	if (way == 1 && (uintptr_t)p % align != 0)
		return stress_fail(c, "mmb_aligned_alloc(%zu) gave %p", align, (void *)p);
	fill(p, bytes, number);
	return 0;
}

/* Of the common pool, and of the client's place. */
static _Atomic uint64_t *any_kept(struct stress_client *c)
{
	return &c->shared->kept[c->index][stress_pick(c, STRESS_OBJECTS)];
}

int stress_object_toggle(struct stress_client *c)
{
	_Atomic uint64_t *slot = any_kept(c);
	uint64_t *p = slot_take(slot);
	int failed;

	if (p != NULL)
		return give(c, p);
	failed = take(c, c->pool, &p);
	if (failed == 0)
		atomic_store(slot, (uintptr_t)p);
	return failed;
}

int stress_object_private(struct stress_client *c)
{
	uint64_t **slot = &c->objects_own[stress_pick(c, STRESS_OBJECTS)], *p = *slot;

	*slot = NULL;
	return p != NULL ? give(c, p) : take(c, c->own, slot);
}

/* What was there stays there. */
int stress_object_resize(struct stress_client *c)
{
	_Atomic uint64_t *slot = any_kept(c);
	uint64_t *old = slot_take(slot), *p, number;
	size_t bytes = any_size(c, c->pool), before;
	ptrdiff_t wrong;
	int failed;

	if (old == NULL)
		return 0;
	failed = check(c, old);
	if (failed != 0)
		return failed;
	number = old[0];
	before = old[1] < bytes ? old[1] : bytes;
	p = mmb_realloc(c->pool, old, bytes);
	if (p == NULL) {
		atomic_store(slot, (uintptr_t)old);
		return stress_accept(c, -errno, "mmb_realloc");
	}
	wrong = pattern_check(p + HEAD, (before - HEAD * 8) & ~7ull, pattern_key(number, 0), 1);
	if (p[0] != number || wrong >= 0)
		return stress_fail(c, "mmb_realloc to %zu bytes changed the object at %#tx", bytes,
				   wrong);
	fill(p, bytes, number);
	atomic_store(slot, (uintptr_t)p);
	return 0;
}

/* One in for one out: the other may be anybody's. */
int stress_object_pass(struct stress_client *c)
{
	_Atomic uint64_t *slot = &c->shared->passed[stress_pick(c, STRESS_PASSED)];
	uint64_t *p = slot_take(any_kept(c));

	return give(c, (uint64_t *)(uintptr_t)atomic_exchange(slot, (uintptr_t)p));
}

int stress_objects_connect(struct stress_client *c)
{
	return stress_expect(c, mmb_cache_open(c->pool, "stress-objects", CACHED, 0, 0, &c->cache),
			     0, "mmb_cache_open");
}

int stress_object_bulk(struct stress_client *c)
{
	uint32_t nr = 1 + stress_pick(c, BULK_MAX), permutation[BULK_MAX];
	void *objects[BULK_MAX], *mixed[BULK_MAX];
	uint64_t number = stress_object(c);
	int failed = 0, code = mmb_cache_alloc_bulk(c->cache, nr, objects);

	if (code != 0)
		return stress_accept(c, code, "mmb_cache_alloc_bulk");
	for (uint32_t i = 0; i < nr; i++)
		fill(objects[i], CACHED, number + i);
	c->objects += nr;
	random_permutation(&c->random, permutation, nr);
	for (uint32_t i = 0; i < nr && failed == 0; i++) {
		mixed[i] = objects[permutation[i]];
		failed = check(c, mixed[i]);
	}
	if (failed == 0)
		mmb_cache_free_bulk(c->cache, nr, mixed);
	return failed;
}

int stress_object_cached(struct stress_client *c)
{
	uint64_t *p = mmb_cache_alloc(c->cache);
	int failed;

	if (p == NULL)
		return stress_accept(c, -errno, "mmb_cache_alloc");
	fill(p, CACHED, stress_object(c));
	failed = check(c, p);
	if (failed == 0)
		mmb_cache_free(c->cache, p);
	return failed;
}

/* Its minimum is there, whatever the pool has. */
int stress_object_mempool(struct stress_client *c)
{
	uint32_t nr = 1 + stress_pick(c, POOLED);
	void *objects[POOLED];
	struct mmb_mempool *m;
	int failed = 0, code = mmb_mempool_open(c->cache, nr, &m);

	if (code != 0)
		return stress_accept(c, code, "mmb_mempool_open");
	for (uint32_t i = 0; i < nr; i++) {
		objects[i] = mmb_mempool_alloc(m);
		if (objects[i] == NULL)
			return stress_fail(c, "a mempool of %u gave %u objects", nr, i);
		fill(objects[i], CACHED, stress_object(c));
	}
	for (uint32_t i = 0; i < nr && failed == 0; i++) {
		failed = check(c, objects[i]);
		mmb_mempool_free(m, objects[i]);
	}
	mmb_mempool_close(m);
	return failed;
}

int stress_object_trim(struct stress_client *c)
{
	return stress_expect(c, mmb_trim(stress_pick(c, 2) ? c->pool : c->own), 0, "mmb_trim");
}

/* Half of them go back by hand, half with the pool. */
int stress_objects_forget_own(struct stress_client *c)
{
	int failed = 0;

	for (unsigned int i = 0; i < STRESS_OBJECTS && failed == 0; i++) {
		uint64_t *p = c->objects_own[i];

		c->objects_own[i] = NULL;
		if (p != NULL)
			failed = i % 2 ? give(c, p) : check(c, p);
	}
	return failed;
}

int stress_objects_disconnect(struct stress_client *c)
{
	int failed = stress_objects_forget_own(c);

	for (unsigned int i = 0; i < STRESS_OBJECTS && failed == 0; i++)
		if (i % 2 || c->shared->finish)
			failed = give(c, slot_take(&c->shared->kept[c->index][i]));
	if (failed == 0 && c->cache != NULL && c->objects % 2)
		mmb_cache_close(c->cache);
	c->cache = NULL;
	return failed;
}
