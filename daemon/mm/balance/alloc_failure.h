/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc_failure - why an allocation failed, for alloc.c
 */
#ifndef MMB_MM_BALANCE_ALLOC_FAILURE_H
#define MMB_MM_BALANCE_ALLOC_FAILURE_H

#include "mm/balance/alloc.h"

/* What a failed growth means to the one who asked. */
enum alloc_failure_kind alloc_failure_of(bool may_wait, enum grow_failure why);
/* zone: the one that it holds for, NULL if there was none. A kind that the zone's figures make more
 * precise (fragmentation) is replaced. */
void alloc_failure_fill(struct alloc_failure *out, const struct alloc_request *request,
			const struct zone *zone, enum alloc_failure_kind kind);

#endif
