/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab - one slab: its free objects, its owner, and what others have freed
 *
 * Purpose     The protocol of SLUB one level out: a heap (the "CPU") owns a slab and allocates and
 *             frees there with plain loads and stores; everybody else in the pool, in whatever
 *             process, pushes freed objects on the slab's list of foreign frees by one
 *             compare-and-swap. A slab without owner is full; who frees into it becomes its owner.
 * Invariants  B1  Only the owner touches the fields marked (o) in slab_header, and objects on the
 *                 free list. shared is changed by compare-and-swap only.
 *             B2  used (left + slow_at) + objects on the free list = objects that fresh tells of;
 *                 one on the list of foreign frees counts as used until it is collected. So does
 *                 one in a magazine (magazine.h), which is known by its mark.
 *             B3  `free` and the word in a free object are the next free object, or an odd address
 *                 inside the slab: the end. The word is XORed with its own address and the pool's
 *                 key, so that a freed object is known by it: it decodes to a place in the slab.
 *             B4  A slab without owner has used == total and an empty list of foreign frees.
 *             B5  A process may die between any two stores: what can be lost then are objects,
 *                 never a list. slab_rebuild() makes B2 true again.
 * Locking     none; see B1.
 * Not here    Which lists of a heap a slab is on (heap.c), where units come from (stock.c).
 * Source      Linux mm/slub.c for the states; mimalloc (D. Leijen, B. Zorn, L. de Moura, 2019) for
 *             keeping foreign frees on a list of the slab.
 */
#ifndef MMB_LIBCLIENT_HEAP_SLAB_H
#define MMB_LIBCLIENT_HEAP_SLAB_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/slab_map.h"

#ifndef likely
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

enum {
	SLAB_SPAN_SHIFT = 21, /* no slab crosses a multiple of 2 MiB */
	SLAB_NO_OWNER = 0,
};
#define SLAB_SLOW_NEVER (1u << 31) /* left doesn't come to 0 */

/* slab_header.state */
enum slab_state {
	SLAB_ON_NONE,
	SLAB_ON_CURRENT,
	SLAB_ON_PARTIAL,
	SLAB_ON_FULL,
	SLAB_ON_SHELF,
};

/* Objects to be pushed at once, linked as on a free list; the last one has the end mark. */
struct slab_chain {
	uint64_t head, tail;
	uint32_t nr;
};

/* What the methods need to know beside the header: where the slab is, how words are encoded. */
struct slab_view {
	struct slab_header *slab;
	uint64_t            start;
	uint64_t            key;
};

static inline uint32_t shared_owner(uint64_t shared)
{
	return (uint32_t)(shared >> 32);
}
static inline uint32_t shared_head(uint64_t shared)
{
	return (uint32_t)(shared >> 16) & 0xffff;
}
static inline uint32_t shared_count(uint64_t shared)
{
	return (uint32_t)shared & 0xffff;
}
static inline uint64_t shared_word(uint32_t owner, uint32_t head, uint32_t count)
{
	return (uint64_t)owner << 32 | head << 16 | count;
}

static inline uint64_t slab_shared(const struct slab_header *s)
{
	return atomic_load_explicit(&s->shared, memory_order_relaxed);
}

/* The upper half of shared, by itself: it changes only together with the lower one. */
static inline uint32_t slab_owner(const struct slab_header *s)
{
	return __atomic_load_n((const uint32_t *)&s->shared + 1, __ATOMIC_RELAXED);
}

static inline uint8_t slab_kind(const struct slab_header *s)
{
	return atomic_load_explicit(&s->kind, memory_order_acquire);
}

static inline uint64_t slab_end_mark(uint64_t start)
{
	return start | 1;
}

static inline uint64_t *slab_word(uint64_t object)
{
	return (uint64_t *)(uintptr_t)object;
}

_Noreturn void slab_die(const struct slab_header *s, uint64_t object, const char *what);

static inline uint32_t slab_used(const struct slab_header *s)
{
	return s->left + s->slow_at;
}

/* At so many used objects a free is more than a push. */
static inline void slab_set_slow(struct slab_header *s, uint32_t slow_at)
{
	s->left += s->slow_at - slow_at;
	s->slow_at = slow_at;
}

/* The owner takes the object that its list begins with, which is no end mark. The word is
 * cleared: it would make the object look free. Not before the list goes on without it (B5). */
static inline void slab_pop(struct slab_header *s, uint64_t object, uint64_t key)
{
	uint64_t next = *slab_word(object) ^ key ^ object;

	s->free = next;
	atomic_signal_fence(memory_order_release);
	*slab_word(object) = 0;
	s->left++;
}

