/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring - batches of pointers from one thread or process to another
 *
 * Purpose     One side puts, the other takes, a batch at a time, so that handing over costs
 *             little beside the allocator. Lives in any memory both see.
 * Invariants  Q1  put - taken is at most RING_SLOTS. A slot is read before taken passes it.
 * Locking     none: put belongs to the one side, taken to the other.
 */
#ifndef MMB_BENCH_MALLOC_RING_H
#define MMB_BENCH_MALLOC_RING_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

enum { RING_SLOTS = 4096, RING_BATCH = 64, RING_SPINS = 1000 };

struct ring {
	_Alignas(64) _Atomic uint64_t put;   /* written by the putting side */
	_Alignas(64) _Atomic uint64_t taken; /* written by the taking side */
	_Alignas(64) void *slots[RING_SLOTS];
};

/* Waits until the counter has reached a value: the other side runs, or will soon. */
static inline void ring_await(_Atomic uint64_t *counter, uint64_t value)
{
	for (unsigned int spins = 0;
	     (int64_t)(atomic_load_explicit(counter, memory_order_acquire) - value) < 0; spins++) {
		if (spins % RING_SPINS == RING_SPINS - 1)
			sched_yield();
		else
			__builtin_ia32_pause();
	}
}

static inline void ring_put(struct ring *ring, void *const *batch)
{
	uint64_t at = atomic_load_explicit(&ring->put, memory_order_relaxed);

	if (at + RING_BATCH > RING_SLOTS)
		ring_await(&ring->taken, at + RING_BATCH - RING_SLOTS);
	for (unsigned int i = 0; i < RING_BATCH; i++)
		ring->slots[(at + i) % RING_SLOTS] = batch[i];
	atomic_store_explicit(&ring->put, at + RING_BATCH, memory_order_release);
}

static inline void ring_take(struct ring *ring, void **batch)
{
	uint64_t at = atomic_load_explicit(&ring->taken, memory_order_relaxed);

	ring_await(&ring->put, at + RING_BATCH);
	for (unsigned int i = 0; i < RING_BATCH; i++)
		batch[i] = ring->slots[(at + i) % RING_SLOTS];
	atomic_store_explicit(&ring->taken, at + RING_BATCH, memory_order_release);
}

#endif
