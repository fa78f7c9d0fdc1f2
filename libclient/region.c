/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region - demand-paged objects: open, map, advise, lock, ask, close
 *
 * Purpose     A region handle and its window. After a region is open, faults need no code here.
 * Invariants  N1  The window is mapped, the daemon knows where, and it is registered, in that
 *                 order, before the application gets the address.
 *             N2  A handle outlives its pool handle and its connection; after the connection is
 *                 closed it only answers its length and can be closed.
 * Locking     none of its own: the struct is fixed after open, the window is in mmb's list.
 * Not here    Mapping (window.c), registering (uffd.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "export.h"
#include "options.h"
#include "pool_heap.h"
#include "region.h"

enum {
	REGION_FLAGS = MMB_REGION_CREATE | MMB_REGION_EXCL | MMB_REGION_READONLY |
		       MMB_REGION_POPULATE | MMB_REGION_LOCKED,
	HUGE_PAGE_SIZE = 2 << 20,
	PLACES_MAX = 32,
};

/* Everything that opening needs, gathered and checked before the daemon is asked. */
struct open_request {
	struct mmb_pool            *pool;
	const char                 *name; /* NULL: unnamed */
	uint64_t                    length;
	unsigned int                flags;
	struct mmb_region_options   options;
};

int region_check(const struct mmb_region *region)
{
	if (!region)
		return fail(-EINVAL, "the region is NULL; open one with mmb_region_create() or "
			    "mmb_region_open()");
	return process_owns(region->generation) ? 0 : process_disowned();
}

/* ---- opening ---- */

static int check_name(const char *what, const char *name)
{
	if (!name || !name[0])
		return fail(-EINVAL, "%s: the region needs a name; unnamed ones come from "
			    "mmb_region_create()", what);
	if (strnlen(name, MMB_NAME_MAX + 1) > MMB_NAME_MAX)
		return fail(-EINVAL, "%s: the name is longer than %d bytes", what, MMB_NAME_MAX);
	return 0;
}

static int check_region_open(const char *what, const struct open_request *r)
{
	uint32_t page_size = r->options.page_size;
	uint64_t align = page_size ? page_size : CLIENT_PAGE_SIZE;

	if (r->flags & ~(unsigned int)REGION_FLAGS)
		return fail(-EINVAL, "%s: flags %#x has bits that no MMB_REGION_ flag names", what,
			    r->flags);
	if (r->name && (r->flags & MMB_REGION_EXCL) && !(r->flags & MMB_REGION_CREATE))
		return fail(-EINVAL, "%s: MMB_REGION_EXCL needs MMB_REGION_CREATE", what);
	if (page_size && page_size != CLIENT_PAGE_SIZE && page_size != HUGE_PAGE_SIZE)
		return fail(-EINVAL, "%s: page_size %u is neither 4096 nor %d", what, page_size,
			    HUGE_PAGE_SIZE);
	if ((uintptr_t)r->options.address % align)
		return fail(-EINVAL, "%s: address %p is no multiple of the page size %llu", what,
			    r->options.address, (unsigned long long)align);
	if (!r->name && !r->length)
		return fail(-EINVAL, "%s: length 0; a region has at least one page", what);
	return 0;
}

static int gather(const char *what, struct open_request *r,
		  const struct mmb_region_options *options, struct mmb_region **out)
{
	int error = pool_check(r->pool);

	if (error)
		return error;
	if (!out)
		return fail(-EINVAL, "%s: out is NULL; pass where the region is to go", what);
	error = options_read(&r->options, sizeof(r->options), options, "mmb_region_options");
	if (error)
		return error;
	r->flags |= r->options.flags;
	return check_region_open(what, r);
}

static int tell_window(struct mmb *mmb, uint32_t handle, uint64_t address)
{
	Mmb__Wire__WindowRequest request = MMB__WIRE__WINDOW_REQUEST__INIT;

	request.region = handle;
	request.address = address;
	return call_simple(mmb, MMB_METHOD_WINDOW, &request.base);
}

static void close_at_daemon(struct mmb *mmb, uint32_t handle, bool unmake)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;

	request.region = handle;
	request.unmake = unmake;
	call_simple(mmb, MMB_METHOD_REGION_CLOSE, &request.base);
}

void region_release(struct mmb *mmb, uint32_t handle)
{
	close_at_daemon(mmb, handle, true);
}

/* One try: mapped, and known to the broker; or, with *taken, only mapped. */
static int find_place(struct mmb_region *region, const struct window_spec *spec, uint64_t known,
		      bool *taken)
{
	struct window *w = &region->window;
	int error = window_map(w, spec);

	*taken = false;
	if (error)
		return error;
	w->handle = region->handle;
	if (w->address != known)
		error = tell_window(region->mmb, region->handle, w->address);
	*taken = error == -EEXIST && !spec->exact;
	if (error && !*taken)
		window_unmap(w);
	return error;
}

