/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_uffd - userfaultfds of pretended clients
 *
 * Purpose     A client is a list of windows with one state a page, and a queue of events.
 * Locking     fake_lock.
 * Not here    The files that the windows show (fake_os.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/inject.h"
#include "base/list.h"
#include "lib/fake_os_internal.h"

struct page_state {
	bool     mapped, protected, poisoned;
	uint32_t nr_wakes;
};

struct window {
	struct list_head        link;
	uint64_t                address, length, offset;
	const struct fake_file *file;
	struct page_state      *pages;
};

struct event {
	struct list_head     link;
	struct os_uffd_event what;
};

struct client {
	struct list_head link;
	struct list_head windows, events;
	int              fd, error;
};

static struct list_head clients = LIST_HEAD_INIT(clients);
static bool             poison_supported = true;

static struct client *client_of(int uffd)
{
	struct client *c;

	list_for_each_entry(c, &clients, link)
		if (c->fd == uffd)
			return c;
	return NULL;
}

static struct client *must_find(int uffd)
{
	struct client *c = client_of(uffd);

	CHECK(c);
	return c;
}

static struct window *window_at(struct client *c, uint64_t address)
{
	struct window *w;

	list_for_each_entry(w, &c->windows, link)
		if (address >= w->address && address < w->address + w->length)
			return w;
	return NULL;
}

static struct page_state *state_at(struct client *c, uint64_t address)
{
	struct window *w = window_at(c, address);

	return w ? &w->pages[(address - w->address) / w->file->page] : NULL;
}

static void window_free(struct window *w)
{
	list_del(&w->link);
	free(w->pages);
	free(w);
}

/* ---- hooks of fake_os.c ---- */

static void forget_entry(struct page_state *p)
{
	p->mapped = false;
	p->protected = false;
}

void fake_uffd_forget_pages(const struct fake_file *file, uint64_t offset, uint64_t length)
{
	struct client *c;
	struct window *w;

	list_for_each_entry(c, &clients, link) {
		list_for_each_entry(w, &c->windows, link) {
			uint64_t low = offset > w->offset ? offset : w->offset;
			uint64_t high = min_t(uint64_t, offset + length, w->offset + w->length);

			/* A poison mark isn't the page's, and outlives it. */
			for (; w->file == file && low < high; low += file->page)
				forget_entry(&w->pages[(low - w->offset) / file->page]);
		}
	}
}

void fake_uffd_forget_file(const struct fake_file *file)
{
	struct client *c;
	struct window *w, *next;

	list_for_each_entry(c, &clients, link)
		list_for_each_entry_safe(w, next, &c->windows, link)
			if (w->file == file)
				window_free(w);
}

static void client_free(struct client *c)
{
	struct window *w, *next_window;
	struct event  *e, *next_event;

	list_for_each_entry_safe(w, next_window, &c->windows, link)
		window_free(w);
	list_for_each_entry_safe(e, next_event, &c->events, link) {
		list_del(&e->link);
		free(e);
	}
	list_del(&c->link);
	free(c);
}

void fake_uffd_forget(int uffd)
{
	struct client *c = client_of(uffd);

	if (c)
		client_free(c);
}

void fake_uffd_reset(void)
{
	struct client *c, *next;

	list_for_each_entry_safe(c, next, &clients, link) {
		close(c->fd);
		client_free(c);
	}
	poison_supported = true;
}

/* ---- the entries of the table ---- */

/* The common prologue: 0, or why the client can't be served. */
static int serve(struct client *c, uint64_t address, uint64_t length)
{
	if (!c)
		return -EBADF;
	if (c->error)
		return c->error;
	return length && is_aligned(address | length, PAGE_SIZE) ? 0 : -EINVAL;
}

static int continue_page(struct client *c, uint64_t address, uint64_t left, bool protected,
			 uint64_t *step)
{
	struct window     *w = window_at(c, address);
	struct page_state *p;

	if (!w)
		return -ENOENT;
	*step = w->file->page;
	if (!is_aligned(address - w->address, *step) || left < *step)
		return -EINVAL;
	p = state_at(c, address);
	if (!p->mapped && !p->poisoned) {
		if (!fake_page_present(w->file, w->offset + (address - w->address)))
			return -EFAULT;
		p->mapped = true;
		p->protected = protected;
	}
	p->nr_wakes++;
	return 0;
}

static struct os_range_result continue_range(int uffd, uint64_t address, uint64_t length,
					     bool protected)
{
	struct os_range_result result = { .error = INJECT(UFFD_CONTINUE) };
	struct client         *c;
	uint64_t               step;

	if (result.error)
		return result;
	pthread_mutex_lock(&fake_lock);
	fake_calls.uffd_continue++;
	c = client_of(uffd);
	result.error = serve(c, address, length);
	while (!result.error && result.done < length) {
		result.error = continue_page(c, address + result.done, length - result.done,
					     protected, &step);
		if (!result.error)
			result.done += step;
	}
	pthread_mutex_unlock(&fake_lock);
	return result;
}

struct os_range_result fake_uffd_continue(int uffd, uint64_t address, uint64_t length)
{
	return continue_range(uffd, address, length, false);
}

struct os_range_result fake_uffd_continue_protected(int uffd, uint64_t address, uint64_t length)
{
	return continue_range(uffd, address, length, true);
}

/* By windows: the range may be everything. */
static void wake_pages(struct client *c, uint64_t address, uint64_t length)
{
	struct window *w;

	list_for_each_entry(w, &c->windows, link)
		for (uint64_t at = w->address; at < w->address + w->length; at += w->file->page)
			if (at + w->file->page > address && at < address + length)
				w->pages[(at - w->address) / w->file->page].nr_wakes++;
}

int fake_uffd_wake(int uffd, uint64_t address, uint64_t length)
{
	struct client *c;
	int            error = INJECT(UFFD_WAKE);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.uffd_wake++;
	c = client_of(uffd);
	error = c && c->error == -ESRCH ? 0 : serve(c, address, length); /* as the kernel */
	if (!error)
		wake_pages(c, address, length);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

static int poison(int uffd, uint64_t address, uint64_t length, bool lift)
{
	struct page_state *p;
	struct client     *c;
	int                error = INJECT(UFFD_POISON);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.uffd_poison++;
	c = client_of(uffd);
	error = poison_supported ? serve(c, address, length) : -EOPNOTSUPP;
	for (uint64_t at = address; !error && at < address + length; at += PAGE_SIZE) {
		p = state_at(c, at);
		if (!p) {
			error = -ENOENT;
			break;
		}
		p->poisoned = p->poisoned || (!p->mapped && (lift || !p->protected));
		p->protected = p->protected && !lift;
		p->nr_wakes++;
	}
	pthread_mutex_unlock(&fake_lock);
	return error;
}

int fake_uffd_poison(int uffd, uint64_t address, uint64_t length)
{
	return poison(uffd, address, length, true);
}

int fake_uffd_poison_absent(int uffd, uint64_t address, uint64_t length)
{
	return poison(uffd, address, length, false);
}

/* Entries that aren't there stay so; the kernel remembers them as protected until they are made. */
static int set_protected(int uffd, uint64_t address, uint64_t length, bool protected)
{
	int error = serve(client_of(uffd), address, length);

	for (uint64_t at = address; !error && at < address + length; at += PAGE_SIZE) {
		struct page_state *p = state_at(client_of(uffd), at);

		if (!p)
			return -ENOENT;
		p->protected = p->mapped && protected;
		p->nr_wakes += !protected;
	}
	return error;
}

int fake_uffd_protect(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_PROTECT);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.uffd_protect++;
	error = set_protected(uffd, address, length, true);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

int fake_uffd_unprotect(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_UNPROTECT);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.uffd_unprotect++;
	error = set_protected(uffd, address, length, false);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

int fake_uffd_read(int uffd, struct os_uffd_event *events, int most)
{
	struct client *c;
	uint64_t       nr_posted;
	int            nr = 0;

	pthread_mutex_lock(&fake_lock);
	fake_calls.uffd_read++;
	c = client_of(uffd);
	while (c && nr < most && !list_empty(&c->events)) {
		struct event *e = list_first_entry(&c->events, struct event, link);

		events[nr++] = e->what;
		list_del(&e->link);
		free(e);
	}
	if (c && nr && list_empty(&c->events))
		CHECK(eventfd_read(uffd, &nr_posted) == 0);
	pthread_mutex_unlock(&fake_lock);
	return c ? nr : -EBADF;
}

/* ---- the test's side ---- */

int fake_uffd_new(void)
{
	struct client *c = calloc(1, sizeof(*c));
	int            fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	CHECK(c && fd >= 0);
	c->fd = fd;
	list_init(&c->windows);
	list_init(&c->events);
	pthread_mutex_lock(&fake_lock);
	list_add(&c->link, &clients);
	pthread_mutex_unlock(&fake_lock);
	return fd;
}

void fake_uffd_post(int uffd, const struct os_uffd_event *event)
{
	struct event *e = calloc(1, sizeof(*e));

	CHECK(e);
	e->what = *event;
	pthread_mutex_lock(&fake_lock);
	list_add_tail(&e->link, &must_find(uffd)->events);
	CHECK(eventfd_write(uffd, 1) == 0);
	pthread_mutex_unlock(&fake_lock);
}

void fake_uffd_window(int uffd, uint64_t address, uint64_t length, int fd, uint64_t offset)
{
	struct window *w = calloc(1, sizeof(*w));

	CHECK(w);
	pthread_mutex_lock(&fake_lock);
	*w = (struct window){
		.address = address, .length = length, .offset = offset, .file = fake_file_of(fd),
	};
	CHECK(w->file && is_aligned(address | length | offset, w->file->page));
	w->pages = calloc(length / w->file->page, sizeof(*w->pages));
	CHECK(w->pages);
	list_add(&w->link, &must_find(uffd)->windows);
	pthread_mutex_unlock(&fake_lock);
}

void fake_uffd_unmap(int uffd, uint64_t address, uint64_t length)
{
	struct window *w, *next;

	pthread_mutex_lock(&fake_lock);
	list_for_each_entry_safe(w, next, &must_find(uffd)->windows, link)
		if (w->address >= address && w->address + w->length <= address + length)
			window_free(w);
	pthread_mutex_unlock(&fake_lock);
}

void fake_uffd_set_error(int uffd, int error)
{
	pthread_mutex_lock(&fake_lock);
	must_find(uffd)->error = error;
	pthread_mutex_unlock(&fake_lock);
}

void fake_uffd_zap(int uffd, uint64_t address, uint64_t length)
{
	pthread_mutex_lock(&fake_lock);
	for (uint64_t at = address; at < address + length; at += PAGE_SIZE) {
		struct page_state *p = state_at(must_find(uffd), at);

		if (p)
			p->mapped = p->protected = p->poisoned = false;
	}
	pthread_mutex_unlock(&fake_lock);
}

/* A copy of the page's state; all false outside the windows. */
static struct page_state snapshot(int uffd, uint64_t address)
{
	struct page_state copy = { 0 }, *p;

	pthread_mutex_lock(&fake_lock);
	p = state_at(must_find(uffd), address);
	if (p)
		copy = *p;
	pthread_mutex_unlock(&fake_lock);
	return copy;
}

bool fake_uffd_mapped(int uffd, uint64_t address)
{
	return snapshot(uffd, address).mapped;
}

bool fake_uffd_protected(int uffd, uint64_t address)
{
	return snapshot(uffd, address).protected;
}

bool fake_uffd_poisoned(int uffd, uint64_t address)
{
	return snapshot(uffd, address).poisoned;
}

uint64_t fake_uffd_wakes(int uffd, uint64_t address)
{
	return snapshot(uffd, address).nr_wakes;
}

void fake_uffd_close(int uffd)
{
	pthread_mutex_lock(&fake_lock);
	client_free(must_find(uffd));
	close(uffd);
	pthread_mutex_unlock(&fake_lock);
}

void fake_os_set_poison(bool supported)
{
	pthread_mutex_lock(&fake_lock);
	poison_supported = supported;
	pthread_mutex_unlock(&fake_lock);
}
