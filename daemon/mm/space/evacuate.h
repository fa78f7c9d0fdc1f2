/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evacuate - an area is to go: its pages come back
 *
 * Purpose     The hooks of swap_area.h: whether what has been promised fits without the area, and
 *             bringing back everything that a word says is there.
 * Invariants  V1  an area is left only when no word names a slot of the area.
 * Crash       the area is kept until it has been left: the next daemon has it on, with what hadn't
 *             come back yet, and swapoff is asked for once more.
 * Locking     BUSY of each page; the caller is a verb's thread, which may wait.
 */
#ifndef MMB_SPACE_EVACUATE_H
#define MMB_SPACE_EVACUATE_H

/* After swap_areas_init(). */
void evacuate_init(void);

#endif
