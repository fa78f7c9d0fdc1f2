/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_os_internal - what the two halves of the fake os share
 *
 * Purpose     fake_os.c has files and address space, fake_uffd.c has userfaultfds. Everything here
 *             is guarded by fake_lock.
 */
#ifndef MMB_TESTS_LIB_FAKE_OS_INTERNAL_H
#define MMB_TESTS_LIB_FAKE_OS_INTERNAL_H

#include <pthread.h>

#include "lib/fake_os.h"

struct fake_file {
	int      backing; /* a real memfd of our own */
	uint64_t bytes;
	uint64_t page;    /* PAGE_SIZE or PAGEBLOCK_SIZE */
	uint64_t present; /* bytes */
	uint64_t high;    /* no page at or above this index was ever present */
	uint8_t *node;    /* per page: node + 1, 0 absent */
	uint32_t nr_fds;

	struct fake_file *next_orphan;
};

extern pthread_mutex_t      fake_lock;
extern struct fake_os_calls fake_calls;

/* NULL: no such descriptor. */
struct fake_file *fake_file_of(int fd);
bool fake_page_present(const struct fake_file *file, uint64_t offset);

/* The pages of a file have gone: entries of windows over them go too. */
void fake_uffd_forget_pages(const struct fake_file *file, uint64_t offset, uint64_t length);
void fake_uffd_reset(void);
/* The number's owner closes it; nothing if it is no client. */
void fake_uffd_forget(int uffd);
/* Forgets windows over a file that ends. */
void fake_uffd_forget_file(const struct fake_file *file);

struct os_range_result fake_uffd_continue(int uffd, uint64_t address, uint64_t length);
int fake_uffd_wake(int uffd, uint64_t address, uint64_t length);
int fake_uffd_poison(int uffd, uint64_t address, uint64_t length);
int fake_uffd_poison_absent(int uffd, uint64_t address, uint64_t length);
struct os_range_result fake_uffd_continue_protected(int uffd, uint64_t address, uint64_t length);
int fake_uffd_protect(int uffd, uint64_t address, uint64_t length);
int fake_uffd_unprotect(int uffd, uint64_t address, uint64_t length);
int fake_uffd_read(int uffd, struct os_uffd_event *events, int most);

#endif
