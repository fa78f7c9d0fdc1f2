/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection - one connected client: its socket, what is queued for it, its end
 *
 * Purpose     Reads packets on its worker and hands them to the dispatcher; takes replies and
 *             upcalls from any thread; ends when the peer, its process, a deadline, a limit or
 *             the protocol says so, and then ends the session at once.
 * Invariants  C1  events are added and deleted on the worker only; other threads add ev_write,
 *                 ev_wake and the upcall deadline under the lock while not ended.
 *             C2  once ended, nothing is sent and no event fires again.
 *             C3  reading is paused while requests in flight or the outbox are at their bounds,
 *                 so neither grows beyond bound plus what was in flight.
 *             C4  a session exists from HELLO's reply until the end, and ends exactly once.
 *             C5  a request whose reply has descriptors is parked, and nothing more is read, while
 *                 the client leaves UNREAD_FDS_MAX unread. That has no deadline: ending the
 *                 connection would take none of them back.
 * Locking     `lock` is a leaf: sends and libevent calls only are made under it.
 * Not here    What packets mean (dispatch), which connections exist (registry).
 */
#ifndef MMB_IPC_CONNECTION_H
#define MMB_IPC_CONNECTION_H

#include <event2/event_struct.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "client/verbs.h"
#include "ipc/outbox.h"
#include "ipc/peer.h"
#include "ipc/upcall.h"
#include "ipc/workpool.h"

enum {
	OUTBOX_BYTES_MAX = 1 << 20,
	OUTBOX_PACKETS_MAX = 256,
	UNREAD_FDS_MAX = 32,
};

/* A long text between two of its pieces; l. */
struct text_cache {
	char    *text; /* NULL: none */
	size_t   length;
	uint32_t method;
	uint64_t session;
	bool     statistics;
	char     pool[NAME_MAX_BYTES + 1];
};

struct server;
struct worker;
struct job;

/* c: fixed after init   w: worker only   l: lock   a: atomic */
struct connection {
	struct server    *server;    /* (c) */
	struct worker    *worker;    /* (c) */
	uint64_t          key;       /* (c) */
	atomic_uint       refs;      /* (a) */
	struct peer       peer;      /* (c) but name and control: (w) until HELLO is answered */
	bool              in_group;  /* (c) */
	int               pidfd;     /* (c) open until the last reference goes; -1: none */
	struct session   *session;   /* (w) until HELLO is answered, then (c) until freed */
	bool              started;   /* (w) events are added */
	bool              greeted;   /* (w) HELLO is answered */
	bool              resumed;   /* (w) of a session that a predecessor has greeted */
	uint64_t          first_id;  /* (w) of the first request that was read here; 0: none yet */
	uint32_t          nr_repeats; /* (w) requests read that say they were lost */
	uint32_t          nr_attended; /* (w) packets after which the next one was awaited */
	_Atomic uint64_t  heard;     /* (w) writes; any thread: the highest id that was read */
	atomic_bool       has_memory; /* (a) said HELLO and is no tool */

	struct event ev_read, ev_closed, ev_pidfd, ev_hello; /* (w) */
	struct event ev_write, ev_wake;                      /* C1 */
	struct event ev_taken;      /* (w) C5: the next look */
	uint32_t     taken_ms;      /* (w) */
	struct event ev_leased;     /* (w) what is done for the next one can begin */
	uint32_t     leased;        /* (w) the offer's pool, until then */

	struct mutex          lock;
	int                   sock;         /* (l) for sending; (w) for reading */
	bool                  ended;        /* (l) */
	bool                  paused;       /* (l) C3 */
	bool                  write_armed;  /* (l) */
	bool                  unhurried;    /* (l) what waits to be sent may wait for ever */
	uint32_t              nr_in_flight; /* (l) */
	uint32_t              fds_unread;   /* (l) sent, or in the outbox; charged to its uid */
	struct job           *parked;       /* (l) C5 */
	int                   kill_code;    /* (l) wanted end; 0: none */
	struct refusal        kill_reason;  /* (l) */
	struct outbox         outbox;       /* (l) */
	struct upcall_channel upcalls;      /* (l) */
	struct text_cache     text;         /* (l) */

	struct job_queue jobs; /* the work pool's lock */
};

/* Takes over sock and identity->pidfd on success; reading begins on the worker. */
int connection_new(struct worker *worker, int sock, const struct peer_identity *identity);
/* The same for a session that a predecessor has greeted, with its upcall socket (-1: none) and the
 * last id sent on it. Before the worker runs; nothing is read until connection_resume(). */
struct connection_past {
	struct session *session; /* the caller's reference is the connection's now */
	int upcall_sock;
	uint64_t last_upcall;
};
int connection_adopt(struct worker *worker, int sock, const struct peer_identity *identity,
		     struct connection **out);
void connection_set_past(struct connection *c, const struct connection_past *past);
/* Its client is told that there is another daemon, and is served. */
void connection_resume(struct connection *c);
void connection_get(struct connection *c);
void connection_put(struct connection *c);

/* Any thread. Sends now or queues. 0, or the error of a packet that can't be sent as it is. A
 * connection that has ended swallows it. */
int connection_send(struct connection *c, const void *bytes, size_t nr);
/* The same with descriptors, which stay the caller's, and have been promised. */
int connection_send_fds(struct connection *c, const void *bytes, size_t nr, struct wire_fds fds,
			uint32_t *promised);
/* The same for what the client hasn't asked for: it isn't ended for leaving it unread. */
int connection_send_unasked(struct connection *c, const void *bytes, size_t nr);
/* Any thread: the worker ends the connection soon. code: as for connection_end. */
void connection_kill(struct connection *c, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Worker only. code 0: the client left; -EPROTO: it broke the protocol; ... */
void connection_end(struct connection *c, int code, const char *reason);
/* Worker only: HELLO is answered and the deadline for it is off. */
void connection_greeted(struct connection *c);
/* Worker only: what an offer used up is made anew, once the client has had the time to begin. */
void connection_leased(struct connection *c, uint32_t pool);

/* A reply with up to nr descriptors may be sent: asked before anything is made for it. -ENOBUFS:
 * the uid's processes leave too many unread. Who asked takes back what wasn't sent. */
int connection_promise_fds(struct connection *c, uint32_t nr, struct refusal *why);
void connection_unpromise_fds(struct connection *c, uint32_t nr);
/* Worker only. Whether C5 lets a request go on; the job that goes to the work threads later, when
 * it does or the connection ends. */
bool connection_takes_fds(struct connection *c);
/* Any thread: those that were taken count no more. */
void connection_settle_unread(struct connection *c);
void connection_park(struct connection *c, struct job *job);

/* A request went to the work threads; one came back. */
void connection_flight_begin(struct connection *c);
void connection_flight_end(struct connection *c);

#endif
