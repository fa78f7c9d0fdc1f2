/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone - clones of regions, one or several at one instant
 *
 * Purpose     REGION_CLONE makes them, REGION_MAP tells of each how to map it. Rollback to one.
 * Invariants  N1  all clones are mapped when the call succeeds; if one can't be, none is left.
 * Not here    What happens when a page is written (the daemon).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "error.h"
#include "export.h"
#include "options.h"
#include "region.h"

enum {
	CLONES_MAX = 64,
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

static int ask(const struct clone_request *r, const struct mmb_clone_options *options,
	       uint32_t *handles)
{
	Mmb__Wire__RegionCloneRequest request = MMB__WIRE__REGION_CLONE_REQUEST__INIT;
	Mmb__Wire__RegionCloneRequest__Clone parts[CLONES_MAX], *pointers[CLONES_MAX];
	const Mmb__Wire__RegionCloneReply *reply;
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
	error = call_run(mmb, c, MMB_METHOD_REGION_CLONE, &request.base);
	reply = (const void *)c->reply;
	if (!error && reply->n_regions != r->nr)
		error = call_protocol_error(mmb, "not as many clones as were asked for");
	if (!error)
		memcpy(handles, reply->regions, r->nr * sizeof(handles[0]));
	call_put(mmb, c);
	return error;
}

static int map_clone(struct mmb *mmb, uint32_t handle, struct mmb_region **out)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	request.region = handle;
	error = call_run(mmb, c, MMB_METHOD_REGION_MAP, &request.base);
	if (!error)
		error = region_take_reply(mmb, c, NULL, out);
	else
		region_release(mmb, handle);
	call_put(mmb, c);
	return error;
}

/* N1. The first failure's sentence is what the caller gets. */
static int map_all(const struct clone_request *r, const uint32_t *handles, struct mmb_region **out)
{
	struct mmb_region *made[CLONES_MAX] = { NULL };
	struct mmb *mmb = r->of[0]->mmb;
	char why[ERROR_BYTES];
	int error = 0;
	size_t i;

	for (i = 0; i < r->nr && !error; i++)
		error = map_clone(mmb, handles[i], &made[i]);
	if (!error) {
		memcpy(out, made, r->nr * sizeof(out[0]));
		return 0;
	}
	snprintf(why, sizeof(why), "%s", mmb_error());
	for (size_t k = 0; k < r->nr; k++) {
		if (made[k])
			mmb_region_close(made[k]);
		else if (k >= i)
			region_release(mmb, handles[k]);
	}
	return fail(error, "%s", why);
}

static int clone_regions(const struct clone_request *r, struct mmb_region **out)
{
	struct mmb_clone_options options[CLONES_MAX];
	uint32_t handles[CLONES_MAX];
	int error = check_clones(r, options, out);

	if (!error) /* it maps parts of clones anew */
		error = pager_start(r->of[0]->mmb);
	if (!error)
		error = ask(r, options, handles);
	return error ? error : map_all(r, handles, out);
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

PUBLIC int mmb_region_rollback(struct mmb_region *region, struct mmb_region *snapshot)
{
	UNCANCELLED;
	Mmb__Wire__RegionRollbackRequest request = MMB__WIRE__REGION_ROLLBACK_REQUEST__INIT;
	int error = region_check(region);

	if (!error)
		error = region_check(snapshot);
	if (!error && region->mmb != snapshot->mmb)
		error = fail(-EINVAL, "mmb_region_rollback: region and snapshot are open on "
			     "several connections");
	if (error)
		return error;
	request.region = region->handle;
	request.snapshot = snapshot->handle;
	return call_simple(region->mmb, MMB_METHOD_REGION_ROLLBACK, &request.base);
}
