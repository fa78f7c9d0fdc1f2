/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer - who is at the other end of a socket
 *
 * Purpose     Identity from SO_PEERCRED and SO_PEERGROUPS, and a pidfd of the process that
 *             connected, whose end is the end of the session even if a forked child still holds
 *             the socket.
 * Invariants  R1  only the kernel's word counts; nothing under /proc/PID decides anything.
 *             R2  the pidfd names the process that connected, or peer_identify fails.
 * Locking     none.
 */
#ifndef MMB_IPC_PEER_H
#define MMB_IPC_PEER_H

#include "client/verbs.h"

/* The groups that mean something here; GID_NONE of ipc/server.h: nobody. */
struct peer_rules {
	int64_t socket_gid;
	int64_t admin_gid;
};

struct peer_identity {
	struct peer peer;     /* name and control are HELLO's to fill */
	int         pidfd;    /* the caller closes it; -1: a process of another pid namespace */
	bool        in_group; /* daemon's uid, root, admin, or member of the socket's group */
};

/* -ESRCH: the peer is gone already. */
int peer_identify(int sock, const struct peer_rules *rules, struct peer_identity *out);

#endif
