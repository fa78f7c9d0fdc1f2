/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_format - the kernel's own text formats, byte for byte, over a snapshot
 *
 * Purpose     See text_format.h. Widths and blanks, trailing ones too, are those of the kernel's
 *             mm/vmstat.c, mm/show_mem.c, fs/proc/meminfo.c and fs/proc/task_mmu.c.
 * Invariants  F1  a format string below is never edited to look better: parsers count columns.
 *             F2  names that mean nothing here are left out, except those that free(1),
 *                 vmstat(8) and their kind insist on; these print 0.
 * Locking     none.
 */
#include "client/text_format.h"

#include <inttypes.h>

static const char *const migratetype_names[TEXT_MIGRATETYPES] = {
	"Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate",
};

struct text_row {
	const char *name;
	uint64_t value;
};

static uint64_t frames_to_kb(uint64_t frames)
{
	return frames << (PAGE_SHIFT - 10);
}

static void meminfo_kb(FILE *out, const struct text_row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		fprintf(out, "%-16s%8" PRIu64 " kB\n", rows[i].name, frames_to_kb(rows[i].value));
}

void text_meminfo(FILE *out, const struct text_snapshot *s)
{
	const struct text_memory *m = &s->memory;
	const struct text_row rows[] = {
		{ "MemTotal:", m->total },
		{ "MemFree:", m->free },
		{ "MemAvailable:", m->available },
		{ "Buffers:", 0 },
		{ "Cached:", m->shmem },
		{ "SwapCached:", m->swap_cached },
		{ "Active:", m->active },
		{ "Inactive:", m->inactive },
		{ "Active(anon):", m->active },
		{ "Inactive(anon):", m->inactive },
		{ "Active(file):", 0 },
		{ "Inactive(file):", 0 },
		{ "Unevictable:", m->locked },
		{ "Mlocked:", m->locked },
		{ "SwapTotal:", m->swap_total },
		{ "SwapFree:", m->swap_free },
		{ "Dirty:", 0 },
		{ "Writeback:", 0 },
		{ "AnonPages:", m->anon },
		{ "Mapped:", m->shmem },
		{ "Shmem:", m->shmem },
		{ "KReclaimable:", 0 },
		{ "Slab:", m->slab },
		{ "SReclaimable:", 0 },
		{ "SUnreclaim:", m->slab },
		{ "PageTables:", m->page_tables },
		{ "CommitLimit:", m->commit_limit },
		{ "Committed_AS:", m->committed },
		{ "VmallocTotal:", 0 },
		{ "VmallocUsed:", 0 },
		{ "VmallocChunk:", 0 },
		{ "Percpu:", m->percpu },
	};
	const struct text_row huge[] = {
		{ "Hugepagesize:", PAGEBLOCK_PAGES },
		{ "Hugetlb:", m->huge_total * PAGEBLOCK_PAGES },
		{ "DirectMap4k:", m->direct_4k },
		{ "DirectMap2M:", m->direct_2m },
	};

	meminfo_kb(out, rows, ARRAY_SIZE(rows));
	fprintf(out, "HugePages_Total:   %5" PRIu64 "\n", m->huge_total);
	fprintf(out, "HugePages_Free:    %5" PRIu64 "\n", m->huge_free);
	fprintf(out, "HugePages_Rsvd:    %5" PRIu64 "\n", m->huge_reserved);
	fprintf(out, "HugePages_Surp:    %5d\n", 0);
	meminfo_kb(out, huge, ARRAY_SIZE(huge));
}

void text_buddyinfo(FILE *out, const struct text_snapshot *s)
{
	for (uint32_t i = 0; i < s->nr_zones; i++) {
		const struct text_zone *z = &s->zones[i];

		fprintf(out, "Node %" PRIu32 ", zone %8s ", z->node, z->name);
		for (int order = 0; order < NR_ORDERS; order++) {
			uint64_t nr = 0;

			for (int type = 0; type < TEXT_MIGRATETYPES; type++)
				nr += z->free[type][order];
			fprintf(out, "%6" PRIu64 " ", nr);
		}
		fputc('\n', out);
	}
}

static void pagetypeinfo_free(FILE *out, const struct text_zone *z)
{
	for (int type = 0; type < TEXT_MIGRATETYPES; type++) {
		fprintf(out, "Node %4" PRIu32 ", zone %8s, type %12s ", z->node, z->name,
			migratetype_names[type]);
		for (int order = 0; order < NR_ORDERS; order++)
			fprintf(out, "%6" PRIu64 " ", z->free[type][order]);
		fputc('\n', out);
	}
}

