/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena - the arena windows of this process
 *
 * Purpose     See arena.h.
 */
#include "arena.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>

#include "connection.h"
#include "error.h"
#include "faultlog.h"
#include "process.h"
#include "window.h"

/* p: process lock, all of them */
struct arena_use {
	LIST_ENTRY(arena_use) link;     /* (p) */
	struct mmb           *mmb;      /* (p) */
	uint32_t              nr_pools; /* (p) open handles of this connection */
};
struct arena {
	LIST_ENTRY(arena)           link;   /* (p) */
	struct window               window; /* (p) */
	struct mmb                 *owner;  /* (p) A1; one of the users */
	LIST_HEAD(, arena_use)      uses;   /* (p) never empty */
	uint64_t                    left;   /* (p) when its last pool was closed, counted */
};
static LIST_HEAD(, arena) arenas = LIST_HEAD_INITIALIZER(arenas);

void arena_forget_all(void)
{
	LIST_INIT(&arenas);
}

static struct arena *find_overlap(uint64_t address, uint64_t length)
{
	struct arena *a;

	LIST_FOREACH(a, &arenas, link)
		if (address < a->window.address + a->window.length &&
		    a->window.address < address + length)
			return a;
	return NULL;
}

static struct arena_use *find_use(struct arena *a, const struct mmb *mmb)
{
	struct arena_use *use;

	LIST_FOREACH(use, &a->uses, link)
		if (use->mmb == mmb)
			return use;
	return NULL;
}

static int add_use(struct arena *a, struct mmb *mmb)
{
	struct arena_use *use = find_use(a, mmb);

	if (!use) {
		use = calloc(1, sizeof(*use));
		if (!use)
			return fail(-ENOMEM, "no memory to record an arena window");
		use->mmb = mmb;
		LIST_INSERT_HEAD(&a->uses, use, link);
	}
	use->nr_pools++;
	return 0;
}

static void destroy_arena(struct arena *a)
{
	struct arena_use *use;

	LIST_REMOVE(a, link);
	window_unmap(&a->window);
	uffd_wake(&a->owner->uffd, a->window.address, a->window.length);
	while ((use = LIST_FIRST(&a->uses))) {
		LIST_REMOVE(use, link);
		free(use);
	}
	free(a);
}

static bool is_stale(const struct arena *a)
{
	struct arena_use *use;

	LIST_FOREACH(use, &a->uses, link)
		if (use->nr_pools && !atomic_load(&use->mmb->closing))
			return false;
	return true;
}

static int create_arena(struct mmb *mmb, const struct arena_spec *spec)
{
	struct window_spec ws = {
		.base_fd = -1,
		.fd = spec->fd,
		.length = spec->length,
		.align = CLIENT_PAGE_SIZE,
		.preferred = spec->address,
		.exact = true,
		.ageless = spec->hugetlb,
		.open = __libc_single_threaded,
	};
	struct arena *a = calloc(1, sizeof(*a));
	int error;

	if (!a)
		return fail(-ENOMEM, "no memory to record an arena window");
	error = window_map(&a->window, &ws);
	if (error) {
		free(a);
		return error;
	}
	a->owner = mmb;
	LIST_INSERT_HEAD(&arenas, a, link);
	error = uffd_register(&mmb->uffd, spec->address, spec->length, UFFD_WATCH_ARENA);
	if (!error && !ws.open)
		error = window_allow(&a->window);
	if (!error)
		error = add_use(a, mmb);
	if (error)
		destroy_arena(a);
	return error;
}

static int map_locked(struct mmb *mmb, const struct arena_spec *spec)
{
	struct arena *a;
	struct stat st;

	while ((a = find_overlap(spec->address, spec->length))) {
		if (fstat(spec->fd, &st))
			return fail(-errno, "the broker's descriptor can't be examined (errno %d)",
				    errno);
		if (a->window.dev == st.st_dev && a->window.ino == st.st_ino &&
		    a->window.address == spec->address && a->window.length == spec->length)
			return add_use(a, mmb);
		if (!is_stale(a))
			return fail(-EADDRNOTAVAIL,
				    "address %#llx holds another pool's arena in this process; two "
				    "brokers with one address plan can't be used at once",
				    (unsigned long long)spec->address);
		destroy_arena(a);
	}
	return create_arena(mmb, spec);
}

int arena_map(struct mmb *mmb, const struct arena_spec *spec)
{
	int error;

	process_lock();
	error = map_locked(mmb, spec);
	process_unlock();
	return error;
}

/* A2 */
static void limit_left(void)
{
	struct arena *a, *oldest = NULL;
	unsigned int nr = 0;

	LIST_FOREACH(a, &arenas, link) {
		if (!is_stale(a))
			continue;
		nr++;
		if (!oldest || a->left < oldest->left)
			oldest = a;
	}
	if (nr > ARENAS_LEFT)
		destroy_arena(oldest);
}

void arena_unuse(struct mmb *mmb, uint64_t address)
{
	static uint64_t nr_left; /* process lock */
	struct arena_use *use;
	struct arena *a;

	process_lock();
	a = find_overlap(address, 1);
	use = a ? find_use(a, mmb) : NULL;
	if (use && use->nr_pools && !--use->nr_pools) {
		a->left = ++nr_left;
		limit_left();
	}
	process_unlock();
}

static void unpoison_locked(const struct arena *a, uint64_t address, uint64_t bytes)
{
	const uint64_t mask = ARENA_BLOCK_BYTES - 1;
	uint64_t offset = address - a->window.address;
	uint64_t first = offset & ~mask;
	uint64_t end = (offset + bytes + mask) & ~mask;

	/* The entries of granted pages go as well: the next touch brings them back, no event. */
	window_drop(&a->window, first, end - first);
}

void arena_unpoison(const uint64_t *runs, uint32_t nr, uint64_t bytes)
{
	uint32_t i;

	process_lock();
	for (i = 0; i < nr; i++) {
		const struct arena *a = find_overlap(runs[i], bytes);
		const struct mmb_fault_log *log = a ? faultlog_get(a->owner->entry) : NULL;

		if (log && !faultlog_is_empty(log))
			unpoison_locked(a, runs[i], bytes);
	}
	process_unlock();
}

/* A1. Granted pages are present and cause no events, so only a wild access could notice the
 * moment between the two calls. */
static void pass_on(struct arena *a)
{
	struct window *w = &a->window;

	uffd_unregister(&a->owner->uffd, w->address, w->length);
	a->owner = LIST_FIRST(&a->uses)->mmb;
	uffd_register(&a->owner->uffd, w->address, w->length, UFFD_WATCH_ARENA);
}

void arena_leave(struct mmb *mmb)
{
	struct arena *a, *next;

	process_lock();
	for (a = LIST_FIRST(&arenas); a; a = next) {
		struct arena_use *use = find_use(a, mmb);

		next = LIST_NEXT(a, link);
		if (!use)
			continue;
		LIST_REMOVE(use, link);
		free(use);
		if (LIST_EMPTY(&a->uses))
			destroy_arena(a);
		else if (a->owner == mmb)
			pass_on(a);
	}
	process_unlock();
}
