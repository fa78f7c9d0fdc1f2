/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages - page runs between the application, the caches and the daemon
 *
 * Purpose     mmb_alloc_pages and mmb_free_pages, and giving cached runs back.
 * Invariants  See cache.h (K1 to K3) and runmap.h (R1 to R3).
 */
#ifndef MMB_LIBCLIENT_PAGES_H
#define MMB_LIBCLIENT_PAGES_H

#include <stdbool.h>
#include <stdint.h>

struct mmb_pool;
struct run_cache;

struct run_request {
	unsigned int order, gfp;
	uint32_t     wanted; /* 1 to MMB_PAGES_BATCH */
};

/* Asks the daemon; fills runs[] and *nr (1 to wanted), marks them RUN_CACHED. */
int  pages_request(struct mmb_pool *pool, const struct run_request *request, uint64_t *runs,
		   uint32_t *nr);
/* Cached runs go back to the daemon. A refusal ends the process: it means that memory is no
 * longer what this process believes. */
void pages_return(struct mmb_pool *pool, unsigned int order, const uint64_t *runs, uint32_t nr);
/* Everything in this cache goes back. */
void pages_flush_cache(struct mmb_pool *pool, struct run_cache *cache);
/* Everything this process can reach goes back: the depot, the calling thread's cache now, other
 * threads' when they next use the pool. True: something did. */
bool pages_drain(struct mmb_pool *pool);

#endif
