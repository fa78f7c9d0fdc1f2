/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lineage - members of a family that have ended, and what each member costs
 *
 * Purpose     A closed member stays only for its frames that living members below it show. In the
 *             background it forgets what it inherits itself, gives up frames and slots that nobody
 *             living inherits, and what it was promised beyond those that stay: at once where that
 *             is an eighth of them, within seconds where it is less. When it has none left, its
 *             children become its parent's, and it is freed.
 * Charging    A shared frame is charged once, to the pool of the region in whose home it is. Of the
 *             regions it counts for that one, and once that is closed for the oldest living
 *             member below it, its heir.
 * Invariants  K1  a family has at most DEAD_MAX closed members, or as many as living ones if those
 *                 are more: of more the smallest gives copies to who inherits from it, and goes.
 *             K2  a closed member in one pool keeps nothing for members in another: they get
 *                 copies.
 *             K3  nobody begins to inherit from a closed member a page that no living member below
 *                 it inherits: so what is found to be needed by nobody stays so.
 * Locking     the closed member's change_lock over all of it, family->lock for a batch of pages.
 * Crash       a child's record names its new parent before the old one's goes; what a closed member
 *             has left is found out anew after a restart.
 * Not here    Copies for those who inherit (cow.h), records and pools (client/pool_region.c).
 */
#ifndef MMB_SPACE_LINEAGE_H
#define MMB_SPACE_LINEAGE_H

#include "mm/space/region.h"

/* Nobody uses the region itself any more; its reference may be put. True: members below it may
 * still need its frames, and it is settled in the background. */
bool clone_close(struct region *region);
/* At the region's end: the member goes, and its reference to its parent. */
void clone_leave(struct region *region);
/* After a restart: a window of it may show the memory of an ancestor that has gone, as only members
 * of families do. -ENOMEM. */
int lineage_resume_alone(struct region *region);
/* So many pages don't inherit from the region with that section any more. */
void lineage_diverged(uint32_t section, uint64_t nr);
/* Once a second, for each region, by one thread: closed members give up what few pages have
 * diverged from them since they were settled. */
void lineage_tick(struct region *region);
/* There are such pages; asks for all of that to be done now. */
bool lineage_is_unsettled(void);
void lineage_settle_all(void);
/* The work that region_settle_later() asks for: the region and those above it, if closed. */
void lineage_settle(struct region *region);

struct lineage_count {
	uint64_t shared; /* pages whose frame another living member shows, too */
	uint64_t own;    /* pages whose frames go when the region goes */
};
/* Looks at each page. Of a closed one, what was looked at before it was closed. */
void lineage_count(struct region *region, struct lineage_count *out);
/* The tree, and that whatever a living member inherits is there: PRESENT and SHARED, or busy, in
 * the home that its word names, above it. */
void lineage_validate(struct family *family, struct validation *v);
/* Resident pages that are charged for the region: its own, and those of whom it is the heir. */
uint64_t lineage_charged(struct region *region);

#endif
