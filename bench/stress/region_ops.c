/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region_ops - what the stress suite does with unnamed regions
 *
 * Purpose     Create and close in both page sizes, write, check, advise, lock, stat; system calls
 *             that fault; entries dropped behind the broker's back; windows unmapped; two threads
 *             that fault on the same pages.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress/client.h"

enum {
	SMALL = 4096,
	HUGE = 2 << 20,
	SMALL_PAGES_MAX = 1024,
	HUGE_PAGES_MAX = 4,
	RANGE_MAX = 24,
	RACE_PAGES = 128,
};

static int create(struct stress_client *c, struct stress_region *r)
{
	static const uint32_t flags[] = { 0, 0, 0, 0, 0, MMB_REGION_POPULATE, MMB_REGION_LOCKED };
	uint32_t huge = stress_pick(c, 6) == 0;
	struct mmb_region_options options = {
		.size = sizeof(options),
		.page_size = huge ? HUGE : stress_pick(c, 2) ? SMALL : 0,
		.flags = flags[stress_pick(c, sizeof(flags) / sizeof(flags[0]))],
	};
	uint32_t pages = 1 + stress_pick(c, huge ? HUGE_PAGES_MAX : SMALL_PAGES_MAX);
	struct stress_region made = { .object = stress_object(c),
				      .page_size = huge ? HUGE : SMALL,
				      .pages = pages, .own_pages = pages,
				      .locked = options.flags == MMB_REGION_LOCKED };
	struct mmb_pool *pool = stress_pick(c, 2) ? c->pool : c->own;
	int code = mmb_region_create(pool, (size_t)pages * made.page_size, &options,
				     &made.region);

	if (code != 0)
		return stress_accept(c, code, "mmb_region_create");
	*r = made;
	return stress_region_keep(c, r, 0);
}

/* A random region of ours, created if there is none there; NULL: refused or failed (*failed). */
static struct stress_region *any_region(struct stress_client *c, int *failed)
{
	struct stress_region *r = &c->regions[stress_pick(c, STRESS_REGIONS)];

	*failed = r->region == NULL ? create(c, r) : 0;
	return r->region != NULL && *failed == 0 ? r : NULL;
}

int stress_region_toggle(struct stress_client *c)
{
	struct stress_region *r = &c->regions[stress_pick(c, STRESS_REGIONS)];
	int failed;

	if (r->region == NULL)
		return create(c, r);
	failed = stress_range_check(c, r, stress_range_pick(c, r, r->pages));
	mmb_region_close(r->region);
	stress_region_drop(r);
	return failed;
}

int stress_region_write(struct stress_client *c)
{
	int failed;
	struct stress_region *r = any_region(c, &failed);

	if (r == NULL)
		return failed;
	stress_range_write(r, stress_range_pick(c, r, RANGE_MAX));
	return 0;
}

int stress_region_check(struct stress_client *c)
{
	int failed;
	struct stress_region *r = any_region(c, &failed);

	return r == NULL ? failed : stress_range_check(c, r, stress_range_pick(c, r, RANGE_MAX));
}

int stress_region_advise(struct stress_client *c)
{
	static const int advices[] = { MMB_ADVISE_NORMAL, MMB_ADVISE_SEQUENTIAL,
				       MMB_ADVISE_RANDOM, MMB_ADVISE_WILLNEED,
				       MMB_ADVISE_HUGEPAGE, MMB_ADVISE_COLD,
				       MMB_ADVISE_PAGEOUT, MMB_ADVISE_PAGEOUT, MMB_ADVISE_FREE,
				       MMB_ADVISE_DONTNEED,
				       MMB_ADVISE_DONTNEED };
	int failed, advice = advices[stress_pick(c, sizeof(advices) / sizeof(advices[0]))], code;
	struct stress_region *r = any_region(c, &failed);
	struct stress_range range;
	uint32_t page;

	if (r == NULL)
		return failed;
	range = stress_range_pick(c, r, 4 * RANGE_MAX);
	if (advice == MMB_ADVISE_DONTNEED)
		return stress_range_drop(c, r, range);
	code = mmb_region_advise(r->region, (size_t)range.first * r->page_size,
				 (size_t)range.nr * r->page_size, advice);
	for (page = 0; advice == MMB_ADVISE_FREE && page < range.nr; page++)
		r->generations[range.first + page - r->own_first] = PATTERN_ANY;
	return stress_accept(c, code, "mmb_region_advise");
}

int stress_region_lock(struct stress_client *c)
{
	int failed, code;
	struct stress_region *r = any_region(c, &failed);
	struct stress_range range;

	if (r == NULL)
		return failed;
	if (r->locked_pages == 0) {
		range = stress_range_pick(c, r, RANGE_MAX);
		code = mmb_region_lock(r->region, (size_t)range.first * r->page_size,
				       (size_t)range.nr * r->page_size);
		if (code == 0) {
			r->locked_first = range.first;
			r->locked_pages = range.nr;
		}
		return stress_accept(c, code, "mmb_region_lock");
	}
	code = mmb_region_unlock(r->region, (size_t)r->locked_first * r->page_size,
				 (size_t)r->locked_pages * r->page_size);
	r->locked_pages = 0;
	return stress_expect(c, code, 0, "mmb_region_unlock");
}

