/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm_whole - the first pass over a parent; over a large one, by two threads
 */
#include "mm/space/arm.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "mm/obj/slab.h"
#include "mm/space/ahead.h"
#include "mm/space/mapping.h"
#include "mm/space/protect.h"

enum {
	PARTS_MAX = 8,
	HELP_FROM = 4, /* batches that are armed before somebody else is asked to help */
	HELP_SPINS = 64,
	LEFT_MAX = 32,
};
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };

/* ---- protecting, by two threads at once ---- */

struct mapped_parts {
	struct mm *mm[PARTS_MAX]; /* referenced */
	struct mapped_range range[PARTS_MAX];
	unsigned int nr;
	bool more; /* than there is room for */
};

static void note_part(struct mm *mm, uint64_t address, uint64_t length, void *arg)
{
	struct mapped_parts *parts = arg;

	if (parts->nr == PARTS_MAX) {
		parts->more = true;
	} else if (mm_get(mm)) {
		parts->mm[parts->nr] = mm;
		parts->range[parts->nr++] = (struct mapped_range){ address, length };
	}
}

/* The same without the lock, so that two threads can: who looks for nr_moves afterwards learns of
 * windows that have left meanwhile. What is protected in vain, in whatever a client has mapped in
 * such a one's place, is one event more when it is written. */
static int protect_beside(struct region *region, struct page_range range)
{
	struct mapped_parts parts = { .nr = 0 };
	int r = 0;

	region_for_each_mapping(region, range, note_part, &parts);
	for (unsigned int i = 0; i < parts.nr; i++) {
		if (!r && !parts.more)
			r = mm_protect(parts.mm[i], region, parts.range[i].address,
				       parts.range[i].length);
		mm_put(parts.mm[i]);
	}
	return r || parts.more ? region_protect(region, range) : 0;
}

/* ---- help ---- */

enum help_stage { HELP_WANTED, HELP_BEGUN, HELP_OVER };

/* c: fixed   a: atomic   h: the helper's until HELP_OVER */
struct help {
	struct work work;
	struct clone_pair pair;            /* (c) */
	_Atomic unsigned int refs;         /* (a) the clone's maker, the queue */
	_Atomic enum help_stage stage;     /* (a) */
	_Atomic uint64_t next;             /* (a) the first page that nobody has taken */
	unsigned int nr_left;              /* (h) */
	struct page_range left[LEFT_MAX];  /* (h) what isn't shared by a store a page */
};

/* What isn't used is in no batch; what comes to be there meanwhile is noted. */
static bool take_batch(struct help *h, struct page_range *batch)
{
	uint64_t step = ARM_BATCH_BYTES >> PAGE_SHIFT, end = h->pair.parent->nr_pages;
	uint64_t at = atomic_load(&h->next), first;

	do
		first = at < end ? round_down(region_next_used(h->pair.parent, at), step) : at;
	while (!atomic_compare_exchange_weak(&h->next, &at, first + step));
	*batch = (struct page_range){ first, first < end ? min_t(uint64_t, step, end - first) : 0 };
	return batch->nr;
}

/* Who writes needs the CPU more. */
static bool is_written(const struct region *parent)
{
	return atomic_load(&atomic_load(&parent->touched)->nr_runs);
}

static void help_with(struct help *h, struct page_range batch)
{
	struct page_range run = batch;

	run.nr = arm_share_run(h->pair.parent, h->pair.clone, batch);
	if (run.nr && protect_beside(h->pair.parent, run))
		run.nr = 0;
	if (run.nr < batch.nr)
		h->left[h->nr_left++] = (struct page_range){ batch.first + run.nr,
							     batch.nr - run.nr };
}

static void put_help(struct help *h)
{
	if (atomic_fetch_sub(&h->refs, 1) == 1)
		kfree(h);
}

static void run_help(struct work *work)
{
	struct help *h = container_of(work, struct help, work);
	enum help_stage wanted = HELP_WANTED;
	struct page_range batch;

	if (atomic_compare_exchange_strong(&h->stage, &wanted, HELP_BEGUN)) {
		while (h->nr_left < LEFT_MAX && !is_written(h->pair.parent) &&
		       take_batch(h, &batch)) {
			heartbeat_touch();
			help_with(h, batch);
		}
		atomic_store(&h->stage, HELP_OVER);
	}
	put_help(h);
}

/* Nobody helps any more; what the helper has left is armed. */
static int end_help(struct help *h)
{
	enum help_stage stage = HELP_WANTED;
	int r = 0;

	atomic_compare_exchange_strong(&h->stage, &stage, HELP_OVER);
	for (unsigned int i = 0; atomic_load(&h->stage) != HELP_OVER; i++) {
		if (i < HELP_SPINS)
			sched_yield();
		else
			heartbeat_sleep(&busy_pause);
	}
	for (unsigned int i = 0; i < h->nr_left && !r; i++)
		r = arm_range(&h->pair, h->left[i]);
	put_help(h);
	return r;
}

static int arm_together(const struct clone_pair *p)
{
	struct help *h = kzalloc(sizeof(*h), GFP_KERNEL);
	struct page_range batch;
	unsigned int nr = 0;
	int r = h ? INJECT(CLONE_ARM) : -ENOMEM, left;

	if (!h)
		return arm_range(p, (struct page_range){ 0, p->parent->nr_pages });
	h->pair = *p;
	atomic_store(&h->refs, 1);
	work_init(&h->work, run_help);
	while (!r && take_batch(h, &batch)) {
		heartbeat_touch();
		if (nr)
			sched_yield(); /* who writes meanwhile needs the CPU at once */
		if (nr++ == HELP_FROM && !is_written(p->parent)) {
			atomic_fetch_add(&h->refs, 1);
			ahead_add(&h->work);
		}
		r = arm_batch(p, batch, protect_beside);
	}
	left = end_help(h);
	return r ? r : left;
}

int arm_whole(const struct clone_pair *p)
{
	if (p->parent->page_shift != PAGE_SHIFT ||
	    p->parent->nr_pages < (uint64_t)HELP_FROM * 2 * (ARM_BATCH_BYTES >> PAGE_SHIFT))
		return arm_range(p, (struct page_range){ 0, p->parent->nr_pages });
	return arm_together(p);
}
