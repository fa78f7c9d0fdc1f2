/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region - admission by nodes, the memfd and its page table, the end of both
 *
 * Admission   a region is promised pages node by node, and its pages only ever come from what was
 *             promised there: so no fault fails for lack of stock on a node.
 */
#include "mm/space/region.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/inject.h"
#include "mm/obj/slab.h"
#include "mm/phys/meta.h"
#include "mm/phys/node.h"
#include "mm/space/lineage.h"
#include "mm/space/mm_tree.h"
#include "mm/space/residency.h"
#include "mm/space/takeout.h"
#include "os/os.h"

enum {
	FLUSHES_MAX = 64,
	/* Each takes two of the 65530 mappings that the daemon may have; the others populate more
	 * slowly. */
	MAPPED_REGIONS_MAX = 8192,
};

static struct kmem_cache *region_cache; /* fixed after init */
static struct workqueue free_queue;
static _Atomic uint64_t nr_ending; /* regions on it */
static _Atomic uint32_t nr_mapped; /* regions in the direct map */
static struct mutex all_lock;                   /* this, and memcg->regions */
static struct rb_root all_regions = RB_ROOT;    /* all_lock; by serial */
static uint64_t next_serial = 1, nr_walk_steps; /* all_lock */

int regions_init(void)
{
	region_cache = KMEM_CACHE(region, 0);
	families_init();
	mutex_init(&all_lock, RANK_LEAF, "regions");
	return workqueue_init(&free_queue, "mmb-free", 2);
}

void regions_fini(void)
{
	workqueue_fini(&free_queue);
}

bool regions_ending(void)
{
	return atomic_load(&nr_ending);
}

void regions_flush(void)
{
	/* A clone's end may be that of those above it. */
	for (unsigned int i = 0; i < FLUSHES_MAX && (!i || regions_ending()); i++)
		workqueue_flush(&free_queue);
}

/* ---- admission: which nodes promise how many pages ---- */

bool region_may_use(const struct region *region, int node)
{
	if (region->policy == POLICY_LOCAL || region->policy == POLICY_PREFERRED)
		return true;
	return !region->node_mask || region->node_mask >> node & 1;
}

static int first_node(const struct region_request *request)
{
	if (request->policy == POLICY_LOCAL || !request->node_mask)
		return request->home_node;
	return __builtin_ctzll(request->node_mask);
}

struct stock_place region_place(const struct region *region, int node)
{
	return (struct stock_place){
		.node = node,
		.kind = region->kind,
		.whole = region->page_shift != PAGE_SHIFT,
		.share = &region->memcg->share,
	};
}

static void uncommit_on(struct region *region, int node, uint64_t pages)
{
	struct stock_place place = region_place(region, node);

	if (pages)
		stock_uncommit_evictable(&place, pages * region_frames_per_page(region));
}

static void uncommit_all(struct region *region)
{
	for (int node = 0; node < nr_nodes; node++)
		uncommit_on(region, node, atomic_exchange(&region->committed[node], 0));
}

static uint64_t commit_on(struct region *region, int node, uint64_t pages)
{
	struct stock_place place = region_place(region, node);
	uint64_t per_page = region_frames_per_page(region);
	uint64_t fits;

	for (;;) {
		fits = min_t(uint64_t, pages, stock_available_evictable(&place) / per_page);
		if (!fits)
			return 0;
		if (!stock_commit_evictable(&place, fits * per_page)) {
			atomic_fetch_add(&region->committed[node], fits);
			return fits;
		}
	}
}

/* Spreads what is left over the allowed nodes: evenly for INTERLEAVE, else nearest first. */
static uint64_t commit_round(struct region *region, const struct region_request *request,
			     uint64_t left)
{
	const struct zonelist *list = node_zonelist(first_node(request), ZONELIST_FALLBACK);
	uint64_t share = left;
	uint32_t nr_allowed = 0;

	for (uint32_t i = 0; i < list->nr; i++)
		nr_allowed += region_may_use(region, list->nodes[i]);
	if (request->policy == POLICY_INTERLEAVE && nr_allowed)
		share = (left + nr_allowed - 1) / nr_allowed;
	for (uint32_t i = 0; i < list->nr && left; i++)
		if (region_may_use(region, list->nodes[i]))
			left -= commit_on(region, list->nodes[i], min_t(uint64_t, share, left));
	return left;
}

static int refuse_commit(const struct region *region, const struct region_request *request,
			 uint64_t pages, struct region_refusal *why)
{
	why->what = REFUSED_COMMIT;
	why->kind = region->kind;
	why->wanted = request->nr_pages << request->page_shift;
	why->available = pages << request->page_shift;
	return -ENOMEM;
}

