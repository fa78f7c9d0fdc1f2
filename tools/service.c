/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service - the verbs log-level, drain and reload
 *
 * Purpose     What an administrator tells the daemon to do.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/human.h"
#include "tools/json.h"
#include "tools/rpc.h"

enum { DRAIN_DEFAULT_S = 30, DRAIN_S_MAX = 24 * 3600, DRAIN_GRACE_MS = 15000 };

static void print_level(const struct invocation *in, const char *level)
{
	struct json j;

	if (!in->json) {
		puts(level);
		return;
	}
	json_begin(&j, stdout);
	json_string(&j, "level", level);
	json_end(&j);
}

int run_log_level(const struct invocation *in)
{
	Mmb__Wire__LogLevelRequest request = MMB__WIRE__LOG_LEVEL_REQUEST__INIT;
	const ProtobufCMessage    *reply;
	struct rpc                 r;
	int                        code;

	request.level = (char *)(uintptr_t)(in->operand ? in->operand : "");
	code = rpc_ask(&r, in, &request.base, &reply);
	if (code == CTL_DONE)
		print_level(in, ((const Mmb__Wire__LogLevelReply *)reply)->level);
	return code;
}

static int parse_seconds(const struct invocation *in, uint64_t *ms)
{
	const char *text = in->operand;
	char       *end;
	double      seconds = DRAIN_DEFAULT_S;

	errno = 0;
	if (text)
		seconds = strtod(text, &end);
	if (text && (errno || end == text || *end != '\0' || !(seconds >= 0) ||
		     seconds > DRAIN_S_MAX)) {
		fprintf(stderr, "mmbctl: %s: '%s' is no number of seconds up to %d\n",
			in->verb->name, text, DRAIN_S_MAX);
		return CTL_USAGE;
	}
	*ms = (uint64_t)(seconds * 1000);
	return CTL_DONE;
}

/* --timeout is for an answer that doesn't come; once a broker has greeted, the drain's own time is
 * added to it. */
static int ask_drain(struct rpc *r, const struct invocation *in, uint64_t ms,
		     const ProtobufCMessage **reply)
{
	Mmb__Wire__DrainRequest request = MMB__WIRE__DRAIN_REQUEST__INIT;
	int                     code = rpc_open(r, in);

	request.timeout_ms = ms;
	r->timeout_ms += (unsigned int)ms + DRAIN_GRACE_MS;
	if (code == CTL_DONE)
		code = rpc_call(r, MMB_METHOD_DRAIN, &request.base, reply);
	if (code != CTL_DONE)
		rpc_fail(r, in, code);
	rpc_close(r);
	return code;
}

int run_drain(const struct invocation *in)
{
	const Mmb__Wire__DrainReply *d;
	const ProtobufCMessage      *reply;
	struct rpc                   r;
	uint64_t                     ms;
	int                          code = parse_seconds(in, &ms);

	if (code != CTL_DONE)
		return code;
	code = ask_drain(&r, in, ms, &reply);
	if (code != CTL_DONE)
		return code;
	d = (const Mmb__Wire__DrainReply *)reply;
	if (in->json) {
		struct json j;

		json_begin(&j, stdout);
		json_number(&j, "left", d->left);
		json_number(&j, "ended", d->ended);
		json_end(&j);
	} else {
		printf("drained: %" PRIu64 " sessions left by themselves, %" PRIu64 " were ended\n",
		       d->left, d->ended);
	}
	return CTL_DONE;
}

static void put_lines(FILE *out, char *text)
{
	char *rest, *line = strtok_r(text, "\n", &rest);

	for (; line; line = strtok_r(NULL, "\n", &rest)) {
		human_put(out, line);
		fputc('\n', out);
	}
}

static void report_json(const Mmb__Wire__ReloadReply *answer)
{
	struct json j;
	char       *rest, *line = strtok_r(answer->report, "\n", &rest);

	json_begin(&j, stdout);
	json_bool(&j, "refused", answer->refused);
	json_open(&j, "report", '[');
	for (; line; line = strtok_r(NULL, "\n", &rest))
		json_string(&j, NULL, line);
	json_close(&j, ']');
	json_end(&j);
}

int run_reload(const struct invocation *in)
{
	Mmb__Wire__Empty              request = MMB__WIRE__EMPTY__INIT;
	const Mmb__Wire__ReloadReply *answer;
	const ProtobufCMessage       *reply;
	struct rpc                    r;
	int                           code = rpc_ask(&r, in, &request.base, &reply);

	if (code != CTL_DONE)
		return code;
	answer = (const Mmb__Wire__ReloadReply *)reply;
	if (in->json)
		report_json(answer);
	else
		put_lines(answer->refused ? stderr : stdout, answer->report);
	if (!answer->refused)
		return CTL_DONE;
	fprintf(stderr, "mmbctl: %s: the configuration stays as it was\n", in->verb->name);
	return CTL_FAILED;
}