/* The kernel may give an address that another thread has just unmapped, before the broker has heard
 * of that: such places are kept until another one is found. */
static int find_free_place(struct mmb_region *region, struct window_spec *spec, uint64_t known)
{
	struct window places[PLACES_MAX];
	unsigned int nr = 0;
	bool taken;
	int error;

	do {
		error = find_place(region, spec, known, &taken);
		if (taken)
			places[nr++] = region->window;
		spec->preferred = spec->exact ? spec->preferred : 0;
	} while (taken && nr < PLACES_MAX);
	while (nr)
		window_unmap(&places[--nr]);
	return error;
}

/* N1. The window is unmapped again on failure. */
static int place_region(struct mmb_region *region, const Mmb__Wire__RegionOpenReply *reply,
			const int fds[2], const void *wanted)
{
	struct window *w = &region->window;
	struct window_spec spec = {
		.fd = fds[0],
		.base_fd = fds[1],
		.hugetlb = reply->hugetlb,
		.length = reply->length,
		.align = reply->page_size,
		.preferred = wanted ? (uintptr_t)wanted : reply->address,
		.exact = wanted != NULL,
		.read_only = reply->flags & MMB_REGION_READONLY,
	};
	int error = find_free_place(region, &spec, reply->address);

	if (error)
		return error;
	error = uffd_register(&region->mmb->uffd, w->address, w->length, UFFD_WATCH_REGION);
	if (!error && w->mirror)
		error = uffd_register(&region->mmb->uffd, w->mirror, w->length,
				      UFFD_WATCH_REGION);
	if (!error)
		error = window_allow(w);
	if (!error && !connection_add_window(region->mmb, w))
		error = fail(-ENOTCONN, "the connection was closed by mmb_close()");
	if (error)
		window_unmap(w);
	return error;
}

static int check_reply(struct mmb *mmb, const Mmb__Wire__RegionOpenReply *reply)
{
	bool sane = (reply->page_size == CLIENT_PAGE_SIZE || reply->page_size == HUGE_PAGE_SIZE) &&
		    reply->length && reply->length % reply->page_size == 0 &&
		    reply->address % reply->page_size == 0;

	return sane ? 0 : call_protocol_error(mmb, "a region's extent makes no sense");
}

static void close_both(const int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Its own and, of a clone, its ancestor's. */
static int take_files(struct mmb *mmb, struct call *c, const Mmb__Wire__RegionOpenReply *reply,
		      int fds[2])
{
	int error = call_take_fds(mmb, c, reply->has_base ? 2 : 1, fds);

	if (error || (window_fits(fds[0], reply->length) &&
		      (fds[1] < 0 || window_fits(fds[1], reply->length))))
		return error;
	close_both(fds);
	return call_protocol_error(mmb, "a region's file is shorter than the region");
}

/* Its windows show the clone's own memory from the start: what was offered is asked for once more,
 * which says so. */
static int decline_base(struct mmb *mmb, uint32_t handle, int *base_fd)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;
	const Mmb__Wire__RegionOpenReply *reply;
	struct call *c;
	int fds[2] = { -1, -1 }, error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	request.region = handle;
	error = call_run(mmb, c, MMB_METHOD_REGION_MAP, &request.base);
	reply = (const void *)c->reply;
	if (!error)
		error = call_take_fds(mmb, c, reply->has_base ? 2 : 1, fds);
	close_both(fds);
	call_put(mmb, c);
	close(*base_fd);
	*base_fd = -1;
	return error;
}

int region_take_reply(struct mmb *mmb, struct call *c, const Mmb__Wire__RegionOpenReply *reply,
		      const void *wanted, struct mmb_region **out)
{
	struct mmb_region *region;
	int fds[2] = { -1, -1 }, error = check_reply(mmb, reply);

	if (!error)
		error = take_files(mmb, c, reply, fds);
	if (error)
		return error;
	region = calloc(1, sizeof(*region));
	if (!region) {
		close_both(fds);
		region_release(mmb, reply->region);
		return fail(-ENOMEM, "no memory for a region handle");
	}
	region->generation = mmb->generation;
	region->mmb = mmb;
	region->handle = reply->region;
	region->page_size = reply->page_size;
	if (fds[1] >= 0 && !window_can_remap())
		error = decline_base(mmb, reply->region, &fds[1]);
	if (!error)
		error = place_region(region, reply, fds, wanted);
	/* The mappings keep the memory; the descriptors aren't needed again, but one. */
	if (!error && region->window.own_fd >= 0)
		fds[0] = -1;
	close_both(fds);
	if (error) {
		char why[ERROR_BYTES];

		/* Closing may leave a sentence of its own: the first one counts. */
		strcpy(why, mmb_error());
		region_release(mmb, region->handle);
		free(region);
		return fail(error, "%s", why);
	}
	connection_get(mmb);
	*out = region;
	return 0;
}

