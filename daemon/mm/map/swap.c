/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap - areas, clusters, and the search for adjoining free slots
 *
 * Purpose     See swap.h. Each cluster that nobody owns is on one list of its area: of the empty
 *             ones, or of those about as full (class 0: half free .. class 3: nearly full).
 * Invariants  W5  a cluster on no list is owned or has no free slot.
 *             W6  a cursor owns at most one cluster; owned ones are on area->owned.
 * Locking     area->lock; areas are static, so that a number whose area goes stays lockable.
 */
#include "mm/map/swap.h"

#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "mm/map/swap_area_table.h"
#include "mm/phys/stock.h"

enum {
	EMPTY_SHARE = 8, /* of all clusters: below, cursors take others first */
	EXCHANGE_SHARE = 32,
	EXCHANGE_SLOTS_MIN = 4 * CLUSTER_SLOTS,
	HUGE_EXCHANGE = 2, /* clusters, likewise */
};

struct swap_area swap_areas[SWAP_AREAS_MAX];
static struct mutex     order_lock; /* outside the areas' */
static uint32_t         order[SWAP_AREAS_MAX]; /* order_lock: numbers, first to be filled first */
static uint32_t         nr_order;              /* order_lock */

/* ---- tables ---- */

uint64_t swap_slots_max(void)
{
	return meta_swap_slots();
}

struct slot_record *swap_record(uint32_t slot)
{
	return &slot_records[slot_area(slot) * meta_swap_slots() + slot_index(slot)];
}

static uint64_t table_slots(const struct swap_area *area)
{
	return round_up(area->nr_slots, 2 * CLUSTER_SLOTS);
}

static uint64_t table_clusters(const struct swap_area *area)
{
	return round_up(area->nr_clusters, PAGEBLOCK_PAGES);
}

static int populate_tables(const struct swap_area *area)
{
	uint64_t first = area->number * meta_swap_slots();
	int      r = meta_populate(META_SLOTS, first, table_slots(area));

	if (r)
		return r;
	r = meta_populate(META_CLUSTERS, area->number * meta_swap_clusters(),
			  table_clusters(area));
	if (r)
		meta_release(META_SLOTS, first, table_slots(area));
	return r;
}

static void release_tables(const struct swap_area *area)
{
	meta_release(META_SLOTS, area->number * meta_swap_slots(), table_slots(area));
	meta_release(META_CLUSTERS, area->number * meta_swap_clusters(), table_clusters(area));
}

/* ---- lists of clusters ---- */

/* `was` is its list before the change. Order on a list is by age, so that little moves; but of the
 * empty ones those come first that were written last: a file system has decided everything about
 * them, which takes as long as the writing where they never were. */
static void relist(struct swap_area *area, struct swap_cluster *cluster, struct list_head *was)
{
	struct list_head *list = list_for(area, cluster);

	if (list == was)
		return;
	if (was) {
		list_del(&cluster->link);
		area->nr_empty -= was == &area->empty;
	}
	if (list == &area->empty && cluster->written)
		list_add(&cluster->link, list);
	else if (list)
		list_add_tail(&cluster->link, list);
	area->nr_empty += list == &area->empty;
}

static void set_owned(struct swap_area *area, struct swap_cluster *cluster, bool owned)
{
	struct list_head *was = list_for(area, cluster);

	cluster->owned = owned;
	relist(area, cluster, was);
}

static void set_taken(struct swap_cluster *cluster, uint32_t at, bool taken)
{
	uint64_t bit = 1ull << at % 64;

	DCHECK(is_taken(cluster, at) != taken);
	if (taken)
		cluster->taken[at / 64] |= bit;
	else
		cluster->taken[at / 64] &= ~bit;
	cluster->nr_taken = (uint16_t)(cluster->nr_taken + (taken ? 1 : -1));
}

