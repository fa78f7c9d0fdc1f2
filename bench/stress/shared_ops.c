/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_ops - what the stress suite does with named regions that all clients share
 *
 * Purpose     Open (writable, read-only, exclusively), write the own part, check any part, drop
 *             own pages, close, unlink while others still use it.
 */
#include <errno.h>
#include <stdio.h>

#include "stress/client.h"

enum {
	SMALL = 4096,
	HUGE = 2 << 20,
	SMALL_PAGES = 1024,
	HUGE_PAGES_MIN = 4,
	RANGE_MAX = 16,
	CHECK_MAX = 32,
};

/* The own part: an equal share of the pages, by client index. */
static struct stress_region shape(const struct stress_client *c, unsigned int name)
{
	uint32_t clients = c->shared->clients;
	bool huge = name == STRESS_SHARED - 1;
	uint32_t pages = !huge ? SMALL_PAGES : clients > HUGE_PAGES_MIN ? clients : HUGE_PAGES_MIN;

	return (struct stress_region){ .object = random_mix(c->shared->seed) + name,
				       .page_size = huge ? HUGE : SMALL,
				       .pages = pages,
				       .own_first = c->index * (pages / clients),
				       .own_pages = pages / clients };
}

static void name_of(unsigned int name, char *out, size_t bytes)
{
	snprintf(out, bytes, "shared-%u", name);
}

static int open_shared(struct stress_client *c, unsigned int name)
{
	static const unsigned int ways[] = { MMB_REGION_CREATE, MMB_REGION_CREATE,
					     MMB_REGION_READONLY, 0,
					     MMB_REGION_CREATE | MMB_REGION_EXCL };
	unsigned int flags = ways[stress_pick(c, sizeof(ways) / sizeof(ways[0]))];
	struct stress_region made = shape(c, name);
	struct mmb_region_options options = { .size = sizeof(options),
					      .page_size = made.page_size };
	size_t bytes = (size_t)made.pages * made.page_size;
	char text[32];
	int code;

	name_of(name, text, sizeof(text));
	made.readonly = flags == MMB_REGION_READONLY;
	code = mmb_region_open(c->pool, text, flags & MMB_REGION_CREATE ? bytes : 0, flags,
			       &options, &made.region);
	if ((code == -ENOENT && !(flags & MMB_REGION_CREATE)) ||
	    (code == -EEXIST && (flags & MMB_REGION_EXCL)))
		return 0;
	if (code != 0)
		return stress_accept(c, code, "mmb_region_open");
	if (mmb_region_length(made.region) != bytes)
		return stress_fail(c, "%s is %zu bytes long", text,
				   mmb_region_length(made.region));
	c->named[name] = made;
	return stress_region_keep(c, &c->named[name],
				  flags & MMB_REGION_EXCL ? 0 : PATTERN_ANY);
}

static struct stress_region *any_shared(struct stress_client *c, int *failed)
{
	unsigned int name = stress_pick(c, STRESS_SHARED);

	*failed = c->named[name].region == NULL ? open_shared(c, name) : 0;
	return c->named[name].region != NULL && *failed == 0 ? &c->named[name] : NULL;
}

int stress_shared_toggle(struct stress_client *c)
{
	unsigned int name = stress_pick(c, STRESS_SHARED);
	struct stress_region *r = &c->named[name];
	int failed;

	if (r->region == NULL)
		return open_shared(c, name);
	failed = stress_range_check(c, r, stress_range_pick(c, r, RANGE_MAX));
	mmb_region_close(r->region);
	stress_region_drop(r);
	return failed;
}

int stress_shared_write(struct stress_client *c)
{
	int failed;
	struct stress_region *r = any_shared(c, &failed);
	struct stress_range range;

	if (r == NULL || r->readonly)
		return failed;
	range = stress_range_pick(c, r, RANGE_MAX);
	/* A generation that isn't known can't be counted on: begin anew. */
	for (uint32_t page = range.first; page < range.first + range.nr; page++) {
		if (r->generations[page - r->own_first] == PATTERN_ANY)
			r->generations[page - r->own_first] = stress_pick(c, 1 << 16);
	}
	stress_range_write(r, range);
	return 0;
}

int stress_shared_check(struct stress_client *c)
{
	int failed;
	struct stress_region *r = any_shared(c, &failed);
	struct stress_range range;

	if (r == NULL)
		return failed;
	range.first = stress_pick(c, r->pages);
	range.nr = 1 + stress_pick(c, r->page_size == HUGE ? 1 : CHECK_MAX);
	if (range.nr > r->pages - range.first)
		range.nr = r->pages - range.first;
	return stress_range_check(c, r, range);
}

int stress_shared_drop(struct stress_client *c)
{
	int failed;
	struct stress_region *r = any_shared(c, &failed);

	if (r == NULL || r->readonly)
		return failed;
	return stress_range_drop(c, r, stress_range_pick(c, r, RANGE_MAX));
}

int stress_shared_unlink(struct stress_client *c)
{
	char text[32];
	int code;

	name_of(stress_pick(c, STRESS_SHARED), text, sizeof(text));
	code = mmb_region_unlink(c->pool, text);
	return code == -ENOENT ? 0 : stress_expect(c, code, 0, "mmb_region_unlink");
}
