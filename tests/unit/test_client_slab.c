/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_slab - one slab: B1 to B5 of libclient/heap/slab.h
 *
 * A death between two stores is played by making the state by hand that it leaves; processes that
 * are killed wherever they are, are in tests/system/test_object_kills.c.
 */
#include <string.h>

#include "heap/slab.h"
#include "lib/heap_area.h"
#include "lib/test.h"

enum { ME = 7, OTHER = 9, SIZE = 512, TOTAL = SLAB_UNIT_BYTES / SIZE, GAP = 4096 / SIZE,
       UNITS_MOST = 4 };

static struct slab_view v;
static struct slab_header *s;

static uint64_t object(uint32_t index)
{
	return v.start + (uint64_t)index * s->size;
}

/* By hand: the kernel takes a hundred times as long for it, and then has each page touched anew. */
static void empty_area(uint32_t units)
{
	static uint32_t used;

	if (!used)
		heap_area_begin(1);
	memset((void *)heap_area.base, 0, used * (size_t)SLAB_UNIT_BYTES);
	memset(heap_area.maps[0], 0, UNITS_MOST * SLAB_HEADER_BYTES);
	used = units;
}

static void make_turned(uint32_t size, uint32_t units, uint32_t turn)
{
	const struct slab_make how = { .owner = ME, .size = size, .units = units, .bin = 3,
				       .turn = turn };

	empty_area(units);
	s = heap_area.maps[0];
	v = (struct slab_view){ s, heap_area.base, HEAP_AREA_KEY };
	slab_init(&v, &how);
}

static void make(uint32_t size, uint32_t units)
{
	make_turned(size, units, 0);
}

static uint64_t take(void)
{
	uint64_t at = s->free;

	if (at & 1 && !slab_carve(&v))
		return 0;
	at = s->free;
	slab_pop(s, at, v.key);
	return at;
}

static void give(uint64_t at)
{
	slab_push(s, at, v.key);
	s->left--;
}

static void push(uint32_t first, uint32_t nr)
{
	struct slab_chain chain = { .nr = 0 };

	for (uint32_t i = 0; i < nr; i++)
		slab_chain_add(&v, &chain, object(first + i));
	EXPECT(slab_push_foreign(&v, &chain, OTHER) != 0);
}

/* ---- an owner alone ---- */

static void fresh(void)
{
	make(SIZE, 1);
	EXPECT_EQ(slab_kind(s), SLAB_OBJECTS);
	EXPECT_EQ(slab_owner(s), ME);
	EXPECT_EQ(s->total, TOTAL);
	EXPECT_EQ(slab_used(s), 0);
	EXPECT_EQ(slab_validate(&v), 0);
	make(96 << 10, 4);
	EXPECT_EQ(s->total, 2);
	for (uint32_t i = 1; i < 4; i++) {
		EXPECT_EQ(slab_kind(&s[i]), SLAB_TAIL);
		EXPECT_EQ(s[i].back, i);
		EXPECT_EQ(slab_owner(&s[i]), SLAB_NO_OWNER);
	}
	slab_fini(&v);
	for (uint32_t i = 0; i < 4; i++)
		EXPECT_EQ(slab_kind(&s[i]), SLAB_NONE);
}

static void all_of(uint32_t size, uint32_t units)
{
	uint32_t total;

	make(size, units);
	total = s->total;
	for (uint32_t i = 0; i < total; i++) {
		uint64_t at = take();

		/* Lowest first. */
		EXPECT_EQ(at, object(i));
		EXPECT(slab_is_object(&v, at) && slab_index(&v, at) == i);
		EXPECT(!slab_looks_free(at, v.key));
		EXPECT_EQ(*slab_word(at), 0);
	}
	EXPECT(!slab_carve(&v) && !take());
	EXPECT_EQ(slab_used(s), total);
	EXPECT_EQ(slab_validate(&v), 0);
	for (uint32_t i = 0; i < total; i++) {
		give(object(i));
		EXPECT(slab_looks_free(object(i), v.key) && slab_has_free(&v, object(i)));
	}
	EXPECT_EQ(slab_used(s), 0);
	EXPECT_EQ(slab_validate(&v), 0);
	EXPECT_EQ(take(), object(total - 1));
}

static void handed_out_once(void)
{
	all_of(8, 1);
	all_of(SIZE, 1);
	all_of(48, 1);
	all_of(5120, 1);
	all_of(96 << 10, 4);
	all_of(256 << 10, 4);
}

