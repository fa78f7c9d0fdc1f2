/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_frame - puts what was read into the frames of a section
 *
 * Purpose     Shared memory is written through its file. Huge pages can't be, and are written
 *             through the direct map, or a mapping made for it where the section has none.
 * Locking     the frames are present, and the caller holds BUSY of their pages.
 */
#ifndef MMB_BALANCE_SWAP_FRAME_H
#define MMB_BALANCE_SWAP_FRAME_H

#include <stdint.h>

#include "mm/phys/section.h"

/* 0, -EFAULT (a client took the frame away meanwhile), -ENOMEM. */
int swap_frame_write(struct section *section, uint64_t offset, const void *from, uint64_t bytes);

#endif
