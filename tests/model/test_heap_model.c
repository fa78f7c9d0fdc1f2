/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_heap_model - random operations against a plain reference
 *
 * The client heap against a list of live objects, each stamped from end to end. Several members
 * share the area, each with several heaps, all driven from here. Members die without a word; the
 * others adopt. A dead member loses what its heaps had gathered for others, and no more.
 *
 * 300 seeds of 400 operations for one process and for three; with MMB_LONG=1 10,000 each, in two
 * minutes.
 */
#include <stdlib.h>
#include <string.h>

#include "heap/run.h"
#include "lib/heap_area.h"
#include "lib/test.h"

enum { MEMBERS = 3, HEAPS = 3, LIVE = 400, STEPS = 400, BULK = 50 };
#if defined(__SANITIZE_ADDRESS__) || defined(MMB_ASYM_PLAIN)
enum { SEEDS = 100, SEEDS_LONG = 1500 }; /* the same, slower */
#else
enum { SEEDS = 300, SEEDS_LONG = 10000 };
#endif

struct live {
	uint64_t at, bytes, stamp;
};
struct member {
	struct heap_pool *pool; /* NULL: none now */
	struct heap *heaps[HEAPS];
};

static struct member members[MEMBERS];
static struct live live[LIVE];
static unsigned int nr_live, nr_members;
static bool is_private;
static uint64_t state, stamps, lost, nr_grown;
static uint32_t next_member;

/* ---- the reference ---- */

static uint64_t word_of(const struct live *l, uint64_t at)
{
	return (l->stamp * 0x9e3779b97f4a7c15ull) ^ at;
}

/* Small ones wholly, large ones at both ends and in each unit. */
static uint64_t step_of(const struct live *l)
{
	return l->bytes <= 4096 ? 8 : l->bytes <= SLAB_UNIT_BYTES ? 1024 : 32768;
}

static void write_stamp(const struct live *l)
{
	for (uint64_t i = 0; i + 8 <= l->bytes; i += step_of(l))
		*(uint64_t *)(uintptr_t)(l->at + i) = word_of(l, l->at + i);
	*(uint64_t *)(uintptr_t)(l->at + l->bytes - 8) = word_of(l, l->at + l->bytes - 8);
}

static bool is_right(const struct live *l)
{
	for (uint64_t i = 0; i + 8 <= l->bytes; i += step_of(l))
		if (*(uint64_t *)(uintptr_t)(l->at + i) != word_of(l, l->at + i))
			return false;
	return *(uint64_t *)(uintptr_t)(l->at + l->bytes - 8) ==
	       word_of(l, l->at + l->bytes - 8);
}

static void add_live(uint64_t at, uint64_t bytes)
{
	struct live l = { at, bytes, ++stamps };

	EXPECT(nr_live < LIVE);
	for (unsigned int i = 0; i < nr_live; i++)
		EXPECT(at >= live[i].at + live[i].bytes || live[i].at >= at + bytes);
	write_stamp(&l);
	live[nr_live++] = l;
}

static uint64_t take_live(void)
{
	unsigned int i = (unsigned int)test_below(&state, nr_live);
	uint64_t at = live[i].at;

	EXPECT(is_right(&live[i]));
	live[i] = live[--nr_live];
	return at;
}

/* ---- members ---- */

static struct member *any_member(void)
{
	struct member *m;

	do
		m = &members[test_below(&state, nr_members)];
	while (!m->pool);
	return m;
}

static struct heap *any_heap(void)
{
	struct member *m = any_member();
	struct heap **h = &m->heaps[test_below(&state, HEAPS)];

	if (!*h)
		*h = heap_new(m->pool, NULL);
	EXPECT(*h);
	return *h;
}

static void be_born(struct member *m)
{
	*m = (struct member){ .pool = heap_area_pool(++next_member, is_private) };
}

static unsigned int nr_alive(void)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < nr_members; i++)
		nr += members[i].pool != NULL;
	return nr;
}