static int open_region(const struct open_request *r, struct mmb_region **out)
{
	Mmb__Wire__RegionOpenRequest request = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	Mmb__Wire__NodePolicy nodes = MMB__WIRE__NODE_POLICY__INIT;
	uint32_t method = r->name ? MMB_METHOD_REGION_OPEN : MMB_METHOD_REGION_CREATE;
	struct mmb *mmb = r->pool->mmb;
	bool evictable = false;
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	request.pool = r->pool->handle;
	request.name = r->name ? (char *)(uintptr_t)r->name : request.name;
	request.length = r->length;
	request.page_size = r->options.page_size;
	request.mode = r->options.mode;
	request.flags = r->flags;
	nodes.policy = r->options.node_policy;
	nodes.mask = r->options.node_mask;
	request.nodes = &nodes;
	request.address = (uintptr_t)r->options.address;
	error = call_run(mmb, c, method, &request.base);
	if (!error) {
		evictable = ((const Mmb__Wire__RegionOpenReply *)c->reply)->evictable;
		error = region_take_reply(mmb, c, (const void *)c->reply, r->options.address, out);
	}
	call_put(mmb, c);
	/* Without it the daemon can't learn which pages are in use: what is evicted comes back. */
	if (!error && evictable)
		pager_start(mmb);
	return error;
}

/* What the process keeps unused isn't refused to it. */
static int open_or_relieve(const struct open_request *r, struct mmb_region **out)
{
	int error = open_region(r, out);

	if (error == -ENOMEM && pool_heap_relieve(r->pool->mmb))
		error = open_region(r, out);
	return error;
}

static int gather_unnamed(struct open_request *r, const struct mmb_region_options *options,
			  struct mmb_region **out)
{
	int error = gather("mmb_region_create", r, options, out);

	/* An unnamed region is always created, and nobody else can have it. */
	r->flags &= ~(unsigned int)(MMB_REGION_CREATE | MMB_REGION_EXCL);
	return error;
}

int region_create(struct mmb_pool *pool, size_t length, const struct mmb_region_options *options,
		  struct mmb_region **out)
{
	struct open_request r = { .pool = pool, .length = length };
	int error = gather_unnamed(&r, options, out);

	return error ? error : open_region(&r, out);
}

PUBLIC int mmb_region_create(struct mmb_pool *pool, size_t length,
			     const struct mmb_region_options *options, struct mmb_region **out)
{
	UNCANCELLED;
	struct open_request r = { .pool = pool, .length = length };
	int error = gather_unnamed(&r, options, out);

	return error ? error : open_or_relieve(&r, out);
}

PUBLIC int mmb_region_open(struct mmb_pool *pool, const char *name, size_t length, unsigned flags,
			   const struct mmb_region_options *options, struct mmb_region **out)
{
	UNCANCELLED;
	struct open_request r = { .pool = pool, .name = name, .length = length, .flags = flags };
	int error = check_name("mmb_region_open", name);

	if (!error)
		error = gather("mmb_region_open", &r, options, out);
	if (!error)
		error = pager_start(pool->mmb);
	return error ? error : open_or_relieve(&r, out);
}

static void end(struct mmb_region *region, bool unmake)
{
	if (connection_del_window(region->mmb, &region->window)) {
		window_unmap(&region->window);
		connection_wake_window(region->mmb, &region->window);
		close_at_daemon(region->mmb, region->handle, unmake);
	}
	if (region->window.own_fd >= 0)
		close(region->window.own_fd);
	connection_put(region->mmb);
	free(region);
}

void region_unmake(struct mmb_region *region)
{
	end(region, true);
}

PUBLIC void mmb_region_close(struct mmb_region *region)
{
	UNCANCELLED;

	if (!region)
		return;
	/* In a forked child the window isn't there and the locks may be held by nobody. */
	if (process_owns(region->generation))
		end(region, false);
	else
		process_disowned();
}

PUBLIC int mmb_region_unlink(struct mmb_pool *pool, const char *name)
{
	UNCANCELLED;
	Mmb__Wire__RegionUnlinkRequest request = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;
	int error = pool_check(pool);

	if (!error)
		error = check_name("mmb_region_unlink", name);
	if (error)
		return error;
	request.pool = pool->handle;
	request.name = (char *)(uintptr_t)name;
	return call_simple(pool->mmb, MMB_METHOD_REGION_UNLINK, &request.base);
}

/* ---- an open region ---- */

