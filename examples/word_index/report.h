/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report - what the job says about itself, a line or two each
 */
#ifndef EXAMPLES_WORD_INDEX_REPORT_H
#define EXAMPLES_WORD_INDEX_REPORT_H

#include <sys/types.h>

#include "index.h"

struct loss {
	uint32_t             worker, chunks_done, chunks_again;
	pid_t                pid;
	uint64_t             run_bytes, ns; /* ns: from the kill until the memory was back */
	struct mmb_pool_stat before, after;
};

void report_loss(const struct loss *loss);
void report_build(const struct index *index, uint64_t ns);
/* The number of look-ups that didn't find their word. */
uint64_t report_queries(const struct index *index);
void report_answers(const struct index *index, const char *word);
void report_memory(const struct mmb_pool_stat *pool, const struct mmb_region_stat *corpus,
		   const struct mmb_region_stat *index, uint64_t run_bytes);

/* Writes "word count", one a line in no order, and how many documents have each: three columns.
 * 0 or -1. */
int index_write_counts(const struct index *index, const char *path);

#endif
