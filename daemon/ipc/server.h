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

/* Read by any thread while a reload changes them. */
struct server_limits {
	_Atomic uint32_t sessions;           /* connections that hold memory, all together */
	_Atomic uint32_t sessions_per_uid;
	_Atomic uint32_t requests_in_flight; /* of one session, on the work threads */
	_Atomic uint64_t upcall_deadline_ms;
	_Atomic uint64_t hello_deadline_ms;
	_Atomic uint64_t unread_deadline_ms; /* for a client that reads no reply; 0: 5 s */
};

/* What an administrator's verb needs from main. Any work thread. */
struct server_hooks {
	void *context;
	/* Fills report with lines; 0, or a negative errno with the mistakes in it. */
	int (*reload)(void *context, char *report, size_t room);
	/* Sessions that end from now on end for good. */
	void (*ending)(void *context);
};

struct server;
struct refusal;

struct server_options {
	const char            *path;      /* with a listen_fd only shown by STATUS */
	int                    listen_fd; /* of the service manager, taken over; -1: none */
	bool                   listen_own; /* it is a predecessor's, at path: removed at the end */
	uint32_t               mode;      /* permission bits of the socket */
	int64_t                gid;       /* the socket's group; GID_NONE: the daemon's own */
	int64_t                admin_gid; /* may use ADMIN methods; GID_NONE: nobody by group */
	uint32_t               nr_workers;
	uint32_t               nr_work_threads;
	struct server_limits   limits;
	_Atomic enum pass_userfaultfd pass_userfaultfd;
	struct server_hooks    hooks; /* a NULL function: its verb is refused */
	uint64_t               features;    /* MMB_FEATURE_* this daemon has */
	uint64_t               operation_timeout_ms; /* told to clients */
	/* Takes over a predecessor's sessions before anybody is served; NULL: there are none. */
	int (*adopt)(struct server *server, struct refusal *why);
	const struct topology *topology;    /* for the threads' nodes; NULL: node 0 */
};

/* All fields set to the defaults of the configuration; path is NULL. */
void server_options_init(struct server_options *options);

enum { SERVER_ERROR_BYTES = 512 };

/* Whether another daemon serves this path: to be asked before a reserve is taken that has no use
 * then. 0, or -EADDRINUSE with a sentence. */
int server_probe(const char *path, char error[SERVER_ERROR_BYTES]);
/* Whether a socket can be made there; -EACCES: not by this user. Makes nothing, and one that is
 * served is none of its business. 0, or a negative errno with a sentence. */
int server_look(const char *path, char error[SERVER_ERROR_BYTES]);
/* Serves from when it returns 0. On failure `error` says what to do about it:
 * -EADDRINUSE another daemon serves this path, -EEXIST the path is something else, ... */
int server_start(const struct server_options *options, struct server **out,
		 char error[SERVER_ERROR_BYTES]);
/* No new sessions; clients are told `reason` and have drain_ms to close; what is left is ended.
 * Every session has ended and every thread is gone when this returns; frees the server. */
void server_stop(struct server *server, const char *reason, uint64_t drain_ms);

/* Takes over the limits and pass_userfaultfd of these options; the rest needs a new server. */
void server_reconfigure(struct server *server, const struct server_options *options);
/* No new sessions from now on, but tools get in; clients are told `reason`. Any thread;
 * false if that has been done already. */
bool server_drain(struct server *server, const char *reason);
/* Sessions that hold memory now. */
uint64_t server_sessions(const struct server *server);
/* Ends the sessions that hold memory, not the tools. */
void server_end_sessions(struct server *server, const char *reason);

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
