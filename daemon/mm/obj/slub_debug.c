/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_debug - filling, looking, telling
 *
 * Layout      [red zone] object [red zone] [link, if it may not lie inside] [tracks] [padding]
 *             The last bytes of a slab that make no object are padding too.
 * Locking     see slub_debug.h; spec is written before the first cache is made.
 */
#include "mm/obj/slub_debug.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "mm/obj/slub_spec.h"
#include "os/os.h"

static char spec[SLUB_SPEC_BYTES]; /* c: fixed after slab_init */

/* ---- layout ---- */

static uint32_t info_offset(const struct kmem_cache *s)
{
	return s->offset >= s->object_size ? s->offset + (uint32_t)sizeof(uint64_t) : s->inuse;
}

void debug_layout(struct kmem_cache *s, uint32_t *size)
{
	if (s->flags & SLAB_STORE_USER)
		*size += NR_TRACKS * sizeof(struct track);
	if (s->flags & SLAB_RED_ZONE) {
		s->red_left_pad = (uint32_t)round_up(sizeof(uint64_t), s->align);
		*size += sizeof(uint64_t) + s->red_left_pad;
	}
}

static struct track *track_of(const struct kmem_cache *s, const void *object, enum track_item item)
{
	return (struct track *)((char *)object + info_offset(s)) + item;
}

const struct track *debug_track(const struct kmem_cache *s, const void *object,
				enum track_item item)
{
	return s->flags & SLAB_STORE_USER ? track_of(s, object, item) : NULL;
}

static void set_track(struct kmem_cache *s, void *object, enum track_item item, uintptr_t caller)
{
	if (s->flags & SLAB_STORE_USER)
		*track_of(s, object, item) = (struct track){ caller, os->now_ns(), this_cpu(),
							     (int32_t)syscall(SYS_gettid) };
}

/* End of all that is known of an object: from there to the next one is padding. */
static uint32_t info_end(const struct kmem_cache *s)
{
	return info_offset(s) +
	       (s->flags & SLAB_STORE_USER ? NR_TRACKS * (uint32_t)sizeof(struct track) : 0);
}

/* ---- filling ---- */

static void fill_object(struct kmem_cache *s, void *object, bool live)
{
	int   red = live ? SLUB_RED_ACTIVE : SLUB_RED_INACTIVE;
	char *at = object;

	if (s->flags & SLAB_RED_ZONE) {
		memset(at - s->red_left_pad, red, s->red_left_pad);
		memset(at + s->object_size, red, s->inuse - s->object_size);
	}
	if (s->flags & SLAB_POISON && !live) {
		memset(at, POISON_FREE, s->object_size - 1);
		at[s->object_size - 1] = (char)POISON_END;
	}
}

void debug_setup_slab(struct kmem_cache *s, struct page *page)
{
	if (s->flags & SLAB_POISON)
		memset(page_to_virt(page), POISON_INUSE, (size_t)PAGE_SIZE << pg_order(page));
}

void debug_setup_object(struct kmem_cache *s, void *object)
{
	fill_object(s, object, false);
	if (s->flags & SLAB_STORE_USER)
		memset(track_of(s, object, TRACK_ALLOC), 0, NR_TRACKS * sizeof(struct track));
}

/* ---- looking ---- */

static void tell(const struct kmem_cache *s, const void *object, const char *what,
		 struct validation *v)
{
	const struct track *a = debug_track(s, object, TRACK_ALLOC);
	const struct track *f = debug_track(s, object, TRACK_FREE);

	if (v) {
		validation_expect(v, 0, "cache %s: object %p: %s", s->name, object, what);
		return;
	}
	log_emit(LOG_CRIT, "slab_corruption", "cache %s: object %p: %s", s->name, object, what);
	if (a && a->address)
		log_emit(LOG_CRIT, "slab_corruption", "allocated at %#llx by thread %d",
			 (unsigned long long)a->address, a->thread);
	if (f && f->address)
		log_emit(LOG_CRIT, "slab_corruption", "freed at %#llx by thread %d",
			 (unsigned long long)f->address, f->thread);
}

/* Offset of the first byte in at[0 .. nr) that isn't `value`; nr: all are. */
static size_t find_other(const char *at, size_t nr, int value)
{
	size_t i = 0;

	while (i < nr && (unsigned char)at[i] == (unsigned char)value)
		i++;
	return i;
}

static bool expect_bytes(const char *at, size_t nr, int value)
{
	return find_other(at, nr, value) == nr;
}

