/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lists - the verbs pools, sessions and regions
 *
 * Purpose     Walks a list of the broker by cursor and prints each piece as it comes (JSON) or
 *             the whole as one table.
 * Invariants  L1  the cursor grows: a broker that repeats one is refused, so that no list is
 *                 endless.
 */
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>

#include "tools/human.h"
#include "tools/json.h"
#include "tools/rpc.h"

/* How one kind of list is printed. */
struct list_view {
	const char *const *titles;
	unsigned int       nr_titles;
	void (*rows)(const Mmb__Wire__ListReply *reply, struct table *t);
	void (*lines)(const Mmb__Wire__ListReply *reply);
};

static void table_owner(struct table *t, uint32_t uid, uint32_t gid)
{
	const struct passwd *user = getpwuid(uid);
	char                 text[64];

	if (user)
		snprintf(text, sizeof(text), "%s:%" PRIu32, user->pw_name, gid);
	else
		snprintf(text, sizeof(text), "%" PRIu32 ":%" PRIu32, uid, gid);
	table_text(t, text);
}

static void table_mode(struct table *t, uint32_t mode)
{
	char text[HUMAN_BYTES];

	snprintf(text, sizeof(text), "%04" PRIo32, mode);
	table_text(t, text);
}

static void json_owner(struct json *j, uint32_t uid, uint32_t gid, uint32_t mode)
{
	json_number(j, "uid", uid);
	json_number(j, "gid", gid);
	json_number(j, "mode", mode);
}

static const char *const pool_titles[] = {
	"ID",    "<NAME",  "<OWNER", "MODE", "COMMITTED", "RESIDENT", "PEAK",
	"ARENA", "LEASED", "LOCKED", "SWAPPED", "MIN", "LOW", "HIGH", "MAX", "SWAP MAX",
	"SESSIONS", "REGIONS", "REFUSED",
};

static void table_limit(struct table *t, uint64_t bytes)
{
	/* Less than a page is nothing: 0 means no limit. */
	if (bytes)
		table_size(t, bytes < 4096 ? 0 : bytes);
	else
		table_text(t, "none");
}

static void pool_rows(const Mmb__Wire__ListReply *reply, struct table *t)
{
	static const Mmb__Wire__PoolStatReply nothing = MMB__WIRE__POOL_STAT_REPLY__INIT;

	for (size_t i = 0; i < reply->n_pools; i++) {
		const Mmb__Wire__PoolInfo      *p = reply->pools[i];
		const Mmb__Wire__PoolStatReply *s = p->stat ? p->stat : &nothing;

		table_number(t, p->id);
		table_text(t, p->private_pool && p->name[0] == '\0' ? "(private)" : p->name);
		table_owner(t, p->uid, p->gid);
		table_mode(t, p->mode);
		table_size(t, s->committed);
		table_size(t, s->resident);
		table_size(t, s->peak);
		table_size(t, s->arena);
		table_size(t, s->leased);
		table_size(t, s->locked);
		table_size(t, s->swapped);
		table_limit(t, s->min);
		table_limit(t, s->low);
		table_limit(t, s->high);
		table_limit(t, s->max);
		table_limit(t, s->swap_max);
		table_number(t, s->sessions);
		table_number(t, s->regions);
		table_number(t, s->refused);
	}
}

