/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena - the arena windows of this process
 *
 * Purpose     A pool's arena is mapped at one address in every client, so a process has each
 *             window once, whichever of its connections and handles use it.
 * Invariants  A1  A window is registered with the userfaultfd of one connection that uses it, and
 *                 passes to another one when that connection closes.
 *             A2  A window stays mapped while a connection that mapped it is open, also after the
 *                 pool handle is closed: a late access is then an event, not a stranger's data. Of
 *                 windows without a pool only the ARENAS_LEFT latest do.
 *             A3  A window of no open pool, or of connections that are just being closed, gives way
 *                 when the broker has put something else there.
 * Locking     the process lock.
 */
#ifndef MMB_LIBCLIENT_ARENA_H
#define MMB_LIBCLIENT_ARENA_H

#include <stdbool.h>
#include <stdint.h>

struct mmb;

enum {
	ARENA_BLOCK_BYTES = 2 << 20, /* windows consist of such blocks, on hugetlb of such pages */
	ARENAS_LEFT = 64,            /* A2 */
};

struct arena_spec {
	uint64_t address, length;
	int      fd; /* stays the caller's */
	bool     hugetlb;
};

/* For one pool handle of this connection. -EADDRNOTAVAIL: something else is mapped there. */
int  arena_map(struct mmb *mmb, const struct arena_spec *spec);
/* The pool handle is closed. */
void arena_unuse(struct mmb *mmb, uint64_t address);
/* Runs of so many bytes were granted: whoever touched their place before has poison there, in this
 * process's page table, which only this process can take away. */
void arena_unpoison(const uint64_t *runs, uint32_t nr, uint64_t bytes);
/* The connection is about to close its userfaultfd. */
void arena_leave(struct mmb *mmb);
/* In a forked child: the windows are not there (MADV_DONTFORK). */
void arena_forget_all(void);

#endif
