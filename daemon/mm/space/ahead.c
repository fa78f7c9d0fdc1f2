/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/space/ahead.h"

#include <errno.h>

#include "base/workqueue.h"
#include "mm/space/fault.h"
#include "os/os.h"

/* c: fixed while queued   q: jobs_lock */
struct job {
	struct work      work;
	struct mm       *mm;     /* (c) */
	struct mm_target target; /* (c) */
	struct page_range range; /* (c) */
	struct job      *next;   /* (q) free list */
};

static struct workqueue queue;
static struct mutex jobs_lock;
static struct job jobs[AHEAD_JOBS];
static struct job *free_jobs;

static void give_job(struct job *job)
{
	mutex_lock(&jobs_lock);
	job->next = free_jobs;
	free_jobs = job;
	mutex_unlock(&jobs_lock);
}

static struct job *take_job(void)
{
	struct job *job;

	mutex_lock(&jobs_lock);
	job = free_jobs;
	if (job)
		free_jobs = job->next;
	mutex_unlock(&jobs_lock);
	return job;
}

int map_run(struct mm *mm, const struct mm_target *target, struct page_range run, uint64_t *done)
{
	unsigned int           shift = target->region->page_shift;
	struct os_range_result r;

	r = os->uffd_continue(mm->uffd, target->base + (run.first << shift), run.nr << shift);
	*done = r.done >> shift;
	return r.error;
}

/* Produces the block, and maps all of it but its first page (A1). A first page that is there says
 * that the client has overtaken this job, unless all of it is only to be mapped. */
static void run_job(struct work *work)
{
	struct job      *job = container_of(work, struct job, work);
	struct page_range rest = job->range;
	struct page_range run;
	uint64_t          done;

	while (rest.nr && !region_make_present(job->target.region, rest, rest.first, &run)) {
		uint64_t end = run.first + run.nr;

		atomic_fetch_add_explicit(&fault_stats.nr_ahead, run.nr, memory_order_relaxed);
		if (run.first <= job->range.first) {
			run.nr -= job->range.first + 1 - run.first;
			run.first = job->range.first + 1;
		}
		if (run.nr)
			map_run(job->mm, &job->target, run, &done);
		rest.nr -= min_t(uint64_t, rest.nr, end - rest.first);
		rest.first = end;
	}
	region_put(job->target.region);
	mm_put(job->mm);
	give_job(job);
}

int ahead_init(unsigned int nr_threads)
{
	mutex_init(&jobs_lock, RANK_LEAF, "ahead jobs");
	free_jobs = NULL;
	for (int i = 0; i < AHEAD_JOBS; i++) {
		work_init(&jobs[i].work, run_job);
		give_job(&jobs[i]);
	}
	return workqueue_init(&queue, "mmb-ahead", nr_threads);
}

void ahead_fini(void)
{
	workqueue_fini(&queue);
	mutex_fini(&jobs_lock);
}

void ahead_start(struct mm *mm, const struct mm_target *target, struct page_range range)
{
	uint64_t per_block = ahead_block_pages(target->region);

	while (range.nr) {
		uint64_t    nr = min_t(uint64_t, range.nr,
				       round_up(range.first + 1, per_block) - range.first);
		struct job *job = take_job();

		if (!job)
			return;
		if (!mm_get(mm)) {
			give_job(job);
			return;
		}
		region_get(target->region);
		job->mm = mm;
		job->target = *target;
		job->range = (struct page_range){ range.first, nr };
		workqueue_add(&queue, &job->work);
		range.first += nr;
		range.nr -= nr;
	}
}
