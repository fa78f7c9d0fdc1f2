/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_slab - slabinfo: a row a cache, in the format of /proc/slabinfo 2.1
 *
 * Meaning     The daemon's own caches belong to pool 0, which has no name: a pool's rows are what
 *             its clients say about theirs. Tunables are 0, since SLUB has none.
 * Locking     none held while a row is written but the list of caches.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/pool_slabs.h"
#include "client/report.h"
#include "mm/obj/slab.h"

enum { NAME_WIDTH = 17 };

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

/* A blank would end the name for whoever reads the row. */
static void print_name(const struct slab_text *t, const char *name)
{
	int width = 0;

	for (; *name; name++, width++)
		fputc(*name > ' ' && *name < 0x7f ? *name : '_', t->out);
	fprintf(t->out, "%*s", width < NAME_WIDTH ? NAME_WIDTH - width : 0, "");
}

static void print_columns(const struct slab_text *t, const struct slabinfo *info)
{
	print_name(t, info->name);
	fprintf(t->out, " %6" PRIu64 " %6" PRIu64 " %6u %4u %4u", info->active_objs,
		info->num_objs, info->objsize, info->objs_per_slab, info->pages_per_slab);
	fprintf(t->out, " : tunables %4u %4u %4u", 0, 0, 0);
	fprintf(t->out, " : slabdata %6" PRIu64 " %6" PRIu64 " %6" PRIu64, info->active_slabs,
		info->num_slabs, info->shared_avail);
	if (t->statistics)
		fprintf(t->out, " : statistics object_size %u align %u flags %u",
			info->object_size, info->align, info->flags);
}

static void print_own(const struct slabinfo *info, void *arg)
{
	const struct slab_text *t = arg;

	print_columns(t, info);
	for (int i = 0; t->statistics && i < NR_SLUB_STATS; i++)
		fprintf(t->out, " %s %" PRIu64, slub_stat_name((enum slub_stat)i),
			info->stats[i]);
	fputc('\n', t->out);
}

static void print_of_pool(const struct pool_slabs_row *row, void *arg)
{
	const struct slab_text *t = arg;
	struct slabinfo info = {
		.active_objs = row->active_objs,
		.num_objs = row->num_objs,
		.active_slabs = row->active_slabs,
		.num_slabs = row->num_slabs,
		.objsize = row->objsize,
		.object_size = row->object_size,
		.objs_per_slab = row->objs_per_slab,
		.pages_per_slab = row->pages_per_slab,
		.align = row->align,
	};

	snprintf(info.name, sizeof(info.name), "%s", row->name);
	print_columns(t, &info);
	fputc('\n', t->out);
}

int report_slabinfo(const char *pool, bool statistics, char **out, struct refusal *why)
{
	struct slab_text t = { .statistics = statistics };
	size_t length;
	int error = -ENOMEM;

	*out = NULL;
	t.out = open_memstream(out, &length);
	if (t.out) {
		print_title(&t);
		if (pool[0] == '\0')
			slab_for_each_info(print_own, &t);
		error = pool_slabs_for_each(pool, print_of_pool, &t);
		if (fclose(t.out) != 0)
			error = -ENOMEM;
	}
	if (!error)
		return 0;
	free(*out);
	*out = NULL;
	if (error == -ENOENT)
		return report_no_pool(pool, why);
	return refuse(why, error, "no memory for the report");
}
