/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs - the one table of what mmbctl can do
 *
 * Purpose     See verbs.h. A new verb is a line here, a run function, and a paragraph in
 *             docs/man/mmbctl.1, which tests/lint/docs_agree.py insists on.
 */
#include "tools/verbs.h"

#include <stdio.h>
#include <string.h>

#include "tools/json.h"

/* The method and the function of the verbs that ask for a text; the others have their own. */
#define TEXT(method_) .method = MMB_METHOD_##method_, .run = run_text, .timeout_s = 5

const struct verb verbs[] = {
	{ .name = "status", .method = MMB_METHOD_STATUS, .run = run_status, .timeout_s = 5,
	  .flags = VERB_JSON, .summary = "what the broker holds and how it is doing" },
	{ .name = "pools", .method = MMB_METHOD_POOLS, .run = run_pools, .timeout_s = 5,
	  .flags = VERB_JSON, .summary = "pools: owner, limits, memory in use" },
	{ .name = "pool", .run = run_pool, .operand = "ACTION", .timeout_s = 60,
	  .flags = VERB_WORDS,
	  .summary = "create NAME, set NAME KEY=VALUE, rm NAME: a pool that stays, its limits",
	  .more = "create NAME [mode=0660] [uid=N gid=N] [overcommit=fail|kill] [LIMIT]...\n"
		  "set NAME LIMIT...\n"
		  "rm NAME [force]\n"
		  "LIMIT: min, low, high, max or swap_max =SIZE, as max=512M, or =none\n" },
	{ .name = "trim", .run = run_trim, .operand = "POOL", .timeout_s = 60,
	  .flags = VERB_WORDS | VERB_JSON,
	  .summary = "reclaim SIZE bytes of a pool's regions now" },
	{ .name = "sessions", .method = MMB_METHOD_SESSIONS, .run = run_sessions, .timeout_s = 5,
	  .flags = VERB_JSON, .summary = "connected clients and what they hold" },
	{ .name = "regions", .method = MMB_METHOD_REGIONS, .run = run_regions, .timeout_s = 5,
	  .flags = VERB_JSON | VERB_POOL,
	  .summary = "demand-paged regions: size, resident, faults" },
	{ .name = "region", .run = run_region, .operand = "ACTION", .timeout_s = 60,
	  .flags = VERB_WORDS | VERB_JSON,
	  .summary = "ls, clone, rollback, rm: snapshots of regions by name",
	  .more = "ls [POOL]\n"
		  "clone POOL REGION NAME [REGION NAME]...\n"
		  "rollback POOL REGION SNAPSHOT\n"
		  "rm POOL REGION\n" },
	{ .name = "meminfo", TEXT(MEMINFO), .flags = VERB_JSON | VERB_POOL,
	  .summary = "memory totals, in the format of /proc/meminfo" },
	{ .name = "buddyinfo", TEXT(BUDDYINFO), .flags = VERB_JSON | VERB_POOL,
	  .summary = "free blocks by order, in the format of /proc/buddyinfo" },
	{ .name = "zoneinfo", TEXT(ZONEINFO), .flags = VERB_JSON | VERB_POOL,
	  .summary = "zones, watermarks, pagesets, in the format of /proc/zoneinfo" },
	{ .name = "pagetypeinfo", TEXT(PAGETYPEINFO), .flags = VERB_JSON | VERB_POOL,
	  .summary = "free blocks by migratetype, in the format of /proc/pagetypeinfo" },
	{ .name = "vmstat", TEXT(VMSTAT), .flags = VERB_JSON | VERB_POOL,
	  .summary = "counters, in the format of /proc/vmstat" },
	{ .name = "pressure", TEXT(PRESSURE), .flags = VERB_JSON | VERB_POOL | VERB_SESSION,
	  .summary = "time lost waiting for memory, in the format of /proc/pressure/memory" },
	{ .name = "latency", TEXT(LATENCY), .flags = VERB_JSON,
	  .summary = "how long faults, reads from swap and writes to it take" },
	{ .name = "slabinfo", TEXT(SLABINFO), .flags = VERB_JSON | VERB_POOL,
	  .summary = "caches of objects, in the format of /proc/slabinfo" },
	{ .name = "swaps", TEXT(SWAPS), .flags = VERB_JSON,
	  .summary = "swap areas, in the format of /proc/swaps" },
	{ .name = "swapon", .method = MMB_METHOD_SWAPON, .run = run_swapon, .operand = "PATH",
	  .timeout_s = 600, .flags = VERB_WORDS,
	  .summary = "PATH [SIZE [PRIORITY]]: swap to a file or block device" },
	{ .name = "swapoff", .method = MMB_METHOD_SWAPOFF, .run = run_swapoff, .operand = "PATH",
	  .timeout_s = 3600, .summary = "bring everything back from a swap area, and close it" },
	{ .name = "maps", TEXT(MAPS), .operand = "SESSION", .flags = VERB_JSON,
	  .summary = "one client's windows, in the format of /proc/PID/smaps" },
	{ .name = "verify", .method = MMB_METHOD_VERIFY, .run = run_verify, .timeout_s = 60,
	  .flags = VERB_JSON,
	  .summary = "recompute the broker's structures and report differences" },
	{ .name = "log-level", .method = MMB_METHOD_LOG_LEVEL, .run = run_log_level,
	  .operand = "LEVEL", .timeout_s = 5, .flags = VERB_JSON | VERB_OPERAND_OPTIONAL,
	  .summary = "least important events that the broker logs; says or sets it" },
	{ .name = "reload", .method = MMB_METHOD_RELOAD, .run = run_reload, .timeout_s = 20,
	  .flags = VERB_JSON, .summary = "read the configuration again; says what that changes" },
	{ .name = "drain", .method = MMB_METHOD_DRAIN, .run = run_drain, .operand = "SECONDS",
	  .timeout_s = 5, .flags = VERB_JSON | VERB_OPERAND_OPTIONAL,
	  .summary = "let no session in, and end those that are left after a time" },
	{ .name = "doctor", .run = run_doctor, .timeout_s = 5, .flags = VERB_JSON,
	  .summary = "check this host for what the broker needs, and name the cure" },
	{ .name = "completion", .run = run_completion, .operand = "SHELL",
	  .summary = "print the completion script for bash or zsh" },
	{ .name = "help", .run = run_help, .operand = "VERB", .flags = VERB_OPERAND_OPTIONAL,
	  .summary = "this list, or one verb" },
	{ .name = "version", .run = run_version, .flags = VERB_JSON,
	  .summary = "the version of mmbctl" },
};
const unsigned int nr_verbs = sizeof(verbs) / sizeof(verbs[0]);