void text_pagetypeinfo(FILE *out, const struct text_snapshot *s)
{
	fprintf(out, "Page block order: %d\n", PAGEBLOCK_ORDER);
	fprintf(out, "Pages per block:  %d\n\n", PAGEBLOCK_PAGES);
	fprintf(out, "%-43s ", "Free pages count per migrate type at order");
	for (int order = 0; order < NR_ORDERS; order++)
		fprintf(out, "%6d ", order);
	fputc('\n', out);
	for (uint32_t i = 0; i < s->nr_zones; i++)
		pagetypeinfo_free(out, &s->zones[i]);

	fprintf(out, "\n%-23s", "Number of blocks type ");
	for (int type = 0; type < TEXT_MIGRATETYPES; type++)
		fprintf(out, "%12s ", migratetype_names[type]);
	fputc('\n', out);
	for (uint32_t i = 0; i < s->nr_zones; i++) {
		const struct text_zone *z = &s->zones[i];

		fprintf(out, "Node %" PRIu32 ", zone %8s ", z->node, z->name);
		for (int type = 0; type < TEXT_MIGRATETYPES; type++)
			fprintf(out, "%12" PRIu64 " ", z->pageblocks[type]);
		fputc('\n', out);
	}
}

static void zoneinfo_rows(FILE *out, const struct text_row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		fprintf(out, "\n      %-12s %" PRIu64, rows[i].name, rows[i].value);
}

static void zoneinfo_node(FILE *out, const struct text_node *n)
{
	uint64_t resident = n->anon + n->shmem, others = n->active + n->unevictable;
	const struct text_row rows[] = {
		{ "nr_inactive_anon", resident > others ? resident - others : 0 },
		{ "nr_active_anon", n->active },
		{ "nr_unevictable", n->unevictable },
		{ "nr_anon_pages", n->anon },  { "nr_mapped", n->shmem },
		{ "nr_file_pages", n->shmem }, { "nr_shmem", n->shmem },
		{ "nr_hugetlb", n->hugetlb },
	};

	fprintf(out, "\n  per-node stats");
	zoneinfo_rows(out, rows, ARRAY_SIZE(rows));
}

static void zoneinfo_pages(FILE *out, const struct text_zone *z)
{
	fprintf(out,
		"\n  pages free     %" PRIu64 "\n        boost    %" PRIu64
		"\n        min      %" PRIu64 "\n        low      %" PRIu64
		"\n        high     %" PRIu64 "\n        promo    %" PRIu64
		"\n        spanned  %" PRIu64 "\n        present  %" PRIu64
		"\n        managed  %" PRIu64 "\n        cma      %" PRIu64,
		z->nr_free, z->boost, z->min, z->low, z->high, z->promo, z->spanned, z->present,
		z->managed, z->cma);
	/* One figure a kind of zone; nothing here is kept back from one zone for another. */
	fprintf(out, "\n        protection: (0, 0)");
}

static void zoneinfo_pagesets(FILE *out, const struct text_zone *z)
{
	fprintf(out, "\n  pagesets");
	for (uint32_t i = 0; i < z->nr_pagesets; i++) {
		const struct text_pageset *p = &z->pagesets[i];

		fprintf(out,
			"\n    cpu: %" PRIu32 "\n              count:    %" PRIu32
			"\n              high:     %" PRIu32 "\n              batch:    %" PRIu32
			"\n              high_min: %" PRIu32 "\n              high_max: %" PRIu32
			"\n  vm stats threshold: 0",
			p->cpu, p->count, p->high, p->batch, p->high_min, p->high_max);
	}
}

static void zoneinfo_zone(FILE *out, const struct text_zone *z)
{
	const struct text_row rows[] = {
		{ "nr_free_pages", z->nr_free },     { "nr_free_cma", z->nr_free_cma },
		{ "numa_hit", z->numa_hit },         { "numa_miss", z->numa_miss },
		{ "numa_foreign", z->numa_foreign },
	};

	zoneinfo_pages(out, z);
	if (z->present != 0) {
		zoneinfo_rows(out, rows, ARRAY_SIZE(rows));
		zoneinfo_pagesets(out, z);
		fprintf(out, "\n  node_unreclaimable:  %d\n  start_pfn:           %" PRIu64,
			z->unreclaimable, z->start_pfn);
	}
	fputc('\n', out);
}

void text_zoneinfo(FILE *out, const struct text_snapshot *s)
{
	for (uint32_t i = 0; i < s->nr_zones; i++) {
		const struct text_zone *z = &s->zones[i];

		fprintf(out, "Node %" PRIu32 ", zone %8s", z->node, z->name);
		if (i == 0 || s->zones[i - 1].node != z->node)
			for (uint32_t n = 0; n < s->nr_nodes; n++)
				if (s->nodes[n].id == z->node)
					zoneinfo_node(out, &s->nodes[n]);
		zoneinfo_zone(out, z);
	}
}

static void vmstat_rows(FILE *out, const struct text_row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		fprintf(out, "%s %" PRIu64 "\n", rows[i].name, rows[i].value);
}

