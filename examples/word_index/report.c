/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report - sums of the finished index, printed for people and written for the comparison
 */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

#include "tally.h"
#include "word.h"

#define MIB(bytes) ((double)(bytes) / (1 << 20))
#define MS(ns) ((double)(ns) / 1e6)

enum { NR_TOP = 5 };

void report_loss(const struct loss *loss)
{
	printf("  lost      worker %u (pid %d), killed with a private region of %.1f MiB "
	       "and %.1f MiB of page runs;\n",
	       loss->worker, loss->pid, MIB(TALLY_BYTES), MIB(loss->run_bytes));
	printf("            %.1f ms later: sessions %" PRIu64 " -> %" PRIu64
	       ", committed %.1f -> %.1f MiB, resident %.1f -> %.1f MiB;\n",
	       MS(loss->ns), loss->before.sessions, loss->after.sessions,
	       MIB(loss->before.committed), MIB(loss->after.committed),
	       MIB(loss->before.resident), MIB(loss->after.resident));
	printf("            the others did its %u finished chunks and %u unfinished ones again\n",
	       loss->chunks_done, loss->chunks_again - loss->chunks_done);
}

void report_build(const struct index *index, uint64_t ns)
{
	const struct corpus *corpus = index->corpus;

	printf("  built     %.1f MiB of text, %u documents, %u distinct words, by %u processes in "
	       "%.2f s: %.0f MiB/s\n", MIB(corpus->bytes), corpus->nr_documents,
	       atomic_load(&index->nr_words), index->nr_workers, MS(ns) / 1e3,
	       MIB(corpus->bytes) / (MS(ns) / 1e3));
}

uint64_t report_queries(const struct index *index)
{
	uint64_t lookups = 0, misses = 0;
	double per_second = 0;

	for (uint32_t w = 0; w < index->nr_workers; w++) {
		const struct worker_report *report = &index->reports[w];

		if (index->lost & 1U << w)
			continue;
		lookups += report->lookups;
		misses += report->misses;
		per_second += (double)report->lookups / ((double)report->query_ns / 1e9);
	}
	printf("  asked     %" PRIu64 " random words: %.1f million look-ups a second, %" PRIu64
	       " missed\n", lookups, per_second / 1e6, misses);
	return misses;
}

/* Keeps top[] sorted, the most frequent first. */
static void top_insert(const struct slot *slots[NR_TOP], uint64_t counts[NR_TOP],
		       const struct slot *slot, uint64_t count)
{
	for (int i = 0; i < NR_TOP; i++) {
		if (count > counts[i]) {
			const struct slot *lower = slots[i];
			uint64_t lower_count = counts[i];

			slots[i] = slot;
			counts[i] = count;
			slot = lower;
			count = lower_count;
		}
	}
}

void report_answers(const struct index *index, const char *word)
{
	const struct slot *slot = index_find(index, word), *top[NR_TOP] = { 0 };
	uint64_t counts[NR_TOP] = { 0 };

	for (uint32_t i = 0; i < index->nr_slots; i++) {
		if (atomic_load(&index->slots[i].word))
			top_insert(top, counts, &index->slots[i],
				   index_total(index, &index->slots[i]).count);
	}
	printf("  answers   most frequent:");
	for (int i = 0; i < NR_TOP && top[i]; i++) {
		const char *text = atomic_load(&top[i]->word);

		printf(" %.*s %" PRIu64, (int)(word_end(text) - text), text, counts[i]);
	}
	printf("\n");
	if (slot) {
		struct word_total total = index_total(index, slot);

		printf("            \"%s\" %" PRIu64 " times in %" PRIu64
		       " documents, most (%u) in %s\n",
		       word, total.count, total.documents, total.in_most, total.most->name);
	}
}

void report_memory(const struct mmb_pool_stat *pool, const struct mmb_region_stat *corpus,
		   const struct mmb_region_stat *index, uint64_t run_bytes)
{
	printf("  memory    corpus %.1f MiB in %" PRIu64 " KiB pages, index %.1f of %.1f MiB in "
	       "%" PRIu64 " KiB pages, page runs %.1f MiB;\n", MIB(corpus->resident),
	       corpus->page_size >> 10, MIB(index->resident), MIB(index->length),
	       index->page_size >> 10, MIB(run_bytes));
	printf("            pool: %.1f MiB resident, %.1f MiB committed; faults: %" PRIu64
	       " on the corpus, %" PRIu64 " on the index\n", MIB(pool->resident),
	       MIB(pool->committed), corpus->faults, index->faults);
}

int index_write_counts(const struct index *index, const char *path)
{
	FILE *file = fopen(path, "we");
	int failed;

	if (!file)
		return -1;
	for (uint32_t i = 0; i < index->nr_slots; i++) {
		const char *text = atomic_load(&index->slots[i].word);
		struct word_total total;

		if (!text)
			continue;
		total = index_total(index, &index->slots[i]);
		for (; word_letter(*text); text++)
			fputc(word_letter(*text), file);
		fprintf(file, " %" PRIu64 " %" PRIu64 "\n", total.count, total.documents);
	}
	failed = ferror(file);
	return fclose(file) || failed ? -1 : 0;
}
