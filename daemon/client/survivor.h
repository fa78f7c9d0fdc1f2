/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survivor - processes whose sessions a predecessor has cut
 *
 * Purpose     When such a process ends the others of its pools are told (members.h). It is found
 *             again by the mark that the predecessor has left; one descriptor watches it, however
 *             many handles it had. Whether it has left its slabs while it lives isn't known any
 *             more: the socket that told it ended with the predecessor.
 * Locking     one mutex inside (RANK_TABLE), under a pool's members.lock.
 */
#ifndef MMB_CLIENT_SURVIVOR_H
#define MMB_CLIENT_SURVIVOR_H

#include <stdbool.h>
#include <stdint.h>

struct survivor;

void survivors_init(void);
/* By its mark (os/process.h); counted. NULL: nobody can say when it ends, or no memory. */
struct survivor *survivor_get(uint64_t mark);
/* NULL does nothing. */
void survivor_put(struct survivor *s);
/* It, or all that could have been taken for it. */
bool survivor_has_ended(struct survivor *s);

#endif
