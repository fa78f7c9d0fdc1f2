/* SPDX-License-Identifier: Apache-2.0 */
/*
 * huge_copy - copies into holes of a hugetlb file
 *
 * Purpose     What is copied isn't cleared first: UFFDIO_COPY through a mapping that is there for
 *             the call makes pages and fills them in one step.
 * Invariants  Y1  the file that is read gets no page: what a client has punched is an error, since
 *                 the kernel's own faults in a watched mapping are.
 */
#ifndef MMB_OS_HUGE_COPY_H
#define MMB_OS_HUGE_COPY_H

#include "os/os.h"

/* Negative errno, and perhaps some of it was copied: it is to be done another way. */
int huge_copy(const struct os_copy *c);

#endif
