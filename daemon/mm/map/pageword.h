/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pageword - one 64-bit word a page of a region: the only truth about that page
 *
 * Purpose     State, node and flags of a page, changed only by compare-and-swap. The word is the
 *             commit point of every operation; counters can be rebuilt from it.
 * Invariants  W1  BUSY and WAITERS lie over the old state, so that a crash never loses it.
 *             W2  whoever sets BUSY clears it, and wakes the page's windows if WAITERS was set.
 *             W3  the node field is valid in PRESENT, and says whose stock the frames came from.
 * Locking     none; BUSY is the page's lock and is only ever tried.
 * Not here    Frames (homes are linear: page i is frame i of the section), charging (space).
 */
#ifndef MMB_MAP_PAGEWORD_H
#define MMB_MAP_PAGEWORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

enum page_state {
	PAGE_NONE = 0,     /* never touched or dropped: reads zero */
	PAGE_PRESENT = 1,  /* resident in its home */
	PAGE_POISONED = 2, /* contents are lost: SIGBUS for all users */
};

enum {
	WORD_STATE_MASK = 0x7,
	WORD_BUSY = 1 << 3,
	WORD_WAITERS = 1 << 4,
	WORD_LOCKED = 1 << 5,
	WORD_NODE_SHIFT = 8,
	WORD_NODE_MASK = 0xff << WORD_NODE_SHIFT,
};

static_assert(MAX_NUMNODES <= 256, "the node field has 8 bits");

static inline enum page_state word_state(uint64_t word)
{
	return (enum page_state)(word & WORD_STATE_MASK);
}

static inline int word_node(uint64_t word)
{
	return (int)((word & WORD_NODE_MASK) >> WORD_NODE_SHIFT);
}

static inline uint64_t word_present(int node)
{
	return PAGE_PRESENT | (uint64_t)node << WORD_NODE_SHIFT;
}

static inline uint64_t word_load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* Sets BUSY if the page is idle and in `state`; *old gets the word as it was. */
bool word_try_busy(_Atomic uint64_t *word, enum page_state state, uint64_t *old);
/* Ends BUSY with a new state, node and LOCKED flag; returns whether somebody waits. */
bool word_end_busy(_Atomic uint64_t *word, uint64_t value);
/* Asks to be woken when BUSY ends. False: it ended meanwhile, look again. */
bool word_wait(_Atomic uint64_t *word);

#endif
