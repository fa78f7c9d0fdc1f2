/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours - the session and the pool of a worker that calls the library
 */
#ifndef MMB_BENCH_MALLOC_OURS_H
#define MMB_BENCH_MALLOC_OURS_H

#include "malloc/run.h"

/* Fills in r->pool and r->charged. */
int ours_open(struct run *r, const char *socket);
void ours_close(struct run *r);

#endif
