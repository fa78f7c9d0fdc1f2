/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pcp - refill, overflow, drains, decay
 *
 * Purpose     See pcp.h. Batches double with each refill or overflow in a row and start anew when
 *             the direction changes; high grows with either and decays when nothing happens, as in
 *             Linux from 6.7 on.
 */
#include "mm/phys/pcp.h"

#include <errno.h>
#include <sched.h>
#include <stdalign.h>
#include <stdlib.h>

#include "base/log.h"
#include "mm/phys/buddy.h"
#include "mm/phys/zone_census.h"

enum { PCP_FACTOR_MAX = 3 };

static const struct pcp_limits {
	uint16_t batch, high_min, high_max;
} limits[PCP_CLASSES] = {
	/* 63 is the kernel's batch; the largest high of order 0 is 8 MiB. */
	{ 63, 126, 2048 }, { 32, 64, 512 }, { 16, 32, 256 }, { 8, 16, 128 }, { 1, 2, 8 },
};

static struct pcp no_pcp = { .zone_id = PCP_UNUSED };

struct pcp_slot pcp_slots[NR_CPU_SLOTS + 1] = {
	[0 ... NR_CPU_SLOTS] = { .last = &no_pcp },
};

/* Pagesets whose zone has ended, by slot (P4). */
static pthread_mutex_t unused_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pcp     *unused[NR_CPU_SLOTS]; /* unused_mutex */

static struct pcp *pop_unused(int cpu)
{
	struct pcp *pcp;

	pthread_mutex_lock(&unused_mutex);
	pcp = unused[cpu];
	if (pcp)
		unused[cpu] = pcp->next;
	pthread_mutex_unlock(&unused_mutex);
	return pcp;
}

static void push_unused(int cpu, struct pcp *pcp)
{
	atomic_store_explicit(&pcp->zone_id, PCP_UNUSED, memory_order_relaxed);
	pthread_mutex_lock(&unused_mutex);
	pcp->next = unused[cpu];
	unused[cpu] = pcp;
	pthread_mutex_unlock(&unused_mutex);
}

/* For the calling thread's slot. */
static struct pcp *pcp_new(struct zone *zone)
{
	struct pcp *pcp = pop_unused(this_cpu());

	if (!pcp)
		pcp = aligned_alloc(alignof(struct pcp), sizeof(*pcp));
	if (!pcp)
		return NULL;
	*pcp = (struct pcp){ .zone = zone, .zone_id = zone->id };
	for (int i = 0; i < PCP_CLASSES; i++) {
		struct pcp_class *class = &pcp->classes[i];

		class->batch = limits[i].batch;
		class->high_min = limits[i].high_min;
		class->high_max = limits[i].high_max;
		class->high = class->high_min;
		for (int type = 0; type < MIGRATE_PCPTYPES; type++)
			list_init(&class->lists[type]);
	}
	return pcp;
}

static bool has_asym; /* c: fixed after pcp_init */

void pcp_init(void)
{
	has_asym = asym_init();
	if (!has_asym)
		log_emit(LOG_WARNING, "no_membarrier",
			 "membarrier is refused: every frame takes the zone lock");
}

/* The calling thread's pageset, made if need be, and from now on the one that frees try first. */
static struct pcp *pcp_get(struct zone *zone)
{
	struct pcp *pcp = pcp_of_this_cpu(zone);

	if (!pcp && (this_cpu() == CPU_SLOT_NONE || !has_asym))
		return NULL;
	if (!pcp) {
		pcp = pcp_new(zone);
		atomic_store_explicit(&zone->pcp[cpu_index()], pcp, memory_order_release);
	}
	if (pcp)
		pcp_slots[cpu_index()].last = pcp;
	return pcp;
}

/* ---- the owner's slow path ---- */

static void raise_high(struct pcp_class *class)
{
	uint32_t high = class->high + class->batch;

	atomic_store_explicit(&class->high, min_t(uint32_t, high, class->high_max),
			      memory_order_relaxed);
}

/* Not more than what lies above the min mark, so that a refill doesn't eat the reserves. */
static unsigned int refill_nr(const struct zone *zone, const struct pcp_class *class,
			      unsigned int order)
{
	uint64_t nr = (uint64_t)class->batch << class->alloc_factor;
	uint64_t free = zone_free_pages_nr(zone), min = zone_wmark(zone, WMARK_MIN);

	nr = min_t(uint64_t, nr, class->high);
	nr = min_t(uint64_t, nr, free > min ? (free - min) >> order : 0);
	return (unsigned int)max_t(uint64_t, nr, 1);
}

