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
	uint64_t            page;            /* (c) bytes of a page */
	dev_t               dev;             /* (c) of the memfd: what W2 goes by */
	ino_t               ino;             /* (c) */
	bool                read_only;       /* (c) */
	LIST_ENTRY(window)  link;            /* (l) */
};
LIST_HEAD(window_list, window);

struct window_spec {
	int      fd; /* stays the caller's */
	uint64_t length;
	uint64_t align;     /* the page size: 4096 or 2 MiB */
	uint64_t preferred; /* where it should be */
	bool     exact;     /* there or -EADDRNOTAVAIL */
	bool     read_only; /* a private window of an O_RDONLY descriptor */
};

/* Maps, without access; not registered yet. w->address tells where. */
int window_map(struct window *w, const struct window_spec *spec);
/* W1: after it was registered. */
int window_allow(const struct window *w);
/* Unmaps what is still ours in the range. */
void window_unmap(const struct window *w);
/* Drops the page table entries of a part (zap, poison markers); what isn't ours is skipped. */
int window_drop(const struct window *w, uint64_t offset, uint64_t length);
bool window_contains(const struct window *w, uint64_t address, uint64_t length);

#endif
