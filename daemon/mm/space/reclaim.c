/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reclaim - walks over regions, marks of stocks, kswapd and its sister for pools
 *
 * Whose time  Reclaim for a pool near its limit runs on the CPU of the fault that noticed it, as if
 *             the pool's own threads did it: who is within its limit elsewhere keeps its CPU.
 */
#include "mm/space/reclaim.h"

#include <errno.h>
#include <string.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/memalloc.h"
#include "mm/balance/alloc.h"
#include "mm/map/lru.h"
#include "mm/phys/node.h"
#include "mm/space/evict.h"
#include "mm/space/mapping.h"
#include "mm/space/mm.h"
#include "mm/space/slots.h"
#include "os/os.h"

enum {
	BLOCKS_AT_ONCE = 8, /* before another thread may evict from the region */
	MARK_DIVISOR = 32,
	MARK_FRAMES_MIN = 256,
	MARK_FRAMES_MAX = 8192,
	DIRECT_FRAMES = 256,
	KSWAPD_BATCH = 2048,
	/* Walks over everything before giving up: over what is old, and younger, and then so many
	 * that active pages have become inactive. */
	SWEEPS_MAX = LRU_OLD + LRU_GENERATIONS + 2,
	OTHER_PAUSES = 1000, /* a tenth of a second */
	REST_NS = 50 * 1000 * 1000,
};

static const struct timespec busy_pause = { .tv_nsec = 100 * 1000 };

struct reclaim_stats reclaim_stats;

static struct reclaim_config config; /* fixed after init */

bool reclaim_ask(struct mm *mm, const struct mapped_range *ranges, uint32_t nr)
{
	return !config.drop_entries || !mm->owner || config.drop_entries(mm->owner, ranges, nr);
}

/* ---- walks ---- */

struct scan {
	struct swapper *swapper;
	struct memcg *memcg; /* only its regions; NULL: anybody's, B2 */
	int node;            /* only its frames; -1: any */
	int kind;            /* only of this stock; -1: any */
	bool low_too;        /* B2: within low, too */
	bool may_break_min;  /* somebody waits for a page that was promised */
	bool needed;         /* somebody waits for frames, which were promised */
	bool min_too;        /* nothing else can go: within min, too */
	bool met_other;      /* another thread evicts where this one would */
	struct evict_filter filter;
	int nr_pauses;       /* for it */
	uint64_t wanted, freed, scanned;
};

static bool spared(const struct scan *scan, const struct region *region)
{
	uint64_t resident = atomic_load(&region->nr_resident) * region_frames_per_page(region);

	if (!resident || (scan->kind >= 0 && (int)region->kind != scan->kind))
		return true;
	if (scan->filter.unwanted && !atomic_load(&region->may_be_unwanted))
		return true;
	if (scan->memcg)
		return false;
	return !scan->min_too && !memcg_scan_share(region->memcg, resident, scan->low_too);
}

/* After about as many pages as there are have been looked at, and enough of them evicted unless
 * nothing else is left, all are a generation older. */
static void advance(struct region *region, int node, uint64_t scanned, bool hard)
{
	struct lruvec *lru = region_lru(region, node);
	uint64_t seen = atomic_fetch_add(&lru->nr_scanned, scanned) + scanned;

	if (seen >= atomic_load(&lru->nr_resident) && (hard || lru_is_ripe(lru)) &&
	    atomic_compare_exchange_strong(&lru->nr_scanned, &seen, 0))
		lru_next_generation(lru);
}

/* One block at the region's hand. */
static void scan_block(struct scan *scan, struct region *region, struct evict_result *result)
{
	uint64_t pages = evict_block_pages(region);
	uint64_t at = atomic_fetch_add(&region->hand, 1) *
		      pages % round_up(region->nr_pages, pages);
	struct page_range block = { at, min_t(uint64_t, pages, region->nr_pages - at) };

	memset(result->scanned_on, 0, sizeof(result->scanned_on));
	evict_block(scan->swapper, region, block, &scan->filter, result);
	for (int node = 0; node < nr_nodes; node++)
		if (result->scanned_on[node])
			advance(region, node, result->scanned_on[node], scan->filter.hard);
}

