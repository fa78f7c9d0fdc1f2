/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker - builds its part of the index, in its own page runs
 *
 * A worker may be killed at any instruction. What it leaves behind is harmless: words it has put
 * into slots stay right, its lists are ignored, its page runs go back to the pool by themselves.
 */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "index.h"
#include "tally.h"
#include "word.h"

enum { RUN_ORDER = 6, RUN_BYTES = 4096 << RUN_ORDER, LOOKUPS = 200000 };

struct worker {
	uint32_t              number;
	struct mmb           *broker;
	struct mmb_pool      *pool;
	struct index         *index;
	struct worker_report *report;
	struct tally         *tally;
	struct posting       *next_posting, *end_of_run;
};

void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
}

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int worker_open(struct worker *w, const char *pool_name, uint32_t number)
{
	struct mmb_region *corpus, *index;
	int r = mmb_open(NULL, NULL, &w->broker);

	if (r == 0)
		r = mmb_pool_open(w->broker, pool_name, 0, NULL, &w->pool);
	if (r == 0)
		r = mmb_region_open(w->pool, CORPUS_REGION, 0, MMB_REGION_READONLY, NULL, &corpus);
	if (r == 0)
		r = mmb_region_open(w->pool, INDEX_REGION, 0, 0, NULL, &index);
	if (r == 0)
		r = tally_open(w->pool, &w->tally);
	if (r < 0)
		return r;
	w->number = number;
	w->index = mmb_region_address(index);
	w->report = &w->index->reports[number];
	/* Pointers are shared as they are. */
	return mmb_region_address(corpus) == w->index->corpus ? 0 : -EADDRNOTAVAIL;
}

static struct posting *posting_new(struct worker *w)
{
	if (w->next_posting == w->end_of_run) {
		struct posting *run = mmb_alloc_pages(w->pool, RUN_ORDER, MMB_GFP_KERNEL);

		if (!run)
			return NULL;
		w->next_posting = run;
		w->end_of_run = run + RUN_BYTES / sizeof(*run);
		w->report->run_bytes += RUN_BYTES;
	}
	return w->next_posting++;
}

/* The word stands `count` more times in the document. */
static int worker_add(struct worker *w, const char *word, uint32_t document, uint32_t count)
{
	struct slot *slot = index_slot(w->index, word);
	struct posting *posting;

	if (!slot)
		return -ENOSPC;
	posting = slot->of[w->number];
	if (posting && posting->document == document) {
		posting->count += count;
		return 0;
	}
	posting = posting_new(w);
	if (!posting)
		return -ENOMEM;
	*posting = (struct posting){ slot->of[w->number], document, count };
	slot->of[w->number] = posting;
	return 0;
}

/* Moves what is tallied into the shared index. */
static int worker_flush(struct worker *w, uint32_t document)
{
	struct tally_entry entry;
	int r = 0;

	while (r == 0 && (entry = tally_take(w->tally)).word)
		r = worker_add(w, entry.word, document, (uint32_t)entry.count);
	return r;
}

static int worker_do_chunk(struct worker *w, const struct chunk *chunk)
{
	const struct corpus *corpus = w->index->corpus;
	int r = 0;

	for (uint32_t i = chunk->first; i < chunk->first + chunk->nr && r == 0; i++) {
		const struct document *document = &corpus->documents[i];
		const char *end = document->text + document->bytes;
		const char *word = word_next(document->text, end);

		while (word && r == 0) {
			if (tally_add(w->tally, word))
				word = word_next(word_end(word), end);
			else
				r = worker_flush(w, i);
		}
		if (r == 0)
			r = worker_flush(w, i);
	}
	return r;
}

static void worker_pause(struct worker *w)
{
	atomic_store(&w->report->is_paused, 1);
	while (atomic_load(&w->index->is_pausing))
		nap();
	atomic_store(&w->report->is_paused, 0);
}

static int worker_build(struct worker *w)
{
	struct index *index = w->index;
	uint32_t i = 0;
	int r = 0;

	while (r == 0 && atomic_load(&index->stage) == STAGE_BUILD) {
		uint8_t expected = CHUNK_FREE;

		if (atomic_load(&index->is_pausing) && w->number != index->victim)
			worker_pause(w);
		if (i == index->corpus->nr_chunks) {
			nap();
			i = 0; /* a lost worker's chunks may be free again */
		}
		if (atomic_compare_exchange_strong(&index->chunks[i], &expected,
						   CHUNK_TAKEN | w->number)) {
			r = worker_do_chunk(w, &index->corpus->chunks[i]);
			atomic_store(&index->chunks[i], CHUNK_DONE | w->number);
		}
		i++;
	}
	return r;
}

/* Looks words up that lie at random places of the corpus. */
static void worker_query(struct worker *w)
{
	const struct corpus *corpus = w->index->corpus;
	const char *end = corpus->text + corpus->bytes;
	uint64_t begin = clock_ns(), random = w->number + 1;

	for (uint32_t i = 0; i < LOOKUPS; i++) {
		const struct slot *slot;
		const char *word;

		random = random * 6364136223846793005 + 1442695040888963407;
		word = word_next(corpus->text + (random >> 20) % corpus->bytes, end);
		while (word && word > corpus->text && word_letter(word[-1]))
			word--;
		slot = word ? index_find(w->index, word) : NULL;
		w->report->misses += word && (!slot || !index_any(w->index, slot));
		w->report->lookups += word != NULL;
	}
	w->report->query_ns = clock_ns() - begin;
	atomic_store(&w->report->has_queried, 1);
}

int worker_main(const char *pool_name, uint32_t number)
{
	struct worker w = { 0 };
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = worker_open(&w, pool_name, number);
	if (r < 0) {
		fprintf(stderr, "worker %u: %s\n", number, mmb_error());
		return EXIT_FAILURE;
	}
	r = worker_build(&w);
	if (r < 0) {
		fprintf(stderr, "worker %u: %s\n", number,
			r == -ENOMEM ? mmb_error() : strerror(-r));
		return EXIT_FAILURE;
	}
	worker_query(&w);
	while (atomic_load(&w.index->stage) != STAGE_FINISH)
		nap();
	mmb_close(w.broker);
	return EXIT_SUCCESS;
}
