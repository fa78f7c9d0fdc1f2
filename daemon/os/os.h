/* SPDX-License-Identifier: Apache-2.0 */
/*
 * os - every system call on memory and files, behind one table
 *
 * Purpose     The floors above call os->...; unit tests put a table of plain memory there.
 * Errors      negative errno. Lengths and offsets are bytes, page-aligned unless said otherwise.
 * Not here    Sockets (ipc), topology (os/topology.h).
 */
#ifndef MMB_OS_OS_H
#define MMB_OS_OS_H

#include <stdbool.h>
#include <stdint.h>

enum { OS_HUGETLB = 1 };
/* Elsewhere in this table a node is an index into the topology given to os_bind_nodes(). */
enum { OS_NODE_ANY = -1 };

/* What one userfaultfd ioctl over a range achieved. */
struct os_range_result {
	int      error; /* 0 or negative errno */
	uint64_t done;  /* bytes finished before the error, from the start of the range */
};

enum os_event_kind { OS_EVENT_FAULT, OS_EVENT_REMAP, OS_EVENT_UNMAP, OS_EVENT_OTHER };
enum { OS_FAULT_WRITE = 1, OS_FAULT_WP = 2, OS_FAULT_MINOR = 4 };

struct os_uffd_event {
	enum os_event_kind kind;
	uint32_t           flags;   /* FAULT: OS_FAULT_* */
	uint32_t           tid;     /* FAULT: the faulting thread, 0 unknown */
	uint64_t           address; /* FAULT; REMAP, UNMAP: where from */
	uint64_t           to;      /* REMAP */
	uint64_t           length;  /* REMAP, UNMAP */
};

enum { OS_UFFD_EVENTS = 16 }; /* most events one read takes */

struct os_copy {
	int      from, to; /* files */
	uint64_t from_offset, offset, length; /* in whole pages of either */
	int      node;
};

struct os_ops {
	/* A sealed (SHRINK, GROW, SEAL) memfd of mode 0400, all holes. */
	int (*memfd_new)(const char *name, uint64_t bytes, unsigned flags);
	/* The same file, read-only. */
	int (*reopen_readonly)(int fd);
	/* Another descriptor of the same open file, to be passed to a client. */
	int (*dup)(int fd);
	void (*close)(int fd);
	/* Makes pages present and zero, bound to a node; all or -errno (what was present stays).
	 * A failed call over a range of holes leaves holes. */
	int (*populate)(int fd, uint64_t offset, uint64_t length, int node);
	/* The same through a mapping advised to huge pages, where the host lets shared memory have
	 * them; for whole pageblocks. */
	int (*populate_huge)(int fd, uint64_t offset, uint64_t length, int node);
	/* The same through a mapping of the range that exists: unlike populate it takes no lock of
	 * the file, so threads that populate hugetlb pages side by side clear them at once. */
	int (*populate_mapped)(int fd, uint64_t offset, uint64_t length, int node, void *mapped);
	/* populate for a range of holes in shared memory, with pages cleared now rather than when
	 * they are mapped. What somebody else has put into a hole meanwhile is zeroed. */
	int (*populate_cleared)(int fd, uint64_t offset, uint64_t length, int node);
	/* Makes holes of `to` pages that hold what `from` has, where holes read zero and stay
	 * holes. All or -errno: then what came is still there. */
	int (*copy)(const struct os_copy *c);
	int (*punch)(int fd, uint64_t offset, uint64_t length);
	/* Bytes present in the file, or -errno. */
	int64_t (*allocated)(int fd);
	/* First offset >= from that is present (touched or not); -ENXIO if none is. Walks. */
	int64_t (*next_present)(int fd, uint64_t from);
	/* First offset >= from of a page of shared memory that somebody may have touched since it
	 * became present; -ENXIO: none. Moves the file's position. */
	int64_t (*next_touched)(int fd, uint64_t from);
	/* Copies what the file has there; holes read zero and stay holes. All of it, or -errno. */
	int (*read)(int fd, uint64_t offset, void *to, uint64_t length);
	/* All of it, or -errno; what is a hole becomes a page. */
	int (*write)(int fd, uint64_t offset, const void *from, uint64_t length);
	/* A page of the range is absent, for certain. */
	bool (*has_hole)(int fd, uint64_t offset, uint64_t length);

	/* Address space without access or memory. hint 0: anywhere; a hint is binding. */
	int (*reserve)(void *hint, uint64_t length, void **out);
	int (*map)(void *address, uint64_t length, int fd, uint64_t offset);
	/* Back to reserved. */
	int (*unmap)(void *address, uint64_t length);
	/* Against the host's swap. The range is populated: locking a hole would fill it. */
	int (*lock)(void *address, uint64_t length);

	/* Maps present pages; a page mapped already counts as done. Sleepers of the part done are
	 * woken. -EFAULT: the page at `done` is absent; -ENOENT, -ESRCH: unmapped, client dead;
	 * -EAGAIN: the client's map is changing, try again later. */
	struct os_range_result (*uffd_continue)(int uffd, uint64_t address, uint64_t length);
	int (*uffd_wake)(int uffd, uint64_t address, uint64_t length);
	/* Poisons absent pages; -EOPNOTSUPP before Linux 6.6. What is mapped protected may not be
	 * afterwards. */
	int (*uffd_poison)(int uffd, uint64_t address, uint64_t length);
	/* The same, and what is mapped stays as it is: whoever waits there is woken. So is who
	 * waits for a page that was punched while it was protected: that isn't poisoned. */
	int (*uffd_poison_absent)(int uffd, uint64_t address, uint64_t length);
	/* The same, but a write to them is an event. -EOPNOTSUPP before Linux 6.6. */
	struct os_range_result (*uffd_continue_protected)(int uffd, uint64_t address,
							  uint64_t length);
	/* A write to the range is an event from now on. Entries that aren't there stay so. */
	int (*uffd_protect)(int uffd, uint64_t address, uint64_t length);
	int (*uffd_unprotect)(int uffd, uint64_t address, uint64_t length);

	/* Up to `most` events, at most OS_UFFD_EVENTS; 0 if none waits, negative errno. Descriptors
	 * that come with fork events are closed. */
	int (*uffd_read)(int uffd, struct os_uffd_event *events, int most);

	uint64_t (*now_ns)(void); /* CLOCK_MONOTONIC */
};

struct topology;

/* Tells os_linux which kernel node an index means. Before that, and for a topology that doesn't
 * bind or has one node, the node given to populate is ignored. The topology must stay. */
void os_bind_nodes(const struct topology *t);

extern const struct os_ops *os;
extern const struct os_ops os_linux;

#endif
