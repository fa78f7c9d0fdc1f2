/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remapper - the thread that maps parts of clones' windows anew
 *
 * Purpose     An mremap() of what is registered sleeps until somebody has read of it from the
 *             userfaultfd. So it is done here, and not by the pager, which has others to serve, nor
 *             under a lock that calls want.
 * Invariants  Q1  a window isn't unmapped while a part of it is being mapped.
 *             Q2  once the session is over nothing more is mapped, and the thread comes back: what
 *                 nobody else reads any more is read here.
 * Locking     remapper.lock for the queue; innermost. mmb->lock for `pinned`.
 */
#ifndef MMB_LIBCLIENT_REMAPPER_H
#define MMB_LIBCLIENT_REMAPPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mmb;
struct window;

/* One request of the daemon's. */
struct remap_want {
	uint32_t handle;
	uint64_t address, offset, length;
	uint64_t id; /* of the upcall, which is acknowledged when it is done */
};
enum { REMAPPER_QUEUE = 64 };

/* l: lock   m: mmb->lock */
struct remapper {
	pthread_mutex_t      lock;
	pthread_cond_t       wanted;   /* with lock */
	pthread_cond_t       unpinned; /* with mmb->lock */
	struct remap_want    queue[REMAPPER_QUEUE]; /* (l) */
	uint32_t             first, nr;             /* (l) */
	bool                 started, over, gone;   /* (l) */
	pthread_t            thread;                /* (l) */
	const struct window *pinned;                /* (m) Q1; NULL: none */
};

void remapper_init(struct remapper *r);
void remapper_fini(struct remapper *r);
/* 0: it will be done and acknowledged; -EAGAIN, -ENOTCONN: it won't be. By the pager alone. */
int  remapper_add(struct mmb *mmb, const struct remap_want *want);
/* Q2. By the pager alone, when its socket has been closed. */
void remapper_end(struct mmb *mmb);
/* Q1: mmb->lock is held, and let go meanwhile. */
void remapper_wait(struct mmb *mmb, const struct window *w);

#endif