static void places(void)
{
	make(48, 1);
	EXPECT(slab_is_object(&v, v.start) && slab_is_object(&v, v.start + 48));
	EXPECT(!slab_is_object(&v, v.start + 47) && !slab_is_object(&v, v.start - 48));
	EXPECT(slab_is_object(&v, v.start + 48ull * (s->total - 1)));
	EXPECT(!slab_is_object(&v, v.start + 48ull * s->total));
	s->size = 0;
	EXPECT(!slab_is_object(&v, v.start));
}

static void slow_point(void)
{
	make(SIZE, 1);
	for (int i = 0; i < 10; i++)
		take();
	slab_set_slow(s, 0);
	EXPECT_EQ(s->left, 10);
	slab_set_slow(s, 9);
	EXPECT_EQ(s->left, 1);
	slab_set_slow(s, SLAB_SLOW_NEVER);
	EXPECT_EQ(slab_used(s), 10);
	EXPECT(s->left > SLAB_SLOW_NEVER);
}

static void marks(void)
{
	uint64_t a, b;

	make(SIZE, 1);
	a = take();
	b = take();
	*slab_word(a) = slab_mark(v.key);
	EXPECT(slab_is_marked(a, v.key) && slab_looks_free(a, v.key));
	/* What a list has there is no mark. */
	EXPECT_EQ(slab_used(s), 2);
	EXPECT_EQ(slab_validate(&v), 0);
	give(b);
	EXPECT(!slab_is_marked(b, v.key));
	EXPECT_EQ(slab_validate(&v), 0);
	/* B2: a wrong count is seen. */
	s->left++;
	EXPECT(slab_validate(&v) > 0);
}

/* All objects once, whichever is the first. */
static void turned(void)
{
	for (uint32_t turn = 0; turn < 1 << 16; turn += 4099) {
		uint64_t seen[TOTAL / 64 + 1] = { 0 };

		make_turned(SIZE, 1, turn);
		EXPECT_EQ(s->first, TOTAL * turn >> 16);
		for (uint32_t i = 0; i < TOTAL; i++) {
			uint64_t at = take();
			uint32_t index = at ? slab_index(&v, at) : 0;

			EXPECT(at && slab_is_object(&v, at) && slab_was_handed(&v, at));
			EXPECT(!(seen[index / 64] >> index % 64 & 1));
			seen[index / 64] |= 1ull << index % 64;
			EXPECT_EQ(slab_validate(&v), 0);
		}
		EXPECT(!take());
	}
}

/* ---- others ---- */

static void foreign(void)
{
	make(SIZE, 1);
	for (int i = 0; i < 20; i++)
		take();
	EXPECT(!slab_collect(&v));
	push(3, 1);
	push(10, 5);
	EXPECT_EQ(shared_count(slab_shared(s)), 6);
	EXPECT_EQ(slab_used(s), 20);
	EXPECT_EQ(slab_validate(&v), 0);
	/* The owner's list isn't empty. */
	EXPECT(!(s->free & 1));
	EXPECT(slab_collect(&v) && !slab_collect(&v));
	EXPECT_EQ(slab_used(s), 14);
	EXPECT_EQ(slab_validate(&v), 0);
	EXPECT(slab_has_free(&v, object(3)) && slab_has_free(&v, object(14)));
	EXPECT_EQ(take(), object(14));
	/* The owner's list is empty. */
	while (take())
		;
	push(0, TOTAL);
	EXPECT(slab_collect(&v));
	EXPECT_EQ(slab_used(s), 0);
	EXPECT_EQ(slab_validate(&v), 0);
}

static void let_go(void)
{
	struct slab_chain chain = { .nr = 0 };

	make(SIZE, 1);
	while (take())
		;
	push(5, 1);
	EXPECT(!slab_let_go(&v));
	EXPECT_EQ(slab_owner(s), ME);
	EXPECT(slab_collect(&v));
	EXPECT_EQ(take(), object(5));
	EXPECT(slab_let_go(&v));
	EXPECT_EQ(slab_owner(s), SLAB_NO_OWNER);
	slab_chain_add(&v, &chain, object(8));
	slab_chain_add(&v, &chain, object(9));
	EXPECT_EQ(slab_push_foreign(&v, &chain, OTHER), OTHER);
	EXPECT_EQ(slab_owner(s), OTHER);
	EXPECT_EQ(s->state, SLAB_ON_NONE);
	EXPECT_EQ(slab_used(s), TOTAL - 2);
	EXPECT_EQ(s->free, object(9));
	EXPECT_EQ(slab_validate(&v), 0);
	/* The next one's chain goes to the new owner. */
	chain.nr = 0;
	slab_chain_add(&v, &chain, object(1));
	EXPECT_EQ(slab_push_foreign(&v, &chain, ME), OTHER);
	EXPECT_EQ(slab_validate(&v), 0);
}

