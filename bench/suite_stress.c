/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_stress - random operations by many processes, with kills and stops, everything verified
 *
 * Purpose     Starts the clients (stress/client.h), kills and stops them at random, and at the end
 *             checks that the broker's counters are what they were before and that its own verify
 *             finds nothing. A broken promise fails the case and so the program.
 * Replay      The seed is printed. What a client does at step n of life l is the same again;
 *             when the kills come is a matter of time, and so is what the clients get.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/raw.h"
#include "mmbroker.h"
#include "stress/client.h"
#include "suites.h"

enum {
	TICK_MS_MAX = 30,      /* between two kills or stops */
	STOP_MS_MAX = 150,
	LEAVE_MS = 30000,      /* for a client to give back and go */
	SETTLE_MS = 10000,     /* for the broker to be back where it was */
	STEP_MS = 10,
	NAME = 64,
};

/* c: fixed before the clients start */
struct stress {
	struct bench         *b;      /* (c) */
	struct stress_shared *shared; /* (c) */
	struct raw           *raw;    /* (c) the parent's eyes */
	char                  name[NAME]; /* (c) of the case */
	struct raw_status     before; /* (c) */
	uint64_t              random;
	pid_t                 pids[STRESS_CLIENTS_MAX]; /* 0: none */
	unsigned int          lives[STRESS_CLIENTS_MAX];
	uint64_t              resume_ns[STRESS_CLIENTS_MAX]; /* stopped until then; 0: running */
	pid_t                 holder; /* of the common pool */
	uint64_t              kills, stops;
	unsigned int          nr_failed; /* promises */
};

static void failure(struct stress *s, const char *text)
{
	s->nr_failed++;
	bench_fail(s->b, s->name, text);
}

/* ---- clients come and go ---- */

static void spawn(struct stress *s, unsigned int i)
{
	pid_t pid = fork();

	if (pid == 0) {
		raw_close(s->raw);
		stress_client_main(s->shared, i, s->lives[i]);
	}
	s->pids[i] = pid > 0 ? pid : 0;
	s->resume_ns[i] = 0;
	if (pid < 0)
		failure(s, "fork failed");
}

/* False: the common pool can't be had. */
static bool hold_pool(struct stress *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		raw_close(s->raw);
		stress_holder_main(s->shared);
	}
	s->holder = pid > 0 ? pid : 0;
	for (int ms = 0; pid > 0 && ms < LEAVE_MS && !s->shared->held; ms += STEP_MS)
		clock_sleep_ms(STEP_MS);
	if (!s->shared->held)
		failure(s, "nobody could open the common pool");
	return s->shared->held;
}

static void blame(struct stress *s, unsigned int i, int status)
{
	const struct stress_slot *slot = &s->shared->slots[i];
	const char *operation = slot->operation;
	char text[STRESS_TEXT];

	if (WIFEXITED(status) && WEXITSTATUS(status) == STRESS_FAILED)
		snprintf(text, sizeof(text), "%s", slot->text);
	else
		snprintf(text, sizeof(text), "client %u, life %u, step %llu, %s: %s %d", i,
			 s->lives[i], (unsigned long long)slot->step,
			 operation ? operation : "starting",
			 WIFSIGNALED(status) ? "died by signal" : "exit status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	failure(s, text);
}

/* A client that went by itself before it was told to has something to say. */
static void reap(struct stress *s)
{
	for (unsigned int i = 0; i < s->shared->clients; i++) {
		int status;

		if (s->pids[i] == 0 || waitpid(s->pids[i], &status, WNOHANG) != s->pids[i])
			continue;
		s->pids[i] = 0;
		if (!s->shared->finish || status != 0)
			blame(s, i, status);
	}
}

static void kill_one(struct stress *s, unsigned int i)
{
	int status;

	kill(s->pids[i], SIGKILL);
	waitpid(s->pids[i], &status, 0);
	s->pids[i] = 0;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		blame(s, i, status);
		return;
	}
	s->kills++;
	s->lives[i]++;
	spawn(s, i);
}

static void stop_one(struct stress *s, unsigned int i)
{
	kill(s->pids[i], SIGSTOP);
	s->resume_ns[i] = clock_ns() + random_below(&s->random, STOP_MS_MAX * 1000000ull);
	s->stops++;
}

static void resume(struct stress *s, bool all)
{
	for (unsigned int i = 0; i < s->shared->clients; i++) {
		if (s->pids[i] == 0 || s->resume_ns[i] == 0 ||
		    (!all && clock_ns() < s->resume_ns[i]))
			continue;
		kill(s->pids[i], SIGCONT);
		s->resume_ns[i] = 0;
	}
}

static void disturb(struct stress *s)
{
	unsigned int i = (unsigned int)random_below(&s->random, s->shared->clients);
	uint64_t what = random_below(&s->random, 3);

	if (s->pids[i] == 0)
		return;
	if (what == 0)
		kill_one(s, i);
	else if (what == 1 && s->resume_ns[i] == 0)
		stop_one(s, i);
}

static void run_clients(struct stress *s)
{
	uint64_t end = clock_ns() + s->b->seconds * 1000000000ull;

	if (!hold_pool(s))
		return;
	for (unsigned int i = 0; i < s->shared->clients; i++)
		spawn(s, i);
	while (clock_ns() < end && s->nr_failed == 0) {
		clock_sleep_ms(1 + random_below(&s->random, TICK_MS_MAX));
		reap(s);
		resume(s, false);
		if (s->nr_failed == 0)
			disturb(s);
	}
}