const struct option_row options[] = {
	{ 'j', "json", NULL, "one JSON object a line, sizes in bytes" },
	{ 's', "socket", "PATH", "the broker's socket" },
	{ 'p', "pool", "NAME", "only this pool" },
	{ 'S', "session", "ID", "only this client, for pressure" },
	{ 't', "timeout", "SEC", "give up after so many seconds" },
	{ 'n', "no-color", NULL, "no colours (also: the NO_COLOR variable)" },
	{ 'h', "help", NULL, "this list" },
	{ 'V', "version", NULL, "the version of mmbctl" },
};
const unsigned int nr_options = sizeof(options) / sizeof(options[0]);

const struct verb *verb_find(const char *name)
{
	for (unsigned int i = 0; i < nr_verbs; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static void help_verb(const struct verb *v)
{
	char left[32];

	snprintf(left, sizeof(left), v->flags & VERB_OPERAND_OPTIONAL ? "%s [%s]" : "%s %s",
		 v->name, v->operand ? v->operand : "");
	printf("  %-20s %s\n", left, v->summary);
}

static int help_one(const char *name)
{
	const struct verb *v = verb_find(name);

	if (!v) {
		fprintf(stderr, "mmbctl: no verb '%s'; 'mmbctl help' lists them\n", name);
		return CTL_USAGE;
	}
	help_verb(v);
	for (const char *line = v->more; line && *line; line = strchr(line, '\n') + 1)
		printf("  %-20s %.*s\n", "", (int)strcspn(line, "\n"), line);
	printf("  %-20s %s%s%s\n", "", v->flags & VERB_JSON ? "takes --json" : "prints text only",
	       v->flags & VERB_POOL ? ", takes --pool" : "",
	       v->flags & VERB_SESSION ? ", takes --session" : "");
	if (v->timeout_s)
		printf("  %-20s gives up after %u s unless --timeout says otherwise\n", "",
		       v->timeout_s);
	return CTL_DONE;
}

int run_help(const struct invocation *in)
{
	if (in->operand)
		return help_one(in->operand);
	printf("Usage: mmbctl [OPTION]... VERB [ARGUMENT]\n\nVerbs:\n");
	for (unsigned int i = 0; i < nr_verbs; i++)
		help_verb(&verbs[i]);
	printf("\nOptions:\n");
	for (unsigned int i = 0; i < nr_options; i++) {
		const struct option_row *o = &options[i];
		char                     left[32];

		snprintf(left, sizeof(left), "-%c, --%s%s%s", o->letter, o->name,
			 o->operand ? " " : "", o->operand ? o->operand : "");
		printf("  %-20s %s\n", left, o->summary);
	}
	printf("\nExit status: 0 done, 1 failed at the broker, 2 usage, 3 broker not running,\n"
	       "4 permission, 5 timeout, 6 version mismatch. See mmbctl(1).\n");
	return CTL_DONE;
}

int run_version(const struct invocation *in)
{
	if (in->json) {
		struct json j;

		json_begin(&j, stdout);
		json_string(&j, "version", MMB_VERSION);
		json_number(&j, "protocol", MMB_PROTOCOL_VERSION);
		json_end(&j);
		return CTL_DONE;
	}
	printf("mmbctl %s, protocol %d\n", MMB_VERSION, MMB_PROTOCOL_VERSION);
	return CTL_DONE;
}
