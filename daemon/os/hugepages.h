/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugepages - what the host has: 2 MiB hugepages, available memory, huge pages for shmem
 *
 * Purpose     Reads /proc/meminfo and /sys. `node` is a kernel node number, or OS_NODE_ANY for the
 *             whole host.
 * Not here    Taking memory (os/os.h).
 */
#ifndef MMB_OS_HUGEPAGES_H
#define MMB_OS_HUGEPAGES_H

#include <stdbool.h>
#include <stdint.h>

struct hugepages {
	uint64_t total, free; /* pages of 2 MiB */
	uint64_t resv;        /* promised to mappings; known for the whole host only, else 0 */
	uint64_t surplus;     /* of total: beyond the configured pool */
	uint64_t overcommit;  /* surplus pages the kernel may add; whole host only, else 0 */
};
/* -ENOENT: the kernel has no 2 MiB hugetlb pool, or no such node. */
int hugepages_read(int node, struct hugepages *out);

struct host_memory {
	uint64_t total, free;
	uint64_t available; /* without swapping; of a node: free plus droppable page cache */
};
int host_memory_read(int node, struct host_memory *out);
/* Bytes that this process's memory cgroups allow it; UINT64_MAX where nothing limits them. */
uint64_t host_memory_limit(void);

enum shmem_huge {
	SHMEM_HUGE_UNKNOWN, /* kernel without transparent huge pages */
	SHMEM_HUGE_ALWAYS,
	SHMEM_HUGE_WITHIN_SIZE,
	SHMEM_HUGE_ADVISE,
	SHMEM_HUGE_NEVER,
	SHMEM_HUGE_DENY,
	SHMEM_HUGE_FORCE,
};
enum shmem_huge shmem_huge_mode(void);
/* Shared memory gets no page of 2 MiB, whatever is advised. */
bool shmem_huge_is_refused(void);
const char *shmem_huge_name(enum shmem_huge mode);

/* Tests: reads below this directory instead of /. It must outlive its use. */
void host_files_set_root(const char *root);

#endif
