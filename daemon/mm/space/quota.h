/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota - which of the promises to a region a page uses
 *
 * Purpose     Pages of a region come from what was promised to it, node by node. One that
 *             overcommits is promised pages when they are touched, here.
 * Invariants  Q1  what is taken of a node is within what was promised there.
 *             Q2  a region that overcommits keeps a page's promise while it is on the disk: it
 *                 takes a slot from what others may be promised.
 * Locking     none; quotas change by compare-and-swap.
 * Not here    Making and returning promises (region.c), charging frames (residency.h).
 */
#ifndef MMB_SPACE_QUOTA_H
#define MMB_SPACE_QUOTA_H

#include "mm/space/region.h"

/* Takes up to `nr` pages of quota from one node, the preferred one first; *got is what it gave. The
 * node, or -ENOMEM. page: the first of them. */
int region_take_quota(struct region *region, uint64_t page, uint64_t nr, uint64_t *got);

#endif