static void pool_lines(const Mmb__Wire__ListReply *reply)
{
	static const Mmb__Wire__PoolStatReply nothing = MMB__WIRE__POOL_STAT_REPLY__INIT;

	for (size_t i = 0; i < reply->n_pools; i++) {
		const Mmb__Wire__PoolInfo      *p = reply->pools[i];
		const Mmb__Wire__PoolStatReply *s = p->stat ? p->stat : &nothing;
		struct json                     j;

		json_begin(&j, stdout);
		json_number(&j, "id", p->id);
		json_string(&j, "name", p->name);
		json_bool(&j, "private", p->private_pool);
		json_owner(&j, p->uid, p->gid, p->mode);
		json_number(&j, "committed", s->committed);
		json_number(&j, "resident", s->resident);
		json_number(&j, "peak", s->peak);
		json_number(&j, "arena", s->arena);
		json_number(&j, "leased", s->leased);
		json_number(&j, "locked", s->locked);
		json_number(&j, "swapped", s->swapped);
		json_number(&j, "min", s->min);
		json_number(&j, "low", s->low);
		json_number(&j, "high", s->high);
		json_number(&j, "max", s->max);
		json_number(&j, "swap_max", s->swap_max);
		json_number(&j, "sessions", s->sessions);
		json_number(&j, "regions", s->regions);
		json_number(&j, "refused", s->refused);
		json_number(&j, "some_stall_us", s->some_stall_us);
		json_number(&j, "full_stall_us", s->full_stall_us);
		json_end(&j);
	}
}

static const char *const session_titles[] = {
	"ID",       "PID",       "<NAME",  "<OWNER", "<STATE",   "REGIONS", "SPANNED",
	"RESIDENT", "PAGE RUNS", "LEASED", "FAULTS", "REQUESTS", "<FAULTS IN SYSTEM CALLS",
};

static void session_rows(const Mmb__Wire__ListReply *reply, struct table *t)
{
	for (size_t i = 0; i < reply->n_sessions; i++) {
		const Mmb__Wire__SessionInfo *s = reply->sessions[i];

		table_number(t, s->id);
		table_number(t, s->pid);
		table_text(t, s->name);
		table_owner(t, s->uid, s->gid);
		table_text(t, s->state);
		table_number(t, s->regions);
		table_size(t, s->spanned);
		table_size(t, s->resident);
		table_size(t, s->page_runs);
		table_size(t, s->leased);
		table_number(t, s->faults);
		table_number(t, s->requests);
		table_text(t, s->user_mode_only ? "EFAULT" : "served");
	}
}

static void session_lines(const Mmb__Wire__ListReply *reply)
{
	for (size_t i = 0; i < reply->n_sessions; i++) {
		const Mmb__Wire__SessionInfo *s = reply->sessions[i];
		struct json                   j;

		json_begin(&j, stdout);
		json_number(&j, "id", s->id);
		json_number(&j, "pid", s->pid);
		json_number(&j, "uid", s->uid);
		json_number(&j, "gid", s->gid);
		json_string(&j, "name", s->name);
		json_string(&j, "state", s->state);
		json_number(&j, "regions", s->regions);
		json_number(&j, "spanned", s->spanned);
		json_number(&j, "resident", s->resident);
		json_number(&j, "page_runs", s->page_runs);
		json_number(&j, "leased", s->leased);
		json_number(&j, "faults", s->faults);
		json_number(&j, "requests", s->requests);
		json_bool(&j, "user_mode_only", s->user_mode_only);
		json_end(&j);
	}
}

static const char *const region_titles[] = {
	"ID",     "<POOL",    "<NAME",  "<OWNER",   "MODE",   "PAGE",
	"LENGTH", "RESIDENT", "SWAPPED", "PARENT", "INHERITED", "SHARED", "OWN", "CHARGED",
	"LOCKED", "SESSIONS", "FAULTS", "WRITE FAULTS", "REFAULTS",
};

static void region_rows(const Mmb__Wire__ListReply *reply, struct table *t)
{
	static const Mmb__Wire__RegionStatReply nothing = MMB__WIRE__REGION_STAT_REPLY__INIT;

	for (size_t i = 0; i < reply->n_regions; i++) {
		const Mmb__Wire__RegionInfo      *r = reply->regions[i];
		const Mmb__Wire__RegionStatReply *s = r->stat ? r->stat : &nothing;

		table_number(t, r->id);
		table_text(t, r->pool);
		table_text(t, r->name);
		table_owner(t, r->uid, r->gid);
		table_mode(t, r->mode);
		table_size(t, s->page_size);
		table_size(t, s->length);
		table_size(t, s->resident);
		table_size(t, s->swapped);
		table_number(t, r->parent);
		table_size(t, s->inherited);
		table_size(t, s->shared);
		table_size(t, s->own);
		table_size(t, s->charged);
		table_size(t, s->locked);
		table_number(t, s->sessions);
		table_number(t, s->faults);
		table_number(t, s->write_faults);
		table_number(t, s->refaults);
	}
}