/* B2. False: no page of the pool's may go now, for others; `share` of it are going already. */
static bool take_share(struct scan *scan, struct region *region, uint64_t share)
{
	uint64_t page = region_frames_per_page(region);
	uint64_t want = evict_block_pages(region) * page;

	scan->filter.most = 0;
	if (scan->memcg || scan->min_too)
		return true;
	scan->filter.most = memcg_take_for_others(region->memcg, want, scan->low_too);
	if (scan->filter.most >= page)
		return true;
	memcg_taken(region->memcg, scan->filter.most);
	/* What another thread has begun to take may stay after all. */
	scan->met_other |= atomic_load(&region->memcg->going) > share;
	return false;
}

/* Of a block so many were begun; what was begun before has been settled with it. */
static uint64_t end_share(const struct scan *scan, struct region *region, uint64_t share,
			  uint64_t begun)
{
	if (!scan->filter.most)
		return 0;
	memcg_taken(region->memcg, share + scan->filter.most - begun);
	return begun;
}

/* At most `blocks` of them; how many it were. */
static uint64_t scan_blocks(struct scan *scan, struct region *region, uint64_t blocks)
{
	struct evict_result result = { 0 };
	uint64_t done = 0, share = 0; /* of the last block */

	if (!evict_begin(scan->swapper, region)) {
		scan->met_other = true;
		return 0;
	}
	for (; done < blocks && done < BLOCKS_AT_ONCE &&
	       scan->freed + result.nr_freed + result.nr_begun < scan->wanted &&
	       take_share(scan, region, share); done++) {
		scan_block(scan, region, &result);
		share = end_share(scan, region, share, result.nr_begun);
		heartbeat_touch();
	}
	evict_end(scan->swapper, region, &result);
	memcg_taken(region->memcg, share);
	scan->freed += result.nr_freed;
	scan->scanned += result.nr_scanned;
	return done;
}

static void scan_region(struct scan *scan, struct region *region)
{
	uint64_t pages = evict_block_pages(region);
	uint64_t blocks = (region->nr_pages + pages - 1) / pages;
	uint64_t before = scan->scanned;

	if (spared(scan, region))
		return;
	if (scan->filter.unwanted)
		atomic_store(&region->may_be_unwanted, false);
	for (uint64_t nr = 1; nr && blocks && scan->freed < scan->wanted; blocks -= nr)
		nr = scan_blocks(scan, region, blocks);
	/* One walk that has found none does for all, until a client says so again. */
	if (scan->filter.unwanted && (blocks || scan->scanned != before))
		atomic_store(&region->may_be_unwanted, true);
}

static _Atomic uint64_t all_swept; /* like memcg->swept, of all regions */

/* Those with serials in [first, end). */
static void sweep_part(struct scan *scan, uint64_t first, uint64_t end)
{
	_Atomic uint64_t *swept = scan->memcg ? &scan->memcg->swept : &all_swept;
	struct region *region = region_seek(scan->memcg, first);

	while (region && region->serial < end && scan->freed < scan->wanted) {
		scan_region(scan, region);
		heartbeat_touch();
		if (scan->freed >= scan->wanted)
			atomic_store(swept, region->serial);
		region = region_next(scan->memcg, region);
	}
	if (region)
		region_put(region);
}

/* One walk over all regions that may have something, beginning with the one where the last ended:
 * a pool's reclaim passes nobody else's. */
static void sweep(struct scan *scan)
{
	uint64_t begin = atomic_load(scan->memcg ? &scan->memcg->swept : &all_swept);

	sweep_part(scan, begin, UINT64_MAX);
	sweep_part(scan, 0, begin);
}

