/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patience - for how long it pays to spin for a read, learnt from reads that were spun for
 *
 * Purpose     What one has slept for comes later by the wake-up of a halted CPU, and says nothing
 *             of the disk: counted, it would make spinning look useless because nobody spun.
 * Invariants  C1  only what was awaited awake is a sample; what was given up counts as much longer
 *                 than it was waited for.
 *             C2  while it doesn't pay, one read in PATIENCE_TRIAL is spun for, for at most
 *                 PATIENCE_NS_MAX: a disk that has become fast is found out.
 * Locking     none: one thread's.
 * Not here    Whether somebody else wants the CPU (lane.c).
 */
#ifndef MMB_SPACE_PATIENCE_H
#define MMB_SPACE_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

enum {
	PATIENCE_NS_MAX = 200 * 1000, /* reads that usually take longer aren't worth a CPU */
	PATIENCE_TIMES = 2,           /* what is usual, and then it sleeps */
	PATIENCE_TRIAL = 64,
	PATIENCE_SHIFT = 3,           /* the mean moves by an eighth of the difference */
};

/* o: its thread only */
struct patience {
	uint64_t usual_ns;    /* (o) what a read takes; 0: not known yet */
	uint32_t nr_unwaited; /* (o) reads since the last trial */
};

/* C1. A trial is the only sample in a long time, and decides by itself. */
static inline void patience_note(struct patience *p, uint64_t ns)
{
	if (!p->usual_ns || p->usual_ns > PATIENCE_NS_MAX)
		p->usual_ns = ns;
	else
		p->usual_ns += (uint64_t)((int64_t)(ns - p->usual_ns) >> PATIENCE_SHIFT);
}

static inline void patience_came(struct patience *p, uint64_t took_ns)
{
	patience_note(p, max_t(uint64_t, took_ns, 1));
}

/* It was spun for as long as was allowed, and isn't there. */
static inline void patience_lost(struct patience *p, uint64_t waited_ns)
{
	patience_note(p, PATIENCE_TIMES * waited_ns);
}

/* A read begins: for how long the thread may spin for it. */
static inline uint64_t patience_begin(struct patience *p)
{
	if (p->usual_ns <= PATIENCE_NS_MAX)
		return p->usual_ns ? PATIENCE_TIMES * p->usual_ns : PATIENCE_NS_MAX;
	if (++p->nr_unwaited % PATIENCE_TRIAL)
		return 0;
	return PATIENCE_NS_MAX;
}

#endif
