/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead - a fixed set of jobs, run by a few work threads
 *
 * Locking     jobs_lock (leaf) for lists and the flags begun, taken, waited.
 */
#include "mm/space/ahead.h"

#include <errno.h>

#include "base/heartbeat.h"
#include "base/workqueue.h"
#include "mm/space/cow.h"
#include "mm/space/fault.h"
#include "mm/space/mapping.h"
#include "mm/space/shown.h"
#include "mm/space/waiter.h"
#include "os/os.h"

/* c: fixed while in use   j: jobs_lock */
struct job {
	struct work work;
	struct list_head link;     /* (j) free or busy list */
	struct mm *mm;             /* (c) */
	struct mm_target target;   /* (c) */
	struct page_range range;   /* (c) */
	bool begun, taken, waited; /* (j) */
};

enum { SWAPPED_BLOCKS = 4 };

static struct workqueue queue;
static struct mutex jobs_lock;
static struct job jobs[AHEAD_JOBS];
static struct list_head free_jobs = LIST_HEAD_INIT(free_jobs); /* jobs_lock */
static struct list_head busy_jobs = LIST_HEAD_INIT(busy_jobs); /* jobs_lock */

static void give_job(struct job *job)
{
	mutex_lock(&jobs_lock);
	list_del(&job->link);
	list_add(&job->link, &free_jobs);
	mutex_unlock(&jobs_lock);
}

static struct job *take_job(const struct job *model)
{
	struct job *job = NULL;

	mutex_lock(&jobs_lock);
	if (!list_empty(&free_jobs)) {
		job = list_first_entry(&free_jobs, struct job, link);
		list_del(&job->link);
		job->mm = model->mm;
		job->target = model->target;
		job->range = model->range;
		job->begun = job->taken = job->waited = false;
		list_add_tail(&job->link, &busy_jobs);
	}
	mutex_unlock(&jobs_lock);
	return job;
}

enum ahead_state ahead_claim(const struct mm *mm, const struct mm_target *target)
{
	enum ahead_state state = AHEAD_NONE;
	struct job *job;

	mutex_lock(&jobs_lock);
	list_for_each_entry(job, &busy_jobs, link) {
		/* A job of another window of the region would wake nobody in this one. */
		if (job->mm != mm || job->target.region != target->region ||
		    job->target.base != target->base || job->taken ||
		    target->page < job->range.first ||
		    target->page >= job->range.first + job->range.nr)
			continue;
		if (job->begun)
			job->waited = true;
		else
			job->taken = true;
		state = job->begun ? AHEAD_BEGUN : AHEAD_TAKEN;
		break;
	}
	mutex_unlock(&jobs_lock);
	return state;
}

static bool begin(struct job *job)
{
	mutex_lock(&jobs_lock);
	job->begun = !job->taken;
	mutex_unlock(&jobs_lock);
	return job->begun;
}

static void wake(struct job *job)
{
	unsigned int shift = job->target.region->page_shift;

	os->uffd_wake(job->mm->uffd, job->target.base + (job->range.first << shift),
		      job->range.nr << shift);
}

/* Nobody finds the job any more; wakes who found it while it ran. */
static void finish(struct job *job)
{
	bool waited;

	mutex_lock(&jobs_lock);
	list_del(&job->link);
	waited = job->waited;
	mutex_unlock(&jobs_lock);
	if (waited)
		wake(job);
}

static void end_job(struct job *job)
{
	finish(job);
	region_put(job->target.region);
	mm_put(job->mm);
	give_job(job);
}

/* A7. Of what is promised beyond what there is, the last is left to who touches it. */
static bool may_go_on(const struct region *region)
{
	uint64_t keep = 2 * ahead_block_pages(region) * region_frames_per_page(region);

	return !memcg_excess(region->memcg) &&
	       (!region->overcommit || memcg_margin(region->memcg) >= keep);
}

/* Produces the block; returns how many pages it made. */
static uint64_t produce_block(struct job *job)
{
	struct region *region = job->target.region;
	struct page_range rest = job->range;
	struct page_range run;
	uint64_t before = atomic_load(&region->nr_resident);
	uint64_t after;
	int r = 0;

	while (rest.nr && !r && may_go_on(region)) {
		uint64_t end;

		r = region_make_present(region, rest, rest.first, &run);
		end = run.first + run.nr;
		if (r || end <= rest.first)
			break;
		rest.nr -= min_t(uint64_t, rest.nr, end - rest.first);
		rest.first = end;
	}
	after = atomic_load(&region->nr_resident);
	return after > before ? after - before : 0;
}