static bool all_gone(const struct stress *s)
{
	for (unsigned int i = 0; i < s->shared->clients; i++) {
		if (s->pids[i] != 0)
			return false;
	}
	return true;
}

static void dismiss_clients(struct stress *s)
{
	s->shared->finish = true;
	resume(s, true);
	for (int ms = 0; ms < LEAVE_MS && !all_gone(s); ms += STEP_MS) {
		reap(s);
		clock_sleep_ms(STEP_MS);
	}
	for (unsigned int i = 0; i < s->shared->clients; i++) {
		const char *operation = s->shared->slots[i].operation;
		char text[STRESS_TEXT];

		if (s->pids[i] == 0)
			continue;
		kill(s->pids[i], SIGKILL);
		waitpid(s->pids[i], NULL, 0);
		snprintf(text, sizeof(text), "client %u, life %u, step %llu hangs in: %s", i,
			 s->lives[i], (unsigned long long)s->shared->slots[i].step,
			 operation ? operation : "starting");
		failure(s, text);
	}
	s->shared->all_gone = true;
	if (s->holder != 0)
		waitpid(s->holder, NULL, 0);
}

/* ---- the last reckoning ---- */

static int unlink_names(struct stress *s)
{
	struct mmb_pool *pool = NULL;
	struct mmb *mmb;
	int error = mmb_open(s->b->socket, NULL, &mmb);

	if (error != 0)
		return bench_because(error, "mmb_open at the end: %s", mmb_error());
	error = mmb_pool_open(mmb, STRESS_POOL, MMB_POOL_CREATE, NULL, &pool);
	for (unsigned int i = 0; error == 0 && i < STRESS_SHARED; i++) {
		char name[32];

		snprintf(name, sizeof(name), "shared-%u", i);
		error = mmb_region_unlink(pool, name);
		error = error == -ENOENT ? 0 : error;
	}
	if (error != 0)
		bench_because(error, "unlinking at the end: %s", mmb_error());
	if (pool)
		mmb_pool_close(pool);
	mmb_close(mmb);
	return error;
}

/* What must be back: everything that clients can cause. */
static int difference(const struct raw_status *was, const struct raw_status *is)
{
	const struct {
		const char *what;
		uint64_t was, is;
	} facts[] = {
		{ "sessions", was->sessions, is->sessions },
		{ "regions", was->regions, is->regions },
		{ "present bytes", was->present, is->present },
		{ "committed bytes", was->committed, is->committed },
		{ "spanned bytes", was->spanned, is->spanned },
		{ "poisoned pages", was->poisoned, is->poisoned },
		{ "bad messages", was->bad_messages, is->bad_messages },
	};

	for (unsigned int i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
		if (facts[i].was != facts[i].is)
			return bench_because(-EPROTO, "%s: %llu before, %llu after", facts[i].what,
					     (unsigned long long)facts[i].was,
					     (unsigned long long)facts[i].is);
	}
	return 0;
}

static int back_to_before(struct stress *s)
{
	struct raw_status now;
	int error;

	for (int ms = 0;; ms += STEP_MS) {
		error = raw_status(s->raw, &now);
		if (error != 0)
			return error;
		error = difference(&s->before, &now);
		if (error == 0 || ms >= SETTLE_MS)
			return error;
		clock_sleep_ms(STEP_MS);
	}
}

static int verify(struct stress *s)
{
	uint64_t differences = 0;
	char report[200];
	int error = raw_verify(s->raw, &differences, report, sizeof(report));

	if (error != 0)
		return error;
	if (differences != 0)
		return bench_because(-EPROTO, "verify: %llu differences: %s",
				     (unsigned long long)differences, report);
	return 0;
}

static void emit(struct stress *s, const char *metric, const char *unit, double value)
{
	bench_emit(s->b, s->name, &(struct comparison){ .metric = metric, .unit = unit }, value,
		   NAN);
}

static void reckon(struct stress *s)
{
	uint64_t done = 0, refused = 0;

	for (unsigned int i = 0; i < s->shared->clients; i++) {
		done += s->shared->slots[i].done;
		refused += s->shared->slots[i].refused;
	}
	emit(s, "operations", "1", (double)done);
	emit(s, "rate", "1/s", (double)done / s->b->seconds);
	emit(s, "refused", "1", (double)refused);
	emit(s, "kills", "1", (double)s->kills);
	emit(s, "stops", "1", (double)s->stops);
	if (unlink_names(s) != 0 || back_to_before(s) != 0 || verify(s) != 0)
		failure(s, bench_reason());
	emit(s, "broken promises", "1", s->nr_failed);
}

static void stress(struct stress *s)
{
	int error = raw_open(s->b->socket, &s->raw);

	if (error == 0)
		error = raw_status(s->raw, &s->before);
	if (error != 0) {
		failure(s, bench_reason());
		return;
	}
	run_clients(s);
	dismiss_clients(s);
	reckon(s);
}

void suite_stress(struct bench *b)
{
	struct stress s = { .b = b, .random = random_mix(b->seed) };

	s.shared = mmap(NULL, sizeof(*s.shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s.shared == MAP_FAILED) {
		bench_fail(b, "stress", "no memory");
		return;
	}
	s.shared->socket = b->socket;
	s.shared->seed = b->seed;
	s.shared->clients = b->clients;
	snprintf(s.name, sizeof(s.name), "%u clients, seed %#llx", b->clients,
		 (unsigned long long)b->seed);
	stress(&s);
	raw_close(s.raw);
	munmap(s.shared, sizeof(*s.shared));
}
