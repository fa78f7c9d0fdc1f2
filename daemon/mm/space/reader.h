/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader - a fault lane reads single pages by itself, and serves other faults meanwhile
 *
 * Purpose     A fault on one swapped page costs no other thread: the lane claims the page, begins
 *             the read through a ring of its own, goes on, and maps the page when the ring says
 *             that it is there. While reads are usually short the lane spins for them, which saves
 *             the wake-up of a halted CPU.
 * Invariants  A1  a reader is one thread's; a thread without one leaves everything to waiters.
 *             A2  a read holds its fault's mm and region, and BUSY of the page, until it is done.
 *             A3  a lane never waits for the disk, except when it ends.
 * Locking     none: thread-local.
 * Not here    Which neighbours come along (crowd.h). Runs of pages, pages of 2 MiB, making room
 *             (waiter.h): whatever takes long.
 */
#ifndef MMB_SPACE_READER_H
#define MMB_SPACE_READER_H

#include "mm/space/waiter.h"

struct reader_config {
	int epoll_fd; /* of the thread: gets the ring's descriptor, with `tag` */
	uint64_t tag;
	/* Goes on with a fault whose page has come, or hasn't: it looks at the word. The reference
	 * to the region stays the reader's. */
	void (*resume)(const struct waiting_fault *fault);
	/* Maps a page that was read because its neighbours are in use (crowd.h). */
	void (*show)(const struct waiting_fault *fault);
};

/* The calling thread reads from now on; the ring is made when it is needed first. */
void reader_begin(const struct reader_config *config);
/* Waits for what is under way. */
void reader_end(void);
/* Takes over a copy of the fault and its reference to the region. False: somebody else has to. */
bool reader_add(const struct waiting_fault *fault);
/* Goes on with what has been read; false if nothing had. */
bool reader_reap(void);
/* A read is under way that will probably be done in a moment. */
bool reader_spins(uint64_t now_ns);
/* The thread is about to sleep, and isn't waiting awake for what is under way any more. */
void reader_sleeps(uint64_t now_ns);
/* Another thread has had the CPU meanwhile: what comes now says nothing about the disk. */
void reader_disturbed(void);

#endif