/* First slot from `at` on whose bit is `taken`; CLUSTER_SLOTS: none. */
static uint32_t next_slot(const struct swap_cluster *cluster, uint32_t at, bool taken)
{
	while (at < CLUSTER_SLOTS) {
		uint64_t word = taken ? cluster->taken[at / 64] : ~cluster->taken[at / 64];

		word &= ~0ull << at % 64;
		if (word)
			return (uint32_t)(at / 64 * 64 + (uint32_t)__builtin_ctzll(word));
		at = at / 64 * 64 + 64;
	}
	return CLUSTER_SLOTS;
}

/* The first free run of `nr`, or else the longest one. */
static uint32_t find_run(const struct swap_cluster *cluster, uint32_t nr, uint32_t *got)
{
	uint32_t best = CLUSTER_SLOTS;

	*got = 0;
	for (uint32_t at = next_slot(cluster, 0, false); at < CLUSTER_SLOTS && *got < nr;) {
		uint32_t end = next_slot(cluster, at, true);

		if (end - at > *got) {
			best = at;
			*got = min_t(uint32_t, end - at, nr);
		}
		at = next_slot(cluster, end, false);
	}
	return best;
}

/* ---- taking and giving ---- */

static uint32_t take_run(struct swap_area *area, struct swap_cluster *cluster, uint32_t at,
			 uint32_t nr)
{
	struct list_head *was = list_for(area, cluster);
	uint32_t          slot = slot_make(area->number,
				  (uint32_t)index_of(area, cluster) * CLUSTER_SLOTS + at);

	for (uint32_t i = 0; i < nr; i++) {
		set_taken(cluster, at + i, true);
		atomic_store_explicit(&swap_record(slot + i)->count, 1, memory_order_relaxed);
	}
	cluster->nr_used = (uint16_t)(cluster->nr_used + nr);
	cluster->written = true;
	relist(area, cluster, was);
	atomic_fetch_add(&area->nr_used, nr);
	return slot;
}

static void set_huge(struct swap_area *area, struct swap_cluster *cluster, bool huge)
{
	if (huge && !cluster->huge)
		atomic_fetch_add(&area->nr_huge, 1);
	else if (!huge && cluster->huge)
		atomic_fetch_sub(&area->nr_huge, 1);
	cluster->huge = huge;
}

static uint64_t huge_clusters(uint64_t *empty)
{
	uint64_t huge = 0;

	*empty = 0;
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++) {
		if (!atomic_load_explicit(&swap_areas[i].accepting, memory_order_relaxed))
			continue;
		*empty += atomic_load_explicit(&swap_areas[i].nr_empty, memory_order_relaxed);
		huge += atomic_load_explicit(&swap_areas[i].nr_huge, memory_order_relaxed);
	}
	return huge;
}

/* Are there more empty clusters than huge pages have been promised? */
static bool empty_to_spare(void)
{
	uint64_t promised = stock_promised_beyond_huge() / CLUSTER_SLOTS, empty, huge;

	if (!promised)
		return true;
	huge = huge_clusters(&empty);
	return huge + empty > promised + HUGE_EXCHANGE;
}

static uint32_t take_hint(uint32_t hint, uint32_t nr, uint32_t *got)
{
	struct swap_area *area = &swap_areas[slot_area(hint)];
	uint32_t          at = slot_index(hint) % CLUSTER_SLOTS;
	uint32_t          slot = SLOT_NONE;

	mutex_lock(&area->lock);
	if (area->exists && area->accepting && slot_index(hint) < area->nr_slots) {
		struct swap_cluster *cluster =
			cluster_at(area, slot_index(hint) / CLUSTER_SLOTS);

		if (cluster->nr_taken || empty_to_spare())
			*got = min_t(uint32_t, nr, next_slot(cluster, at, true) - at);
		if (*got)
			slot = take_run(area, cluster, at, *got);
	}
	mutex_unlock(&area->lock);
	return slot;
}

static struct swap_cluster *cursor_cluster(struct swap_area *area, struct swap_cursor *cursor)
{
	if (!cursor->holds || cursor->area != area->number || cursor->serial != area->serial)
		return NULL;
	return cluster_at(area, cursor->cluster);
}

static void drop_cursor(struct swap_area *area, struct swap_cursor *cursor)
{
	struct swap_cluster *cluster = cursor_cluster(area, cursor);

	if (cluster)
		set_owned(area, cluster, false);
	cursor->holds = false;
}

