/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux - os_linux: memfds, address space, binding to nodes
 *
 * Purpose     The production table. Everything that can fail gives a negative errno and passes an
 *             injection point.
 * Invariants  X1  a file is never grown by a bare touch: populate is fallocate, write or
 *                 MADV_POPULATE_WRITE, which answer with an error instead of SIGBUS.
 *             X2  a thread's memory policy is the same after a call as before it.
 *             X3  every file mapping is MAP_NORESERVE: what isn't populated is charged to nobody.
 * Not here    userfaultfd (uffd.c), looking for present pages (present.c), nodes (topology.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/types.h"
#include "os/holdup.h"
#include "os/huge_copy.h"
#include "os/hugepages.h"
#include "os/os.h"
#include "os/present.h"
#include "os/topology.h"
#include "os/uffd.h"
#include "os/uffd_read.h"
#include "proto/uffd_compat.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

enum {
	KERNEL_NODES = 1024, /* MAX_NUMNODES of the largest distribution kernels */
	NODE_WORDS = KERNEL_NODES / 64,
	/* One fallocate is interrupted by a signal and undone as a whole: so none is long. */
	POPULATE_STEP = 32 << 20,
	PUNCH_STEP = 256 << 20,
	COPY_BYTES = 32 << 10,   /* on the stack, and small enough to stay in the cache */
	ZEROS_BYTES = 256 << 10, /* at a time, and small enough to stay in the cache */
};

static_assert(POPULATE_STEP % PAGEBLOCK_SIZE == 0, "a step is whole pageblocks");

const struct os_ops *os = &os_linux;

static _Atomic(const struct topology *) bound_topology;

void os_bind_nodes(const struct topology *t)
{
	atomic_store(&bound_topology, t);
	scratch_uffd(); /* while there are descriptors: S2 of present.h */
}

static int failure(void)
{
	return errno ? -errno : -EIO;
}

static uint64_t linux_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- files ---- */

static int new_memfd(const char *name, unsigned int flags)
{
	int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* before 6.3 */
		fd = memfd_create(name, flags);
	return fd;
}

static int linux_memfd_new(const char *name, uint64_t bytes, unsigned flags)
{
	unsigned int memfd_flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int          fd, error = INJECT(MEMFD_NEW);

	if (error)
		return error;
	if (flags & OS_HUGETLB)
		memfd_flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = new_memfd(name, memfd_flags);
	if (fd < 0)
		return failure();
	if (ftruncate(fd, (off_t)bytes) || fchmod(fd, 0400) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		error = failure();
		close(fd);
		return error;
	}
	return fd;
}

static int linux_reopen_readonly(int fd)
{
	char path[32];
	int  copy, error = INJECT(REOPEN);

	if (error)
		return error;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, O_RDONLY | O_CLOEXEC);
	return copy < 0 ? failure() : copy;
}

static int linux_dup(int fd)
{
	int copy, error = INJECT(REOPEN);

	if (error)
		return error;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return copy < 0 ? failure() : copy;
}

static void linux_close(int fd)
{
	CHECK(fd >= 0);
	close(fd);
}

/* ---- populating ---- */

struct policy {
	int           mode;
	unsigned long nodes[NODE_WORDS];
	bool          changed;
};

/* Makes the calling thread allocate on the node only, and remembers what was before. */
static int bind_thread(int node, struct policy *before)
{
	const struct topology *t = atomic_load(&bound_topology);
	unsigned long          nodes[NODE_WORDS] = { 0 };
	int                    kernel_node;

	before->changed = false;
	if (node < 0 || !t || !t->binds || t->nr_nodes < 2)
		return 0;
	CHECK((uint32_t)node < t->nr_nodes);
	kernel_node = t->nodes[node].os_index;
	CHECK(kernel_node >= 0 && kernel_node < KERNEL_NODES);
	nodes[kernel_node / 64] = 1UL << (kernel_node % 64);
	if (get_mempolicy(&before->mode, before->nodes, KERNEL_NODES, NULL, 0) ||
	    set_mempolicy(MPOL_BIND, nodes, KERNEL_NODES))
		return failure();
	before->changed = true;
	return 0;
}

static void unbind_thread(const struct policy *before)
{
	if (before->changed) /* X2; what was accepted before is accepted again */
		CHECK(set_mempolicy(before->mode, before->nodes, KERNEL_NODES) == 0);
}

typedef int (*populate_step_fn)(int fd, uint64_t offset, uint64_t length);

/* fallocate(), which takes the file's lock, for as long as it is interrupted. */
static int allocate(int fd, int mode, uint64_t offset, uint64_t length)
{
	int error = 0;

	holdup_enter(fd);
	while (!error && fallocate(fd, mode, (off_t)offset, (off_t)length))
		error = errno == EINTR ? 0 : failure();
	holdup_leave();
	return error;
}

static int step_by_fallocate(int fd, uint64_t offset, uint64_t length)
{
	return allocate(fd, 0, offset, length);
}