/* Before anything is spent on it: could the allowed nodes promise all of it? */
static int check_room(struct region *region, const struct region_request *request,
		      struct region_refusal *why)
{
	uint64_t pages = 0;

	for (int node = 0; node < nr_nodes; node++) {
		struct stock_place place = region_place(region, node);

		if (region_may_use(region, node))
			pages += stock_available_evictable(&place) / region_frames_per_page(region);
	}
	return pages < request->nr_pages ? refuse_commit(region, request, pages, why) : 0;
}

static int commit(struct region *region, const struct region_request *request,
		  struct region_refusal *why)
{
	uint64_t left = request->nr_pages;
	uint64_t before;
	int r = INJECT(COMMIT);

	if (r)
		return r;
	do {
		before = left;
		left = commit_round(region, request, left);
	} while (left && left < before);
	for (int node = 0; node < nr_nodes; node++)
		atomic_store(&region->quota[node], (int64_t)atomic_load(&region->committed[node]));
	if (!left)
		return 0;
	uncommit_all(region);
	return refuse_commit(region, request, request->nr_pages - left, why);
}

bool region_promise(struct region *region, int node, uint64_t pages)
{
	bool may = region->overcommit && region_may_use(region, node);
	uint64_t got = may ? commit_on(region, node, pages) : 0;

	atomic_fetch_add(&region->quota[node], (int64_t)got);
	return got;
}

int region_promise_again(struct region *region, int node, uint64_t pages)
{
	struct stock_place place = region_place(region, node);
	int r = stock_recommit_evictable(&place, pages * region_frames_per_page(region));

	if (r)
		return r;
	atomic_fetch_add(&region->committed[node], pages);
	atomic_fetch_add(&region->quota[node], (int64_t)pages);
	return 0;
}

/* All but `keep` pages. */
static void return_quota(struct region *region, uint64_t keep)
{
	for (int node = 0; node < nr_nodes; node++) {
		uint64_t pages = (uint64_t)atomic_exchange(&region->quota[node], 0);
		uint64_t kept = min_t(uint64_t, keep, pages);

		keep -= kept;
		pages -= kept;
		atomic_fetch_add(&region->quota[node], (int64_t)kept);
		atomic_fetch_sub(&region->committed[node], pages);
		uncommit_on(region, node, pages);
	}
}

void region_return_promises(struct region *region)
{
	if (region->overcommit)
		return_quota(region, atomic_load(&region->nr_swapped));
}

void region_give_back(struct region *region, int node, uint64_t nr)
{
	region_uncharge(region, node, nr);
	atomic_fetch_add(&region->quota[node], (int64_t)nr);
	region_return_promises(region);
}

uint64_t region_return_commit(struct region *region)
{
	uint64_t keep = atomic_load(&region->nr_swapped) + atomic_load(&region->nr_same_filled);
	uint64_t all = keep + atomic_load(&region->nr_resident);

	return_quota(region, keep);
	return all;
}

/* ---- life ---- */

static uint64_t table_entries(const struct region *region)
{
	return region_table_bytes(region) / sizeof(uint64_t);
}

/* Only huge pages gain by it; see stock_populate(). */
static bool may_be_mapped(const struct region *region)
{
	if (region->kind != STOCK_HUGE)
		return false;
	if (atomic_fetch_add(&nr_mapped, 1) < MAPPED_REGIONS_MAX)
		return true;
	atomic_fetch_sub(&nr_mapped, 1);
	return false;
}

static void remove_section(struct section *section)
{
	bool mapped = section->mapped;

	section_remove(section);
	if (mapped)
		atomic_fetch_sub(&nr_mapped, 1);
}

static int make_section(struct region *region, const struct region_request *request,
			struct region_refusal *why)
{
	struct section_request want = {
		.name = request->name[0] ? request->name : "region",
		.nr_frames = round_up(request->nr_pages * region_frames_per_page(region),
				      PAGEBLOCK_PAGES),
		.kind = region->kind,
		.type = SECTION_REGION,
		.node = SECTION_NODE_MIXED,
		.map = may_be_mapped(region),
		.owner = region,
		.owner_id = request->owner_id,
	};
	int r = section_add(&want, &region->section);

	if (r) {
		if (want.map)
			atomic_fetch_sub(&nr_mapped, 1);
		why->what = REFUSED_MEMFD;
		return r;
	}
	r = meta_populate(META_WORDS, region->section->pfn, table_entries(region));
	if (r) {
		why->what = REFUSED_METADATA;
		remove_section(region->section);
		return r;
	}
	region->words = page_words + region->section->pfn;
	return 0;
}

