/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_verbs - a broker of numbers, for tests of the socket and the dispatcher
 *
 * Purpose     Implements client/verbs.h and client/report.h without memory behind them: every
 *             verb checks that its session is alive, counts, and answers something that can be
 *             recognised. Link it instead of the client floor.
 * Locking     all counters are atomic; the gate has a lock of its own.
 */
#ifndef MMB_TESTS_LIB_FAKE_VERBS_H
#define MMB_TESTS_LIB_FAKE_VERBS_H

#include <stdatomic.h>
#include <stdint.h>

#include "client/verbs.h"

/* What the fake answers, so that a test can tell it. */
enum {
	FAKE_POOL = 7,
	FAKE_REGION = 9,
	FAKE_MEMBER = 11,
	FAKE_MANY_UNITS = 512, /* a return of more is slow */
	FAKE_NR_POOLS = 70, /* in lists: three pages */
	FAKE_TEXT_LINES = 1000, /* of 40 bytes each: three pieces */
};
#define FAKE_KEY UINT64_C(0xfedcba9876543210)
#define FAKE_ADDRESS UINT64_C(0x200000000000)

struct fake_counts {
	atomic_uint sessions_new, sessions_ended, sessions_freed;
	atomic_uint attached;  /* userfaultfds taken */
	atomic_uint requests;  /* counted for sessions */
	atomic_uint slow;      /* slow verbs begun */
	atomic_uint texts;     /* texts made */
	atomic_uint after_end; /* verbs called for a session that had ended: allowed, but rare */
};
extern struct fake_counts fake_counts;
extern uint64_t fake_suspect; /* a request that daemons died by; 0: none */

/* All counts to 0, no refusals, gate open. */
void fake_verbs_reset(void);
/* session_new answers this code from now on; 0: none. */
void fake_refuse_sessions(int code);
/* Regions can't be told of, with this code, from now on; 0: they can. */
void fake_refuse_maps(int code);
/* The next so many allocations of page runs want to be asked again. */
void fake_ask_again(unsigned int nr);
/* Whether sessions are offered a pool from now on. */
void fake_offer_pools(bool offered);
/* While closed, slow verbs wait. */
void fake_gate(bool closed);
/* The session made last, for sending upcalls through what ipc installed; NULL ops: none. */
const struct upcall_ops *fake_upcalls(void **context);

#endif