static struct swap_cluster *first_partial(struct swap_area *area)
{
	for (int i = 0; i < SWAP_CLASSES; i++)
		if (!list_empty(&area->partial[i]))
			return list_first_entry(&area->partial[i], struct swap_cluster, link);
	return NULL;
}

/* The next cluster to walk through. Few empty ones are kept for huge pages. */
static struct swap_cluster *next_cluster(struct swap_area *area)
{
	struct swap_cluster *partial = first_partial(area);

	if (area->nr_empty && empty_to_spare() &&
	    (!partial || area->nr_empty > area->nr_clusters / EMPTY_SHARE))
		return list_first_entry(&area->empty, struct swap_cluster, link);
	return partial;
}

/* What is free in clusters that other cursors hold: better than nothing. */
static struct swap_cluster *owned_with_room(struct swap_area *area)
{
	struct swap_cluster *cluster;

	list_for_each_entry(cluster, &area->owned, link)
		if (nr_free(cluster))
			return cluster;
	return NULL;
}

static struct swap_cluster *advance(struct swap_area *area, struct swap_cursor *cursor)
{
	struct swap_cluster *cluster = cursor_cluster(area, cursor);

	if (cluster && nr_free(cluster))
		return cluster;
	cluster = next_cluster(area);
	if (!cluster)
		return owned_with_room(area);
	drop_cursor(area, cursor);
	set_owned(area, cluster, true);
	*cursor = (struct swap_cursor){
		.area = area->number,
		.cluster = (uint32_t)index_of(area, cluster),
		.serial = area->serial,
		.holds = true,
	};
	return cluster;
}

static uint32_t copy_order(uint32_t copy[SWAP_AREAS_MAX])
{
	uint32_t nr;

	mutex_lock(&order_lock);
	nr = nr_order;
	memcpy(copy, order, sizeof(order));
	mutex_unlock(&order_lock);
	return nr;
}

/* A cursor that has gone on to another area lets go of what it had in the last one; not before:
 * it comes by those that are full each time. */
static void leave_last_area(struct swap_cursor before, const struct swap_cursor *cursor)
{
	if (before.area != cursor->area)
		swap_cursor_put(&before);
}

uint32_t swap_alloc(struct swap_cursor *cursor, uint32_t nr, uint32_t hint, uint32_t *got)
{
	uint32_t in_order[SWAP_AREAS_MAX];
	uint32_t nr_areas = copy_order(in_order);
	struct swap_cursor before = *cursor;
	uint32_t slot = SLOT_NONE;

	*got = 0;
	if (INJECT(SWAP_ALLOC))
		return SLOT_NONE;
	if (slot_index(hint))
		slot = take_hint(hint, nr, got);
	for (uint32_t i = 0; i < nr_areas && !slot; i++) {
		struct swap_area    *area = &swap_areas[in_order[i]];
		struct swap_cluster *cluster = NULL;

		if (!atomic_load(&area->accepting))
			continue;
		mutex_lock(&area->lock);
		if (area->exists && area->accepting)
			cluster = advance(area, cursor);
		if (cluster) {
			uint32_t at = find_run(cluster, nr, got);

			slot = take_run(area, cluster, at, *got);
		}
		mutex_unlock(&area->lock);
	}
	leave_last_area(before, cursor);
	return slot;
}

static struct swap_cluster *empty_cluster(struct swap_area *area, struct swap_cursor *cursor)
{
	struct swap_cluster *mine;

	if (area->nr_empty)
		return list_first_entry(&area->empty, struct swap_cluster, link);
	mine = cursor_cluster(area, cursor);
	return mine && !mine->nr_taken ? mine : NULL;
}

