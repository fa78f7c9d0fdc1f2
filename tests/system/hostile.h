/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile - an attack on a private daemon, with a bystander beside it
 *
 * Purpose     One daemon a test program. Each attack runs in a client process of its own; then the
 *             daemon must be alive as the same process, the bystander's memory intact and served,
 *             all counters as before the attack, and VERIFY clean.
 * Invariants  H1  an attack that kills the daemon fails its own case only: the next one gets a new
 *                 daemon.
 *             H2  an attack says with CLIENT_EXPECT what the daemon must answer it.
 * Locking     none.
 */
#ifndef MMB_TESTS_SYSTEM_HOSTILE_H
#define MMB_TESTS_SYSTEM_HOSTILE_H

#include "lib/broker_fixture.h"
#include "lib/raw_client.h"
#include "lib/test.h"

enum { PAGE = 4096, HUGE_PAGE = 2 << 20, ANY_CODE = 0 };

/* In the attacking process. */
struct attack {
	struct raw             r;
	const char            *socket;
	struct client_process *self;
	uint64_t               seed;
	pid_t                  broker;
};
typedef void (*attack_fn)(struct attack *a);

/* The program's own flags of the daemon, NULL-terminated. */
extern const char *const hostile_flags[];

/* In the test process: the attack, and what must hold after it. */
void hostile_run(attack_fn attack);
/* The same around something that isn't one process: begin, ..., check. */
struct fixture *hostile_begin(void);
/* 0, if it goes as it expects. */
int hostile_attack(attack_fn attack);
void hostile_check(void);
/* The bystander answers, now. */
void hostile_expect_bystander(void);
/* The last case of each program. */
void hostile_stops(void);

/* static void NAME(void), to be named in a case table, runs the block in a client process. */
#define ATTACK(name)                                   \
	static void name##_attack(struct attack *a);   \
	static void name(void)                         \
	{                                              \
		hostile_run(name##_attack);            \
	}                                              \
	static void name##_attack(struct attack *a)
#define HOSTILE_STOPS { "after all of it the daemon ends with status 0", hostile_stops }

/* ---- in the attacking process; each expects to succeed ---- */

void attack_connect(struct attack *a);
void attack_greet(struct attack *a);   /* and HELLO */
void attack_attach(struct attack *a);  /* and ATTACH */
void attack_pool(struct attack *a);    /* and a private pool */
/* An unnamed region of so many 4 KiB pages, mapped. */
struct raw_region attack_region(struct attack *a, uint64_t pages);

/* The daemon must answer with this code (ANY_CODE: any) and a sentence, and go on serving. */
void attack_refused(struct raw *r, uint32_t method, const void *body, int code);
/* It must end the session, with or without an answer; and the answer, if any, be a refusal. */
void attack_cut(struct raw *r, uint32_t method, const void *body);
/* The session still serves. */
void attack_serves(struct raw *r);
/* It has ended or ends now; fails if the daemon doesn't hang up. */
void attack_ended(struct raw *r);

/* Waits, some seconds at most, until the file holds no more than so many bytes. */
void attack_file_shrinks(int fd, uint64_t bytes);

/* Words that tell (seed, index) and no other. */
void pattern_fill(void *at, uint64_t bytes, uint64_t seed);
bool pattern_holds(const void *at, uint64_t bytes, uint64_t seed);

#endif
