/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object - behind the hits of mmb_malloc and of typed caches
 *
 * Purpose     See object.h.
 */
#include "object.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "error.h"
#include "heap/harden.h"
#include "heap/run.h"
#include "pool_heap.h"
#include "sample.h"

/* ---- allocating ---- */

static uint64_t alloc_inside(struct heap *h, const struct object_want *want)
{
	if (want->run)
		return run_alloc(h, want->run, want->align);
	return h->pool->harden ? harden_alloc(h, want->bin) : heap_alloc(h, want->bin);
}

void *object_alloc_once(struct mmb_pool *pool, const struct object_want *want)
{
	void *sampled = conf.sample ? sample_alloc(pool, want) : NULL;
	struct heap *h = sampled ? NULL : pool_heap_enter(pool);
	uint64_t object;

	if (!h)
		return sampled;
	object = alloc_inside(h, want);
	heap_leave(h);
	/* What the broker said: that the connection is gone is no lack of memory. */
	if (!object)
		errno = -fail_code();
	return (void *)(uintptr_t)object;
}

void *object_alloc(struct mmb_pool *pool, const struct object_want *want)
{
	void *object = object_alloc_once(pool, want);

	if (!object && errno == ENOMEM) {
		pool_heap_trim(pool); /* O1 */
		object = object_alloc_once(pool, want);
	}
	return object;
}

/* -ENOMEM, or why there will never be more. */
static int alloc_more(struct mmb_pool *pool, struct object_bulk *bulk)
{
	struct heap *h = pool_heap_enter(pool);

	if (!h)
		return -errno;
	bulk->got +=
		heap_alloc_bulk(h, bulk->want->bin, bulk->nr - bulk->got, bulk->out + bulk->got);
	heap_leave(h);
	return bulk->got == bulk->nr ? 0 : fail_code();
}

static void give_back(struct mmb_pool *pool, const struct object_bulk *bulk)
{
	const struct object_rule rule = { .function = "mmb_cache_alloc_bulk",
					  .bin = bulk->want->bin };
	struct heap *h = bulk->got ? pool_heap_enter(pool) : NULL;

	if (!h)
		return;
	object_free_bulk(h, bulk->out, bulk->got, &rule);
	heap_leave(h);
}

static int alloc_one_by_one(struct mmb_pool *pool, struct object_bulk *bulk)
{
	while (bulk->got < bulk->nr) {
		bulk->out[bulk->got] = object_alloc(pool, bulk->want);
		if (!bulk->out[bulk->got])
			return -errno;
		bulk->got++;
	}
	return 0;
}

int object_alloc_bulk(struct mmb_pool *pool, struct object_bulk *bulk)
{
	int error = conf_no_hits() ? alloc_one_by_one(pool, bulk) : alloc_more(pool, bulk);

	if (error == -ENOMEM && !conf_no_hits()) {
		pool_heap_trim(pool); /* O1 */
		error = alloc_more(pool, bulk);
	}
	if (error)
		give_back(pool, bulk);
	return error;
}

/* ---- freeing ---- */

_Noreturn void object_die(const struct object_rule *rule, uint64_t object, const char *why)
{
	die("libmmbroker: %s(%#llx): %s", rule->function, (unsigned long long)object, why);
}

_Noreturn void object_die_twice(const struct object_rule *rule, uint64_t object)
{
	object_die(rule, object, "the object has been freed already (double free)");
}

/* Its word is that of a free object: by chance, or because it is one. */
static void check_twice(const struct slab_view *v, uint64_t object, const struct object_rule *rule)
{
	if (slab_is_marked(object, v->key) || slab_has_free(v, object))
		object_die_twice(rule, object);
}

void object_check_bin(unsigned int bin, uint64_t object, const struct object_rule *rule)
{
	char why[160];

	if (rule->bin == OBJECT_ANY || bin == rule->bin)
		return;
	if (bin >= SLAB_SIZE_CLASSES && bin != OBJECT_ANY)
		snprintf(why, sizeof(why), "the object is of the pool's cache %d, not of cache "
			 "'%s' (%d)", (int)bin - SLAB_SIZE_CLASSES + 1, rule->cache,
			 (int)rule->bin - SLAB_SIZE_CLASSES + 1);
	else
		snprintf(why, sizeof(why), "the object comes from mmb_malloc(), not from cache "
			 "'%s'", rule->cache);
	object_die(rule, object, why);
}