uint32_t swap_alloc_huge(struct swap_cursor *cursor)
{
	uint32_t in_order[SWAP_AREAS_MAX];
	uint32_t nr_areas = copy_order(in_order);
	uint32_t slot = SLOT_NONE;

	if (INJECT(SWAP_ALLOC))
		return SLOT_NONE;
	for (uint32_t i = 0; i < nr_areas && !slot; i++) {
		struct swap_area    *area = &swap_areas[in_order[i]];
		struct swap_cluster *cluster = NULL;

		mutex_lock(&area->lock);
		if (area->exists && area->accepting)
			cluster = empty_cluster(area, cursor);
		if (cluster) {
			slot = take_run(area, cluster, 0, CLUSTER_SLOTS);
			set_huge(area, cluster, true);
		}
		mutex_unlock(&area->lock);
	}
	return slot;
}

void swap_cursor_put(struct swap_cursor *cursor)
{
	struct swap_area *area = &swap_areas[cursor->area];

	if (!cursor->holds)
		return;
	mutex_lock(&area->lock);
	drop_cursor(area, cursor);
	mutex_unlock(&area->lock);
}

/* ---- counts ---- */

static struct swap_area *lock_area_of(uint32_t slot, uint32_t nr)
{
	struct swap_area *area = &swap_areas[slot_area(slot)];

	mutex_lock(&area->lock);
	CHECK(area->exists && slot_index(slot) && slot_index(slot) + nr <= area->nr_slots);
	return area;
}

int swap_dup(uint32_t slot, uint32_t nr)
{
	struct swap_area *area = lock_area_of(slot, nr);
	int               r = 0;

	for (uint32_t i = 0; i < nr; i++) {
		CHECK(swap_record(slot + i)->count && swap_record(slot + i)->count != SLOT_BAD);
		if (swap_record(slot + i)->count == SLOT_COUNT_MAX)
			r = -EOVERFLOW;
	}
	for (uint32_t i = 0; i < nr && !r; i++)
		swap_record(slot + i)->count++;
	mutex_unlock(&area->lock);
	return r;
}

/* Ends one word's naming of a slot. True if it was the last and the slot was retired. */
static bool put_slot(struct swap_area *area, uint32_t slot, bool retire)
{
	struct swap_cluster *cluster = cluster_at(area, slot_index(slot) / CLUSTER_SLOTS);
	struct slot_record  *record = swap_record(slot);
	struct list_head    *was;

	CHECK(record->count && record->count != SLOT_BAD);
	if (--record->count)
		return false;
	was = list_for(area, cluster);
	cluster->nr_used--;
	atomic_fetch_sub(&area->nr_used, 1);
	if (retire) {
		record->count = SLOT_BAD;
		atomic_fetch_add(&area->nr_bad, 1);
	} else {
		set_taken(cluster, slot_index(slot) % CLUSTER_SLOTS, false);
	}
	set_huge(area, cluster, false);
	relist(area, cluster, was);
	return retire;
}

static uint32_t put_slots(uint32_t slot, uint32_t nr, bool retire)
{
	struct swap_area *area = lock_area_of(slot, nr);
	uint32_t          nr_retired = 0;

	for (uint32_t i = 0; i < nr; i++)
		nr_retired += put_slot(area, slot + i, retire);
	mutex_unlock(&area->lock);
	return nr_retired;
}

void swap_free(uint32_t slot, uint32_t nr)
{
	put_slots(slot, nr, false);
}

uint32_t swap_retire(uint32_t slot, uint32_t nr)
{
	return put_slots(slot, nr, true);
}

uint32_t swap_count(uint32_t slot)
{
	struct swap_area *area = &swap_areas[slot_area(slot)];
	uint32_t          count = 0;

	mutex_lock(&area->lock);
	if (area->exists && slot_index(slot) && slot_index(slot) < area->nr_slots)
		count = swap_record(slot)->count;
	mutex_unlock(&area->lock);
	return count == SLOT_BAD ? 0 : count;
}

bool swap_stays(uint32_t slot)
{
	return atomic_load_explicit(&swap_areas[slot_area(slot)].accepting, memory_order_relaxed);
}

