/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcg - charging by compare-and-swap, protection, and the list of all
 *
 * Locking     table.lock (RANK_TABLE) for the list and walkers; charging takes no lock.
 */
#include "mm/map/memcg.h"

#include <errno.h>
#include <pthread.h>

#include "mm/map/swap.h"
#include "os/os.h"

enum {
	SCAN_SHARE_MIN = 32,
	/* An instruction can touch several pages, and several threads wait for pages at a time. */
	KEPT_DIVISOR = 8,
	KEPT_FRAMES_MIN = 16,
	KEPT_FRAMES_MIN_HUGE = 4 * PAGEBLOCK_PAGES,
	KEPT_FRAMES_MAX = 8 * PAGEBLOCK_PAGES,
};

/* l: lock   c: fixed after init */
static struct {
	struct mutex lock;
	pthread_cond_t unused;
	struct list_head all; /* (l) in the order of their making */
	struct memcg root;     /* (c) itself; its counters as any */
} table;
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void fill(struct memcg *m, uint64_t id)
{
	*m = (struct memcg){
		.id = id,
		.share = { .max = PROMISE_NO_MAX,
			   .goes = PROMISE_NO_MAX,
			   .goes_beside_whole = PROMISE_NO_MAX },
	};
	for (int i = MEMCG_HIGH; i < NR_MEMCG_LIMITS; i++)
		atomic_store(&m->limit[i], MEMCG_NO_LIMIT);
	psi_init(&m->psi, os->now_ns());
}

static void init_table(void)
{
	mutex_init(&table.lock, RANK_TABLE, "memcgs");
	pthread_cond_init(&table.unused, NULL);
	list_init(&table.all);
	fill(&table.root, 0);
	list_add_tail(&table.root.link, &table.all);
}

struct memcg *memcg_root(void)
{
	pthread_once(&table_once, init_table);
	return &table.root;
}

void memcg_init(struct memcg *m, uint64_t id)
{
	pthread_once(&table_once, init_table);
	fill(m, id);
	mutex_lock(&table.lock);
	list_add_tail(&m->link, &table.all);
	mutex_unlock(&table.lock);
}

void memcg_fini(struct memcg *m)
{
	mutex_lock(&table.lock);
	while (m->refs)
		mutex_wait(&table.lock, &table.unused);
	list_del(&m->link);
	mutex_unlock(&table.lock);
	CHECK(!atomic_load(&m->usage) && !atomic_load(&m->pinned));
	CHECK(!m->regions.node);
	CHECK(!atomic_load(&m->going));
	CHECK(!atomic_load(&m->promised) && !atomic_load(&m->promised_huge));
	for (int i = 0; i < NR_MEMCG_KINDS; i++)
		CHECK(!atomic_load(&m->count[i]));
	psi_fini(&m->psi);
}

/* ---- what clients shall give back ---- */

static _Atomic(void (*)(void)) pressure_hook;

void memcg_set_pressure_hook(void (*hook)(void))
{
	atomic_store(&pressure_hook, hook);
}

/* True: nobody has been told of it yet. */
static bool raise_to(_Atomic uint64_t *wanted, uint64_t frames)
{
	uint64_t before = atomic_load_explicit(wanted, memory_order_relaxed);

	do {
		if (before >= frames)
			return false;
	} while (!atomic_compare_exchange_weak(wanted, &before, frames));
	return !before;
}

static uint64_t take(_Atomic uint64_t *wanted)
{
	return atomic_load_explicit(wanted, memory_order_relaxed) ? atomic_exchange(wanted, 0) : 0;
}

static void want(_Atomic uint64_t *wanted, uint64_t frames)
{
	void (*hook)(void) = atomic_load_explicit(&pressure_hook, memory_order_acquire);

	if (raise_to(wanted, frames) && hook)
		hook();
}

void memcg_pressure(struct memcg *m, enum memcg_level level, uint64_t frames)
{
	want(&m->wanted[level], frames);
}

void memcg_oom(struct memcg *m, uint64_t frames)
{
	memcg_event(m, MEMCG_EVENT_OOM);
	want(&m->oom_wanted, frames);
}

uint64_t memcg_take_oom(struct memcg *m)
{
	return take(&m->oom_wanted);
}

uint64_t memcg_take_pressure(struct memcg *m, enum memcg_level level)
{
	return take(&m->wanted[level]);
}

/* ---- charging ---- */

static bool in_usage(enum memcg_kind kind)
{
	return kind == MEMCG_REGION || kind == MEMCG_ARENA || kind == MEMCG_TABLES;
}

static bool in_pinned(enum memcg_kind kind)
{
	return kind == MEMCG_LOCKED || kind == MEMCG_ARENA || kind == MEMCG_TABLES;
}

