/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allocator - the calls under test
 *
 * Purpose     Workloads are compiled twice from the same sources: with MALLOC_OURS they call the
 *             library, without it the process's malloc, which is glibc's or that of a preloaded
 *             library. Either way a call is one direct call into a shared library, as in a
 *             program that uses it, so no side pays for the bench.
 * Invariants  A1  this is the only file of the workloads that names an allocator's functions.
 */
#ifndef MMB_BENCH_MALLOC_ALLOCATOR_H
#define MMB_BENCH_MALLOC_ALLOCATOR_H

#include <stdlib.h>

#include "malloc/run.h"
#ifdef MALLOC_OURS
#include "mmbroker.h"
#define VARIANT(name) name##_ours
#else
#define VARIANT(name) name##_process
#endif

static inline void *take(const struct run *r, size_t bytes)
{
#ifdef MALLOC_OURS
	return mmb_malloc(r->pool, bytes);
#else
	return malloc(bytes);
#endif
}

static inline void give(void *at)
{
#ifdef MALLOC_OURS
	mmb_free(at);
#else
	free(at);
#endif
}

static inline void *regrow(const struct run *r, void *at, size_t bytes)
{
#ifdef MALLOC_OURS
	return mmb_realloc(r->pool, at, bytes);
#else
	return realloc(at, bytes);
#endif
}

#endif