/* The first word of an object in a magazine: 64 bits of the pool's key, and not what a list has
 * there. One for all objects, as it costs the hit less; taking an object clears it, so that no live
 * object has it but one that something was copied to after its own free. */
static inline uint64_t slab_mark(uint64_t key)
{
	return key ^ 2;
}

static inline bool slab_is_marked(uint64_t object, uint64_t key)
{
	return *slab_word(object) == slab_mark(key);
}

/* The same of an object in a mempool's reserve, which is in use for whoever adopts its slab. */
static inline uint64_t slab_reserve_mark(uint64_t key)
{
	return key ^ 4;
}

static inline bool slab_is_reserved(uint64_t object, uint64_t key)
{
	return *slab_word(object) == slab_reserve_mark(key);
}

/* What a free object looks like, on a list, in a magazine or reserve: most likely it is one. */
static inline bool slab_looks_free(uint64_t object, uint64_t key)
{
	return (*slab_word(object) ^ key) < 1u << SLAB_SPAN_SHIFT;
}

/* The owner puts one back; `left` is the caller's. */
static inline void slab_push(struct slab_header *s, uint64_t object, uint64_t key)
{
	*slab_word(object) = s->free ^ object ^ key;
	s->free = object;
}

static inline uint32_t slab_index(const struct slab_view *v, uint64_t object)
{
	return (uint32_t)(object - v->start) / v->slab->size;
}

/* Whether it is one of those that were handed out once. Each slab begins with another one, so that
 * what slabs of many sizes use most isn't in the same few sets of the CPU's cache. */
static inline bool slab_was_handed(const struct slab_view *v, uint64_t object)
{
	const struct slab_header *s = v->slab;
	uint32_t i = slab_index(v, object);

	i = i >= s->first ? i - s->first : i + s->total - s->first;
	return v->start + (uint64_t)i * s->size < s->fresh;
}

/* Whether an object begins there. */
static inline bool slab_is_object(const struct slab_view *v, uint64_t object)
{
	uint64_t offset = object - v->start;

	return v->slab->size && offset < (uint64_t)v->slab->total * v->slab->size &&
	       !(offset % v->slab->size);
}

/* Makes units, which nobody uses, a slab of this owner with nothing allocated. */
struct slab_make {
	uint32_t owner, size, units;
	uint32_t turn; /* where the first object is, in 1/65536 of the slab */
	uint16_t bin;
};
void slab_init(const struct slab_view *v, const struct slab_make *make);
/* The owner: nothing is in use any more; the units are no slab afterwards. The first one keeps its
 * owner, so that a survivor finds it until it is in stock. */
void slab_fini(const struct slab_view *v);
/* Whether there are objects that were never handed out. */
bool slab_has_unused(const struct slab_view *v);
/* The owner: hands out some of them, side by side, from *first on; how many: `most` at most. */
uint32_t slab_cut(const struct slab_view *v, uint32_t most, uint64_t *first);
/* The owner: links some of them. False: there are none. */
bool slab_carve(const struct slab_view *v);
/* The owner: what others freed joins the free list. False: there was nothing. */
bool slab_collect(const struct slab_view *v);
/* The owner lets a full slab go. False: others have freed something meanwhile; it stays. */
bool slab_let_go(const struct slab_view *v);
/* The owner hands it to another owner: with its free objects and lists. */
void slab_pass(const struct slab_view *v, uint32_t to);
/* Takes it from that owner: SLAB_NO_OWNER, one that has passed it, or one that is dead. */
bool slab_adopt(const struct slab_view *v, uint32_t from, uint32_t to);
/* A chain of objects that somebody else than the owner frees. Gives the owner it was left to, or,
 * if it had none, `me`: then it is the caller's, with the chain on its free list. */
uint32_t slab_push_foreign(const struct slab_view *v, const struct slab_chain *chain, uint32_t me);
/* Links one more object to a chain. */
void slab_chain_add(const struct slab_view *v, struct slab_chain *chain, uint64_t object);

/* The owner, after a dead one: believes only lists that it can walk, and marks, and counts anew.
 * False: the header is no slab's. */
bool slab_rebuild(const struct slab_view *v);
/* B2, B3; the owner, with everything quiet. Returns the number of differences. */
uint32_t slab_validate(const struct slab_view *v);
/* Whether an object is on the free list; walks. */
bool slab_has_free(const struct slab_view *v, uint64_t object);

#endif
