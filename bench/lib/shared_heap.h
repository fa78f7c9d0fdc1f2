/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_heap - a heap that several processes use at once
 *
 * Purpose     The contestants of the shared workloads: a pool of ours that each process opens by
 *             name, and two heaps in a shared mapping, made before the processes fork, which
 *             stand for what programs do without a broker.
 * Locking     each heap its own; take and give may be called by all processes at once.
 */
#ifndef MMB_BENCH_LIB_SHARED_HEAP_H
#define MMB_BENCH_LIB_SHARED_HEAP_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct shared_heap {
	const char *name;
	/* Once, before the processes fork: an object for attach(). NULL after bench_because(). */
	void *(*make)(const char *socket);
	/* In each process: what take() wants. */
	int (*attach)(void *made, void **heap);
	void *(*take)(void *heap, size_t bytes);
	void (*give)(void *heap, void *at);
};

enum { SHARED_HEAP_BYTES = 256 << 20 };

extern const struct shared_heap shared_heap_ours;   /* shared_ours.c */
extern const struct shared_heap shared_heap_arena;  /* lists by size, one mutex */
extern const struct shared_heap shared_heap_offset; /* best fit with offset pointers, one mutex */

/* Zeroed memory at one address in all processes that fork later; NULL after bench_because(). */
void *shared_map(size_t bytes);
/* A mutex for several processes. */
void shared_mutex_init(pthread_mutex_t *mutex);
int shared_attach_same(void *made, void **heap);

#endif
