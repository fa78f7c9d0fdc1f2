/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmbctl - ask and steer a running mmbrokerd
 *
 * Purpose     Reads the command line into a struct invocation and runs the verb. Data goes to
 *             stdout, talk to stderr; a write that failed is a failure.
 * Not here    The verbs and options themselves (verbs.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/verbs.h"

enum { OPTIONS_MAX = 16, TIMEOUT_S_MAX = 24 * 3600 };

static int usage(const char *what, const char *which)
{
	fprintf(stderr, "mmbctl: %s '%s'; 'mmbctl help' lists verbs and options\n", what, which);
	return CTL_USAGE;
}

static void build_getopt(struct option *rows, char *letters)
{
	for (unsigned int i = 0; i < nr_options; i++) {
		const struct option_row *o = &options[i];

		rows[i] = (struct option){ o->name, o->operand ? required_argument : no_argument,
					   NULL, o->letter };
		*letters++ = o->letter;
		if (o->operand)
			*letters++ = ':';
	}
	rows[nr_options] = (struct option){ 0 };
	*letters = '\0';
}

static int parse_timeout(const char *text, unsigned int *ms)
{
	char  *end;
	double seconds = strtod(text, &end);

	if (end == text || *end != '\0' || !(seconds > 0) || seconds > TIMEOUT_S_MAX)
		return usage("--timeout wants seconds above 0, 86400 at most, not", text);
	*ms = (unsigned int)(seconds * 1000) ? (unsigned int)(seconds * 1000) : 1;
	return CTL_DONE;
}

/* Options into in; "help" and "version" become the verb. */
static int parse_options(int argc, char **argv, struct invocation *in)
{
	struct option rows[OPTIONS_MAX];
	char          letters[2 * OPTIONS_MAX + 1];
	int           c, code = CTL_DONE;

	build_getopt(rows, letters);
	while (code == CTL_DONE && (c = getopt_long(argc, argv, letters, rows, NULL)) != -1) {
		if (optarg && optarg[0] == '\0' && strchr("sp", c))
			return usage("--socket and --pool want a name, not", optarg);
		switch (c) {
		case 'j':
			in->json = true;
			break;
		case 's':
			in->socket = optarg;
			break;
		case 'p':
			in->pool = optarg;
			break;
		case 'S':
			in->session = optarg;
			break;
		case 't':
			code = parse_timeout(optarg, &in->timeout_ms);
			break;
		case 'n':
			in->color = false;
			break;
		case 'h':
			in->verb = verb_find("help");
			break;
		case 'V':
			in->verb = verb_find("version");
			break;
		default:
			fprintf(stderr, "mmbctl: 'mmbctl help' lists verbs and options\n");
			code = CTL_USAGE;
		}
	}
	return code;
}

/* The verb and its operand; after --help, a verb is what help is wanted for. */
static int parse_words(int argc, char **argv, struct invocation *in)
{
	if (!in->verb) {
		if (optind == argc) {
			fprintf(stderr, "mmbctl: a verb is wanted; 'mmbctl help' lists them\n");
			return CTL_USAGE;
		}
		in->verb = verb_find(argv[optind]);
		if (!in->verb)
			return usage("no verb", argv[optind]);
		optind++;
	}
	if (in->verb->operand && optind < argc)
		in->operand = argv[optind++];
	if (in->verb->flags & VERB_WORDS) {
		in->words = argv + optind;
		in->nr_words = (unsigned int)(argc - optind);
	} else if (optind < argc) {
		return usage("one argument too many:", argv[optind]);
	}
	return CTL_DONE;
}

static int parse_verb(int argc, char **argv, struct invocation *in)
{
	const struct verb *v;
	int                code = parse_words(argc, argv, in);

	if (code != CTL_DONE)
		return code;
	v = in->verb;
	if (v->operand && !in->operand && !(v->flags & VERB_OPERAND_OPTIONAL)) {
		fprintf(stderr, "mmbctl: %s wants an argument: mmbctl %s %s\n", v->name, v->name,
			v->operand);
		return CTL_USAGE;
	}
	if (in->json && !(v->flags & VERB_JSON))
		return usage("--json isn't for the verb", v->name);
	if (in->pool[0] != '\0' && !(v->flags & VERB_POOL))
		return usage("--pool isn't for the verb", v->name);
	if (in->session && !(v->flags & VERB_SESSION))
		return usage("--session isn't for the verb", v->name);
	if (in->timeout_ms == 0)
		in->timeout_ms = v->timeout_s * 1000;
	return CTL_DONE;
}

/* The broker's socket must not get the number of a closed stdout: that would be printed to. */
static void occupy_closed_outputs(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const char       *no_color = getenv("NO_COLOR");
	struct invocation in = { .pool = "", .color = isatty(STDOUT_FILENO) == 1 };
	int               code;

	occupy_closed_outputs();
	if (no_color && no_color[0] != '\0')
		in.color = false;
	code = parse_options(argc, argv, &in);
	if (code == CTL_DONE)
		code = parse_verb(argc, argv, &in);
	if (code == CTL_DONE)
		code = in.verb->run(&in);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "mmbctl: stdout: %s\n", strerror(errno));
		return code == CTL_DONE ? CTL_FAILED : code;
	}
	return code;
}
