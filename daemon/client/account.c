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

enum { HASH_BUCKETS = 64, TOOLS_PER_UID = 64, OUTLIVED_PER_UID = 64 };

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
	case ACCOUNT_OUTLIVED:
		return OUTLIVED_PER_UID;
	case ACCOUNT_REGIONS:
		return accounts.limits.regions_per_uid;
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

int account_charge(uid_t uid, enum account_kind kind, uint32_t *limit)
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
	if (!a) {
		r = -ENOMEM;
	} else if (a->nr[kind] >= *limit) {
		r = -EDQUOT;
		drop_if_empty(a); /* a limit of 0 */
	} else {
		a->nr[kind]++;
		accounts.total[kind]++;
	}
	mutex_unlock(&accounts.lock);
	return r;
}

int account_recharge(uid_t uid, enum account_kind kind)
{
	struct account *a;

	mutex_lock(&accounts.lock);
	a = find_or_new(uid);
	if (a) {
		a->nr[kind]++;
		accounts.total[kind]++;
	}
	mutex_unlock(&accounts.lock);
	return a ? 0 : -ENOMEM;
}

void account_uncharge(uid_t uid, enum account_kind kind)
{
	struct account *a;

	mutex_lock(&accounts.lock);
	a = find(uid);
	CHECK(a && a->nr[kind]);
	a->nr[kind]--;
	accounts.total[kind]--;
	drop_if_empty(a);
	mutex_unlock(&accounts.lock);
}

uint64_t account_total(enum account_kind kind)
{
	uint64_t total;

	mutex_lock(&accounts.lock);
	total = accounts.total[kind];
	mutex_unlock(&accounts.lock);
	return total;
}
