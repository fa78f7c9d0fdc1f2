/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range_fixture - chunks for a range heap in plain memory, without a daemon
 *
 * Purpose     A stretch of address space of which chunks are made accessible, zero, where they are
 *             wanted or one page behind all others; a limit, a clock and failures by hand.
 * Locking     the heap's work lock: no other thread is in here.
 */
#ifndef MMB_TESTS_LIB_RANGE_FIXTURE_H
#define MMB_TESTS_LIB_RANGE_FIXTURE_H

#include "ranges/range_heap.h"

enum { FIXTURE_PAGES = 2048 };

struct range_fixture {
	struct range_heap *heap;
	uint64_t           base;
	void             (*on_create)(void); /* what others do meanwhile */
	bool               taken[FIXTURE_PAGES];
	uint64_t           limit, bytes; /* of all chunks */
	uint64_t           nr_chunks;
	_Atomic uint64_t   now_ms, nr_kicks;
	bool               fail_empty, nothing_adjacent;
};

void range_fixture_start(struct range_fixture *f);
/* Validates, frees the heap and expects that nothing is left. */
void range_fixture_stop(struct range_fixture *f);
/* 0: no memory. */
uint64_t range_fixture_alloc(struct range_fixture *f, size_t size);

#endif
