/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_scene - a daemon with a swap file, for scenes
 *
 * Purpose     Names the file ($TMPDIR, or /var/tmp: a disk), sets the stage, removes the file at
 *             the program's end, and asks the daemon what it has swapped.
 * Not here    The stage itself (stage.h).
 */
#ifndef MMB_TESTS_SYSTEM_SWAP_SCENE_H
#define MMB_TESTS_SYSTEM_SWAP_SCENE_H

#include "system/stage.h"

/* Once, before the first scene; every daemon makes the file anew. more: further flags,
 * NULL-terminated, or NULL. */
void swap_scene_set(unsigned int reserve_mib, unsigned int swap_mib, const char *const *more);
const char *swap_scene_path(void);
/* A counter of mmbctl vmstat; -1 and printed: it isn't there. */
int64_t swap_scene_count(const char *socket, const char *counter);
/* The area is as good as new: on, nothing retired, and, once all clients have gone, no slot in use.
 * checksum_errors: how many reads it must have found wrong since it was turned on, at least. */
void swap_scene_intact(const char *socket, int64_t checksum_errors);
/* In an actor: every page of the region is on the disk, or the actor ends. */
void swap_scene_out(struct mmb_region *region);

#endif