uint64_t region_next_used(const struct region *region, uint64_t page)
{
	uint64_t pfn = region->section->pfn;

	return min_t(uint64_t, meta_next_touched(META_WORDS, pfn + page) - pfn, region->nr_pages);
}

/* The words go first: with the section its pfns may be another region's at once. */
static void unmake_section(struct region *region)
{
	meta_release(META_WORDS, region->section->pfn, table_entries(region));
	remove_section(region->section);
}

/* The page table is charged first: the pages must leave room for it on its node. */
static int admit(struct region *region, const struct region_request *request,
		 struct region_refusal *why)
{
	int r = region->overcommit ? 0 : check_room(region, request, why);

	if (!r)
		r = make_section(region, request, why);
	if (r)
		return r;
	if (!region->overcommit)
		r = commit(region, request, why);
	if (r)
		unmake_section(region);
	return r;
}

/* 2 MiB pages come from the huge stock where there is one. */
static enum stock_kind kind_for(const struct region *region)
{
	struct stock_snapshot unused;

	if (!region->huge)
		return STOCK_BASE;
	for (int node = 0; node < nr_nodes; node++)
		if (region_may_use(region, node) && stock_snapshot(node, STOCK_HUGE, &unused))
			return STOCK_HUGE;
	return STOCK_BASE;
}

bool region_is_hugetlb(const struct region *region)
{
	return region->kind == STOCK_HUGE;
}

static struct region *new_object(const struct region_request *request)
{
	struct region *region = kmem_cache_zalloc(region_cache, GFP_KERNEL);

	if (!region)
		return NULL;
	region->id = request->owner_id;
	region->family = request->owner_id;
	region->overcommit = request->overcommit;
	region->nr_pages = request->nr_pages;
	region->page_shift = request->page_shift;
	region->policy = request->policy;
	region->node_mask = request->node_mask;
	region->home_node = first_node(request);
	region->huge = request->page_shift != PAGE_SHIFT;
	region->released = request->released;
	region->keeps = request->keeps;
	region->adopted = request->adopted;
	region->owner = request->owner;
	region->movable = request->movable;
	region->memcg = request->memcg ? request->memcg : memcg_root();
	snprintf(region->name, sizeof(region->name), "%s", request->name);
	atomic_store(&region->refs, 1);
	list_init(&region->windows);
	return region;
}

static void settle(struct work *work)
{
	struct region *region = container_of(work, struct region, settle_work);

	lineage_settle(region);
	region_put(region);
	atomic_fetch_sub(&nr_ending, 1);
}

void region_settle_later(struct region *region)
{
	region_get(region);
	atomic_fetch_add(&nr_ending, 1);
	if (workqueue_add(&free_queue, &region->settle_work))
		return;
	region_put(region); /* somebody else's is still there */
	atomic_fetch_sub(&nr_ending, 1);
}

/* The youngest. */
static void add_last(struct rb_root *root, struct rb_node *node)
{
	struct rb_node *last = rb_last(root);

	rb_link_node(node, last, last ? &last->right : &root->node);
	rb_insert_color(node, root);
}

static void publish(struct region *region)
{
	mutex_init(&region->lock, RANK_REGION, "region");
	mutex_init(&region->change_lock, RANK_CHANGE, "region change");
	mutex_init(&region->sync_lock, RANK_SYNC, "region sync");
	work_init(&region->settle_work, settle);
	mutex_lock(&all_lock);
	region->serial = next_serial++;
	add_last(&all_regions, &region->all_node);
	add_last(&region->memcg->regions, &region->memcg_node);
	mutex_unlock(&all_lock);
}

int region_new(const struct region_request *request, struct region **out,
	       struct region_refusal *why)
{
	struct region *region;
	int r = INJECT(REGION_NEW);

	why->what = REFUSED_TABLE;
	if (r)
		return r;
	region = new_object(request);
	if (!region)
		return -ENOMEM;
	region->kind = kind_for(region);
	r = admit(region, request, why);
	if (r) {
		kmem_cache_free(region_cache, region);
		return r;
	}
	publish(region);
	*out = region;
	return 0;
}

/* ---- resume ---- */

static int adopt_section(struct region *region, struct section *section)
{
	int r = meta_adopt(META_WORDS, section->pfn, table_entries(region));

	if (r)
		return r;
	region->section = section;
	region->kind = section->kind;
	region->words = page_words + section->pfn;
	section->owner = region;
	if (section->mapped)
		atomic_fetch_add(&nr_mapped, 1);
	return 0;
}

