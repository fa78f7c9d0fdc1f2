/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pressure - a walk over sessions for the number of threads, one over pools for the averages
 */
#include "client/pressure.h"

#include <errno.h>
#include <string.h>

#include "client/session.h"
#include "os/os.h"

/* A session's threads count in each of its pools: which one they use isn't seen. */
static void tick_session(struct session *s, void *all)
{
	struct pool_handle *ph;
	struct psi_snapshot unused;
	uint32_t cursor = 0, nr = 0;

	mutex_lock(&s->lock);
	if (s->mm && !s->ended) {
		nr = atomic_load(&s->mm->nr_tasks);
		psi_set_tasks(&s->mm->psi, nr, os->now_ns());
		psi_snapshot(&s->mm->psi, os->now_ns(), &unused);
	}
	while (nr && (ph = session_next_share(s, &cursor)))
		atomic_fetch_add(&ph->pool->nr_tasks, nr);
	mutex_unlock(&s->lock);
	*(uint32_t *)all += nr;
}

static void tick_memcg(struct memcg *m, uint32_t nr)
{
	struct psi_snapshot unused;

	psi_set_tasks(&m->psi, nr, os->now_ns());
	psi_snapshot(&m->psi, os->now_ns(), &unused);
}

static void tick_pool(struct pool *pool, void *unused)
{
	tick_memcg(&pool->memcg, atomic_exchange(&pool->nr_tasks, 0));
}

void pressure_tick(void)
{
	uint32_t all = 0;

	session_for_each(tick_session, &all);
	pool_for_each(tick_pool, NULL);
	tick_memcg(memcg_root(), all);
}

/* ---- the text ---- */

struct wanted {
	const char *pool;
	uint64_t session;
	struct psi_snapshot s;
	bool found;
};

static void take_pool(struct pool *pool, void *arg)
{
	struct wanted *w = arg;

	if (!pool_has_name(pool, w->pool))
		return;
	psi_snapshot(&pool->memcg.psi, os->now_ns(), &w->s);
	w->found = true;
}

static void take_session(struct session *s, void *arg)
{
	struct wanted *w = arg;

	if (s->id != w->session)
		return;
	mutex_lock(&s->lock);
	if (s->mm && !s->ended)
		psi_snapshot(&s->mm->psi, os->now_ns(), &w->s);
	w->found = true;
	mutex_unlock(&s->lock);
}

static int take(struct wanted *w, struct refusal *why)
{
	if (w->pool[0] && w->session)
		return refuse(why, -EINVAL, "a pool or a session, not both");
	if (w->session) {
		session_for_each(take_session, w);
		return w->found ? 0
				: refuse(why, -ENOENT, "there is no session %llu",
					 (unsigned long long)w->session);
	}
	if (w->pool[0]) {
		pool_for_each(take_pool, w);
		return w->found ? 0 : refuse(why, -ENOENT, "there is no pool '%s'", w->pool);
	}
	psi_snapshot(&memcg_root()->psi, os->now_ns(), &w->s);
	return 0;
}

int report_pressure(const char *pool, uint64_t session, char **out, struct refusal *why)
{
	struct wanted w = { .pool = pool, .session = session };
	char text[PSI_TEXT_BYTES];
	int r = take(&w, why);

	if (r)
		return r;
	psi_format(&w.s, text);
	*out = strdup(text);
	return *out ? 0 : refuse(why, -ENOMEM, "the daemon is out of memory");
}
