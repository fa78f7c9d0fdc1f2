/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone - the table of zones, watermarks, boot memory, snapshots
 *
 * Purpose     See zone.h.
 * Locking     table_mutex (leaf) for zone_table, ids and zone->refs.
 * Not here    Growing and shrinking (zone_grow.c).
 */
#include "mm/phys/zone.h"

#include <errno.h>

#include "mm/phys/buddy.h"
#include "mm/phys/heap.h"
#include "mm/phys/pcp.h"
#include "mm/phys/stock.h"
#include "mm/phys/zone_census.h"
#include "mm/phys/zone_grow.h"
#include "os/os.h"

enum {
	WMARK_DIVISOR = 256,
	WMARK_MIN_MAX = (64 << 20) >> PAGE_SHIFT,
	WMARK_MANAGED_MIN = (64 << 20) >> PAGE_SHIFT,
	WATERMARK_BOOST_FACTOR = 15000, /* vm.watermark_boost_factor: of the high mark, 1/10000 */
};

struct zone *zone_table[NR_ZONES_MAX];

static _Atomic unsigned int watermark_scale_factor = WATERMARK_SCALE_DEFAULT;

/* a: atomic, statistics only */
static struct {
	_Atomic uint64_t pgalloc, pgfree, numa_hit, numa_miss, numa_foreign; /* (a) */
} ended[MAX_NUMNODES];

static pthread_once_t  table_once = PTHREAD_ONCE_INIT;
static struct mutex    table_mutex;
static pthread_cond_t  table_unused = PTHREAD_COND_INITIALIZER;
static uint32_t        table_next; /* table_mutex: no free id is below */
static uint32_t        table_end;  /* table_mutex: above the highest id in use */

static void init_table(void)
{
	mutex_init(&table_mutex, RANK_LEAF, "zones");
	pcp_init();
}

/* The lowest free id: memory and a walk take as much as there are zones at once. */
static int add_to_table(struct zone *zone)
{
	int r = -EMFILE;

	pthread_once(&table_once, init_table);
	mutex_lock(&table_mutex);
	while (table_next < table_end && zone_table[table_next])
		table_next++;
	if (table_next < NR_ZONES_MAX) {
		zone->id = table_next++;
		zone_table[zone->id] = zone;
		table_end = max_t(uint32_t, table_end, table_next);
		r = 0;
	}
	mutex_unlock(&table_mutex);
	return r;
}

/* Waits for walkers, who hold a zone only for a moment. */
static void remove_from_table(struct zone *zone)
{
	mutex_lock(&table_mutex);
	while (zone->refs)
		pthread_cond_wait(&table_unused, &table_mutex.lock);
	zone_table[zone->id] = NULL;
	table_next = min_t(uint32_t, table_next, zone->id);
	while (table_end && !zone_table[table_end - 1])
		table_end--;
	mutex_unlock(&table_mutex);
}

static void put_locked(struct zone *zone)
{
	if (zone && --zone->refs == 0)
		pthread_cond_broadcast(&table_unused);
}

struct zone *zone_walk_next(struct zone *previous)
{
	struct zone *found = NULL;

	pthread_once(&table_once, init_table);
	mutex_lock(&table_mutex);
	for (uint32_t id = previous ? previous->id + 1 : 0; id < table_end && !found; id++)
		found = zone_table[id];
	if (found)
		found->refs++;
	put_locked(previous);
	mutex_unlock(&table_mutex);
	return found;
}

void zone_walk_end(struct zone *zone)
{
	mutex_lock(&table_mutex);
	put_locked(zone);
	mutex_unlock(&table_mutex);
}

