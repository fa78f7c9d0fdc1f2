/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window - a mapping of part of a section in this process
 *
 * Purpose     See window.h. Ownership (W2) is asked of the kernel by file and range: the result of
 *             UFFDIO_UNREGISTER doesn't tell, since it succeeds on a stranger's anonymous mapping,
 *             and unregistering first would let blocked threads read zeros.
 */
#include "window.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "error.h"
#include "procmap.h"

/* Younger than the distribution's C library. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { AGES_MATTER_BYTES = 8 << 20 };

/* At `at` and nowhere else. */
static void *map_at(const struct window_spec *spec, uint64_t at, int fixed)
{
	int flags = spec->read_only || spec->base_fd >= 0 ? MAP_PRIVATE : MAP_SHARED;
	int fd = spec->base_fd >= 0 ? spec->base_fd : spec->fd;

	/* NORESERVE: a hugetlb mapping without it takes hugepages from the whole host. */
	return mmap((void *)(uintptr_t)at, spec->length,
		    spec->open ? PROT_READ | PROT_WRITE : PROT_NONE,
		    flags | MAP_NORESERVE | fixed, fd, 0);
}

/* Finds an aligned range by reserving one that is longer, maps over it, and gives back the rest: at
 * no moment can another thread get into it. */
static void *map_elsewhere(const struct window_spec *spec)
{
	uint64_t reserved, start, end, slack = spec->align;
	void *at;

	if (spec->length + slack < spec->length) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	at = mmap(NULL, spec->length + slack, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return at;
	reserved = (uintptr_t)at;
	start = (reserved + slack - 1) & ~(slack - 1);
	end = start + spec->length;
	at = map_at(spec, start, MAP_FIXED);
	if (at == MAP_FAILED) {
		int error = errno;

		munmap((void *)(uintptr_t)reserved, spec->length + slack);
		errno = error;
		return at;
	}
	if (start > reserved)
		munmap((void *)(uintptr_t)reserved, start - reserved);
	if (end < reserved + spec->length + slack)
		munmap((void *)(uintptr_t)end, reserved + spec->length + slack - end);
	return at;
}

static int place(struct window *w, const struct window_spec *spec)
{
	void *at = MAP_FAILED;

	if (spec->preferred)
		at = map_at(spec, spec->preferred, MAP_FIXED_NOREPLACE);
	if (at == MAP_FAILED && errno == EEXIST && spec->exact)
		return fail(-EADDRNOTAVAIL,
			    "%llu bytes at address %#llx are not free in this process, and must be "
			    "mapped exactly there; keep that range free",
			    (unsigned long long)spec->length, (unsigned long long)spec->preferred);
	if (at == MAP_FAILED && !spec->exact)
		at = map_elsewhere(spec);
	if (at == MAP_FAILED)
		return fail(-errno, "can't map %llu bytes (errno %d); look at RLIMIT_AS and "
			    "vm.max_map_count", (unsigned long long)spec->length, errno);
	w->address = (uintptr_t)at;
	return 0;
}

/*
 * When a window goes, the kernel moves each of its pages to the list of active ones by the accessed
 * bit, and the broker frees them right after: half of what unmapping costs. In a mapping that says
 * sequential it doesn't look at that bit. Nor does it when it looks for pages to swap out, so that
 * is said only where there is nothing to swap to, and enough pages that it pays. A wish: it may
 * fail.
 */
static void leave_ages_alone(const struct window *w)
{
	struct sysinfo host;

	if (w->length >= AGES_MATTER_BYTES && !sysinfo(&host) && !host.totalswap)
		madvise((void *)(uintptr_t)w->address, w->length, MADV_SEQUENTIAL);
}

static int how_shared(bool read_only)
{
	return (read_only ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE;
}

/* Where nobody touches it, nor can (W1). It holds no entries: parts of it, which are registered,
 * come into the window. Not of hugetlb pages, which MREMAP_DONTUNMAP is refused for. */
static int map_mirror(struct window *w, const struct window_spec *spec)
{
	void *at = mmap(NULL, spec->length, PROT_NONE, how_shared(spec->read_only), spec->fd, 0);

	if (at == MAP_FAILED)
		return fail(-errno, "can't map a clone's %llu bytes twice (errno %d); look at "
			    "RLIMIT_AS", (unsigned long long)spec->length, errno);
	w->mirror = (uintptr_t)at;
	if (!madvise(at, spec->length, MADV_DONTFORK) && !madvise(at, spec->length, MADV_DONTDUMP))
		return 0;
	return fail(-errno, "madvise failed on a new window (errno %d)", errno);
}

bool window_fits(int fd, uint64_t length)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_size >= 0 && (uint64_t)st.st_size >= length;
}

int window_map(struct window *w, const struct window_spec *spec)
{
	struct stat st;
	int error;

	if (fstat(spec->fd, &st))
		return fail(-errno, "the broker's descriptor can't be examined (errno %d)", errno);
	w->length = spec->length;
	w->read_only = spec->read_only;
	w->page = spec->align > 4096 ? spec->align : 4096;
	w->dev = st.st_dev;
	w->ino = st.st_ino;
	w->base_ino = w->ino;
	w->mirror = 0;
	w->own_fd = spec->base_fd >= 0 && spec->hugetlb ? spec->fd : -1;
	if (spec->base_fd >= 0 && fstat(spec->base_fd, &st))
		return fail(-errno, "the broker's descriptor can't be examined (errno %d)", errno);
	if (spec->base_fd >= 0)
		w->base_ino = st.st_ino;
	error = place(w, spec);
	if (!error && spec->base_fd >= 0 && !spec->hugetlb) {
		error = map_mirror(w, spec);
		if (error)
			window_unmap(w);
	}
	if (error)
		return error;
	/* A child would read zeros without an event (no EVENT_FORK for unprivileged processes). */
	if (madvise((void *)(uintptr_t)w->address, w->length, MADV_DONTFORK)) {
		error = -errno;
		window_unmap(w);
		return fail(error, "madvise(MADV_DONTFORK) failed on a new window (errno %d)",
			    -error);
	}
	if (!spec->ageless)
		leave_ages_alone(w);
	return 0;
}

int window_allow(const struct window *w)
{
	int protection = w->read_only ? PROT_READ : PROT_READ | PROT_WRITE;

	if (!mprotect((void *)(uintptr_t)w->address, w->length, protection))
		return 0;
	return fail(-errno, "mprotect failed on a new window (errno %d); look at vm.max_map_count",
		    errno);
}

static bool is_own(const struct window *w, const struct procmap_vma *vma)
{
	return vma->dev == w->dev && (vma->ino == w->ino || vma->ino == w->base_ino);
}

/* Calls act(address, length) on every mapping of the window's file in [from, to). */
static int for_own_mappings(const struct window *w, uint64_t from, uint64_t to,
			    int (*act)(void *address, size_t length))
{
	struct procmap_vma vma;
	struct procmap map;
	int error = procmap_open(&map);

	if (error)
		return error;
	while (from < to && !error && !procmap_find(&map, from, &vma) && vma.start < to) {
		uint64_t start = vma.start > from ? vma.start : from;
		uint64_t end = vma.end < to ? vma.end : to;

		if (is_own(w, &vma))
			error = act((void *)(uintptr_t)start, end - start);
		from = vma.end;
	}
	procmap_close(&map);
	return error;
}

/* The second way is for what the application has locked with mlock() (Linux 5.18). */
static int drop(void *address, size_t length)
{
	if (!madvise(address, length, MADV_DONTNEED) ||
	    (errno == EINVAL && !madvise(address, length, MADV_DONTNEED_LOCKED)))
		return 0;
	return -errno;
}

static int unmap(void *address, size_t length)
{
	return munmap(address, length) ? -errno : 0;
}

void window_unmap(const struct window *w)
{
	/* Without /proc nothing can be proved ours and the address range is given up instead. */
	for_own_mappings(w, w->address, w->address + w->length, unmap);
	if (w->mirror)
		for_own_mappings(w, w->mirror, w->mirror + w->length, unmap);
}

int window_drop(const struct window *w, uint64_t offset, uint64_t length)
{
	return for_own_mappings(w, w->address + offset, w->address + offset + length, drop);
}

bool window_contains(const struct window *w, uint64_t address, uint64_t length)
{
	return address >= w->address && length <= w->length &&
	       address - w->address <= w->length - length;
}

bool window_can_remap(void)
{
	return !access("/proc/self/maps", R_OK);
}

/* The mapping shows the clone's page that belongs there: its own, or an ancestor's. */
static bool shows(const struct window *w, const struct procmap_vma *vma, uint64_t base)
{
	bool own = vma->ino == w->ino;

	return is_own(w, vma) && vma->start - vma->offset == base && (own || !vma->shared);
}

/* What a part of a window is to show. */
struct remapping {
	const struct window *w;
	const struct uffd   *uffd;
	uint64_t             base; /* where page 0 is */
};

/* As below, of hugetlb pages: mapped for this once. */
static int bring_part(const struct remapping *r, uint64_t to, uint64_t length, int protection)
{
	void *part = mmap(NULL, length, PROT_NONE, how_shared(r->w->read_only), r->w->own_fd,
			  (off_t)(to - r->base));
	int error = 0;

	if (part == MAP_FAILED)
		return -errno;
	if (madvise(part, length, MADV_DONTFORK))
		error = -errno;
	if (!error)
		error = uffd_register(r->uffd, (uintptr_t)part, length, UFFD_WATCH_REGION);
	if (!error && (mprotect(part, length, protection) ||
		       mremap(part, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
			      (void *)(uintptr_t)to) == MAP_FAILED))
		error = -errno;
	if (error)
		munmap(part, length);
	return error;
}

/* With the protection that the application may have given it, and in its cores as the rest of the
 * window. The mirror is so but for this moment, and stays mapped: it is whole for the next time. */
static int move_part(const struct remapping *r, uint64_t to, uint64_t length, int protection)
{
	void *part = (void *)(uintptr_t)(r->w->mirror + (to - r->base));
	int error = 0;

	if (!r->w->mirror)
		return bring_part(r, to, length, protection);

	if (mprotect(part, length, protection))
		return -errno;
	if (madvise(part, length, MADV_DODUMP) ||
	    mremap(part, length, length, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		   (void *)(uintptr_t)to) == MAP_FAILED)
		error = -errno;
	madvise(part, length, MADV_DONTDUMP);
	mprotect(part, length, PROT_NONE);
	return error;
}

/* The mappings that adjoin this one and have the same protection: where they end, before `to`. */
static uint64_t end_of_alike(const struct window *w, struct procmap *map,
			     const struct procmap_vma *first, uint64_t base, uint64_t to)
{
	uint64_t end = first->end;
	struct procmap_vma vma;

	while (end < to && !procmap_find(map, end, &vma) && vma.start == end &&
	       vma.protection == first->protection && shows(w, &vma, base))
		end = vma.end;
	return end < to ? end : to;
}

/* All that shows the clone's pages in [from, to). */
static int remap_range(const struct remapping *r, struct procmap *map, uint64_t from, uint64_t to)
{
	int error, result = -ENOENT;
	struct procmap_vma vma;

	while (from < to && !procmap_find(map, from, &vma) && vma.start < to) {
		uint64_t start = vma.start > from ? vma.start : from, end = vma.end;

		if (shows(r->w, &vma, r->base)) {
			end = end_of_alike(r->w, map, &vma, r->base, to);
			error = move_part(r, start, end - start, vma.protection);
			if (result == -ENOENT || error)
				result = error;
		}
		from = end;
	}
	return result;
}

int window_remap(const struct window *w, const struct uffd *uffd, const struct window_part *part)
{
	const struct remapping r = { w, uffd, part->address - part->offset };
	struct procmap map;
	int error;

	if ((!w->mirror && w->own_fd < 0) || part->offset > w->length ||
	    part->length > w->length - part->offset)
		return -ENOENT;
	error = procmap_open(&map);
	if (error)
		return error;
	error = remap_range(&r, &map, part->address, part->address + part->length);
	if (error == -ENOMEM) /* for one more mapping: all of it is one */
		error = remap_range(&r, &map, r.base, r.base + w->length);
	procmap_close(&map);
	return error;
}
