/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap - one thread's share of a pool: a magazine and a slab a bin, and the slabs it owns beside
 *
 * Purpose     Small objects without system call, lock or locked instruction. mmb_malloc and
 *             mmb_free hit here; everything behind the hit is in heap.c.
 * Invariants  H1  A slab whose owner is the heap's id is bins[b], on the bin's partial or full
 *                 list, and nowhere else.
 *             H2  On partial: free objects, or foreign frees, or unused ones. On full: none when
 *                 it came. bins[b] is slab_none when there is no slab.
 *             H3  A heap is worked on by its thread between heap_enter() and heap_leave(), or by a
 *                 visitor that has closed it, passed asym_heavy() and then seen busy == 0.
 *             H4  Closed: open_pool is HEAP_CLOSED and open_length 0, so that every hit misses;
 *                 the thread then waits for heap_pool.lock. A heap without hits (no_hits) is the
 *                 same to a hit when it is open: open_pool is its mark, which is no pool's handle.
 *             H5  The heap's pages are wiped in a forked child: there it is closed for ever.
 *             H6  A heap's memory outlives the heap: its thread may look at it until it ends, since
 *                 heap_current is its alone to change. Meanwhile it is a closed heap of no pool.
 *             H7  of_unit[i] is the magazine of the slab that is unit i of home, if the heap owns
 *                 it and it is that one unit; else NULL. So a free that hits needs nothing of the
 *                 slab's header, which would be one more line to wait for.
 *             H8  Bins from nr_bins on have not begun: nothing in them, and no magazine, not even
 *                 magazine_none. Few programs have typed caches, and each page of a heap that is
 *                 touched costs as much as some system calls.
 * Locking     H3; heap_pool.lock for the list of heaps, the shelf and visits; before it
 *             heap_pool.visiting, held for the whole of a tick, a trim or an adoption, with what
 *             they tell the daemon: after heap_pool_close() there are none.
 * Not here    One slab (slab.h), units (stock.h), large objects (run.h), who visits when (visit.c).
 */
#ifndef MMB_LIBCLIENT_HEAP_HEAP_H
#define MMB_LIBCLIENT_HEAP_HEAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "heap/asym.h"
#include "heap/magazine.h"
#include "heap/sizes.h"
#include "heap/slab.h"
#include "heap/stock.h"

struct mmb_pool;
struct relay;

enum {
	HEAP_VIEWS = 64,        /* arena windows of a pool */
	HEAP_MEMBER_SHIFT = SLAB_MEMBER_SHIFT,
	HEAP_THREADS = 1 << HEAP_MEMBER_SHIFT,
	HEAP_FULL_KEPT = 8,     /* full slabs of a bin that keep their owner */
	HEAP_FULL_LOOKS = 4,    /* how many of them are looked at before new units are taken */
	HEAP_PENDING = 64,      /* slabs of others whose freed objects are gathered */
	HEAP_PENDING_OBJECTS = 32,
	/* In a shared pool nothing is gathered: it would be lost when its process is killed. */
	HEAP_PENDING_SHARED = 1,
	HEAP_PENDING_OBJECTS_SHARED = 1,
	HEAP_RUNS = 4,          /* freed runs that a heap keeps */
	HEAP_MANY = 8,          /* slabs of a size, from which on they are tight ones */
	HEAP_SAVE_UNITS = 32,   /* taken since it looked last for units that it doesn't need */
};

/* An arena window and its slab map in this process. c: fixed once published */
struct heap_view {
	uint64_t            base, length; /* (c) */
	struct slab_header *map;          /* (c) */
	int                 fd;           /* (c) of the map; -1: plain memory */
};

/* h: H3 */
struct heap_bin {
	struct slab_header *partial_head, *partial_tail; /* (h) */
	struct slab_header *full_head, *full_tail;       /* (h) oldest first */
	uint32_t            nr_partial, nr_full;         /* (h) */
};
struct heap_pending {
	struct slab_view  slab;  /* (h) slab.slab NULL: none */
	struct slab_chain chain; /* (h) */
};
struct heap_run {
	uint64_t address; /* (h) */
	uint32_t units;   /* (h) 0: none */
};
struct heap_counts {
	uint64_t refills, carved, collected, adopted, foreign, flushed, runs, runs_cached;
};

/* c: fixed   h: H3   v: visitors, under heap_pool.lock   a: atomic   o: owner writes, all read */
struct heap {
	_Atomic(struct mmb_pool *) open_pool;   /* (v) H4 */
	_Atomic uint64_t           open_length; /* (v) H4: of home */
	uint64_t                   base;        /* (c) of home */
	struct slab_header        *map;         /* (c) of home */
	uint64_t                   key;         /* (c) */
	uint32_t                   id;          /* (c) as an owner */
	_Atomic unsigned int       busy;        /* (o) */
	uint64_t                   free_mark;   /* (c) slab_mark(key) */
	bool                       keeps_any;   /* (c) objects of all slabs, in its magazines */
	uint32_t                   nr_units;    /* (c) of of_unit; those of home at least */
	struct heap_magazine      *quick[SIZE_TABLE_MAX / 8 + 1]; /* (h) by (size + 7) / 8 */

