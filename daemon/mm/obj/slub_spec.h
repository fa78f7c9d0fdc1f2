/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_spec - which caches are checked, and how: the text of memory.slub_debug
 *
 * Purpose     "FZPU,session,mm*;Z,kmalloc-*", as Linux has it: blocks of letters and of the caches
 *             that they are for; without letters all, without names every cache; "-" is none. The
 *             last block that fits a cache counts.
 * Locking     none; there is no state.
 * Not here    What the checks do (slub_debug.h). The configuration asks here as well, so that a
 *             wrong text is found without a start.
 */
#ifndef MMB_MM_OBJ_SLUB_SPEC_H
#define MMB_MM_OBJ_SLUB_SPEC_H

#include <stdbool.h>
#include <stdint.h>

enum { SLUB_SPEC_BYTES = 256 }; /* with its end */

/* What such a text consists of, for sentences. */
extern const char slub_spec_expected[];

bool slub_spec_ok(const char *spec);
/* SLAB_DEBUG_FLAGS that a cache of that name gets by a spec that is ok. */
uint32_t slub_spec_flags(const char *spec, const char *name);

#endif