static int commit_again(struct region *region, const struct region_resume_request *request)
{
	for (int node = 0; node < MAX_NUMNODES; node++) {
		uint64_t pages = request->committed[node];
		int r = -ENOMEM;

		if (!pages)
			continue;
		if (node < nr_nodes)
			r = region_promise_again(region, node, pages);
		if (r)
			return r;
	}
	return 0;
}

int region_resume(const struct region_resume_request *request, struct region **out)
{
	struct region *region = new_object(&request->region);
	int r;

	if (!region)
		return -ENOMEM;
	r = adopt_section(region, request->section);
	if (!r)
		r = commit_again(region, request);
	if (!r)
		r = region_resume_pages(region);
	if (!r)
		publish(region);
	*out = r ? NULL : region;
	return r; /* without the memory for what exists the daemon doesn't start */
}

/* What words name beside frames. */
static void put_slots_back(struct region *region)
{
	for (uint64_t i = 0; i < region->nr_pages; i++) {
		uint64_t word = word_load(&region->words[i]);

		if (word_slot(word))
			region_free_slot(region, word_slot(word));
		if (word_state(word) == PAGE_PRESENT && word & WORD_ACTIVE)
			atomic_fetch_sub(&region_lru(region, word_node(word))->nr_active,
					 region_frames_per_page(region));
	}
}

static void put_frames_back(struct region *region)
{
	uint64_t frames = region_frames_per_page(region);

	for (int node = 0; node < nr_nodes; node++) {
		uint64_t committed = atomic_load(&region->committed[node]);
		int64_t quota = atomic_load(&region->quota[node]);
		uint64_t locked = atomic_load(&region->locked_on[node]);
		struct stock_place place = region_place(region, node);

		CHECK(quota >= 0 && (uint64_t)quota <= committed);
		if (committed > (uint64_t)quota)
			region_uncharge(region, node, committed - (uint64_t)quota);
		if (locked)
			stock_unfix(&place, locked * frames);
	}
	memcg_uncharge(region->memcg, MEMCG_LOCKED, atomic_load(&region->nr_locked) * frames);
}

/* Closing the file is what frees the memory, when no client maps it any more; a client that kept
 * a descriptor or a mapping keeps pages alive, so they are punched first. */
static void free_region(struct work *work)
{
	struct region *region = container_of(work, struct region, free_work);
	struct section *section = region->section;

	CHECK(list_empty(&region->windows));
	clone_leave(region);
	if (atomic_load(&region->shows_huge))
		takeout_leave();
	os->punch(section->fd, 0, section->nr_frames << PAGE_SHIFT);
	put_slots_back(region);
	put_frames_back(region);
	unmake_section(region);
	uncommit_all(region);
	mutex_fini(&region->lock);
	mutex_fini(&region->sync_lock);
	mutex_fini(&region->change_lock);
	if (region->released)
		region->released(region->owner);
	kmem_cache_free(region_cache, region);
	atomic_fetch_sub(&nr_ending, 1);
}

void region_get(struct region *region)
{
	atomic_fetch_add_explicit(&region->refs, 1, memory_order_relaxed);
}

void region_put(struct region *region)
{
	if (atomic_fetch_sub_explicit(&region->refs, 1, memory_order_acq_rel) != 1)
		return;
	mutex_lock(&all_lock);
	rb_erase(&region->all_node, &all_regions);
	rb_erase(&region->memcg_node, &region->memcg->regions);
	mutex_unlock(&all_lock);
	atomic_fetch_add(&nr_ending, 1);
	work_init(&region->free_work, free_region);
	workqueue_add(&free_queue, &region->free_work);
}

static bool get_unless_gone(struct region *region)
{
	uint32_t refs = atomic_load(&region->refs);

	while (refs)
		if (atomic_compare_exchange_weak(&region->refs, &refs, refs + 1))
			return true;
	return false;
}

/* ---- walks: who holds a reference knows that its region is still in the trees ---- */

static struct rb_root *tree_of(struct memcg *memcg)
{
	return memcg ? &memcg->regions : &all_regions;
}

static struct region *region_of(struct rb_node *node, const struct memcg *memcg)
{
	if (!node)
		return NULL;
	return memcg ? rb_entry(node, struct region, memcg_node)
		     : rb_entry(node, struct region, all_node);
}

static struct region *after_locked(struct region *region, const struct memcg *memcg)
{
	nr_walk_steps++;
	return region_of(rb_next(memcg ? &region->memcg_node : &region->all_node), memcg);
}

