/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run - one run of one workload by one allocator, in a process of its own
 *
 * Purpose     What a workload is told and what it leaves behind, how objects are stamped so that
 *             a broken allocator is noticed, and memory that isn't the allocator's.
 * Invariants  R1  arrays that a workload needs for itself come from run_scratch(): they cost the
 *                 allocator nothing, and its memory figures leave them out.
 *             R2  figures[0] is a time in ns where the workload measures one.
 */
#ifndef MMB_BENCH_MALLOC_RUN_H
#define MMB_BENCH_MALLOC_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mmb_pool;
struct run;

/* A row of a table; the last one has no name. */
struct workload {
	const char  *name;           /* on the command line, and of the case in the output */
	int (*run)(struct run *r);   /* 0 or what bench_because() gave */
	size_t       bytes;          /* of an object, or the largest */
	uint32_t     nr;             /* objects at once, or what the workload says */
	unsigned int threads;
	uint64_t     ops, ops_quick; /* of a thread */
};

struct run {
	const struct workload *workload;
	struct mmb_pool       *pool; /* ours; NULL with any other allocator */
	uint64_t               ops, seed;
	bool                   quick;
	double                *figures; /* BENCH_VALUES of them */
	_Atomic uint64_t       scratch; /* bytes of R1 */
	uint64_t (*charged)(void);      /* what the daemon holds for us; NULL: there is no daemon */
};

/* Zeroed, resident, and never given back. */
void *run_scratch(struct run *r, size_t bytes);
int run_no_memory(size_t bytes);
int run_overwritten(const void *at, size_t bytes);

/* The pointer passes through here, or the compiler would leave calls out. */
static inline void *run_keep(void *pointer)
{
	__asm__ volatile("" : "+r"(pointer) : : "memory");
	return pointer;
}

/* First and last word of an object of at least 8 bytes tell where it is and how large. */
static inline uint64_t run_stamp_of(const void *at, size_t bytes)
{
	return (uint64_t)(uintptr_t)at * 0x9e3779b97f4a7c15ull + bytes;
}

/* Where memory is measured, objects up to 64 KiB are written on every page, as programs do: what an
 * allocator has granted and nobody touched would otherwise cost nothing with those that grant
 * address space. */
extern bool run_touches_pages;

static inline void run_stamp(void *at, size_t bytes)
{
	uint64_t *words = at;

	if (run_touches_pages && bytes <= 64 << 10)
		for (size_t i = 4096; i < bytes; i += 4096)
			((volatile char *)at)[i] = 1;
	words[0] = run_stamp_of(at, bytes);
	words[bytes / sizeof(*words) - 1] = words[0];
}

static inline bool run_stamped(const void *at, size_t bytes)
{
	const uint64_t *words = at;

	return words[0] == run_stamp_of(at, bytes) &&
	       words[bytes / sizeof(*words) - 1] == words[0];
}

#endif
