/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_keeper - signs of who keeps the lock of a process's map
 *
 * Purpose     Not every userfaultfd is of the map of who connected: a session is handed on by a
 *             fork. And who waits to change a map isn't always killable. So there are two more
 *             signs: what needs the lock of a process's map doesn't come back, and a process serves
 *             a file system of FUSE, without which no reader keeps a map for long.
 * Invariants  Both are for bounded_run(): they may wait for the process for ever.
 * Locking     none.
 * Not here    Who is looked at, when, and ended (culprit.h).
 */
#ifndef MMB_OS_MAP_KEEPER_H
#define MMB_OS_MAP_KEEPER_H

#include <stdbool.h>
#include <sys/types.h>

/* Comes back when the lock of the process's map can be had, or there is no such process. */
void map_keeper_await_map(pid_t pid);
bool map_keeper_serves_fuse(pid_t pid);

#endif