static void owners(void)
{
	make(SIZE, 1);
	for (int i = 0; i < 5; i++)
		take();
	push(2, 2);
	EXPECT(!slab_adopt(&v, OTHER, 11));
	slab_pass(&v, OTHER);
	EXPECT_EQ(slab_owner(s), OTHER);
	EXPECT_EQ(shared_count(slab_shared(s)), 2);
	EXPECT(!slab_adopt(&v, ME, 11));
	EXPECT(slab_adopt(&v, OTHER, 11));
	EXPECT(!slab_adopt(&v, OTHER, 12));
	EXPECT_EQ(slab_owner(s), 11);
	EXPECT(slab_collect(&v));
	EXPECT_EQ(slab_used(s), 3);
	EXPECT_EQ(slab_validate(&v), 0);
}

/* ---- deaths ---- */

enum { HANDED = 30, IN_SHARED = 4 };

/* 0..29 were handed out; of these 20..23 wait in shared, 24 is in a magazine, 25 to 28 are on the
 * list with two unused ones. */
static void scene(void)
{
	make(SIZE, 1);
	for (int i = 0; i < HANDED; i++)
		take();
	push(20, IN_SHARED);
	for (uint32_t i = 25; i < 29; i++)
		give(object(i));
	*slab_word(object(24)) = slab_mark(v.key);
	s->state = SLAB_ON_CURRENT;
	EXPECT_EQ(slab_validate(&v), 0);
}

enum { IN_USE = HANDED - IN_SHARED - 5 };

/* What the survivor finds: right, nothing of the living on a list, at most `lost` objects lost. */
static void survive(uint32_t in_use, uint32_t lost)
{
	EXPECT(slab_adopt(&v, ME, OTHER));
	EXPECT(slab_rebuild(&v));
	EXPECT_EQ(slab_validate(&v), 0);
	EXPECT_EQ(slab_owner(s), OTHER);
	EXPECT(slab_used(s) >= in_use && slab_used(s) <= in_use + lost);
	for (uint32_t i = 0; i < 20; i++)
		EXPECT(!slab_has_free(&v, object(i)));
	EXPECT(!slab_has_free(&v, object(29)));
	for (uint32_t nr = TOTAL - slab_used(s); nr; nr--)
		EXPECT(take());
	EXPECT(!take());
}

static void dies_at_rest(void)
{
	scene();
	survive(IN_USE, 0);
}

static void dies_in_pop(void)
{
	uint64_t at;

	scene();
	at = s->free;
	s->free = *slab_word(at) ^ v.key ^ at;
	survive(IN_USE, 1);
	/* The count is the next one. */
	scene();
	at = s->free;
	s->free = *slab_word(at) ^ v.key ^ at;
	*slab_word(at) = 0;
	survive(IN_USE, 1);
}

static void dies_in_push(void)
{
	scene();
	*slab_word(object(19)) = s->free ^ object(19) ^ v.key;
	survive(IN_USE, 0);
	scene();
	slab_push(s, object(24), v.key); /* the count is the next one */
	survive(IN_USE, 0);
}

static void dies_in_carve(void)
{
	uint64_t first;

	scene();
	first = s->fresh;
	s->fresh = first + (uint64_t)GAP * SIZE;
	survive(IN_USE, GAP);
	scene();
	first = s->fresh;
	s->fresh = first + (uint64_t)GAP * SIZE;
	/* Linked, and on no list. */
	for (int i = 0; i + 1 < GAP; i++)
		*slab_word(first + (uint64_t)i * SIZE) =
			(first + (uint64_t)(i + 1) * SIZE) ^ (first + (uint64_t)i * SIZE) ^ v.key;
	survive(IN_USE, GAP);
}

static void dies_in_collect(void)
{
	scene();
	atomic_fetch_and(&s->shared, ~0xffffffffull);
	survive(IN_USE, IN_SHARED);
	scene();
	EXPECT(slab_collect(&v));
	s->left += IN_SHARED; /* the last store */
	survive(IN_USE, 0);
}

static void dies_letting_go(void)
{
	make(SIZE, 1);
	while (take())
		;
	s->state = SLAB_ON_NONE;
	EXPECT(slab_adopt(&v, ME, OTHER));
	EXPECT(slab_rebuild(&v));
	EXPECT_EQ(slab_used(s), TOTAL);
	EXPECT(slab_let_go(&v));
	/* Its adopter dies before it has taken the chain. */
	atomic_store(&s->shared, shared_word(ME, 0, 0));
	*slab_word(object(4)) = slab_end_mark(v.start) ^ object(4) ^ v.key;
	EXPECT(slab_adopt(&v, ME, OTHER));
	EXPECT(slab_rebuild(&v));
	EXPECT_EQ(slab_validate(&v), 0);
	EXPECT_EQ(slab_used(s), TOTAL);
}

