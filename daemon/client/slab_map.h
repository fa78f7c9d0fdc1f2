/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_map - the slab map of one arena window, and which of its units are leased
 *
 * Purpose     A section of its own, which every client of the pool can write: one page a pageblock
 *             of the arena, present while a unit of that pageblock is leased, since a client's
 *             touch of a header must never need memory. Beside it, a bit a unit.
 * Invariants  N1  the page of a pageblock with a leased unit is populated.
 *             N2  nr_populated is the number of blocks with `populated`, nr_used of those with a
 *                 leased unit. Each populated page is committed and taken from the base stock.
 *             N3  nothing in the map decides anything: the bits are the daemon's own.
 *             N4  what is known of blocks is an object a GiB of the arena, made with the first
 *                 lease there: a pool that leases little costs little.
 * Crash       a unit is leased by its struct page alone (leases.h). Pages of headers that are there
 *             count as populated, and those that nobody needs go with the next ticks.
 * Locking     the pool's leases.lock for everything but new, free and section.
 * Not here    Whose a unit is (leases.h), what headers say (proto/slab_map.h).
 */
#ifndef MMB_CLIENT_SLAB_MAP_H
#define MMB_CLIENT_SLAB_MAP_H

#include "mm/phys/section.h"
#include "proto/slab_map.h"

enum {
	UNIT_ORDER = SLAB_UNIT_SHIFT - PAGE_SHIFT,
	UNIT_PAGES = 1 << UNIT_ORDER,
	UNITS_PER_BLOCK = PAGEBLOCK_PAGES / UNIT_PAGES,
};
static_assert(UNITS_PER_BLOCK * SLAB_HEADER_BYTES == PAGE_SIZE, "a page of headers a pageblock");
static_assert(UNITS_PER_BLOCK == 32, "a word of bits a pageblock");

struct slab_block {
	uint32_t leased; /* bit n: unit n */
	bool populated;
	bool idle; /* had no leased unit a tick ago */
};

/* Blocks in one object: a page of them, which a GiB of the arena has. */
enum { SLAB_MAP_PART = 512 };

/* c: fixed   l: the pool's leases.lock */
struct slab_map {
	struct section *section;   /* (c) */
	uint32_t first_block;      /* (c) of the arena */
	uint32_t nr_blocks;        /* (c) */
	int node;                  /* (c) whose base stock pays */
	uint32_t nr_populated;     /* (l) */
	uint32_t nr_used;          /* (l) */
	struct slab_block **parts; /* (l) of SLAB_MAP_PART blocks; NULL: nothing was ever there */
};

/* The leased units of a block, a bit each. */
uint32_t slab_map_leased(const struct slab_map *map, uint32_t block);

/* pool: its id; 0: nobody's yet. */
int slab_map_new(const struct section *arena, uint64_t pool, struct slab_map **out);
/* A predecessor's, whose section has no owner yet. Its pages are counted with the leased units that
 * follow, whether they are there or a client has punched them; slab_map_audit() settles the others.
 * -ENOMEM. */
int slab_map_resume(const struct section *arena, struct section *section, struct slab_map **out);
int slab_map_resume_unit(struct slab_map *map, uint32_t pfn);
void slab_map_free(struct slab_map *map);

/* The units from the frame on, all free and contiguous: 0, or -ENOMEM and nothing is leased. */
int slab_map_lease(struct slab_map *map, uint32_t pfn, uint32_t units);
/* Says in their headers that they are in the stock of that member; 0: of none. A hint for clients:
 * what they make of it is their business, so a failure is nobody's. */
void slab_map_stamp(const struct slab_map *map, uint32_t pfn, uint32_t units, uint32_t member);
/* The header says that this member has begun to return the unit. A lie harms its pool only. */
bool slab_map_is_given(const struct slab_map *map, uint32_t pfn, uint32_t member);
/* One leased unit. */
void slab_map_return(struct slab_map *map, uint32_t pfn);

/* Once a tick: gives back pages whose pageblocks have had no leased unit since the last one, at
 * most `max`. With `at_once`: all that have none. */
void slab_map_shrink(struct slab_map *map, uint32_t max, bool at_once);
/* Of pages that stay, headers of units that nobody has leased are wiped: what stands there is of
 * clients that have gone, and would be believed of others with their numbers. */
void slab_map_forget(struct slab_map *map);
/* Punches pages that clients have conjured, and makes those present again that they have punched.
 * How many were conjured, or a negative errno. */
int64_t slab_map_audit(struct slab_map *map);
void slab_map_validate(const struct slab_map *map, struct validation *v);

#endif