static void region_lines(const Mmb__Wire__ListReply *reply)
{
	static const Mmb__Wire__RegionStatReply nothing = MMB__WIRE__REGION_STAT_REPLY__INIT;

	for (size_t i = 0; i < reply->n_regions; i++) {
		const Mmb__Wire__RegionInfo      *r = reply->regions[i];
		const Mmb__Wire__RegionStatReply *s = r->stat ? r->stat : &nothing;
		struct json                       j;

		json_begin(&j, stdout);
		json_number(&j, "id", r->id);
		json_string(&j, "pool", r->pool);
		json_string(&j, "name", r->name);
		json_owner(&j, r->uid, r->gid, r->mode);
		json_bool(&j, "hugetlb", r->hugetlb);
		json_number(&j, "page_size", s->page_size);
		json_number(&j, "length", s->length);
		json_number(&j, "resident", s->resident);
		json_number(&j, "swapped", s->swapped);
		json_number(&j, "parent", r->parent);
		json_number(&j, "inherited", s->inherited);
		json_number(&j, "shared", s->shared);
		json_number(&j, "own", s->own);
		json_number(&j, "charged", s->charged);
		json_number(&j, "locked", s->locked);
		json_number(&j, "sessions", s->sessions);
		json_number(&j, "faults", s->faults);
		json_number(&j, "write_faults", s->write_faults);
		json_number(&j, "refaults", s->refaults);
		json_end(&j);
	}
}

/* One piece of the list; *cursor moves on and is 0 after the last. */
static int list_piece(struct rpc *r, const struct invocation *in, const struct list_view *view,
		      struct table *t, uint64_t *cursor)
{
	Mmb__Wire__ListRequest      request = MMB__WIRE__LIST_REQUEST__INIT;
	const Mmb__Wire__ListReply *list;
	const ProtobufCMessage     *reply;
	int                         code;

	request.after = *cursor;
	request.pool = (char *)in->pool;
	code = rpc_call(r, in->verb->method, &request.base, &reply);
	if (code != CTL_DONE)
		return code;
	list = (const Mmb__Wire__ListReply *)reply;
	if (list->next != 0 && list->next <= *cursor) {
		snprintf(r->error, sizeof(r->error), "the broker repeats itself at entry %" PRIu64,
			 *cursor);
		code = CTL_FAILED;
	} else if (in->json) {
		view->lines(list);
	} else {
		view->rows(list, t);
	}
	*cursor = list->next;
	return code;
}

static int run_list(const struct invocation *in, const struct list_view *view)
{
	uint64_t     cursor = 0;
	struct table t;
	struct rpc   r;
	int          code = rpc_open(&r, in);

	table_init(&t, view->titles, view->nr_titles);
	if (code == CTL_DONE)
		do
			code = list_piece(&r, in, view, &t, &cursor);
		while (code == CTL_DONE && cursor != 0);
	if (code != CTL_DONE)
		rpc_fail(&r, in, code);
	else if (!in->json)
		table_print(&t, stdout, in->color);
	rpc_close(&r);
	return code;
}

#define TITLES(titles) titles, sizeof(titles) / sizeof((titles)[0])

int run_pools(const struct invocation *in)
{
	static const struct list_view view = { TITLES(pool_titles), pool_rows, pool_lines };

	return run_list(in, &view);
}

int run_sessions(const struct invocation *in)
{
	static const struct list_view view = { TITLES(session_titles), session_rows,
					       session_lines };

	return run_list(in, &view);
}

int run_regions(const struct invocation *in)
{
	static const struct list_view view = { TITLES(region_titles), region_rows, region_lines };

	return run_list(in, &view);
}
