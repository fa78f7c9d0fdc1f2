/* SPDX-License-Identifier: Apache-2.0 */
/* touch - see touch.h */
#include "lib/touch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/place.h"
#include "lib/random.h"
#include "lib/stats.h"

struct toucher {
	const struct touch *t;
	pthread_barrier_t  *start;
	uint32_t           *order; /* pages to touch, in this order; sequential: unused */
	uint64_t           *ns;    /* random: what each touch took */
	char               *page;  /* of a file: what was read last */
	bool                short_read;
	uint32_t            first, nr, place;
	uint64_t            began, ended;
	pthread_t           thread;
};

static void touch_page(struct toucher *me, uint32_t page, uint32_t value)
{
	const struct touch *t = me->t;
	off_t offset = (off_t)(page * t->page);
	volatile uint64_t *word = (uint64_t *)(void *)(t->base + page * t->page);

	if (t->file != 0)
		me->short_read |= pread(t->file, me->page, t->page, offset) != (ssize_t)t->page;
	else if (t->reads)
		(void)*word;
	else
		*word = value;
}

static void touch_random(struct toucher *me)
{
	const struct touch *t = me->t;
	uint64_t before = clock_ns();

	for (uint32_t i = me->first; i < me->first + me->nr; i++) {
		uint64_t after;

		touch_page(me, me->order[i], i + 1);
		after = clock_ns();
		me->ns[i] = after - before;
		if (t->pause_us != 0)
			clock_sleep_until(after + t->pause_us * 1000ull);
		before = t->pause_us ? clock_ns() : after;
	}
}

static void touch_sequential(struct toucher *me)
{
	for (uint32_t i = me->first; i < me->first + me->nr; i++)
		touch_page(me, i, i + 1);
}

static void *toucher_main(void *arg)
{
	struct toucher *me = arg;

	place_self((int)me->place);
	pthread_barrier_wait(me->start);
	me->began = clock_ns();
	if (me->t->random)
		touch_random(me);
	else
		touch_sequential(me);
	me->ended = clock_ns();
	return NULL;
}

static int run_threads(struct toucher *all, unsigned int nr)
{
	unsigned int started = 1;
	int error = 0;

	for (; started < nr && error == 0; started++)
		error = -pthread_create(&all[started].thread, NULL, toucher_main, &all[started]);
	if (error != 0) /* the others wait at the barrier: end with the process */
		return bench_because(error, "can't start %u threads", nr);
	toucher_main(&all[0]);
	for (unsigned int i = 1; i < nr; i++)
		pthread_join(all[i].thread, NULL);
	return 0;
}

static void figures(const struct toucher *all, const struct touch *t, struct sample *out)
{
	uint32_t touches = t->random ? t->touches : t->pages;
	uint64_t began = all[0].began, ended = all[0].ended;

	for (unsigned int i = 1; i < t->threads; i++) {
		began = all[i].began < began ? all[i].began : began;
		ended = all[i].ended > ended ? all[i].ended : ended;
	}
	out->v[TOUCH_RATE] = touches * 1e9 / (double)(ended - began);
	out->v[TOUCH_PAGE] = (double)(ended - began) / touches;
	if (!t->random)
		return;
	stats_sort(all[0].ns, touches);
	out->v[TOUCH_P50] = (double)stats_permille(all[0].ns, touches, 500);
	out->v[TOUCH_P99] = (double)stats_permille(all[0].ns, touches, 990);
}

/* A page a thread, of a file's. */
static char *make_pages(const struct touch *t)
{
	char *pages = mmap(NULL, t->threads * t->page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return pages != MAP_FAILED ? pages : NULL;
}

static int check_reads(const struct toucher *all, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (all[i].short_read)
			return bench_because(-EIO, "a direct read failed");
	return 0;
}

int touch_run(const struct touch *t, struct sample *out)
{
	struct toucher all[TOUCH_THREADS_MAX];
	char *pages = t->file != 0 ? make_pages(t) : NULL;
	uint32_t *order = calloc(t->pages, sizeof(*order));
	uint64_t *ns = calloc(t->pages, sizeof(*ns));
	uint32_t touches = t->random ? t->touches : t->pages, share = touches / t->threads;
	pthread_barrier_t start;
	uint64_t state = t->seed;
	int error = -ENOMEM;

	if (order == NULL || ns == NULL || (t->file != 0 && pages == NULL))
		goto out;
	random_permutation(&state, order, t->pages);
	memset(ns, 1, t->pages * sizeof(*ns)); /* our own first touches come before the clock */
	pthread_barrier_init(&start, NULL, t->threads);
	for (unsigned int i = 0; i < t->threads; i++)
		all[i] = (struct toucher){ .t = t, .start = &start, .order = order, .ns = ns,
					   .page = pages ? pages + i * t->page : NULL,
					   .first = i * share, .nr = share, .place = i };
	all[t->threads - 1].nr = touches - all[t->threads - 1].first;
	error = run_threads(all, t->threads);
	if (error == 0)
		error = check_reads(all, t->threads);
	if (error == 0)
		figures(all, t, out);
	pthread_barrier_destroy(&start);
out:
	if (pages != NULL)
		munmap(pages, t->threads * t->page);
	free(ns);
	free(order);
	return error;
}
