/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call - requests and replies on the connection's socket
 *
 * Purpose     Any number of threads call at once. Requests are pipelined by id; whichever waiting
 *             thread finds nobody reading becomes the reader, and hands replies of other threads
 *             over. A slow request of one thread delays no other's.
 * Invariants  C1  A call is in the pending list from before it is sent until its reply is in, it
 *                 fails with the connection, or its orphan's reply is undone.
 *             C2  At most one thread reads. While there are waiters and no reader, one of them has
 *                 been woken to become it.
 *             C3  Each call that was sent is waited for or becomes an orphan: a timed-out call's
 *                 late success is undone, so that the daemon keeps nothing nobody knows of.
 *             C4  Once `error` is set it stays, and every call ends with it.
 *             C5  Ids grow in the order of sending. After RESUMED, a broker that was restarted says
 *                 which was the first request it has read: those before it are lost, and are sent
 *                 once more, or count as done if doing them twice could do harm.
 *             C6  Where there is a pager the daemon isn't told that a channel broke before nobody
 *                 works in the heaps any more (P7 of pager.h): others of a shared pool take over
 *                 its slabs then.
 *             C7  ATTACH has no reply, so that its loss shows in a refusal of what needs it. Then
 *                 it is sent once more, unless it has been since that request, and the request
 *                 behind it.
 *             C8  An orphan's request for which the socket has no room is kept, and goes before
 *                 any other request. It counts as an orphan meanwhile.
 * Locking     channel.lock, innermost. Nothing blocks under it.
 */
#ifndef MMB_LIBCLIENT_CALL_H
#define MMB_LIBCLIENT_CALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "error.h"
#include "proto/wire.h"

struct mmb;

/* Replies of a session with memory are short; 512 page runs are the longest. */
enum { CALL_SCRATCH_BYTES = 16 * 1024, CALL_ORPHANS_MAX = 64 };

/* o: the caller that holds it   l: channel.lock */
struct call {
	LIST_ENTRY(call)        link;       /* (l) pending, unsent or free list */
	pthread_cond_t          wake;       /* (l) reply in, connection over, or time to read */
	bool                    done;       /* (l) the reply is in bytes[] */
	bool                    waiting;    /* (l) a thread sleeps on wake */
	bool                    orphan;     /* (l) given up: whoever reads the reply undoes it */
	bool                    lost;       /* (l) a broker that died had read it: C5 */
	bool                    timed_out;  /* (o) perhaps still pending, and nobody waits */
	uint64_t                id;         /* (o) before it is pending, then (l) */
	uint64_t                again;      /* (o) its first id, if it is sent once more; 0 */
	size_t                  out_bytes;  /* (o) length of the request */
	uint32_t                method;     /* (o) */
	uint64_t                timeout_ms; /* (o) */
	uint64_t                soon_ns;    /* (o) if it reads, it doesn't sleep so long, once */
	uint32_t                pool, order; /* (o) PAGES_ALLOC, SLAB_LEASE: what undoing needs */
	struct wire_message     message;    /* (o) */
	struct wire_scratch     scratch;    /* (o) */
	const ProtobufCMessage *reply;      /* (o) valid until call_put */
	uint8_t out[MMB_PACKET_MAX] __attribute__((aligned(16))); /* the request */
	/* The reply, and right behind it what is unpacked from it: most replies are short, and each
	 * page touched for the first time costs more than the system call that fills it. */
	uint8_t bytes[MMB_PACKET_MAX + CALL_SCRATCH_BYTES] __attribute__((aligned(16)));
};
LIST_HEAD(call_list, call);

enum {
	CHANNEL_RECEIVE_MS = 500,
	CHANNEL_SOON = 3, /* packets that a broker which has just been connected to sends at once */
};

