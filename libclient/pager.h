/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pager - the thread that acts on the daemon's upcalls
 *
 * Purpose     Does what only this process can do to its own mappings: drops page table entries
 *             (ZAP), has parts of clones mapped anew (REMAP, remapper.h), hands cached memory back
 *             (PRESSURE), remembers why the daemon says goodbye.
 * Invariants  P1  A ZAP touches only windows of this connection; anything else is refused.
 *             P2  Every upcall is acknowledged once, with a code, when it is done.
 *             P3  The thread takes no signals and calls nothing of the application's.
 *             P4  Thread and upcall socket exist from the first arena window, named region or
 *                 region that can be evicted on, not before: a process that needs no upcalls
 *                 gets neither. The daemon says goodbye on the connection's own socket then.
 *             P5  Who gave daemon_timeout_ms gets the thread with mmb_open(): it asks whether
 *                 somebody serves (absence.h).
 *             P6  After a GOODBYE the heaps get no ticks: what the broker destroys at its end
 *                 raises SIGBUS, and this thread has no handler for it.
 *             P7  When the session is over, by this side or by a daemon that has cut it or has
 *                 gone, this thread closes the heaps for ever and waits until nobody is inside.
 *                 Then it shuts both sockets down, and the daemon lets others have the slabs.
 * Locking     pager.lock guards the thread's start and the goodbye text; innermost but for the
 *             channel's. pager.starting is held while the daemon is asked for the socket, from
 *             pager_start_begin() to pager_start_end(); outermost.
 */
#ifndef MMB_LIBCLIENT_PAGER_H
#define MMB_LIBCLIENT_PAGER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "proto/wire.h"

struct mmb;
struct call;

/* l: lock   a: atomic, set once */
struct pager {
	pthread_mutex_t starting;
	pthread_mutex_t lock;
	int             sock;    /* (l) upcalls; -1: none yet; fixed once it is there */
	_Atomic int     kick;    /* (a) eventfd: heaps want their tick; -1: none yet */
	bool            started; /* (l) */
	bool            stopped; /* (l) pager_stop() was called: never starts again */
	pthread_t       thread;  /* (l) */
	char            goodbye[ERROR_BYTES / 2]; /* (l) "": none */
};

void pager_init(struct pager *pager);
/* Gets the socket and starts the thread, unless it runs. */
int  pager_start(struct mmb *mmb);
/* The same in two halves, of which the second waits: something else may be asked for between them.
 * Where the first one succeeds the second has to follow. */
struct pager_start {
	bool         under_way; /* else it runs, or never will again */
	struct call *asked;     /* NULL: the socket is there */
};
int  pager_start_begin(struct mmb *mmb, struct pager_start *start);
int  pager_start_end(struct mmb *mmb, const struct pager_start *start);
/* A packet of the connection's own socket that answers no request; false: it is no GOODBYE. */
bool pager_hear(struct pager *pager, const struct wire_packet *packet);
/* Heaps have something to do, in a while or now. Any thread; costs one system call. */
void pager_kick(struct mmb *mmb, bool now);
bool pager_is_stopped(struct pager *pager);
/* P7. False: somebody is inside still; ask again. The pager's thread only. */
bool pager_tell(struct mmb *mmb);
/* An upcall that wasn't acknowledged where it was received. Any thread. */
void pager_acknowledge(struct pager *pager, uint32_t method, uint64_t id, int code);
/* Ends and joins it; the descriptor stays open. */
void pager_stop(struct pager *pager);
void pager_fini(struct pager *pager);
/* Why the daemon went, as far as it said so; looks for a message that nobody has read yet. */
void pager_last_words(struct pager *pager, char *out, size_t bytes);

#endif
