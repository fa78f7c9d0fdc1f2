/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leases - the units of a pool that its clients have leased
 *
 * Purpose     A unit is a page run of order 4 that belongs to the pool, whoever leased it: any
 *             session of the pool may return it, and it stays when its session ends. What is
 *             leased is decided by struct pages: PAGE_UNIT in their owner.
 * Invariants  E1  the units of `units` and `ended` are the granted blocks of order 4 in the pool's
 *                 zones whose owner has PAGE_UNIT; each has its bit in the slab map.
 *             E2  units on `units` are owned by `owner`, those on `ended` by earlier ones. When a
 *                 pool loses its last handle all its units end, and what is leased after that has
 *                 another owner, so that nobody can return what is on its way back already.
 * Crash       a unit is leased when its owner is set, with the request in its struct page: the next
 *             daemon gives a repeated request the runs that are whole, and frees the halves. What
 *             is returned loses its owner unit by unit, and the rest is returned by the repetition;
 *             what was claimed for it has gone by then, and the name in its header before that.
 * Locking     leases.lock (RANK_LEASES); a handle's lock, outside it, for what the handle leased.
 * Not here    Slab maps (slab_map.h), verbs (verbs_leases.c).
 */
#ifndef MMB_CLIENT_LEASES_H
#define MMB_CLIENT_LEASES_H

#include "base/list.h"
#include "base/lock.h"
#include "client/slab_map.h"
#include "client/verbs.h"

struct pool;
struct pool_handle;

/* l: lock */
struct leases {
	struct mutex lock;
	uint64_t owner;         /* (l) E2 */
	struct list_head units; /* (l) by page->lru */
	struct list_head ended; /* (l) by page->lru */
	uint64_t nr_units;      /* (l) length of units */
	uint64_t nr_ended;      /* (l) length of ended */
	struct slab_map *maps[MAX_NUMNODES]; /* (l) made once; then read any time */
	bool has_maps;          /* (l) */
};

void leases_init(struct leases *leases);
/* The pool's zones have gone, and with them all units. */
void leases_fini(struct leases *leases);
/* What is behind PAGE_UNIT in the owner of its units. */
uint64_t leases_owner(const struct leases *leases);
/* The same as a predecessor's pool had; its maps; a unit of its, -EUCLEAN: that isn't one of the
 * pool's any more, and shall be freed; -ENOMEM; and all of them have been seen. */
void leases_resume(struct leases *leases, uint64_t owner);
int leases_resume_map(struct pool *pool, struct section *section);
int leases_resume_unit(struct pool *pool, struct page *page);
void leases_resumed(struct leases *leases);
/* The slab maps of the arena, which exists, if there are none yet. */
int leases_make_maps(struct pool *pool, struct refusal *why);
/* One that was made ahead with the arena's part on this node; and if the arena isn't made after
 * all. */
void leases_take_map(struct leases *leases, int node, struct slab_map *map);
void leases_drop_maps(struct leases *leases);

/* Leases runs of `units` units, whose parts are granted blocks without owner, to the handle.
 * How many of them, from the first on; or -ENOMEM: no slab map page, -ENOTCONN: closed handle. */
struct leases_granted {
	struct page *const *runs;
	uint32_t nr, units; /* of each run */
	uint32_t member;    /* whose they are in a shared pool */
	const struct request_past *past;
};
int leases_add(struct pool_handle *ph, const struct leases_granted *granted);
/* What the request has leased from a daemon that died before it could say so: the first frames of
 * the runs, up to granted->nr; how many. A run that was half leased goes back. Behind the gate. */
uint32_t leases_find_again(struct pool_handle *ph, const struct leases_granted *granted,
			   struct page **runs);
/* All are given back, or none: -EINVAL. Again: if this handle has leased them before the request;
 * with a giver, if another one has, and their headers say that this member was returning them: who
 * takes a unit, or leases it, wipes that. Behind the gate. */
int leases_return(struct pool_handle *ph, const struct slab_return_args *args, uint32_t giver,
		  struct refusal *why);

/* The last handle has gone: true if leases_free_ended() has something to do. */
bool leases_end(struct leases *leases);
void leases_free_ended(struct pool *pool);

/* Leased units by pageblock, for reports: the next pageblock of the node's window from *block on
 * that has any. The bits, or 0 at the end. */
uint32_t leases_next_block(struct leases *leases, int node, uint32_t *block);
uint64_t leases_bytes(struct leases *leases);
/* A tick: slab map pages that nobody needs go, conjured ones too; how many of these. */
int64_t leases_tick(struct leases *leases);
/* Bytes of slab map pages. */
uint64_t leases_map_bytes(struct leases *leases);
/* E1, E2 and the slab maps'. Behind the closed gate. */
void leases_validate(struct pool *pool, struct validation *v);

#endif
