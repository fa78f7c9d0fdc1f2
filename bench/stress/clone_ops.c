/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone_ops - what the stress suite does with clones of its unnamed regions
 *
 * Purpose     A clone takes a free place among the regions, and from then on everything that is
 *             done to regions is done to it; what each of its pages must hold is what the page of
 *             its original held. Also clones that are looked at once and closed, whole.
 */
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

static int clone_of(struct stress_client *c, const struct stress_region *of,
		    struct stress_region *out)
{
	struct stress_region made = *of;
	int code = mmb_region_clone(of->region, NULL, &made.region), failed;

	made.locked = false;
	made.locked_pages = 0;
	made.generations = NULL;
	if (code != 0)
		return stress_accept(c, code, "mmb_region_clone");
	failed = stress_region_keep(c, &made, 0);
	if (failed == 0)
		memcpy(made.generations, of->generations,
		       of->own_pages * sizeof(*made.generations));
	*out = made;
	return failed;
}

int stress_clone(struct stress_client *c)
{
	struct stress_region *of = place(c, true), *to = place(c, false);

	return of == NULL || to == NULL ? 0 : clone_of(c, of, to);
}

/* The original is written before the clone is looked at. */
int stress_clone_snapshot(struct stress_client *c)
{
	struct stress_region *of = place(c, true), snapshot = { 0 };
	int failed;

	if (of == NULL || (size_t)of->pages * of->page_size > WHOLE_MAX)
		return 0;
	failed = clone_of(c, of, &snapshot);
	if (failed != 0 || snapshot.region == NULL)
		return failed;
	stress_range_write(of, stress_range_pick(c, of, of->pages));
	failed = stress_range_check(c, &snapshot, (struct stress_range){ 0, snapshot.pages });
	mmb_region_close(snapshot.region);
	stress_region_drop(&snapshot);
	return failed;
}