int zone_new(const struct zone_request *request, struct zone **out)
{
	struct zone *zone = phys_alloc(sizeof(*zone));
	int          r;

	if (!zone)
		return -ENOMEM;
	zone->type = request->type;
	zone->node = request->node;
	zone->pool = request->pool;
	zone->section = request->section;
	zone->huge = request->huge;
	zone->charge = request->charge;
	zone->charge_arg = request->charge_arg;
	zone->owner = request->owner;
	if (zone->section) {
		zone->start_pfn = zone->section->pfn;
		zone->end_pfn = (uint32_t)(zone->start_pfn + zone->section->nr_frames);
	}
	zone->absent_hint = pfn_to_block(zone->start_pfn);
	zone->top_block = zone->absent_hint;
	zone->pack_below = zone->start_pfn;
	for (int order = 0; order < NR_ORDERS; order++)
		for (int type = 0; type < MIGRATE_TYPES; type++)
			list_init(&zone->free_area[order].free_list[type]);
	mutex_init(&zone->lock, RANK_ZONE, "zone");
	mutex_init(&zone->visit, RANK_PCP, "zone pagesets");
	mutex_init(&zone->grow, RANK_PCP, "zone growth");
	/* Walkers that audit find the pageblock in the zone. */
	mutex_lock(&zone->grow);
	r = add_to_table(zone);
	if (!r && request->has_block)
		zone_block_adopt(zone);
	mutex_unlock(&zone->grow);
	if (r)
		phys_free(zone);
	else
		*out = zone;
	return r;
}

static void release_blocks(struct zone *zone)
{
	uint32_t end = pfn_to_block(zone->end_pfn);

	for (uint32_t block = pfn_to_block(zone->start_pfn); block < end; block++) {
		if (!block_is_present(block))
			continue;
		atomic_store_explicit(&block_flags[block], 0, memory_order_release);
		meta_release(META_VMEMMAP, block_to_pfn(block), PAGEBLOCK_PAGES);
	}
}

static void keep_counts(struct zone *zone)
{
	struct zone_snapshot s;

	zone_snapshot(zone, &s);
	atomic_fetch_add(&ended[zone->node].pgalloc, s.events.pgalloc);
	atomic_fetch_add(&ended[zone->node].pgfree, s.events.pgfree);
	atomic_fetch_add(&ended[zone->node].numa_hit, s.numa_hit);
	atomic_fetch_add(&ended[zone->node].numa_miss, s.numa_miss);
	atomic_fetch_add(&ended[zone->node].numa_foreign, s.numa_foreign);
}

void zone_free(struct zone *zone)
{
	uint64_t present;

	remove_from_table(zone);
	keep_counts(zone);
	pcp_fini(zone);
	present = zone->present; /* not before: a walker may have been shrinking it */
	if (zone->section && present) {
		int r = os->punch(zone->section->fd, 0, zone->section->nr_frames << PAGE_SHIFT);

		CHECK(!r);
		release_blocks(zone);
		stock_put(zone->node, zone->section->kind, present);
		stock_uncommit(zone->node, zone->section->kind, present);
		if (zone->charge)
			zone->charge->uncharge(zone->charge_arg, present);
	}
	mutex_fini(&zone->lock);
	mutex_fini(&zone->visit);
	mutex_fini(&zone->grow);
	phys_free(zone);
}

void zone_count_present(struct zone *zone, int64_t delta)
{
	atomic_fetch_add(&zone->present, (uint64_t)delta);
	atomic_fetch_add(&zone->managed, (uint64_t)delta);
}

/* ---- boot ---- */

int zone_boot_add(struct zone *zone, uint32_t pfn, uint32_t nr)
{
	uint32_t block = pfn_to_block(pfn), nr_blocks = nr >> PAGEBLOCK_ORDER;
	int      r;

	CHECK(nr && is_aligned(pfn | nr, PAGEBLOCK_PAGES) && zone_has_pfn(zone, pfn) &&
	      zone_has_pfn(zone, pfn + nr - 1));
	r = meta_populate(META_VMEMMAP, pfn, nr);
	if (r)
		return r;
	mutex_lock(&zone->grow);
	mutex_lock(&zone->lock);
	for (uint32_t i = 0; i < nr; i++) {
		pfn_to_page(pfn + i)->zone_id = zone->id;
		pg_store(pfn_to_page(pfn + i), pg_word(PG_RESERVED, 0, 0));
	}
	for (uint32_t i = 0; i < nr_blocks; i++)
		atomic_store_explicit(&block_flags[block + i], BLOCK_PRESENT | MIGRATE_UNMOVABLE,
				      memory_order_release);
	zone->nr_blocks[MIGRATE_UNMOVABLE] += nr_blocks;
	zone->top_block = max_t(uint32_t, zone->top_block, block + nr_blocks);
	atomic_fetch_add(&zone->present, nr);
	mutex_unlock(&zone->lock);
	mutex_unlock(&zone->grow);
	return 0;
}

