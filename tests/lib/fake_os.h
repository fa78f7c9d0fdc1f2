/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_os - the os table in plain memory: no root, no hugepages, no userfaultfd, no time
 *
 * Purpose     fake_os_install() puts it in place of os_linux and starts from nothing. Files are
 *             sparse memory whose present pages are known bit by bit; address space is real, so
 *             code under test reads and writes it. Passes the same INJECT points as os_linux.
 * Model       A page is present only through populate. A bare touch of a hole (a bug in the code
 *             under test) makes the kernel's block count differ from the bits: fake_os_validate()
 *             and fake_os_allocated_really() tell. OS_HUGETLB files have 2 MiB pages: every range
 *             must be a multiple. populate fails with -ENOSPC (hugetlb) or -ENOMEM beyond the
 *             limits set for the node, all or nothing.
 *             A fake userfaultfd is a number; windows say what it shows at which addresses. It
 *             keeps bits a page: mapped, protected, poisoned. continue, protect, punch, poison and
 *             zap change them as the kernel would.
 * Threads     every entry is serialised by one lock; the clock is atomic.
 */
#ifndef MMB_TESTS_LIB_FAKE_OS_H
#define MMB_TESTS_LIB_FAKE_OS_H

#include "base/check.h"
#include "os/os.h"
#include "os/topology.h"

extern const struct os_ops os_fake;

/* A clock for those who wait: each look at it is 10 us later than the last. */
uint64_t fake_os_passing_ns(void);

/* Forgets everything of an earlier run (closes files, unmaps reservations) and sets os. */
void fake_os_install(void);
/* Undoes it: os is os_linux again. */
void fake_os_remove(void);

/* ---- memory of the pretended host; default: no limit ---- */

/* Pages of both kinds the node can give, in bytes. populate with OS_NODE_ANY takes from node 0. */
void fake_os_set_limit(int node, uint64_t base_bytes, uint64_t huge_bytes);
uint64_t fake_os_used(int node, bool huge);

/* A topology of nr nodes with `bytes` each, one CPU each, distance 20. */
void fake_topology(struct topology *out, unsigned int nr, uint64_t bytes);

/* ---- what is there now: a test compares with its baseline ---- */

struct fake_os_counts {
	uint64_t files;        /* descriptors open (reopened ones count) */
	uint64_t present;      /* bytes present in all files */
	uint64_t reservations; /* address ranges reserved */
	uint64_t mappings;     /* file mappings inside them */
	uint64_t locked;       /* bytes locked */
};
void fake_os_count(struct fake_os_counts *out);

/* Calls of each kind since install; for tests that bound system calls. */
struct fake_os_calls {
	uint64_t memfd_new, punch, copy, map, unmap, has_hole;
	uint64_t populate, populate_huge, populate_mapped, populate_cleared;
	uint64_t uffd_continue, uffd_wake, uffd_poison, uffd_protect, uffd_unprotect, uffd_read;
};
void fake_os_calls(struct fake_os_calls *out);

bool fake_os_present(int fd, uint64_t offset);
/* Node on which the page was populated, OS_NODE_ANY if absent. */
int fake_os_page_node(int fd, uint64_t offset);
/* Bytes the kernel holds for the file, bare touches included. */
uint64_t fake_os_allocated_really(int fd);
/* Bits against block counts, limits against use, mappings against files. */
void fake_os_validate(struct validation *v);

/* ---- a misbehaving client ---- */

/* Makes a page present behind everybody's back / takes it away, without counting as a call. */
void fake_os_conjure(int fd, uint64_t offset);
void fake_os_client_punch(int fd, uint64_t offset, uint64_t length);

/* ---- fake userfaultfds ---- */

/* A new client; the number is an eventfd that is readable while posted events wait. */
int fake_uffd_new(void);
/* Queues an event for uffd_read. */
void fake_uffd_post(int uffd, const struct os_uffd_event *event);
/* [address, + length) shows the file from offset on. */
void fake_uffd_window(int uffd, uint64_t address, uint64_t length, int fd, uint64_t offset);
void fake_uffd_unmap(int uffd, uint64_t address, uint64_t length);
/* From now on every ioctl fails with error (-ESRCH: the client died); 0: works again. */
void fake_uffd_set_error(int uffd, int error);
/* What a client's MADV_DONTNEED does to entries. */
void fake_uffd_zap(int uffd, uint64_t address, uint64_t length);
bool fake_uffd_mapped(int uffd, uint64_t address);
/* Mapped, and a write would be an event. */
bool fake_uffd_protected(int uffd, uint64_t address);
bool fake_uffd_poisoned(int uffd, uint64_t address);
/* Number of wakes (explicit or by continue and poison) that covered the address. */
uint64_t fake_uffd_wakes(int uffd, uint64_t address);
void fake_uffd_close(int uffd);
/* poison: supported from the start; false plays Linux before 6.6. */
void fake_os_set_poison(bool supported);

/* ---- time: starts at 1 s and moves only here ---- */

void fake_os_advance_ns(uint64_t ns);

#endif
