/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runmap - what this process knows about the page runs of one pool
 *
 * Purpose     See runmap.h. A state byte is kind | order.
 */
#include "runmap.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "error.h"
#include "mmbroker.h"

enum {
	RUN_NONE = 0,
	RUN_OUT = 0x10,    /* the application has it */
	RUN_CACHED = 0x20, /* a magazine or the depot has it */
	RUN_ORDER_MASK = 0x0f,
};
static_assert((int)MMB_ORDER_MAX <= (int)RUN_ORDER_MASK, "an order fits beside the kind");

void runmap_add(struct runmap *map, uint64_t base, uint64_t length)
{
	uint32_t nr = atomic_load_explicit(&map->nr, memory_order_relaxed);
	struct runmap_window *w = &map->windows[nr];

	w->base = base;
	w->nr_pages = length >> CLIENT_PAGE_SHIFT;
	atomic_store_explicit(&w->states, NULL, memory_order_relaxed);
	atomic_store_explicit(&map->nr, nr + 1, memory_order_release);
}

static int open_window(struct runmap_window *w)
{
	_Atomic uint8_t *states, *before = NULL;

	if (atomic_load_explicit(&w->states, memory_order_acquire))
		return 0;
	states = mmap(NULL, w->nr_pages, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (states == MAP_FAILED)
		return fail(-ENOMEM,
			    "no address space for the run map of an arena window of %llu bytes; "
			    "look at RLIMIT_AS",
			    (unsigned long long)w->nr_pages << CLIENT_PAGE_SHIFT);
	if (!atomic_compare_exchange_strong(&w->states, &before, states))
		munmap((void *)states, w->nr_pages);
	return 0;
}

int runmap_open(struct runmap *map)
{
	uint32_t nr = atomic_load_explicit(&map->nr, memory_order_acquire);
	int error = 0;

	for (uint32_t i = 0; i < nr && !error; i++)
		error = open_window(&map->windows[i]);
	return error;
}

void runmap_fini(struct runmap *map)
{
	uint32_t nr = atomic_load_explicit(&map->nr, memory_order_relaxed);
	uint32_t i;

	for (i = 0; i < nr; i++)
		if (map->windows[i].states)
			munmap((void *)map->windows[i].states, map->windows[i].nr_pages);
	atomic_store_explicit(&map->nr, 0, memory_order_relaxed);
}

static const struct runmap_window *window_of(const struct runmap *map, uint64_t address)
{
	uint32_t nr = atomic_load_explicit(&map->nr, memory_order_acquire);
	uint32_t i;

	for (i = 0; i < nr; i++) {
		const struct runmap_window *w = &map->windows[i];

		if ((address - w->base) >> CLIENT_PAGE_SHIFT < w->nr_pages)
			return w;
	}
	return NULL;
}

static _Atomic uint8_t *state_of(const struct runmap *map, uint64_t address)
{
	static _Atomic uint8_t none = RUN_NONE; /* R4 */
	const struct runmap_window *w = window_of(map, address);
	_Atomic uint8_t *states;

	if (!w)
		return NULL;
	states = atomic_load_explicit(&w->states, memory_order_acquire);
	return states ? &states[(address - w->base) >> CLIENT_PAGE_SHIFT] : &none;
}

static bool aligned(uint64_t address, unsigned int order)
{
	return !(address & (((uint64_t)CLIENT_PAGE_SIZE << order) - 1));
}

bool runmap_has(const struct runmap *map, uint64_t base, uint64_t length)
{
	const struct runmap_window *w = window_of(map, base);

	return w && w->base == base && w->nr_pages == length >> CLIENT_PAGE_SHIFT;
}

bool runmap_covers(const struct runmap *map, uint64_t address, unsigned int order)
{
	const struct runmap_window *w = window_of(map, address);

	if (!w || !aligned(address, order))
		return false;
	return ((address - w->base) >> CLIENT_PAGE_SHIFT) + (1ull << order) <= w->nr_pages;
}

bool runmap_grant(struct runmap *map, uint64_t address, unsigned int order)
{
	_Atomic uint8_t *state = state_of(map, address);

	if (atomic_load_explicit(state, memory_order_relaxed) != RUN_NONE)
		return false;
	atomic_store_explicit(state, RUN_CACHED | order, memory_order_relaxed);
	return true;
}

void runmap_take(struct runmap *map, uint64_t address, unsigned int order)
{
	atomic_store_explicit(state_of(map, address), RUN_OUT | order, memory_order_relaxed);
}

enum run_verdict runmap_give(struct runmap *map, uint64_t address, unsigned int order)
{
	_Atomic uint8_t *state = state_of(map, address);

	if (!state)
		return RUN_OUTSIDE;
	if (atomic_load_explicit(state, memory_order_relaxed) != (RUN_OUT | order) ||
	    !aligned(address, order))
		return RUN_FOREIGN;
	atomic_store_explicit(state, RUN_CACHED | order, memory_order_relaxed);
	return RUN_OK;
}

void runmap_forget(struct runmap *map, uint64_t address)
{
	atomic_store_explicit(state_of(map, address), RUN_NONE, memory_order_relaxed);
}

/* The run of ours that covers the page of this address: its head is aligned to its size, so there
 * is one candidate an order. */
static bool find_cover(const struct runmap *map, uint64_t address, struct run_fault *fault)
{
	unsigned int order;

	for (order = 0; order <= MMB_ORDER_MAX; order++) {
		uint64_t head = address & ~(((uint64_t)CLIENT_PAGE_SIZE << order) - 1);
		_Atomic uint8_t *state = state_of(map, head);
		uint8_t value;

		if (!state)
			return false;
		value = atomic_load_explicit(state, memory_order_relaxed);
		if (value == RUN_NONE || (value & RUN_ORDER_MASK) < order)
			continue;
		fault->head = head;
		fault->order = value & RUN_ORDER_MASK;
		fault->verdict = value & RUN_CACHED ? RUN_FREED : RUN_INTERIOR;
		return true;
	}
	return false;
}

struct run_fault runmap_explain(const struct runmap *map, uint64_t address, unsigned int order)
{
	struct run_fault fault = { .verdict = RUN_FOREIGN };

	if (!window_of(map, address)) {
		fault.verdict = RUN_OUTSIDE;
		return fault;
	}
	if (find_cover(map, address, &fault)) {
		if (fault.verdict == RUN_INTERIOR && fault.head == address)
			fault.verdict = RUN_WRONG_ORDER;
		return fault;
	}
	if (!aligned(address, order))
		fault.verdict = RUN_MISALIGNED;
	return fault;
}