/* Cuts pieces from the buddy into blocks of 2^order, in the order of memory, at list's end. */
static void cut_pieces(struct list_head *pieces, unsigned int order, struct list_head *list)
{
	struct page *piece, *next;

	list_for_each_entry_safe(piece, next, pieces, lru) {
		const uint32_t word = pg_load(piece), end = 1u << pg_word_order(word);
		const uint32_t cut = pg_word(PG_PCP, order, pg_word_type(word));

		for (uint32_t at = 0; at < end; at += 1u << order) {
			pg_store(piece + at, cut);
			list_add_tail(&piece[at].lru, list);
		}
	}
}

/* One block for the caller and, if the zone has them, more for the list. The zone lock is held
 * while pieces are found, not while they are cut. */
static struct page *refill(struct pcp *pcp, int index, const struct bulk_request *want)
{
	struct pcp_class   *class = &pcp->classes[index];
	struct bulk_request request = *want;
	struct list_head    pieces = LIST_HEAD_INIT(pieces), *list = &class->lists[want->type];
	struct page        *page = NULL;
	uint64_t            nr_free;
	unsigned int        nr;

	if (!pcp_enter(pcp))
		return NULL;
	nr_free = pcp_nr_free(class);
	if ((uint32_t)nr_free != class->free_at_refill)
		class->alloc_factor = 0;
	class->free_at_refill = (uint32_t)nr_free;
	request.nr = refill_nr(pcp->zone, class, want->order);
	mutex_lock(&pcp->zone->lock);
	nr = buddy_alloc_bulk_locked(pcp->zone, &request, &pieces);
	mutex_unlock(&pcp->zone->lock);
	if (nr) {
		cut_pieces(&pieces, want->order, list);
		page = list_first_entry(list, struct page, lru);
		list_del(&page->lru);
		pg_store(page, pg_word(PG_ALLOCATED, want->order, want->type));
		pcp_set_count(class, pcp_count(class) + nr - 1);
		pcp_add_events(&class->nr_in, nr);
		pcp_add_events(&class->nr_alloc, 1);
		class->alloc_factor += class->alloc_factor < PCP_FACTOR_MAX;
		raise_high(class);
		pcp_add_events(&pcp->nr_refills, 1);
	}
	pcp_leave(pcp);
	return page;
}

static void take_top(struct pcp_class *class, struct list_head *out)
{
	struct page *page = pcp_top(class);

	if (!page)
		return;
	pcp_set_top(class, NULL);
	list_add_tail(&page->lru, out);
	pcp_add_events(&class->nr_out, 1);
}

/* Moves up to nr blocks from the end of a list, as they are, to that of `out`; returns how many. */
static uint32_t cut_tail(struct list_head *list, uint32_t nr, struct list_head *out)
{
	struct list_head *first = list, *last = list->prev, *before = last;
	uint32_t          taken = 0;

	while (taken < nr && before != list) {
		first = before;
		before = before->prev;
		taken++;
	}
	if (!taken)
		return 0;
	before->next = list;
	list->prev = before;
	first->prev = out->prev;
	out->prev->next = first;
	last->next = out;
	out->prev = last;
	return taken;
}

/* Moves up to nr blocks from the lists, coldest first and as many from each type, to `out`. */
static void take_cold(struct pcp_class *class, uint32_t nr, struct list_head *out)
{
	uint32_t left = min_t(uint32_t, nr, pcp_count(class)), taken = 0;

	while (taken < left) {
		uint32_t types = 0, share;

		for (int type = 0; type < MIGRATE_PCPTYPES; type++)
			types += !list_empty(&class->lists[type]);
		share = max_t(uint32_t, (left - taken) / types, 1);
		for (int type = 0; type < MIGRATE_PCPTYPES && taken < left; type++)
			taken += cut_tail(&class->lists[type], share, out);
	}
	pcp_set_count(class, pcp_count(class) - taken);
	pcp_add_events(&class->nr_out, taken);
}

/* Adjoining frames [pfn, end) of one pageblock, heads of 2^order each, become few large blocks,
 * each PG_PCP with its order, at the end of `out`. */