static bool add_within(_Atomic uint64_t *counter, uint64_t frames, const _Atomic uint64_t *limit)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
	uint64_t most;

	do {
		most = atomic_load_explicit(limit, memory_order_relaxed);
		if (now > most || frames > most - now)
			return false;
	} while (!atomic_compare_exchange_weak(counter, &now, now + frames));
	return true;
}

static void take_away(_Atomic uint64_t *counter, uint64_t frames)
{
	CHECK(atomic_fetch_sub(counter, frames) >= frames);
}

static void note_peak(struct memcg *m)
{
	uint64_t usage = memcg_usage(m);
	uint64_t peak = atomic_load_explicit(&m->peak, memory_order_relaxed);

	while (usage > peak && !atomic_compare_exchange_weak_explicit(&m->peak, &peak, usage,
								      memory_order_relaxed,
								      memory_order_relaxed))
		;
}

static int charge_swap(struct memcg *m, uint64_t frames)
{
	if (add_within(&m->count[MEMCG_SWAP], frames, &m->limit[MEMCG_SWAP_MAX]))
		return 0;
	memcg_event(m, MEMCG_EVENT_SWAP_MAX);
	return -ENOSPC;
}

static uint64_t swap_margin(const struct memcg *m)
{
	uint64_t used = memcg_read(m, MEMCG_SWAP);
	uint64_t max = memcg_limit(m, MEMCG_SWAP_MAX);

	return used < max ? max - used : 0;
}

uint32_t memcg_charge_slots(struct memcg *m, uint32_t nr, uint64_t slots)
{
	while (nr && charge_swap(m, nr * slots))
		nr = (uint32_t)min_t(uint64_t, nr - 1, swap_margin(m) / slots);
	return nr;
}

void memcg_charge_shared_swap(struct memcg *m, uint64_t frames)
{
	atomic_fetch_add(&m->count[MEMCG_SWAP], frames);
}

static int refuse_max(struct memcg *m, uint64_t frames)
{
	memcg_event(m, MEMCG_EVENT_MAX);
	memcg_pressure(m, MEMCG_LEVEL_MIN, min_t(uint64_t, frames, memcg_usage(m)));
	return -ENOMEM;
}

static uint64_t kept_for(uint64_t evictable, bool huge, uint64_t max)
{
	uint64_t kept = max_t(uint64_t, max / KEPT_DIVISOR, KEPT_FRAMES_MIN);

	kept = min_t(uint64_t, kept, KEPT_FRAMES_MAX);
	if (huge)
		kept = max_t(uint64_t, kept, KEPT_FRAMES_MIN_HUGE);
	return min_t(uint64_t, evictable, kept);
}

/* What is about to be locked is evictable no more. */
static uint64_t kept_beside(const struct memcg *m, uint64_t locking, uint64_t max)
{
	uint64_t promised = atomic_load(&m->promised);
	uint64_t locked = atomic_load(&m->count[MEMCG_LOCKED]) + locking;

	if (max == MEMCG_NO_LIMIT || atomic_load(&m->overcommit) || locked >= promised)
		return 0;
	return kept_for(promised - locked, atomic_load(&m->promised_huge), max);
}

uint64_t memcg_kept(const struct memcg *m, uint64_t max)
{
	return kept_beside(m, 0, max);
}

/* Whoever raises pinned or promised asks afterwards: of two at once one sees both. */
static bool leaves_enough(const struct memcg *m, uint64_t locking)
{
	uint64_t max = memcg_limit(m, MEMCG_MAX);
	uint64_t kept = kept_beside(m, locking, max);

	return !kept || (kept <= max && atomic_load(&m->pinned) <= max - kept);
}

int memcg_promise(struct memcg *m, uint64_t frames, bool huge)
{
	atomic_fetch_add(&m->promised, frames);
	if (huge)
		atomic_fetch_add(&m->promised_huge, frames);
	if (leaves_enough(m, 0))
		return 0;
	memcg_unpromise(m, frames, huge);
	return -ENOMEM;
}

void memcg_unpromise(struct memcg *m, uint64_t frames, bool huge)
{
	take_away(&m->promised, frames);
	if (huge)
		take_away(&m->promised_huge, frames);
}

static bool pin(struct memcg *m, enum memcg_kind kind, uint64_t frames)
{
	if (!add_within(&m->pinned, frames, &m->limit[MEMCG_MAX]))
		return false;
	if (leaves_enough(m, kind == MEMCG_LOCKED ? frames : 0))
		return true;
	take_away(&m->pinned, frames);
	return false;
}

static void unpromise_if_arena(struct memcg *m, enum memcg_kind kind, uint64_t frames)
{
	if (kind == MEMCG_ARENA)
		unpromise_arena(&m->share, frames);
}

