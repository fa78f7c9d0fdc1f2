/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcg - what a pool's memory is charged to: usage, limits, protection, stalls
 *
 * Purpose     Exact counters of the frames a pool has, by kind, checked against limits that may
 *             change at any moment; what reclaim asks about a pool; one list of them all.
 * Invariants  C1  usage = REGION + ARENA + TABLES, pinned = ARENA + LOCKED + TABLES, when nobody
 *                 charges just now; while somebody does, never less than what exists.
 *             C2  a frame (a slot) is charged before it appears and uncharged after it's gone.
 *             C3  a charge that would exceed a limit fails and changes nothing. A limit that is
 *                 lowered below what is charged stops growth; it takes nothing away by itself. So
 *                 do TABLES, which are held against pinned alone: pages make way for them.
 *             C4  unless it overcommits: pinned + what is kept for the rest <= max, when either is
 *                 granted. A page that may go to swap still needs a frame while it is used.
 *             C5  a memcg ends with nothing charged, and not while somebody walks past it.
 * Locking     none to charge (compare-and-swap on usage, pinned, SWAP); a table mutex for the list.
 * Not here    Names, owners and commit (client/pool.h); reclaim (balance).
 *
 * All figures are in frames of 4 KiB.
 */
#ifndef MMB_MAP_MEMCG_H
#define MMB_MAP_MEMCG_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/check.h"
#include "base/list.h"
#include "base/rbtree.h"
#include "base/types.h"
#include "mm/map/lru.h"
#include "mm/map/psi.h"
#include "mm/phys/promise.h"

enum memcg_kind {
	MEMCG_REGION, /* resident frames of regions */
	MEMCG_ARENA,  /* present frames of the arena */
	MEMCG_LOCKED, /* of REGION, those that are locked */
	MEMCG_SWAP,   /* swap slots that words of its regions name */
	MEMCG_TABLES, /* frames of its regions' words, where the promise doesn't bound them */
	NR_MEMCG_KINDS
};

enum memcg_limit {
	MEMCG_MIN,      /* never reclaimed below this for others */
	MEMCG_LOW,      /* not while others have more than theirs */
	MEMCG_HIGH,     /* above it, reclaim and delays */
	MEMCG_MAX,      /* usage never exceeds it */
	MEMCG_SWAP_MAX, /* nor SWAP this, but for slots that others share with it */
	NR_MEMCG_LIMITS
};

enum memcg_event {
	MEMCG_EVENT_LOW,  /* reclaimed although below low */
	MEMCG_EVENT_HIGH, /* delayed, or reclaimed because of high */
	MEMCG_EVENT_MAX,  /* a charge met max */
	MEMCG_EVENT_OOM,  /* and reclaim didn't help */
	MEMCG_EVENT_OOM_KILL,
	MEMCG_EVENT_SWAP_MAX, /* a slot was refused by swap_max */
	NR_MEMCG_EVENTS
};

/* How urgently clients are asked to give back. */
enum memcg_level {
	MEMCG_LEVEL_LOW, /* kswapd has begun: what can be done without */
	MEMCG_LEVEL_MIN, /* somebody waits, or was refused */
	NR_MEMCG_LEVELS
};

#define MEMCG_NO_LIMIT (UINT64_MAX >> PAGE_SHIFT)

/* a: atomic   t: the table's mutex   r: the lock of space/region.c   c: fixed after init */
struct memcg {
	_Atomic uint64_t usage, pinned;           /* (a) C1 */
	_Atomic uint64_t promised, promised_huge; /* (a) to regions; of them with huge pages */
	_Atomic uint64_t count[NR_MEMCG_KINDS];   /* (a) */
	_Atomic uint64_t limit[NR_MEMCG_LIMITS];  /* (a) */
	_Atomic uint64_t events[NR_MEMCG_EVENTS]; /* (a) since it was made */
	_Atomic uint64_t peak;                    /* (a) highest usage */
	struct lruvec    lruvec[MAX_NUMNODES];    /* (a) ages of its regions' pages */
	_Atomic uint64_t wanted[NR_MEMCG_LEVELS]; /* (a) what clients haven't been asked for yet */
	_Atomic uint64_t going;                   /* (a) frames that are being taken for others */
	_Atomic uint64_t oom_wanted;              /* (a) frames that couldn't be had */
	_Atomic int      short_on_cpu;            /* (a) where its limit was noticed last */
	_Atomic bool     overcommit;              /* (a) promises more than there may be */
	_Atomic bool     oom_kill;                /* (a) then a session ends, not a fault */
	struct rb_root   regions;                 /* (r) of which it is the memcg, by serial */
	_Atomic uint64_t swept;                   /* (a) of these, where reclaim goes on */
	struct promise_share share;               /* its own lock: what it has of the stocks */
	struct psi       psi;                     /* its own lock */
	uint64_t         id;                      /* (c) of the pool; 0: the root */
	struct list_head link;                    /* (t) */
	uint32_t         refs;                    /* (t) walkers; memcg_fini() waits for them */
};

/* Without limits; on the list from now on. */
void memcg_init(struct memcg *m, uint64_t id);
void memcg_fini(struct memcg *m);
/* Of regions that belong to no pool; without limits. */
struct memcg *memcg_root(void);