static void told_others(uint32_t member)
{
	for (unsigned int i = 0; i < nr_members; i++)
		if (members[i].pool)
			heap_pool_adopt(members[i].pool, member);
}

static void leave(struct member *m)
{
	uint32_t number = m->pool->member;

	for (int i = 0; i < HEAPS; i++)
		if (m->heaps[i])
			heap_area_retire(m->heaps[i]);
	heap_area_close(m->pool);
	m->pool = NULL;
	told_others(number);
}

static void die_as(struct member *m)
{
	uint32_t number = m->pool->member;

	for (int i = 0; i < HEAPS; i++)
		lost += m->heaps[i] ? heap_area_gathered(m->heaps[i]) : 0;
	heap_area_kill(m->pool);
	m->pool = NULL;
	told_others(number);
}

/* ---- steps ---- */

static uint64_t any_size(void)
{
	static const uint64_t tops[] = { 64, 512, 4096, 32768, SIZE_SLAB_MAX };

	return 8 + test_below(&state, tops[test_below(&state, 5)] - 7);
}

static void step_alloc(void)
{
	struct heap *h = any_heap();
	uint64_t bytes = any_size(), at;

	if (nr_live == LIVE)
		return;
	at = heap_area_alloc(h, size_bin(bytes));
	if (at)
		add_live(at, size_of_bin(size_bin(bytes)));
}

static void step_run(void)
{
	uint64_t bytes = SIZE_SLAB_MAX + 1 + test_below(&state, RUN_BYTES_MAX / 2), at;
	uint64_t align = 1ull << test_below(&state, 22);
	struct heap *h = any_heap();

	if (nr_live == LIVE)
		return;
	at = heap_area_run(h, bytes, align);
	EXPECT_EQ(at & (align - 1), 0);
	if (at)
		add_live(at, bytes & ~7ull);
}

/* Where it moved to, it says what it said where it was. */
static void step_grow(void)
{
	struct live *l = nr_live ? &live[test_below(&state, nr_live)] : NULL;
	struct heap *h = any_heap();
	uint64_t bytes, at;
	struct live moved;

	if (!l || !is_private || slab_kind(heap_slab_of(h->pool, l->at).slab) != SLAB_RUN)
		return;
	bytes = (l->bytes + l->bytes / 2) & ~7ull;
	if (bytes > RUN_BYTES_MAX)
		return;
	EXPECT(is_right(l));
	at = heap_area_grow(h, l->at, bytes);
	if (!at)
		return;
	nr_grown++;
	moved = *l;
	for (uint64_t i = 0; i + 8 <= moved.bytes; i += step_of(&moved))
		EXPECT_EQ(*(uint64_t *)(uintptr_t)(at + i), word_of(&moved, moved.at + i));
	*l = live[--nr_live];
	add_live(at, bytes);
}

static void step_free(void)
{
	if (nr_live)
		heap_area_free(any_heap(), take_live());
}

static void step_bulk(void)
{
	uint64_t bytes = 8 + test_below(&state, 1000);
	size_t nr = 1 + test_below(&state, BULK), got;
	void *out[BULK];

	if (nr_live + nr > LIVE)
		return;
	got = heap_area_bulk(any_heap(), size_bin(bytes), nr, out);
	for (size_t i = 0; i < got; i++)
		add_live((uintptr_t)out[i], size_of_bin(size_bin(bytes)));
}

static void step_free_bulk(void)
{
	size_t nr = 1 + test_below(&state, BULK);
	void *objects[BULK];

	if (nr > nr_live)
		return;
	for (size_t i = 0; i < nr; i++)
		objects[i] = (void *)(uintptr_t)take_live();
	heap_area_free_bulk(any_heap(), objects, nr);
}

static void step_visit(void)
{
	struct heap_pool *hp = any_member()->pool;

	if (test_below(&state, 4))
		heap_pool_tick(hp);
	else
		heap_pool_trim(hp);
}

