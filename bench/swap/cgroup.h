/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup - a memory cgroup of this host, version 1 or 2, for the peers of the swap suite
 *
 * Purpose     Makes a group below the root of the memory hierarchy, sets its limit, takes
 *             processes in, tells what it holds and what of it is being written, removes it.
 * Errors      negative errno after bench_because(); BENCH_SKIP where this host has no memory
 *             controller or this user may not make groups in it.
 */
#ifndef MMB_BENCH_SWAP_CGROUP_H
#define MMB_BENCH_SWAP_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

enum { CGROUP_PATH = 256 };

struct cgroup {
	char path[CGROUP_PATH]; /* empty: none */
	char root[CGROUP_PATH];
	bool v2, enabled_controller; /* and it has to be turned off again */
};

int cgroup_create(struct cgroup *g, const char *name);
/* Most that it may hold; everything above goes to swap. */
int cgroup_limit(const struct cgroup *g, uint64_t bytes);
/* The calling process; memory that it takes from now on counts. */
int cgroup_enter(const struct cgroup *g);
uint64_t cgroup_usage(const struct cgroup *g);
/* Bytes of it on their way to the disk. */
uint64_t cgroup_writeback(const struct cgroup *g);
/* Waits a while for its processes to end. */
void cgroup_remove(struct cgroup *g);

#endif
