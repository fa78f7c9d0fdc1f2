/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_resume - arenas of a predecessor, and whose what is granted in them is
 *
 * Order       resume_arenas() when the pools are there; resume_grants() when the sessions' shares
 *             of them are there, too.
 * Locking     one thread, nobody is served yet.
 */
#ifndef MMB_CLIENT_ARENA_RESUME_H
#define MMB_CLIENT_ARENA_RESUME_H

#include "client/pool.h"

struct pool_handle;

/* Sections, zones, addresses, slab maps. */
int resume_arenas(struct refusal *why);
/* Page runs go to their shares, units to their pools; what nobody has any more is freed. */
int resume_grants(struct pool_handle *(*find_share)(uint64_t id));

#endif
