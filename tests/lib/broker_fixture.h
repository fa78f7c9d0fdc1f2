/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_fixture - a private mmbrokerd, and client processes beside it
 *
 * Purpose     Starts the daemon that $MMB_BROKERD names in a folder of its own, reads its counters
 *             over a control connection, stops it and expects exit status 0.
 * Invariants  X1  everything started here dies with the test process.
 *             X2  a wait is for a condition, with a deadline; none is for a time.
 * Locking     none; used on the test's main thread. Its expectations are those of lib/test.h, and
 *             are only for the test process.
 * Not here    Client processes (client_process.h), the protocol (raw_client.h).
 */
#ifndef MMB_TESTS_LIB_BROKER_FIXTURE_H
#define MMB_TESTS_LIB_BROKER_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/client_process.h"

struct raw;

/* What must be again as it was. Memory without the daemon's own. */
struct broker_counters {
	uint64_t present, committed; /* bytes of regions and arenas */
	uint64_t pool_committed, pool_resident, pool_arena; /* as the pools tell it */
	uint64_t pools, sessions, regions;
	uint64_t fds; /* open descriptors of the daemon; 0: not readable by this user */
};

struct fixture {
	pid_t                  pid; /* 0: not running */
	bool                   supervised; /* by a process of its own, --supervise */
	char                   folder[48], socket[80], log[80];
	struct raw            *control;
	struct broker_counters baseline;
};

/* flags: beside the socket, NULL-terminated, or NULL; later ones win over the fixture's own: a
 * reserve of 256M in account mode, all users admitted. Expects that it serves. */
void fixture_start(struct fixture *f, const char *const *flags);
/* Once more on the same socket, after pid has ended and was set to 0. */
void fixture_restart(struct fixture *f, const char *const *flags);
/* The control connection anew: a daemon that was restarted behind its socket has closed it. */
void fixture_reconnect(struct fixture *f);
/* SIGTERM; expects exit status 0 and removes the folder. */
void fixture_stop(struct fixture *f);
/* At the end of a test program, whatever happened before: no expectations, SIGKILL if needed. */
void fixture_cleanup(struct fixture *f);
/* The daemon runs, as the same process as at the start. */
bool fixture_alive(struct fixture *f);
/* Prints the end of the daemon's log. */
void fixture_show_log(const struct fixture *f);
/* How often does the log say this, and does it? */
unsigned int fixture_log_count(const struct fixture *f, const char *text);
bool fixture_log_says(const struct fixture *f, const char *text);

struct daemon_exit {
	int  status; /* exit status, -signal, or -ETIMEDOUT: it went on running and was killed */
	char output[4096]; /* what it wrote, cut */
};
/* Runs the daemon with these flags alone until it ends by itself. */
void fixture_run_daemon(const char *const *flags, struct daemon_exit *out);

bool fixture_read(struct fixture *f, struct broker_counters *out);
/* Takes the present counters as the baseline, once they have stood still. */
void fixture_baseline(struct fixture *f);
/* Waits up to 10 s until all counters are as at the baseline, and VERIFY finds no difference. */
void fixture_expect_baseline(struct fixture *f);
/* VERIFY: no differences. */
void fixture_expect_verified(struct fixture *f);

#endif
