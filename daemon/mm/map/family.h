/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family - regions that were cloned from each other: what the kernel calls an anon_vma
 *
 * Purpose     A tree of members, each below the one that it was cloned from. All homes are linear
 *             and members have one length, so that the tree alone says who may show a frame: the
 *             member whose home it is, and members below it.
 * Invariants  A1  a member that has members below it stays in the tree when it is closed, until
 *                 none of them needs its frames.
 *             A2  a closed member has no users: nobody reads or writes through it any more, but
 *                 members below may still need its frames.
 *             A3  a parent is older than its children; members are listed by age.
 * Locking     family->lock (RANK_FAMILY) for the tree; it is held while frames are copied for
 *             members, so that none joins or leaves meanwhile.
 * Not here    Words and frames (space/cow.c), how a clone is made (space/clone.c).
 */
#ifndef MMB_MAP_FAMILY_H
#define MMB_MAP_FAMILY_H

#include <stdatomic.h>

#include "base/check.h"
#include "base/list.h"
#include "base/lock.h"

/* c: fixed after family_new   l: lock */
struct family {
	struct mutex lock;
	uint64_t id;              /* (c) never used again */
	uint32_t nr_members;      /* (l) */
	struct list_head members; /* (l) struct kin.link, A3 */
};

/* c: fixed after joining   l: family->lock */
struct kin {
	struct family *family;     /* (c) */
	void *region;              /* (c) whose place in the family this is */
	struct kin *parent;        /* (l) NULL: the oldest of its tree */
	uint32_t depth;            /* (l) ancestors above it */
	bool closed;               /* (l) A2 */
	bool arming;               /* (l) no clone yet: takes what its parent changes as it is */
	struct list_head link;     /* (l) in family->members */
	struct list_head children; /* (l) */
	struct list_head sibling;  /* (l) */
};

void families_init(void);
/* A family of one; NULL: no memory. */
struct kin *family_new(void *region);
/* One more, below parent; NULL: no memory. */
struct kin *family_join(struct kin *parent, void *region);
/* A member without children goes, and the family with its last member. Returns the parent's region,
 * or NULL. */
void *family_leave(struct kin *kin);
/* The children of a member become its parent's, or the oldest of trees of their own; `adopt` is
 * called for each, with the lock held and its parent changed. Returns how many they were. */
uint32_t family_hand_over(struct kin *kin, void (*adopt)(struct kin *child));
/* The members below root, parents first; `at` is root to begin with. NULL: that was the last one.
 * The lock is held. */
struct kin *family_below(const struct kin *root, struct kin *at);
/* True for one member of each family. */
bool family_is_oldest(struct kin *kin);
void family_validate(struct family *family, struct validation *v);

#endif
