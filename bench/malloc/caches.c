/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caches - typed caches
 *
 * Purpose     many: objects of 64 types, random ones replaced. bulk: 32 objects at once
 *             (figures[0]) beside 32 single calls (figures[1]), in turns in one run.
 */
#include <stdio.h>

#include "lib/clock.h"
#include "lib/random.h"
#include "malloc/typed.h"
#include "malloc/workloads.h"

enum { TYPES = 64, FIRST_BYTES = 24, STEP_BYTES = 16, BULK = 32, TURNS = 16 };

static int many_replace(const struct typed *t, void **slot)
{
	if (*slot != NULL) {
		if (!run_stamped(*slot, t->bytes))
			return run_overwritten(*slot, t->bytes);
		typed_give(t, *slot);
	}
	*slot = typed_take(t);
	if (*slot == NULL)
		return run_no_memory(t->bytes);
	run_stamp(*slot, t->bytes);
	return 0;
}

static int many_open(const struct run *r, struct typed *types)
{
	int error = 0;

	for (unsigned int i = 0; i < TYPES && error == 0; i++) {
		types[i].bytes = FIRST_BYTES + STEP_BYTES * i;
		error = typed_open(r, i, &types[i]);
	}
	return error;
}

static int many_run(struct run *r)
{
	uint32_t nr = r->workload->nr; /* slots of a type */
	struct typed *types = run_scratch(r, TYPES * sizeof(*types));
	void **slots = run_scratch(r, (size_t)TYPES * nr * sizeof(*slots));
	uint32_t *order = run_scratch(r, (size_t)TYPES * nr * sizeof(*order));
	uint64_t state = r->seed, before;
	int error = many_open(r, types);

	random_permutation(&state, order, TYPES * nr);
	for (uint32_t i = 0; i < TYPES * nr && error == 0; i++)
		error = many_replace(&types[i / nr], &slots[i]);
	before = clock_ns();
	for (uint64_t i = 0; i < r->ops && error == 0; i++) {
		uint32_t slot = order[i % (TYPES * nr)];

		error = many_replace(&types[slot / nr], &slots[slot]);
	}
	r->figures[0] = (double)(clock_ns() - before) / (double)r->ops;
	for (uint32_t i = 0; i < TYPES * nr && error == 0; i++)
		typed_give(&types[i / nr], slots[i]);
	for (unsigned int i = 0; i < TYPES && error == 0; i++)
		typed_close(&types[i]);
	return error;
}

static int bulk_verify(void **objects, size_t bytes)
{
	for (unsigned int i = 0; i < BULK; i++)
		run_stamp(objects[i], bytes);
	for (unsigned int i = 0; i < BULK; i++) {
		if (!run_stamped(objects[i], bytes))
			return run_overwritten(objects[i], bytes);
	}
	return 0;
}

static int bulk_once(const struct typed *t, bool verify)
{
	void *objects[BULK];
	int error;

	if (!typed_take_bulk(t, BULK, objects))
		return run_no_memory(BULK * t->bytes);
	error = verify ? bulk_verify(objects, t->bytes) : 0;
	typed_give_bulk(t, BULK, objects);
	return error;
}

static int singles_once(const struct typed *t)
{
	void *objects[BULK];

	for (unsigned int i = 0; i < BULK; i++) {
		objects[i] = typed_take(t);
		if (objects[i] == NULL)
			return run_no_memory(t->bytes);
	}
	for (unsigned int i = 0; i < BULK; i++)
		typed_give(t, run_keep(objects[i]));
	return 0;
}

static int bulk_run(struct run *r)
{
	struct typed type = { .bytes = r->workload->bytes };
	uint64_t nr = r->ops / TURNS + 1, bulk = 0, singles = 0;
	int error = typed_open(r, 0, &type);

	if (error == 0)
		error = bulk_once(&type, true);
	for (unsigned int turn = 0; turn < TURNS && error == 0; turn++) {
		uint64_t before = clock_ns(), between;

		for (uint64_t i = 0; i < nr && error == 0; i++)
			error = bulk_once(&type, false);
		between = clock_ns();
		bulk += between - before;
		for (uint64_t i = 0; i < nr && error == 0; i++)
			error = singles_once(&type);
		singles += clock_ns() - between;
	}
	r->figures[0] = (double)bulk / (double)(nr * TURNS);
	r->figures[1] = (double)singles / (double)(nr * TURNS);
	if (error == 0)
		typed_close(&type);
	return error;
}

const struct workload VARIANT(workloads_caches)[] = {
	{ "caches-64", many_run, 0, 128, 1, 4000000, 100000 },
	{ "bulk-32", bulk_run, 64, BULK, 1, 200000, 5000 },
	{ 0 },
};
