/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_slab - slabinfo: a row a cache, in the format of /proc/slabinfo 2.1
 *
 * Meaning     The daemon's own caches belong to pool 0, which has no name: a pool's rows are those
 *             of its own caches. Every slab of the daemon is active; tunables aren't there since
 *             SLUB has none.
 * Locking     none held while a row is written but the list of caches.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/pool.h"
#include "client/report.h"
#include "mm/obj/slab.h"

struct slab_text {
	FILE *out;
	bool statistics;
};

static void print_title(const struct slab_text *t)
{
	fprintf(t->out, "slabinfo - version: 2.1%s\n", t->statistics ? " (statistics)" : "");
	fprintf(t->out, "# name            <active_objs> <num_objs> <objsize> <objperslab> "
			"<pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata "
			"<active_slabs> <num_slabs> <sharedavail>\n");
}

static void print_row(const struct slabinfo *info, void *arg)
{
	const struct slab_text *t = arg;

	fprintf(t->out, "%-17s %6" PRIu64 " %6" PRIu64 " %6u %4u %4u", info->name,
		info->active_objs, info->num_objs, info->objsize, info->objs_per_slab,
		info->pages_per_slab);
	fprintf(t->out, " : tunables %4u %4u %4u", 0, 0, 0);
	fprintf(t->out, " : slabdata %6" PRIu64 " %6" PRIu64 " %6" PRIu64, info->active_slabs,
		info->num_slabs, info->shared_avail);
	if (t->statistics) {
		fprintf(t->out, " : statistics object_size %u align %u flags %u",
			info->object_size, info->align, info->flags);
		for (int i = 0; i < NR_SLUB_STATS; i++)
			fprintf(t->out, " %s %" PRIu64, slub_stat_name((enum slub_stat)i),
				info->stats[i]);
	}
	fputc('\n', t->out);
}

struct pool_search {
	const char *name;
	bool found;
};

static void look_at_pool(struct pool *pool, void *arg)
{
	struct pool_search *search = arg;

	search->found |= !strcmp(pool->name, search->name);
}

int report_slabinfo(const char *pool, bool statistics, char **out, struct refusal *why)
{
	struct pool_search search = { .name = pool, .found = pool[0] == '\0' };
	struct slab_text t = { .statistics = statistics };
	size_t length;

	*out = NULL;
	if (!search.found)
		pool_for_each(look_at_pool, &search);
	if (!search.found)
		return refuse(why, -ENOENT, "no pool is named '%s'; 'mmbctl pools' lists them",
			      pool);
	t.out = open_memstream(out, &length);
	if (t.out) {
		print_title(&t);
		if (pool[0] == '\0')
			slab_for_each_info(print_row, &t);
	}
	if (!t.out || fclose(t.out) != 0) {
		free(*out);
		*out = NULL;
		return refuse(why, -ENOMEM, "no memory for the report");
	}
	return 0;
}
