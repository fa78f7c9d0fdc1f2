/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offer - a private pool that came with HELLO
 *
 * Purpose     The broker gives one to programs that will want it, as far as it can tell: with its
 *             arena and a leased unit, so that opening it and the first object cost no message.
 * Invariants  F1  The broker withdraws an offer that isn't claimed soon, so it is used only if the
 *                 claim was made while the unit's header says that it stands. Claiming stores
 *                 first and then looks; withdrawing, too.
 *             F2  Until it is taken, its descriptors are in the connection's process entry: a
 *                 forked child closes them.
 *             F3  Whoever opens another pool first gives it back.
 * Locking     mmb.lock for the connection's offer.
 */
#ifndef MMB_LIBCLIENT_OFFER_H
#define MMB_LIBCLIENT_OFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/mmbroker.pb-c.h"

struct mmb;

struct pool_offer {
	uint32_t handle, member; /* handle 0: there is none */
	uint64_t key;
	uint64_t address, length; /* of the arena window */
	bool     hugetlb;
	uint64_t unit;
	int      arena, map; /* descriptors */
};

/* As HELLO's reply has it, with its descriptors, which are taken over. False: it makes no sense,
 * and they stay the caller's. */
bool offer_read(struct pool_offer *offer, const Mmb__Wire__PoolOffer *reply, const int fds[2]);
void offer_close_fds(const struct pool_offer *offer);
/* Takes the connection's offer and claims it: the caller's with its descriptors. False: there is
 * none that stands. */
bool offer_take(struct mmb *mmb, struct pool_offer *out);
/* Nobody wants it: the broker is told, and not waited for. */
void offer_give_back(struct mmb *mmb);
/* The connection is being closed. */
void offer_forget(struct mmb *mmb);

#endif