static void join_run(uint32_t pfn, uint32_t end, unsigned int order, struct list_head *out)
{
	while (pfn < end) {
		struct page *page = pfn_to_page(pfn);
		unsigned int large = order;

		while (is_aligned(pfn, 2u << large) && pfn + (2u << large) <= end)
			large++;
		for (uint32_t i = 1u << order; i < 1u << large; i += 1u << order)
			pg_store(page + i, pg_word(PG_TAIL, 0, 0));
		pg_store(page, pg_word(PG_PCP, large, 0));
		list_add_tail(&page->lru, out);
		pfn += 1u << large;
	}
}

/* Neighbours on the list that are neighbours in memory, as after a sequential free in either
 * direction, are joined; returns frames. */
static uint64_t join_neighbours(struct list_head *list, unsigned int order, struct list_head *out)
{
	const uint32_t size = 1u << order;
	struct page   *page, *next;
	uint32_t       start = 0, end = 0;
	uint64_t       frames = 0;

	list_for_each_entry_safe(page, next, list, lru) {
		uint32_t pfn = page_to_pfn(page);

		if (pfn == end && !is_aligned(pfn, PAGEBLOCK_PAGES)) {
			end += size;
		} else if (pfn + size == start && !is_aligned(start, PAGEBLOCK_PAGES)) {
			start = pfn;
		} else {
			join_run(start, end, order, out);
			start = pfn;
			end = pfn + size;
		}
		frames += size;
	}
	join_run(start, end, order, out);
	return frames;
}

/* Blocks of one order on a private list go to the buddy; returns frames. The zone lock is held for
 * what joining them leaves. */
static uint64_t free_list_to_buddy(struct zone *zone, struct list_head *list, unsigned int order)
{
	struct list_head joined = LIST_HEAD_INIT(joined);
	struct page     *page, *next;
	uint64_t         frames = join_neighbours(list, order, &joined);

	if (!frames)
		return 0;
	mutex_lock(&zone->lock);
	list_for_each_entry_safe(page, next, &joined, lru)
		buddy_free_locked(zone, page, pg_order(page));
	mutex_unlock(&zone->lock);
	return frames;
}

/* The pageset is full: a batch goes back and high grows. False: a visitor is at it. */
static bool overflow(struct pcp *pcp, int index)
{
	struct pcp_class *class = &pcp->classes[index];
	struct list_head  cold = LIST_HEAD_INIT(cold);

	if (!pcp_enter(pcp))
		return false;
	if (pcp_count(class) >= class->high) {
		uint32_t nr;

		if ((uint32_t)class->nr_alloc != class->alloc_at_overflow)
			class->free_factor = 0;
		class->alloc_at_overflow = (uint32_t)class->nr_alloc;
		nr = (uint32_t)class->batch << class->free_factor;
		take_cold(class, min_t(uint32_t, nr, pcp_count(class)), &cold);
		class->free_factor += class->free_factor < PCP_FACTOR_MAX;
		raise_high(class);
		pcp_add_events(&pcp->nr_overflows, 1);
	}
	pcp_leave(pcp);
	free_list_to_buddy(pcp->zone, &cold, pcp_class_order(index));
	return true;
}

static struct page *rmqueue_buddy(struct zone *zone, const struct bulk_request *want)
{
	struct page *page;

	mutex_lock(&zone->lock);
	page = buddy_alloc_locked(zone, want->order, want->type, want->flags);
	if (page) {
		pg_store(page, pg_word(PG_ALLOCATED, want->order, want->type));
		zone->events.pgalloc += 1u << want->order;
		zone->events.nr_direct++;
		if ((want->flags & ALLOC_HIGHATOMIC) && want->order > 0)
			reserve_highatomic_locked(zone, page);
	}
	mutex_unlock(&zone->lock);
	return page;
}

/* High-order atomic requests come from pageblocks kept for them. */
static bool passes_pagesets(unsigned int order, unsigned int flags)
{
	return order > 0 && (flags & ALLOC_HIGHATOMIC);
}

static __attribute__((noinline)) struct page *
rmqueue_slow(struct zone *zone, unsigned int order, enum migratetype type, unsigned int flags)
{
	struct bulk_request want = { .order = order, .flags = flags, .type = type };
	int                 index = pcp_class_of(order);
	struct page        *page = NULL;
	struct pcp         *pcp;

	if (index >= 0 && !passes_pagesets(order, flags)) {
		pcp = pcp_get(zone);
		if (pcp)
			page = refill(pcp, index, &want);
	}
	return page ? page : rmqueue_buddy(zone, &want);
}

