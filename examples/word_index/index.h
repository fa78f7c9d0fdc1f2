/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index - an inverted index that several processes fill at once and any of them may leave
 *
 * Purpose     For each word, the documents that have it and how often. One named region of 4 KiB
 *             pages holds the head, the state of every chunk of work and the slots of an open hash
 *             table; the postings lie in page runs of the worker that found them. Everything is a
 *             plain pointer: regions and page runs have one address in all clients of the pool.
 * Invariants  X1  a slot's word is set once, by compare-and-swap, and points into the corpus.
 *             X2  worker w alone writes of[w] of any slot, and the postings behind it.
 *             X3  a lost worker's postings are never looked at again: its page runs went back with
 *                 its session. Its chunks are done again by others, into their own lists.
 *             X4  nobody follows another worker's list before the stage is STAGE_QUERY.
 * Locking     none.
 */
#ifndef EXAMPLES_WORD_INDEX_INDEX_H
#define EXAMPLES_WORD_INDEX_INDEX_H

#include <assert.h>
#include <stdatomic.h>

#include "corpus.h"

#define INDEX_REGION "index"

enum { WORKERS_MAX = 7 };
enum stage { STAGE_BUILD, STAGE_QUERY, STAGE_FINISH };
/* A chunk's state: nobody's, or a worker's number with one of these. */
enum { CHUNK_FREE = 0, CHUNK_TAKEN = 0x10, CHUNK_DONE = 0x20, CHUNK_WORKER = 0x0f };

struct posting {
	struct posting *next;
	uint32_t        document, count;
};

struct slot {
	_Atomic(const char *) word;
	struct posting       *of[WORKERS_MAX];
};
static_assert(sizeof(struct slot) == 64, "a slot is a cache line");

/* What a worker tells the coordinator. */
struct worker_report {
	_Atomic uint32_t is_paused, has_queried;
	uint64_t         run_bytes;            /* page runs taken for postings */
	uint64_t         lookups, misses, query_ns;
};

/* The head of the region. */
struct index {
	struct corpus       *corpus;
	_Atomic uint32_t     stage;            /* enum stage */
	_Atomic uint32_t     is_pausing;       /* workers but the victim stop between chunks */
	_Atomic uint32_t     nr_words;         /* slots in use */
	uint32_t             nr_slots;         /* a power of two */
	uint32_t             nr_workers, victim;
	uint32_t             lost;             /* bit w: worker w is gone */
	struct worker_report reports[WORKERS_MAX];
	_Atomic uint8_t     *chunks;           /* CHUNK_*, one a chunk of the corpus */
	struct slot         *slots;
};

int index_create(struct mmb_pool *pool, struct corpus *corpus, uint32_t nr_workers,
		 struct mmb_region **out);

/* The word's slot, made if need be. NULL: the table is full. */
struct slot *index_slot(struct index *index, const char *word);
/* The word's slot, or NULL if nobody has seen it. The word need not lie in the corpus. */
const struct slot *index_find(const struct index *index, const char *word);

/* A posting of the slot that isn't a lost worker's, or NULL. */
const struct posting *index_any(const struct index *index, const struct slot *slot);

struct word_total {
	uint64_t               count, documents;
	const struct document *most; /* the document with most of them, `in_most` times */
	uint32_t               in_most;
};
/* Adds up the postings of all workers that weren't lost. */
struct word_total index_total(const struct index *index, const struct slot *slot);

/* Chunks done so far, those of worker w in *of_worker. */
uint32_t index_chunks_done(const struct index *index, uint32_t w, uint32_t *of_worker);
/* Gives the chunks of a lost worker back. The number of them. */
uint32_t index_forget_worker(struct index *index, uint32_t w);

#endif
