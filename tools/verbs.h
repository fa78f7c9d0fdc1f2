/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs - the one table of what mmbctl can do
 *
 * Purpose     Every verb and every option stands in verbs.c once; --help, the shell completions
 *             and the check of the manual page (tests/lint/docs_agree.py) are made from it.
 * Not here    What the verbs print (the file named after each).
 */
#ifndef MMB_TOOLS_VERBS_H
#define MMB_TOOLS_VERBS_H

#include <stdbool.h>

#include "proto/methods.h"

/* Exit codes, the same for every verb; the manual page lists them. */
enum {
	CTL_DONE = 0,
	CTL_FAILED = 1, /* the broker refused, or a check failed */
	CTL_USAGE = 2,
	CTL_NOT_RUNNING = 3,
	CTL_DENIED = 4,
	CTL_TIMED_OUT = 5,
	CTL_VERSION = 6, /* no common protocol version */
};

struct verb;

/* What the command line asked for. */
struct invocation {
	const struct verb *verb;
	const char        *operand; /* NULL if the verb takes none or none was given */
	char *const       *words;   /* that follow it */
	unsigned int       nr_words;
	const char        *socket;  /* NULL: the default places */
	const char        *pool;    /* "": all pools */
	const char        *session; /* NULL: all sessions */
	unsigned int       timeout_ms;
	bool               json, color;
};

enum {
	VERB_JSON = 1 << 0, /* --json is understood */
	VERB_POOL = 1 << 1, /* --pool is understood */
	VERB_OPERAND_OPTIONAL = 1 << 2,
	VERB_WORDS = 1 << 3, /* others may follow the operand */
	VERB_SESSION = 1 << 4, /* --session is understood */
};

struct verb {
	const char  *name;
	const char  *operand; /* in capitals, NULL if there is none */
	const char  *summary;
	const char  *more; /* what help VERB says of the words behind it, a line each; or NULL */
	unsigned int flags;
	unsigned int timeout_s; /* default of --timeout */
	unsigned int method;    /* MMB_METHOD_* that answers, 0 for local verbs */
	int (*run)(const struct invocation *in);
};

struct option_row {
	char        letter;
	const char *name, *operand, *summary;
};

extern const struct verb       verbs[];
extern const unsigned int      nr_verbs;
extern const struct option_row options[];
extern const unsigned int      nr_options;

const struct verb *verb_find(const char *name);
/* Prints the table as --help shows it. */
int run_help(const struct invocation *in);
int run_version(const struct invocation *in);

int run_status(const struct invocation *in);
int run_verify(const struct invocation *in);
int run_trim(const struct invocation *in);
int run_pool(const struct invocation *in);
int run_pools(const struct invocation *in);
int run_region(const struct invocation *in);
int run_sessions(const struct invocation *in);
int run_regions(const struct invocation *in);
int run_swapon(const struct invocation *in);
int run_swapoff(const struct invocation *in);
int run_text(const struct invocation *in);
int run_log_level(const struct invocation *in);
int run_reload(const struct invocation *in);
int run_drain(const struct invocation *in);
int run_doctor(const struct invocation *in);
int run_completion(const struct invocation *in);

#endif