/* The slow halves are functions of their own, so that a hit saves no registers for them. */
struct page *rmqueue(struct zone *zone, unsigned int order, enum migratetype type,
		     unsigned int flags)
{
	struct pcp_want want = pcp_want_of(zone, order, type);
	struct page    *page = NULL;

	if (likely(!passes_pagesets(order, flags)))
		page = pcp_alloc_hit(&want);
	return likely(page != NULL) ? page : rmqueue_slow(zone, order, type, flags);
}

/* Not on the pageset used last, or it is full. */
static bool free_to_pageset(struct zone *zone, struct page *page, unsigned int order)
{
	struct pcp *last = pcp_slots[cpu_index()].last, *pcp;
	uint32_t    word = pcp_granted_word(page);
	int         index = pcp_class_of(order);

	if (index < 0 || !pcp_free_word(zone, page, word))
		return false;
	pcp = pcp_get(zone);
	if (!pcp)
		return false;
	if (pcp != last && pcp_free_hit(page, order, word))
		return true;
	return overflow(pcp, index) && pcp_free_hit(page, order, word);
}

void free_unref_page_miss(struct zone *zone, struct page *page, unsigned int order)
{
	if (free_to_pageset(zone, page, order))
		return;
	mutex_lock(&zone->lock);
	buddy_free_locked(zone, page, order);
	zone->events.pgfree += 1u << order;
	mutex_unlock(&zone->lock);
}

void free_unref_page(struct zone *zone, struct page *page, unsigned int order)
{
	if (unlikely(!pcp_free_hit(page, order, pcp_granted_word(page))))
		free_unref_page_miss(zone, page, order);
}

/* ---- visitors ---- */

struct visit {
	struct zone *zone;
	uint64_t     cpus; /* bit n: slot n's pageset is visited */
};

static_assert(NR_CPU_SLOTS <= 64, "a visit names slots by bits");

static void wait_until_idle(struct pcp *pcp)
{
	while (atomic_load_explicit(&pcp->busy, memory_order_acquire))
		sched_yield();
}

/* After this the owners keep away from the pagesets of v->cpus, which all exist. */
static void visit_begin(struct visit *v)
{
	mutex_lock(&v->zone->visit);
	for (uint64_t left = v->cpus; left; left &= left - 1)
		atomic_store(&pcp_of_cpu(v->zone, __builtin_ctzll(left))->blocked, 1);
	if (v->cpus)
		asym_heavy();
	for (uint64_t left = v->cpus; left; left &= left - 1)
		wait_until_idle(pcp_of_cpu(v->zone, __builtin_ctzll(left)));
}

static void visit_end(struct visit *v)
{
	for (uint64_t left = v->cpus; left; left &= left - 1)
		atomic_store_explicit(&pcp_of_cpu(v->zone, __builtin_ctzll(left))->blocked, 0,
				      memory_order_release);
	mutex_unlock(&v->zone->visit);
}

static uint64_t pagesets_in_use(struct zone *zone)
{
	uint64_t cpus = 0;

	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++) {
		struct pcp *pcp = pcp_of_cpu(zone, cpu);

		for (int i = 0; pcp && i < PCP_CLASSES; i++)
			if (pcp_nr_blocks(&pcp->classes[i]))
				cpus |= 1ull << cpu;
	}
	return cpus;
}

static uint64_t drain_cpus(struct zone *zone, uint64_t cpus)
{
	struct visit     v = { zone, cpus };
	struct list_head cold[PCP_CLASSES];
	uint64_t         frames = 0;

	if (!cpus)
		return 0;
	for (int i = 0; i < PCP_CLASSES; i++)
		list_init(&cold[i]);
	visit_begin(&v);
	for (uint64_t left = cpus; left; left &= left - 1) {
		struct pcp *pcp = pcp_of_cpu(zone, __builtin_ctzll(left));

		for (int i = 0; i < PCP_CLASSES; i++) {
			take_cold(&pcp->classes[i], UINT32_MAX, &cold[i]);
			take_top(&pcp->classes[i], &cold[i]);
		}
	}
	visit_end(&v);
	for (int i = 0; i < PCP_CLASSES; i++)
		frames += free_list_to_buddy(zone, &cold[i], pcp_class_order(i));
	return frames;
}

