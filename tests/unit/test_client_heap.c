/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_heap - heaps over plain memory: lists, owners, magazines, stock, visits
 *
 * Not here    One slab (test_client_slab.c), runs (test_client_run.c), random operations
 *             (tests/model/test_heap_model.c), threads (test_client_heap_threads.c), deaths
 *             anywhere (tests/system/test_object_kills.c).
 */
#include <string.h>

#include "heap/run.h"
#include "lib/heap_area.h"
#include "lib/test.h"

enum {
	SIZE = 4096,
	PER_SLAB = SLAB_UNIT_BYTES / SIZE,
	MANY = 40 * PER_SLAB,
	LARGE = 300 << 10,
	TICKS = 20,
};

static struct heap_pool *pool;
static struct heap *h;
static uint64_t objects[MANY];
static unsigned int bin;

static struct heap *new_heap(struct heap_pool *hp)
{
	struct heap *made = heap_new(hp, NULL);

	EXPECT(made);
	return made;
}

static void begin_in(bool is_private)
{
	heap_area_begin(1);
	pool = heap_area_pool(1, is_private);
	h = new_heap(pool);
	bin = size_bin(SIZE);
}

static void begin(void)
{
	begin_in(false);
}

/* Nothing is in use any more. */
static void end(void)
{
	EXPECT_EQ(heap_pool_validate(pool), 0);
	heap_area_retire(h);
	heap_area_close(pool);
	EXPECT_EQ(heap_area_use().units, 0);
	heap_area_end();
}

static void take(uint32_t first, uint32_t nr)
{
	for (uint32_t i = first; i < first + nr; i++) {
		objects[i] = heap_area_alloc(h, bin);
		EXPECT(objects[i]);
		*(uint64_t *)(uintptr_t)objects[i] = i;
	}
}

static void give_to(struct heap *by, uint32_t first, uint32_t nr)
{
	for (uint32_t i = first; i < first + nr; i++) {
		EXPECT_EQ(*(uint64_t *)(uintptr_t)objects[i], i);
		heap_area_free(by, objects[i]);
	}
}

static struct slab_header *slab_at(uint32_t i)
{
	return heap_header(heap_view_of(pool, objects[i]), objects[i]);
}

static void valid(void)
{
	EXPECT_EQ(heap_pool_validate(pool), 0);
}

/* As the pager does it: again while there is more to do, and when it is kicked. */
static void tick(struct heap_pool *hp)
{
	for (int i = 0; i < TICKS && atomic_load(&hp->stock.kicked); i++)
		heap_pool_tick(hp);
}

/* ---- lists ---- */

static void pairs(void)
{
	uint64_t first;

	begin();
	first = heap_area_alloc(h, bin);
	for (int i = 0; i < 100; i++) {
		heap_area_free(h, first);
		EXPECT_EQ(heap_area_alloc(h, bin), first);
	}
	heap_area_free(h, first);
	EXPECT_EQ(heap_area.nr_asked, 1);
	end();
}

static void full_slabs(void)
{
	struct heap_bin *cold;

	begin();
	cold = &h->cold[bin];
	take(0, (HEAP_FULL_KEPT + 1) * PER_SLAB);
	EXPECT_EQ(cold->nr_full, HEAP_FULL_KEPT);
	valid();
	take((HEAP_FULL_KEPT + 1) * PER_SLAB, 2 * PER_SLAB);
	EXPECT_EQ(cold->nr_full, HEAP_FULL_KEPT);
	/* The oldest ones. */
	EXPECT_EQ(slab_owner(slab_at(0)), SLAB_NO_OWNER);
	EXPECT_EQ(slab_owner(slab_at(PER_SLAB)), SLAB_NO_OWNER);
	EXPECT_EQ(slab_owner(slab_at(2 * PER_SLAB)), h->id);
	valid();
	/* One free: ours again, or on the partial list. */
	give_to(h, 0, 1);
	give_to(h, 2 * PER_SLAB, 1);
	EXPECT_EQ(slab_owner(slab_at(0)), h->id);
	EXPECT_EQ(cold->nr_partial, 2);
	valid();
	give_to(h, 1, 2 * PER_SLAB - 1);
	give_to(h, 2 * PER_SLAB + 1, HEAP_FULL_KEPT * PER_SLAB);
	valid();
	give_to(h, (HEAP_FULL_KEPT + 2) * PER_SLAB + 1, PER_SLAB - 1);
	end();
}

