/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unread - descriptors that clients have been sent and haven't taken yet
 *
 * Purpose     A descriptor that lies in a socket counts against the user that sent it, and above
 *             RLIMIT_NOFILE the kernel lets no process of that user send another one
 *             (ETOOMANYREFS): neither to other clients nor to whoever keeps descriptors for the
 *             next daemon. So each one is counted here before it is made, and refused beyond a
 *             share.
 * Invariants  R1  all that are unread are at most half of the limit: the rest is the keeper's.
 *             R2  a uid has at most as many as are left for all others.
 *             R3  they are counted until their socket's queue is seen empty. The kernel leaves them
 *                 there after the connection's end, as long as anybody holds the other end; so does
 *                 this: the socket lingers, without a session, and counts as a connection.
 * Locking     one mutex inside, under a connection's.
 * Not here    How many one connection may have unread, and who waits (connection).
 */
#ifndef MMB_IPC_UNREAD_H
#define MMB_IPC_UNREAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "base/lock.h"

/* c: fixed after init   l: lock */
struct unread {
	struct mutex     lock;
	uint64_t         most;         /* (c) R1 */
	uint64_t         total;        /* (l) */
	struct list_head uids;         /* (l) those that have some */
	struct list_head lingering;    /* (l) R3 */
	uint64_t         nr_lingering; /* (l) */
};

void unread_init(struct unread *u, uint64_t descriptors_max);
void unread_fini(struct unread *u);

/* -ENOBUFS: R1 or R2. */
int  unread_charge(struct unread *u, uid_t uid, uint32_t nr);
/* What is there already, whatever the shares say. */
int  unread_recharge(struct unread *u, uid_t uid, uint32_t nr);
void unread_uncharge(struct unread *u, uid_t uid, uint32_t nr);

/* Whether the other end has taken all that was sent on it. */
bool unread_is_taken(int sock);
/* Ends a connection's socket, which is the ledger's from now on, with what it has charged. */
void unread_linger(struct unread *u, int sock, uid_t uid, uint32_t nr);
/* Closes those that have been taken. */
void unread_look(struct unread *u);

struct unread_count {
	uint64_t total, most;
	uint64_t lingering, lingering_of_uid; /* sockets */
};
void unread_count(struct unread *u, uid_t uid, struct unread_count *out);

#endif
