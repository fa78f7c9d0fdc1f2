/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start - from the start of a program to its end, with one allocation in between
 *
 * Purpose     start_ours, start_process and start_floor in turns, many times each.
 */
#ifndef MMB_BENCH_MALLOC_START_H
#define MMB_BENCH_MALLOC_START_H

#include "lib/bench.h"

/* Milliseconds: of ours, of libc's, of the bare mechanism's (floor_give.h), and the most that ours
 * may need. */
enum { START_OURS, START_LIBC, START_FLOOR, START_PROGRAMS, START_LIMIT = START_PROGRAMS };

/* A side without an arg. BENCH_SKIP: start_ours isn't built. */
int start_side(struct bench *b, const void *arg, struct sample *out);

#endif
