/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live_set - many objects of random sizes, replaced in random order
 *
 * Purpose     A set of slots, and a script of steps made beforehand, so that the clock sees no
 *             random numbers: each step frees a slot's object and allocates one of another size.
 * Invariants  L1  an object is stamped as long as it is in its slot; it is checked when it goes.
 */
#ifndef MMB_BENCH_MALLOC_LIVE_SET_H
#define MMB_BENCH_MALLOC_LIVE_SET_H

#include "lib/random.h"
#include "malloc/allocator.h"

enum { LIVE_SCRIPT = 1 << 16, LIVE_SMALLEST = 16 };

/* Sizes of most programs: small ones by far the most, few large ones. */
static const struct live_mix {
	uint8_t  percent;
	uint32_t below;
} live_mixes[] = { { 60, 128 }, { 25, 512 }, { 12, 4096 }, { 3, 32768 } };

struct live_slot {
	void  *at; /* NULL: empty */
	size_t bytes;
};

struct live_step {
	uint32_t slot, bytes;
};

struct live_set {
	const struct run *run;
	struct live_slot *slots;
	struct live_step *script;
	uint32_t          nr, at; /* slots; next step */
};

static inline uint32_t live_mixed_size(uint64_t *state)
{
	uint64_t percent = random_below(state, 100);
	uint32_t from = LIVE_SMALLEST;

	for (const struct live_mix *m = live_mixes;; from = m->below, m++) {
		if (percent < m->percent)
			return from + (uint32_t)random_below(state, m->below - from);
		percent -= m->percent;
	}
}

/* bytes: the largest object; 0: a mix. */
static inline void live_init(struct live_set *set, struct run *r, uint64_t seed, uint32_t nr,
			     size_t bytes)
{
	*set = (struct live_set){ .run = r, .nr = nr };
	set->slots = run_scratch(r, nr * sizeof(*set->slots));
	set->script = run_scratch(r, LIVE_SCRIPT * sizeof(*set->script));
	for (uint32_t i = 0; i < LIVE_SCRIPT; i++) {
		set->script[i].slot = (uint32_t)random_below(&seed, nr);
		set->script[i].bytes =
			bytes == 0 ? live_mixed_size(&seed) :
				     LIVE_SMALLEST +
					     (uint32_t)random_below(&seed, bytes - LIVE_SMALLEST);
	}
}

static inline int live_put(struct live_set *set, struct live_slot *slot, size_t bytes)
{
	slot->at = take(set->run, bytes);
	slot->bytes = bytes;
	if (slot->at == NULL)
		return run_no_memory(bytes);
	run_stamp(slot->at, bytes);
	return 0;
}

static inline int live_drop(struct live_slot *slot)
{
	void *at = slot->at;

	slot->at = NULL;
	if (!run_stamped(at, slot->bytes))
		return run_overwritten(at, slot->bytes);
	give(at);
	return 0;
}

static inline int live_fill(struct live_set *set)
{
	int error = 0;

	for (uint32_t i = 0; i < set->nr && error == 0; i++)
		error = live_put(set, &set->slots[i], set->script[i % LIVE_SCRIPT].bytes);
	return error;
}

static inline int live_step(struct live_set *set)
{
	const struct live_step *step = &set->script[set->at++ % LIVE_SCRIPT];
	struct live_slot *slot = &set->slots[step->slot];
	int error = live_drop(slot);

	return error != 0 ? error : live_put(set, slot, step->bytes);
}

static inline int live_churn(struct live_set *set, uint64_t ops)
{
	int error = 0;

	for (uint64_t i = 0; i < ops && error == 0; i++)
		error = live_step(set);
	return error;
}

static inline int live_drain(struct live_set *set)
{
	int error = 0;

	for (uint32_t i = 0; i < set->nr && error == 0; i++)
		error = live_drop(&set->slots[i]);
	return error;
}

#endif
