/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server - the socket, its workers and its connections, for the daemon's main
 *
 * Purpose     server_start() serves the protocol on a unix SOCK_SEQPACKET socket until
 *             server_stop(). Sessions are pinned to one of a few control workers, each an event
 *             loop; verbs that may wait run on a small pool of work threads.
 * Invariants  V1  the socket appears at its path only when requests are being served, by rename.
 *             V2  one daemon a path: a lock file beside the socket is held while serving.
 * Locking     start and stop on one thread; the rest from any thread.
 * Not here    What a request does (client/verbs.h), configuration (app/config.h).
 */
#ifndef MMB_IPC_SERVER_H
#define MMB_IPC_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "os/topology.h"

/* Who gets /dev/userfaultfd, which is a privilege. In the order of the configuration's words. */
enum pass_userfaultfd { PASS_GROUP, PASS_ALL, PASS_NEVER };

enum { SERVER_WORKERS_MAX = 16, SERVER_WORK_THREADS_MAX = 16, GID_NONE = -1 };

struct server_limits {
	uint32_t sessions;           /* connections that hold memory, all together */
	uint32_t sessions_per_uid;
	uint32_t requests_in_flight; /* of one session, on the work threads */
	uint64_t upcall_deadline_ms;
	uint64_t hello_deadline_ms;
	uint64_t unread_deadline_ms; /* for a client that reads no reply; 0: 5 s */
};

struct server_options {
	const char            *path;      /* with a listen_fd only shown by STATUS */
	int                    listen_fd; /* of the service manager, taken over; -1: none */
	uint32_t               mode;      /* permission bits of the socket */
	int64_t                gid;       /* the socket's group; GID_NONE: the daemon's own */
	int64_t                admin_gid; /* may use ADMIN methods; GID_NONE: nobody by group */
	uint32_t               nr_workers;
	uint32_t               nr_work_threads;
	struct server_limits   limits;
	enum pass_userfaultfd  pass_userfaultfd;
	uint64_t               features;    /* MMB_FEATURE_* this daemon has */
	uint64_t               operation_timeout_ms; /* told to clients */
	const struct topology *topology;    /* for the threads' nodes; NULL: node 0 */
};

/* All fields set to the defaults of the configuration; path is NULL. */
void server_options_init(struct server_options *options);
/* Group name or number to a gid; "" is GID_NONE; -ENOENT. */
int server_group(const char *name, int64_t *gid);

struct server;

enum { SERVER_ERROR_BYTES = 512 };

/* Serves from when it returns 0. On failure `error` says what to do about it:
 * -EADDRINUSE another daemon serves this path, -EEXIST the path is something else, ... */
int server_start(const struct server_options *options, struct server **out,
		 char error[SERVER_ERROR_BYTES]);
/* No new sessions; clients are told `reason` and have drain_ms to close; what is left is ended.
 * Every session has ended and every thread is gone when this returns; frees the server. */
void server_stop(struct server *server, const char *reason, uint64_t drain_ms);

struct server_stats {
	uint64_t connections, sessions; /* living now */
	uint64_t accepted, refused;     /* connections since the start */
	uint64_t requests, bad_messages;
	uint64_t upcalls_sent, upcalls_dropped, upcalls_missed; /* missed: no ack by the deadline */
	uint64_t request_p50_ns, request_p99_ns;                /* from receipt to reply */
};
void server_stats(const struct server *server, struct server_stats *out);

/* Takes over a connected SOCK_SEQPACKET socket as if it had been accepted. For a socket the
 * service manager kept, and for tests over a socketpair. */
int server_adopt(struct server *server, int sock);

#endif
