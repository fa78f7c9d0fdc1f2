/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt - two rounds: first all sessions, then what they have, then service
 *
 * Order       a session's handles mention its connection, and the first request served may need
 *             what belongs to any session.
 */
#include "ipc/adopt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/resume.h"
#include "ipc/connection.h"
#include "ipc/server_state.h"
#include "os/keep.h"

struct adoption {
	struct server *server;
	struct connection **connections;
	uint32_t nr, room;
	int error;
};

static int add(struct adoption *a, struct connection *c)
{
	if (a->nr == a->room) {
		uint32_t room = a->room ? a->room * 2 : 64;
		void *grown = realloc(a->connections, room * sizeof(struct connection *));

		if (!grown)
			return -ENOMEM;
		a->connections = grown;
		a->room = room;
	}
	a->connections[a->nr++] = c;
	return 0;
}

static struct worker *next_worker(const struct adoption *a)
{
	return &a->server->workers[a->nr % a->server->nr_workers];
}

/* The session behind an identified socket; takes over sock and who->pidfd on success. */
static int adopt_identified(struct adoption *a, uint32_t slot, int sock,
			    struct peer_identity *who)
{
	struct session *s = resume_session(slot, &who->peer);
	struct connection *c;
	int r;

	if (!s)
		return -ENOMEM;
	r = connection_adopt(next_worker(a), sock, who, &c);
	if (r)
		return r;
	connection_set_past(c, &(struct connection_past){
		.session = s,
		.upcall_sock = keep_take(keep_session_key(slot, KEEP_UPCALLS)),
		.last_upcall = resume_last_upcall(s),
	});
	session_set_upcalls(s, &upcall_ops, (void *)(uintptr_t)c->key);
	return add(a, c);
}

static void adopt_session(uint32_t slot, void *arg)
{
	struct adoption *a = arg;
	struct peer_rules rules = { a->server->options.gid, a->server->options.admin_gid };
	struct peer_identity who;
	int sock = keep_take(keep_session_key(slot, KEEP_SOCKET));
	int r;

	if (sock < 0 || a->error)
		return;
	r = peer_identify(sock, &rules, &who);
	if (r == -EMFILE || r == -ENFILE || r == -ENOMEM) { /* it says nothing of the process */
		a->error = r;
		return;
	}
	if (r) { /* it has ended: -ESRCH */
		close(sock);
		return;
	}
	a->error = adopt_identified(a, slot, sock, &who);
}

int server_adopt_sessions(struct server *server, struct refusal *why)
{
	struct adoption a = { .server = server };
	int r;

	resume_for_each_session(adopt_session, &a);
	r = a.error ? refuse(why, a.error, "a session can't be taken over: %s",
			     strerror(-a.error))
		    : resume_handles(why);
	for (uint32_t i = 0; i < a.nr && !r; i++)
		r = resume_serve(a.connections[i]->session);
	for (uint32_t i = 0; i < a.nr && !r; i++) {
		resume_condemn(a.connections[i]->session);
		connection_resume(a.connections[i]);
	}
	if (!r)
		resume_end();
	free(a.connections);
	return r;
}
