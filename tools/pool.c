/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool - the verbs pool (make a pool that stays, set limits, remove one) and trim
 *
 * Purpose     Words KEY=VALUE into messages. Sizes are bytes with K, M, G or T, or "none".
 * Not here    Which limits are right, and who may set them: the broker says so.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/mmbroker.h"
#include "tools/human.h"
#include "tools/json.h"
#include "tools/rpc.h"
#include "tools/size.h"

struct order {
	const char               *name;
	Mmb__Wire__PoolSetRequest set;
	uint32_t                  mode, uid, gid;
	bool                      has_mode, has_uid, has_gid, force;
	uint32_t                  flags; /* MMB_POOL_* of the public header */
	uint32_t                  seen;  /* bit i: keys[i] was given */
};

/* What may stand before "=", and behind it. */
static const struct {
	const char *name, *wants;
} keys[] = {
	{ "min", "a size as 512M, or none" },
	{ "low", "a size as 512M, or none" },
	{ "high", "a size as 512M, or none" },
	{ "max", "a size as 512M, or none" },
	{ "swap_max", "a size as 512M, or none" },
	{ "overcommit", "fail or kill" },
	{ "mode", "octal permission bits as 0660" },
	{ "uid", "a number" },
	{ "gid", "a number" },
};

static int wrong(const char *what, const char *word)
{
	fprintf(stderr, "mmbctl: pool: %s '%s'; 'mmbctl help pool', mmbctl(1)\n", what, word);
	return CTL_USAGE;
}

/* "none" is 0 on the wire; no swap at all is less than a page. */
static bool parse_limit(const char *text, bool is_swap, uint64_t *out)
{
	if (strcmp(text, "none") == 0) {
		*out = 0;
		return true;
	}
	if (!size_parse(text, out))
		return false;
	if (*out == 0 && is_swap)
		*out = 1;
	return true;
}

static bool parse_id(const char *text, int base, uint32_t *out)
{
	unsigned long value;
	char         *end;

	errno = 0;
	value = strtoul(text, &end, base);
	*out = (uint32_t)value;
	return !errno && end != text && *end == '\0' && text[0] != '-' && value <= UINT32_MAX;
}

static bool parse_overcommit(const char *text, uint32_t *flags)
{
	*flags = strcmp(text, "kill") == 0 ? MMB_POOL_OVERCOMMIT | MMB_POOL_OOM_KILL
					   : MMB_POOL_OVERCOMMIT;
	return *flags & MMB_POOL_OOM_KILL || strcmp(text, "fail") == 0;
}

static bool parse_value(struct order *o, const char *key, const char *text)
{
	const struct {
		const char *key;
		uint32_t    bit;
		uint64_t   *value;
	} limits[] = {
		{ "min", MMB_POOL_SET_MIN, &o->set.min },
		{ "low", MMB_POOL_SET_LOW, &o->set.low },
		{ "high", MMB_POOL_SET_HIGH, &o->set.high },
		{ "max", MMB_POOL_SET_MAX, &o->set.max },
		{ "swap_max", MMB_POOL_SET_SWAP_MAX, &o->set.swap_max },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (strcmp(limits[i].key, key) != 0)
			continue;
		o->set.set |= limits[i].bit;
		return parse_limit(text, limits[i].bit == MMB_POOL_SET_SWAP_MAX, limits[i].value);
	}
	if (strcmp(key, "overcommit") == 0)
		return parse_overcommit(text, &o->flags);
	if (strcmp(key, "mode") == 0)
		return o->has_mode = parse_id(text, 8, &o->mode);
	if (strcmp(key, "uid") == 0)
		return o->has_uid = parse_id(text, 10, &o->uid);
	if (strcmp(key, "gid") == 0)
		return o->has_gid = parse_id(text, 10, &o->gid);
	return false;
}

static int key_find(const char *word, size_t length)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strlen(keys[i].name) == length && memcmp(keys[i].name, word, length) == 0)
			return (int)i;
	return -1;
}

static int parse_word(struct order *o, const char *word)
{
	const char *equals = strchr(word, '=');
	int         key = equals ? key_find(word, (size_t)(equals - word)) : -1;

	if (strcmp(word, "force") == 0) {
		o->force = true;
		return CTL_DONE;
	}
	if (key < 0)
		return wrong("wants KEY=VALUE, with min, low, high, max, swap_max, overcommit, "
			     "mode, uid or gid, or (rm) force, not", word);
	if (o->seen & 1u << key)
		return wrong("this was set before:", word);
	o->seen |= 1u << key;
	if (parse_value(o, keys[key].name, equals + 1))
		return CTL_DONE;
	fprintf(stderr, "mmbctl: pool: %s wants %s, not '%s'\n", keys[key].name, keys[key].wants,
		equals + 1);
	return CTL_USAGE;
}

