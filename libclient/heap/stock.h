/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock - units that a process has leased and doesn't use at the moment
 *
 * Purpose     Stands between heaps and the daemon: leases come in batches that double, what isn't
 *             needed for a while goes back. Units are kept by pageblock, a bit each, so that what
 *             was freed in pieces serves a larger span, and a larger one many small ones.
 * Invariants  K1  A unit in stock is nobody's slab: the kind of its header is SLAB_NONE and its
 *                 owner the process's shelf, so that a survivor finds it after our death.
 *             K2  A span crosses a multiple of 2 MiB only where that was allowed, and never the end
 *                 of a window.
 *             K3  Blocks are in the order of their addresses, and each has a unit in stock. The
 *                 lowest addresses are taken first, so that the others can go back whole.
 * Locking     stock.lock; no request to the daemon is made under it. Before it stock.leasing, for
 *             the whole of a lease: who comes second finds what the first one got.
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
	STOCK_LOW = 1,          /* fewer units than that: the keeper leases more */
	STOCK_BLOCK_UNITS = 32, /* of a pageblock */
	STOCK_TICKS = 3,        /* for so long part of a block is kept that nobody takes from */
	STOCK_BLOCK_BYTES = STOCK_BLOCK_UNITS * SLAB_UNIT_BYTES,
};

struct stock_lease {
	uint32_t units, count; /* count spans of so many units */
	unsigned int gfp;
};

struct stock_span {
	uint64_t address;
	uint32_t units;
};

/* Where units come from: the daemon, or plain memory in tests. */
struct stock_source {
	void *context;
	/* Gives 1 to count addresses; 0 or a negative errno with its sentence. */
	int (*lease)(void *context, const struct stock_lease *want, uint64_t *addresses,
		     uint32_t *nr);
	/* Takes nr spans back. */
	void (*give)(void *context, const struct stock_span *spans, uint32_t nr);
	/* heap_pool_tick() should be called: in a while, or now. False: nobody will. */
	bool (*kick)(void *context, bool now);
};

/* l: stock.lock */
struct stock_block {
	uint64_t base;  /* (l) a multiple of STOCK_BLOCK_BYTES */
	uint32_t free;  /* (l) a bit a unit in stock */
	uint32_t least; /* (l) those that have been all the time since the last tick */
	uint32_t ticks; /* (l) since a unit was taken */
};

struct heap_pool;

/* c: fixed   l: lock   a: atomic, changed under lock */
struct stock {
	struct stock_source source; /* (c) */
	struct heap_pool   *pool;   /* (c) */
	pthread_mutex_t     leasing;
	pthread_mutex_t     lock;
	struct stock_block *blocks;   /* (l) K3 */
	uint32_t            nr_blocks, room; /* (l) */
	uint32_t            batch;    /* (l) single units of the next lease */
	int64_t             owned;    /* (l) units leased less those given back, about: adopted ones
				       * were leased by others */
	_Atomic uint64_t    nr_units; /* (a) in stock */
	_Atomic uint64_t    nr_leases, nr_gives; /* (a) requests */
	bool                topping;  /* (l) the keeper has been asked for more single units */
	_Atomic bool        kicked;   /* (a) the keeper ticks */
};

int  stock_init(struct stock *stock, const struct stock_source *source, struct heap_pool *pool);
/* What is in stock is forgotten: stock_flush() first. */
void stock_fini(struct stock *stock);
/* A span of so many units, aligned to `align` of them, a power of two up to STOCK_BLOCK_UNITS; 0:
 * none to be had, sentence recorded. */
struct stock_want {
	uint32_t units, align;
	bool     may_cross; /* multiples of 2 MiB */
};
uint64_t stock_take(struct stock *stock, const struct stock_want *want);
/* The same without a lease; *low: so little is left that the keeper would be asked for more. */
uint64_t stock_take_held(struct stock *stock, const struct stock_want *want, bool *low);
/* Asks the keeper for more, if it is low. */
void stock_look_ahead(struct stock *stock);
/* Of the units right before an address, as many as are in stock: at least `least`, or none, and at
 * most `most`. How many it was. */
uint32_t stock_take_before(struct stock *stock, uint64_t address, uint32_t least, uint32_t most);
/* The same of those from an address on. */
uint32_t stock_take_at(struct stock *stock, uint64_t address, uint32_t least, uint32_t most);
/* Fresh leases, whoever asked for them; -ENOMEM with a sentence: none of them could be kept. */
int stock_fill(struct stock *stock, uint32_t units, const uint64_t *spans, uint32_t nr);
/* A span that nobody uses any more (K1 is made true here). */
void stock_put(struct stock *stock, uint64_t address, uint32_t units);
/* Once in a while: what was not needed since the last time goes back. True: there is more left. */
bool stock_tick(struct stock *stock);
/* All of it goes back, and what the keeper has been asked for isn't wanted any more. */
void stock_flush(struct stock *stock);
/* Makes sure that somebody will call heap_pool_tick(). */
void stock_kick(struct stock *stock);

#endif