static void count_tables(struct memcg *m, uint64_t frames)
{
	atomic_fetch_add(&m->usage, frames);
	atomic_fetch_add(&m->count[MEMCG_TABLES], frames);
	note_peak(m);
}

/* Pages of the pool that were there before go to swap; none is added until they have made way. */
static int charge_tables(struct memcg *m, uint64_t frames)
{
	if (!pin(m, MEMCG_TABLES, frames))
		return refuse_max(m, frames);
	count_tables(m, frames);
	if (!memcg_margin(m))
		memcg_pressure(m, MEMCG_LEVEL_MIN, frames);
	return 0;
}

void memcg_recharge_tables(struct memcg *m, uint64_t frames)
{
	atomic_fetch_add(&m->pinned, frames);
	count_tables(m, frames);
}

int memcg_charge(struct memcg *m, enum memcg_kind kind, uint64_t frames)
{
	const _Atomic uint64_t *max = &m->limit[MEMCG_MAX];

	if (kind == MEMCG_SWAP)
		return charge_swap(m, frames);
	if (kind == MEMCG_TABLES)
		return charge_tables(m, frames);
	if (kind == MEMCG_ARENA && promise_arena(&m->share, frames))
		return -ENOMEM;
	if (in_usage(kind) && !add_within(&m->usage, frames, max)) {
		unpromise_if_arena(m, kind, frames);
		return refuse_max(m, frames);
	}
	if (in_pinned(kind) && !pin(m, kind, frames)) {
		if (in_usage(kind))
			take_away(&m->usage, frames);
		unpromise_if_arena(m, kind, frames);
		return refuse_max(m, frames);
	}
	atomic_fetch_add(&m->count[kind], frames);
	if (in_usage(kind))
		note_peak(m);
	return 0;
}

void memcg_uncharge(struct memcg *m, enum memcg_kind kind, uint64_t frames)
{
	take_away(&m->count[kind], frames);
	if (in_pinned(kind))
		take_away(&m->pinned, frames);
	if (in_usage(kind))
		take_away(&m->usage, frames);
	unpromise_if_arena(m, kind, frames);
}

/* ---- limits ---- */

static uint64_t share_max(uint64_t max)
{
	return max == MEMCG_NO_LIMIT ? PROMISE_NO_MAX : max;
}

/* Of so many slots. */
static uint64_t goes(uint64_t swap_max, bool huge)
{
	if (swap_max == MEMCG_NO_LIMIT)
		return PROMISE_NO_MAX;
	return huge ? swap_promisable_beside_huge(swap_max) : swap_promisable(swap_max);
}

int memcg_keep_within(struct memcg *m, uint64_t max, uint64_t swap_max)
{
	uint64_t before = memcg_limit(m, MEMCG_MAX);

	if (promise_max(&m->share, share_max(max)))
		return -ENOMEM;
	if (!promise_goes(&m->share, goes(swap_max, false), goes(swap_max, true)))
		return 0;
	promise_max_again(&m->share, share_max(before));
	return -ENOSPC;
}

uint64_t memcg_promisable(uint64_t max, uint64_t swap_max, bool huge)
{
	uint64_t slots = min_t(uint64_t, swap_max, swap_capacity());

	return max == MEMCG_NO_LIMIT ? MEMCG_NO_LIMIT : max + goes(slots, huge);
}

void memcg_set_limit(struct memcg *m, enum memcg_limit which, uint64_t frames)
{
	if (which == MEMCG_MIN || which == MEMCG_LOW)
		frames = frames == MEMCG_NO_LIMIT ? 0 : frames;
	frames = min_t(uint64_t, frames, MEMCG_NO_LIMIT);
	atomic_store(&m->limit[which], frames);
	if (which == MEMCG_MAX)
		promise_max_again(&m->share, share_max(frames));
	if (which == MEMCG_SWAP_MAX)
		promise_goes_again(&m->share, goes(frames, false), goes(frames, true));
}

uint64_t memcg_excess(const struct memcg *m)
{
	uint64_t usage = memcg_usage(m);
	uint64_t high = memcg_limit(m, MEMCG_HIGH);

	return usage > high ? usage - high : 0;
}

uint64_t memcg_margin(const struct memcg *m)
{
	uint64_t usage = memcg_usage(m);
	uint64_t max = memcg_limit(m, MEMCG_MAX);

	return usage < max ? max - usage : 0;
}

/* As the kernel's: a batch of 64 frames costs 64 s times the square of the excess over high. */
uint64_t memcg_delay_ns(struct memcg *m, uint64_t frames)
{
	const uint64_t second_ns = 1000ull * 1000 * 1000, least_ns = 1000 * 1000;
	uint64_t excess = memcg_excess(m);
	uint64_t high = max_t(uint64_t, memcg_limit(m, MEMCG_HIGH), 1);
	uint64_t parts = min_t(uint64_t, (excess << 10) / high, 4096); /* 1024ths */
	uint64_t one = parts * parts * second_ns >> 20;
	uint64_t delay = min_t(uint64_t, frames, PAGEBLOCK_PAGES) * one;

	if (delay < least_ns)
		return 0;
	memcg_event(m, MEMCG_EVENT_HIGH);
	return min_t(uint64_t, delay, 2 * second_ns);
}