static void vmstat_events(FILE *out, const struct text_snapshot *s)
{
	const struct text_events *e = &s->events;
	const struct text_row events[] = {
		{ "numa_hit", e->numa_hit },
		{ "numa_miss", e->numa_miss },
		{ "numa_foreign", e->numa_foreign },
		{ "pgalloc_normal", e->pgalloc_normal },
		{ "pgfree", e->pgfree },
	};
	const struct text_row broker[] = {
		{ "pgpgin", e->pgpgin },
		{ "pgpgout", e->pgpgout },
		{ "pswpin", e->pswpin },
		{ "pswpout", e->pswpout },
		{ "allocstall_normal", e->allocstall_normal },
		{ "allocstall_movable", e->allocstall_movable },
		{ "pgactivate", e->pgactivate },
		{ "pgdeactivate", e->pgdeactivate },
		{ "pglazyfree", e->pglazyfree },
		{ "pgfault", e->pgfault },
		{ "pgmajfault", e->pgmajfault },
		{ "pgsteal_kswapd", e->pgsteal_kswapd },
		{ "pgsteal_direct", e->pgsteal_direct },
		{ "pgscan_kswapd", e->pgscan_kswapd },
		{ "pgscan_direct", e->pgscan_direct },
		{ "pageoutrun", e->pageoutrun },
		{ "workingset_refault_anon", e->refault_anon },
		{ "workingset_activate_anon", e->activate_anon },
		{ "oom_kill", e->oom_kill },
		{ "swap_ra", e->swap_ra },
		{ "swap_ra_hit", e->swap_ra_hit },
	};

	vmstat_rows(out, events, ARRAY_SIZE(events));
	if (!s->of_pool)
		vmstat_rows(out, broker, ARRAY_SIZE(broker));
}

void text_vmstat(FILE *out, const struct text_snapshot *s)
{
	const struct text_memory *m = &s->memory;
	const struct text_row rows[] = {
		{ "nr_free_pages", m->free },
		{ "nr_mlock", m->locked },
		{ "nr_inactive_anon", m->inactive },
		{ "nr_active_anon", m->active },
		{ "nr_inactive_file", 0 },
		{ "nr_active_file", 0 },
		{ "nr_unevictable", m->locked },
		{ "nr_slab_reclaimable", 0 },
		{ "nr_slab_unreclaimable", 0 },
		{ "nr_anon_pages", m->anon },
		{ "nr_mapped", m->shmem },
		{ "nr_file_pages", m->shmem },
		{ "nr_dirty", 0 },
		{ "nr_writeback", 0 },
		{ "nr_shmem", m->shmem },
		{ "nr_page_table_pages", m->page_tables },
		{ "nr_hugetlb", m->hugetlb },
	};

	vmstat_rows(out, rows, ARRAY_SIZE(rows));
	vmstat_events(out, s);
}

/* As the kernel does with names in maps: what could end the line is written in octal. */
static void smaps_name(FILE *out, const char *name)
{
	for (const unsigned char *c = (const unsigned char *)name; *c != '\0'; c++) {
		if (*c < ' ' || *c == 0x7f)
			fprintf(out, "\\%03o", *c);
		else
			fputc(*c, out);
	}
}

static void smaps_header(FILE *out, const struct text_window *w)
{
	enum { NAME_COLUMN = 73 };
	int length =
		fprintf(out, "%08" PRIx64 "-%08" PRIx64 " r%c-%c %08" PRIx64 " 00:00 %" PRIu64 " ",
			w->start, w->end, w->writable ? 'w' : '-', w->is_shared ? 's' : 'p',
			w->offset, w->id);

	if (w->name[0] != '\0') {
		fprintf(out, "%*s", length < NAME_COLUMN ? NAME_COLUMN - length : 0, "");
		smaps_name(out, w->name);
	}
	fputc('\n', out);
}

void text_smaps(FILE *out, const struct text_window *w)
{
	uint64_t small = w->hugetlb ? 0 : w->resident;
	uint64_t shared = w->shared < w->resident ? w->shared : w->resident;
	uint64_t private = w->resident - shared;
	const struct text_row rows[] = {
		{ "Size:", w->end - w->start },
		{ "KernelPageSize:", w->page_size },
		{ "MMUPageSize:", w->page_size },
		{ "Rss:", small },
		{ "Pss:", w->hugetlb ? 0 : w->proportional },
		{ "Shared_Clean:", 0 },
		{ "Shared_Dirty:", w->hugetlb ? 0 : shared },
		{ "Private_Clean:", 0 },
		{ "Private_Dirty:", w->hugetlb ? 0 : private },
		{ "Referenced:", small },
		{ "Anonymous:", 0 },
		{ "Shared_Hugetlb:", w->hugetlb ? shared : 0 },
		{ "Private_Hugetlb:", w->hugetlb ? private : 0 },
		{ "Swap:", w->swapped },
		{ "SwapPss:", 0 },
		{ "Locked:", w->locked },
	};

	smaps_header(out, w);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		fprintf(out, "%-16s%8" PRIu64 " kB\n", rows[i].name, rows[i].value >> 10);
	fprintf(out, "VmFlags: rd %s%smr mw me ms um uw %s%s%s%s\n", w->writable ? "wr " : "",
		w->is_shared ? "sh " : "", w->locked ? "lo " : "", w->sequential ? "sr " : "",
		w->random ? "rr " : "", w->hugetlb ? "ht " : "");
}
