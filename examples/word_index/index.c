/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index - the hash table in the shared region
 *
 * Linear probing over slots of one cache line. A region is zero when it is new, so an untouched
 * slot is an empty one, and pages nobody hashes to are never made.
 */
#include "index.h"

#include "word.h"

enum { SMALL_PAGE = 4096, BYTES_A_SLOT = 128, SLOTS_MIN = 1 << 12 };

static uint64_t round_to(uint64_t value, uint64_t step)
{
	return (value + step - 1) / step * step;
}

int index_create(struct mmb_pool *pool, struct corpus *corpus, uint32_t nr_workers,
		 struct mmb_region **out)
{
	uint64_t head = round_to(sizeof(struct index) + corpus->nr_chunks, SMALL_PAGE);
	uint64_t nr_slots = SLOTS_MIN;
	struct index *index;
	int r;

	while (nr_slots < corpus->bytes / BYTES_A_SLOT)
		nr_slots *= 2;
	r = mmb_region_open(pool, INDEX_REGION, head + nr_slots * sizeof(struct slot),
			    MMB_REGION_CREATE | MMB_REGION_EXCL, NULL, out);
	if (r < 0)
		return r;
	index = mmb_region_address(*out);
	index->corpus = corpus;
	index->nr_slots = (uint32_t)nr_slots;
	index->nr_workers = nr_workers;
	index->chunks = (_Atomic uint8_t *)(index + 1);
	index->slots = (struct slot *)((char *)index + head);
	return 0;
}

struct slot *index_slot(struct index *index, const char *word)
{
	uint64_t hash = word_hash(word);

	for (uint32_t i = 0; i < index->nr_slots; i++) {
		struct slot *slot = &index->slots[(hash + i) & (index->nr_slots - 1)];
		const char *there = atomic_load(&slot->word);

		if (!there && atomic_compare_exchange_strong(&slot->word, &there, word)) {
			atomic_fetch_add(&index->nr_words, 1);
			return slot;
		}
		if (word_equal(there, word))
			return slot;
	}
	return NULL;
}

const struct slot *index_find(const struct index *index, const char *word)
{
	uint64_t hash = word_hash(word);

	for (uint32_t i = 0; i < index->nr_slots; i++) {
		const struct slot *slot = &index->slots[(hash + i) & (index->nr_slots - 1)];
		const char *there = atomic_load(&slot->word);

		if (!there)
			return NULL;
		if (word_equal(there, word))
			return slot;
	}
	return NULL;
}

const struct posting *index_any(const struct index *index, const struct slot *slot)
{
	for (uint32_t w = 0; w < index->nr_workers; w++)
		if (!(index->lost & 1U << w) && slot->of[w])
			return slot->of[w];
	return NULL;
}

struct word_total index_total(const struct index *index, const struct slot *slot)
{
	struct word_total total = { 0 };

	for (uint32_t w = 0; w < index->nr_workers; w++) {
		const struct posting *p = index->lost & 1U << w ? NULL : slot->of[w];

		for (; p; p = p->next) {
			total.count += p->count;
			total.documents++;
			if (p->count > total.in_most) {
				total.in_most = p->count;
				total.most = &index->corpus->documents[p->document];
			}
		}
	}
	return total;
}

uint32_t index_chunks_done(const struct index *index, uint32_t w, uint32_t *of_worker)
{
	uint32_t done = 0;

	*of_worker = 0;
	for (uint32_t i = 0; i < index->corpus->nr_chunks; i++) {
		uint8_t state = atomic_load(&index->chunks[i]);

		done += (state & CHUNK_DONE) != 0;
		*of_worker += state == (CHUNK_DONE | w);
	}
	return done;
}

uint32_t index_forget_worker(struct index *index, uint32_t w)
{
	uint32_t given_back = 0;

	index->lost |= 1U << w;
	for (uint32_t i = 0; i < index->corpus->nr_chunks; i++) {
		uint8_t state = atomic_load(&index->chunks[i]);

		if (state != CHUNK_FREE && (state & CHUNK_WORKER) == w) {
			atomic_store(&index->chunks[i], CHUNK_FREE);
			given_back++;
		}
	}
	return given_back;
}
