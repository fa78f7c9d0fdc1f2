/* SPDX-License-Identifier: Apache-2.0 */
/*
 * players - whole lives of hostile clients, drawn by lot
 *
 * Purpose     A player opens, clones, rolls back, locks, leases, touches and punches in any order,
 *             what the players share, some of it with arguments that mean nothing; it sends
 *             requests without waiting for the answers, and dies at any moment.
 * Invariants  Y1  a life lasts for some seconds at most, whatever the daemon does.
 *             Y2  two players with one seed draw the same, as far as the answers are the same.
 * Locking     none.
 * Not here    What must hold afterwards (hostile.h).
 */
#ifndef MMB_TESTS_SYSTEM_PLAYERS_H
#define MMB_TESTS_SYSTEM_PLAYERS_H

#include "system/hostile.h"

/* In an attack: a child that lives with the next seed, and ends by itself. */
pid_t player_begin(struct attack *a, uint64_t *state);
/* Pools and regions that players have given names; afterwards they have none. */
void players_end_names(struct attack *a);
/* A swap area of the test's own, as a flag for the daemon; its file goes with the test. */
extern char players_swap[];

#endif
