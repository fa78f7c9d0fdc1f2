/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main - several processes build and ask one index over real text; one of them is killed
 *
 * Purpose     The coordinator: loads the corpus, starts the workers, kills one of them half way,
 *             sees its memory come back and its work done again, and writes the counts down.
 * Usage       word_index --files LIST --counts FILE [--workers N] [--word WORD]
 *             The broker's socket is found as mmb_open() finds it ($MMB_SOCKET first).
 * Not here    Comparing the counts with coreutils' (the run script does it).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "index.h"
#include "report.h"
#include "tally.h"
#include "word.h"
#include "worker.h"

extern char **environ;

struct job {
	const char        *files, *counts, *word;
	uint32_t           nr_workers;
	char               pool_name[64];
	struct mmb        *broker;
	struct mmb_pool   *pool;
	struct mmb_region *corpus_region, *index_region;
	struct index      *index;
	pid_t              workers[WORKERS_MAX];
};

/* The workers end by themselves when their parent does. */
static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "word_index: %s: %s (%s)\n", what, strerror(-error), mmb_error());
	exit(EXIT_FAILURE);
}

static void job_open(struct job *job)
{
	int r = mmb_open(NULL, NULL, &job->broker);

	if (r < 0)
		die("no broker", r);
	snprintf(job->pool_name, sizeof(job->pool_name), "word-index-%d", getpid());
	r = mmb_pool_open(job->broker, job->pool_name, MMB_POOL_CREATE | MMB_POOL_EXCL, NULL,
			  &job->pool);
	if (r < 0)
		die("pool", r);
	r = corpus_create(job->pool, job->files, &job->corpus_region);
	if (r < 0)
		die("corpus", r);
	r = index_create(job->pool, mmb_region_address(job->corpus_region), job->nr_workers,
			 &job->index_region);
	if (r < 0)
		die("index", r);
	job->index = mmb_region_address(job->index_region);
	/* The arena, where the workers' postings will lie, is mapped with the first page run. */
	if (!mmb_alloc_pages(job->pool, 0, MMB_GFP_KERNEL))
		die("page run", -errno);
}

/* A client can't go on with its parent's connection: a worker is a program of its own. */
static void job_start(struct job *job, uint32_t number)
{
	char text[16];
	char *argv[] = { "word_index", "--worker", text, "--pool", job->pool_name, NULL };
	int r;

	snprintf(text, sizeof(text), "%u", number);
	r = posix_spawn(&job->workers[number], "/proc/self/exe", NULL, NULL, argv, environ);
	if (r)
		die("worker", -r);
}

/* Ends the job if a worker ended that wasn't told to. */
static void job_watch(struct job *job)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	if (pid > 0)
		die("a worker ended early", -ECHILD);
	nap();
}

static uint64_t run_bytes(const struct job *job)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < job->nr_workers; w++)
		if (!(job->index->lost & 1U << w))
			sum += job->index->reports[w].run_bytes;
	return sum;
}

static struct mmb_pool_stat job_stat(struct job *job)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	int r = mmb_pool_stat(job->pool, &stat);

	if (r < 0)
		die("pool statistics", r);
	return stat;
}

static void job_pause(struct job *job)
{
	atomic_store(&job->index->is_pausing, 1);
	for (uint32_t w = 0; w < job->nr_workers; w++)
		while (w != job->index->victim &&
		       !atomic_load(&job->index->reports[w].is_paused))
			job_watch(job);
}

enum { SETTLED_NAPS = 50 };

/* Everybody stands still, but the broker may still be making pages ahead of those who don't. */
static struct mmb_pool_stat settled_stat(struct job *job)
{
	struct mmb_pool_stat last, stat = job_stat(job);

	do {
		last = stat;
		for (int i = 0; i < SETTLED_NAPS; i++)
			nap();
		stat = job_stat(job);
	} while (stat.resident != last.resident);
	return stat;
}

