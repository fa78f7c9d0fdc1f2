/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool - a domain of trust, accounting and limits
 *
 * Purpose     Named and private pools; each has an arena (a section and a zone per node, made at
 *             first use) and a list of regions.
 * Invariants  P1  committed = bytes of its live regions + bytes of its arena's present pageblocks.
 *             P2  a pool ends when its last handle is closed, it has no region left, and no
 *                 operator keeps it; a private one takes nothing beyond its session.
 *             P3  a name means at most one live pool.
 *             P4  units and caches go when the last handle closes, also if regions keep the pool.
 *             P5  memcg is charged for its regions' resident and locked frames and for its arena.
 * Locking     pools_lock for the list and names; pool->lock (RANK_ARENA) for its regions and the
 *             making of the arena; committed is atomic.
 * Not here    Permission to use it (access.h), page runs (verbs_pages.c).
 */
#ifndef MMB_CLIENT_POOL_H
#define MMB_CLIENT_POOL_H

#include <stdatomic.h>

#include "base/range_alloc.h"
#include "base/workqueue.h"
#include "client/leases.h"
#include "client/members.h"
#include "client/pool_caches.h"
#include "client/verbs.h"
#include "mm/balance/alloc.h"
#include "mm/map/memcg.h"
#include "mm/phys/record.h"

/* c: fixed   p: pools_lock   l: lock   a: atomic   k: the keeper's thread only */
struct pool {
	struct list_head link;         /* (p) */
	uint64_t id;                   /* (c) */
	char name[NAME_MAX_BYTES + 1]; /* (c) */
	uid_t uid;                     /* (c) */
	gid_t gid;                     /* (c) */
	uint32_t mode;                 /* (c) */
	bool is_private;               /* (c) */
	bool kept;                     /* (p) P2 */
	bool operated;                 /* its limits' lock: see pool_limits.h */
	struct node_policy nodes;      /* (c) */
	struct memcg memcg;            /* what its frames are charged to, with the limits */
	_Atomic uint32_t nr_handles; /* (p) changes; readable any time */
	uint32_t nr_regions; /* (p) live, also those being freed; and pins */
	struct mutex lock;
	struct list_head regions;               /* (l) struct pool_region.link */
	struct list_head lingering; /* (l) regions that have ended and stay for their clones */
	struct pool_zones zones;                /* (l) entries are made once */
	struct section *sections[MAX_NUMNODES]; /* (l) */
	struct range windows[MAX_NUMNODES];     /* (l) client addresses */
	struct zone *movable[MAX_NUMNODES];     /* (c) counts the regions' frames */
	bool has_arena;                         /* (l) */
	_Atomic uint64_t committed;             /* (a) P1 */
	_Atomic uint64_t nr_refused;            /* (a) */
	uint64_t asked_ns, ask_interval_ns;     /* (k) see relief.h */
	uint64_t oom_session, oom_ns, oom_seen_ns; /* (k) oom.h */
	_Atomic uint32_t nr_tasks;              /* (a) threads of its sessions, being added up */
	_Atomic uint32_t next_turn;             /* (a) INTERLEAVE: whose turn it is */
	_Atomic int leased_on;                  /* (a) node of its first units + 1; then -1 */
	struct work free_work;                  /* after P2 */
	struct work lease_work;                 /* P4 */
	uint64_t key;                           /* (c) random; for clients only */
	struct leases leases;                   /* its own lock */
	struct members members;                 /* its own lock */
	struct pool_caches caches;              /* its own lock */
	struct pool_record *record;             /* (p) NULL: it is ending */
};

struct pool_request {
	const char *name;
	bool is_private, overcommit, oom_kill;
	struct pool_limits limits; /* checked */
	uint32_t mode;
	struct node_policy nodes;
	const struct peer *creator;
};

int pools_init(void);
void pools_fini(void);
/* On the thread that gives back what pools had. */
void pools_work(struct work *work);
/* Pools that have ended have something to give back. */
bool pools_ending(void);
/* Waits for that. */
void pools_flush(void);
/* Each open is closed once. */
int pool_new(const struct pool_request *request, struct pool **out, struct refusal *why);
/* NULL: no pool of that name. */
struct pool *pool_open(const char *name);
/* Names are those of shared pools: a private one is its session's alone, whatever it calls it. */
bool pool_has_name(const struct pool *pool, const char *name);
/* One more handle of a pool that has some. */
void pool_reopen(struct pool *pool);
void pool_close(struct pool *pool);
/* An operator keeps it from ending, or does so no more. The caller has it open. */
void pool_keep(struct pool *pool, bool kept);
/* A predecessor's pool, without arena; one handle is counted, which is the caller's to close when
 * all that belongs to the pool is there. -ENOMEM. */
int pool_resume(struct pool_record *record);
/* One section of a predecessor's arena, with what is granted in it. */
int pool_resume_arena(struct pool *pool, struct section *section);
/* The one with the next higher id, for who holds it; NULL: none. */
struct pool *pool_next(uint64_t after);
/* Its limits have changed: they shall outlive the daemon. */
void pool_record_limits(struct pool *pool);
/* All that belongs to pools is there: gives up what pool_resume() holds. */
void pools_resumed(void);
struct pool *pool_by_id(uint64_t id);
/* Counts without a limit what exists already. */
void pool_recharge(struct pool *pool, uint64_t bytes, bool huge);
/* A region lives in the pool. */
void pool_add_region(struct pool *pool);
void pool_del_region(struct pool *pool);

/* Commit within the pool's limit: -ENOMEM. */
int pool_charge(struct pool *pool, uint64_t bytes);
void pool_uncharge(struct pool *pool, uint64_t bytes);

/* Makes the arena's sections and zones if they don't exist. */
int pool_make_arena(struct pool *pool, struct refusal *why);
/* Nobody uses it any more. */
void pool_unmake_arena(struct pool *pool);
uint64_t pool_arena_bytes(struct pool *pool);
/* Client address of a frame of the arena, and back; 0 and UINT64_MAX: not of this arena. */
uint64_t pool_pfn_to_address(struct pool *pool, uint64_t pfn);
uint64_t pool_address_to_pfn(struct pool *pool, uint64_t address);

/* Every pool, pool 0 not among them, with pools_lock held. */
void pool_for_each(void (*fn)(struct pool *pool, void *arg), void *arg);
/* One after the other, without pools_lock: the one that is returned doesn't end until it is given
 * back here, for the next one (NULL at first, and at the end), or to pool_del_region(). */
struct pool *pool_walk_next(struct pool *previous);
uint64_t pool_count(void);

#endif
