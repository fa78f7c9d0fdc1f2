/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gfp - what an allocation may do, in the kernel's words
 *
 * Purpose     One set of flags for frames (balance/alloc.h) and for the daemon's own objects
 *             (obj/slab.h).
 * Not here    What each floor does on a flag: see the headers named.
 */
#ifndef MMB_MM_PHYS_GFP_H
#define MMB_MM_PHYS_GFP_H

/* The values of MMB_GFP_* in mmbroker.h, from which they are mirrored; ipc asserts equality. */
enum {
	GFP_KERNEL = 0,
	GFP_NOWAIT = 1,
	GFP_ATOMIC = 2,
	GFP_NORETRY = 4,
	GFP_RETRY_MAYFAIL = 8,
	GFP_NOFAIL = 16,
	GFP_ZERO = 32,
	GFP_MOVABLE = 64,
	GFP_RECLAIMABLE = 128,
	GFP_THISNODE = 256,
	GFP_ALL = 511
};

#endif
