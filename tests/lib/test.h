/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test - the frame every test program uses
 *
 * Purpose     Names each case after the promise it checks, counts expectations, prints the
 *             closing line "N passed, N failed, N skipped". A case without an expectation fails.
 *             Exit status: 0 all passed, 1 a failure, 77 everything skipped.
 */
#ifndef MMB_TESTS_LIB_TEST_H
#define MMB_TESTS_LIB_TEST_H

#include <stdbool.h>
#include <stdint.h>

struct test_case {
	const char *promise;
	void (*run)(void);
};

int test_main(int argc, char **argv, const struct test_case *cases, unsigned int nr);

/* An expectation. The first one that fails ends the case. */
#define EXPECT(e) test_expect((e) ? 1 : 0, #e, __FILE__, __LINE__)
#define EXPECT_EQ(a, b) \
	test_expect_equal((long long)(a), (long long)(b), #a " == " #b, __FILE__, __LINE__)
#define SKIP(reason) test_skip(reason)
#define TEST_MAIN(cases)                                                          \
	int main(int argc, char **argv)                                           \
	{                                                                         \
		return test_main(argc, argv, cases, sizeof(cases) / sizeof((cases)[0])); \
	}

/* How much less often a thing need be repeated in this build, which is slower. */
#ifdef __SANITIZE_THREAD__
enum { TEST_SLOWER = 8 };
#elif defined(__SANITIZE_ADDRESS__)
enum { TEST_SLOWER = 2 };
#else
enum { TEST_SLOWER = 1 };
#endif

void test_expect(int ok, const char *text, const char *file, int line);
void test_expect_equal(long long a, long long b, const char *text, const char *file, int line);
_Noreturn void test_skip(const char *reason);

/* The run's seed: $MMB_SEED or a fresh one, printed at the start. */
uint64_t test_seed(void);
/* A fast reproducible generator. */
uint64_t test_random(uint64_t *state);
/* 0 .. bound - 1 */
uint64_t test_below(uint64_t *state, uint64_t bound);
/* A deadline, longer where long forms run (MMB_LONG). */
unsigned int test_patience(unsigned int limit);
/* Waits until condition(arg) holds; false after test_patience(seconds). */
bool test_wait(bool (*condition)(void *arg), void *arg, unsigned int seconds);

#endif
