/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd - many sessions at once, each a process of its own with many regions
 *
 * Purpose     Members open a private pool and their regions, touch the first page of each, and
 *             wait. At each turn every one touches the next page of its first region: for all of
 *             them to be served, the broker has to serve everybody.
 * Errors      0 or a negative errno after bench_because().
 */
#ifndef MMB_BENCH_CROWD_H
#define MMB_BENCH_CROWD_H

#include <stdint.h>

enum { CROWD_MAX = 1024 };

struct crowd_shape {
	const char  *socket;
	unsigned int sessions; /* CROWD_MAX at most */
	unsigned int regions;  /* of each */
	uint64_t     bytes;    /* of a region: two pages at least */
};

struct crowd;

/* Returns when all have their regions. */
int crowd_start(const struct crowd_shape *shape, struct crowd **out);
/* When the first and the last of them had what they touched, both after the call, in ns. */
int crowd_turn(struct crowd *crowd, uint64_t *first_ns, uint64_t *last_ns);
/* Their processes have ended; NULL is allowed. */
void crowd_end(struct crowd *crowd);

#endif