static void dies_rebuilding(void)
{
	scene();
	EXPECT(slab_rebuild(&v));
	s->free = slab_end_mark(v.start);
	survive(IN_USE, TOTAL);
	scene();
	s->left = 12345;
	s->slow_at = 77;
	s->next = s->prev = 1;
	s->state = 99;
	survive(IN_USE, 0);
}

static void dies_being_born(void)
{
	const struct slab_make how = { .owner = ME, .size = 96 << 10, .units = 4, .bin = 3 };

	make(SIZE, 1);
	slab_fini(&v);
	slab_init(&v, &how);
	for (uint32_t i = 0; i < 4; i++)
		EXPECT(slab_kind(&s[i]) == (i ? SLAB_TAIL : SLAB_OBJECTS));
	EXPECT(slab_adopt(&v, ME, OTHER) && slab_rebuild(&v));
	EXPECT_EQ(slab_used(s), 0);
}

/* ---- scribbles: the adopter neither walks out of the slab nor for ever ---- */

static void rebuild_anyhow(void)
{
	if (!slab_rebuild(&v))
		return;
	EXPECT_EQ(slab_validate(&v), 0);
	EXPECT(slab_used(s) <= s->total);
}

static void lists(void)
{
	const uint64_t ends[] = { 0, 1, 2, v.start + 3, v.start - 1, ~0ull, ~0ull << 1, 0x10000,
				  v.start + SLAB_UNIT_BYTES, v.start + SIZE / 2 };

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		scene();
		s->free = ends[i];
		rebuild_anyhow();
		scene();
		s->first = (uint32_t)ends[i];
		rebuild_anyhow();
		scene();
		*slab_word(object(26)) = ends[i];
		rebuild_anyhow();
		scene();
		*slab_word(object(21)) = ends[i] ^ object(21) ^ v.key;
		rebuild_anyhow();
	}
	/* A ring; the same objects on both lists; more in shared than there are. */
	scene();
	*slab_word(object(25)) = object(28) ^ object(25) ^ v.key;
	rebuild_anyhow();
	EXPECT_EQ(slab_used(s) + 4 + 1 + IN_SHARED, (s->fresh - v.start) / SIZE);
	scene();
	atomic_store(&s->shared, shared_word(ME, slab_index(&v, s->free) + 1, 3));
	rebuild_anyhow();
	scene();
	atomic_store(&s->shared, shared_word(ME, 0, 0xffff));
	rebuild_anyhow();
	scene();
	atomic_store(&s->shared, shared_word(ME, 0xffff, 0xffff));
	rebuild_anyhow();
}

static void headers(void)
{
	uint64_t state = test_seed();

	for (int round = 0; round < 20000; round++) {
		uint32_t *words = (uint32_t *)heap_area.maps[0];

		scene();
		for (uint64_t i = 1 + test_below(&state, 4); i; i--)
			words[test_below(&state, SLAB_HEADER_BYTES / 4)] =
				(uint32_t)(test_random(&state) >> test_below(&state, 32));
		/* What says that it has more units than it has is believed: the clients of a
		 * pool trust one another. */
		if (slab_kind(s) == SLAB_OBJECTS && s->units <= 1)
			rebuild_anyhow();
	}
}

static const struct test_case cases[] = {
	{ "a new slab has nothing in use, and its tails lead to it", fresh },
	{ "every object is handed out once, lowest first, and comes back", handed_out_once },
	{ "objects begin where they begin and nowhere else", places },
	{ "left counts down to where a free has more to do", slow_point },
	{ "an object in a magazine counts as used, and is known by its mark", marks },
	{ "a slab hands out each object once, whichever is the first", turned },
	{ "foreign frees wait, and are collected to an empty list and to another", foreign },
	{ "a full slab is let go unless it was freed into, and who frees has it", let_go },
	{ "a slab passes from owner to owner with all that is free in it", owners },
	{ "death at rest loses nothing", dies_at_rest },
	{ "death in a pop loses one object", dies_in_pop },
	{ "death in a push loses nothing but that object", dies_in_push },
	{ "death in a carve loses what was to be handed out", dies_in_carve },
	{ "death in a collection loses at most what was collected", dies_in_collect },
	{ "death while letting go or adopting loses at most the chain", dies_letting_go },
	{ "death in a rebuild, and counts that make no sense", dies_rebuilding },
	{ "a slab is a slab from its last store on", dies_being_born },
	{ "scribbled lists are believed as far as they go", lists },
	{ "scribbled headers are refused or made right", headers },
};
TEST_MAIN(cases)