void zone_boot_free(struct zone *zone, uint32_t pfn, uint32_t nr)
{
	mutex_lock(&zone->lock);
	atomic_fetch_add(&zone->managed, nr);
	while (nr) {
		unsigned int order = pfn ? (unsigned int)__builtin_ctz(pfn) : MAX_ORDER;

		order = min_t(unsigned int, order, MAX_ORDER);
		while (1u << order > nr)
			order--;
		for (uint32_t i = 0; i < 1u << order; i++) {
			CHECK(pg_state(pfn_to_page(pfn + i)) == PG_RESERVED);
			pg_store(pfn_to_page(pfn + i), pg_word(PG_TAIL, 0, 0));
		}
		buddy_free_locked(zone, pfn_to_page(pfn), order);
		pfn += 1u << order;
		nr -= 1u << order;
	}
	zone_set_watermarks_locked(zone);
	mutex_unlock(&zone->lock);
}

/* ---- watermarks ---- */

void zone_set_watermarks_locked(struct zone *zone)
{
	uint64_t managed = zone->managed;
	uint64_t min = managed < WMARK_MANAGED_MIN ? 0 : managed / WMARK_DIVISOR;
	uint64_t gap;

	min = min_t(uint64_t, min, WMARK_MIN_MAX);
	gap = max_t(uint64_t, min / 4, managed * watermark_scale_factor / 10000);
	atomic_store(&zone->watermark[WMARK_MIN], min);
	atomic_store(&zone->watermark[WMARK_LOW], min + gap);
	atomic_store(&zone->watermark[WMARK_HIGH], min + 2 * gap);
}

void zones_set_watermark_scale(unsigned int factor)
{
	atomic_store(&watermark_scale_factor, factor);
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone)) {
		mutex_lock(&zone->lock);
		zone_set_watermarks_locked(zone);
		mutex_unlock(&zone->lock);
	}
}

void zone_boost_watermark_locked(struct zone *zone)
{
	uint64_t max_boost = zone->watermark[WMARK_HIGH] * WATERMARK_BOOST_FACTOR / 10000;

	if (!max_boost)
		return;
	max_boost = max_t(uint64_t, max_boost, PAGEBLOCK_PAGES);
	atomic_store(&zone->boost, min_t(uint64_t, zone->boost + PAGEBLOCK_PAGES, max_boost));
}

void zone_end_boost(struct zone *zone)
{
	mutex_lock(&zone->lock);
	atomic_store(&zone->boost, 0);
	mutex_unlock(&zone->lock);
}

static bool has_block(const struct zone *zone, unsigned int order, unsigned int flags)
{
	for (unsigned int o = order; o <= MAX_ORDER; o++) {
		const struct free_area *area = &zone->free_area[o];

		for (int type = 0; type < MIGRATE_PCPTYPES; type++)
			if (atomic_load_explicit(&area->nr_free[type], memory_order_relaxed))
				return true;
		if ((flags & ALLOC_CMA) && area->nr_free[MIGRATE_CMA])
			return true;
		if ((flags & (ALLOC_HIGHATOMIC | ALLOC_NON_BLOCK)) &&
		    area->nr_free[MIGRATE_HIGHATOMIC])
			return true;
	}
	return false;
}

bool zone_watermark_ok(const struct zone *zone, unsigned int order, unsigned int flags)
{
	int64_t min = (int64_t)zone_wmark(zone, (enum zone_watermark)(flags & ALLOC_WMARK_MASK));
	int64_t free = (int64_t)zone_free_pages_nr(zone);

	if (flags & ALLOC_NO_WATERMARKS)
		return has_block(zone, order, flags);
	free -= (1 << order) - 1;
	if (!(flags & (ALLOC_HIGHATOMIC | ALLOC_NON_BLOCK)))
		free -= (int64_t)atomic_load_explicit(&zone->nr_highatomic, memory_order_relaxed);
	if (!(flags & ALLOC_CMA))
		free -= (int64_t)atomic_load_explicit(&zone->nr_free_cma, memory_order_relaxed);
	if (flags & ALLOC_MIN_RESERVE) {
		min -= min / 2;
		if (flags & ALLOC_NON_BLOCK)
			min -= min / 4;
	}
	return free > min && has_block(zone, order, flags);
}

