/* SPDX-License-Identifier: Apache-2.0 */
/*
 * texts - the verbs whose answer is a ready text in a kernel format
 *
 * Purpose     Gathers the pieces of the text, and prints them as they are or as JSON.
 * Invariants  T1  the offset grows with every piece: no text is endless.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/rpc.h"
#include "tools/text_json.h"

static int parse_session(const struct invocation *in, uint64_t *session)
{
	const char *text = in->operand ? in->operand : in->session;
	char       *end;

	*session = 0;
	if (!text)
		return CTL_DONE;
	errno = 0;
	*session = strtoull(text, &end, 10);
	if (errno || end == text || *end != '\0' || text[0] == '-' || *session == 0) {
		fprintf(stderr, "mmbctl: %s: '%s' is no session; 'mmbctl sessions' lists them\n",
			in->verb->name, text);
		return CTL_USAGE;
	}
	return CTL_DONE;
}

/* Writes the whole text to out. */
static int gather(struct rpc *r, const struct invocation *in, uint64_t session, FILE *out)
{
	Mmb__Wire__TextRequest request = MMB__WIRE__TEXT_REQUEST__INIT;

	request.pool = (char *)in->pool;
	request.session = session;
	request.statistics = in->json;
	for (;;) {
		const Mmb__Wire__TextReply *piece;
		const ProtobufCMessage     *reply;
		int code = rpc_call(r, in->verb->method, &request.base, &reply);

		if (code != CTL_DONE)
			return code;
		piece = (const Mmb__Wire__TextReply *)reply;
		fputs(piece->text, out);
		if (piece->next == 0)
			return CTL_DONE;
		if (piece->next <= request.offset) {
			snprintf(r->error, sizeof(r->error),
				 "the broker repeats itself at byte %" PRIu64, request.offset);
			return CTL_FAILED;
		}
		request.offset = piece->next;
	}
}

static int print_json(const struct invocation *in, char *text)
{
	static const struct {
		unsigned int method;
		int (*print)(char *text);
	} rows[] = {
		{ MMB_METHOD_MEMINFO, meminfo_json },
		{ MMB_METHOD_BUDDYINFO, buddyinfo_json },
		{ MMB_METHOD_ZONEINFO, zoneinfo_json },
		{ MMB_METHOD_VMSTAT, vmstat_json },
		{ MMB_METHOD_PAGETYPEINFO, pagetypeinfo_json },
		{ MMB_METHOD_MAPS, maps_json },
		{ MMB_METHOD_SLABINFO, slabinfo_json },
		{ MMB_METHOD_PRESSURE, pressure_json },
		{ MMB_METHOD_LATENCY, latency_json },
		{ MMB_METHOD_SWAPS, swaps_json },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].method == in->verb->method && rows[i].print(text) == 0)
			return CTL_DONE;
	fprintf(stderr, "mmbctl: %s: the broker's text isn't in the kernel's format\n",
		in->verb->name);
	return CTL_FAILED;
}

int run_text(const struct invocation *in)
{
	uint64_t   session;
	struct rpc r;
	char      *text = NULL;
	size_t     length;
	FILE      *out;
	int        code = parse_session(in, &session);

	if (code != CTL_DONE)
		return code;
	code = rpc_open(&r, in);
	out = open_memstream(&text, &length);
	if (code == CTL_DONE && out)
		code = gather(&r, in, session, out);
	rpc_close(&r);
	if (!out || fclose(out) != 0) {
		fprintf(stderr, "mmbctl: %s: out of memory\n", in->verb->name);
		code = CTL_FAILED;
	} else if (code != CTL_DONE) {
		rpc_fail(&r, in, code);
	} else if (in->json) {
		code = print_json(in, text);
	} else {
		fputs(text, stdout);
	}
	free(text);
	return code;
}
