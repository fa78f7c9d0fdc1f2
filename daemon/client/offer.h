/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offer - a private pool with its first unit, given before it is asked for
 *
 * Purpose     A program that opens a private pool and allocates needs three answers: to HELLO, to
 *             POOL_OPEN, and arena, slab map and lease. Who did so the last time under the same
 *             name gets all of it with HELLO: a pool with handle, arena and a leased unit like any
 *             other. It uses it when it asks for such a pool, or gives it back.
 * Invariants  O1  made only where an arena was made ahead, OFFERS_MAX at most are open, and only
 *                 for a user and a name whose last session began with such a pool. One that nobody
 *                 wanted is the last until a session begins so again. Nor to a user who has used
 *                 half of its pools or span: an offer takes nothing from who wants something else.
 *             O2  an offer is open until the client claims it, a verb is asked for its handle, it
 *                 is withdrawn, or the session ends. One that is open for offer_ns is withdrawn.
 *             O3  a client claims by storing `claimed` in the unit's header and reading `offered`;
 *                 the daemon withdraws by clearing `offered` and reading `claimed`. Each stores
 *                 first, so at most one of them goes on; if neither does, the pool stays until
 *                 the client closes it. Of what was punched `offered` reads 0.
 *             O4  what a client writes there decides about its own pool alone.
 * Crash       An offer is a pool handle. The next daemon doesn't know that it was open: it stays
 *             until the client closes it or its session ends.
 * Locking     a session's offer: its lock; the list of sessions with an open one: a leaf mutex.
 *             Files are read and written without either.
 * Not here    Which descriptors and words the reply has (ipc/handle_session.c).
 */
#ifndef MMB_CLIENT_OFFER_H
#define MMB_CLIENT_OFFER_H

#include "base/list.h"
#include "client/verbs.h"

enum { OFFERS_MAX = 8 };

struct pool_handle;

/* s: the session's lock   o: offers' lock */
struct offer {
	uint32_t handle;       /* (s) 0: none is open */
	uint32_t first_plain;  /* (s) its first pool handle, if that is what is offered */
	bool has_opened;       /* (s) a pool */
	uint64_t place;        /* (s) of the unit's header in its slab map */
	uint64_t since_ns;     /* (s) */
	struct list_head link; /* (o) */
};

void offers_init(void);
void offers_fini(void);
/* The session's, which may have none yet. */
void offer_init(struct offer *offer);
/* It has opened a pool. */
void offer_note_open(struct session *s, const struct pool_open_args *args, uint32_t handle);
/* It has leased in a pool for the first time: if it began with that, the next one will, too. */
void offer_note_lease(struct session *s, uint32_t handle);
/* With the session's lock held: a verb is asked for the handle, so it is in use. */
void offer_use_locked(struct session *s, uint32_t handle);
/* The handle, if it is an open offer's, is about to end; 0: whichever it is. */
void offer_end(struct session *s, uint32_t handle);
/* Once a second, O2. */
void offers_tick(void);
uint32_t offers_open(void);

#endif