uint64_t pcp_drain(struct zone *zone, int cpu)
{
	return drain_cpus(zone, pagesets_in_use(zone) & 1ull << cpu);
}

uint64_t pcp_drain_all(struct zone *zone)
{
	return drain_cpus(zone, pagesets_in_use(zone));
}

void pcp_cpu_dead(int cpu)
{
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone))
		pcp_drain(zone, cpu);
}

static uint64_t events_of(const struct pcp_class *class)
{
	return class->nr_alloc + pcp_nr_free(class);
}

/* Idle classes are emptied; the high of others shrinks by an eighth and what is above goes. */
static void decay_class(struct pcp_class *class, struct list_head *cold)
{
	uint64_t seen = events_of(class);
	uint32_t count = pcp_count(class), high;

	if (seen == class->nr_seen) {
		class->high = class->high_min;
		take_cold(class, count, cold);
		take_top(class, cold);
	} else {
		high = max_t(uint32_t, class->high - class->high / 8, class->high_min);
		class->high = high;
		take_cold(class, count > high ? count - high : 0, cold);
	}
	class->alloc_factor = 0;
	class->free_factor = 0;
	class->nr_seen = seen;
}

uint64_t pcp_decay(struct zone *zone)
{
	struct visit     v = { zone, pagesets_in_use(zone) };
	struct list_head cold[PCP_CLASSES];
	uint64_t         frames = 0;

	if (!v.cpus)
		return 0;
	for (int i = 0; i < PCP_CLASSES; i++)
		list_init(&cold[i]);
	visit_begin(&v);
	for (uint64_t left = v.cpus; left; left &= left - 1)
		for (int i = 0; i < PCP_CLASSES; i++)
			decay_class(&pcp_of_cpu(zone, __builtin_ctzll(left))->classes[i], &cold[i]);
	visit_end(&v);
	for (int i = 0; i < PCP_CLASSES; i++)
		frames += free_list_to_buddy(zone, &cold[i], pcp_class_order(i));
	return frames;
}

uint64_t pcp_nr_frames(const struct zone *zone)
{
	uint64_t frames = 0;

	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++) {
		struct pcp *pcp = pcp_of_cpu(zone, cpu);

		for (int i = 0; pcp && i < PCP_CLASSES; i++)
			frames += (uint64_t)pcp_nr_blocks(&pcp->classes[i]) << pcp_class_order(i);
	}
	return frames;
}

void pcp_fini(struct zone *zone)
{
	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++) {
		struct pcp *pcp = pcp_of_cpu(zone, cpu);

		atomic_store(&zone->pcp[cpu + 1], NULL);
		if (pcp)
			push_unused(cpu, pcp);
	}
}

static uint64_t validate_class(struct pcp_class *class, unsigned int order, struct validation *v)
{
	struct page *top = pcp_top(class);
	uint64_t     nr = 0;

	if (top)
		validation_compare(v, pg_word(PG_PCP, order, pg_word_type(pg_load(top))),
				   pg_load(top), "state word of frame %u in top", page_to_pfn(top));
	for (int type = 0; type < MIGRATE_PCPTYPES; type++) {
		struct page *page;

		list_for_each_entry(page, &class->lists[type], lru) {
			nr++;
			validation_compare(v, pg_word(PG_PCP, order, (enum migratetype)type),
					   pg_load(page), "state word of frame %u on a pageset",
					   page_to_pfn(page));
		}
	}
	validation_compare(v, nr, pcp_count(class), "blocks of order %u on a pageset", order);
	return pcp_nr_blocks(class);
}

void pcp_validate(struct zone *zone, struct validation *v)
{
	struct zone_census census;
	struct validation  ignored = { 0 };
	uint64_t           blocks[PCP_CLASSES] = { 0 };

	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++) {
		struct pcp *pcp = pcp_of_cpu(zone, cpu);

		for (int i = 0; pcp && i < PCP_CLASSES; i++)
			blocks[i] += validate_class(&pcp->classes[i], pcp_class_order(i), v);
	}
	mutex_lock(&zone->lock);
	zone_census_locked(zone, &census, &ignored);
	mutex_unlock(&zone->lock);
	for (int i = 0; i < PCP_CLASSES; i++)
		validation_compare(v, census.pcp[pcp_class_order(i)], blocks[i],
				   "blocks of order %u on pagesets, by struct pages",
				   pcp_class_order(i));
}