int stress_region_stat(struct stress_client *c)
{
	struct mmb_region_stat stat = { .size = sizeof(stat) };
	int failed, code;
	struct stress_region *r = any_region(c, &failed);

	if (r == NULL)
		return failed;
	code = mmb_region_stat(r->region, &stat);
	if (code != 0)
		return stress_expect(c, code, 0, "mmb_region_stat");
	if (stat.length != (uint64_t)r->pages * r->page_size || stat.page_size != r->page_size ||
	    stat.resident > stat.length || stat.locked > stat.resident || stat.sessions != 1)
		return stress_fail(c, "stat: length %llu, page %llu, resident %llu, locked %llu,"
				      " sessions %llu of a region of %u pages of %u",
				   (unsigned long long)stat.length,
				   (unsigned long long)stat.page_size,
				   (unsigned long long)stat.resident,
				   (unsigned long long)stat.locked,
				   (unsigned long long)stat.sessions, r->pages, r->page_size);
	return stress_expect(c, mmb_region_length(r->region) == stat.length, 1, "region length");
}

/* ---- faults taken inside system calls ---- */

/* write(2) reads the page, read(2) writes it: both ways through a pipe, which holds a page. */
static int through_pipe(struct stress_client *c, struct stress_region *r, uint32_t page,
			const int *pipe_fds)
{
	char *at = r->base + (size_t)page * SMALL;
	uint32_t *generation = &r->generations[page - r->own_first];
	uint64_t key = pattern_key(r->object, page);
	static char buffer[SMALL];
	ptrdiff_t wrong;

	if (write(pipe_fds[1], at, SMALL) != SMALL || read(pipe_fds[0], buffer, SMALL) != SMALL)
		return stress_fail(c, "write(2) from page %u: %s", page, strerror(errno));
	wrong = pattern_check(buffer, SMALL, key, *generation);
	if (wrong >= 0)
		return stress_fail(c, "write(2) of page %u sent something else at %#tx", page,
				   wrong);
	*generation = *generation >= PATTERN_GENERATION_MAX ? 1 : *generation + 1;
	pattern_fill(buffer, SMALL, key, *generation);
	if (write(pipe_fds[1], buffer, SMALL) != SMALL || read(pipe_fds[0], at, SMALL) != SMALL)
		return stress_fail(c, "read(2) into page %u: %s", page, strerror(errno));
	return 0;
}

int stress_region_io(struct stress_client *c)
{
	int failed, pipe_fds[2];
	struct stress_region *r = any_region(c, &failed);
	struct stress_range range;

	if (r == NULL || r->page_size != SMALL)
		return failed;
	range = stress_range_pick(c, r, 8);
	if (pipe(pipe_fds) != 0)
		return stress_fail(c, "pipe: %s", strerror(errno));
	for (uint32_t i = 0; i < range.nr && failed == 0; i++)
		failed = through_pipe(c, r, range.first + i, pipe_fds);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return failed;
}

/* ---- what a client does to its own window ---- */

/* Entries dropped without telling anybody: every page has to come back as it was. */
int stress_region_zap(struct stress_client *c)
{
	int failed;
	struct stress_region *r = any_region(c, &failed);
	struct stress_range range;

	if (r == NULL)
		return failed;
	range = stress_range_pick(c, r, RANGE_MAX);
	if (madvise(r->base + (size_t)range.first * r->page_size, (size_t)range.nr * r->page_size,
		    MADV_DONTNEED) != 0)
		return stress_fail(c, "madvise: %s", strerror(errno));
	return stress_range_check(c, r, range);
}

/* A region whose window is half gone closes like any other. */
int stress_region_unmap(struct stress_client *c)
{
	uint32_t pages = 2 + stress_pick(c, 64), cut = stress_pick(c, pages - 1);
	struct mmb_region *region;
	int code = mmb_region_create(c->own, (size_t)pages * SMALL, NULL, &region);
	char *base;

	if (code != 0)
		return stress_accept(c, code, "mmb_region_create");
	base = mmb_region_address(region);
	for (uint32_t page = 0; page < pages; page += 3)
		base[(size_t)page * SMALL] = 1;
	if (munmap(base + (size_t)cut * SMALL, (size_t)(pages - cut - 1) * SMALL) != 0)
		return stress_fail(c, "munmap: %s", strerror(errno));
	base[(size_t)(pages - 1) * SMALL] = 1;
	mmb_region_close(region);
	return 0;
}

/* ---- two threads on the same pages ---- */

struct racer {
	uint64_t *base;
	uint64_t  seed;
	size_t    word;
	pthread_t thread;
};

static void *racer_main(void *arg)
{
	struct racer *me = arg;
	uint32_t order[RACE_PAGES];

	random_permutation(&me->seed, order, RACE_PAGES);
	for (uint32_t i = 0; i < RACE_PAGES; i++)
		me->base[order[i] * (SMALL / sizeof(uint64_t)) + me->word] = order[i] + 1;
	return NULL;
}

int stress_region_race(struct stress_client *c)
{
	struct mmb_region *region;
	int code = mmb_region_create(c->own, RACE_PAGES * SMALL, NULL, &region);
	struct racer racers[2];

	if (code != 0)
		return stress_accept(c, code, "mmb_region_create");
	for (unsigned int i = 0; i < 2; i++)
		racers[i] = (struct racer){ .base = mmb_region_address(region), .word = i,
					    .seed = random_next(&c->random) };
	if (pthread_create(&racers[1].thread, NULL, racer_main, &racers[1]) != 0)
		return stress_fail(c, "no thread");
	racer_main(&racers[0]);
	pthread_join(racers[1].thread, NULL);
	for (uint32_t page = 0; page < RACE_PAGES; page++) {
		const uint64_t *words = racers[0].base + page * (SMALL / sizeof(uint64_t));

		if (words[0] != page + 1 || words[1] != page + 1 || words[2] != 0)
			return stress_fail(c, "two threads wrote page %u, it holds %llx %llx %llx",
					   page, (unsigned long long)words[0],
					   (unsigned long long)words[1],
					   (unsigned long long)words[2]);
	}
	mmb_region_close(region);
	return 0;
}