static uint64_t shrink(struct scan *scan)
{
	scan->swapper = swapper_get(SWAPPER_WRITER);
	if (!scan->swapper)
		return 0;
	scan->swapper->needed = scan->needed;
	scan->filter.node = scan->node;
	for (int i = 0; i < SWEEPS_MAX && scan->freed < scan->wanted; i++) {
		uint64_t before = scan->freed;

		scan->filter.old = LRU_OLD - min_t(unsigned int, (unsigned int)i, LRU_OLD);
		scan->filter.hard = i > LRU_OLD;
		scan->met_other = false;
		sweep(scan);
		/* What is left is young or can't go: once more, and then it is good enough. */
		if (scan->freed && scan->freed == before)
			break;
		/* Not because somebody else has what could go. */
		scan->low_too |= i >= LRU_OLD + SWEEPS_MAX / 2 && !scan->met_other;
		scan->min_too |= i + 2 >= SWEEPS_MAX && scan->may_break_min && !scan->met_other;
		if (evict_missed_slots() && !slots_take_back(scan->needed))
			scan->met_other = true;
	}
	swapper_put(scan->swapper);
	return scan->freed;
}

static uint64_t shrink_direct(struct scan *scan)
{
	shrink(scan);
	reclaim_count(&reclaim_stats.allocstall, 1);
	reclaim_count(&reclaim_stats.pgscan_direct, scan->scanned);
	reclaim_count(&reclaim_stats.pgsteal_direct, scan->freed);
	return scan->freed;
}

/* For a moment, for what another thread takes out; false: nobody does, or it takes too long. */
static bool wait_for_other(struct scan *scan)
{
	if (!scan->met_other || scan->nr_pauses == OTHER_PAUSES)
		return false;
	scan->nr_pauses++;
	nanosleep(&busy_pause, NULL);
	return true;
}

uint64_t reclaim_memcg(struct memcg *memcg, uint64_t frames)
{
	struct scan scan = { .memcg = memcg, .node = -1, .kind = -1, .wanted = frames };

	return shrink_direct(&scan);
}

uint64_t reclaim_margin(struct memcg *memcg, uint64_t frames)
{
	struct scan scan = { .memcg = memcg, .node = -1, .kind = -1, .needed = true };
	uint64_t margin = memcg_margin(memcg);

	if (margin >= frames)
		return 0;
	scan.wanted = frames - margin;
	shrink_direct(&scan);
	while (memcg_margin(memcg) < frames && wait_for_other(&scan))
		;
	return scan.freed + scan.met_other;
}

bool region_has_room(const struct region *region, uint64_t frames)
{
	if (memcg_margin(region->memcg) < frames)
		return false;
	for (int node = 0; node < nr_nodes; node++)
		if (stock_free_evictable(node, region->kind) >= frames &&
		    atomic_load(&region->quota[node]) > 0)
			return true;
	return false;
}

/* Nothing was promised to it, and no slot is left: another thread that looks through it again and
 * again finds pages of one value at most. */
static bool is_at_its_end(const struct region *region)
{
	const struct memcg *m = region->memcg;
	uint64_t page = region_frames_per_page(region);

	return region->overcommit && !region_has_room(region, page) &&
	       (memcg_read(m, MEMCG_SWAP) + page > memcg_limit(m, MEMCG_SWAP_MAX) ||
		swap_free_slots() < page);
}

/* Where its pages may have frames: of others' nodes they would be of no use. -1: on several. */
static int only_node(const struct region *region)
{
	int found = -1;

	for (int node = 0; node < nr_nodes; node++) {
		if (atomic_load(&region->quota[node]) <= 0)
			continue;
		if (found >= 0)
			return -1;
		found = node;
	}
	return found;
}

bool reclaim_for(struct region *region)
{
	uint64_t page = region_frames_per_page(region);
	struct scan scan = { .node = only_node(region), .kind = (int)region->kind,
			     .wanted = max_t(uint64_t, DIRECT_FRAMES, page),
			     .may_break_min = true, .needed = true };

	scan.filter.unwanted = !swap_capacity();
	if (memcg_margin(region->memcg) < page) {
		scan.memcg = region->memcg;
		scan.node = -1;
		scan.kind = -1;
	}
	if (shrink_direct(&scan))
		return true;
	while (!region_has_room(region, page) && wait_for_other(&scan))
		;
	return scan.met_other && !is_at_its_end(region);
}

