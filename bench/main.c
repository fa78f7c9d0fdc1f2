/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmb-bench - how fast the broker is, beside what it competes with, in one run
 *
 * Purpose     Reads the command line, starts a private broker where the suite needs one and none
 *             was named, runs the suites.
 * Exit        0 everything could be measured (goals may be missed: the lines say so), 1 a case
 *             failed, 64 wrong usage, 69 no broker.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "kernel_memory.h"
#include "lib/broker.h"
#include "lib/clock.h"
#include "lib/place.h"
#include "lib/random.h"
#include "suites.h"

enum {
	ROUNDS = 5,
	ROUNDS_QUICK = 1,
	CLIENTS = 4,
	SECONDS = 10,
	SECONDS_QUICK = 2,
};
#define RESERVE       (6ull << 30)
#define RESERVE_QUICK (1ull << 30)
#define HUGEPAGE      (2ull << 20)
#define SWAP_SIZE     (2ull << 30)
#define RESERVE_SWAP  (128ull << 20)
#define RESERVE_SWAP_CLIENT (24ull << 20)

/* Of the broker that is started if none was named. */
enum needs { NEEDS_NOTHING, NEEDS_BROKER, NEEDS_SWAP };

static const struct suite {
	const char *name, *what;
	void (*run)(struct bench *b);
	enum needs needs;
} suites[] = {
	{ "pages", "page frames in the daemon, page runs over the library", suite_pages,
	  NEEDS_BROKER },
	{ "objects", "the daemon's own objects, against malloc", suite_objects, NEEDS_NOTHING },
	{ "fault", "first touch of regions, against bare userfaultfd and the kernel's memory",
	  suite_fault, NEEDS_BROKER },
	{ "rpc", "round trips, connecting, the first region", suite_rpc, NEEDS_BROKER },
	{ "start", "from exec to the first request served", suite_start, NEEDS_NOTHING },
	{ "death", "how fast everything of a killed client is back", suite_death, NEEDS_BROKER },
	{ "overhead", "metadata; many sessions and regions at once", suite_overhead, NEEDS_BROKER },
	{ "malloc", "pooled malloc, against glibc, jemalloc, mimalloc, tcmalloc",
	  suite_malloc, NEEDS_BROKER },
	{ "swap", "more memory than the limit, against the kernel's swap on the same disk",
	  suite_swap, NEEDS_NOTHING },
	{ "clone", "copies of regions at one instant, against fork()", suite_clone, NEEDS_NOTHING },
	{ "stress", "random operations by many processes, with kills and stops, all verified",
	  suite_stress, NEEDS_SWAP },
};
enum { NR_SUITES = sizeof(suites) / sizeof(suites[0]) };

static void usage(FILE *to)
{
	fputs("usage: mmb-bench SUITE|all [--json] [--quick] [--rounds N] [--socket PATH]\n"
	      "                 [--seed X] [--only TEXT] [--clients N] [--seconds S]\n"
	      "       mmb-bench malloc --one WORKLOAD --allocator NAME [--ops N] [--memory]\n"
	      "One line a comparison; a ratio above 1 is better for mmbroker.\n\n"
	      "  --json         one JSON object a line\n"
	      "  --quick        small sizes, one round: shows that it works, not how fast\n"
	      "  --rounds N     rounds after the warm-up (default 5)\n"
	      "  --socket PATH  a running broker's socket (default: a private one is started)\n"
	      "  --seed X       of everything random (stress prints it; default: the time)\n"
	      "  --only TEXT    of suites made of cases: those whose name contains it\n"
	      "  --clients N    stress: processes at once (default 4)\n"
	      "  --seconds S    stress: how long (default 10)\n\n"
	      "  --one WORKLOAD --allocator ours|glibc|jemalloc|mimalloc|tcmalloc|arena|offset\n"
	      "                 malloc: one workload here, for a profiler, named as its case;\n"
	      "                 arena and offset have those that begin with shared-\n"
	      "  --ops N        of a thread of it (default: as in the suite)\n"
	      "  --memory       its peak in bytes in the last figure; times mean nothing then\n\n"
	      "suites:\n",
	      to);
	for (unsigned int i = 0; i < NR_SUITES; i++)
		fprintf(to, "  %-14s %s\n", suites[i].name, suites[i].what);
}

/* ---- command line ---- */

struct command {
	const char *suite;
	bool        help;
};

static int parse_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	return errno != 0 || end == text || *end != 0 || *text == '-' || *out > max ? -EINVAL : 0;
}

static bool set_text(struct bench *b, const char *name, const char *value)
{
	const struct {
		const char  *name;
		const char **to;
	} texts[] = { { "--socket", &b->socket },
		      { "--only", &b->only },
		      { "--one", &b->one },
		      { "--allocator", &b->allocator } };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(name, texts[i].name) == 0) {
			*texts[i].to = value;
			return true;
		}
	}
	return false;
}

static int set_option(struct bench *b, const char *name, const char *value)
{
	uint64_t number = 0;

	if (set_text(b, name, value))
		return 0;
	if (parse_number(value, UINT64_MAX, &number) != 0)
		return -EINVAL;
	if (strcmp(name, "--seed") == 0)
		b->seed = number;
	else if (strcmp(name, "--ops") == 0)
		b->ops = number;
	else if (strcmp(name, "--rounds") == 0 && number >= 1 && number <= BENCH_ROUNDS)
		b->rounds = (unsigned int)number;
	else if (strcmp(name, "--clients") == 0 && number >= 1 && number <= 256)
		b->clients = (unsigned int)number;
	else if (strcmp(name, "--seconds") == 0 && number >= 1 && number <= 1000000)
		b->seconds = (unsigned int)number;
	else
		return -EINVAL;
	return 0;
}