	const struct heap_view    *home;        /* (c) what hits find without looking around */
	struct heap_pool          *pool;        /* (c) */
	struct mmb_pool           *mark;        /* (c) what open_pool is when open */
	_Atomic uint64_t           nr_slow;     /* (o) times the hit missed */
	uint64_t                   seen_slow;   /* (v) at the last visit */
	uint32_t                   nr_idle;     /* (v) visits in a row without a miss */
	uint32_t                   nr_taken;    /* (h) units, since it looked for spare ones */
	LIST_ENTRY(heap)           link;        /* (v) */
	uint64_t                   pending_set; /* (h) bits of those with a slab */
	struct heap_run            runs[HEAP_RUNS]; /* (h) */
	struct heap_counts         counts;      /* (h) */
	struct heap_quarantine    *quarantine;  /* (h) NULL: none yet (harden.h) */
	struct heap               *next_spare;  /* process lock, after its end (H6) */
	unsigned int               nr_bins;     /* (h) H8 */
	/* All above, and the magazines of size classes, are one page. */
	struct heap_magazine      *magazines[SLAB_BINS]; /* (h) */
	struct slab_header        *bins[SLAB_BINS]; /* (h) */
	struct heap_bin            cold[SLAB_BINS]; /* (h) */
	struct heap_pending        pending[HEAP_PENDING]; /* (h) */
	struct heap_magazine      *of_unit[];   /* (h) H7 */
};

/* No pool's handle, and not NULL either, which an application may pass. */
#define HEAP_CLOSED ((struct mmb_pool *)(uintptr_t)1)

/* l: the pool's lock   a: atomic */
struct heap_pool_bin {
	_Atomic uint32_t    size;  /* (a) bytes of an object; 0: no such bin yet */
	_Atomic int32_t     units; /* (a) of slabs made less those released */
	struct slab_header *shelf; /* (l) slabs without a thread, that have room */
	_Atomic(struct relay *) relay; /* (a) made once; NULL: nothing came yet */
};

/* c: fixed once published   l: lock   a: atomic */
struct heap_pool {
	struct mmb_pool    *handle;  /* (c) */
	uint64_t            key;     /* (c) B3; its upper half is not 0 */
	uint32_t            member;  /* (c) */
	bool                is_private; /* (c) */
	bool                harden;  /* (c) */
	bool                no_hits; /* (c) H4 */
	bool                is_eager; /* (c) see struct heap_pool_spec */
	uint32_t            magazine_bytes; /* (c) */
	_Atomic uint32_t    nr_views; /* (a) */
	_Atomic uint32_t    home;    /* (a) the view of the last leases: this process's node */
	struct stock        stock;
	pthread_mutex_t     visiting;
	pthread_mutex_t     lock;
	atomic_bool         can_visit; /* (a) the process is registered for asym_heavy() */
	bool                closed;    /* (l) and visiting */
	bool                left;      /* (l) heap_pool_end() */
	LIST_HEAD(, heap)   heaps;     /* (l) */
	uint64_t           *ids;       /* (l) bits of taken numbers */
	uint32_t            nr_ids;    /* (l) words of it; the rest are zero */
	_Atomic uint32_t    nr_shelf;  /* (a) changes under lock */
	struct heap_counts  counts;    /* (l) of heaps that are gone */
	struct heap_view    views[HEAP_VIEWS];
	struct heap_pool_bin bins[SLAB_BINS]; /* one array: a small program's bins are on a page */
};

extern struct slab_header slab_none; /* never has anything free */
extern _Thread_local struct heap *heap_current; /* of the pool used last; never NULL */

static inline uint32_t heap_shelf_id(const struct heap_pool *hp)
{
	return hp->member << HEAP_MEMBER_SHIFT;
}

static inline void heap_enter(struct heap *h)
{
	asym_enter(&h->busy);
}

static inline void heap_leave(struct heap *h)
{
	asym_leave(&h->busy);
}

/* ---- a pool's heaps ---- */

struct heap_pool_spec {
	struct mmb_pool    *handle;
	bool                is_private; /* no other process has the pool */
	bool                harden;     /* harden.h; needs no_hits */
	bool                no_hits;    /* H4 */
	bool                is_eager;   /* a heap's first slab is worth a kick */
	uint32_t            magazine_bytes; /* of objects in one, about; 0: no magazines */
	struct stock_source source;
	uint64_t            key;
	uint32_t            member;
};
/* Memory for the next one, touched. */
void heap_pool_prepare(void);
/* NULL: no memory. */
struct heap_pool *heap_pool_new(const struct heap_pool_spec *spec);
/* Every heap misses from now on, and nobody visits any more. */
void heap_pool_close(struct heap_pool *hp);
/* Closed, and nothing of what its heaps own is touched from now on, not even when their threads
 * end: others may have it. Who is inside isn't waited for. */
