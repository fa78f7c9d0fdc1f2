/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_process - a forked client with pipes to tell it things and to hear from it
 *
 * Purpose     A test's clients live, fault, stop and die apart from the test.
 * Invariants  K1  it dies with the test process, and never runs the test's own code after fn.
 *             K2  a wait is for a byte or the end, with a deadline.
 * Locking     none; the test's main thread forks, the child's main thread answers.
 */
#ifndef MMB_TESTS_LIB_CLIENT_PROCESS_H
#define MMB_TESTS_LIB_CLIENT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct client_process {
	pid_t pid; /* 0: none */
	int   in, out; /* this side's end of a pipe to read from, to write to */
};
typedef void (*client_fn)(struct client_process *self, void *arg);

/* The child runs fn and ends with status 0; self holds its ends of the pipes. */
void client_fork(struct client_process *c, client_fn fn, void *arg);
/* Both sides. false: the other end is gone, or said nothing for 20 s. */
bool client_tell(struct client_process *c, const void *bytes, size_t nr);
bool client_hear(struct client_process *c, void *bytes, size_t nr);
/* One byte, for steps. */
bool client_tell_step(struct client_process *c, char step);
bool client_hear_step(struct client_process *c, char step);
/* It has, and waits to be reaped. */
bool client_has_ended(const struct client_process *c);
/* Waits for its end, 30 s at most, then kills it: exit status, or -signal. */
int client_wait(struct client_process *c);
/* Signals and, after SIGKILL, reaps. */
void client_signal(struct client_process *c, int signal_number);

/* In a client process: says what isn't true and ends the process with status 1. */
#define CLIENT_EXPECT(e) client_expect((e) ? 1 : 0, #e, __FILE__, __LINE__)
#define CLIENT_EXPECT_EQ(a, b) \
	client_expect_equal((long long)(a), (long long)(b), #a " == " #b, __FILE__, __LINE__)
void client_expect(int ok, const char *text, const char *file, int line);
void client_expect_equal(long long a, long long b, const char *text, const char *file, int line);

/* Becomes uid and gid 65534 without groups; for a child of root. */
int client_become_nobody(void);

#endif