/* One argument, and the next one where it is its value: how many were used, or -EINVAL. */
static int parse_argument(struct bench *b, struct command *c, char **argv)
{
	char name[32], *equals = strchr(argv[0], '=');

	if (argv[0][0] != '-') {
		if (c->suite != NULL)
			return -EINVAL;
		c->suite = argv[0];
		return 1;
	}
	if (strcmp(argv[0], "--json") == 0 || strcmp(argv[0], "--quick") == 0 ||
	    strcmp(argv[0], "--memory") == 0 || strcmp(argv[0], "--help") == 0) {
		b->json |= argv[0][2] == 'j';
		b->quick |= argv[0][2] == 'q';
		b->memory |= argv[0][2] == 'm';
		c->help |= argv[0][2] == 'h';
		return 1;
	}
	if (equals != NULL) {
		snprintf(name, sizeof(name), "%.*s", (int)(equals - argv[0]), argv[0]);
		return set_option(b, name, equals + 1) == 0 ? 1 : -EINVAL;
	}
	return argv[1] != NULL && set_option(b, argv[0], argv[1]) == 0 ? 2 : -EINVAL;
}

static int parse(struct bench *b, struct command *c, char **argv)
{
	b->argv = argv;
	for (argv++; *argv != NULL;) {
		int used = parse_argument(b, c, argv);

		if (used < 0) {
			fprintf(stderr, "mmb-bench: can't make sense of %s\n", *argv);
			return used;
		}
		argv += used;
	}
	b->rounds = b->rounds ? b->rounds : b->quick ? ROUNDS_QUICK : ROUNDS;
	b->clients = b->clients ? b->clients : CLIENTS;
	b->seconds = b->seconds ? b->seconds : b->quick ? SECONDS_QUICK : SECONDS;
	b->seed = b->seed ? b->seed : random_mix(clock_ns() ^ (uint64_t)time(NULL));
	if (c->help)
		return 0;
	if ((b->one != NULL) != (b->allocator != NULL) ||
	    (b->one != NULL && (c->suite == NULL || strcmp(c->suite, "malloc") != 0)))
		return -EINVAL;
	return c->suite == NULL ? -EINVAL : 0;
}

/* ---- running ---- */

static void warn_without_huge(void)
{
	static bool told;

	if (!told)
		fputs("mmb-bench: no huge pages are free, so arenas lie in small ones, which the "
		      "README's figures aren't of; as root: sysctl vm.nr_hugepages=5120\n", stderr);
	told = true;
}

/* Half of the free hugepages are for the broker, the others for the peers; none beside other tests,
 * which may take all of them at any time. A suite with swap gets so little memory that it is
 * needed; the file loses its name once the broker has it open. */
static int private_broker(struct bench *b, const struct suite *suite, struct broker *broker)
{
	char swap[128];
	const char *folder = getenv("TMPDIR");
	uint64_t huge = b->quick ? 0 : kernel_hugepages_free() / 2;
	struct broker_config config = {
		.reserve = b->quick ? RESERVE_QUICK : RESERVE,
		.reserve_huge = huge * HUGEPAGE,
		.mode = "account",
	};
	int error;

	if (huge == 0 && !b->quick)
		warn_without_huge();
	snprintf(swap, sizeof(swap), "%.80s/mmb-bench-swap-%d", folder ? folder : "/var/tmp",
		 (int)getpid());
	if (suite->needs == NEEDS_SWAP) {
		config.reserve = RESERVE_SWAP + b->clients * RESERVE_SWAP_CLIENT;
		config.swap_path = swap;
		config.swap_size = SWAP_SIZE;
	}
	error = broker_start(broker, &config);
	unlink(swap);
	if (error != 0) {
		fprintf(stderr, "mmb-bench: %s\n", bench_reason());
		return error;
	}
	b->broker = broker;
	b->socket = broker->socket;
	return 0;
}

static int run_suite(struct bench *b, const struct suite *suite)
{
	struct broker broker;
	bool peer = b->one != NULL && strcmp(b->allocator, "ours") != 0;
	bool start = suite->needs != NEEDS_NOTHING && b->socket == NULL && !peer;

	b->suite = suite->name;
	if (start && private_broker(b, suite, &broker) != 0)
		return EX_UNAVAILABLE;
	suite->run(b);
	if (start) {
		if (broker_stop(&broker) != 0)
			bench_fail(b, "stopping", bench_reason());
		b->broker = NULL;
		b->socket = NULL;
	}
	return 0;
}

static int run_named(struct bench *b, const char *name)
{
	bool all = strcmp(name, "all") == 0, found = false;

	for (unsigned int i = 0; i < NR_SUITES; i++) {
		int status;

		if (!all && strcmp(name, suites[i].name) != 0)
			continue;
		found = true;
		status = run_suite(b, &suites[i]);
		if (status != 0)
			return status;
	}
	if (!found) {
		fprintf(stderr, "mmb-bench: no suite is named %s\n", name);
		usage(stderr);
		return EX_USAGE;
	}
	if (b->nr_passed_over != 0 && b->nr_fitting == 0) {
		fprintf(stderr, "mmb-bench: no case of %s has %s in its name; without --only all "
			"are run and named\n", name, b->only);
		usage(stderr);
		return EX_USAGE;
	}
	return b->nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };
	struct command command = { 0 };

	if (parse(&b, &command, argv) != 0) {
		usage(stderr);
		return EX_USAGE;
	}
	if (command.help) {
		usage(stdout);
		return EXIT_SUCCESS;
	}
	if (bench_init() != 0 || place_nr_cpus() == 0) {
		perror("mmb-bench");
		return EX_OSERR;
	}
	return run_named(&b, command.suite);
}
