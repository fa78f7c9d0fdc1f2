/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener - the listening socket: how it appears, accepts and goes away
 *
 * Purpose     Binds under a temporary name, sets mode and group, listens, and renames into place
 *             when the server is ready. A socket file left behind is replaced; one that somebody
 *             serves, or anything that isn't a socket, is refused.
 * Invariants  L1  the lock file PATH.lock is held, exclusively, from open to close.
 *             L2  out of descriptors, the listener rests for a moment instead of spinning; the
 *                 client at the head of the queue is turned away by means of a reserve.
 * Crash       kept once its name is in place, and inherited with the lock file beside it, which
 *             ends with the process; a name that was left alone is replaced. Connections that
 *             nobody has accepted wait in it.
 * Locking     opened and closed by the server's owner; accepts on worker 0.
 */
#ifndef MMB_IPC_LISTENER_H
#define MMB_IPC_LISTENER_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "ipc/server.h"

struct listener {
	int          sock, lock_fd, reserve_fd; /* -1: none */
	bool         published;
	char         path[256];
	struct stat  identity; /* of the socket file, so that only our own is removed */
	struct event ev_accept, ev_rest;
	struct server *server;
};

/* Everything but the name. options->listen_fd is taken over on success. */
int listener_open(struct listener *l, const struct server_options *options,
		  char error[SERVER_ERROR_BYTES]);
/* Accepts on this base from now on, before its loop runs. */
int listener_start(struct listener *l, struct server *server, struct event_base *base);
/* The socket appears. */
int listener_publish(struct listener *l, char error[SERVER_ERROR_BYTES]);
/* Stops accepting and removes what is ours. Any state. */
void listener_close(struct listener *l);

#endif
