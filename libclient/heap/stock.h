/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock - units that a process has leased and doesn't use at the moment
 *
 * Purpose     Stands between heaps and the daemon: leases come in batches that double, spans that
 *             aren't needed for a while go back.
 * Invariants  K1  A span in stock is nobody's slab: the kind of its headers is SLAB_NONE and their
 *                 owner the process's shelf, so that a survivor finds them after our death.
 *             K2  A span on list n has n units and is aligned to the power of two that holds them,
 *                 so that it crosses a multiple of 2 MiB only if it is larger.
 * Locking     stock.lock; no request to the daemon is made under it.
 * Not here    Messages (source.c).
 */
#ifndef MMB_LIBCLIENT_HEAP_STOCK_H
#define MMB_LIBCLIENT_HEAP_STOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/slab_map.h"

enum {
	STOCK_BATCH_UNITS = 32, /* of the largest lease of single units: 2 MiB */
	STOCK_LOW = 8,          /* fewer single units than that: the keeper leases more */
	STOCK_RUN_ENTRIES = 64, /* spans on one list at least */
};

struct stock_lease {
	uint32_t units, count; /* count spans of so many units */
	unsigned int gfp;
};

/* Where units come from: the daemon, or plain memory in tests. */
struct stock_source {
	void *context;
	/* Gives 1 to count addresses; 0 or a negative errno with its sentence. */
	int (*lease)(void *context, const struct stock_lease *want, uint64_t *addresses,
		     uint32_t *nr);
	/* Takes nr spans of so many units back. */
	void (*give)(void *context, uint32_t units, const uint64_t *addresses, uint32_t nr);
	/* heap_pool_tick() should be called: in a while, or now. False: nobody will. */
	bool (*kick)(void *context, bool now);
};

/* l: stock.lock */
struct stock_list {
	uint64_t *spans;    /* (l) */
	uint32_t  nr, room; /* (l) */
	uint32_t  nr_least; /* (l) since the last tick: so many were not needed */
};

struct heap_pool;

/* c: fixed   l: lock   a: atomic, changed under lock */
struct stock {
	struct stock_source source; /* (c) */
	struct heap_pool   *pool;   /* (c) */
	pthread_mutex_t     lock;
	struct stock_list   lists[SLAB_UNITS_MAX + 1]; /* (l) */
	uint32_t            batch;    /* (l) single units of the next lease */
	_Atomic uint64_t    nr_units; /* (a) in stock */
	_Atomic uint64_t    nr_leases, nr_gives; /* (a) requests */
	bool                topping;  /* (l) the keeper has been asked for more single units */
	_Atomic bool        kicked;   /* (a) the keeper ticks */
};

int  stock_init(struct stock *stock, const struct stock_source *source, struct heap_pool *pool);
/* What is in stock is forgotten: stock_flush() first. */
void stock_fini(struct stock *stock);
/* A span of so many units; 0: none to be had, sentence recorded. */
uint64_t stock_take(struct stock *stock, uint32_t units);
/* Fresh leases, whoever asked for them; -ENOMEM with a sentence: none of them could be kept. */
int stock_fill(struct stock *stock, uint32_t units, const uint64_t *spans, uint32_t nr);
/* A span that nobody uses any more (K1 is made true here). */
void stock_put(struct stock *stock, uint64_t address, uint32_t units);
/* Once in a while: what was not needed since the last time goes back. True: there is more left. */
bool stock_tick(struct stock *stock);
void stock_flush(struct stock *stock);
/* Makes sure that somebody will call heap_pool_tick(). */
void stock_kick(struct stock *stock);

#endif