/* c: fixed after channel_init   l: lock */
struct channel {
	int              sock;       /* (c) */
	bool             bounded;    /* (c) a receive gives up after CHANNEL_RECEIVE_MS */
	pthread_mutex_t  lock;
	struct call_list pending;    /* (l) */
	struct call_list unsent;     /* (l) C8 */
	struct call_list free;       /* (l) */
	uint64_t         next_id;    /* (l) */
	uint64_t         attach_id;  /* (l) ATTACH was sent last before the request with this id */
	uint32_t         nr_orphans; /* (l) */
	bool             reading;    /* (l) C2 */
	uint32_t         nr_soon;    /* who reads: packets left that aren't slept for at once */
	bool             held;       /* (l) C6 */
	int              error;      /* (l) C4; 0: alive */
	char             reason[ERROR_BYTES]; /* (l) the sentence for error */
};

void channel_init(struct channel *ch, int sock);
/* Ends the connection for everybody, with this sentence. The socket is shut down, not closed. */
void channel_break(struct mmb *mmb, int error, const char *reason);
/* From now on C6 holds; whoever broke the channel before has told the daemon. */
void channel_hold(struct channel *ch);
bool channel_is_broken(struct channel *ch);
/* 0, or what ended it, with its sentence. */
int  channel_failure(struct channel *ch);
/* C6 doesn't hold any more: the daemon is told now, if the channel is broken. */
void channel_release(struct channel *ch);
/* Frees the memory that is kept for calls; others are freed by channel_fini(). */
void channel_trim(struct channel *ch);
/* Nobody calls any more: frees all calls. */
void channel_fini(struct channel *ch);

/* A call on this connection, with the connection's timeout; NULL with a sentence, see *error. */
struct call *call_get(struct mmb *mmb, int *error);
/* Sends, waits, unpacks call->reply. A refusal is the daemon's code and its sentence. */
int call_run(struct mmb *mmb, struct call *call, uint32_t method, const ProtobufCMessage *request);
/* A request whose reply is Empty, from call_get to call_put. */
int call_simple(struct mmb *mmb, uint32_t method, const ProtobufCMessage *request);
/* The halves of call_run: several requests can be on their way at once. */
int call_begin(struct mmb *mmb, struct call *call, uint32_t method,
	       const ProtobufCMessage *request);
int call_send(struct mmb *mmb, struct call *call, const ProtobufCMessage *request);
int call_wait(struct mmb *mmb, struct call *call);
/* Sent, and not waited for after all: before call_put(), which makes it an orphan (C3). */
static inline void call_abandon(struct call *call)
{
	call->timed_out = true;
}
/* Closes descriptors of the reply that were not taken. */
void call_put(struct mmb *mmb, struct call *call);
/* The descriptors become the caller's if there are exactly nr; else -EPROTO. */
int call_take_fds(struct mmb *mmb, struct call *call, uint32_t nr, int *fds);
/* The rest is between call.c, reply.c and undo.c. */

uint64_t call_now_ms(void);
/* So many from now on; what is too far for a number is never. */
uint64_t call_deadline(uint64_t ms);
/* Until a deadline, for poll(2). */
int call_left_ms(uint64_t deadline);
/* The daemon has closed the connection: says so to everybody, returns -ENOTCONN. */
int call_gone(struct mmb *mmb);
/* Records the sentence for a call that ended without a reply, returns its code. */
int call_fail(struct mmb *mmb, const struct call *call, int error);
/* Unpacks the body of the reply in bytes[], which is a `packet` without code; as wire_unpack(). */
int call_unpack(struct call *call, const struct wire_packet *packet);
/* The broker was restarted: asks it which requests are lost. Then its answer. */
void call_ask_lost(struct mmb *mmb);
void call_hear_lost(struct mmb *mmb, const struct wire_packet *packet);
/* A lost call, not pending: 0 when it is on its way again, 1 when it counts as done. */
int call_repeat(struct mmb *mmb, struct call *call);
/* The request in c->out is sent, as soon as there is room, and nobody waits for its reply. The call
 * is on no list, and isn't the caller's any more. */
void call_send_orphan(struct mmb *mmb, struct call *call);
/* C8, for whoever sends, or has read something. The channel's lock is held. 0: none is left. */
int call_send_unsent_locked(struct channel *ch);
/* Back to the free list, out of any other. */
void call_free(struct mmb *mmb, struct call *call);
/* The peer broke the protocol: ends the connection, returns -EPROTO. */
int call_protocol_error(struct mmb *mmb, const char *what);

#endif