/* 0, or -ENOMEM (max), for SWAP -ENOSPC (swap_max). */
int memcg_charge(struct memcg *m, enum memcg_kind kind, uint64_t frames);
/* SWAP of nr pages with so many slots each, or of as many as swap_max has room for: how many. */
uint32_t memcg_charge_slots(struct memcg *m, uint32_t nr, uint64_t slots);
/* Slots whose first user is charged already, to whomever: swap_max refuses none of these, or a pool
 * could keep another's pages in memory by inheriting them. */
void memcg_charge_shared_swap(struct memcg *m, uint64_t frames);
void memcg_uncharge(struct memcg *m, enum memcg_kind kind, uint64_t frames);
/* After a restart, TABLES that exist: whatever the limits say. */
void memcg_recharge_tables(struct memcg *m, uint64_t frames);

/* frames are promised to a region. -ENOMEM: what is pinned leaves too few frames below max for it;
 * nothing has changed. */
int memcg_promise(struct memcg *m, uint64_t frames, bool huge);
void memcg_unpromise(struct memcg *m, uint64_t frames, bool huge);
/* Frames that nothing pinned may take under such a max, so that what is evictable can be used. */
uint64_t memcg_kept(const struct memcg *m, uint64_t max);

static inline uint64_t memcg_read(const struct memcg *m, enum memcg_kind kind)
{
	return atomic_load_explicit(&m->count[kind], memory_order_relaxed);
}

static inline uint64_t memcg_usage(const struct memcg *m)
{
	return atomic_load_explicit(&m->usage, memory_order_relaxed);
}

static inline uint64_t memcg_limit(const struct memcg *m, enum memcg_limit which)
{
	return atomic_load_explicit(&m->limit[which], memory_order_relaxed);
}

/* MEMCG_NO_LIMIT: none; of min and low that is 0. What is charged already stays (C3). Whether swap
 * has room for what a max keeps on the disk, and memory for what a swap_max keeps from it,
 * memcg_keep_within() has asked before. */
void memcg_set_limit(struct memcg *m, enum memcg_limit which, uint64_t frames);
/* The max and swap_max shall be these: slots are promised for what the pool has beyond the one, and
 * frames for what it has beyond the other. -ENOMEM: there aren't so many slots; -ENOSPC: frames. */
int memcg_keep_within(struct memcg *m, uint64_t max, uint64_t swap_max);
/* What a pool with these limits may be promised, in frames; huge: also in pages of 2 MiB. Without a
 * max the stocks decide. */
uint64_t memcg_promisable(uint64_t max, uint64_t swap_max, bool huge);
/* Frames above high, and frames that may still be charged below max. */
uint64_t memcg_excess(const struct memcg *m);
uint64_t memcg_margin(const struct memcg *m);
/* How long who adds so many frames to a pool above high is delayed: with the square of the excess,
 * 1 ms to 2 s. 0: not. */
uint64_t memcg_delay_ns(struct memcg *m, uint64_t frames);
/* Of a list with `size` frames, how many may be looked at for others' sake: all of it without
 * protection, none while usage is within min (and low, unless low_too). In between in proportion to
 * what is above the protection, but a batch of 32 at least. */
uint64_t memcg_scan_share(const struct memcg *m, uint64_t size, bool low_too);
/* At most `frames` will be taken from the pool for others, less if that would break its min, or its
 * low unless low_too, whoever else takes from it at the time; 0: none. Until memcg_taken(), when
 * they are uncharged or stay. */
uint64_t memcg_take_for_others(struct memcg *m, uint64_t frames, bool low_too);
void memcg_taken(struct memcg *m, uint64_t frames);

static inline void memcg_event(struct memcg *m, enum memcg_event event)
{
	atomic_fetch_add_explicit(&m->events[event], 1, memory_order_relaxed);
}

/* Clients of the pool shall be asked for so many frames, soon, on another thread. Any thread, with
 * any locks; costs next to nothing while they haven't been asked yet. */
void memcg_pressure(struct memcg *m, enum memcg_level level, uint64_t frames);
uint64_t memcg_take_pressure(struct memcg *m, enum memcg_level level);
/* No frame is to be had for a fault of a pool that overcommits, whatever was tried: the pool's
 * policy decides, on another thread. As cheap as memcg_pressure(). */
void memcg_oom(struct memcg *m, uint64_t frames);
uint64_t memcg_take_oom(struct memcg *m);
/* An upward edge: called when there is something to take. NULL: nobody asks. */
void memcg_set_pressure_hook(void (*hook)(void));

/* A thread that wants memory of the pool begins to wait, and goes on. session: its mm's, or NULL
 * if it isn't known. The root's stalls are everybody's. */
void memstall_enter(struct memcg *m, struct psi *session);
void memstall_leave(struct memcg *m, struct psi *session);

/* Walks all, the root first: NULL starts, NULL ends. The one returned can't end before the next
 * call, or memcg_walk_end() to leave early. */
struct memcg *memcg_walk_next(struct memcg *previous);
void memcg_walk_end(struct memcg *m);

/* What a walk over the pool's words and zones has found, by kind, against the counters. */
void memcg_validate(const struct memcg *m, const uint64_t counted[NR_MEMCG_KINDS],
		    struct validation *v);
/* Its part of the stocks; counted: what its regions have been promised. */
void memcg_validate_promises(const struct memcg *m, struct promise_share *counted,
			     struct validation *v);

#endif
