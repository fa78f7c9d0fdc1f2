/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status - the verbs status and verify
 *
 * Purpose     One screen about the broker; and the live check of its structures.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tools/human.h"
#include "tools/json.h"
#include "tools/rpc.h"

static int ask(struct rpc *r, const struct invocation *in, const ProtobufCMessage **reply)
{
	Mmb__Wire__Empty request = MMB__WIRE__EMPTY__INIT;

	return rpc_ask(r, in, &request.base, reply);
}

static void status_json(const Mmb__Wire__StatusReply *s)
{
	struct json j;

	json_begin(&j, stdout);
	json_string(&j, "version", s->version);
	json_number(&j, "pid", s->pid);
	json_number(&j, "uptime_ns", s->uptime_ms * 1000000);
	json_string(&j, "socket", s->socket);
	json_string(&j, "reserve_mode", s->reserve_mode);
	json_string(&j, "topology", s->topology);
	json_open(&j, "stocks", '[');
	for (size_t i = 0; i < s->n_stocks; i++) {
		const Mmb__Wire__StockStatus *t = s->stocks[i];

		json_open(&j, NULL, '{');
		json_number(&j, "node", t->node);
		json_string(&j, "stock", t->stock);
		json_number(&j, "reserve", t->reserve);
		json_number(&j, "held", t->held);
		json_number(&j, "present", t->present);
		json_number(&j, "committed", t->committed);
		json_number(&j, "margin", t->margin);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_number(&j, "pools", s->pools);
	json_number(&j, "sessions", s->sessions);
	json_number(&j, "regions", s->regions);
	json_number(&j, "metadata", s->metadata);
	json_number(&j, "spanned", s->spanned);
	json_number(&j, "faults", s->faults);
	json_number(&j, "fault_p50_ns", s->fault_p50_ns);
	json_number(&j, "fault_p99_ns", s->fault_p99_ns);
	json_number(&j, "requests", s->requests);
	json_number(&j, "bad_messages", s->bad_messages);
	json_number(&j, "poisoned", s->poisoned);
	json_number(&j, "log_lost", s->log_lost);
	json_number(&j, "unread_descriptors", s->unread_descriptors);
	json_number(&j, "unread_descriptors_max", s->unread_descriptors_max);
	json_bool(&j, "draining", s->draining);
	json_end(&j);
}

static void status_stocks(const Mmb__Wire__StatusReply *s, bool color)
{
	static const char *const titles[] = { "NODE",    "<STOCK",    "RESERVE", "HELD",
					      "PRESENT", "COMMITTED", "MARGIN" };
	struct table             t;

	table_init(&t, titles, sizeof(titles) / sizeof(titles[0]));
	for (size_t i = 0; i < s->n_stocks; i++) {
		table_number(&t, s->stocks[i]->node);
		table_text(&t, s->stocks[i]->stock);
		table_size(&t, s->stocks[i]->reserve);
		table_size(&t, s->stocks[i]->held);
		table_size(&t, s->stocks[i]->present);
		table_size(&t, s->stocks[i]->committed);
		table_size(&t, s->stocks[i]->margin);
	}
	table_print(&t, stdout, color);
}

static void status_line(const char *name, const char *value)
{
	printf("  %-13s", name);
	human_put(stdout, value);
	putchar('\n');
}

static void status_human(const Mmb__Wire__StatusReply *s, bool color)
{
	char a[HUMAN_BYTES], b[HUMAN_BYTES];

	printf("%smmbrokerd %s%s, pid %" PRIu64 ", up %s\n", color ? "\033[1m" : "", s->version,
	       color ? "\033[0m" : "", s->pid, human_uptime(s->uptime_ms, a));
	status_line("socket", s->socket);
	status_line("topology", s->topology);
	status_line("reserve mode", s->reserve_mode);
	printf("  %-13s%" PRIu64 " pools, %" PRIu64 " sessions, %" PRIu64 " regions%s\n", "serving",
	       s->pools, s->sessions, s->regions,
	       s->draining ? "; draining: no session gets in" : "");
	printf("  %-13s%s of regions, %s of metadata\n", "spanned", human_size(s->spanned, a),
	       human_size(s->metadata, b));
	printf("  %-13s%" PRIu64 ", p50 %s, p99 %s\n", "faults", s->faults,
	       human_ns(s->fault_p50_ns, a), human_ns(s->fault_p99_ns, b));
	printf("  %-13s%" PRIu64 ", %" PRIu64 " bad messages\n", "requests", s->requests,
	       s->bad_messages);
	printf("  %-13s%" PRIu64 " pages\n", "poisoned", s->poisoned);
	if (s->unread_descriptors)
		printf("  %-13s%" PRIu64 " of at most %" PRIu64 " descriptors\n", "unread",
		       s->unread_descriptors, s->unread_descriptors_max);
	if (s->log_lost)
		printf("  %-13s%" PRIu64 " events were lost\n", "log", s->log_lost);
	putchar('\n');
	status_stocks(s, color);
}

int run_status(const struct invocation *in)
{
	const ProtobufCMessage *reply;
	struct rpc              r;
	int                     code = ask(&r, in, &reply);

	if (code != CTL_DONE)
		return code;
	if (in->json)
		status_json((const Mmb__Wire__StatusReply *)reply);
	else
		status_human((const Mmb__Wire__StatusReply *)reply, in->color);
	return CTL_DONE;
}

static void verify_json(const Mmb__Wire__VerifyReply *v)
{
	struct json j;

	json_begin(&j, stdout);
	json_number(&j, "checked", v->checked);
	json_number(&j, "differences", v->differences);
	json_open(&j, "reports", '[');
	for (size_t i = 0; i < v->n_reports; i++)
		json_string(&j, NULL, v->reports[i]);
	json_close(&j, ']');
	json_end(&j);
}

/* Differences are a failure: scripts look at the exit status. */
int run_verify(const struct invocation *in)
{
	const ProtobufCMessage       *reply;
	const Mmb__Wire__VerifyReply *v;
	struct rpc                    r;
	int                           code = ask(&r, in, &reply);

	if (code != CTL_DONE)
		return code;
	v = (const Mmb__Wire__VerifyReply *)reply;
	code = v->differences ? CTL_FAILED : CTL_DONE;
	if (in->json) {
		verify_json(v);
	} else {
		printf("%" PRIu64 " facts compared, %" PRIu64 " differences\n", v->checked,
		       v->differences);
		for (size_t i = 0; i < v->n_reports; i++) {
			human_put(stdout, v->reports[i]);
			putchar('\n');
		}
	}
	return code;
}
