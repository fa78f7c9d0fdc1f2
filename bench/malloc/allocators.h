/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allocators - who takes part, and how a process gets to use them
 *
 * Purpose     A peer other than glibc is the distribution's library, preloaded, which is how it
 *             is used in practice. ours and the two shared heaps are called by name.
 */
#ifndef MMB_BENCH_MALLOC_ALLOCATORS_H
#define MMB_BENCH_MALLOC_ALLOCATORS_H

#include <stdbool.h>

struct allocator {
	const char *name;
	const char *library; /* to preload; NULL: none */
	const char *package; /* which has it */
};

enum { ALLOCATORS = 5, ALLOCATOR_OURS = 0 }; /* ours, glibc, jemalloc, mimalloc, tcmalloc */
extern const struct allocator allocators[ALLOCATORS];

/* NULL: none of that name. */
const struct allocator *allocator_find(const char *name);
/* In the environment of what is executed next. NULL: no library is preloaded. */
void allocator_prepare(const struct allocator *a);
/* 0, or BENCH_SKIP after bench_because(): a build with a sanitizer can't preload another malloc. */
int allocator_possible(const struct allocator *a);
/* 0: this process uses it. BENCH_SKIP after bench_because(). */
int allocator_check(const struct allocator *a);
/* The environment asks for it: if it isn't there, it can't be had. */
bool allocator_prepared(const struct allocator *a);

#endif
