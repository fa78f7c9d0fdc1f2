/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relief - walks pools that are short, and asks their sessions
 */
#include "client/relief.h"

#include "client/oom.h"
#include "client/session.h"
#include "os/os.h"

static const uint64_t interval_min_ns = 100ull * 1000 * 1000;
static const uint64_t interval_max_ns = 3200ull * 1000 * 1000;

/* A client that is asked isn't asked for less, if the pool wants as much. */
enum { SHARE_MIN = 1 << 20 };

struct asking {
	const struct pool *pool;
	enum memcg_level level;
	uint64_t bytes; /* of each session */
};

/* The session's first handle of the pool; 0: none. */
static uint32_t handle_of(struct session *s, const struct pool *pool)
{
	struct pool_handle *ph;
	uint32_t cursor = 0, handle, found = 0;

	mutex_lock(&s->lock);
	while (!s->ended && !found && (ph = handles_next(&s->pools, &cursor, &handle)))
		if (ph->pool == pool)
			found = handle;
	mutex_unlock(&s->lock);
	return found;
}

static void ask_session(struct session *s, void *arg)
{
	const struct asking *a = arg;
	uint32_t handle = s->upcalls.pressure ? handle_of(s, a->pool) : 0;
	struct pressure_call call = {
		.pool = handle,
		.level = a->level == MEMCG_LEVEL_MIN ? 2 : 1,
		.wanted = a->bytes,
	};

	if (handle)
		s->upcalls.pressure(s->upcall_context, &call);
}

/* A1 */
static bool may_ask(struct pool *pool, uint64_t now_ns)
{
	uint64_t passed = now_ns - pool->asked_ns;

	if (pool->asked_ns && passed < pool->ask_interval_ns)
		return false;
	if (!pool->asked_ns || passed > 2 * pool->ask_interval_ns)
		pool->ask_interval_ns = interval_min_ns;
	else
		pool->ask_interval_ns = min_t(uint64_t, 2 * pool->ask_interval_ns, interval_max_ns);
	pool->asked_ns = now_ns;
	return true;
}

void relief_ask(struct pool *pool, enum memcg_level level, uint64_t bytes)
{
	uint32_t nr = max_t(uint32_t, atomic_load(&pool->nr_handles), 1);
	struct asking a = {
		.pool = pool,
		.level = level,
		.bytes = max_t(uint64_t, bytes / nr, min_t(uint64_t, bytes, SHARE_MIN)),
	};

	if (bytes && may_ask(pool, os->now_ns()))
		session_for_each(ask_session, &a);
}

void relief_run(void)
{
	struct pool *pool = NULL;
	uint64_t oom;

	while ((pool = pool_walk_next(pool))) {
		uint64_t low = memcg_take_pressure(&pool->memcg, MEMCG_LEVEL_LOW);
		uint64_t min = memcg_take_pressure(&pool->memcg, MEMCG_LEVEL_MIN);

		oom = memcg_take_oom(&pool->memcg);
		if (oom)
			oom_handle(pool, oom);
		low = max_t(uint64_t, low, memcg_excess(&pool->memcg));
		relief_ask(pool, min ? MEMCG_LEVEL_MIN : MEMCG_LEVEL_LOW,
			   max_t(uint64_t, low, min) << PAGE_SHIFT);
	}
}
