/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subject - memory that can be copied at once: a process that forks, a region that is cloned
 *
 * Purpose     What the cases of the clone suite measure, told once for both.
 * Invariants  J1  every word of a page that subject_fill() wrote names its page; a copy shows
 *                 these words whatever is written to the original later.
 */
#ifndef MMB_BENCH_CLONE_SUBJECT_H
#define MMB_BENCH_CLONE_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bench.h"

struct subject {
	const struct subject_kind *kind;
	const char                *socket; /* ours */
	uint64_t                   bytes;
	uint32_t                   page; /* 4096, or 2 MiB: a huge page */
	bool                       overcommit; /* ours: a copy is promised more than there is */
	/* Set by take(). */
	char                      *base;
	char                      *copy_base; /* by copy(); NULL: it is in another process */
	void                      *private;
};

/* 0, BENCH_SKIP or negative after bench_because(). */
struct subject_kind {
	const char *name;
	int (*take)(struct subject *s);
	int (*copy)(struct subject *s);
	/* The copy goes, and all that it cost. */
	int (*drop)(struct subject *s);
	/* The copy's contents to a file, by somebody who isn't the caller; and its end. */
	int (*stream)(struct subject *s, int fd);
	int (*streamed)(struct subject *s);
	/* Bytes that the original and its copy take now. */
	int (*memory)(struct subject *s, uint64_t *bytes);
};
extern const struct subject_kind subject_fork, subject_clone, subject_armed;

enum { SUBJECT_SMALL = 4096, SUBJECT_HUGE = 2 << 20, SUBJECT_BLOCK = 1 << 20 };

/* Writes every page (J1). */
void subject_fill(const struct subject *s);
/* The copy is what the original was, by a look at each small page. */
int subject_check(const struct subject *s, const char *copy);
/* All of `from` to a file opened with O_DIRECT, through a buffer: shared by both kinds. Every page
 * is checked on its way. */
int subject_pour(const struct subject *s, const char *from, int fd);

#endif
