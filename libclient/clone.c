/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone - clones of regions, one or several at one instant
 *
 * Purpose     REGION_CLONE makes them and tells how to map the first, REGION_MAP tells it of each
 *             other one. Rollback to one.
 * Invariants  N1  all clones are mapped when the call succeeds; if one can't be, none is left.
 * Not here    What happens when a page is written (the daemon).
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "error.h"
#include "export.h"
#include "options.h"
#include "pool_heap.h"
#include "region.h"

enum {
	CLONES_MAX = 64,
	SHORT_PAGES = 4096, /* 8 GiB of 2 MiB pages take the broker less than a millisecond */
	SHORT_NS = 300 * 1000,
	CLONE_FLAGS = MMB_REGION_CREATE | MMB_REGION_EXCL | MMB_REGION_READONLY |
		      MMB_REGION_POPULATE | MMB_REGION_LOCKED,
};

struct clone_request {
	const char                     *what; /* the public function's name */
	size_t                          nr;
	struct mmb_region             **of;
	const struct mmb_clone_options *options; /* nr of them, or NULL */
};

static int check_options(const struct clone_request *r, const struct mmb_clone_options *o)
{
	int error = o->pool ? pool_check(o->pool) : 0;

	if (error)
		return error;
	if (o->flags & ~(uint32_t)CLONE_FLAGS)
		return fail(-EINVAL, "%s: flags %#x has bits that no MMB_REGION_ flag names",
			    r->what, o->flags);
	if (o->name && !o->name[0])
		return fail(-EINVAL, "%s: the name is empty; NULL makes an unnamed clone", r->what);
	if (o->name && strnlen(o->name, MMB_NAME_MAX + 1) > MMB_NAME_MAX)
		return fail(-EINVAL, "%s: the name is longer than %d bytes", r->what, MMB_NAME_MAX);
	if (o->pool && o->pool->mmb != r->of[0]->mmb)
		return fail(-EINVAL, "%s: the pool is open on another connection", r->what);
	return 0;
}

/* The array's elements may be of an older, smaller struct: their own size says so. */
static const struct mmb_clone_options *options_at(const struct clone_request *r, size_t i)
{
	const char *first = (const void *)r->options;

	return first ? (const void *)(first + i * r->options->size) : NULL;
}

static int check_clones(const struct clone_request *r, struct mmb_clone_options *options,
			struct mmb_region **out)
{
	int error = 0;

	if (!r->of || !out || !r->nr || r->nr > CLONES_MAX)
		return fail(-EINVAL, "%s: needs 1 to %d regions, and a place for the clones",
			    r->what, CLONES_MAX);
	for (size_t i = 0; i < r->nr && !error; i++) {
		error = region_check(r->of[i]);
		if (!error && r->of[i]->mmb != r->of[0]->mmb)
			error = fail(-EINVAL, "%s: the regions are open on several connections",
				     r->what);
		if (!error)
			error = options_read(&options[i], sizeof(options[i]), options_at(r, i),
					     "mmb_clone_options");
		if (!error)
			error = check_options(r, &options[i]);
	}
	return error;
}

/* What the daemon gave. */
struct clones {
	uint32_t           handles[CLONES_MAX]; /* to be mapped or released; 0: none */
	struct mmb_region *regions[CLONES_MAX]; /* mapped; NULL: none */
};

/* Few pages are cloned in little more time than it takes to be woken. The broker needs a CPU. */
static uint64_t soon_ns(const struct clone_request *r)
{
	uint64_t pages = 0;
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) < 2)
		return 0;

	for (size_t i = 0; i < r->nr; i++)
		pages += r->of[i]->window.length / r->of[i]->page_size;
	return pages <= SHORT_PAGES ? SHORT_NS : 0;
}

/* The region has the handle from here on, or nobody. */
static int take_region(struct mmb *mmb, struct call *c, const Mmb__Wire__RegionOpenReply *reply,
		       struct clones *clones, size_t i)
{
	if (reply->region != clones->handles[i])
		return call_protocol_error(mmb, "a region is described that wasn't asked about");
	clones->handles[i] = 0;
	return region_take_reply(mmb, c, reply, NULL, &clones->regions[i]);
}

/* An older daemon describes none of them. */
static int take_clones(const struct clone_request *r, struct call *c, struct clones *clones)
{
	const Mmb__Wire__RegionCloneReply *reply = (const void *)c->reply;
	struct mmb *mmb = r->of[0]->mmb;

	if (reply->n_regions != r->nr)
		return call_protocol_error(mmb, "not as many clones as were asked for");
	memcpy(clones->handles, reply->regions, r->nr * sizeof(clones->handles[0]));
	return reply->opened ? take_region(mmb, c, reply->opened, clones, 0) : 0;
}

/* The pager maps parts of clones anew: it starts while the daemon is at work. */
static int run(const struct clone_request *r, struct call *c, const ProtobufCMessage *request)
{
	struct mmb *mmb = r->of[0]->mmb;
	struct pager_start start;
	int begun, error = pager_start_begin(mmb, &start);

	if (error)
		return error;
	c->soon_ns = soon_ns(r);
	if (start.asked)
		start.asked->soon_ns = c->soon_ns;
	begun = call_begin(mmb, c, MMB_METHOD_REGION_CLONE, request);
	error = pager_start_end(mmb, &start);
	if (begun)
		return begun;
	if (error) {
		call_abandon(c);
		return error;
	}
	return call_wait(mmb, c);
}