static int step_by_mapping(int fd, uint64_t offset, uint64_t length)
{
	int   error = 0;
	void *window = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			    (off_t)offset);

	if (window == MAP_FAILED)
		return failure();
	/* Refused by kernels without transparent huge pages: then pages are small. */
	if (madvise(window, length, MADV_HUGEPAGE) && errno != EINVAL)
		error = failure();
	while (!error && madvise(window, length, MADV_POPULATE_WRITE))
		if (errno != EINTR && errno != EAGAIN)
			error = failure();
	CHECK(munmap(window, length) == 0);
	return error;
}

static int64_t bytes_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? failure() : (int64_t)st.st_blocks * 512;
}

static int punch_step(int fd, uint64_t offset, uint64_t length)
{
	heartbeat_touch();
	return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

/* In steps: of small pages a GiB takes up to a second. */
static int punch(int fd, uint64_t offset, uint64_t length)
{
	uint64_t done, step;
	int      error = 0;

	for (done = 0; !error && done < length; done += step) {
		step = min_t(uint64_t, PUNCH_STEP, length - done);
		error = punch_step(fd, offset + done, step);
	}
	return error;
}

/*
 * Populates in steps. The kernel undoes a shmem fallocate that fails, but neither earlier steps nor
 * any other way of populating; so a range that began as holes is punched again. One fallocate of a
 * pageblock is one huge page, or undone: that needs no look at what was there.
 */
static int populate_steps(int fd, uint64_t offset, uint64_t length, populate_step_fn run)
{
	bool     whole = run == step_by_fallocate && length == PAGEBLOCK_SIZE;
	bool     holes = !whole && present_none(fd, offset, length);
	uint64_t done, step;
	int      error = 0;

	for (done = 0; !error && done < length; done += step) {
		step = min_t(uint64_t, POPULATE_STEP, length - done);
		error = run(fd, offset + done, step);
		heartbeat_touch();
	}
	if (error && holes)
		punch(fd, offset, done);
	return error;
}

static int populate_bound(int fd, uint64_t offset, uint64_t length, int node,
			  populate_step_fn run)
{
	struct policy before;
	int           error = INJECT(POPULATE);

	if (error)
		return error;
	error = bind_thread(node, &before);
	if (error)
		return error;
	if (length < PAGEBLOCK_SIZE)
		error = run(fd, offset, length); /* the fault path: one call */
	else
		error = populate_steps(fd, offset, length, run);
	unbind_thread(&before);
	return error;
}

static int linux_populate(int fd, uint64_t offset, uint64_t length, int node)
{
	return populate_bound(fd, offset, length, node, step_by_fallocate);
}

/* Looked up once a second: who changes it needn't restart anything. */
static bool gets_huge_pages(void)
{
	static _Atomic uint64_t looked;  /* when, in seconds; 0: never */
	static atomic_bool      refused; /* what was found then */
	uint64_t                now = linux_now_ns() / 1000000000 + 1;

	if (atomic_exchange(&looked, now) != now)
		atomic_store(&refused, shmem_huge_is_refused());
	return !atomic_load(&refused);
}

/* Small pages are filled three times faster by fallocate than through a mapping. */
static int linux_populate_huge(int fd, uint64_t offset, uint64_t length, int node)
{
	if (!is_aligned(offset, PAGEBLOCK_SIZE) || !is_aligned(length, PAGEBLOCK_SIZE))
		return -EINVAL;
	return populate_bound(fd, offset, length, node,
			      gets_huge_pages() ? step_by_mapping : step_by_fallocate);
}

/* A fault that finds no hugetlb page is a bus error, which madvise reports as a bad address. */
static int linux_populate_mapped(int fd, uint64_t offset, uint64_t length, int node, void *mapped)
{
	struct policy before;
	int           error = INJECT(POPULATE);

	(void)fd;
	(void)offset;
	if (!error)
		error = bind_thread(node, &before);
	if (error)
		return error;
	while (!error && madvise(mapped, length, MADV_POPULATE_WRITE))
		if (errno != EINTR && errno != EAGAIN)
			error = errno == EFAULT ? -ENOSPC : failure();
	unbind_thread(&before);
	return error;
}

static ssize_t put(int fd, const void *from, uint64_t length, uint64_t offset)
{
	ssize_t n;

	holdup_enter(fd);
	n = pwrite(fd, from, length, (off_t)offset);
	holdup_leave();
	return n;
}

static int step_by_write(int fd, uint64_t offset, uint64_t length)
{
	static const char zeros[ZEROS_BYTES];

	while (length) {
		ssize_t n = put(fd, zeros, min_t(uint64_t, length, ZEROS_BYTES), offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? failure() : -EIO;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

static int linux_populate_cleared(int fd, uint64_t offset, uint64_t length, int node)
{
	return populate_bound(fd, offset, length, node, step_by_write);
}

static int linux_punch(int fd, uint64_t offset, uint64_t length)
{
	int error = INJECT(PUNCH);

	return error ? error : punch(fd, offset, length);
}

static int64_t linux_allocated(int fd)
{
	int error = INJECT(ALLOCATED);

	return error ? error : bytes_of(fd);
}

static int64_t linux_next_present(int fd, uint64_t from)
{
	int error = INJECT(NEXT_PRESENT);

	return error ? error : present_next(fd, from);
}

static int64_t linux_next_touched(int fd, uint64_t from)
{
	off_t at = lseek(fd, (off_t)from, SEEK_DATA);

	return at < 0 ? -errno : at;
}

static int linux_read(int fd, uint64_t offset, void *to, uint64_t length)
{
	for (uint64_t done = 0; done < length;) {
		ssize_t got = pread(fd, (char *)to + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? failure() : -EIO;
		done += (uint64_t)got;
	}
	return 0;
}

static int linux_write(int fd, uint64_t offset, const void *from, uint64_t length)
{
	for (uint64_t done = 0; done < length;) {
		ssize_t n = put(fd, (const char *)from + done, length - done, offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? failure() : -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

static int copy_by_mapping(const struct os_copy *c)
{
	void *window;
	int   error = step_by_fallocate(c->to, c->offset, c->length);

	if (error)
		return error;
	window = mmap(NULL, c->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, c->to,
		      (off_t)c->offset);
	if (window == MAP_FAILED)
		return failure();
	error = linux_read(c->from, c->from_offset, window, c->length);
	CHECK(munmap(window, c->length) == 0);
	return error;
}

/* What is written needn't be cleared first. */
static int copy_by_writing(const struct os_copy *c)
{
	char buffer[COPY_BYTES];
	int  error = 0;

	for (uint64_t step, at = 0; at < c->length && !error; at += step) {
		step = min_t(uint64_t, c->length - at, COPY_BYTES);
		error = linux_read(c->from, c->from_offset + at, buffer, step);
		if (!error)
			error = linux_write(c->to, c->offset + at, buffer, step);
	}
	return error;
}

static int linux_copy(const struct os_copy *c)
{
	struct policy before;
	int           error = INJECT(POPULATE);

	if (!error)
		error = bind_thread(c->node, &before);
	if (error)
		return error;
	/* hugetlb can't be written; only whole pageblocks of it are copied. */
	if (c->length >= PAGEBLOCK_SIZE && is_hugetlb(c->to))
		error = huge_copy(c) == 0 ? 0 : copy_by_mapping(c);
	else
		error = copy_by_writing(c);
	unbind_thread(&before);
	return error;
}

/* ---- address space ---- */

static int linux_reserve(void *hint, uint64_t length, void **out)
{
	int   fixed = hint ? MAP_FIXED_NOREPLACE : 0, error = INJECT(RESERVE);
	void *got;

	if (error)
		return error;
	got = mmap(hint, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1,
		   0);
	if (got == MAP_FAILED)
		return failure();
	if (hint && got != hint) { /* a kernel that takes the flag for a mere wish */
		CHECK(munmap(got, length) == 0);
		return -EEXIST;
	}
	*out = got;
	return 0;
}

static int linux_map(void *address, uint64_t length, int fd, uint64_t offset)
{
	int error = INJECT(MAP);

	if (error)
		return error;
	if (mmap(address, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 fd, (off_t)offset) == MAP_FAILED)
		return failure();
	return 0;
}

static int linux_unmap(void *address, uint64_t length)
{
	int error = INJECT(UNMAP);

	if (error)
		return error;
	if (mmap(address, length, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return failure();
	return 0;
}

static int linux_lock(void *address, uint64_t length)
{
	int error = INJECT(LOCK);

	if (error)
		return error;
	return mlock(address, length) ? failure() : 0;
}

const struct os_ops os_linux = {
	.memfd_new = linux_memfd_new,
	.reopen_readonly = linux_reopen_readonly,
	.dup = linux_dup,
	.close = linux_close,
	.populate = linux_populate,
	.populate_huge = linux_populate_huge,
	.populate_mapped = linux_populate_mapped,
	.populate_cleared = linux_populate_cleared,
	.copy = linux_copy,
	.punch = linux_punch,
	.allocated = linux_allocated,
	.next_present = linux_next_present,
	.next_touched = linux_next_touched,
	.read = linux_read,
	.write = linux_write,
	.has_hole = present_not_all,
	.reserve = linux_reserve,
	.map = linux_map,
	.unmap = linux_unmap,
	.lock = linux_lock,
	.uffd_continue = linux_uffd_continue,
	.uffd_wake = linux_uffd_wake,
	.uffd_poison = linux_uffd_poison,
	.uffd_poison_absent = linux_uffd_poison_absent,
	.uffd_continue_protected = linux_uffd_continue_protected,
	.uffd_protect = linux_uffd_protect,
	.uffd_unprotect = linux_uffd_unprotect,
	.uffd_read = linux_uffd_read,
	.now_ns = linux_now_ns,
};
