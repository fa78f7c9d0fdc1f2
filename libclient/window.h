/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window - a mapping of part of a section in this process
 *
 * Purpose     Maps a memfd where the broker expects it, marks it not inherited by fork, registers
 *             it for page faults, and takes it away again without ever touching what is not ours.
 * Invariants  W1  A window can't be accessed before it is registered: an unregistered one reads
 *                 zeros over holes without an event. Nor can the kernel, which under
 *                 mlockall(MCL_FUTURE) would fill the holes at once.
 *             W2  The library unmaps, drops or unregisters only mappings of the window's own file
 *                 inside the window's own range. The application may have unmapped or moved it.
 *             W3  A window is unmapped before the userfaultfd closes, never only unregistered.
 * Locking     none; whoever holds the struct sees to it.
 * Not here    Which windows exist (connection.c, arena.c).
 */
#ifndef MMB_LIBCLIENT_WINDOW_H
#define MMB_LIBCLIENT_WINDOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "uffd.h"

/* c: fixed after window_map   l: the list's lock */
struct window {
	uint64_t            address, length; /* (c) */
	uint32_t            handle;          /* (c) of its region; 0: an arena's */
	uint64_t            page;            /* (c) bytes of a page */
	dev_t               dev;             /* (c) of the memfd: what W2 goes by */
	ino_t               ino;             /* (c) */
	bool                read_only;       /* (c) */
	ino_t               base_ino;        /* (c) of what a clone's window shows at first */
	uint64_t            mirror;          /* (c) a clone's own memory once more; 0: none */
	int                 own_fd;          /* (c) the same of hugetlb pages; -1: none */
	LIST_ENTRY(window)  link;            /* (l) */
};
LIST_HEAD(window_list, window);

struct window_spec {
	int      fd; /* stays the caller's */
	uint64_t length;
	uint64_t align;     /* the page size: 4096 or 2 MiB */
	uint64_t preferred; /* where it should be */
	bool     exact;     /* there or -EADDRNOTAVAIL */
	bool     open;      /* with access at once: there is no other thread that could use it */
	bool     ageless;   /* its pages are on no list: hugetlb */
	bool     read_only; /* a private window of an O_RDONLY descriptor */
	int      base_fd;   /* -1, or whose memory a clone shows at first: fd is its own then */
	bool     hugetlb;   /* both are: then fd is to stay open as long as the window is there */
};

/* The file is long enough to map so much of it: what lies behind its end would be SIGBUS, later. */
bool window_fits(int fd, uint64_t length);
/* Maps, without access unless it is to be open; not registered yet. w->address tells where. */
int window_map(struct window *w, const struct window_spec *spec);
/* Parts of clones can be mapped anew here: /proc tells what is mapped where. */
bool window_can_remap(void);
/* A part of the clone, wherever the application has it by now. */
struct window_part {
	uint64_t address, offset, length; /* offset: in the clone */
};
/* It shows the clone's own memory from now on: that is moved there, registered already, and the
 * kernel tells the daemon, which is waited for. What isn't the window's any more is skipped;
 * -ENOENT: nothing is. */
int window_remap(const struct window *w, const struct uffd *uffd, const struct window_part *part);
/* W1: after it was registered. */
int window_allow(const struct window *w);
/* Unmaps what is still ours in the range. */
void window_unmap(const struct window *w);
/* Drops the page table entries of a part (zap, poison markers); what isn't ours is skipped. */
int window_drop(const struct window *w, uint64_t offset, uint64_t length);
bool window_contains(const struct window *w, uint64_t address, uint64_t length);

#endif
