/* SPDX-License-Identifier: Apache-2.0 */
/*
 * account - a hash of uids and what each has
 *
 * Locking     accounts.lock (RANK_TABLE) for everything; nothing else is taken under it but the
 *             table of accounts.
 */
#include "client/account.h"

#include <errno.h>

#include "base/list.h"
#include "base/lock.h"
#include "mm/obj/slab.h"
#include "mm/phys/meta.h"
#include "mm/phys/node.h"

enum { HASH_BUCKETS = 64, TOOLS_PER_UID = 64, SPAN_BLOCKS = META_SPAN_FRAMES >> PAGEBLOCK_ORDER };

/* l: accounts.lock */
struct account {
	struct list_head link;         /* (l) */
	uid_t uid;                     /* fixed */
	uint32_t nr[NR_ACCOUNT_KINDS]; /* (l) */
};

static struct {
	struct mutex lock;
	struct kmem_cache *cache;      /* fixed after init */
	struct list_head buckets[HASH_BUCKETS]; /* (l) */
	uint64_t total[NR_ACCOUNT_KINDS];       /* (l) */
	struct limits limits;                   /* atomics */
} accounts;

void accounts_init(const struct limits *limits)
{
	mutex_init(&accounts.lock, RANK_TABLE, "accounts");
	accounts.cache = KMEM_CACHE(account, 0);
	for (int i = 0; i < HASH_BUCKETS; i++)
		list_init(&accounts.buckets[i]);
	accounts.limits = *limits;
}

void accounts_set_limits(const struct limits *limits)
{
	accounts.limits.sessions = limits->sessions;
	accounts.limits.sessions_per_uid = limits->sessions_per_uid;
	accounts.limits.regions_per_session = limits->regions_per_session;
	accounts.limits.regions_per_uid = limits->regions_per_uid;
	accounts.limits.pools_per_uid = limits->pools_per_uid;
	accounts.limits.span_per_uid = limits->span_per_uid;
}

const struct limits *limits_get(void)
{
	return &accounts.limits;
}

static struct account *find(uid_t uid)
{
	struct account *a;

	list_for_each_entry(a, &accounts.buckets[uid % HASH_BUCKETS], link)
		if (a->uid == uid)
			return a;
	return NULL;
}

static uint32_t limit_of(enum account_kind kind)
{
	switch (kind) {
	case ACCOUNT_SESSIONS:
		return accounts.limits.sessions_per_uid;
	case ACCOUNT_TOOLS:
		return TOOLS_PER_UID;
	case ACCOUNT_REGIONS:
		return accounts.limits.regions_per_uid;
	case ACCOUNT_SPAN:
		return (uint32_t)min_t(uint64_t, accounts.limits.span_per_uid >> PAGEBLOCK_SHIFT,
				       UINT32_MAX);
	default:
		return accounts.limits.pools_per_uid;
	}
}

/* The uid's account, made if needed. */
static struct account *find_or_new(uid_t uid)
{
	struct account *a = find(uid);

	if (a)
		return a;
	a = kmem_cache_zalloc(accounts.cache, GFP_KERNEL);
	if (!a)
		return NULL;
	a->uid = uid;
	list_add(&a->link, &accounts.buckets[uid % HASH_BUCKETS]);
	return a;
}

/* U1 */
static void drop_if_empty(struct account *a)
{
	for (int i = 0; i < NR_ACCOUNT_KINDS; i++)
		if (a->nr[i])
			return;
	list_del(&a->link);
	kmem_cache_free(accounts.cache, a);
}

/* U2: what the account may have of it; pageblocks. */
static uint64_t span_share_locked(const struct account *a)
{
	uint64_t had = a ? a->nr[ACCOUNT_SPAN] : 0;
	uint64_t left = SPAN_BLOCKS - min_t(uint64_t, SPAN_BLOCKS, accounts.total[ACCOUNT_SPAN]);

	return min_t(uint64_t, limit_of(ACCOUNT_SPAN), (had + left) / 2);
}

