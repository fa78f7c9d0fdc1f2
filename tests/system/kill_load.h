/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_load - what clients do while their daemon is killed, verified byte by byte
 *
 * Purpose     Twelve kinds of load on a daemon with two nodes and a swap file: plain regions, pools
 *             at their limits, clones and rollbacks, 2 MiB pages, page runs and objects, a pool
 *             that promises more than there is, locked pages and advice, typed objects, two
 *             clients of one region. Each page's contents are known at any moment, and whatever
 *             wait a client has is noted (kill_scene.h).
 * Not here    Killing (kill_scene.h).
 */
#ifndef MMB_TESTS_SYSTEM_KILL_LOAD_H
#define MMB_TESTS_SYSTEM_KILL_LOAD_H

#include "system/stage.h"

/* Numbers of the board. */
enum { LOADS_BEGUN, LOADS_TO_REST, LOADS_RESTING };
enum { STEP_OVER = 1 };

/* The daemon that the loads are for, supervised, with huge pages where the host has some; waits are
 * kept from now on. */
struct fixture *loads_stage(void);
/* An actor of the kind that its place says, below KILL_CLIENTS, until STEP_OVER is cued. Adds 1 to
 * board->number[LOADS_BEGUN] when it has begun. */
void verify_under_kills(struct actor *a);
/* In the test: all of them rest between two touches, where they wait for nobody; false: one doesn't
 * come to it. Until they go on. */
bool loads_rest(void);
void loads_go_on(void);

#endif
