/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grow - realloc of what grows
 *
 * Purpose     Several vectors take turns to grow by a half, up to a limit, and begin anew; and
 *             the same with strings that grow by few bytes at a time.
 * Invariants  G1  word i * STRIDE of a vector is its key plus that index: checked word by word
 *                 before it is freed, and at the end of the old part after each step.
 */
#include "lib/bench.h"
#include "lib/clock.h"
#include "malloc/workloads.h"

enum { VECTORS = 32, FIRST = 64, STRIDE = 64 /* words */ };

struct vector {
	uint64_t *words;
	size_t    bytes;
};

static void vector_mark(struct vector *v, size_t from, uint64_t key)
{
	for (size_t i = (from / sizeof(uint64_t) + STRIDE - 1) / STRIDE * STRIDE;
	     i < v->bytes / sizeof(uint64_t); i += STRIDE)
		v->words[i] = key + i;
}

static int vector_end(struct vector *v, uint64_t key)
{
	for (size_t i = 0; i < v->bytes / sizeof(uint64_t); i += STRIDE) {
		if (v->words[i] != key + i)
			return run_overwritten(&v->words[i], v->bytes);
	}
	give(v->words);
	*v = (struct vector){ 0 };
	return 0;
}

static int vector_step(const struct run *r, struct vector *v, uint64_t key)
{
	size_t old = v->bytes;
	size_t bytes = old == 0 ? FIRST : r->workload->nr ? old + r->workload->nr : old + old / 2;

	if (bytes > r->workload->bytes)
		return vector_end(v, key);
	v->words = regrow(r, v->words, bytes);
	if (v->words == NULL)
		return run_no_memory(bytes);
	v->bytes = bytes;
	if (old != 0 && v->words[0] != key)
		return run_overwritten(v->words, bytes);
	vector_mark(v, old, key);
	return 0;
}

static int grow_run(struct run *r)
{
	struct vector *vectors = run_scratch(r, VECTORS * sizeof(*vectors));
	uint64_t before = clock_ns();
	int error = 0;

	for (uint64_t i = 0; i < r->ops && error == 0; i++)
		error = vector_step(r, &vectors[i % VECTORS], i % VECTORS << 32);
	r->figures[0] = (double)(clock_ns() - before) / (double)r->ops;
	for (unsigned int i = 0; i < VECTORS && error == 0; i++)
		error = vector_end(&vectors[i], (uint64_t)i << 32);
	return error;
}

/* nr: bytes a step; 0: half of what there is. */
const struct workload VARIANT(workloads_grow)[] = {
	{ "grow-vector-1M", grow_run, 1 << 20, 0, 1, 60000, 3000 },
	{ "grow-string-4K", grow_run, 4096, 24, 1, 2000000, 50000 },
	{ 0 },
};
