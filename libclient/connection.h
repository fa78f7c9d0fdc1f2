/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection - struct mmb, one session with the broker
 *
 * Purpose     What a connection consists of, and how long its parts live: the windows and the
 *             pager thread until mmb_close(); the descriptors until then and until the last call
 *             in flight has ended; the struct until the last pool and region handle is closed too.
 * Invariants  M1  Windows and pools are listed here from before the application knows of them.
 *             M2  After mmb_close() every handle of the connection gives -ENOTCONN.
 * Locking     mmb.lock guards the lists; see process.h for the order. Windows are mapped before
 *             they are listed and unmapped after they are unlisted.
 */
#ifndef MMB_LIBCLIENT_CONNECTION_H
#define MMB_LIBCLIENT_CONNECTION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "call.h"
#include "mmbroker.h"
#include "offer.h"
#include "pager.h"
#include "pool.h"
#include "process.h"
#include "remapper.h"
#include "shrink.h"
#include "uffd.h"
#include "window.h"

/* c: fixed after mmb_open   a: atomic   l: lock */
struct mmb {
	uint32_t              generation;  /* (c) */
	_Atomic uint32_t      refs;        /* (a) the application's, one a pool, region and call */
	_Atomic uint32_t      users;       /* (a) of the descriptors: being open, and each call */
	uint64_t              timeout_ms;  /* (c) of one operation */
	uint64_t              daemon_timeout_ms; /* (c) without a broker; 0: no limit */
	uint64_t              session;     /* (c) the daemon's number for us */
	struct channel        channel;
	struct uffd           uffd;        /* (c) */
	int                   log;         /* (c) descriptor of the fault log; -1: there is none */
	struct process_entry *entry;       /* (c) */
	struct pager          pager;
	struct remapper       remapper;
	struct shrinkers      shrinkers;
	pthread_mutex_t       lock;
	struct window_list    windows;     /* (l) of regions */
	struct pool_list      pools;       /* (l) */
	struct pool_offer     offer;       /* (l) */
	bool                  closed;      /* (l) */
	_Atomic bool          closing;     /* (a) mmb_close() was called */
};

/* Of a handle's connection, at the top of a public function: 0, -EINVAL for NULL, -EOWNERDEAD. */
int  connection_check(const struct mmb *mmb, const char *handle);
void connection_get(struct mmb *mmb);
void connection_put(struct mmb *mmb);
/* Around each call: a reference, and the descriptors stay open. */
void connection_enter(struct mmb *mmb);
void connection_leave(struct mmb *mmb);

/* Sends the userfaultfd to the broker; not waited for. missed_by: the request to which the broker
 * has said that it has none; if it was sent since, nothing is done. 0: the first time. */
int  connection_attach(struct mmb *mmb, uint64_t missed_by);
/* fn for each open pool, once at least, with no lock held; true: one of them said so. */
bool connection_each_pool(struct mmb *mmb, bool (*fn)(struct mmb_pool *pool, void *arg), void *arg);
/* False: the connection is closed, the window is not listed. */
bool connection_add_window(struct mmb *mmb, struct window *w);
/* False: mmb_close() has taken it already. */
bool connection_del_window(struct mmb *mmb, struct window *w);
/* The window has been unmapped: a thread that waited at a fault there isn't woken by that. */
void connection_wake_window(struct mmb *mmb, const struct window *w);

#endif
