/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space_fixture - regions and address maps on the fake os, for tests of mm/space and above
 *
 * Purpose     space_begin() brings up physical memory (phys_fixture), regions, faults and the work
 *             ahead of them, with no fault threads: space_fault() handles an event at once.
 *             space_end() takes everything down and expects every counter to be where it was.
 */
#ifndef MMB_TESTS_LIB_SPACE_FIXTURE_H
#define MMB_TESTS_LIB_SPACE_FIXTURE_H

#include "mm/space/fault.h"
#include "mm/space/mm.h"

struct space_options {
	unsigned int nr_nodes;             /* 0: 1 */
	uint64_t base_mib, huge_mib;       /* a node's stocks; 0: 64 MiB, and none */
	uint64_t own_mib;                  /* for the daemon's objects; 0: 64 */
	bool hold;                         /* the reserve is populated */
	bool metadata;                     /* is charged to node 0 */
	uint64_t deadline_ns;              /* of a fault; 0: 1 s */
	uint64_t swap_mib;                 /* of a file in the folder the test runs in; 0: none */
	bool cannot_poison;                /* as before Linux 6.6 */
	const struct fault_config *config; /* instead of the three above and the fixture's hooks */
};

void space_begin(const struct space_options *options);
void space_end(void);
/* The same of one with a swap area, which must be empty. */
void space_end_swap(void);
/* Frames' worth of slots that words name. */
uint64_t space_slots_used(void);
/* Brings everything back, and takes the area away; what swap_off() says. */
int space_swap_off(void);
/* Waits until nothing is populated ahead, and what has been given up is free. */
void space_settle(void);

struct region *space_region(uint64_t nr_pages, unsigned int page_shift);
/* Of one page. */
struct region *space_region_of(struct memcg *memcg);
/* Puts the last reference and waits for the memory. */
void space_drop_region(struct region *region);
/* How many there are, also closed ones that stay for others. */
uint64_t space_nr_regions(void);
/* Frames present of a stock. */
uint64_t space_present(int node, enum stock_kind kind);
enum page_state space_state(const struct region *region, uint64_t page);

/* A client with a fake userfaultfd. */
struct mm *space_mm(void);
/* All of the region at `start`, for the daemon and for the client's kernel. */
void space_window(struct mm *mm, struct region *region, uint64_t start, uint32_t handle);
/* A fault event as the client's kernel would send it, handled at once. */
void space_fault(struct mm *mm, uint64_t address, uint32_t flags);
void space_close_mm(struct mm *mm);

/* No validator finds a difference: physical memory, the region and the mm (either may be NULL). */
void space_expect_valid(struct region *region, struct mm *mm);

/* What the fixture's hooks were told since space_begin. */
struct space_told {
	unsigned int nr_records, nr_ended; /* fault records; clients that had to be ended */
	unsigned int nr_remaps;            /* asked for, and not made */
	uint64_t address, length, offset;  /* of the last record */
	int error;
	char region[NAME_MAX_BYTES + 1], cause[128];
};
extern struct space_told space_told;

#endif