static int claim_one(struct swap_area *area, uint32_t slot)
{
	struct swap_cluster *cluster = cluster_at(area, slot_index(slot) / CLUSTER_SLOTS);
	struct slot_record  *record = swap_record(slot);
	struct list_head    *was = list_for(area, cluster);

	if (record->count >= SLOT_COUNT_MAX)
		return -EINVAL;
	if (record->count++)
		return 0;
	set_taken(cluster, slot_index(slot) % CLUSTER_SLOTS, true);
	cluster->nr_used++;
	cluster->written = true;
	atomic_fetch_add(&area->nr_used, 1);
	relist(area, cluster, was);
	return 0;
}

void swap_forget(uint32_t area)
{
	meta_forget(META_SLOTS, area * meta_swap_slots(), (area + 1) * meta_swap_slots());
	meta_forget(META_CLUSTERS, area * meta_swap_clusters(), (area + 1) * meta_swap_clusters());
}

int swap_claim(uint32_t slot, uint32_t nr)
{
	struct swap_area *area = &swap_areas[slot_area(slot)];
	int               r = -EINVAL;

	mutex_lock(&area->lock);
	if (area->exists && slot_index(slot) &&
	    (uint64_t)slot_index(slot) + nr <= area->nr_slots) {
		r = 0;
		for (uint32_t i = 0; i < nr && !r; i++)
			r = claim_one(area, slot + i);
		if (!r && nr == CLUSTER_SLOTS)
			set_huge(area, cluster_at(area, slot_index(slot) / CLUSTER_SLOTS), true);
	}
	mutex_unlock(&area->lock);
	return r;
}

/* ---- areas ---- */

void swap_init(void)
{
	mutex_init(&order_lock, RANK_SWAP_AREAS, "swap areas");
	nr_order = 0;
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++) {
		swap_areas[i] = (struct swap_area){ .number = i };
		mutex_init(&swap_areas[i].lock, RANK_SWAP, "swap slots");
	}
}

void swap_fini(void)
{
	CHECK(!nr_order);
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++)
		mutex_fini(&swap_areas[i].lock);
	mutex_fini(&order_lock);
}

static void order_insert_locked(const struct swap_area *area)
{
	uint32_t at = nr_order++;

	for (; at; at--) {
		const struct swap_area *before = &swap_areas[order[at - 1]];

		if (before->priority > area->priority ||
		    (before->priority == area->priority && before->number < area->number))
			break;
		order[at] = order[at - 1];
	}
	order[at] = area->number;
}

/* Only which slots are retired is still known; the rest words tell. */
static void forget_counts(struct swap_area *area)
{
	for (uint32_t i = 1; i < area->nr_slots; i++) {
		struct slot_record *record = swap_record(slot_make(area->number, i));

		if (record->count != SLOT_BAD) {
			record->count = 0;
			continue;
		}
		set_taken(cluster_at(area, i / CLUSTER_SLOTS), i % CLUSTER_SLOTS, true);
		area->nr_bad++;
	}
}

/* The header, and what lies past the end in the last cluster, is nobody's. */
static void init_clusters(struct swap_area *area, bool resumed)
{
	uint32_t end = (uint32_t)(area->nr_slots - (area->nr_clusters - 1) * CLUSTER_SLOTS);

	for (uint64_t i = 0; i < area->nr_clusters; i++)
		*cluster_at(area, i) = (struct swap_cluster){
			.written = resumed && cluster_at(area, i)->written,
		};
	set_taken(cluster_at(area, 0), 0, true);
	for (uint32_t at = end; at < CLUSTER_SLOTS; at++)
		set_taken(cluster_at(area, area->nr_clusters - 1), at, true);
	if (resumed)
		forget_counts(area);
	for (uint64_t i = 0; i < area->nr_clusters; i++)
		relist(area, cluster_at(area, i), NULL);
}

static void setup_area(struct swap_area *area, const struct swap_area_request *request)
{
	area->priority = request->priority;
	area->nr_slots = request->nr_slots;
	area->nr_clusters = (request->nr_slots + CLUSTER_SLOTS - 1) / CLUSTER_SLOTS;
	area->accepting = false;
	area->nr_empty = 0;
	area->nr_huge = 0;
	area->nr_used = 0;
	area->nr_bad = 0;
	list_init(&area->empty);
	list_init(&area->owned);
	for (int i = 0; i < SWAP_CLASSES; i++)
		list_init(&area->partial[i]);
}

