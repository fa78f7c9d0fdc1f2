/* SPDX-License-Identifier: Apache-2.0 */
/*
 * split - one granted block becomes several smaller ones
 *
 * Purpose     split_page() as in Linux, to any smaller order: the parts are granted blocks of the
 *             same type and without an owner, each freed for itself.
 * Locking     zone->lock inside.
 * Not here    Who owns the parts.
 */
#ifndef MMB_MM_BALANCE_SPLIT_H
#define MMB_MM_BALANCE_SPLIT_H

#include "mm/phys/page.h"

/* The block is granted and has no owner yet. order is smaller than its order, or equal. */
void split_page(struct page *page, unsigned int order);

#endif