bool debug_check_object(struct kmem_cache *s, const void *object, bool live, struct validation *v)
{
	int         red = live ? SLUB_RED_ACTIVE : SLUB_RED_INACTIVE;
	const char *at = object, *wrong = NULL;

	if (v)
		v->nr_checked++;
	if (s->flags & SLAB_RED_ZONE && !expect_bytes(at - s->red_left_pad, s->red_left_pad, red))
		wrong = "left red zone overwritten";
	else if (s->flags & SLAB_RED_ZONE &&
		 !expect_bytes(at + s->object_size, s->inuse - s->object_size, red))
		wrong = "right red zone overwritten";
	else if (s->flags & SLAB_POISON && !live &&
		 (!expect_bytes(at, s->object_size - 1, POISON_FREE) ||
		  !expect_bytes(at + s->object_size - 1, 1, POISON_END)))
		wrong = "poison overwritten: written after it was freed";
	else if (s->flags & SLAB_POISON &&
		 !expect_bytes(at + info_end(s), s->size - s->red_left_pad - info_end(s),
			       POISON_INUSE))
		wrong = "padding overwritten";
	if (wrong)
		tell(s, object, wrong, v);
	return !wrong;
}

bool debug_check_padding(struct kmem_cache *s, const struct page *page, struct validation *v)
{
	size_t      bytes = (size_t)PAGE_SIZE << pg_order(page);
	size_t      used = (size_t)slab_load(page).objects * s->size;
	const char *start = page_to_virt(page);

	if (!(s->flags & SLAB_POISON) || expect_bytes(start + used, bytes - used, POISON_INUSE))
		return true;
	tell(s, start + used, "padding of a slab overwritten", v);
	return false;
}

/* Whether an object is on the slab's own list, which is no longer than it has objects. */
static bool is_on_freelist(struct kmem_cache *s, const struct page *page, const void *object)
{
	struct slab_state state = slab_load(page);
	void             *at = slab_object(s, page, state.free);

	for (uint32_t nr = 0; at && nr <= state.objects; nr++) {
		if (at == object || !is_object_of(s, page, at, state.objects))
			return true;
		at = get_freepointer(s, at);
	}
	return false;
}

bool debug_alloc(struct kmem_cache *s, struct page *page, void *object, uintptr_t caller)
{
	if (s->flags & SLAB_CONSISTENCY_CHECKS &&
	    (!debug_check_padding(s, page, NULL) || !debug_check_object(s, object, false, NULL))) {
		slab_damaged(s, page, object, "found at allocation");
		return false;
	}
	set_track(s, object, TRACK_ALLOC, caller);
	fill_object(s, object, true);
	return true;
}

bool debug_free(struct kmem_cache *s, struct page *page, void *object, uintptr_t caller)
{
	if (s->flags & SLAB_CONSISTENCY_CHECKS) {
		if (is_on_freelist(s, page, object)) {
			slab_wrong_call(s, page, object, "double free");
			return false;
		}
		if (!debug_check_padding(s, page, NULL) ||
		    !debug_check_object(s, object, true, NULL)) {
			cache_stat(s, SLUB_corruption);
			return false;
		}
	}
	set_track(s, object, TRACK_FREE, caller);
	fill_object(s, object, false);
	return true;
}

void debug_check_free_slab(struct kmem_cache *s, struct page *page)
{
	char *object = slab_base(s, page);

	if (!(s->flags & SLAB_CONSISTENCY_CHECKS))
		return;
	debug_check_padding(s, page, NULL);
	for (uint32_t i = 0; i < slab_load(page).objects; i++, object += s->size)
		if (!debug_check_object(s, object, false, NULL))
			cache_stat(s, SLUB_corruption);
}

/* ---- consequences ---- */

void slab_fatal(struct kmem_cache *s, const struct page *page, const void *object, const char *what)
{
	log_emit(LOG_CRIT, "slab_corruption", "cache %s: slab at %p: object %p: %s", s->name,
		 page ? page_to_virt(page) : NULL, object, what);
	check_failed("objects are whole, and freed once", __FILE__, __LINE__);
}

void slab_damaged(struct kmem_cache *s, struct page *page, const void *object, const char *what)
{
	struct slab_state state = slab_load(page);

	if (!kmem_cache_debug(s))
		slab_fatal(s, page, object, what);
	tell(s, object, what, NULL);
	cache_stat(s, SLUB_corruption);
	state.free = 0;
	state.inuse = state.objects;
	atomic_store_explicit(&page->slab_word, slab_pack(state), memory_order_release);
}

void slab_wrong_call(struct kmem_cache *s, const struct page *page, const void *object,
		     const char *what)
{
	if (!(s->flags & SLAB_CONSISTENCY_CHECKS))
		slab_fatal(s, page, object, what);
	cache_stat(s, SLUB_corruption);
	log_emit(LOG_CRIT, "slab_corruption", "cache %s: object %p: %s", s->name, object, what);
}

/* ---- which caches ---- */

int debug_set(const char *text)
{
	spec[0] = 0;
	if (!text)
		return 0;
	if (!slub_spec_ok(text))
		return -EINVAL;
	strcpy(spec, text);
	return 0;
}

uint32_t debug_flags_of(const char *name)
{
	/* The allocator's own come before there is anything to report with. */
	if (!spec[0] || !strncmp(name, "kmem_cache", strlen("kmem_cache")))
		return 0;
	return slub_spec_flags(spec, name);
}