/* ---- what operators read ---- */

static void snapshot_pagesets(struct zone *zone, struct zone_snapshot *out)
{
	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++) {
		struct pcp *pcp = pcp_of_cpu(zone, cpu);
		uint32_t    n = out->nr_pagesets;

		if (!pcp)
			continue;
		out->pagesets[n].cpu = cpu;
		for (int i = 0; i < PCP_CLASSES; i++) {
			struct pcp_class *class = &pcp->classes[i];
			unsigned int      order = pcp_class_order(i);

			out->pagesets[n].count += pcp_nr_blocks(class) << order;
			out->pagesets[n].high += class->high << order;
			out->pagesets[n].batch += (uint32_t)class->batch << order;
			out->pagesets[n].high_min += (uint32_t)class->high_min << order;
			out->pagesets[n].high_max += (uint32_t)class->high_max << order;
			out->numa_hit += class->nr_alloc;
			out->events.pgalloc += class->nr_alloc << order;
			out->events.pgfree += pcp_nr_free(class) << order;
		}
		out->nr_pcp += out->pagesets[n].count;
		out->nr_pagesets = n + 1;
	}
}

void zone_snapshot(struct zone *zone, struct zone_snapshot *out)
{
	*out = (struct zone_snapshot){
		.node = zone->node,
		.pool = zone->pool,
		.type = zone->type,
		.start_pfn = zone->start_pfn,
		.spanned = zone->end_pfn - zone->start_pfn,
		.min = zone->watermark[WMARK_MIN],
		.low = zone->watermark[WMARK_LOW],
		.high = zone->watermark[WMARK_HIGH],
		.boost = zone->boost,
	};
	mutex_lock(&zone->lock);
	out->present = zone->present;
	out->managed = zone->managed;
	out->nr_free = zone->nr_free;
	out->nr_free_cma = zone->nr_free_cma;
	out->nr_highatomic = zone->nr_highatomic;
	for (int type = 0; type < MIGRATE_TYPES; type++) {
		for (int order = 0; order < NR_ORDERS; order++)
			out->free[type][order] = zone->free_area[order].nr_free[type];
		out->pageblocks[type] = zone->nr_blocks[type];
	}
	out->events = zone->events;
	mutex_unlock(&zone->lock);
	out->numa_hit = out->events.nr_direct;
	snapshot_pagesets(zone, out);
	out->numa_miss = zone->numa_miss;
	out->numa_foreign = zone->numa_foreign;
	out->numa_hit -= min_t(uint64_t, out->numa_miss, out->numa_hit);
}

void zone_ended_read(int node, struct zone_ended *out)
{
	*out = (struct zone_ended){
		.pgalloc = ended[node].pgalloc,
		.pgfree = ended[node].pgfree,
		.numa_hit = ended[node].numa_hit,
		.numa_miss = ended[node].numa_miss,
		.numa_foreign = ended[node].numa_foreign,
	};
}

void zone_validate(struct zone *zone, struct validation *v)
{
	struct zone_census census;
	uint64_t           present = 0, pcp = 0, nr_free = 0;

	if (zone->type != ZONE_NORMAL)
		return;
	pcp_validate(zone, v);
	mutex_lock(&zone->lock);
	buddy_validate_locked(zone, v);
	zone_census_locked(zone, &census, v);
	nr_free = zone->nr_free;
	mutex_unlock(&zone->lock);
	for (int type = 0; type < MIGRATE_TYPES; type++)
		present += census.blocks[type] << PAGEBLOCK_ORDER;
	for (int order = 0; order < NR_ORDERS; order++)
		pcp += census.pcp[order] << order;
	validation_compare(v, present, zone->present, "present frames of zone %u", zone->id);
	validation_compare(v, present - census.reserved, zone->managed,
			   "managed frames of zone %u", zone->id);
	validation_compare(v, nr_free + pcp + census.granted, zone->managed,
			   "free, cached and granted frames of zone %u", zone->id);
	validation_compare(v, (uint64_t)os->allocated(zone->section->fd) >> PAGE_SHIFT, present,
			   "frames in the file of zone %u", zone->id);
}
