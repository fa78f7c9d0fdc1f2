/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor_give - the least that a broker does for a program that allocates once
 *
 * Purpose     A process that waits for connections, looks who has come, reads one packet and
 *             answers with one that brings a memfd, whose memory is there already, and hears of the
 *             end. No messages are packed, nothing is looked up, charged, recorded or kept; no
 *             userfaultfd, no second descriptor. start_floor is the program.
 */
#ifndef MMB_BENCH_MALLOC_FLOOR_GIVE_H
#define MMB_BENCH_MALLOC_FLOOR_GIVE_H

#include "lib/child.h"

struct floor_giver {
	struct child child;
	int          listener;
	char         path[64];
};

/* Its socket's path is in $MMB_FLOOR from now on. */
int  floor_giver_start(struct floor_giver *g);
void floor_giver_stop(struct floor_giver *g);

#endif
