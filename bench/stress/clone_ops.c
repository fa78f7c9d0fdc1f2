/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone_ops - what the stress suite does with clones of its unnamed regions
 *
 * Purpose     A clone takes a free place among the regions, and from then on everything that is
 *             done to regions is done to it; what each of its pages must hold is what the page of
 *             its original held. Also clones that are looked at once and closed, whole: of one
 *             region, of two at one instant, and such that a region goes back to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stress/client.h"

enum { WHOLE_MAX = 1 << 20 };

/* A place in `regions` that is used, or free; NULL: none. */
static struct stress_region *place(struct stress_client *c, bool used)
{
	uint32_t start = stress_pick(c, STRESS_REGIONS);

	for (uint32_t i = 0; i < STRESS_REGIONS; i++) {
		struct stress_region *r = &c->regions[(start + i) % STRESS_REGIONS];

		if ((r->region != NULL) == used)
			return r;
	}
	return NULL;
}

/* Makes *out of what was cloned from *of. */
static int keep_clone(struct stress_client *c, const struct stress_region *of,
		      struct mmb_region *region, struct stress_region *out)
{
	struct stress_region made = *of;
	int failed;

	made.region = region;
	made.locked = false;
	made.locked_pages = 0;
	made.generations = NULL;
	failed = stress_region_keep(c, &made, 0);
	if (failed == 0)
		memcpy(made.generations, of->generations,
		       of->own_pages * sizeof(*made.generations));
	*out = made;
	return failed;
}

static int clone_of(struct stress_client *c, const struct stress_region *of,
		    struct stress_region *out)
{
	struct mmb_region *region;
	int code = mmb_region_clone(of->region, NULL, &region);

	return code != 0 ? stress_accept(c, code, "mmb_region_clone")
			 : keep_clone(c, of, region, out);
}

static bool is_small(const struct stress_region *r)
{
	return r != NULL && (size_t)r->pages * r->page_size <= WHOLE_MAX;
}

static int check_whole(struct stress_client *c, struct stress_region *r)
{
	return stress_range_check(c, r, (struct stress_range){ 0, r->pages });
}

static void end_clone(struct stress_region *r)
{
	mmb_region_close(r->region);
	stress_region_drop(r);
}

int stress_clone(struct stress_client *c)
{
	struct stress_region *of = place(c, true), *to = place(c, false);

	return of == NULL || to == NULL ? 0 : clone_of(c, of, to);
}

/* A clone of a region that can be looked at whole, which is written after that. None: *out stays
 * empty. */
static int clone_then_write(struct stress_client *c, struct stress_region *of,
			    struct stress_region *out)
{
	int failed = is_small(of) ? clone_of(c, of, out) : 0;

	if (failed == 0 && out->region != NULL)
		stress_range_write(of, stress_range_pick(c, of, of->pages));
	return failed;
}

/* The original is written before the clone is looked at. */
int stress_clone_snapshot(struct stress_client *c)
{
	struct stress_region *of = place(c, true), snapshot = { 0 };
	int failed = clone_then_write(c, of, &snapshot);

	if (failed != 0 || snapshot.region == NULL)
		return failed;
	failed = check_whole(c, &snapshot);
	end_clone(&snapshot);
	return failed;
}

/* Both originals are written before either clone is looked at. */
int stress_clone_many(struct stress_client *c)
{
	struct stress_region *of[2] = { place(c, true), place(c, true) }, made[2] = { 0 };
	struct mmb_region *regions[2], *clones[2];
	size_t nr = of[0] == of[1] ? 1 : 2;
	int failed = 0, code;

	if (!is_small(of[0]) || !is_small(of[1]))
		return 0;
	for (size_t i = 0; i < nr; i++)
		regions[i] = of[i]->region;
	code = mmb_region_clone_many(nr, regions, NULL, clones);
	if (code != 0)
		return stress_accept(c, code, "mmb_region_clone_many");
	for (size_t i = 0; i < nr && failed == 0; i++)
		failed = keep_clone(c, of[i], clones[i], &made[i]);
	for (size_t i = 0; i < nr && failed == 0; i++)
		stress_range_write(of[i], stress_range_pick(c, of[i], of[i]->pages));
	for (size_t i = 0; i < nr && failed == 0; i++)
		failed = check_whole(c, &made[i]);
	for (size_t i = 0; i < nr && failed == 0; i++)
		end_clone(&made[i]);
	return failed;
}

/* Back to what a clone has kept. With a locked page in the way, or without memory, nothing has
 * changed. */
int stress_clone_rollback(struct stress_client *c)
{
	struct stress_region *of = place(c, true), snapshot = { 0 };
	int failed = clone_then_write(c, of, &snapshot), code;

	if (failed != 0 || snapshot.region == NULL)
		return failed;
	stress_range_write(of, stress_range_pick(c, of, of->pages));
	code = mmb_region_rollback(of->region, snapshot.region);
	if (code != -EBUSY || !(of->locked || of->locked_pages != 0))
		failed = stress_accept(c, code, "mmb_region_rollback");
	if (code == 0)
		memcpy(of->generations, snapshot.generations,
		       of->own_pages * sizeof(*of->generations));
	if (failed == 0)
		failed = check_whole(c, of);
	if (failed == 0)
		failed = check_whole(c, &snapshot);
	end_clone(&snapshot);
	return failed;
}
