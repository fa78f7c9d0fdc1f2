/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap - the verbs swapon and swapoff
 *
 * Purpose     A relative path means the caller's folder, so it is made absolute here.
 * Not here    swaps, which is a text in a kernel format (texts.c).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/rpc.h"
#include "tools/size.h"

static int wrong(const struct invocation *in, const char *what, const char *word)
{
	fprintf(stderr, "mmbctl: %s: %s '%s'\n", in->verb->name, what, word);
	return CTL_USAGE;
}

static int make_absolute(const struct invocation *in, char out[PATH_MAX])
{
	char folder[PATH_MAX] = "";
	int  nr;

	if (in->operand[0] != '/' && !getcwd(folder, sizeof(folder)))
		return wrong(in, "the current folder has gone:", strerror(errno));
	nr = snprintf(out, PATH_MAX, "%s%s%s", folder, folder[0] ? "/" : "", in->operand);
	return nr < 0 || nr >= PATH_MAX ? wrong(in, "too long a path:", in->operand) : CTL_DONE;
}

/* One request, answered by nothing but success. */
static int order(const struct invocation *in, const ProtobufCMessage *request)
{
	const ProtobufCMessage *unused;
	struct rpc              r;
	int                     code = rpc_open(&r, in);

	if (code == CTL_DONE)
		code = rpc_call(&r, in->verb->method, request, &unused);
	if (code != CTL_DONE)
		code = rpc_fail(&r, in, code);
	rpc_close(&r);
	return code;
}

/* The same of a request that names a file: *path is the request's. */
static int order_at(const struct invocation *in, const ProtobufCMessage *request, char **path)
{
	static char absolute[PATH_MAX];
	int code = make_absolute(in, absolute);

	*path = absolute;
	return code == CTL_DONE ? order(in, request) : code;
}

static bool parse_priority(const char *text, int32_t *out)
{
	char *end;
	long  value;

	errno = 0;
	value = strtol(text, &end, 10);
	*out = (int32_t)value;
	return !errno && end != text && *end == '\0' && value >= INT16_MIN && value <= INT16_MAX;
}

int run_swapon(const struct invocation *in)
{
	Mmb__Wire__SwaponRequest request = MMB__WIRE__SWAPON_REQUEST__INIT;

	if (in->nr_words > 0 && !size_parse(in->words[0], &request.bytes))
		return wrong(in, "a size is digits and K, M, G or T, not", in->words[0]);
	if (in->nr_words > 1 && !parse_priority(in->words[1], &request.priority))
		return wrong(in, "a priority is a number from -32768 to 32767, not", in->words[1]);
	if (in->nr_words > 2)
		return wrong(in, "one argument too many:", in->words[2]);
	return order_at(in, &request.base, &request.path);
}

int run_swapoff(const struct invocation *in)
{
	Mmb__Wire__SwapoffRequest request = MMB__WIRE__SWAPOFF_REQUEST__INIT;

	return order_at(in, &request.base, &request.path);
}
