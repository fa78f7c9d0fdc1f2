/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space_fixture - physical memory, regions and mms in plain memory, for tests of mm/space
 *
 * Purpose     space_begin() brings up nodes, metadata and stocks on the fake os; space_end() takes
 *             everything down and expects every counter to be where it was.
 */
#ifndef MMB_TESTS_LIB_SPACE_FIXTURE_H
#define MMB_TESTS_LIB_SPACE_FIXTURE_H

#include "mm/space/fault.h"
#include "mm/space/mm.h"

struct space_options {
	unsigned int nr_nodes;     /* 0: 1 */
	uint64_t     base_bytes;   /* a node's; 0: 64 MiB */
	uint64_t     huge_bytes;   /* 0: no such stock */
};

void space_begin(const struct space_options *options);
void space_end(void);

struct region *space_region(uint64_t nr_pages, unsigned int page_shift);
/* A client with a fake userfaultfd. */
struct mm *space_mm(void);
void space_window(struct mm *mm, struct region *region, uint64_t start, uint32_t handle);
/* A fault event as the client's kernel would send it, handled at once. */
void space_fault(struct mm *mm, uint64_t address, uint32_t flags);
void space_close_mm(struct mm *mm);
/* Reports no difference in regions and mm. */
void space_expect_valid(struct region *region, struct mm *mm);
/* Fault records the handler has written since space_begin. */
unsigned int space_fault_records(void);

#endif
