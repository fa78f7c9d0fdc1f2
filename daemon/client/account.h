/* SPDX-License-Identifier: Apache-2.0 */
/*
 * account - what each uid uses, and the limits
 *
 * Purpose     A uid can't take more than its share of sessions, regions and pools, nor of the
 *             numbers that frames have, whatever number of connections it opens.
 * Invariants  U1  an account exists while its uid has something.
 *             U2  who asks for span has no more of it then than is left for all others: however
 *                 many users take what they can, the next one finds half of what they have left.
 * Locking     one leaf mutex inside.
 */
#ifndef MMB_CLIENT_ACCOUNT_H
#define MMB_CLIENT_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/check.h"

/* Read by any thread while a reload changes them. */
struct limits {
	_Atomic uint32_t sessions, sessions_per_uid;
	_Atomic uint32_t regions_per_session, regions_per_uid;
	_Atomic uint32_t pools_per_uid;
	_Atomic uint64_t span_per_uid; /* bytes */
};

/* Tools are counted apart: they must get in when the sessions are all taken. */
enum account_kind {
	ACCOUNT_SESSIONS,
	ACCOUNT_TOOLS,
	ACCOUNT_REGIONS,
	ACCOUNT_POOLS,
	ACCOUNT_SPAN, /* pageblocks that its regions and the arenas of its pools span */
	NR_ACCOUNT_KINDS
};

void accounts_init(const struct limits *limits);
const struct limits *limits_get(void);
/* What exists beyond a lower limit stays. */
void accounts_set_limits(const struct limits *limits);
/* One more. -EDQUOT with the limit in *limit when the uid has them all already. */
int account_charge(uid_t uid, enum account_kind kind, uint32_t *limit);
/* What exists already is counted whatever the limits say now; -ENOMEM. */
int account_recharge(uid_t uid, enum account_kind kind);
void account_uncharge(uid_t uid, enum account_kind kind);
/* The same of frames, whole pageblocks of them, for ACCOUNT_SPAN. */
int account_charge_span(uid_t uid, uint64_t frames);
int account_recharge_span(uid_t uid, uint64_t frames);
void account_uncharge_span(uid_t uid, uint64_t frames);
/* How many of so many frames one more arena should span: all, as long as half of the uid's span
 * lasts; from the other half each of its pools can have a piece. */
uint64_t account_arena_frames(uid_t uid, uint64_t frames);
uint64_t account_total(enum account_kind kind);
/* It has at most half of the pools and of the span that it may have: what it didn't ask for takes
 * nothing from it. */
bool account_is_at_ease(uid_t uid);

#endif