/* Maps all of the block but its first page (A1). */
static void map_block(struct job *job)
{
	struct page_range rest = job->range;
	struct page_range run;
	uint64_t done;

	while (rest.nr && may_go_on(job->target.region) &&
	       !region_make_present(job->target.region, rest, rest.first, &run)) {
		uint64_t end = run.first + run.nr;

		if (run.first <= job->range.first) {
			run.nr -= job->range.first + 1 - run.first;
			run.first = job->range.first + 1;
		}
		if (run.nr)
			map_run(job->mm, &job->target, run, &done);
		rest.nr -= min_t(uint64_t, rest.nr, end - rest.first);
		rest.first = end;
	}
}

/* The same of what is an ancestor's. */
static void show_block(struct job *job)
{
	struct page_range rest = { job->range.first + 1, job->range.nr - 1 };

	shown_ahead(job->mm, &job->target, rest);
}

static void do_job(struct job *job)
{
	bool own = job->target.shown == job->target.region->section->id;
	unsigned int turn;

	if (own)
		atomic_fetch_add_explicit(&fault_stats.nr_ahead, produce_block(job),
					  memory_order_relaxed);
	if (!map_late_begin(job->mm, &job->target, job->range, &turn))
		return;
	if (own)
		map_block(job);
	else
		show_block(job);
	map_late_end(job->mm, turn);
}

static void run_job(struct work *work)
{
	struct job *job = container_of(work, struct job, work);

	if (begin(job))
		do_job(job);
	end_job(job);
}

static void run_break(struct work *work)
{
	struct region *region = container_of(work, struct region, break_work);
	uint64_t at = region->break_from, until = atomic_load(&region->break_until), done = 1;
	uint64_t most = BREAK_AHEAD_BYTES >> region->page_shift;

	/* A streak elsewhere begins a job of its own. */
	for (; done && may_go_on(region) && at < until && until - at <= most;
	     until = atomic_load(&region->break_until)) {
		heartbeat_touch();
		done = cow_break_ahead(region, (struct page_range){ at, until - at });
		at += done;
	}
	atomic_store(&region->breaking, false);
	region_put(region);
}

void ahead_break(const struct mm_target *t, uint64_t streak)
{
	struct region *region = t->region;
	uint64_t at = t->page;
	uint64_t end = min_t(uint64_t, at + (BREAK_AHEAD_BYTES >> region->page_shift), t->end);

	if (streak < BREAK_AHEAD_FROM || !atomic_load(&region->nr_shared))
		return;
	atomic_store(&region->break_until, end);
	while (at < end && !(word_load(&region->words[at]) & WORD_SHARED))
		at++;
	if (at == end || atomic_exchange(&region->breaking, true))
		return;
	region_get(region);
	region->break_from = at;
	work_init(&region->break_work, run_break);
	workqueue_add(&queue, &region->break_work);
}

void ahead_add(struct work *work)
{
	workqueue_add(&queue, work);
}

int ahead_init(unsigned int nr_threads)
{
	mutex_init(&jobs_lock, RANK_LEAF, "ahead jobs");
	list_init(&free_jobs);
	list_init(&busy_jobs);
	for (int i = 0; i < AHEAD_JOBS; i++) {
		list_init(&jobs[i].link);
		give_job(&jobs[i]);
	}
	/* The other half is for the lanes, which work on the blocks between (A5). */
	return workqueue_init(&queue, "mmb-ahead", nr_threads > 1 ? nr_threads / 2 : 1);
}

void ahead_fini(void)
{
	workqueue_fini(&queue);
	mutex_fini(&jobs_lock);
}

/* A6. As if the block's first page had been touched. */
static bool left_to_waiters(struct mm *mm, const struct mm_target *target, struct page_range range)
{
	struct region *region = target->region;
	struct waiting_fault fault = { .mm = mm, .target = *target, .hint.around = range.nr };

	if (word_state(word_load(region_word(region, range.first))) != PAGE_SWAPPED)
		return false;
	fault.target.page = range.first;
	fault.event.address = target->base + (range.first << region->page_shift);
	fault.first_ns = os->now_ns();
	region_get(region);
	if (!waiters_add(&fault))
		region_put(region);
	return true;
}

void ahead_start(struct mm *mm, const struct mm_target *target, struct page_range range)
{
	uint64_t per_block = ahead_block_pages(target->region);
	unsigned int nr_swapped = 0;

	while (range.nr) {
		struct job want = { .mm = mm, .target = *target, .range = range };
		struct job *job;

		want.range.nr = min_t(uint64_t, range.nr,
				      round_up(range.first + 1, per_block) - range.first);
		range.first += want.range.nr;
		range.nr -= want.range.nr;
		if (left_to_waiters(mm, target, want.range)) {
			if (++nr_swapped == SWAPPED_BLOCKS)
				return;
			continue;
		}
		if (!ahead_is_for_job(target->region, want.range.first))
			continue;
		if (!mm_get(mm))
			return;
		job = take_job(&want);
		if (!job) {
			mm_put(mm);
			return;
		}
		region_get(target->region);
		work_init(&job->work, run_job);
		workqueue_add(&queue, &job->work);
	}
}
