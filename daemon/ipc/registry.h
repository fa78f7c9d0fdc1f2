/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry - every living connection, by a key that is never used twice
 *
 * Purpose     Other floors hold a connection's key instead of a pointer: a call that comes after
 *             the connection has ended finds nothing. Also counts connections for the limits.
 * Invariants  E1  a key is found from registry_add until registry_del, and never again.
 * Locking     one leaf mutex inside; connections come out with a reference of the caller's.
 */
#ifndef MMB_IPC_REGISTRY_H
#define MMB_IPC_REGISTRY_H

#include <stdint.h>
#include <sys/types.h>

#include "ipc/connection.h"

/* Sets c->key. -ENOMEM. The registry holds no reference. */
int registry_add(struct connection *c);
void registry_del(struct connection *c);
/* The connection with one more reference, or NULL. */
struct connection *registry_get(uint64_t key);
/* The first connection of a server whose key is above `after`, with one more reference. */
struct connection *registry_next(const struct server *server, uint64_t after);

struct registry_count {
	uint64_t connections, sessions; /* of one server */
	uint64_t of_uid;                /* connections of the uid asked for */
};
void registry_count(const struct server *server, uid_t uid, struct registry_count *out);

#endif
