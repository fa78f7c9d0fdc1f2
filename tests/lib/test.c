/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test - running cases one after the other
 *
 * Invariants  a failed expectation jumps out of the case on the thread that runs it; on any other
 *             thread it only marks the case as failed.
 */
#include "lib/test.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum outcome { CASE_PASSED, CASE_FAILED, CASE_SKIPPED };

static struct {
	jmp_buf                  leave;
	pthread_t                runner;
	const char              *skip_reason;
	_Atomic unsigned int     nr_expectations;
	_Atomic unsigned int     nr_failed;
	uint64_t                 seed;
} frame;

static void fail_case(void)
{
	atomic_fetch_add(&frame.nr_failed, 1);
	if (pthread_equal(pthread_self(), frame.runner))
		longjmp(frame.leave, CASE_FAILED);
}

void test_expect(int ok, const char *text, const char *file, int line)
{
	atomic_fetch_add(&frame.nr_expectations, 1);
	if (ok)
		return;
	printf("  %s:%d: not true: %s\n", file, line, text);
	fail_case();
}

void test_expect_equal(long long a, long long b, const char *text, const char *file, int line)
{
	atomic_fetch_add(&frame.nr_expectations, 1);
	if (a == b)
		return;
	printf("  %s:%d: not true: %s (%lld and %lld)\n", file, line, text, a, b);
	fail_case();
}

void test_skip(const char *reason)
{
	frame.skip_reason = reason;
	longjmp(frame.leave, CASE_SKIPPED);
}

static void choose_seed(void)
{
	const char     *given = getenv("MMB_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	frame.seed = given ? strtoull(given, NULL, 0)
			   : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec +
				     (uint64_t)getpid();
	printf("seed %llu (repeat with MMB_SEED=%llu)\n", (unsigned long long)frame.seed,
	       (unsigned long long)frame.seed);
}

uint64_t test_seed(void)
{
	return frame.seed;
}

/* splitmix64, by Sebastiano Vigna (public domain) */
uint64_t test_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t test_below(uint64_t *state, uint64_t bound)
{
	return test_random(state) % bound;
}

unsigned int test_patience(unsigned int limit)
{
	return getenv("MMB_LONG") ? 10 * limit : limit;
}

bool test_wait(bool (*condition)(void *arg), void *arg, unsigned int seconds)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct timespec       now;
	time_t                deadline;

	clock_gettime(CLOCK_MONOTONIC, &now);
	deadline = now.tv_sec + (time_t)test_patience(seconds) + 1;
	while (!condition(arg)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec >= deadline)
			return condition(arg);
		nanosleep(&pause, NULL);
	}
	return true;
}

static enum outcome run_case(const struct test_case *c)
{
	enum outcome outcome = CASE_PASSED;

	atomic_store(&frame.nr_expectations, 0);
	atomic_store(&frame.nr_failed, 0);
	fflush(stdout);
	switch (setjmp(frame.leave)) {
	case 0:
		c->run();
		break;
	case CASE_SKIPPED:
		printf("skipped  %s: %s\n", c->promise, frame.skip_reason);
		return CASE_SKIPPED;
	default:
		break;
	}
	if (!atomic_load(&frame.nr_expectations)) {
		printf("  the case expected nothing\n");
		outcome = CASE_FAILED;
	}
	if (atomic_load(&frame.nr_failed))
		outcome = CASE_FAILED;
	printf("%s  %s\n", outcome == CASE_PASSED ? "passed " : "FAILED ", c->promise);
	return outcome;
}

/* Arguments choose the cases whose promise contains one of them. */
static bool chosen(const struct test_case *c, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strstr(c->promise, argv[i]))
			return true;
	return argc < 2;
}

int test_main(int argc, char **argv, const struct test_case *cases, unsigned int nr)
{
	unsigned int count[3] = { 0 };

	frame.runner = pthread_self();
	choose_seed();
	for (unsigned int i = 0; i < nr; i++)
		if (chosen(&cases[i], argc, argv))
			count[run_case(&cases[i])]++;
	printf("%u passed, %u failed, %u skipped\n", count[CASE_PASSED], count[CASE_FAILED],
	       count[CASE_SKIPPED]);
	if (count[CASE_FAILED])
		return 1;
	return count[CASE_PASSED] ? 0 : 77;
}
