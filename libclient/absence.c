/* SPDX-License-Identifier: Apache-2.0 */
/*
 * absence - questions to the broker, and faults that nobody else answers
 *
 * Purpose     See absence.h.
 */
#include "absence.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "connection.h"
#include "proto/uffd_compat.h"

enum {
	ROUNDS = 4,
	LOOK_MAX_MS = 10000,
	REST_MS = 20,
	WAKE_MS = 1000,
	EVENTS = 16,
	SMALL_PAGE = 4096,
	ARENA_PAGE = 2 << 20,
};

static uint64_t round_ms(const struct mmb *mmb)
{
	return mmb->daemon_timeout_ms / ROUNDS + 1;
}

uint64_t absence_look_ms(const struct mmb *mmb)
{
	if (!mmb->daemon_timeout_ms)
		return 0;
	return round_ms(mmb) < LOOK_MAX_MS ? round_ms(mmb) : LOOK_MAX_MS;
}

/* A refusal is an answer, too. */
static enum absence ask_once(struct mmb *mmb)
{
	int error;
	struct call *c = call_get(mmb, &error);
	bool answered;

	if (!c)
		return error == -ENOMEM ? ABSENCE_NOT : ABSENCE_UNKNOWN;
	c->timeout_ms = round_ms(mmb);
	error = call_run(mmb, c, MMB_METHOD_PING, NULL);
	answered = c->done;
	call_put(mmb, c);
	if (answered)
		return ABSENCE_NOT;
	return error == -ETIMEDOUT ? ABSENCE_SILENT : ABSENCE_UNKNOWN;
}

enum absence absence_ask(struct mmb *mmb)
{
	enum absence is = ABSENCE_SILENT;

	for (int i = 0; i < ROUNDS && is == ABSENCE_SILENT; i++)
		is = ask_once(mmb);
	return is;
}

bool absence_wait(struct mmb *mmb)
{
	const struct timespec rest = { .tv_nsec = REST_MS * 1000 * 1000 };
	uint64_t until = call_deadline(mmb->daemon_timeout_ms);

	while (call_left_ms(until) && !pager_is_stopped(&mmb->pager))
		nanosleep(&rest, NULL);
	return mmb->daemon_timeout_ms && !pager_is_stopped(&mmb->pager);
}

/* ---- faults ---- */

static struct window *find_window(struct mmb *mmb, uint64_t address)
{
	struct window *w;

	LIST_FOREACH(w, &mmb->windows, link)
		if (window_contains(w, address, 1))
			return w;
	return NULL;
}

/* Before Linux 6.6 a page can't be poisoned: then it is the process that ends. */
static void refuse_page(struct mmb *mmb, uint64_t address, bool protected)
{
	struct window *w;
	uint64_t page, start;
	int error;

	pthread_mutex_lock(&mmb->lock);
	w = find_window(mmb, address);
	page = w ? w->page : SMALL_PAGE;
	start = address & ~(page - 1);
	if (w && protected)
		window_drop(w, start - w->address, page); /* what is mapped can't be poisoned */
	error = uffd_poison(&mmb->uffd, start, page, page);
	if (error == -EINVAL && !w) { /* an arena of huge pages */
		page = ARENA_PAGE;
		start = address & ~(page - 1);
		error = uffd_poison(&mmb->uffd, start, page, page);
	}
	uffd_wake(&mmb->uffd, start, page);
	pthread_mutex_unlock(&mmb->lock);
	if (error == -EINVAL)
		kill(getpid(), SIGBUS);
}

static void answer_faults(struct mmb *mmb)
{
	struct uffd_msg events[EVENTS];
	ssize_t got = read(mmb->uffd.fd, events, sizeof(events));

	for (ssize_t i = 0; i < got / (ssize_t)sizeof(events[0]); i++)
		if (events[i].event == UFFD_EVENT_PAGEFAULT)
			refuse_page(mmb, events[i].arg.pagefault.address,
				    events[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
}

/* What a broker has read and not answered is reported again. */
static void wake_all(struct mmb *mmb)
{
	struct window *w;

	pthread_mutex_lock(&mmb->lock);
	LIST_FOREACH(w, &mmb->windows, link)
		uffd_wake(&mmb->uffd, w->address, w->length);
	pthread_mutex_unlock(&mmb->lock);
}

void absence_end(struct mmb *mmb)
{
	struct pollfd p = { .fd = mmb->uffd.fd, .events = POLLIN };
	char reason[ERROR_BYTES];
	uint64_t again;
	bool told = false;

	snprintf(reason, sizeof(reason), "the broker is gone for %llu ms (daemon_timeout_ms): this "
		 "session is over, memory that isn't mapped raises SIGBUS from now on",
		 (unsigned long long)mmb->daemon_timeout_ms);
	fprintf(stderr, "libmmbroker: %s\n", reason);
	channel_break(mmb, -ENOTCONN, reason);
	wake_all(mmb);
	again = call_now_ms() + WAKE_MS;
	while (!pager_is_stopped(&mmb->pager)) {
		/* A broker that dies as it comes takes along what it has read. */
		if (!call_left_ms(again)) {
			wake_all(mmb);
			again = call_now_ms() + WAKE_MS;
		}
		/* Who works in a heap may wait for the answer to a fault. */
		told = told || pager_tell(mmb);
		if (poll(&p, 1, REST_MS) > 0)
			answer_faults(mmb);
	}
}
