/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_fixture - a swap area in a real file, and frames on the fake os, for tests of swap I/O
 *
 * Purpose     swap_start() boots what phys_start() boots and switches on an area; swap_stop()
 *             checks that nothing is left of either.
 */
#ifndef MMB_TESTS_LIB_SWAP_FIXTURE_H
#define MMB_TESTS_LIB_SWAP_FIXTURE_H

#include "mm/balance/swap_area.h"
#include "mm/balance/swap_io.h"

enum { SWAP_TEST_FRAMES = 2048, SWAP_TEST_AREA_MIB = 16 };

/* Where a file of the test goes: the folder the test runs in, which must take direct I/O. */
const char *swap_test_path(const char *name);

/* Everything but an area. */
void swap_boot(void);
void swap_shutdown(void);

/* With an area of SWAP_TEST_AREA_MIB in swap_test_path("swap"), SWAP_TEST_FRAMES frames and a
 * queue of that engine. */
void swap_start(enum disk_engine engine, bool huge);
void swap_stop(void);

extern struct section    *swap_test_section; /* the frames' */
extern struct swap_queue *swap_test_queue;
extern int                swap_test_fd;      /* of the area's file, not direct */

/* Frame i gets bytes that only it and this version have / has them. */
void swap_fill(uint32_t frame, uint32_t version);
bool swap_has(uint32_t frame, uint32_t version);
void swap_clear(uint32_t frame);
/* A page of nr slots whose frames begin at `frame`. */
struct swap_page swap_page_of(uint32_t frame, uint32_t slot, uint32_t nr);

#endif
