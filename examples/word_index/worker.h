/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker - one process that fills the index and then asks it
 *
 * Opens the pool and both regions by name, takes chunks until none is left and nobody may give one
 * back, looks random words up, and stays until the coordinator is done with its postings.
 */
#ifndef EXAMPLES_WORD_INDEX_WORKER_H
#define EXAMPLES_WORD_INDEX_WORKER_H

#include <stdint.h>

/* The worker's main. An exit status. */
int worker_main(const char *pool_name, uint32_t number);
/* Sleeps for a moment, between two looks at a word of shared memory. */
void nap(void);
uint64_t clock_ns(void);

#endif