static int create(const struct invocation *in, const struct order *o)
{
	Mmb__Wire__PoolCreateRequest m = MMB__WIRE__POOL_CREATE_REQUEST__INIT;
	Mmb__Wire__PoolOpenRequest   pool = MMB__WIRE__POOL_OPEN_REQUEST__INIT;

	if (o->force)
		return wrong("create knows no", "force");
	if (o->has_uid != o->has_gid)
		return wrong("uid and gid belong together; missing:", o->has_uid ? "gid" : "uid");
	pool.name = (char *)o->name;
	pool.min = o->set.min;
	pool.low = o->set.low;
	pool.high = o->set.high;
	pool.max = o->set.max;
	pool.swap_max = o->set.swap_max;
	pool.mode = o->mode;
	pool.flags = o->flags;
	m.pool = &pool;
	m.has_owner = o->has_uid;
	m.uid = o->uid;
	m.gid = o->gid;
	return rpc_order(in, MMB_METHOD_POOL_CREATE, &m.base);
}

static int set(const struct invocation *in, const struct order *o)
{
	if (o->force || o->has_mode || o->has_uid || o->has_gid || o->flags)
		return wrong("set changes min, low, high, max and swap_max only, not those of",
			     o->name);
	if (!o->set.set)
		return wrong("set wants limits, as max=1G, for", o->name);
	return rpc_order(in, MMB_METHOD_POOL_SET, &o->set.base);
}

static int rm(const struct invocation *in, const struct order *o)
{
	Mmb__Wire__PoolRmRequest m = MMB__WIRE__POOL_RM_REQUEST__INIT;

	if (o->set.set || o->has_mode || o->has_uid || o->has_gid || o->flags)
		return wrong("rm takes a name and force only, for", o->name);
	m.name = (char *)o->name;
	m.force = o->force;
	return rpc_order(in, MMB_METHOD_POOL_RM, &m.base);
}

int run_pool(const struct invocation *in)
{
	static const struct {
		const char *name;
		int (*run)(const struct invocation *in, const struct order *o);
	} actions[] = { { "create", create }, { "set", set }, { "rm", rm } };
	enum { NR_ACTIONS = sizeof(actions) / sizeof(actions[0]) };
	struct order o = { .set = MMB__WIRE__POOL_SET_REQUEST__INIT };
	int          code = CTL_DONE;
	size_t       i;

	for (i = 0; i < NR_ACTIONS && strcmp(actions[i].name, in->operand) != 0; i++)
		;
	if (i == NR_ACTIONS)
		return wrong("knows create, set and rm, not", in->operand);
	if (in->nr_words == 0)
		return wrong("wants a name after", in->operand);
	o.name = in->words[0];
	o.set.name = (char *)o.name;
	for (unsigned int word = 1; word < in->nr_words && code == CTL_DONE; word++)
		code = parse_word(&o, in->words[word]);
	return code == CTL_DONE ? actions[i].run(in, &o) : code;
}

int run_trim(const struct invocation *in)
{
	Mmb__Wire__TrimRequest  m = MMB__WIRE__TRIM_REQUEST__INIT;
	const ProtobufCMessage *reply;
	char                    text[HUMAN_BYTES];
	uint64_t                freed;
	struct rpc              r;
	int                     code;

	if (in->nr_words != 1 || !size_parse(in->words[0], &m.bytes)) {
		fprintf(stderr, "mmbctl: trim wants a pool and a size, as in: trim POOL 64M\n");
		return CTL_USAGE;
	}
	m.name = (char *)in->operand;
	code = rpc_open(&r, in);
	if (code == CTL_DONE)
		code = rpc_call(&r, MMB_METHOD_TRIM, &m.base, &reply);
	if (code != CTL_DONE) {
		rpc_fail(&r, in, code);
		rpc_close(&r);
		return code;
	}
	freed = ((const Mmb__Wire__TrimReply *)reply)->freed;
	if (in->json) {
		struct json j;

		json_begin(&j, stdout);
		json_number(&j, "freed", freed);
		json_end(&j);
	} else {
		printf("%s reclaimed\n", human_size(freed, text));
	}
	rpc_close(&r);
	return CTL_DONE;
}
