/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_report - the reading verbs: status, lists by cursor, long texts by offset, verify
 *
 * Invariants  T1  a list's page holds at most LIST_PAGE entries, which always fit a packet.
 *             T2  the pieces of one text come from one snapshot as long as the client asks for
 *                 them in order on one connection without asking for another text in between;
 *                 otherwise the text is made again, and a piece begins where the old one ended.
 * Locking     the connection's lock for its text cache; texts are made without it.
 * Not here    What the reports say (client/report.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "client/latency.h"
#include "client/pressure.h"
#include "client/report.h"
#include "ipc/convert.h"
#include "ipc/dispatch.h"
#include "ipc/server_state.h"

/* An entry's largest encoding: two names of 63 bytes, a state word, and up to thirty numbers of
 * at most 10 bytes with their tags. */
enum { ENTRY_BYTES_MAX = 2 * 66 + 16 + 30 * 12, LIST_PAGE = 32 };

static_assert(ENTRY_BYTES_MAX * LIST_PAGE + 64 <= MMB_PACKET_MAX, "T1");

enum { TEXT_PIECE = MMB_PACKET_MAX - 256 };

/* ---- status ---- */

static char *text(const char *s)
{
	/* Messages being packed are only read; their generated type doesn't say so. */
	return (char *)(uintptr_t)(s ? s : "");
}

static void status_fill(Mmb__Wire__StatusReply *reply, const struct status_report *s)
{
	reply->uptime_ms = s->uptime_ms;
	reply->reserve_mode = text(s->reserve_mode);
	reply->topology = text(s->topology);
	reply->pools = s->pools;
	reply->sessions = s->sessions;
	reply->regions = s->regions;
	reply->metadata = s->metadata;
	reply->spanned = s->spanned;
	reply->faults = s->faults;
	reply->fault_p50_ns = s->fault_p50_ns;
	reply->fault_p99_ns = s->fault_p99_ns;
	reply->poisoned = s->poisoned;
}

static void stock_fill(Mmb__Wire__StockStatus *out, const struct stock_report *s)
{
	mmb__wire__stock_status__init(out);
	out->node = s->node;
	out->stock = text(s->stock);
	out->reserve = s->reserve;
	out->held = s->held;
	out->present = s->present;
	out->committed = s->committed;
	out->margin = s->margin;
}

int handle_STATUS(struct request *r)
{
	struct server         *server = r->connection->server;
	Mmb__Wire__StatusReply reply = MMB__WIRE__STATUS_REPLY__INIT;
	struct status_report   status = { 0 };
	Mmb__Wire__StockStatus parts[ARRAY_SIZE(status.stocks)];
	Mmb__Wire__StockStatus *pointers[ARRAY_SIZE(status.stocks)];
	struct server_stats    stats;
	struct unread_count    unread;

	report_status(&status);
	server_stats(server, &stats);
	server_settle_unread(server);
	unread_count(&server->unread, r->connection->peer.uid, &unread);
	status_fill(&reply, &status);
	for (uint32_t i = 0; i < status.nr_stocks; i++) {
		stock_fill(&parts[i], &status.stocks[i]);
		pointers[i] = &parts[i];
	}
	reply.n_stocks = status.nr_stocks;
	reply.stocks = pointers;
	reply.version = text(MMB_VERSION);
	reply.pid = (uint64_t)getpid();
	reply.requests = stats.requests;
	reply.bad_messages = stats.bad_messages;
	reply.socket = server->path;
	reply.log_lost = log_nr_lost();
	reply.draining = atomic_load(&server->draining);
	reply.unread_descriptors = unread.total;
	reply.unread_descriptors_max = unread.most;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

/* ---- lists ---- */

int handle_POOLS(struct request *r)
{
	const Mmb__Wire__ListRequest *m = r->message;
	Mmb__Wire__ListReply          reply = MMB__WIRE__LIST_REPLY__INIT;
	Mmb__Wire__PoolStatReply      stats[LIST_PAGE];
	Mmb__Wire__PoolInfo           parts[LIST_PAGE], *pointers[LIST_PAGE];
	struct pool_report            pools[LIST_PAGE];
	uint32_t                      nr = report_pools(m->after, pools, LIST_PAGE, &reply.next);

	for (uint32_t i = 0; i < nr; i++) {
		Mmb__Wire__PoolInfo *p = pointers[i] = &parts[i];

		mmb__wire__pool_info__init(p);
		p->id = pools[i].id;
		p->name = pools[i].name;
		p->uid = pools[i].uid;
		p->gid = pools[i].gid;
		p->mode = pools[i].mode;
		p->private_pool = pools[i].is_private;
		pool_stat_reply_fill(&stats[i], &pools[i].stat);
		p->stat = &stats[i];
	}
	reply.n_pools = nr;
	reply.pools = pointers;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_SESSIONS(struct request *r)
{
	const Mmb__Wire__ListRequest *m = r->message;
	Mmb__Wire__ListReply          reply = MMB__WIRE__LIST_REPLY__INIT;
	Mmb__Wire__SessionInfo        parts[LIST_PAGE], *pointers[LIST_PAGE];
	struct session_report         sessions[LIST_PAGE];
	uint32_t nr = report_sessions(m->after, sessions, LIST_PAGE, &reply.next);

	for (uint32_t i = 0; i < nr; i++) {
		const struct session_report *s = &sessions[i];
		Mmb__Wire__SessionInfo      *p = pointers[i] = &parts[i];

		mmb__wire__session_info__init(p);
		p->id = s->id;
		p->pid = (uint32_t)s->pid;
		p->uid = s->uid;
		p->gid = s->gid;
		p->name = text(s->name);
		p->regions = s->regions;
		p->spanned = s->spanned;
		p->resident = s->resident;
		p->page_runs = s->page_runs;
		p->leased = s->leased;
		p->faults = s->faults;
		p->requests = s->requests;
		p->user_mode_only = s->user_mode_only;
		p->state = text(s->state);
	}
	reply.n_sessions = nr;
	reply.sessions = pointers;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_REGIONS(struct request *r)
{
	const Mmb__Wire__ListRequest *m = r->message;
	Mmb__Wire__ListReply          reply = MMB__WIRE__LIST_REPLY__INIT;
	Mmb__Wire__RegionStatReply    stats[LIST_PAGE];
	Mmb__Wire__RegionInfo         parts[LIST_PAGE], *pointers[LIST_PAGE];
	struct region_report          regions[LIST_PAGE];
	uint32_t                      nr;
	int                           error = check_name(r, "pool name", m->pool);

	if (!error)
		error = report_check_pool(m->pool, &r->why);
	if (error)
		return error;
	nr = report_regions(m->after, m->pool, regions, LIST_PAGE, &reply.next);
	for (uint32_t i = 0; i < nr; i++) {
		Mmb__Wire__RegionInfo *p = pointers[i] = &parts[i];

		mmb__wire__region_info__init(p);
		p->id = regions[i].id;
		p->name = regions[i].name;
		p->pool = regions[i].pool;
		p->uid = regions[i].uid;
		p->gid = regions[i].gid;
		p->mode = regions[i].mode;
		p->sessions = regions[i].stat.sessions;
		region_stat_reply_fill(&stats[i], &regions[i].stat);
		p->stat = &stats[i];
		p->hugetlb = regions[i].hugetlb;
		p->parent = regions[i].parent;
	}
	reply.n_regions = nr;
	reply.regions = pointers;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

/* ---- long texts ---- */

/* Takes the connection's text if it is the one this request goes on with. */
static bool cache_take(struct request *r, const Mmb__Wire__TextRequest *m, struct text_cache *out)
{
	struct connection *c = r->connection;
	bool               found;

	mutex_lock(&c->lock);
	found = m->offset && c->text.text && c->text.method == r->packet.method &&
		c->text.session == m->session &&
		c->text.statistics == !!m->statistics && strcmp(c->text.pool, m->pool) == 0;
	if (found) {
		*out = c->text;
		c->text.text = NULL;
	}
	mutex_unlock(&c->lock);
	return found;
}

static void cache_put(struct request *r, const struct text_cache *cache)
{
	struct connection *c = r->connection;
	char              *before;

	mutex_lock(&c->lock);
	before = c->text.text;
	c->text = *cache;
	mutex_unlock(&c->lock);
	free(before);
}

/* Bytes of the piece that begins at offset: up to the last line end that fits. */
static size_t piece_length(const struct text_cache *t, size_t offset)
{
	size_t      left = t->length - offset;
	const char *cut;

	if (left <= TEXT_PIECE)
		return left;
	cut = memrchr(t->text + offset, '\n', TEXT_PIECE);
	return cut ? (size_t)(cut + 1 - t->text) - offset : TEXT_PIECE;
}

static int send_piece(struct request *r, struct text_cache *t, uint64_t offset)
{
	Mmb__Wire__TextReply reply = MMB__WIRE__TEXT_REPLY__INIT;
	size_t               end;
	char                 cut;
	int                  error;

	if (offset > t->length)
		offset = t->length;
	end = offset + piece_length(t, offset);
	cut = t->text[end];
	t->text[end] = '\0';
	reply.text = t->text + offset;
	reply.next = end < t->length ? end : 0;
	error = request_reply(r, &reply.base, (struct wire_fds){ 0 });
	t->text[end] = cut;
	return error ? error : reply.next != 0;
}

static int make_text(struct request *r, const Mmb__Wire__TextRequest *m, char **out)
{
	static const enum report_text kinds[] = {
		[MMB_METHOD_MEMINFO] = TEXT_MEMINFO,
		[MMB_METHOD_BUDDYINFO] = TEXT_BUDDYINFO,
		[MMB_METHOD_ZONEINFO] = TEXT_ZONEINFO,
		[MMB_METHOD_PAGETYPEINFO] = TEXT_PAGETYPEINFO,
		[MMB_METHOD_VMSTAT] = TEXT_VMSTAT,
	};

	if (r->packet.method == MMB_METHOD_MAPS)
		return report_maps(m->session, &r->connection->peer, out, &r->why);
	if (r->packet.method == MMB_METHOD_LATENCY)
		return report_latency(m->statistics, out, &r->why);
	if (r->packet.method == MMB_METHOD_PRESSURE)
		return report_pressure(m->pool, m->session, out, &r->why);
	if (r->packet.method == MMB_METHOD_SLABINFO)
		return report_slabinfo(m->pool, m->statistics, out, &r->why);
	if (r->packet.method == MMB_METHOD_SWAPS)
		return report_swaps(m->statistics, out, &r->why);
	return report_text(kinds[r->packet.method], m->pool, out, &r->why);
}

static int handle_text(struct request *r)
{
	const Mmb__Wire__TextRequest *m = r->message;
	struct text_cache             t = { .method = r->packet.method,
					    .session = m->session,
					    .statistics = m->statistics };
	int                           more;
	int                           error = check_name(r, "pool name", m->pool);

	if (error)
		return error;
	if (!cache_take(r, m, &t)) {
		strcpy(t.pool, m->pool);
		error = make_text(r, m, &t.text);
		if (error)
			return error;
		t.length = strlen(t.text);
	}
	more = send_piece(r, &t, m->offset);
	if (more == 1)
		cache_put(r, &t);
	else
		free(t.text);
	return min_t(int, more, 0);
}

int handle_MEMINFO(struct request *r)
{
	return handle_text(r);
}

int handle_BUDDYINFO(struct request *r)
{
	return handle_text(r);
}

int handle_ZONEINFO(struct request *r)
{
	return handle_text(r);
}

int handle_PAGETYPEINFO(struct request *r)
{
	return handle_text(r);
}

int handle_VMSTAT(struct request *r)
{
	return handle_text(r);
}

int handle_MAPS(struct request *r)
{
	return handle_text(r);
}

int handle_SLABINFO(struct request *r)
{
	return handle_text(r);
}

int handle_LATENCY(struct request *r)
{
	return handle_text(r);
}

int handle_PRESSURE(struct request *r)
{
	return handle_text(r);
}

int handle_SWAPS(struct request *r)
{
	return handle_text(r);
}

/* ---- verify ---- */

int handle_VERIFY(struct request *r)
{
	Mmb__Wire__VerifyReply reply = MMB__WIRE__VERIFY_REPLY__INIT;
	struct validation     *v = calloc(1, sizeof(*v));
	char                  *pointers[VALIDATION_REPORTS];
	int                    error;

	if (!v)
		return refuse(&r->why, -ENOMEM, "the daemon is out of memory");
	report_verify(v);
	reply.checked = v->nr_checked;
	reply.differences = v->nr_differences;
	reply.n_reports = (size_t)min_t(uint64_t, v->nr_differences, VALIDATION_REPORTS);
	for (size_t i = 0; i < reply.n_reports; i++)
		pointers[i] = v->reports[i];
	reply.reports = pointers;
	error = request_reply(r, &reply.base, (struct wire_fds){ 0 });
	free(v);
	return error;
}