static int charge(uid_t uid, enum account_kind kind, uint64_t nr, uint32_t *limit)
{
	struct account *a;
	int r = 0;

	*limit = limit_of(kind);
	mutex_lock(&accounts.lock);
	if (kind == ACCOUNT_SESSIONS && accounts.total[kind] >= accounts.limits.sessions) {
		*limit = accounts.limits.sessions;
		mutex_unlock(&accounts.lock);
		return -EDQUOT;
	}
	a = find_or_new(uid);
	if (a && kind == ACCOUNT_SPAN)
		*limit = (uint32_t)span_share_locked(a);
	if (!a) {
		r = -ENOMEM;
	} else if (a->nr[kind] >= *limit || nr > *limit - a->nr[kind]) {
		r = -EDQUOT;
		drop_if_empty(a); /* a limit of 0 */
	} else {
		a->nr[kind] += (uint32_t)nr;
		accounts.total[kind] += nr;
	}
	mutex_unlock(&accounts.lock);
	return r;
}

int account_charge(uid_t uid, enum account_kind kind, uint32_t *limit)
{
	return charge(uid, kind, 1, limit);
}

int account_charge_span(uid_t uid, uint64_t frames)
{
	uint32_t limit;

	return charge(uid, ACCOUNT_SPAN, frames >> PAGEBLOCK_ORDER, &limit);
}

static int recharge(uid_t uid, enum account_kind kind, uint64_t nr)
{
	struct account *a;

	mutex_lock(&accounts.lock);
	a = find_or_new(uid);
	if (a) {
		a->nr[kind] += (uint32_t)nr;
		accounts.total[kind] += nr;
	}
	mutex_unlock(&accounts.lock);
	return a ? 0 : -ENOMEM;
}

int account_recharge(uid_t uid, enum account_kind kind)
{
	return recharge(uid, kind, 1);
}

int account_recharge_span(uid_t uid, uint64_t frames)
{
	return recharge(uid, ACCOUNT_SPAN, frames >> PAGEBLOCK_ORDER);
}

static void uncharge(uid_t uid, enum account_kind kind, uint64_t nr)
{
	struct account *a;

	mutex_lock(&accounts.lock);
	a = find(uid);
	CHECK(a && a->nr[kind] >= nr);
	a->nr[kind] -= (uint32_t)nr;
	accounts.total[kind] -= nr;
	drop_if_empty(a);
	mutex_unlock(&accounts.lock);
}

void account_uncharge(uid_t uid, enum account_kind kind)
{
	uncharge(uid, kind, 1);
}

void account_uncharge_span(uid_t uid, uint64_t frames)
{
	uncharge(uid, ACCOUNT_SPAN, frames >> PAGEBLOCK_ORDER);
}

uint64_t account_arena_frames(uid_t uid, uint64_t frames)
{
	uint64_t half = accounts.limits.span_per_uid >> PAGE_SHIFT >> 1;
	uint64_t pools = max_t(uint64_t, accounts.limits.pools_per_uid, 1);
	uint64_t piece = half / pools / (uint64_t)nr_nodes;
	const struct account *a;
	uint64_t used, share;

	mutex_lock(&accounts.lock);
	a = find(uid);
	used = a ? (uint64_t)a->nr[ACCOUNT_SPAN] << PAGEBLOCK_ORDER : 0;
	share = span_share_locked(a) << PAGEBLOCK_ORDER;
	mutex_unlock(&accounts.lock);
	piece = max_t(uint64_t, piece, used < half ? (half - used) / 2 : 0);
	piece = min_t(uint64_t, piece, share > used ? (share - used) / 2 : 0);
	return min_t(uint64_t, frames, piece);
}

bool account_is_at_ease(uid_t uid)
{
	const struct account *a;
	bool at_ease;

	mutex_lock(&accounts.lock);
	a = find(uid);
	at_ease = !a || (a->nr[ACCOUNT_POOLS] <= limit_of(ACCOUNT_POOLS) / 2 &&
			 a->nr[ACCOUNT_SPAN] <= span_share_locked(a) / 2);
	mutex_unlock(&accounts.lock);
	return at_ease;
}

uint64_t account_total(enum account_kind kind)
{
	uint64_t total;

	mutex_lock(&accounts.lock);
	total = accounts.total[kind];
	mutex_unlock(&accounts.lock);
	return total;
}
