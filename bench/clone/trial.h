/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial - what is measured of a subject, each time in a process of its own
 *
 * Purpose     The sides of the clone suite. What a trial fills in of a sample stands beside it.
 */
#ifndef MMB_BENCH_CLONE_TRIAL_H
#define MMB_BENCH_CLONE_TRIAL_H

#include "clone/subject.h"

enum trial {
	TRIAL_COPY,       /* FIGURE_COPY, FIGURE_DROP (of an untouched copy) */
	TRIAL_WRITE,      /* the original's first writes in random order: TOUCH_P50, TOUCH_P99 */
	TRIAL_WRITE_SEEN, /* the same, after the copy has looked at every page */
	TRIAL_OVERWRITE,  /* the original is written in order: TOUCH_PAGE */
	TRIAL_READ,       /* ours: the copy's first reads in random order: TOUCH_P50 */
	TRIAL_SCAN,       /* ours: the copy is read in order: TOUCH_PAGE */
	TRIAL_DIVERGE,    /* ours: the copy's first writes in random order: TOUCH_P50 */
	TRIAL_MAPPINGS,   /* ours: the copy is written here and there: FIGURE_MAPPINGS */
	TRIAL_TAIL,       /* writes in the second after: FIGURE_P99; while it: FIGURE_LONGEST */
	TRIAL_STREAM,     /* somebody reads the copy: FIGURE_RATE, _GROWTH, _WRITTEN */
	NR_TRIALS
};

/* ns; ns; ns, ns; writes a second; bytes; bytes */
enum { FIGURE_COPY, FIGURE_DROP };
enum { FIGURE_P99, FIGURE_LONGEST };
enum { FIGURE_RATE, FIGURE_GROWTH, FIGURE_WRITTEN };
/* The most at a time that the copy's window was in its process. */
enum { FIGURE_MAPPINGS };

struct trial_args {
	enum trial                 trial;
	const struct subject_kind *kind;
	uint64_t                   bytes;
	uint32_t                   page;    /* of the memory */
	bool                       overcommit; /* as in struct subject */
	uint32_t                   touches; /* random trials; in units of the page */
	uint32_t                   ms;      /* TAIL */
	uint64_t                   seed;
	const char                *folder;  /* STREAM: on the disk */
};

/* A side: arg is a struct trial_args. */
int trial_side(struct bench *b, const void *arg, struct sample *out);

#endif
