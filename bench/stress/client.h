/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client - one process of the stress suite
 *
 * Purpose     Does one random operation after the other and verifies everything it can see. What
 *             step n of life l of client c does is a function of the seed, c, l and n alone: a
 *             failure can be replayed. An operation whose object doesn't exist makes it.
 * Invariants  S1  slot->step and slot->operation are set before the operation runs, so that the
 *                 parent knows where a client died.
 *             S2  in a shared region a client writes its own part only, and checks exactly what
 *                 it has written itself since it opened the region; the rest it checks for being
 *                 zero or the pattern of that page.
 * Not here    Killing, stopping and the last reckoning (suite_stress.c).
 */
#ifndef MMB_BENCH_STRESS_CLIENT_H
#define MMB_BENCH_STRESS_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/pattern.h"
#include "lib/random.h"
#include "mmbroker.h"

enum {
	STRESS_CLIENTS_MAX = 256,
	STRESS_REGIONS = 8,
	STRESS_SHARED = 4, /* names; the last one has 2 MiB pages */
	STRESS_RUNS = 48,
	STRESS_OBJECTS = 40,
	STRESS_PASSED = 256,
	STRESS_TEXT = 320,
	STRESS_FAILED = 3, /* exit status of a client that saw something wrong */
};

#define STRESS_POOL "stress"

/* One client's place in the shared table. a: atomic, the client writes */
struct stress_slot {
	_Atomic uint64_t    step;      /* (a) of this life */
	_Atomic uint64_t    done;      /* (a) operations in all lives */
	_Atomic uint64_t    refused;   /* (a) allocations refused for lack of memory */
	const char *_Atomic operation; /* (a) a string of the program: the same in all processes */
	char                text[STRESS_TEXT]; /* what was wrong, before exiting STRESS_FAILED */
};

/* Shared by parent and clients. c: fixed before the first fork */
struct stress_shared {
	const char        *socket;  /* (c) */
	uint64_t           seed;    /* (c) */
	unsigned int       clients; /* (c) */
	_Atomic bool       held;    /* the common pool is open */
	_Atomic bool       finish;  /* no more operations: give back and go */
	_Atomic bool       all_gone; /* the holder may go as well */
	struct stress_slot slots[STRESS_CLIENTS_MAX];
	/* Addresses of objects in the common pool, which lives as long as the suite: a client's
	 * own, which its next life takes over, and those that anybody may take. */
	_Atomic uint64_t   kept[STRESS_CLIENTS_MAX][STRESS_OBJECTS];
	_Atomic uint64_t   passed[STRESS_PASSED];
};

/* A region with what every page must hold. */
struct stress_region {
	struct mmb_region *region; /* NULL: this slot is free */
	char              *base;
	uint64_t           object;    /* for pattern_key() */
	uint32_t           page_size, pages;
	uint32_t           own_first, own_pages; /* this client may write these */
	uint32_t          *generations; /* by page of the own part; PATTERN_ANY: unknown */
	uint32_t           locked_first, locked_pages;
	bool               readonly, locked; /* locked: as a whole, at creation */
};

struct stress_run {
	void            *pages; /* NULL: free */
	struct mmb_pool *pool;
	uint64_t         object;
	uint32_t         order;
};

struct stress_client {
	struct stress_shared *shared;
	struct stress_slot   *slot;
	unsigned int          index, life;
	uint64_t              random; /* of the current operation */
	uint64_t              objects; /* numbers given out so far */
	struct mmb           *mmb;
	struct mmb_pool      *pool, *own; /* everybody's, and private */
	struct stress_region  regions[STRESS_REGIONS], named[STRESS_SHARED];
	struct stress_run     runs[STRESS_RUNS];
	uint64_t             *objects_own[STRESS_OBJECTS]; /* in the private pool */
	struct mmb_cache     *cache; /* of the common pool */
};

/* 0, or STRESS_FAILED with slot->text set. */
typedef int (*stress_fn)(struct stress_client *c);

struct stress_operation {
	const char  *name;
	unsigned int weight;
	stress_fn    run;
};

