/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_service - the verbs of who runs the daemon: LOG_LEVEL, DRAIN, RELOAD
 *
 * Purpose     DRAIN tells the clients, lets nobody new in, and answers when the last session has
 *             gone; those that stay beyond the timeout are ended as by a stop: what they have
 *             mapped is punched and poisoned. The daemon stays, and serves tools.
 * Invariants  V1  a drain in progress holds no work thread for longer than DRAIN_STEP_MS.
 * Not here    What a reload changes (app/reload.c).
 */
#include <errno.h>
#include <time.h>

#include "base/log.h"
#include "ipc/dispatch.h"
#include "ipc/server_state.h"
#include "os/os.h"

enum { DRAIN_STEP_MS = 20, DRAIN_MS_MAX = 24 * 3600 * 1000, REPORT_BYTES = 8192 };

int handle_LOG_LEVEL(struct request *r)
{
	const Mmb__Wire__LogLevelRequest *m = r->message;
	Mmb__Wire__LogLevelReply          reply = MMB__WIRE__LOG_LEVEL_REPLY__INIT;
	enum log_level                    level;

	if (m->level[0]) {
		if (!r->connection->peer.admin)
			return refuse(&r->why, -EPERM,
				      "the level is changed by root, the daemon's user and members "
				      "of socket.admin_group");
		if (log_level_parse(m->level, &level) || level == LOG_CRIT)
			return refuse(&r->why, -EINVAL,
				      "there is no such level; error, warning, notice, info and "
				      "debug are");
		log_emit(LOG_NOTICE, "log_level", "uid %u sets the log level to %s",
			 r->connection->peer.uid, log_level_name(level));
		log_set_level(level);
	}
	reply.level = (char *)(uintptr_t)log_level_name(log_get_level());
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

/* ---- drain ---- */

/* Runs at every turn of the request; the first of all drains counts who is there. */
static void begin_drain(struct request *r, uint64_t timeout_ms)
{
	struct server *server = r->connection->server;

	if (!server_drain(server, "the daemon is being drained"))
		return;
	server->drain_from = server_sessions(server);
	log_emit(LOG_NOTICE, "drain_begin",
		 "uid %u drains the daemon: no new sessions, %llu have %llu ms to end",
		 r->connection->peer.uid, (unsigned long long)server->drain_from,
		 (unsigned long long)timeout_ms);
}

static int end_drain(struct request *r)
{
	struct server        *server = r->connection->server;
	Mmb__Wire__DrainReply reply = MMB__WIRE__DRAIN_REPLY__INIT;

	reply.ended = server->drain_ended;
	reply.left = server->drain_from > reply.ended ? server->drain_from - reply.ended : 0;
	log_emit(LOG_NOTICE, "drain_end",
		 "drained: %llu sessions left by themselves, %llu were ended",
		 (unsigned long long)reply.left, (unsigned long long)reply.ended);
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

static void end_sessions(struct server *server, uint64_t nr)
{
	uint64_t none = 0;

	atomic_compare_exchange_strong(&server->drain_ended, &none, nr);
	server->options.hooks.ending(server->options.hooks.context);
	server_end_sessions(server, "the daemon is being drained, and the time for it is over");
}

int handle_DRAIN(struct request *r)
{
	const Mmb__Wire__DrainRequest *m = r->message;
	struct server                 *server = r->connection->server;
	uint64_t                       nr;

	if (!server->options.hooks.ending)
		return refuse(&r->why, -EOPNOTSUPP, "this daemon can't be drained");
	if (m->timeout_ms > DRAIN_MS_MAX)
		return refuse(&r->why, -EINVAL, "%llu ms are too long; a day is the most",
			      (unsigned long long)m->timeout_ms);
	begin_drain(r, m->timeout_ms);
	nr = server_sessions(server);
	if (!nr)
		return end_drain(r);
	if (os->now_ns() - r->started_ns >= m->timeout_ms * 1000000)
		end_sessions(server, nr);
	nanosleep(&(struct timespec){ .tv_nsec = DRAIN_STEP_MS * 1000000L }, NULL);
	r->again = true;
	return 0;
}

int handle_RELOAD(struct request *r)
{
	const struct server_hooks *hooks = &r->connection->server->options.hooks;
	Mmb__Wire__ReloadReply     reply = MMB__WIRE__RELOAD_REPLY__INIT;
	char                       report[REPORT_BYTES] = "";

	if (!hooks->reload)
		return refuse(&r->why, -EOPNOTSUPP, "this daemon has no configuration to reload");
	reply.refused = hooks->reload(hooks->context, report, sizeof(report)) != 0;
	reply.report = report;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}
