/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone - point-in-time copies of regions
 *
 * Purpose     A clone is a region of its own whose words say INHERIT where the parent has contents
 *             at the instant of the clone. Nothing is copied but locked pages.
 * Instant     Parents are armed batch by batch while their threads go on. A write to a page that
 *             is armed already is let through and the page noted, as is everything else that
 *             becomes writable; what was noted is armed again, in rounds, until little is left.
 *             Then the parents are frozen, which makes faulting writers wait, the rest is armed,
 *             and the instant is the thaw: every write before it is in the clones, none after it.
 *             Several regions are frozen together.
 * Invariants  L1  a clone's word INHERITs from the ancestor whose home has the frame, never by way
 *                 of another clone.
 *             L2  a member holds a reference to its parent, so that the homes of ancestors exist
 *                 as long as it does.
 * Locking     region->change_lock of each parent, in the order of their addresses.
 * Crash       the clone isn't known to anybody before it is armed: a crash leaves SHARED on the
 *             parents' words, which is always right.
 * Not here    How a page is armed (arm.h), what happens at the first write (cow.h), the end of
 *             family members (lineage.h).
 */
#ifndef MMB_SPACE_CLONE_H
#define MMB_SPACE_CLONE_H

#include "mm/space/region.h"

enum { CLONES_MAX = 64 }; /* at one instant */

struct clone_pair {
	struct region *parent, *clone; /* of equal length and page size */
};

/* The clone, just made and known to nobody, becomes a member of the parent's family. -ENOMEM. */
int clone_join(const struct clone_pair *pair);
/* All at one instant. On failure the clones are to be put away. */
int clone_arm(const struct clone_pair *pairs, unsigned int nr);
/* Takes change_lock of each and keeps whatever would make their pages writable waiting. Each region
 * once, by address. */
void regions_freeze(struct region *const *regions, unsigned int nr);
void regions_thaw(struct region *const *regions, unsigned int nr);
/* The region's contents become the snapshot's (rollback.c). `whole`, unless NULL, is called once
 * they are, before anybody can write. -EINVAL: of another length or page size; -EBUSY: a page that
 * would change is locked. */
int region_rollback(struct region *region, struct region *snapshot, void (*whole)(void *arg),
		    void *arg);
/* The descriptor, read-only, of the memory that windows of a clone can show at first, an ancestor's
 * if `may` says so of that; *section is its. -1: they show the clone's own. */
int clone_open_base(struct region *region, bool (*may)(const struct region *ancestor, void *arg),
		    void *arg, uint32_t *section);
/* Before a page of 2 MiB of an ancestor's is shown in a window of the clone. 0, or there is no room
 * for what that may take. */
int clone_prepare_huge(struct region *region);
/* After a restart: the region was cloned from parent, or from what is lost if that is NULL. Its
 * words are as the dead daemon left them; those that name a home which isn't there are poisoned. */
int clone_resume(struct region *region, struct region *parent);

#endif
