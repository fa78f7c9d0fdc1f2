/* SPDX-License-Identifier: Apache-2.0 */
/* contest - see contest.h */
#include "malloc/contest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/raw.h"
#include "malloc/allocators.h"

enum { CHILD_MS = 80000, TEXT = 1024, ARGUMENTS = 20, NUMBER = 24 };

struct contest_job {
	const struct bench        *b;
	const struct contest_args *args;
	int                        out; /* the pipe's writing end */
};

static int exec_worker(void *arg, struct sample *unused)
{
	const struct contest_job *job = arg;
	const struct bench *b = job->b;
	char seed[NUMBER];
	const char *argv[ARGUMENTS] = { "mmb-bench", "malloc", "--one", job->args->workload,
					"--allocator", job->args->allocator, "--seed", seed };
	unsigned int nr = 8;

	/* Sides of one round have one seed: peaks depend on it more than on anything else. */
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)b->seed + b->round);
	if (b->socket != NULL) {
		argv[nr++] = "--socket";
		argv[nr++] = b->socket;
	}
	if (b->quick)
		argv[nr++] = "--quick";
	if (job->args->memory)
		argv[nr++] = "--memory";
	allocator_prepare(allocator_find(job->args->allocator));
	if (dup2(job->out, STDOUT_FILENO) >= 0)
		execv("/proc/self/exe", (char *const *)argv);
	return bench_because(-errno, "exec: %s", strerror(errno));
}

/* The last line says how it went. */
static int parse_text(char *text, struct sample *out)
{
	char *end = strrchr(text, '\n'), *line, *reason;

	if (end == NULL)
		return bench_because(-EPROTO, "the worker said nothing");
	*end = 0;
	line = strrchr(text, '\n');
	line = line != NULL ? line + 1 : text;
	reason = strchr(line, ' ');
	if (reason == NULL)
		return bench_because(-EPROTO, "the worker said %.100s", line);
	if (strncmp(line, "figures ", reason + 1 - line) != 0)
		return bench_because(*line == 's' ? BENCH_SKIP : -ECHILD, "%.300s", reason + 1);
	for (unsigned int i = 0; i < BENCH_VALUES; i++)
		out->v[i] = strtod(reason, &reason);
	return 0;
}

/* What it says fits into a pipe: it is read when it has ended. */
static int run_worker(struct contest_job *job, int in, struct sample *out)
{
	struct sample unused;
	char text[TEXT];
	ssize_t nr;
	int error = child_run(exec_worker, job, CHILD_MS, &unused);

	close(job->out);
	nr = read(in, text, sizeof(text) - 1);
	text[nr > 0 ? nr : 0] = 0;
	if (nr > 0 || error == 0)
		error = parse_text(text, out);
	return error;
}

static int run_piped(struct bench *b, const struct contest_args *args, struct sample *out)
{
	const struct allocator *a = allocator_find(args->allocator);
	struct contest_job job = { .b = b, .args = args };
	int ends[2], error = a != NULL ? allocator_possible(a) : 0;

	if (error != 0)
		return error;
	bench_because(0, "it ended without a word");
	if (pipe(ends) != 0)
		return bench_because(-errno, "pipe: %s", strerror(errno));
	job.out = ends[1];
	error = run_worker(&job, ends[0], out);
	close(ends[0]);
	return error;
}

int contest_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct contest_args *args = arg;
	struct raw_status before;
	struct raw *raw;
	int error;

	if (strcmp(args->allocator, allocators[ALLOCATOR_OURS].name) != 0)
		return run_piped(b, args, out);
	error = raw_open(b->socket, &raw);
	if (error == 0)
		error = raw_status(raw, &before);
	if (error == 0)
		error = run_piped(b, args, out);
	if (error == 0)
		error = raw_settle(raw, before.present);
	raw_close(raw);
	return error;
}