struct slab_view object_check(const struct heap_pool *hp, const struct heap_view *view,
			      uint64_t object, const struct object_rule *rule)
{
	struct slab_view v = { .slab = heap_header(view, object), .key = hp->key };
	uint8_t kind = slab_kind(v.slab);

	if (kind == SLAB_TAIL && v.slab->back < SLAB_UNITS_MAX) {
		v.slab -= v.slab->back;
		kind = slab_kind(v.slab);
	}
	v.start = view->base + ((uint64_t)(v.slab - view->map) << SLAB_UNIT_SHIFT);
	if (kind != SLAB_OBJECTS && kind != SLAB_RUN)
		object_die(rule, object, "nothing is allocated there (double free, or a wild "
			   "address)");
	object_check_bin(kind == SLAB_OBJECTS ? v.slab->bin : OBJECT_ANY, object, rule);
	if (kind == SLAB_OBJECTS && !slab_is_object(&v, object))
		object_die(rule, object, "no object begins there");
	if (kind == SLAB_RUN && object != v.start)
		object_die(rule, object, "it lies inside an object");
	if (kind == SLAB_OBJECTS && (slab_is_reserved(object, hp->key) ||
				     (hp->harden && harden_is_free(&v, object))))
		object_die_twice(rule, object);
	return v;
}

/* A run's units are zeroed, whatever length was asked for. */
static void free_hardened(struct heap *h, const struct slab_view *v, uint64_t object,
			  const struct object_rule *rule)
{
	if (slab_kind(v->slab) == SLAB_RUN) {
		if (v->slab->units <= SLAB_UNITS_MAX)
			memset((void *)(uintptr_t)object, 0,
			       (size_t)v->slab->units * SLAB_UNIT_BYTES);
		run_free(h, v->slab, object);
		return;
	}
	if (slab_owner(v->slab) == h->id && !slab_was_handed(v, object))
		object_die(rule, object, "nothing was ever allocated there");
	harden_free(h, v, object);
}

void object_free(struct heap *h, const struct heap_view *view, uint64_t object,
		 const struct object_rule *rule)
{
	struct slab_view v = object_check(h->pool, view, object, rule);

	if (unlikely(h->pool->harden)) {
		free_hardened(h, &v, object, rule);
		return;
	}
	if (slab_kind(v.slab) == SLAB_RUN) {
		run_free(h, v.slab, object);
		return;
	}
	if (slab_is_marked(object, h->key) ||
	    (slab_owner(v.slab) == h->id && slab_looks_free(object, h->key)))
		check_twice(&v, object, rule);
	heap_free_object(h, &v, object);
}

void object_free_more(struct heap *h, struct slab_header *s)
{
	heap_put_more(h, s);
	heap_leave(h);
}

/* The same as magazine_put_many(), onto the slab's list: its head stays in a register. */
static size_t push_neighbours(const struct slab_view *v, void **objects, size_t nr)
{
	struct slab_header *s = v->slab;
	uint64_t head = s->free, key = v->key, bytes = (uint64_t)s->total * s->size;
	/* The free that brings left to 0 has more to do. */
	size_t i, most = s->left ? s->left - 1 : 0;

	for (i = 0; i < nr && i < most; i++) {
		uint64_t object = (uintptr_t)objects[i];

		if (object - v->start >= bytes || slab_looks_free(object, key))
			break;
		*slab_word(object) = head ^ object ^ key;
		head = object;
	}
	s->free = head;
	s->left -= (uint32_t)i;
	return i;
}

/* The first object at least. */
static size_t free_neighbours(struct heap *h, void **objects, size_t nr,
			      const struct object_rule *rule)
{
	uint64_t object = (uintptr_t)objects[0];
	const struct heap_view *view = heap_view_of(h->pool, object);
	struct slab_view v;
	size_t kept = 0, pushed = 0;

	if (!view && sample_free(object, rule))
		return 1;
	if (!view)
		object_die(rule, object, "it is no address of the pool");
	v = object_check(h->pool, view, object, rule);
	if (slab_kind(v.slab) == SLAB_OBJECTS && slab_owner(v.slab) == h->id && !h->pool->harden) {
		kept = magazine_put_many(h, &v, nr, objects);
		pushed = push_neighbours(&v, objects + kept, nr - kept);
		if (pushed)
			magazine_spill(h, v.slab->bin, pushed);
	}
	if (kept + pushed)
		return kept + pushed;
	object_free(h, view, object, rule);
	return 1;
}

void object_free_bulk(struct heap *h, void **objects, size_t nr, const struct object_rule *rule)
{
	for (size_t i = 0; i < nr;)
		i += objects[i] ? free_neighbours(h, objects + i, nr - i, rule) : 1;
}