static void step_thread_ends(void)
{
	struct heap **h = &any_member()->heaps[test_below(&state, HEAPS)];

	if (*h)
		heap_area_retire(*h);
	*h = NULL;
}

static void step_member(void)
{
	struct member *m = &members[test_below(&state, nr_members)];

	if (!m->pool)
		be_born(m);
	else if (nr_alive() > 1 && test_below(&state, 2))
		die_as(m);
	else if (nr_alive() > 1)
		leave(m);
}

static void validate(void)
{
	for (unsigned int i = 0; i < nr_members; i++)
		if (members[i].pool)
			EXPECT_EQ(heap_pool_validate(members[i].pool), 0);
	for (unsigned int i = 0; i < nr_live; i++)
		EXPECT(is_right(&live[i]));
	EXPECT_EQ(heap_area.nr_wrong, 0);
}

static const struct {
	unsigned int weight;
	void (*run)(void);
} steps[] = {
	{ 300, step_alloc }, { 20, step_run },	       { 300, step_free },
	{ 20, step_grow },
	{ 20, step_bulk },   { 20, step_free_bulk },   { 30, step_visit },
	{ 8, step_thread_ends }, { 6, step_member },
};

static void step(void)
{
	unsigned int total = 0, i = 0;
	uint64_t chosen;

	for (unsigned int k = 0; k < sizeof(steps) / sizeof(steps[0]); k++)
		total += steps[k].weight;
	for (chosen = test_below(&state, total); chosen >= steps[i].weight; i++)
		chosen -= steps[i].weight;
	steps[i].run();
}

/* ---- a run ---- */

/* All is freed, all heaps have ended. What deaths have lost is the only thing left. */
static void reckon(void)
{
	struct heap_area_use use;

	while (nr_live)
		step_free();
	for (unsigned int i = 0; i < nr_members; i++)
		if (members[i].pool)
			heap_pool_trim(members[i].pool);
	/* What one flushed went to others. */
	for (unsigned int i = 0; i < nr_members; i++)
		if (members[i].pool)
			heap_pool_trim(members[i].pool);
	validate();
	use = heap_area_use();
	EXPECT_EQ(use.objects, lost);
	EXPECT_EQ(heap_area.nr_leased, use.units);
	while (nr_alive() > 1)
		leave(any_member());
	if (!lost) {
		leave(any_member());
		heap_area_end();
		return;
	}
	heap_area_kill(any_member()->pool);
}

static void run(uint64_t seed)
{
	state = seed;
	nr_live = 0;
	lost = 0;
	next_member = 0;
	heap_area_begin(1 + (unsigned int)test_below(&state, 2));
	/* Small ones overflow. */
	heap_area.magazine_bytes =
		(uint32_t[]){ 0, 512, MAGAZINE_BYTES, MAGAZINE_BYTES }[test_below(&state, 4)];
	heap_area.stingy = test_below(&state, 3) == 0;
	if (test_below(&state, 3) == 0)
		heap_area.limit = 20 + (uint32_t)test_below(&state, 300);
	is_private = nr_members == 1;
	memset(members, 0, sizeof(members));
	for (unsigned int i = 0; i < nr_members; i++)
		be_born(&members[i]);
	for (int i = 0; i < STEPS; i++) {
		step();
		if (i % 100 == 0)
			validate();
	}
	validate();
	reckon();
}

static void run_seeds(unsigned int members_now)
{
	uint64_t nr = getenv("MMB_LONG") ? SEEDS_LONG : SEEDS;

	nr_members = members_now;
	for (uint64_t i = 0; i < nr; i++)
		run(test_seed() + i);
}

static void private(void)
{
	nr_grown = 0;
	run_seeds(1);
	EXPECT(nr_grown > 0);
}

static void shared(void)
{
	run_seeds(MEMBERS);
}

static const struct test_case cases[] = {
	{ "heaps of one process agree with a list of objects, and everything comes back", private },
	{ "heaps of three processes that die and leave agree, and lose only what was gathered",
	  shared },
};
TEST_MAIN(cases)
