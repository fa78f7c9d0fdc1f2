/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt - the sessions of a daemon that died become this one's
 *
 * Purpose     Finds who is still at the other end of each session's socket, has the floor below
 *             rebuild the session, and connects both. Whose process has ended meanwhile isn't
 *             adopted: what it had goes with the end of the resume.
 * Locking     on the thread that starts the server, before its workers run.
 * Not here    What a session consists of (client/resume.h).
 */
#ifndef MMB_IPC_ADOPT_H
#define MMB_IPC_ADOPT_H

#include "client/verbs.h"

struct server;

int server_adopt_sessions(struct server *server, struct refusal *why);

#endif