void reclaim_make_cold(struct region *region, struct page_range range)
{
	for (uint64_t i = range.first; i < range.first + range.nr; i++) {
		uint64_t seen = word_load(&region->words[i]);
		struct lruvec *lru = region_lru(region, word_node(seen));
		uint64_t cold = word_with_age(seen & ~(uint64_t)(WORD_ACTIVE | WORD_REFERENCED |
						       WORD_ASKED),
					      lru_age_now(lru) - LRU_OLD);

		if (word_state(seen) != PAGE_PRESENT || seen & (WORD_BUSY | WORD_LOCKED))
			continue;
		if (word_replace(&region->words[i], &seen, cold) && seen & WORD_ACTIVE) {
			atomic_fetch_sub(&lru->nr_active, region_frames_per_page(region));
			reclaim_count(&reclaim_stats.pgdeactivate, region_frames_per_page(region));
		}
	}
}

/* ---- marks ---- */

static uint64_t low_mark(uint64_t frames)
{
	uint64_t mark = max_t(uint64_t, frames / MARK_DIVISOR, MARK_FRAMES_MIN);

	return min_t(uint64_t, mark, MARK_FRAMES_MAX);
}

/* How many frames are missing to `times` the low mark. */
static uint64_t stock_missing(int node, enum stock_kind kind, unsigned int times)
{
	uint64_t available = stock_free_evictable(node, kind);
	uint64_t mark;

	if (available == UINT64_MAX)
		return 0;
	mark = times * low_mark(stock_limit(node, kind));
	return available < mark ? mark - available : 0;
}

bool reclaim_is_short(const struct region *region, int node)
{
	return stock_missing(node, region->kind, 2);
}

static uint64_t memcg_missing(const struct memcg *memcg, unsigned int times)
{
	uint64_t max = memcg_limit(memcg, MEMCG_MAX);
	uint64_t margin = memcg_margin(memcg);
	uint64_t excess = memcg_excess(memcg);
	uint64_t mark;

	if (!swap_capacity())
		return 0;
	if (max == MEMCG_NO_LIMIT)
		return excess;
	mark = min_t(uint64_t, times * low_mark(max), max / 4);
	return max_t(uint64_t, margin < mark ? mark - margin : 0, excess);
}

/* ---- kswapd ---- */

/* Two threads a node, so that neither kind of shortage waits for the other. */
enum duty { FOR_STOCKS, FOR_POOLS, NR_DUTIES };

/* l: lock   a: atomic   c: fixed while running */
struct kswapd {
	struct mutex lock;
	pthread_cond_t wanted;
	pthread_t thread;    /* (c) */
	int node;            /* (c) */
	enum duty duty;      /* (c) */
	bool running;        /* (c) */
	_Atomic bool stopping;   /* (a) */
	_Atomic bool called;     /* (a) changes to true under no lock, to false by the thread */
	_Atomic uint64_t rest_ns; /* (a) of stocks: nothing could be freed, not before that time */
};

static struct kswapd kswapds[MAX_NUMNODES][NR_DUTIES];

static bool rests(const _Atomic uint64_t *rest_ns)
{
	uint64_t until = atomic_load_explicit(rest_ns, memory_order_relaxed);

	return until && os->now_ns() < until;
}

static bool may_call(const struct kswapd *k)
{
	return k->running && !atomic_load_explicit(&k->called, memory_order_relaxed) &&
	       !rests(&k->rest_ns);
}

/* Of the pool's frames on the node. One that rests keeps no other pool waiting. */
static uint64_t memcg_missing_on(const struct memcg *memcg, int node, unsigned int times)
{
	uint64_t missing = memcg_missing(memcg, times);

	return missing && !rests(&memcg->lruvec[node].rest_ns) ? missing : 0;
}

