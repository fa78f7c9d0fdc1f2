/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_ops - what the stress suite does with page runs
 *
 * Purpose     Runs of every order with every kind of flag: aligned, zero when asked for, kept as
 *             written until they are freed.
 */
#include <errno.h>
#include <string.h>

#include "stress/client.h"

enum { PAGE = 4096, BURST_MAX = 64 };

static size_t run_bytes(const struct stress_run *run)
{
	return (size_t)PAGE << run->order;
}

/* Small orders are common, as they are in life. */
static uint32_t pick_order(struct stress_client *c)
{
	uint32_t order = stress_pick(c, 4) ? stress_pick(c, 4) : stress_pick(c, MMB_ORDER_MAX + 1);

	return order;
}

static int take(struct stress_client *c, struct stress_run *run)
{
	static const unsigned int flags[] = { MMB_GFP_KERNEL, MMB_GFP_KERNEL, MMB_GFP_ZERO,
					      MMB_GFP_NOWAIT, MMB_GFP_ATOMIC, MMB_GFP_NORETRY,
					      MMB_GFP_RETRY_MAYFAIL, MMB_GFP_MOVABLE,
					      MMB_GFP_RECLAIMABLE | MMB_GFP_ZERO,
					      MMB_GFP_THISNODE };
	unsigned int gfp = flags[stress_pick(c, sizeof(flags) / sizeof(flags[0]))];
	struct stress_run made = { .pool = stress_pick(c, 2) ? c->pool : c->own,
				   .object = stress_object(c), .order = pick_order(c) };

	made.pages = mmb_alloc_pages(made.pool, made.order, gfp);
	if (made.pages == NULL)
		return errno == EAGAIN && gfp == MMB_GFP_NOWAIT ?
			       0 :
			       stress_accept(c, -errno, "mmb_alloc_pages");
	if ((uintptr_t)made.pages % run_bytes(&made) != 0)
		return stress_fail(c, "a run of order %u at %p", made.order, made.pages);
	if (gfp & MMB_GFP_ZERO && pattern_check(made.pages, run_bytes(&made), 0, 0) >= 0)
		return stress_fail(c, "a run of order %u at %p isn't zero at %#tx", made.order,
				   made.pages,
				   pattern_check(made.pages, run_bytes(&made), 0, 0));
	pattern_fill(made.pages, run_bytes(&made), pattern_key(made.object, 0), 1);
	*run = made;
	return 0;
}

static int check_run(struct stress_client *c, const struct stress_run *run)
{
	ptrdiff_t wrong = pattern_check(run->pages, run_bytes(run), pattern_key(run->object, 0),
					1);

	if (wrong >= 0)
		return stress_fail(c, "a run of order %u at %p changed at %#tx: %#llx", run->order,
				   run->pages, wrong,
				   (unsigned long long)*(uint64_t *)((char *)run->pages + wrong));
	return 0;
}

static int give(struct stress_client *c, struct stress_run *run)
{
	int failed = check_run(c, run);

	if (failed == 0)
		mmb_free_pages(run->pool, run->pages, run->order);
	run->pages = NULL;
	return failed;
}

int stress_run_toggle(struct stress_client *c)
{
	struct stress_run *run = &c->runs[stress_pick(c, STRESS_RUNS)];

	return run->pages == NULL ? take(c, run) : give(c, run);
}

/* Many of one order at once, freed in another order: what empties and fills the caches. */
int stress_run_burst(struct stress_client *c)
{
	void *pages[BURST_MAX];
	uint32_t nr = 1 + stress_pick(c, BURST_MAX), order = stress_pick(c, 3), got = 0;
	uint32_t permutation[BURST_MAX];

	while (got < nr && (pages[got] = mmb_alloc_pages(c->pool, order, 0)) != NULL) {
		memset(pages[got], (int)got + 1, 64);
		got++;
	}
	random_permutation(&c->random, permutation, got);
	for (uint32_t i = 0; i < got; i++) {
		unsigned char *page = pages[permutation[i]];

		if (page[0] != permutation[i] + 1 || page[63] != permutation[i] + 1)
			return stress_fail(c, "run %u of a burst changed", permutation[i]);
		mmb_free_pages(c->pool, page, order);
	}
	return got == nr ? 0 : stress_accept(c, -ENOMEM, "mmb_alloc_pages");
}

int stress_runs_forget(struct stress_client *c, const struct mmb_pool *pool)
{
	for (unsigned int i = 0; i < STRESS_RUNS; i++) {
		int failed = 0;

		if (c->runs[i].pages == NULL || (pool != NULL && c->runs[i].pool != pool))
			continue;
		if (i % 2) /* half of them go back by hand, half with the session or pool */
			failed = give(c, &c->runs[i]);
		else
			failed = check_run(c, &c->runs[i]);
		if (failed != 0)
			return failed;
		c->runs[i].pages = NULL;
	}
	return 0;
}
