/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pageout - a range is evicted by the thread that is asked to, and by one thread more
 *
 * Purpose     Copying and punching take longer than the disk does: two threads take turns of two
 *             blocks each. There is one helper; who finds it busy does the range alone. Between two
 *             rounds others may evict from the region.
 * Invariants  P1  the helper works on a range only between offer() and withdraw() of who has it,
 *                 who evicts from the region all that time (E3 of evict.h).
 *             P2  no two turns have a page in common.
 *             P3  what others inherit goes by one thread at a time (heirs.h): what the two have
 *                 kept from each other goes afterwards, without help.
 * Locking     helper.lock (leaf); not held while evicting.
 * Not here    Which pages must go because memory is short (reclaim.c).
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/memalloc.h"
#include "mm/space/evict.h"
#include "mm/space/reclaim.h"
#include "os/os.h"

enum { TURN_BLOCKS = 2, ROUND_BLOCKS = 32 };

static const struct timespec busy_pause = { .tv_nsec = 100 * 1000 };

/* c: fixed   a: atomic */
struct turns {
	struct region *region;           /* (c) */
	uint64_t end;                    /* (c) page */
	_Atomic uint64_t next;           /* (a) the first page that nobody has taken */
	_Atomic uint64_t scanned, freed; /* (a) frames */
};

/* l: lock   c: fixed while running */
static struct {
	struct mutex lock;
	pthread_cond_t wanted, left;
	struct turns *offered; /* (l) NULL: nobody needs help */
	struct turns *inside;  /* (l) what the helper works on */
	bool stopping;         /* (l) */
	bool running;          /* (c) */
	pthread_t thread;      /* (c) */
} helper;

static bool take_turn(struct turns *t, struct page_range *turn)
{
	uint64_t pages = TURN_BLOCKS * evict_block_pages(t->region);
	uint64_t next, at = atomic_load(&t->next);

	do {
		if (at >= t->end)
			return false;
		next = min_t(uint64_t, t->end, round_down(at + pages, pages));
	} while (!atomic_compare_exchange_weak(&t->next, &at, next));
	*turn = (struct page_range){ at, next - at };
	return true;
}

static void work_off(struct swapper *s, struct turns *t)
{
	struct evict_filter filter = { .node = -1, .all_ages = true };
	struct evict_result result = { 0 };
	uint64_t pages = evict_block_pages(t->region);
	struct page_range turn;

	while (take_turn(t, &turn)) {
		uint64_t end = turn.first + turn.nr;

		for (uint64_t at = turn.first, next; at < end; at = next) {
			next = min_t(uint64_t, end, round_down(at + pages, pages));
			evict_block(s, t->region, (struct page_range){ at, next - at }, &filter,
				    &result);
		}
		heartbeat_touch();
	}
	evict_flush(s, t->region, &result);
	atomic_fetch_add(&t->scanned, result.nr_scanned);
	atomic_fetch_add(&t->freed, result.nr_freed);
}

/* ---- the helper ---- */

static void help(struct turns *t)
{
	struct swapper *s = swapper_get(SWAPPER_WRITER);

	if (!s)
		return;
	work_off(s, t);
	swapper_put(s);
}

static void *helper_main(void *unused)
{
	struct heartbeat hb;

	cpu_slot_register(0);
	heartbeat_register(&hb, "pageout");
	memalloc_set(true);
	swapper_keep(true);
	mutex_lock(&helper.lock);
	while (!helper.stopping) {
		struct turns *t = helper.offered;

		if (!t) {
			swapper_rest(&helper.lock, &helper.wanted);
			continue;
		}
		helper.offered = NULL;
		helper.inside = t;
		mutex_unlock(&helper.lock);
		INJECT_TURN(PAGEOUT_TURN);
		help(t);
		mutex_lock(&helper.lock);
		helper.inside = NULL;
		pthread_cond_broadcast(&helper.left);
	}
	mutex_unlock(&helper.lock);
	swapper_keep(false);
	heartbeat_unregister(&hb);
	cpu_slot_unregister();
	return NULL;
}

static void offer(struct turns *t)
{
	mutex_lock(&helper.lock);
	if (!helper.offered && !helper.inside) {
		helper.offered = t;
		pthread_cond_signal(&helper.wanted);
	}
	mutex_unlock(&helper.lock);
}

static void withdraw(struct turns *t)
{
	mutex_lock(&helper.lock);
	if (helper.offered == t)
		helper.offered = NULL;
	while (helper.inside == t)
		mutex_wait(&helper.lock, &helper.left);
	mutex_unlock(&helper.lock);
}

int pageout_start(void)
{
	mutex_init(&helper.lock, RANK_LEAF, "pageout");
	condition_init(&helper.wanted);
	pthread_cond_init(&helper.left, NULL);
	helper.stopping = false;
	if (pthread_create(&helper.thread, NULL, helper_main, NULL))
		return -EAGAIN;
	pthread_setname_np(helper.thread, "mmb-pageout");
	helper.running = true;
	return 0;
}

void pageout_stop(void)
{
	if (!helper.running)
		return;
	mutex_lock(&helper.lock);
	helper.stopping = true;
	pthread_cond_signal(&helper.wanted);
	mutex_unlock(&helper.lock);
	pthread_join(helper.thread, NULL);
	pthread_cond_destroy(&helper.wanted);
	pthread_cond_destroy(&helper.left);
	mutex_fini(&helper.lock);
	helper.running = false;
}

static bool worth_sharing(const struct region *region, struct page_range range)
{
	return helper.running && range.nr > TURN_BLOCKS * evict_block_pages(region);
}

static void do_round(struct swapper *s, struct turns *t, bool alone)
{
	struct evict_result nothing = { 0 };
	uint64_t next = atomic_load(&t->next);
	bool shared = !alone &&
		      worth_sharing(t->region, (struct page_range){ next, t->end - next });

	while (!evict_begin(s, t->region))
		heartbeat_sleep(&busy_pause);
	if (shared)
		offer(t);
	work_off(s, t);
	if (shared)
		withdraw(t);
	evict_end(s, t->region, &nothing);
	reclaim_count(&reclaim_stats.pgscan_direct, t->scanned);
	reclaim_count(&reclaim_stats.pgsteal_direct, t->freed);
}

static uint64_t do_rounds(struct swapper *s, struct region *region, struct page_range range,
			  bool alone)
{
	uint64_t pages = ROUND_BLOCKS * evict_block_pages(region);
	uint64_t end = range.first + range.nr;
	uint64_t freed = 0;

	for (uint64_t at = range.first, next; at < end; at = next) {
		struct turns t = { .region = region, .next = at };

		next = min_t(uint64_t, end, round_down(at + pages, pages));
		t.end = next;
		do_round(s, &t, alone);
		freed += t.freed;
	}
	return freed;
}

uint64_t reclaim_range(struct region *region, struct page_range range)
{
	struct swapper *s = swapper_get(SWAPPER_WRITER);
	bool shared = worth_sharing(region, range);
	uint64_t freed;

	if (!s)
		return 0;
	freed = do_rounds(s, region, range, false);
	if (shared && region_kin(region)) /* P3 */
		freed += do_rounds(s, region, range, true);
	swapper_put(s);
	return freed;
}