static void call(struct kswapd *k)
{
	if (atomic_exchange(&k->called, true))
		return;
	mutex_lock(&k->lock);
	pthread_cond_signal(&k->wanted);
	mutex_unlock(&k->lock);
}

void reclaim_poke(struct region *region, int node)
{
	struct kswapd *for_stocks = &kswapds[node][FOR_STOCKS];
	struct kswapd *for_pools = &kswapds[node][FOR_POOLS];

	if (may_call(for_stocks) && stock_missing(node, region->kind, 1))
		call(for_stocks);
	if (may_call(for_pools) && memcg_missing_on(region->memcg, node, 1)) {
		atomic_store_explicit(&region->memcg->short_on_cpu, sched_getcpu(),
				      memory_order_relaxed);
		call(for_pools);
	}
}

bool kswapd_gave_up(int node)
{
	const struct kswapd *k = &kswapds[node][FOR_STOCKS];

	return k->running && atomic_load(&k->rest_ns) &&
	       (stock_missing(node, STOCK_BASE, 1) || stock_missing(node, STOCK_HUGE, 1));
}

static uint64_t kswapd_shrink(struct kswapd *k, struct scan *scan)
{
	scan->wanted = min_t(uint64_t, scan->wanted, KSWAPD_BATCH);
	shrink(scan);
	reclaim_count(&reclaim_stats.pageoutrun, 1);
	reclaim_count(&reclaim_stats.pgscan_kswapd, scan->scanned);
	reclaim_count(&reclaim_stats.pgsteal_kswapd, scan->freed);
	atomic_store(scan->memcg ? &scan->memcg->lruvec[k->node].rest_ns : &k->rest_ns,
		     scan->freed ? 0 : os->now_ns() + REST_NS);
	return scan->freed;
}

/* Clients of all pools are asked, each for the part that it has of what is used. */
static void ask_everybody(uint64_t missing)
{
	uint64_t used = 1;
	struct memcg *m;

	for (m = memcg_walk_next(NULL); m; m = memcg_walk_next(m))
		used += memcg_usage(m);
	for (m = memcg_walk_next(NULL); m; m = memcg_walk_next(m))
		memcg_pressure(m, MEMCG_LEVEL_LOW,
			       (uint64_t)((unsigned __int128)missing * memcg_usage(m) / used));
}

static void balance_stock(struct kswapd *k, enum stock_kind kind)
{
	uint64_t missing = stock_missing(k->node, kind, 2);

	if (missing)
		ask_everybody(missing);
	while ((missing = stock_missing(k->node, kind, 2)) && !k->stopping) {
		struct scan scan = { .node = k->node, .kind = (int)kind, .wanted = missing };

		if (!kswapd_shrink(k, &scan))
			return;
	}
}

/* See the head. Where it may not run there, it runs where it is. */
static void move_to(int cpu)
{
	static _Thread_local int last = -1;
	cpu_set_t set;

	if (cpu < 0 || cpu >= CPU_SETSIZE || cpu == last)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned int)cpu, &set);
	if (!pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		last = cpu;
}

/* A batch for each pool that is short. True: some are still. */
static bool balance_memcgs(struct kswapd *k)
{
	struct memcg *m = NULL;
	bool more = false;

	while ((m = memcg_walk_next(m))) {
		struct scan scan = { .memcg = m, .node = k->node, .kind = -1,
				     .wanted = memcg_missing_on(m, k->node, 2) };

		if (!scan.wanted)
			continue;
		memcg_pressure(m, MEMCG_LEVEL_LOW, scan.wanted);
		if (k->stopping)
			continue;
		move_to(atomic_load_explicit(&m->short_on_cpu, memory_order_relaxed));
		more |= kswapd_shrink(k, &scan) && memcg_missing_on(m, k->node, 2);
	}
	return more;
}

static void balance(struct kswapd *k)
{
	if (k->duty == FOR_STOCKS)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++)
			balance_stock(k, (enum stock_kind)kind);
	else
		while (balance_memcgs(k) && !k->stopping)
			;
}

