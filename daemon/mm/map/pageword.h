/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pageword - one 64-bit word a page of a region: the only truth about that page
 *
 * Purpose     State, node and flags of a page, changed only by compare-and-swap. The word is the
 *             commit point of every operation; counters can be rebuilt from it.
 * Layout      0-2 state, 3 BUSY, 4 WAITERS, 5 LOCKED, 6 SHARED, 7 REFERENCED, 8-15 node (PRESENT),
 *             16-31 PRESENT: what reclaim knows of the page, SWAPPED and SAME_FILLED: the shadow,
 *             32-63 PRESENT: slot of a copy that is valid or 0, SWAPPED: slot,
 *             SAME_FILLED: the 32 bits that the page repeats.
 * Invariants  W1  BUSY and WAITERS lie over the old state, so that a crash never loses it.
 *             W2  whoever sets BUSY clears it, and wakes the page's windows if WAITERS was set.
 *             W3  the node field is valid in PRESENT, and says whose stock the frames came from.
 *             W4  a PRESENT page with a slot is CLEAN: the copy in the slot is what the page
 *                 holds, because nobody can write it without an event that clears both.
 *             W5  a SHARED page is write-protected wherever it is mapped, and may be shown by other
 *                 regions of its family. It isn't LAZYFREE.
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
	PAGE_SAME_FILLED = 3, /* one 32-bit value over and over: needs neither frame nor slot */
	PAGE_SWAPPED = 4,  /* in the slot that the word names */
	PAGE_INHERIT = 5,  /* of a clone: still what the ancestor has */
};

enum {
	WORD_STATE_MASK = 0x7,
	WORD_BUSY = 1 << 3,
	WORD_WAITERS = 1 << 4,
	WORD_LOCKED = 1 << 5,
	WORD_SHARED = 1 << 6,
	WORD_REFERENCED = 1 << 7,
	WORD_NODE_SHIFT = 8,
	WORD_NODE_MASK = 0xff << WORD_NODE_SHIFT,
	/* PRESENT */
	WORD_UNASKED = 1 << 16,  /* came back with a neighbour, unmapped, and is untouched */
	WORD_RELOCKED = 1 << 17, /* LOCKED, and more than one asked for that */
	WORD_ACTIVE = 1 << 18,   /* came back soon after it was evicted, or was referenced */
	WORD_CLEAN = 1 << 19,    /* write-protected in every mapper: written out, or being so */
	WORD_LAZYFREE = 1 << 20, /* as CLEAN, and may be dropped: its contents are not wanted */
	WORD_ASKED = 1 << 21,    /* inactive, and clients are to show whether they use it */
	WORD_AGE_SHIFT = 22,     /* the generation of its lruvec in which it was touched last */
	WORD_AGE_MASK = 7 << WORD_AGE_SHIFT,
	/* INHERIT: a window that shows the ancestor's memory may have it mapped. PRESENT, beside
	 * BUSY: such a window may still have it */
	WORD_SEEN = 1 << 28,
	/* of a clone, beside BUSY: its owner is making this copy */
	WORD_BREAKING = 1 << 29,
	/* of a clone, beside BUSY: it looks whether the copy it has made is whole */
	WORD_CHECKING = 1 << 27,
	/* PRESENT with any of these: the high half names the section of what it is a copy of */
	WORD_OF_COPY = WORD_SEEN | WORD_BREAKING | WORD_CHECKING,
	/* any of these: mapped write-protected, everywhere */
	WORD_PROTECTED = WORD_SHARED | WORD_CLEAN | WORD_LAZYFREE,
	/* SWAPPED, SAME_FILLED */
	WORD_SHADOW_SHIFT = 16,
	WORD_HIGH_SHIFT = 32,
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

/* The slot of PRESENT and SWAPPED, the value of SAME_FILLED. */
static inline uint32_t word_high(uint64_t word)
{
	return (uint32_t)(word >> WORD_HIGH_SHIFT);
}

static inline uint64_t word_with_high(uint64_t word, uint32_t high)
{
	return (word & UINT32_MAX) | (uint64_t)high << WORD_HIGH_SHIFT;
}

/* One of the marks of a clone's page, which other states have their shadow in the place of. */
static inline bool word_has_mark(uint64_t word, uint64_t mark)
{
	enum page_state state = word_state(word);

	return (state == PAGE_PRESENT || state == PAGE_INHERIT) && word & mark;
}

/* The slot that the word names in any of its states; 0: none. */
static inline uint32_t word_slot(uint64_t word)
{
	enum page_state state = word_state(word);

	if (state == PAGE_SAME_FILLED || state == PAGE_INHERIT || word_has_mark(word, WORD_OF_COPY))
		return 0;
	return word_high(word);
}

static inline uint16_t word_shadow(uint64_t word)
{
	return (uint16_t)(word >> WORD_SHADOW_SHIFT);
}

static inline uint64_t word_swapped(uint32_t slot, uint16_t shadow)
{
	return word_with_high(PAGE_SWAPPED | (uint64_t)shadow << WORD_SHADOW_SHIFT, slot);
}

static inline uint64_t word_same_filled(uint32_t value, uint16_t shadow)
{
	return word_with_high(PAGE_SAME_FILLED | (uint64_t)shadow << WORD_SHADOW_SHIFT, value);
}

/* The contents are in the home of the region with that section. */
static inline uint64_t word_inherit(uint32_t section)
{
	return word_with_high(PAGE_INHERIT, section);
}

static inline unsigned int word_age(uint64_t word)
{
	return (unsigned int)((word & WORD_AGE_MASK) >> WORD_AGE_SHIFT);
}

static inline uint64_t word_with_age(uint64_t word, unsigned int age)
{
	return (word & ~(uint64_t)WORD_AGE_MASK) |
	       ((uint64_t)age << WORD_AGE_SHIFT & WORD_AGE_MASK);
}

static inline uint64_t word_load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* Sets BUSY if the page is idle and in `state`; *old gets the word as it was. */
bool word_try_busy(_Atomic uint64_t *word, enum page_state state, uint64_t *old);
/* From exactly `*seen` to `value`; on failure *seen is what the word is now. */
static inline bool word_replace(_Atomic uint64_t *word, uint64_t *seen, uint64_t value)
{
	return atomic_compare_exchange_strong_explicit(word, seen, value, memory_order_seq_cst,
						       memory_order_acquire);
}
/* Ends BUSY with a new state, node and LOCKED flag; returns whether somebody waits. */
bool word_end_busy(_Atomic uint64_t *word, uint64_t value);
/* Under BUSY: the word says `value` from now on, BUSY and WAITERS stay. For what a crash must not
 * undo. */
void word_commit_busy(_Atomic uint64_t *word, uint64_t value);
/* Asks to be woken when BUSY ends. False: it ended meanwhile, look again. */
bool word_wait(_Atomic uint64_t *word);

#endif