/* Stops the victim in the middle of what it does, kills it, and waits for its memory. */
static void job_lose_worker(struct job *job)
{
	uint32_t victim = job->index->victim;
	struct loss loss = { .worker = victim, .pid = job->workers[victim] };
	uint64_t begin;

	job_pause(job);
	kill(loss.pid, SIGSTOP);
	waitpid(loss.pid, NULL, WUNTRACED);
	index_chunks_done(job->index, victim, &loss.chunks_done);
	loss.run_bytes = job->index->reports[victim].run_bytes;
	loss.before = settled_stat(job);
	begin = clock_ns();
	kill(loss.pid, SIGKILL);
	waitpid(loss.pid, NULL, 0);
	do {
		nap();
		loss.after = job_stat(job);
		loss.ns = clock_ns() - begin;
		if (loss.ns > 10000000000)
			die("the killed worker's memory didn't come back", -ETIMEDOUT);
	} while (loss.after.sessions >= loss.before.sessions ||
		 loss.after.committed > loss.before.committed - TALLY_BYTES ||
		 loss.after.resident >= loss.before.resident);
	loss.chunks_again = index_forget_worker(job->index, victim);
	report_loss(&loss);
	atomic_store(&job->index->is_pausing, 0);
}

static void job_build(struct job *job)
{
	uint32_t nr_chunks = job->index->corpus->nr_chunks, of_victim, done;
	uint64_t begin = clock_ns();

	/* The victim gets a head start, so that there is something to lose. */
	job_start(job, job->index->victim);
	do {
		job_watch(job);
		done = index_chunks_done(job->index, job->index->victim, &of_victim);
	} while (of_victim < 2 && done < nr_chunks);
	for (uint32_t w = 0; w < job->nr_workers; w++)
		if (w != job->index->victim)
			job_start(job, w);
	while (index_chunks_done(job->index, 0, &of_victim) < nr_chunks / 2)
		job_watch(job);
	job_lose_worker(job);
	while (index_chunks_done(job->index, 0, &of_victim) < nr_chunks)
		job_watch(job);
	report_build(job->index, clock_ns() - begin);
}

static void job_query(struct job *job)
{
	atomic_store(&job->index->stage, STAGE_QUERY);
	for (uint32_t w = 0; w < job->nr_workers; w++)
		while (w != job->index->victim &&
		       !atomic_load(&job->index->reports[w].has_queried))
			job_watch(job);
	if (report_queries(job->index) != 0)
		die("a word of the corpus isn't in the index", -ENOENT);
	report_answers(job->index, job->word);
}

static void job_memory(struct job *job)
{
	struct mmb_pool_stat pool = job_stat(job);
	struct mmb_region_stat corpus = { .size = sizeof(corpus) };
	struct mmb_region_stat index = { .size = sizeof(index) };
	int r = mmb_region_stat(job->corpus_region, &corpus);

	if (r == 0)
		r = mmb_region_stat(job->index_region, &index);
	if (r < 0)
		die("region statistics", r);
	report_memory(&pool, &corpus, &index, run_bytes(job));
}

static void job_finish(struct job *job)
{
	int status;

	atomic_store(&job->index->stage, STAGE_FINISH);
	for (uint32_t w = 0; w < job->nr_workers; w++) {
		if (w == job->index->victim)
			continue;
		if (waitpid(job->workers[w], &status, 0) < 0 || status != 0)
			die("a worker failed", -ECHILD);
	}
	mmb_region_unlink(job->pool, INDEX_REGION);
	mmb_region_unlink(job->pool, CORPUS_REGION);
	mmb_close(job->broker);
}

static int usage(void)
{
	fprintf(stderr, "usage: word_index --files LIST --counts FILE [--workers 2..%d] "
			"[--word WORD]\n", WORKERS_MAX);
	return EX_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "files", required_argument, NULL, 'f' },
		{ "counts", required_argument, NULL, 'c' },
		{ "workers", required_argument, NULL, 'n' },
		{ "word", required_argument, NULL, 'w' },
		{ "worker", required_argument, NULL, 'W' },
		{ "pool", required_argument, NULL, 'p' },
		{ 0 },
	};
	struct job job = { .nr_workers = 5, .word = "memory" };
	const char *pool = NULL, *worker = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f': job.files = optarg; break;
		case 'c': job.counts = optarg; break;
		case 'n': job.nr_workers = (uint32_t)strtoul(optarg, NULL, 10); break;
		case 'w': job.word = optarg; break;
		case 'W': worker = optarg; break;
		case 'p': pool = optarg; break;
		default: return usage();
		}
	}
	if (worker && pool)
		return worker_main(pool, (uint32_t)strtoul(worker, NULL, 10));
	if (!job.files || !job.counts || job.nr_workers < 2 || job.nr_workers > WORKERS_MAX)
		return usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	job_open(&job);
	job_build(&job);
	job_query(&job);
	job_memory(&job);
	if (index_write_counts(job.index, job.counts) != 0)
		die(job.counts, -EIO);
	job_finish(&job);
	return EXIT_SUCCESS;
}
