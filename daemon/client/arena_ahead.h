/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_ahead - one arena a node that is ready before a pool wants it
 *
 * Purpose     The first object of a program needs an arena: a section and its place in every
 *             client, a slab map, and a pageblock, which has to be cleared. On a node where a pool
 *             has leased for the first time the next one's is made ahead, of the length that most
 *             have, with its first pageblock and the first page of its slab map. Nobody has seen
 *             its files.
 * Invariants  A1  at most one a node, and only where its pageblock is no more than a 128th of what
 *                 the node may commit, and an eighth of that is free. It goes after a minute in
 *                 which nobody wanted it, where no 16th is free any more, and when somebody finds
 *                 no memory for objects, page runs or a region.
 *             A2  its frames are committed and taken, its place is allocated; its sections are
 *                 no pool's (owner_id 0), and there is no zone yet.
 * Crash       sections that are no pool's go with the resume, and all that is in them; what has
 *             been handed over is the pool's from when its record says that it has an arena.
 * Locking     one leaf mutex for who has it; whoever took it out has it alone. Made on the thread
 *             of pools_work().
 */
#ifndef MMB_CLIENT_ARENA_AHEAD_H
#define MMB_CLIENT_ARENA_AHEAD_H

#include "base/range_alloc.h"
#include "client/slab_map.h"
#include "mm/phys/section.h"

/* What an arena's part on a node is to be. */
struct arena_plan {
	int node;
	enum stock_kind kind;
	uint64_t nr_frames;
};

/* Address space for all that `max` frames allow a pool to take from the node. False: the node has
 * nothing for arenas. */
bool arena_plan(int node, uint64_t max, struct arena_plan *out);
/* Its place in clients, and its section; name, owner and owner_id are the caller's. */
int arena_reserve(const struct arena_plan *plan, struct range *window);
int arena_section(const struct arena_plan *plan, const struct section_request *request,
		  struct section **out);

struct arena_ahead {
	struct section *section;
	struct range window;
	struct slab_map *map;
};

void arenas_ahead_init(void);
void arenas_ahead_fini(void);
/* Whether any are made: not before all is resumed. */
void arenas_ahead_keep(bool keep);
/* A pool has leased for the first time on this node. */
void arena_ahead_want(int node);
/* One is there, or was a moment ago. */
bool arena_ahead_is_ready(int node);
/* One that is as planned, the caller's from now on; NULL: none. */
struct arena_ahead *arena_ahead_take(const struct arena_plan *plan);
/* Its parts are a pool's. */
void arena_ahead_taken(struct arena_ahead *a);
/* All of it goes back. */
void arena_ahead_discard(struct arena_ahead *a);
/* There is no memory for somebody: true if there is more now. */
bool arenas_ahead_drop(void);
/* What there is, which counts as the broker's own. */
uint64_t arenas_ahead_bytes(void);
/* A1, once a second. */
void arenas_ahead_tick(void);
void arenas_ahead_validate(struct validation *v);

#endif