static struct region *seek_locked(struct memcg *memcg, uint64_t serial)
{
	struct rb_node *node = tree_of(memcg)->node;
	struct region *found = NULL;

	while (node) {
		struct region *region = region_of(node, memcg);

		nr_walk_steps++;
		if (region->serial >= serial)
			found = region;
		node = region->serial >= serial ? node->left : node->right;
	}
	return found;
}

/* Those whose last reference is gone are about to leave the trees. */
static struct region *get_first_of(struct region *region, const struct memcg *memcg)
{
	while (region && !get_unless_gone(region))
		region = after_locked(region, memcg);
	return region;
}

struct region *region_seek(struct memcg *memcg, uint64_t serial)
{
	struct region *found;

	mutex_lock(&all_lock);
	found = get_first_of(seek_locked(memcg, serial), memcg);
	mutex_unlock(&all_lock);
	return found;
}

struct region *region_next(struct memcg *memcg, struct region *previous)
{
	struct region *found;

	mutex_lock(&all_lock);
	found = get_first_of(after_locked(previous, memcg), memcg);
	mutex_unlock(&all_lock);
	region_put(previous);
	return found;
}

uint64_t region_walk_steps(void)
{
	uint64_t steps;

	mutex_lock(&all_lock);
	steps = nr_walk_steps;
	mutex_unlock(&all_lock);
	return steps;
}

void region_for_each(void (*fn)(struct region *region, void *arg), void *arg)
{
	for (struct region *r = region_seek(NULL, 0); r; r = region_next(NULL, r))
		fn(r, arg);
}

/* own: where its pages may be mapped, and not where a clone's window shows an ancestor's memory. */
static void for_each_window(struct region *region, struct page_range range, bool own,
			    void (*fn)(struct mm *mm, uint64_t address, uint64_t length, void *arg),
			    void *arg)
{
	unsigned int shift = region->page_shift;
	struct window *w;

	mutex_lock(&region->lock);
	list_for_each_entry(w, &region->windows, region_link) {
		uint64_t pages = w->range.length >> shift;
		uint64_t low = max_t(uint64_t, range.first, w->page);
		uint64_t high = min_t(uint64_t, range.first + range.nr, w->page + pages);

		if (low < high &&
		    (!own || (window_shows_own(w) && atomic_load(&w->entered))))
			fn(w->mm, w->range.start + ((low - w->page) << shift),
			   (high - low) << shift, arg);
	}
	mutex_unlock(&region->lock);
}

void region_for_each_mapping(struct region *region, struct page_range range,
			     void (*fn)(struct mm *mm, uint64_t address, uint64_t length,
					void *arg),
			     void *arg)
{
	for_each_window(region, range, true, fn, arg);
}

/* The parts of the runs that the window shows. */
static uint32_t find_parts(const struct window *w, const struct page_range *runs, uint32_t nr,
			   struct mapped_range *parts)
{
	unsigned int shift = w->region->page_shift;
	uint64_t end = w->page + (w->range.length >> shift);
	uint32_t found = 0;

	for (uint32_t i = 0; i < nr; i++) {
		uint64_t low = max_t(uint64_t, runs[i].first, w->page);
		uint64_t high = min_t(uint64_t, runs[i].first + runs[i].nr, end);

		if (low < high)
			parts[found++] = (struct mapped_range){
				w->range.start + ((low - w->page) << shift), (high - low) << shift
			};
	}
	return found;
}

void region_for_each_mapped_run(struct region *region, const struct page_range *runs, uint32_t nr,
				void (*fn)(struct mm *mm, const struct mapped_range *ranges,
					   uint32_t nr, void *arg),
				void *arg)
{
	struct mapped_range parts[MAPPED_RUNS_MAX];
	struct window *w;

	CHECK(nr <= MAPPED_RUNS_MAX);
	mutex_lock(&region->lock);
	list_for_each_entry(w, &region->windows, region_link) {
		uint32_t found = 0;

		if (window_shows_own(w) && atomic_load(&w->entered))
			found = find_parts(w, runs, nr, parts);
		if (found)
			fn(w->mm, parts, found, arg);
	}
	mutex_unlock(&region->lock);
}

void region_for_each_window(struct region *region, struct page_range range,
			    void (*fn)(struct mm *mm, uint64_t address, uint64_t length, void *arg),
			    void *arg)
{
	for_each_window(region, range, false, fn, arg);
}

static void wake_mapping(struct mm *mm, uint64_t address, uint64_t length, void *unused)
{
	os->uffd_wake(mm->uffd, address, length);
}

void region_wake(struct region *region, struct page_range range)
{
	for_each_window(region, range, false, wake_mapping, NULL);
}