static int ask(const struct clone_request *r, const struct mmb_clone_options *options,
	       struct clones *clones)
{
	Mmb__Wire__RegionCloneRequest request = MMB__WIRE__REGION_CLONE_REQUEST__INIT;
	Mmb__Wire__RegionCloneRequest__Clone parts[CLONES_MAX], *pointers[CLONES_MAX];
	struct mmb *mmb = r->of[0]->mmb;
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	for (size_t i = 0; i < r->nr; i++) {
		mmb__wire__region_clone_request__clone__init(&parts[i]);
		parts[i].region = r->of[i]->handle;
		parts[i].pool = options[i].pool ? options[i].pool->handle : 0;
		if (options[i].name)
			parts[i].name = (char *)(uintptr_t)options[i].name;
		parts[i].flags = options[i].flags;
		pointers[i] = &parts[i];
	}
	request.n_clones = r->nr;
	request.clones = pointers;
	request.map = true;
	error = run(r, c, &request.base);
	if (!error)
		error = take_clones(r, c, clones);
	call_put(mmb, c);
	return error;
}

static int map_clone(struct mmb *mmb, struct clones *clones, size_t i)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	request.region = clones->handles[i];
	error = call_run(mmb, c, MMB_METHOD_REGION_MAP, &request.base);
	if (!error)
		error = take_region(mmb, c, (const void *)c->reply, clones, i);
	call_put(mmb, c);
	return error;
}

static void give_up(struct mmb *mmb, const struct clones *clones)
{
	for (size_t i = 0; i < CLONES_MAX; i++) {
		if (clones->regions[i])
			region_unmake(clones->regions[i]);
		else if (clones->handles[i])
			region_release(mmb, clones->handles[i]);
	}
}

static int clone_regions(const struct clone_request *r, struct mmb_region **out)
{
	struct mmb_clone_options options[CLONES_MAX];
	struct clones clones = { 0 };
	char why[ERROR_BYTES];
	int error = check_clones(r, options, out);

	if (error)
		return error;
	error = ask(r, options, &clones);
	if (error == -ENOMEM && !clones.handles[0] && pool_heap_relieve(r->of[0]->mmb))
		error = ask(r, options, &clones);
	for (size_t i = 0; i < r->nr && !error; i++)
		if (!clones.regions[i])
			error = map_clone(r->of[0]->mmb, &clones, i);
	if (!error) {
		memcpy(out, clones.regions, r->nr * sizeof(out[0]));
		return 0;
	}
	/* N1. The first failure's sentence is what the caller gets. */
	snprintf(why, sizeof(why), "%s", mmb_error());
	give_up(r->of[0]->mmb, &clones);
	return fail(error, "%s", why);
}

PUBLIC int mmb_region_clone(struct mmb_region *region, const struct mmb_clone_options *options,
			    struct mmb_region **out)
{
	UNCANCELLED;
	struct clone_request r = {
		.what = "mmb_region_clone",
		.nr = 1,
		.of = &region,
		.options = options,
	};

	return clone_regions(&r, out);
}

PUBLIC int mmb_region_clone_many(size_t n, struct mmb_region **of,
				 const struct mmb_clone_options *options,
				 struct mmb_region **clones)
{
	UNCANCELLED;
	struct clone_request r = {
		.what = "mmb_region_clone_many",
		.nr = n,
		.of = of,
		.options = options,
	};

	return clone_regions(&r, clones);
}

/* *poisoned: pages of the region were lost. */
static int roll_back(struct mmb *mmb, const Mmb__Wire__RegionRollbackRequest *request,
		     bool *poisoned)
{
	const Mmb__Wire__RegionRollbackReply *reply;
	int error;
	struct call *c = call_get(mmb, &error);

	if (!c)
		return error;
	error = call_run(mmb, c, MMB_METHOD_REGION_ROLLBACK, &request->base);
	if (!error) {
		reply = (const void *)c->reply;
		*poisoned = reply->poisoned;
	}
	call_put(mmb, c);
	return error;
}

PUBLIC int mmb_region_rollback(struct mmb_region *region, struct mmb_region *snapshot)
{
	UNCANCELLED;
	Mmb__Wire__RegionRollbackRequest request = MMB__WIRE__REGION_ROLLBACK_REQUEST__INIT;
	int error = region_check(region);
	bool poisoned = false;

	if (!error)
		error = region_check(snapshot);
	if (!error && region->mmb != snapshot->mmb)
		error = fail(-EINVAL, "mmb_region_rollback: region and snapshot are open on "
			     "several connections");
	if (error)
		return error;
	request.region = region->handle;
	request.snapshot = snapshot->handle;
	error = roll_back(region->mmb, &request, &poisoned);
	if (error || !poisoned)
		return error;
	/* Markers lie in this process's page table: they go with its entries. */
	error = window_drop(&region->window, 0, region->window.length);
	return error ? fail(error, "the region has the snapshot's contents, but pages that were "
			    "poisoned may stay so in this process (errno %d)", -error)
		     : 0;
}
