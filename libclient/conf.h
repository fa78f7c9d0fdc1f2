/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf - what MMB_CONF asks of the library in this process
 *
 * Purpose     Words with commas between: `harden`, `sample=N`. A word that isn't known changes
 *             nothing; one line on stderr names it and those that are.
 * Invariants  Q1  conf is what it is once the first mmb_open() has read it: no pool, and so no
 *                 heap, is older.
 * Locking     none: see Q1.
 * Not here    What the modes do (heap/harden.h, sample.h).
 */
#ifndef MMB_LIBCLIENT_CONF_H
#define MMB_LIBCLIENT_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONF_SAMPLE_MAX = 1 << 30, CONF_COMPLAINT_BYTES = 256 };

struct conf {
	bool     harden;
	uint32_t sample; /* one in so many allocations; 0: none */
};
extern struct conf conf;

/* Once a process, in mmb_open(). */
void conf_init(void);
/* With a mode on, every allocation and every free takes the way of a miss. */
static inline bool conf_no_hits(void)
{
	return conf.harden || conf.sample;
}
/* `complaint`, of CONF_COMPLAINT_BYTES: one line without its end; empty: every word is known. */
void conf_parse(const char *text, struct conf *out, char *complaint);

#endif