PUBLIC void *mmb_region_address(struct mmb_region *region)
{
	int error = region_check(region);

	return error ? fail_null(error) : (void *)(uintptr_t)region->window.address;
}

PUBLIC size_t mmb_region_length(struct mmb_region *region)
{
	return region_check(region) ? 0 : region->window.length;
}

struct range_request {
	const char  *what; /* the public function's name */
	uint32_t     method;
	size_t       offset, length;
	unsigned int advice;
};

static int check_range(const struct mmb_region *region, const struct range_request *r)
{
	uint64_t whole = region->window.length;

	if (r->offset % region->page_size || r->length % region->page_size)
		return fail(-EINVAL, "%s: offset %zu and length %zu must be multiples of the "
			    "region's page size %u", r->what, r->offset, r->length,
			    region->page_size);
	if (r->offset > whole || r->length > whole - r->offset)
		return fail(-EINVAL, "%s: offset %zu and length %zu reach beyond the region's end "
			    "at %llu", r->what, r->offset, r->length, (unsigned long long)whole);
	return 0;
}

static int range_call(struct mmb_region *region, const struct range_request *r)
{
	Mmb__Wire__RegionRangeRequest request = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	int error = region_check(region);

	if (!error)
		error = check_range(region, r);
	if (error || !r->length)
		return error;
	request.region = region->handle;
	request.offset = r->offset;
	request.length = r->length;
	request.advice = r->advice;
	return call_simple(region->mmb, r->method, &request.base);
}

PUBLIC int mmb_region_advise(struct mmb_region *region, size_t offset, size_t length, int advice)
{
	UNCANCELLED;
	static const bool known[] = {
		[MMB_ADVISE_NORMAL] = true,   [MMB_ADVISE_SEQUENTIAL] = true,
		[MMB_ADVISE_RANDOM] = true,   [MMB_ADVISE_WILLNEED] = true,
		[MMB_ADVISE_COLD] = true,     [MMB_ADVISE_PAGEOUT] = true,
		[MMB_ADVISE_DONTNEED] = true, [MMB_ADVISE_FREE] = true,
		[MMB_ADVISE_HUGEPAGE] = true,
	};
	struct range_request r = {
		.what = "mmb_region_advise",
		.method = MMB_METHOD_REGION_ADVISE,
		.offset = offset,
		.length = length,
		.advice = (unsigned int)advice,
	};
	int error;

	if (advice < 0 || (size_t)advice >= sizeof(known) || !known[advice])
		return fail(-EINVAL, "mmb_region_advise: advice %d is no MMB_ADVISE_ value of this "
			    "library", advice);
	error = range_call(region, &r);
	if (error || advice != MMB_ADVISE_DONTNEED || !length)
		return error;
	/* Poison markers lie in this process's page table: they go with its entries. */
	error = window_drop(&region->window, offset, length);
	return error ? fail(error, "the range was emptied, but poisoned pages of it may stay so in "
			    "this process (errno %d)", -error)
		     : 0;
}

PUBLIC int mmb_region_lock(struct mmb_region *region, size_t offset, size_t length)
{
	UNCANCELLED;
	struct range_request r = {
		.what = "mmb_region_lock",
		.method = MMB_METHOD_REGION_LOCK,
		.offset = offset,
		.length = length,
	};

	return range_call(region, &r);
}

PUBLIC int mmb_region_unlock(struct mmb_region *region, size_t offset, size_t length)
{
	UNCANCELLED;
	struct range_request r = {
		.what = "mmb_region_unlock",
		.method = MMB_METHOD_REGION_UNLOCK,
		.offset = offset,
		.length = length,
	};

	return range_call(region, &r);
}

PUBLIC int mmb_region_stat(struct mmb_region *region, struct mmb_region_stat *stat)
{
	UNCANCELLED;
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;
	struct mmb_region_stat result = { .size = sizeof(result) };
	const Mmb__Wire__RegionStatReply *reply;
	int error = region_check(region);
	struct call *c;

	if (!error)
		error = result_check(stat, "mmb_region_stat");
	if (error)
		return error;
	c = call_get(region->mmb, &error);
	if (!c)
		return error;
	request.region = region->handle;
	error = call_run(region->mmb, c, MMB_METHOD_REGION_STAT, &request.base);
	if (!error) {
		reply = (const void *)c->reply;
		result.length = reply->length;
		result.page_size = reply->page_size;
		result.resident = reply->resident;
		result.swapped = reply->swapped;
		result.refaults = reply->refaults;
		result.locked = reply->locked;
		result.faults = reply->faults;
		result.write_faults = reply->write_faults;
		result.shared = reply->shared;
		result.own = reply->own;
		result.sessions = reply->sessions;
		result_write(stat, &result, sizeof(result));
	}
	call_put(region->mmb, c);
	return error;
}