static void one_object_slabs(void)
{
	begin();
	bin = size_bin(SIZE_SLAB_MAX);
	take(0, 20);
	valid();
	give_to(h, 0, 20);
	valid();
	/* Empty slabs don't stay on a list, and somebody will look at the last one. */
	EXPECT(h->cold[bin].nr_partial <= 1);
	EXPECT(atomic_load(&pool->stock.kicked));
	tick(pool);
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

static void bulk(void)
{
	void *out[200];

	begin();
	for (size_t nr = 1; nr <= 200; nr += 13) {
		EXPECT_EQ(heap_area_bulk(h, bin, nr, out), nr);
		for (size_t i = 0; i < nr; i++)
			memset(out[i], (int)i, SIZE);
		for (size_t i = 0; i < nr; i++)
			EXPECT(((unsigned char *)out[i])[SIZE - 1] == (i & 0xff));
		valid();
		heap_area_free_bulk(h, out, nr);
		valid();
	}
	end();
}

static void caches(void)
{
	begin();
	bin = SLAB_SIZE_CLASSES + 5;
	atomic_store(&pool->bins[bin].size, 1000);
	take(0, 300);
	EXPECT_EQ(slab_at(0)->size, 1000);
	EXPECT_EQ(slab_at(0)->bin, bin);
	valid();
	give_to(h, 0, 300);
	end();
}

/* ---- others ---- */

static void other_frees(void)
{
	struct heap *other;

	begin();
	other = new_heap(pool);
	take(0, MANY);
	give_to(other, 0, MANY);
	/* A shared pool's heap gathers nothing that its death would lose. */
	EXPECT_EQ(heap_area_gathered(other), 0);
	heap_enter(other);
	heap_flush_pending(other);
	heap_leave(other);
	EXPECT_EQ(heap_area_gathered(other), 0);
	EXPECT_EQ(heap_area_use().objects, 0);
	valid();
	/* What the other heap freed in ours is ours to use: no new units. */
	take(0, 8 * PER_SLAB);
	valid();
	give_to(h, 0, 8 * PER_SLAB);
	heap_area_retire(other);
	end();
}

static void gathered_in_time(bool is_private)
{
	struct heap *other;

	begin_in(is_private);
	other = new_heap(pool);
	take(0, 3);
	give_to(other, 0, 3);
	/* Without another call of that thread. */
	EXPECT(atomic_load(&pool->stock.kicked));
	tick(pool);
	EXPECT_EQ(heap_area.nr_leased, 0);
	heap_area_retire(other);
	end();
}

static void gathered_goes(void)
{
	gathered_in_time(false);
	gathered_in_time(true);
}

static uint32_t nr_kept(const struct heap *by)
{
	return (uint32_t)(by->magazines[bin]->top - by->magazines[bin]->slots);
}

static void begin_magazines(bool is_private)
{
	heap_area_begin(1);
	heap_area.magazine_bytes = MAGAZINE_BYTES;
	pool = heap_area_pool(1, is_private);
	h = new_heap(pool);
	bin = size_bin(SIZE);
}

/* What is freed last comes first, whatever slab it lies in, and no slab is told. */
static void magazine(void)
{
	uint64_t used;

	begin_magazines(false);
	take(0, 3 * PER_SLAB);
	used = heap_area_use().objects;
	give_to(h, 0, 2);
	give_to(h, 2 * PER_SLAB, 2);
	EXPECT_EQ(heap_area_use().objects, used);
	EXPECT(slab_is_marked(objects[0], HEAP_AREA_KEY));
	valid();
	EXPECT_EQ(heap_area_alloc(h, bin), objects[2 * PER_SLAB + 1]);
	EXPECT_EQ(heap_area_alloc(h, bin), objects[2 * PER_SLAB]);
	EXPECT_EQ(heap_area_alloc(h, bin), objects[1]);
	EXPECT(!slab_is_marked(objects[1], HEAP_AREA_KEY));
	EXPECT_EQ(heap_area_alloc(h, bin), objects[0]);
	valid();
	for (uint32_t i = 0; i < 3 * PER_SLAB; i++)
		heap_area_free(h, objects[i]);
	/* One whose slab changes its owner isn't in a magazine (M3). */
	heap_pool_trim(pool);
	valid();
	EXPECT_EQ(heap_area_use().objects, 0);
	end();
}

/* In a private pool only: in a shared one it would be lost to the others. */
static void magazine_keeps_foreign(void)
{
	struct heap *other;

	begin_magazines(true);
	other = new_heap(pool);
	take(0, 8);
	give_to(other, 0, 8);
	EXPECT_EQ(nr_kept(other), 8);
	valid();
	for (int i = 7; i >= 0; i--)
		EXPECT_EQ(heap_area_alloc(other, bin), objects[i]);
	EXPECT_EQ(slab_owner(slab_at(0)), h->id);
	for (int i = 0; i < 8; i++)
		heap_area_free(h, objects[i]);
	heap_pool_trim(pool);
	valid();
	EXPECT_EQ(heap_area.nr_leased, 0);
	heap_area_retire(other);
	end();
	begin_magazines(false);
	other = new_heap(pool);
	take(0, 8);
	give_to(other, 0, 8);
	EXPECT_EQ(nr_kept(other), 0);
	heap_area_retire(other);
	end();
}

/* It is bounded, grows where it overflows and runs empty in turns, and goes when nobody uses it. */
static void magazine_grows(void)
{
	uint32_t room = MAGAZINE_BYTES / SIZE, nr;

	begin_magazines(false);
	take(0, MANY);
	give_to(h, 0, MANY);
	EXPECT_EQ(nr_kept(h), room);
	for (int i = 0; i < 10; i++) {
		take(0, MANY);
		valid();
		give_to(h, 0, MANY);
		valid();
	}
	nr = nr_kept(h);
	EXPECT(nr > room && nr <= room * MAGAZINE_GROWTH);
	/* Another bin works on: this one's objects go all the same. */
	for (int i = 0; i < 4; i++) {
		objects[0] = heap_area_alloc(h, size_bin(64));
		for (int k = 1; k < 2000; k++)
			objects[k % MANY] = heap_area_alloc(h, size_bin(64));
		heap_pool_tick(pool);
	}
	EXPECT_EQ(nr_kept(h), 0);
	valid();
	heap_area_kill(pool);
	heap_area.nr_leased = 0;
}

/* Who dies with full magazines loses nothing: marks tell the adopter. */
static void magazine_of_the_dead(void)
{
	struct heap_pool *next;

	begin_magazines(false);
	next = heap_area_pool(2, false);
	take(0, 3 * PER_SLAB);
	give_to(h, 0, PER_SLAB + 3);
	EXPECT(nr_kept(h));
	heap_area_kill(pool);
	heap_pool_adopt(next, 1);
	EXPECT_EQ(heap_pool_validate(next), 0);
	EXPECT_EQ(heap_area_use().objects, 2 * PER_SLAB - 3);
	pool = next;
	h = new_heap(pool);
	give_to(h, PER_SLAB + 3, 2 * PER_SLAB - 3);
	end();
}

static void thread_ends(void)
{
	struct heap *next;

	begin();
	take(0, 2 * PER_SLAB + 3);
	heap_area_retire(h);
	/* Two are full and nobody's, one is on the shelf. */
	EXPECT_EQ(atomic_load(&pool->nr_shelf), 1);
	EXPECT_EQ(slab_owner(slab_at(0)), SLAB_NO_OWNER);
	EXPECT_EQ(slab_owner(slab_at(2 * PER_SLAB)), heap_shelf_id(pool));
	valid();
	next = h = new_heap(pool);
	give_to(next, 2 * PER_SLAB, 1);
	heap_enter(next);
	heap_flush_pending(next);
	heap_leave(next);
	objects[2 * PER_SLAB] = heap_area_alloc(next, bin);
	EXPECT_EQ(atomic_load(&pool->nr_shelf), 0);
	EXPECT_EQ(slab_owner(slab_at(2 * PER_SLAB + 1)), next->id);
	valid();
	heap_area_free(next, objects[2 * PER_SLAB]);
	give_to(next, 0, 2 * PER_SLAB);
	give_to(next, 2 * PER_SLAB + 1, 2);
	valid();
	end();
}

static void ids(void)
{
	struct heap *others[100];
	uint32_t id;

	begin();
	for (int i = 0; i < 100; i++)
		others[i] = new_heap(pool);
	id = others[50]->id;
	for (int i = 0; i < 100; i++) {
		EXPECT(others[i]->id != heap_shelf_id(pool) && others[i]->id != h->id);
		EXPECT(!i || others[i]->id != others[i - 1]->id);
		EXPECT_EQ(others[i]->id >> HEAP_MEMBER_SHIFT, 1);
	}
	heap_area_retire(others[50]);
	others[50] = new_heap(pool);
	EXPECT_EQ(others[50]->id, id);
	for (int i = 0; i < 100; i++)
		heap_area_retire(others[i]);
	end();
}

/* ---- giving back ---- */

static void one_slab_goes(void)
{
	for (unsigned int b = 0; b < SLAB_SIZE_CLASSES; b++) {
		begin();
		heap_area_free(h, heap_area_alloc(h, b));
		heap_area_free(h, heap_area_alloc(h, (b + 1) % SLAB_SIZE_CLASSES));
		/* All of it is free, and the thread does nothing more. */
		EXPECT(atomic_load(&pool->stock.kicked));
		tick(pool);
		EXPECT_EQ(heap_area.nr_leased, 0);
		end();
	}
}

static void all_goes(void)
{
	begin();
	take(0, MANY);
	give_to(h, 0, MANY);
	valid();
	tick(pool);
	valid();
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

static void in_use_stays(void)
{
	begin();
	take(0, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		if (i % (4 * PER_SLAB))
			heap_area_free(h, objects[i]);
	tick(pool);
	valid();
	EXPECT_EQ(heap_area.nr_leased, 10);
	for (uint32_t i = 0; i < MANY; i += 4 * PER_SLAB)
		give_to(h, i, 1);
	end();
}

static void trim(void)
{
	struct heap *other;

	begin();
	other = new_heap(pool);
	take(0, MANY);
	give_to(other, 0, MANY / 2);
	give_to(h, MANY / 2, MANY / 2);
	objects[0] = heap_area_run(h, LARGE, 1);
	heap_area_free(other, objects[0]);
	heap_pool_trim(pool);
	valid();
	EXPECT_EQ(heap_area.nr_leased, 0);
	EXPECT_EQ(atomic_load(&pool->stock.nr_units), 0);
	heap_area_retire(other);
	end();
}

/* Others may have what it owned: not even its end touches a header. */
static void a_pool_is_left(void)
{
	struct slab_header before;
	struct heap *late;

	begin();
	take(0, PER_SLAB + 1);
	give_to(h, 0, PER_SLAB / 2);
	heap_enter(h);
	EXPECT(!heap_pool_leave(pool));
	heap_leave(h);
	EXPECT(heap_pool_leave(pool) && heap_pool_is_left(pool));
	EXPECT_EQ(atomic_load(&h->open_pool), HEAP_CLOSED);
	EXPECT_EQ(atomic_load(&h->open_length), 0);
	before = *slab_at(0);
	EXPECT(!heap_pool_tick(pool));
	heap_pool_trim(pool);
	heap_area_retire(h);
	heap_pool_drain(pool);
	EXPECT(!memcmp(&before, slab_at(0), sizeof(before)));
	EXPECT(heap_area.nr_leased >= 2);
	late = new_heap(pool);
	EXPECT_EQ(atomic_load(&late->open_pool), HEAP_CLOSED);
	heap_area_kill(pool);
}

static void busy_is_left(void)
{
	begin();
	take(0, 1);
	give_to(h, 0, 1);
	heap_enter(h);
	for (int i = 0; i < 5; i++)
		EXPECT(heap_pool_tick(pool));
	EXPECT_EQ(heap_area.nr_leased, 1);
	heap_leave(h);
	heap_pool_trim(pool);
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

/* ---- stock ---- */

static uint64_t take_units(uint32_t units, uint32_t align, bool may_cross)
{
	return stock_take(&pool->stock, &(struct stock_want){ units, align, may_cross });
}

static void batches(void)
{
	begin();
	take(0, MANY);
	EXPECT_EQ(heap_area.largest, STOCK_BATCH_UNITS);
	EXPECT(heap_area.nr_asked < 10);
	give_to(h, 0, MANY);
	tick(pool);
	/* After quiet it begins small again. */
	EXPECT_EQ(heap_area.nr_leased, 0);
	take(0, 1);
	EXPECT_EQ(heap_area.nr_leased, 1);
	give_to(h, 0, 1);
	end();
}

static void run_low(void)
{
	take(0, MANY);
	heap_pool_tick(pool);
	while (pool->stock.nr_units > STOCK_LOW)
		EXPECT(take_units(1, 1, false));
}

static void topping(void)
{
	uint32_t asked, kicks;

	begin();
	run_low();
	asked = heap_area.nr_asked;
	kicks = heap_area.nr_kicks;
	objects[0] = take_units(1, 1, false);
	EXPECT(objects[0] && heap_area.nr_asked == asked && heap_area.nr_kicks == kicks + 1);
	heap_pool_tick(pool);
	EXPECT(pool->stock.nr_units >= 2 * STOCK_LOW - 1);
	heap_area_kill(pool);
}

static void trimmed_before_the_keeper_came(void)
{
	uint32_t asked;

	begin();
	run_low();
	objects[0] = take_units(1, 1, false);
	EXPECT(objects[0] && pool->stock.topping);
	asked = heap_area.nr_asked;
	heap_pool_trim(pool);
	heap_pool_tick(pool);
	EXPECT_EQ(heap_area.nr_asked, asked);
	EXPECT_EQ(pool->stock.nr_units, 0);
	heap_area_kill(pool);
}

static void a_keeper_that_is_quick(void)
{
	begin();
	heap_area.quick = pool;
	stock_kick(&pool->stock);
	EXPECT_EQ(heap_area.nr_kicks, 1);
	EXPECT(!atomic_load(&pool->stock.kicked)); /* nothing was left to do, and it won't come */
	stock_kick(&pool->stock);
	EXPECT_EQ(heap_area.nr_kicks, 2);
	heap_area.quick = NULL;
	heap_area_kill(pool);
}

static void spans_split_and_join(void)
{
	uint64_t span, at = 0;

	begin();
	span = take_units(16, 1, false);
	stock_put(&pool->stock, span, 16);
	for (int i = 0; i < 16; i++)
		EXPECT_EQ(take_units(1, 1, false), span + (uint64_t)i * SLAB_UNIT_BYTES);
	EXPECT_EQ(heap_area.nr_asked, 1);
	for (int i = 15; i >= 0; i--)
		stock_put(&pool->stock, span + (uint64_t)i * SLAB_UNIT_BYTES, 1);
	/* 3, 5 aligned to 4, 7: all of them from what was freed in pieces. */
	EXPECT_EQ(take_units(3, 1, false), span);
	at = take_units(5, 4, false);
	EXPECT_EQ(at, span + 4 * SLAB_UNIT_BYTES);
	EXPECT_EQ(take_units(7, 1, false), span + 9 * SLAB_UNIT_BYTES);
	EXPECT_EQ(heap_area.nr_asked, 1);
	EXPECT_EQ(atomic_load(&pool->stock.nr_units), 1);
	stock_put(&pool->stock, span, 3);
	stock_put(&pool->stock, at, 12);
	stock_flush(&pool->stock);
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

static void long_spans(void)
{
	uint64_t span, first;

	begin();
	span = take_units(64, 1, true);
	EXPECT(!(span % STOCK_BLOCK_BYTES));
	for (int i = 63; i >= 0; i--)
		stock_put(&pool->stock, span + (uint64_t)i * SLAB_UNIT_BYTES, 1);
	EXPECT_EQ(take_units(40, 32, true), span);
	/* Across the border between two pageblocks only where that is allowed. */
	stock_put(&pool->stock, span, 40);
	first = take_units(20, 1, false);
	EXPECT_EQ(take_units(20, 1, false), span + STOCK_BLOCK_BYTES);
	EXPECT_EQ(heap_area.nr_asked, 1);
	stock_put(&pool->stock, span + STOCK_BLOCK_BYTES, 20);
	EXPECT_EQ(take_units(40, 1, true), span + 20 * SLAB_UNIT_BYTES);
	EXPECT_EQ(heap_area.nr_asked, 1);
	EXPECT_EQ(atomic_load(&pool->stock.nr_units), 4);
	/* The end of a pageblock is used, though the next one alone would do. */
	stock_put(&pool->stock, span + 20 * SLAB_UNIT_BYTES, 40);
	EXPECT_EQ(take_units(20, 1, true), span + 20 * SLAB_UNIT_BYTES);
	stock_put(&pool->stock, first, 40);
	stock_flush(&pool->stock);
	end();
}

static void what_was_not_needed_goes(void)
{
	uint64_t span;

	begin();
	span = take_units(32, 1, false);
	stock_put(&pool->stock, span, 32);
	EXPECT_EQ(take_units(4, 1, false), span);
	/* Part of a pageblock waits. */
	for (int i = 1; i < STOCK_TICKS; i++)
		stock_tick(&pool->stock);
	EXPECT_EQ(heap_area.nr_leased, 32);
	stock_tick(&pool->stock);
	EXPECT_EQ(heap_area.nr_leased, 4);
	stock_put(&pool->stock, span, 4);
	stock_flush(&pool->stock);
	/* A whole one doesn't. */
	stock_put(&pool->stock, take_units(32, 1, false), 32);
	stock_tick(&pool->stock);
	EXPECT_EQ(heap_area.nr_leased, 32);
	stock_tick(&pool->stock);
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

/* ---- no memory ---- */

static void use_everything(void)
{
	struct heap *other = new_heap(pool);
	void *out[2 * PER_SLAB];
	uint32_t nr = 0;
	size_t got;

	for (unsigned int b = 0; b < SLAB_SIZE_CLASSES; b += 7)
		for (int i = 0; i < 3; i++)
			nr += (objects[nr] = heap_area_alloc(h, b)) != 0;
	for (size_t size = LARGE; size <= RUN_BYTES_MAX; size *= 2)
		nr += (objects[nr] = heap_area_run(h, size, 2 << 20)) != 0;
	got = heap_area_bulk(other, bin, 2 * PER_SLAB, out);
	EXPECT_EQ(heap_pool_validate(pool), 0);
	while (nr--)
		heap_area_free(nr % 2 ? h : other, objects[nr]);
	heap_area_free_bulk(h, out, got);
	EXPECT_EQ(heap_pool_validate(pool), 0);
	heap_pool_tick(pool);
	heap_area_retire(other);
}

static bool fails_at(uint32_t k, bool all, bool is_private)
{
	uint32_t asked;

	begin_in(is_private);
	heap_area.refuse = k;
	heap_area.refuse_all = all;
	use_everything();
	asked = heap_area.nr_asked;
	heap_area.refuse = 0;
	heap_pool_trim(pool);
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
	return asked >= k;
}

static void every_lease_fails(void)
{
	uint32_t k = 1;

	for (; fails_at(k, false, false) && fails_at(k, true, false) && fails_at(k, true, true);
	     k++)
		EXPECT(k < 500);
	EXPECT(k > 10);
}

static void few_units(void)
{
	for (uint32_t limit = 0; limit < 120; limit++) {
		begin_in(limit % 2);
		heap_area.limit = limit;
		heap_area.stingy = limit % 3 == 0;
		use_everything();
		heap_pool_trim(pool);
		EXPECT_EQ(heap_area.nr_leased, 0);
		end();
	}
}

static void no_memory_then_some(void)
{
	uint32_t nr = 0;

	begin();
	heap_area.limit = 10;
	while ((objects[nr] = heap_area_alloc(h, bin)))
		nr++;
	EXPECT_EQ(nr, 10 * PER_SLAB);
	EXPECT(!heap_area_alloc(h, bin) && !heap_area_run(h, LARGE, 1));
	valid();
	heap_area_free(h, objects[77]);
	EXPECT_EQ(heap_area_alloc(h, bin), objects[77]);
	EXPECT(!heap_area_alloc(h, bin));
	for (uint32_t i = 0; i < nr; i++)
		heap_area_free(h, objects[i]);
	end();
}

/* Two windows: what doesn't fit one lies in the other. */
static void windows(void)
{
	uint64_t run[40];
	int nr = 0;

	heap_area_begin(2);
	pool = heap_area_pool(1, false);
	h = new_heap(pool);
	while (nr < 40 && (run[nr] = heap_area_run(h, RUN_BYTES_MAX, 1)))
		nr++;
	EXPECT_EQ(nr, 2 * HEAP_AREA_UNITS / SLAB_UNITS_MAX);
	for (int i = 0; i < nr; i++)
		heap_area_free(h, run[i]);
	end();
}

static const struct test_case cases[] = {
	{ "a pair takes the same object again", pairs },
	{ "a heap keeps eight full slabs of a bin and lets the oldest go", full_slabs },
	{ "a slab of one object goes when that is freed", one_object_slabs },
	{ "bulk calls take and give what single calls would", bulk },
	{ "a cache's bin has its own size", caches },
	{ "what other heaps free comes back to the owner", other_frees },
	{ "what was gathered for others goes to them in a while", gathered_goes },
	{ "a magazine gives what was freed last, and no slab is told", magazine },
	{ "a private pool's magazines keep what others have allocated", magazine_keeps_foreign },
	{ "a magazine is bounded, grows, and goes when nobody uses it", magazine_grows },
	{ "who dies with objects in a magazine loses none", magazine_of_the_dead },
	{ "a thread's slabs go to the next thread, or to nobody when full", thread_ends },
	{ "a heap's number is its own, and given again", ids },
	{ "one freed object a class goes back in a while", one_slab_goes },
	{ "a heap that is idle keeps nothing", all_goes },
	{ "what is in use stays, and nothing beside it", in_use_stays },
	{ "a trim gives back at once what any heap has", trim },
	{ "a heap whose thread is inside is left alone", busy_is_left },
	{ "a pool that is left gives nothing, and touches nothing any more", a_pool_is_left },
	{ "leases double to 32 units, and begin small after quiet", batches },
	{ "a stock that runs low is topped up by the keeper", topping },
	{ "what is trimmed isn't fetched again by a keeper that comes later",
	  trimmed_before_the_keeper_came },
	{ "a keeper that ticks before the kick returns is kicked again", a_keeper_that_is_quick },
	{ "units in stock are split and joined", spans_split_and_join },
	{ "spans longer than a pageblock are two of them side by side", long_spans },
	{ "what nobody took between two ticks goes back", what_was_not_needed_goes },
	{ "every lease fails once, and all from then on: nothing is lost", every_lease_fails },
	{ "with 0 to 120 units in all: nothing is lost", few_units },
	{ "a full pool says no, and recovers", no_memory_then_some },
	{ "two windows are one pool", windows },
};
TEST_MAIN(cases)
