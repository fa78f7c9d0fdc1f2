/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range_heap - a pool's objects above 4 MiB: chunks of 2 MiB pages, cut up and kept for a while
 *
 * Purpose     An object is an extent of chunks that the process got earlier, as a rule of pages
 *             that it has touched already: no message, no page fault, nothing to fill with zeros. A
 *             chunk is charged in full when it comes. So the heap grows by what is missing and a
 *             little more, where least is missing: in a gap beside free memory, or at the end of
 *             what it has at home. Objects lie across chunks there. A chunk that can't be there
 *             lies anywhere, and so does one of an object whose place others take again and again.
 * Invariants  R1  The extents are all of the chunks' memory and nothing else: where chunks don't
 *                 touch there is a gap, which has no extent.
 *             R2  What has been free for RANGE_IDLE_MS goes back at the next tick: wholly free
 *                 chunks are closed, of others the free pages are emptied.
 *             R3  Where the heap would have more than the most that its objects were since the last
 *                 tick, and a sixteenth, it closes free chunks before it grows: as much as is
 *                 missing, if they have it. Hence chunks are small.
 *             R4  An object that was freed, or was none, is found as such: its pages name none.
 *             R5  closed: no address is found any more.
 * Locking     work for growing and giving back, outermost, held while the source is asked. lock for
 *             everything else; neither the source nor another lock is used under it.
 * Not here    Extents (extents.h), addresses (page.h), the daemon (range.c).
 */
#ifndef MMB_LIBCLIENT_RANGES_RANGE_HEAP_H
#define MMB_LIBCLIENT_RANGES_RANGE_HEAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ranges/extents.h"

enum {
	RANGE_IDLE_MS = 1000,
	RANGE_AHEAD_SHIFT = 8, /* a chunk may be larger than needed by 1/256 of the heap */
	RANGE_SLACK_SHIFT = 4, /* R3 */
	RANGE_PIECES = 8,      /* chunks for what is missing, at most but for the least size */
	RANGE_CHUNKS = 128,    /* of a heap, by and large: no smaller part of it is a chunk */
};
#define RANGE_HOME_BYTES  (64ull << 30)
#define RANGE_AHEAD_MAX   (64ull << 20)
#define RANGE_CHUNK_LEAST (4ull << 20)
#define RANGE_LEAST_BYTES (3ull << 20) /* a smaller object has no place here */

/* A chunk that is wanted, and one that came: at `address`, or anywhere where that is 0. */
struct range_backing {
	uint64_t address, length;
	void    *token;
};

/* Where chunks come from. All but now_ms() may take long. */
struct range_source {
	void *context;
	/* Zero pages, on a multiple of RANGE_PAGE. -EADDRNOTAVAIL: not there. */
	int (*create)(void *context, struct range_backing *backing);
	/* A part is zero again and charged only as a promise. */
	int (*empty)(void *context, const struct range_backing *backing, uint64_t offset,
		     uint64_t length);
	void (*destroy)(void *context, const struct range_backing *backing);
	/* There will be something to give back in a while. */
	void (*kick)(void *context);
	uint64_t (*now_ms)(void *context);
	/* Addresses that nobody else will want, RANGE_HOME_BYTES of them: there chunks lie one
	 * behind the other. */
	uint64_t home;
};

/* c: fixed   l: lock */
struct range_chunk {
	LIST_ENTRY(range_chunk) link;    /* (l) */
	struct range_backing    backing; /* (c) */
};

/* w: work */
struct range_counts {
	uint64_t chunks_made, chunks_closed, pages_emptied; /* (w) */
};

/* c: fixed   l: lock   a: atomic   w: work */
struct range_heap {
	struct range_source source; /* (c) */
	pthread_mutex_t     work;
	pthread_mutex_t     lock;
	struct extents      extents; /* (l) */
	LIST_HEAD(, range_chunk) chunks; /* (l) changed with work held too */
	uint64_t            bytes;   /* (l) of all chunks */
	uint64_t            live;    /* (l) of all objects */
	uint64_t            most;    /* (l) R3; of live */
	bool                closed;  /* (l) R5 */
	atomic_bool         kicked;  /* (a) a tick will come */
	struct range_counts counts;  /* (w) */
};

struct range_heap *range_heap_new(const struct range_source *source);
/* Nobody uses it any more: its chunks go. */
void range_heap_free(struct range_heap *heap);
void range_heap_close(struct range_heap *heap);

struct range_request {
	size_t size;
	size_t align; /* a power of two up to RANGE_PAGE */
	bool   zero;  /* the object shall be filled with zeros */
};

/* 0 with the object's address, or -ENOMEM with a sentence. */
int range_heap_alloc(struct range_heap *heap, const struct range_request *request, uint64_t *out);

enum range_found { RANGE_OBJECT, RANGE_INSIDE, RANGE_NOTHING };
/* Frees the object, if that is what begins there. */
enum range_found range_heap_put(struct range_heap *heap, uint64_t object);
/* The length of the object that begins there; 0: none does. */
size_t range_heap_length(struct range_heap *heap, uint64_t object);
/* Whether the object could be given the size where it is. */
bool range_heap_resize(struct range_heap *heap, uint64_t object, size_t size);

/* Gives back what has been free so long; true: other memory is free, and its time will come. */
bool range_heap_trim(struct range_heap *heap, uint32_t idle_ms);
bool range_heap_tick(struct range_heap *heap);

uint32_t range_heap_validate(struct range_heap *heap);

/* The heap that has a chunk there; NULL: none. No lock. */
static inline struct range_heap *range_heap_find(uint64_t address)
{
	struct range_page *page = range_page(address);

	return page ? atomic_load_explicit(&page->heap, memory_order_acquire) : NULL;
}

#endif