static void wait_for_call(struct kswapd *k)
{
	struct timespec until = swapper_keep_until();

	heartbeat_idle();
	if (mutex_timedwait(&k->lock, &k->wanted, &until)) {
		mutex_unlock(&k->lock);
		swapper_keep(false);
		mutex_lock(&k->lock);
		/* What can't be evicted takes without a word. */
		if (k->duty == FOR_STOCKS && (stock_missing(k->node, STOCK_BASE, 1) ||
					      stock_missing(k->node, STOCK_HUGE, 1)))
			atomic_store(&k->called, true);
	}
	heartbeat_touch();
	swapper_keep(true);
}

static void *kswapd_main(void *argument)
{
	struct kswapd *k = argument;
	struct heartbeat hb;

	cpu_slot_register(0);
	heartbeat_register(&hb, "kswapd");
	memalloc_set(true);
	mutex_lock(&k->lock);
	while (!k->stopping) {
		if (!atomic_load(&k->called)) {
			wait_for_call(k);
			continue;
		}
		mutex_unlock(&k->lock);
		INJECT_TURN(KSWAPD_TURN);
		balance(k);
		atomic_store(&k->called, false);
		mutex_lock(&k->lock);
	}
	mutex_unlock(&k->lock);
	swapper_keep(false);
	heartbeat_unregister(&hb);
	cpu_slot_unregister();
	return NULL;
}

static int start_one(int node, enum duty duty)
{
	static const char *const names[] = { [FOR_STOCKS] = "kswapd", [FOR_POOLS] = "kpool" };
	struct kswapd *k = &kswapds[node][duty];
	char name[16];

	*k = (struct kswapd){ .node = node, .duty = duty };
	mutex_init(&k->lock, RANK_LEAF, "kswapd");
	condition_init(&k->wanted);
	if (pthread_create(&k->thread, NULL, kswapd_main, k))
		return -EAGAIN;
	k->running = true;
	snprintf(name, sizeof(name), "mmb-%s%d", names[duty], node);
	pthread_setname_np(k->thread, name);
	return 0;
}

int kswapd_start(void)
{
	int r = 0;

	for (int node = 0; node < nr_nodes && !r; node++)
		r = start_one(node, FOR_STOCKS);
	for (int node = 0; node < nr_nodes && !r; node++)
		r = start_one(node, FOR_POOLS);
	return r;
}

static void stop_one(struct kswapd *k)
{
	if (!k->running)
		return;
	mutex_lock(&k->lock);
	k->stopping = true;
	pthread_cond_signal(&k->wanted);
	mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	pthread_cond_destroy(&k->wanted);
	mutex_fini(&k->lock);
	k->running = false;
}

void kswapd_stop(void)
{
	for (int node = 0; node < nr_nodes; node++)
		for (int duty = 0; duty < NR_DUTIES; duty++)
			stop_one(&kswapds[node][duty]);
}

/* For frames that can't be evicted. What another thread takes out counts, when it has gone. */
static uint64_t reclaim_stock(int node, enum stock_kind kind, uint64_t frames)
{
	struct scan scan = { .node = node, .kind = (int)kind, .needed = true,
			     .wanted = stock_lacking(node, kind, frames) };

	if (!scan.wanted)
		return 1; /* it has come back meanwhile */
	if (!swap_capacity())
		return 0;
	shrink_direct(&scan);
	while (stock_lacking(node, kind, frames) && wait_for_other(&scan))
		;
	return scan.freed + scan.met_other;
}

static uint64_t promisable(void)
{
	return swap_promisable(swap_capacity());
}

void reclaim_init(const struct reclaim_config *request)
{
	static const struct stock_swap swap_for_stocks = { promisable, swap_promisable_huge };

	config = *request;
	stock_set_swap(&swap_for_stocks);
	balance_set_reclaim_hook(reclaim_stock);
}

void reclaim_fini(void)
{
	balance_set_reclaim_hook(NULL);
	stock_set_swap(NULL);
}