static struct swap_area *free_area(const struct swap_area_request *request)
{
	if (request->resumed)
		return swap_areas[request->number].exists ? NULL : &swap_areas[request->number];
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++)
		if (!swap_areas[i].exists)
			return &swap_areas[i];
	return NULL;
}

int swap_area_add(const struct swap_area_request *request, uint32_t *number)
{
	struct swap_area *area;
	int               r;

	if (request->nr_slots < 2 || request->nr_slots > swap_slots_max() ||
	    request->number >= SWAP_AREAS_MAX)
		return -EINVAL;
	mutex_lock(&order_lock);
	area = free_area(request);
	if (!area) {
		mutex_unlock(&order_lock);
		return request->resumed ? -EBUSY : -ENOSPC;
	}
	setup_area(area, request);
	r = populate_tables(area);
	if (!r) {
		mutex_lock(&area->lock);
		init_clusters(area, request->resumed);
		area->exists = true;
		mutex_unlock(&area->lock);
		order_insert_locked(area);
		*number = area->number;
	}
	mutex_unlock(&order_lock);
	return r;
}

void swap_area_remove(uint32_t number)
{
	struct swap_area *area = &swap_areas[number];
	uint32_t          at = 0;

	mutex_lock(&order_lock);
	mutex_lock(&area->lock);
	CHECK(area->exists && !area->nr_used);
	area->exists = false;
	area->accepting = false;
	area->serial++;
	mutex_unlock(&area->lock);
	while (order[at] != number)
		at++;
	memmove(&order[at], &order[at + 1], (--nr_order - at) * sizeof(order[0]));
	release_tables(area);
	mutex_unlock(&order_lock);
}

void swap_area_accept(uint32_t number, bool accept)
{
	struct swap_area *area = &swap_areas[number];

	mutex_lock(&area->lock);
	CHECK(area->exists);
	area->accepting = accept;
	mutex_unlock(&area->lock);
}

bool swap_area_stat(uint32_t number, struct swap_area_stat *out)
{
	struct swap_area *area;
	bool              exists;

	if (number >= SWAP_AREAS_MAX)
		return false;
	area = &swap_areas[number];
	mutex_lock(&area->lock);
	exists = area->exists;
	*out = (struct swap_area_stat){
		.nr_slots = area->nr_slots,
		.nr_used = area->nr_used,
		.nr_bad = area->nr_bad,
		.nr_empty = area->nr_empty,
		.priority = area->priority,
		.accepting = area->accepting,
	};
	mutex_unlock(&area->lock);
	return exists;
}

static uint64_t usable(const struct swap_area *area)
{
	return atomic_load(&area->accepting) ? area->nr_slots - 1 - atomic_load(&area->nr_bad) : 0;
}

uint64_t swap_capacity(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++)
		sum += usable(&swap_areas[i]);
	return sum;
}

uint64_t swap_promisable(uint64_t slots)
{
	uint64_t kept = max_t(uint64_t, slots / EXCHANGE_SHARE, EXCHANGE_SLOTS_MIN);

	return slots - min_t(uint64_t, kept, (slots + 3) / 4);
}

/* Where no page of 2 MiB can go any more fewer than 512 slots are free and no small page is left,
 * and where none can come in fewer than 512 frames are: 1,022 of both at most. */
uint64_t swap_promisable_beside_huge(uint64_t slots)
{
	uint64_t left = slots - min_t(uint64_t, slots, 2 * CLUSTER_SLOTS - 1);

	return min_t(uint64_t, swap_promisable(slots), left);
}

uint64_t swap_promisable_huge(void)
{
	uint64_t empty, clusters = huge_clusters(&empty) + empty;

	return (clusters - min_t(uint64_t, clusters, HUGE_EXCHANGE)) * CLUSTER_SLOTS;
}

uint64_t swap_free_slots(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++) {
		uint64_t has = usable(&swap_areas[i]);

		sum += has - min_t(uint64_t, has, atomic_load(&swap_areas[i].nr_used));
	}
	return sum;
}
