/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pager - the thread that acts on the daemon's upcalls
 *
 * Purpose     Does what only this process can do to its own mappings: drops page table entries
 *             (ZAP), hands cached page runs back (PRESSURE), remembers why the daemon says goodbye.
 * Invariants  P1  A ZAP touches only windows of this connection; anything else is refused.
 *             P2  Every upcall is acknowledged once, with a code.
 *             P3  The thread takes no signals and calls nothing of the application's.
 *             P4  It exists from the first arena window or named region on, not before: a process
 *                 that needs no upcalls gets no thread.
 * Locking     pager.lock guards the thread's start and the goodbye text; innermost but for the
 *             channel's.
 */
#ifndef MMB_LIBCLIENT_PAGER_H
#define MMB_LIBCLIENT_PAGER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct mmb;

/* c: fixed after pager_init   l: lock */
struct pager {
	int             sock;    /* (c) upcalls; -1: none, or none yet */
	pthread_mutex_t lock;
	bool            started; /* (l) */
	bool            stopped; /* (l) pager_stop() was called: never starts again */
	pthread_t       thread;  /* (l) */
	char            goodbye[ERROR_BYTES / 2]; /* (l) "": none */
};

void pager_init(struct pager *pager);
/* Starts the thread unless it runs. */
int  pager_start(struct mmb *mmb);
/* Ends and joins it; the descriptor stays open. */
void pager_stop(struct pager *pager);
void pager_fini(struct pager *pager);
/* Why the daemon went, as far as it said so; looks for a message that nobody has read yet. */
void pager_last_words(struct pager *pager, char *out, size_t bytes);

#endif
