/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_state - the server and its workers as the rest of ipc sees them
 *
 * Locking     c: fixed after start   a: atomic   w: that worker only
 */
#ifndef MMB_IPC_SERVER_STATE_H
#define MMB_IPC_SERVER_STATE_H

#include <event2/event.h>
#include <stdatomic.h>

#include "base/heartbeat.h"
#include "ipc/lane.h"
#include "ipc/listener.h"
#include "ipc/server.h"
#include "ipc/unread.h"
#include "ipc/workpool.h"

struct worker {
	struct server    *server;  /* (c) */
	struct event_base *base;   /* (c) */
	struct lane      *lane;    /* (w) */
	pthread_t         thread;  /* (c) */
	uint32_t          index;   /* (c) */
	struct heartbeat  heartbeat; /* (w) */
	struct event     *turn;    /* (w) once a second: the loop turns */
	atomic_uint       nr_connections; /* (a) for choosing the least loaded */
	uint64_t          attends_until_ns; /* (w) it doesn't sleep before */
	bool              stopped; /* (w) */
};

struct server {
	struct server_options options;  /* (c) */
	char                  path[256]; /* (c) */
	struct listener       listener; /* worker 0 */
	struct workpool      *pool;     /* (c) */
	atomic_int            userfaultfd; /* (a) /dev/userfaultfd or -1 */
	uint32_t              nr_workers;  /* (c) */
	struct worker         workers[SERVER_WORKERS_MAX];

	atomic_bool      draining;   /* (a) no new sessions, but tools */
	atomic_bool      stopping;   /* (a) nobody gets in */
	_Atomic uint64_t drain_from;  /* (a) sessions when a DRAIN began */
	_Atomic uint64_t drain_ended; /* (a) that were left at its deadline */
	atomic_uint      nr_alive;   /* (a) connections not freed yet */
	_Atomic uint64_t nr_accepted, nr_refused, nr_bad_messages; /* (a) */
	struct unread    unread;     /* its own lock */
	_Atomic uint64_t unread_settled_ns; /* (a) the last walk over all connections */
	_Atomic uint64_t nr_upcalls_sent, nr_upcalls_dropped, nr_upcalls_missed; /* (a) */
};

/* The worker whose thread this is; NULL on other threads. */
extern _Thread_local struct worker *this_worker;

/* On its own thread: somebody is about to ask, and the worker doesn't sleep meanwhile. */
void worker_attend(struct worker *w);

/* Counts anew what all clients have left unread, if that wasn't done just now. */
bool server_settle_unread(struct server *server);

/* Identifies the peer, applies the limits and makes the connection; closes sock on failure. */
int server_take_socket(struct server *server, int sock);

#endif