/* Everything a client can do; a new interface adds its lines here. */
extern const struct stress_operation stress_operations[];
extern const unsigned int stress_nr_operations;

/* A life; never returns. */
_Noreturn void stress_client_main(struct stress_shared *shared, unsigned int index,
				  unsigned int life);

/* ---- for operations ---- */

int stress_fail(struct stress_client *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Right if code is 0; -ENOMEM is counted; both give 0. Anything else fails. */
int stress_accept(struct stress_client *c, int code, const char *what);
/* code must be `wanted`. */
int stress_expect(struct stress_client *c, int code, int wanted, const char *what);
int stress_connect(struct stress_client *c);
/* Checks a sample of everything, forgets it and closes the connection. */
int stress_disconnect(struct stress_client *c);

static inline uint32_t stress_pick(struct stress_client *c, uint32_t bound)
{
	return (uint32_t)random_below(&c->random, bound);
}

/* A number no other object of this run has. */
uint64_t stress_object(struct stress_client *c);

/* ---- regions of both kinds (regions.c) ---- */

struct stress_range {
	uint32_t first, nr;
};

/* Makes an existing handle's bookkeeping; generation is what every own page begins with. */
int stress_region_keep(struct stress_client *c, struct stress_region *r, uint32_t generation);
void stress_region_drop(struct stress_region *r);
/* Within the own part. */
struct stress_range stress_range_pick(struct stress_client *c, const struct stress_region *r,
				      uint32_t longest);
void stress_range_write(struct stress_region *r, struct stress_range range);
int stress_range_check(struct stress_client *c, struct stress_region *r,
		       struct stress_range range);
int stress_range_drop(struct stress_client *c, struct stress_region *r, struct stress_range range);

/* ---- operations, by file ---- */

int stress_region_toggle(struct stress_client *c);
int stress_region_write(struct stress_client *c);
int stress_region_check(struct stress_client *c);
int stress_region_advise(struct stress_client *c);
int stress_region_lock(struct stress_client *c);
int stress_region_stat(struct stress_client *c);
int stress_region_io(struct stress_client *c);
int stress_region_zap(struct stress_client *c);
int stress_region_race(struct stress_client *c);
int stress_region_unmap(struct stress_client *c);

int stress_clone(struct stress_client *c);
int stress_clone_snapshot(struct stress_client *c);
int stress_clone_many(struct stress_client *c);
int stress_clone_rollback(struct stress_client *c);

int stress_shared_toggle(struct stress_client *c);
int stress_shared_write(struct stress_client *c);
int stress_shared_check(struct stress_client *c);
int stress_shared_drop(struct stress_client *c);
int stress_shared_unlink(struct stress_client *c);

int stress_run_toggle(struct stress_client *c);
int stress_run_burst(struct stress_client *c);

int stress_object_toggle(struct stress_client *c);
int stress_object_private(struct stress_client *c);
int stress_object_resize(struct stress_client *c);
int stress_object_pass(struct stress_client *c);
int stress_object_bulk(struct stress_client *c);
int stress_object_cached(struct stress_client *c);
int stress_object_mempool(struct stress_client *c);
int stress_object_trim(struct stress_client *c);

int stress_reconnect(struct stress_client *c);
int stress_pool_private(struct stress_client *c);
int stress_shrinker(struct stress_client *c);
int stress_pool_stat(struct stress_client *c);
int stress_mistakes(struct stress_client *c);
int stress_greed(struct stress_client *c);
int stress_fork(struct stress_client *c);

/* Opens the cache; from then on addresses of the common pool are good in this process. */
int stress_objects_connect(struct stress_client *c);
/* The private pool is about to close. */
int stress_objects_forget_own(struct stress_client *c);
/* And the connection. */
int stress_objects_disconnect(struct stress_client *c);
/* Keeps the common pool until the end; never returns. */
_Noreturn void stress_holder_main(struct stress_shared *shared);
/* Runs of a pool that is about to close are gone with it. */
int stress_runs_forget(struct stress_client *c, const struct mmb_pool *pool);

#endif