void heap_pool_end(struct heap_pool *hp);
/* The same. False: somebody is inside still, or it isn't known; ask again. */
bool heap_pool_leave(struct heap_pool *hp);
bool heap_pool_is_left(struct heap_pool *hp);
/* Every heap has been retired: what is empty goes back to the source. */
void heap_pool_drain(struct heap_pool *hp);
/* Every heap has been retired or abandoned. */
void heap_pool_free(struct heap_pool *hp);
/* Another window; the caller has seen to it that nobody adds one at the same time. */
int  heap_pool_add_view(struct heap_pool *hp, const struct heap_view *view);
/* Units come from there: heaps that are made from now on are at home there. */
void heap_pool_settle(struct heap_pool *hp, uint64_t address);
/* The window of an address; NULL: none. */
const struct heap_view *heap_view_of(const struct heap_pool *hp, uint64_t address);
/* The next part of a window's map that has pages, from *end on: [*first, *end) in units. False: no
 * more. */
bool heap_view_next(const struct heap_view *view, uint64_t *first, uint64_t *end);
/* The header of the unit of that address. */
static inline struct slab_header *heap_header(const struct heap_view *view, uint64_t address)
{
	return view->map + ((address - view->base) >> SLAB_UNIT_SHIFT);
}
/* Where a slab lies. */
struct slab_view heap_slab_view(const struct heap_pool *hp, struct slab_header *s);
/* The slab of an object that isn't free. */
struct slab_view heap_slab_of(const struct heap_pool *hp, uint64_t object);

/* ---- a thread's heap: the thread, between enter and leave, or a visitor ---- */

/* `spare`: the memory of a heap of this thread that has ended, or NULL. Gives NULL without memory,
 * or with too many threads; errno tells. */
struct heap *heap_new(struct heap_pool *hp, struct heap *spare);
/* A spare for it, with as many units as most windows have, and touched. NULL: no memory. */
struct heap *heap_ahead(void);
/* The thread ends, or the pool closes: everything goes to others, the shelf or the stock. Memory is
 * left (H6). */
void heap_retire(struct heap *h);
/* The windows are gone: nothing of it is looked at. Memory is left (H6). */
void heap_abandon(struct heap *h);
/* The memory, when its thread can't look at it any more. */
void heap_free(struct heap *h);
/* The calling thread has no heap. */
void heap_leave_current(void);
/* One object behind a miss; 0 without memory (sentence recorded). */
uint64_t heap_alloc(struct heap *h, unsigned int bin);
/* Up to nr objects; how many it was. */
size_t heap_alloc_bulk(struct heap *h, unsigned int bin, size_t nr, void **out);
/* An object of a slab, the owner's own or not. */
void heap_free_object(struct heap *h, const struct slab_view *v, uint64_t object);
/* What hits of a bin take from and put into, until it is called again. */
void heap_set_magazine(struct heap *h, unsigned int bin, struct heap_magazine *m);
/* H8: the bin and those before it, before anything else is done with them. */
void heap_begin_bins(struct heap *h, unsigned int bin);
static inline void heap_need_bin(struct heap *h, unsigned int bin)
{
	if (bin >= h->nr_bins)
		heap_begin_bins(h, bin);
}
/* left has come to 0, or the magazine to MAGAZINE_BURST. */
void heap_put_more(struct heap *h, struct slab_header *s);
/* left has come to 0. */
void heap_free_more(struct heap *h, struct slab_header *s);
/* Units in stock, for a slab or a run of its own: what it has at hand and doesn't need joins the
 * stock before more is leased. 0 without memory (sentence recorded). */
uint64_t heap_take_units(struct heap *h, const struct stock_want *want);
/* What is in a bin's magazine goes to its slabs. */
void heap_flush_magazine(struct heap *h, unsigned int bin);
/* What it has gathered for others goes to them. */
void heap_flush_pending(struct heap *h);
/* H1, H2 and each slab; the number of differences. Reports to stderr. */
uint32_t heap_validate(struct heap *h);

/* ---- visits (visit.c) ---- */

/* Once in a while: idle heaps are tidied, empty units go back. True: there is more to do later. */
bool heap_pool_tick(struct heap_pool *hp);
/* Everything that isn't in use goes back now. */
void heap_pool_trim(struct heap_pool *hp);
/* A member has died: its slabs come to our shelf. */
void heap_pool_adopt(struct heap_pool *hp, uint32_t member);
/* All heaps and the shelf; with everything quiet. */
uint32_t heap_pool_validate(struct heap_pool *hp);

/* For heap.c and visit.c. */
void heap_open(struct heap *h);
/* More numbers for threads, with the lock or before anybody else has the pool. False: no memory, or
 * there are HEAP_THREADS. */
bool heap_grow_ids(struct heap_pool *hp);
void heap_add_counts(struct heap_counts *sum, const struct heap_counts *add);
void heap_release(struct heap_pool *hp, const struct slab_view *v);
/* A slab with room and without thread; the caller owns it. */
void heap_shelve_locked(struct heap_pool *hp, const struct slab_view *v);
/* All slabs: empty ones to the stock, full ones let go, the rest stay or, with `all`, are shelved,
 * for which the caller holds heap_pool.lock. */
void heap_tidy(struct heap *h, bool all);

#endif
