/* SPDX-License-Identifier: Apache-2.0 */
/*
 * present - finding the pages that a memfd has
 *
 * Purpose     SEEK_DATA doesn't see pages that were populated and never touched, and on hugetlb it
 *             sees nothing at all. So: cachestat on shmem (Linux 6.5), else UFFDIO_CONTINUE into a
 *             scratch mapping, page by page, which succeeds exactly for present pages.
 */
#ifndef MMB_OS_PRESENT_H
#define MMB_OS_PRESENT_H

#include <stdbool.h>
#include <stdint.h>

/* First offset >= from that is present in the file; -ENXIO if none is. */
int64_t present_next(int fd, uint64_t from);
/* The userfaultfd for scratch mappings of this process, which the kernel's own faults don't wait
 * for; the same one each time, never to be closed. -1 with errno. */
int scratch_uffd(void);
/* Does the file consist of 2 MiB pages? */
bool is_hugetlb(int fd);
/* A page of the range is absent, for certain. */
bool present_not_all(int fd, uint64_t offset, uint64_t length);
/* True if the whole range is known to be holes. */
bool present_none(int fd, uint64_t offset, uint64_t length);

#endif
