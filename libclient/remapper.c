/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remapper - a queue, its thread, and the end of both
 */
#include "remapper.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "connection.h"
#include "small_thread.h"
#include "window.h"

enum { REST_NS = 1000 * 1000 };

/* ---- the thread ---- */

static bool overlap(const struct window *w, const struct remap_want *want)
{
	return want->address < w->address + w->length && w->address < want->address + want->length;
}

/* The window of the handle, pinned, unless another one has come to be where the part is wanted. */
static const struct window *pin(struct mmb *mmb, const struct remap_want *want)
{
	const struct window *w, *found = NULL;
	bool taken = false;

	pthread_mutex_lock(&mmb->lock);
	LIST_FOREACH(w, &mmb->windows, link) {
		if (w->handle == want->handle)
			found = w;
		else
			taken |= overlap(w, want);
	}
	if (taken)
		found = NULL;
	mmb->remapper.pinned = found;
	pthread_mutex_unlock(&mmb->lock);
	return found;
}

static void unpin(struct mmb *mmb)
{
	pthread_mutex_lock(&mmb->lock);
	mmb->remapper.pinned = NULL;
	pthread_cond_broadcast(&mmb->remapper.unpinned);
	pthread_mutex_unlock(&mmb->lock);
}

static int remap(struct mmb *mmb, const struct remap_want *want)
{
	const struct window_part part = { want->address, want->offset, want->length };
	const struct window *w = pin(mmb, want);
	int error = -ENOENT;

	if (w)
		error = window_remap(w, &mmb->uffd, &part);
	unpin(mmb);
	return error;
}

/* False: the session is over. */
static bool next(struct remapper *r, struct remap_want *out)
{
	bool over;

	pthread_mutex_lock(&r->lock);
	while (!r->nr && !r->over)
		pthread_cond_wait(&r->wanted, &r->lock);
	over = r->over;
	if (over) {
		r->gone = true;
	} else {
		*out = r->queue[r->first];
		r->first = (r->first + 1) % REMAPPER_QUEUE;
		r->nr--;
	}
	pthread_mutex_unlock(&r->lock);
	return !over;
}

static void *remapper_main(void *arg)
{
	struct mmb *mmb = arg;
	struct remap_want want;

	pthread_setname_np(pthread_self(), "mmb-remapper");
	while (next(&mmb->remapper, &want))
		pager_acknowledge(&mmb->pager, MMB_UPCALL_REMAP, want.id, remap(mmb, &want));
	return NULL;
}

/* ---- for the pager ---- */

int remapper_add(struct mmb *mmb, const struct remap_want *want)
{
	struct remapper *r = &mmb->remapper;
	int error = 0;

	pthread_mutex_lock(&r->lock);
	if (r->over)
		error = -ENOTCONN;
	else if (r->nr == REMAPPER_QUEUE)
		error = -EAGAIN; /* the daemon asks again */
	else if (!r->started)
		error = small_thread_start(&r->thread, remapper_main, mmb);
	if (!error) {
		r->started = true;
		r->queue[(r->first + r->nr++) % REMAPPER_QUEUE] = *want;
		pthread_cond_signal(&r->wanted);
	}
	pthread_mutex_unlock(&r->lock);
	return error;
}

static bool is_back(struct remapper *r)
{
	bool back;

	pthread_mutex_lock(&r->lock);
	back = r->gone || !r->started;
	pthread_mutex_unlock(&r->lock);
	return back;
}

void remapper_end(struct mmb *mmb)
{
	const struct timespec rest = { .tv_nsec = REST_NS };
	struct remapper *r = &mmb->remapper;
	bool started;

	pthread_mutex_lock(&r->lock);
	r->over = true;
	r->nr = 0;
	started = r->started;
	pthread_cond_signal(&r->wanted);
	pthread_mutex_unlock(&r->lock);
	while (!is_back(r)) {
		uffd_drain(&mmb->uffd);
		nanosleep(&rest, NULL);
	}
	if (started)
		pthread_join(r->thread, NULL);
}

void remapper_wait(struct mmb *mmb, const struct window *w)
{
	while (mmb->remapper.pinned == w)
		pthread_cond_wait(&mmb->remapper.unpinned, &mmb->lock);
}

void remapper_init(struct remapper *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wanted, NULL);
	pthread_cond_init(&r->unpinned, NULL);
}

void remapper_fini(struct remapper *r)
{
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->wanted);
	pthread_cond_destroy(&r->unpinned);
}
