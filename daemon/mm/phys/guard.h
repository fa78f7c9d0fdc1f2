/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard - touching memory that a client may take away at the same moment
 *
 * Purpose     Frames of arenas and regions can be punched by clients that have the memfd; on
 *             hugetlb a touch then raises SIGBUS in the daemon. These accessors report -EFAULT
 *             instead. They are the only way the daemon touches clients' frames.
 * Invariants  G1  a SIGBUS outside the guarded range of the calling thread takes its default way.
 * Locking     none; per thread.
 */
#ifndef MMB_MM_PHYS_GUARD_H
#define MMB_MM_PHYS_GUARD_H

#include <stddef.h>

/* Installs the SIGBUS handler, once. */
int guard_init(void);
int guarded_zero(void *to, size_t bytes);
/* One of the two is a client's, or both are. */
int guarded_copy(void *to, const void *from, size_t bytes);

#endif
