/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_ops - what the stress suite does with connections, pools and mistakes
 *
 * Purpose     Reconnecting with everything still open, a private pool that comes and goes,
 *             shrinkers, forked children, arguments that can never be right, requests that can
 *             never be met.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/client.h"

enum { PAGE = 4096 };
#define TOO_MUCH (1ull << 40)

int stress_reconnect(struct stress_client *c)
{
	int failed = stress_disconnect(c);

	return failed != 0 ? failed : stress_connect(c);
}

/* The private pool is closed with what lies in it, and a new one opened. */
int stress_pool_private(struct stress_client *c)
{
	int failed = stress_runs_forget(c, c->own);

	if (failed == 0)
		failed = stress_objects_forget_own(c);
	for (unsigned int i = 0; i < STRESS_REGIONS && failed == 0; i++) {
		struct stress_region *r = &c->regions[i];

		if (r->region == NULL)
			continue;
		failed = stress_range_check(c, r, stress_range_pick(c, r, r->pages));
		mmb_region_close(r->region);
		stress_region_drop(r);
	}
	if (failed != 0)
		return failed;
	mmb_pool_close(c->own);
	return stress_expect(c, mmb_pool_open(c->mmb, "mine", MMB_POOL_PRIVATE, NULL, &c->own), 0,
			     "mmb_pool_open");
}

/* It has nothing to give. */
static size_t shrink_nothing(void *arg, size_t wanted)
{
	(void)arg;
	(void)wanted;
	return 0;
}

int stress_shrinker(struct stress_client *c)
{
	struct mmb_pool *pool = stress_pick(c, 2) ? c->pool : c->own;
	int failed = stress_expect(c, mmb_shrinker_register(pool, shrink_nothing, c), 0,
				   "mmb_shrinker_register");

	if (failed == 0)
		failed = stress_expect(c, mmb_shrinker_register(pool, shrink_nothing, c), -EEXIST,
				       "mmb_shrinker_register again");
	if (failed == 0)
		failed = stress_expect(c, mmb_shrinker_unregister(pool, shrink_nothing, c), 0,
				       "mmb_shrinker_unregister");
	if (failed == 0)
		failed = stress_expect(c, mmb_shrinker_unregister(pool, shrink_nothing, c),
				       -ENOENT, "mmb_shrinker_unregister again");
	return failed;
}

int stress_pool_stat(struct stress_client *c)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_pool *pool = stress_pick(c, 2) ? c->pool : c->own;
	int code = mmb_pool_stat(pool, &stat);

	if (code != 0)
		return stress_expect(c, code, 0, "mmb_pool_stat");
	if (stat.sessions < 1 ||
	    stat.sessions > (pool == c->own ? 1 : 3 * c->shared->clients + 1) ||
	    stat.locked > stat.resident || stat.arena > stat.committed)
		return stress_fail(c, "pool stat: sessions %llu, resident %llu, locked %llu,"
				      " arena %llu, committed %llu",
				   (unsigned long long)stat.sessions,
				   (unsigned long long)stat.resident,
				   (unsigned long long)stat.locked, (unsigned long long)stat.arena,
				   (unsigned long long)stat.committed);
	return 0;
}

/* ---- what must be refused ---- */

static int region_mistake(struct stress_client *c, uint32_t which)
{
	struct mmb_region_options odd = { .size = sizeof(odd), .page_size = 12345 };
	char name[100];
	struct mmb_region *region;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	switch (which) {
	case 0:
		return mmb_region_create(c->own, 0, NULL, &region);
	case 1:
		return mmb_region_create(c->own, PAGE, &odd, &region);
	case 2:
		return mmb_region_create(c->own, PAGE + 1, NULL, &region);
	case 3:
		return mmb_region_open(c->pool, name, PAGE, MMB_REGION_CREATE, NULL, &region);
	default:
		return mmb_region_open(c->pool, "", PAGE, MMB_REGION_CREATE, NULL, &region);
	}
}

static int range_mistake(struct stress_client *c, uint32_t which)
{
	struct mmb_region *region;
	int code = mmb_region_create(c->own, 4 * PAGE, NULL, &region);

	if (code != 0)
		return code;
	switch (which) {
	case 0:
		code = mmb_region_advise(region, 1, PAGE, MMB_ADVISE_WILLNEED);
		break;
	case 1:
		code = mmb_region_advise(region, 0, PAGE, 99);
		break;
	case 2:
		code = mmb_region_lock(region, 2 * PAGE, 3 * PAGE);
		break;
	default:
		code = mmb_region_advise(region, UINT64_MAX - PAGE + 1, PAGE, MMB_ADVISE_DONTNEED);
	}
	mmb_region_close(region);
	return code;
}

int stress_mistakes(struct stress_client *c)
{
	struct mmb_fault_info info = { .size = sizeof(info) };
	uint32_t which = stress_pick(c, 5);
	int code;

	switch (stress_pick(c, 4)) {
	case 0:
		code = region_mistake(c, which);
		break;
	case 1:
		code = range_mistake(c, which % 4);
		break;
	case 2:
		code = mmb_alloc_pages(c->own, MMB_ORDER_MAX + 1 + which, 0) ? 0 : -errno;
		break;
	default:
		return stress_expect(c, mmb_fault_info(&info, &info), -ENOENT, "mmb_fault_info");
	}
	if (code == -ENOMEM) /* the region that the mistake needed */
		return stress_accept(c, code, "mistake");
	return stress_expect(c, code, -EINVAL, "a mistake");
}

int stress_greed(struct stress_client *c)
{
	struct mmb_region *region;
	int code = mmb_region_create(stress_pick(c, 2) ? c->own : c->pool, TOO_MUCH, NULL,
				     &region);

	return stress_expect(c, code, -ENOMEM, "a region of 1 TiB");
}

/* ---- a forked child has no broker ---- */

static int in_child(struct stress_client *c)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_region *region;

	if (mmb_pool_stat(c->pool, &stat) != -EOWNERDEAD)
		return 1;
	if (mmb_region_create(c->pool, PAGE, NULL, &region) != -EOWNERDEAD)
		return 2;
	if (mmb_alloc_pages(c->pool, 0, 0) != NULL || errno != EOWNERDEAD)
		return 3;
	return 0;
}

int stress_fork(struct stress_client *c)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(in_child(c));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return stress_fail(c, "fork: %s", strerror(errno));
	return stress_expect(c, status, 0, "a forked child's handles");
}
