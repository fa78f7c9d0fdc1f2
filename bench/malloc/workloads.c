/* SPDX-License-Identifier: Apache-2.0 */
/* workloads - see workloads.h */
#include "malloc/workloads.h"

#include <string.h>

static const struct workload *const tables[] = {
	VARIANT(workloads_pairs),   VARIANT(workloads_live),
	VARIANT(workloads_threads), VARIANT(workloads_grow),
	VARIANT(workloads_large),   VARIANT(workloads_steady),
	VARIANT(workloads_held),
#if !defined(MALLOC_OURS) || defined(MALLOC_OURS_CACHES)
	VARIANT(workloads_caches),
#endif
};

const struct workload *VARIANT(find_workload)(const char *name)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct workload *w = tables[t]; w->name != NULL; w++) {
			if (strcmp(w->name, name) == 0)
				return w;
		}
	}
	return NULL;
}
