/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lru - how a pool's pages on one node age, and whether one that comes back was evicted too early
 *
 * Purpose     Generations and counters of one (pool, node). Which page is in which generation, and
 *             which is active, stands in its word and nowhere else: the oldest are found by walking
 *             the words, whose order is that of addresses, so that what is evicted together lies
 *             together in the region, in the file and on the disk.
 * Invariants  L1  nr_active is the number of frames whose words say ACTIVE; inactive are the other
 *                 resident ones that aren't locked.
 *             L2  ages of words are the low bits of the generation in which they were touched; the
 *                 generation moves on only after a whole walk, in which ages too old to be told
 *                 apart from young ones were raised.
 * Locking     none: atomic counters, each a statistic that reclaim steers by.
 * Not here    Walking and evicting (space/reclaim.c, space/evict.c).
 */
#ifndef MMB_MAP_LRU_H
#define MMB_MAP_LRU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mm/map/pageword.h"

enum {
	LRU_GENERATIONS = 8,
	LRU_ASK_INACTIVE = 1, /* generations after which clients are asked for a page */
	LRU_OLD = 2,          /* and after which it may be evicted */
	LRU_ASK = 3,          /* the same for an active one, */
	LRU_OLD_ACTIVE = 4,   /* which becomes inactive */
	LRU_PARTS = 4,        /* a generation lasts until so much of what is resident has gone */
	LRU_ACTIVE_MAX_PERCENT = 60, /* of what is resident; until then they stay */
	SHADOW_BITS = 16,
	SHADOW_RESIDENT_BITS = 10, /* what is resident, in units of a shadow */
};

/* a: atomic */
struct lruvec {
	_Atomic uint32_t generation;  /* (a) L2 */
	_Atomic uint64_t nr_resident; /* (a) frames */
	_Atomic uint64_t nr_active;   /* (a) frames, L1 */
	_Atomic uint64_t nr_evicted;  /* (a) frames ever: the clock of the shadows */
	_Atomic uint64_t nr_scanned;  /* (a) frames looked at in this generation */
	_Atomic uint64_t began_at;    /* (a) nr_evicted when the generation began */
	_Atomic uint64_t rest_ns;     /* (a) nothing could go for its pool: left alone until then */
};

/* The age that a page touched now gets. */
static inline unsigned int lru_age_now(const struct lruvec *lru)
{
	return atomic_load_explicit(&lru->generation, memory_order_relaxed) % LRU_GENERATIONS;
}

/* Generations since the page was touched. */
static inline unsigned int lru_distance(const struct lruvec *lru, uint64_t word)
{
	return (lru_age_now(lru) - word_age(word)) % LRU_GENERATIONS;
}

static inline void lru_next_generation(struct lruvec *lru)
{
	atomic_store_explicit(&lru->began_at,
			      atomic_load_explicit(&lru->nr_evicted, memory_order_relaxed),
			      memory_order_relaxed);
	atomic_fetch_add_explicit(&lru->generation, 1, memory_order_relaxed);
}

/* Enough has been evicted in this generation: who is asked has as long to show what is in use. */
static inline bool lru_is_ripe(const struct lruvec *lru)
{
	uint64_t evicted = atomic_load_explicit(&lru->nr_evicted, memory_order_relaxed) -
			   atomic_load_explicit(&lru->began_at, memory_order_relaxed);

	return evicted >= atomic_load_explicit(&lru->nr_resident, memory_order_relaxed) / LRU_PARTS;
}

/* More are active than shall be: their clients are asked. */
static inline bool lru_is_crowded(const struct lruvec *lru)
{
	uint64_t resident = atomic_load_explicit(&lru->nr_resident, memory_order_relaxed);
	uint64_t active = atomic_load_explicit(&lru->nr_active, memory_order_relaxed);

	return active > resident * LRU_ACTIVE_MAX_PERCENT / 100;
}

/* How coarse a shadow tells time: what counts as soon is hundreds of units, and a hundredth of its
 * range, since what was evicted a whole range ago looks as if that were now. */
static inline unsigned int lru_shadow_shift(const struct lruvec *lru)
{
	uint64_t resident = atomic_load_explicit(&lru->nr_resident, memory_order_relaxed);
	unsigned int shift = 0;

	while (resident >> shift >= 1u << SHADOW_RESIDENT_BITS)
		shift++;
	return shift;
}

/* What the word of an evicted page remembers: when that was. */
static inline uint16_t lru_shadow(const struct lruvec *lru)
{
	return (uint16_t)(atomic_load_explicit(&lru->nr_evicted, memory_order_relaxed) >>
			  lru_shadow_shift(lru));
}

/* The refault distance, in frames evicted since, is less than half of what is resident: with half
 * as much memory more the page would have stayed. */
static inline bool lru_refaults_soon(const struct lruvec *lru, uint16_t shadow)
{
	uint64_t resident = atomic_load_explicit(&lru->nr_resident, memory_order_relaxed);
	uint64_t distance = (uint64_t)(uint16_t)(lru_shadow(lru) - shadow)
			    << lru_shadow_shift(lru);

	return distance <= resident / 2;
}

#endif