static uint64_t protection(const struct memcg *m, bool low_too)
{
	uint64_t min = memcg_limit(m, MEMCG_MIN);

	return low_too ? min : max_t(uint64_t, min, memcg_limit(m, MEMCG_LOW));
}

uint64_t memcg_scan_share(const struct memcg *m, uint64_t size, bool low_too)
{
	uint64_t usage = memcg_usage(m);
	uint64_t protected = protection(m, low_too);
	uint64_t share;

	if (!protected)
		return size;
	if (usage <= protected)
		return 0;
	share = (uint64_t)((unsigned __int128)size * (usage - protected) / usage);
	return min_t(uint64_t, size, max_t(uint64_t, share, SCAN_SHARE_MIN));
}

uint64_t memcg_take_for_others(struct memcg *m, uint64_t frames, bool low_too)
{
	uint64_t going = atomic_load(&m->going);
	uint64_t stays, usage, got;

	do {
		stays = protection(m, low_too) + going;
		usage = memcg_usage(m);
		got = usage > stays ? min_t(uint64_t, frames, usage - stays) : 0;
	} while (got && !atomic_compare_exchange_weak(&m->going, &going, going + got));
	return got;
}

void memcg_taken(struct memcg *m, uint64_t frames)
{
	take_away(&m->going, frames);
}

/* ---- stalls ---- */

void memstall_enter(struct memcg *m, struct psi *session)
{
	struct memcg *root = memcg_root();
	uint64_t now = os->now_ns();

	psi_enter(&root->psi, now);
	if (m != root)
		psi_enter(&m->psi, now);
	if (session)
		psi_enter(session, now);
}

void memstall_leave(struct memcg *m, struct psi *session)
{
	struct memcg *root = memcg_root();
	uint64_t now = os->now_ns();

	psi_leave(&root->psi, now);
	if (m != root)
		psi_leave(&m->psi, now);
	if (session)
		psi_leave(session, now);
}

/* ---- the list ---- */

static void put_locked(struct memcg *m)
{
	if (m && --m->refs == 0)
		pthread_cond_broadcast(&table.unused);
}

struct memcg *memcg_walk_next(struct memcg *previous)
{
	struct list_head *at;
	struct memcg *found = NULL;

	pthread_once(&table_once, init_table);
	mutex_lock(&table.lock);
	at = previous ? previous->link.next : table.all.next;
	if (at != &table.all) {
		found = list_entry(at, struct memcg, link);
		found->refs++;
	}
	put_locked(previous);
	mutex_unlock(&table.lock);
	return found;
}

void memcg_walk_end(struct memcg *m)
{
	mutex_lock(&table.lock);
	put_locked(m);
	mutex_unlock(&table.lock);
}

static const char *const kind_names[NR_MEMCG_KINDS] = {
	[MEMCG_REGION] = "frames of regions",
	[MEMCG_ARENA] = "frames of the arena",
	[MEMCG_LOCKED] = "locked frames",
	[MEMCG_SWAP] = "swap slots",
	[MEMCG_TABLES] = "frames of page tables",
};

void memcg_validate_promises(const struct memcg *m, struct promise_share *counted,
			     struct validation *v)
{
	uint64_t swap_max = memcg_limit(m, MEMCG_SWAP_MAX);

	counted->all = counted->paged + memcg_read(m, MEMCG_ARENA);
	counted->max = share_max(memcg_limit(m, MEMCG_MAX));
	counted->goes = goes(swap_max, false);
	counted->goes_beside_whole = goes(swap_max, true);
	promise_validate_share(&m->share, counted, m->id, v);
}

void memcg_validate(const struct memcg *m, const uint64_t counted[NR_MEMCG_KINDS],
		    struct validation *v)
{
	uint64_t fixed = counted[MEMCG_ARENA] + counted[MEMCG_TABLES];

	for (int i = 0; i < NR_MEMCG_KINDS; i++)
		validation_compare(v, counted[i], atomic_load(&m->count[i]), "pool %llu: %s",
				   (unsigned long long)m->id, kind_names[i]);
	validation_compare(v, counted[MEMCG_REGION] + fixed, atomic_load(&m->usage),
			   "pool %llu: usage", (unsigned long long)m->id);
	validation_compare(v, counted[MEMCG_LOCKED] + fixed, atomic_load(&m->pinned),
			   "pool %llu: pinned frames", (unsigned long long)m->id);
}
