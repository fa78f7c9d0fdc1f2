/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suites - the suites of mmb-bench
 *
 * Purpose     One function a suite. b->socket is a broker's, where the suite asked for one.
 */
#ifndef MMB_BENCH_SUITES_H
#define MMB_BENCH_SUITES_H

#include "lib/bench.h"

void suite_pages(struct bench *b);
void suite_objects(struct bench *b);
void suite_fault(struct bench *b);
void suite_rpc(struct bench *b);
void suite_start(struct bench *b);
void suite_death(struct bench *b);
void suite_overhead(struct bench *b);
void suite_malloc(struct bench *b);
void suite_clone(struct bench *b);
void suite_swap(struct bench *b);
void suite_stress(struct bench *b);

#endif
