/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker - a private mmbrokerd for benches and tests
 *
 * Purpose     Starts the daemon of this build ($MMB_BROKERD, else ../daemon/mmbrokerd seen from
 *             this executable) on a socket in a directory of its own, with limits per uid that
 *             one user's crowd of clients doesn't reach, and ends it. It dies with its starter,
 *             however that ends, and leaves no files then.
 * Errors      0 or a negative errno after bench_because(), with the daemon's last words.
 */
#ifndef MMB_BENCH_LIB_BROKER_H
#define MMB_BENCH_LIB_BROKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { BROKER_PATH = 108 };

struct broker_config {
	uint64_t    reserve, reserve_huge; /* bytes; 0 huge: none */
	const char *mode;                  /* "account" or "hold" */
	const char *swap_path;             /* NULL: no swap; a file that isn't there is made */
	uint64_t    swap_size;
	bool        supervised;            /* it resumes when its worker is killed */
};

struct broker {
	pid_t    pid;
	int      pidfd;
	pid_t    tidier;   /* removes what a starter that is killed leaves */
	int      alive;    /* closed: the starter has ended */
	uint64_t ready_ns; /* from the fork to the reply to HELLO */
	char     directory[BROKER_PATH - 16];
	char     socket[BROKER_PATH];
	char     log[BROKER_PATH];
};

/* -ENOENT: no daemon was built. */
int broker_start(struct broker *broker, const struct broker_config *config);
/* SIGKILL for the worker of a supervised one, which comes back. */
int broker_kill_worker(const struct broker *broker);
/* SIGTERM, and SIGKILL after ten seconds. Negative unless its exit status was 0: then its log
 * stays where it is, for whoever looks into it. */
int broker_stop(struct broker *broker);

#endif
