/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_text - the kernel-format texts, byte for byte
 *
 * Purpose     daemon/client/text_format.c over hand-made snapshots. Expected lines were taken from
 *             a running kernel's files, with the numbers of the snapshot put in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/text_format.h"
#include "lib/test.h"

enum { TEXT_BYTES = 64 << 10 }; /* more than any text here */

/* Two nodes, the first with both zones. Zeroed but for what a case sets. */
static struct text_snapshot *snapshot_new(void)
{
	struct text_snapshot *s = calloc(1, sizeof(*s));

	s->nr_nodes = 2;
	s->nodes[1].id = 1;
	s->nr_zones = 3;
	s->zones[0].name = "Normal";
	s->zones[1].name = "Movable";
	s->zones[2].name = "Normal";
	s->zones[2].node = 1;
	return s;
}

/* What the formatter prints, freed by the caller. */
static char *text_of(void (*format)(FILE *out, const struct text_snapshot *s),
		     const struct text_snapshot *s)
{
	char *text = calloc(1, TEXT_BYTES);
	FILE *out = fmemopen(text, TEXT_BYTES, "w");

	format(out, s);
	fclose(out);
	return text;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool has_line(const char *text, const char *line)
{
	size_t      length = strlen(line);
	const char *at = text;

	while ((at = strstr(at, line)) != NULL) {
		if ((at == text || at[-1] == '\n') && at[length] == '\n')
			return true;
		at++;
	}
	return false;
}

static void meminfo_rows(void)
{
	struct text_snapshot *s = snapshot_new();
	char                 *text;

	s->memory.total = 24684096 / 4;
	s->memory.free = 24014212 / 4;
	s->memory.available = 24121928 / 4;
	s->memory.huge_total = 64;
	s->memory.huge_free = 3;
	s->memory.committed = 149260 / 4;
	s->memory.direct_2m = 2066432 / 4;
	s->memory.active = 8;
	s->memory.inactive = 16;
	text = text_of(text_meminfo, s);
	EXPECT(begins(text, "MemTotal:       24684096 kB\nMemFree:        24014212 kB\n"));
	EXPECT(has_line(text, "MemAvailable:   24121928 kB"));
	EXPECT(has_line(text, "Active(anon):         32 kB"));
	EXPECT(has_line(text, "Inactive(anon):       64 kB"));
	EXPECT(has_line(text, "Committed_AS:     149260 kB"));
	EXPECT(has_line(text, "HugePages_Total:      64"));
	EXPECT(has_line(text, "HugePages_Free:        3"));
	EXPECT(has_line(text, "HugePages_Rsvd:        0"));
	EXPECT(has_line(text, "HugePages_Surp:        0"));
	EXPECT(has_line(text, "Hugepagesize:       2048 kB"));
	EXPECT(has_line(text, "Hugetlb:          131072 kB"));
	EXPECT(has_line(text, "DirectMap2M:     2066432 kB"));
	free(text);
	free(s);
}

/* A value wider than its column pushes the unit, as in a kernel. */
static void meminfo_wide(void)
{
	struct text_snapshot *s = snapshot_new();
	char                 *text;

	s->memory.total = 34359738367ull / 4;
	text = text_of(text_meminfo, s);
	EXPECT(has_line(text, "MemTotal:       34359738364 kB"));
	free(text);
	free(s);
}

static void buddyinfo_rows(void)
{
	static const uint64_t normal[NR_ORDERS] = { 2, 2, 2, 0, 3, 39, 15, 8, 3, 13, 210 };
	struct text_snapshot *s = snapshot_new();
	char                 *text;

	for (int order = 0; order < NR_ORDERS; order++)
		s->zones[0].free[1][order] = normal[order];
	s->zones[2].free[0][0] = 1234567;
	s->zones[2].free[2][0] = 1;
	s->nr_zones = 3;
	text = text_of(text_buddyinfo, s);
	EXPECT(strcmp(text, "Node 0, zone   Normal      2      2      2      0      3   "
			    "  39     15      8      3     13    210 \n"
			    "Node 0, zone  Movable      0      0      0      0      0   "
			    "   0      0      0      0      0      0 \n"
			    "Node 1, zone   Normal 1234568      0      0      0      0   "
			    "   0      0      0      0      0      0 \n") == 0);
	free(text);
	free(s);
}

static void pagetypeinfo_tables(void)
{
	struct text_snapshot *s = snapshot_new();
	char                 *text;

	s->nr_zones = 1;
	s->zones[0].free[1][9] = 2;
	s->zones[0].free[1][10] = 752;
	s->zones[0].pageblocks[0] = 40;
	s->zones[0].pageblocks[1] = 684;
	s->zones[0].pageblocks[2] = 44;
	text = text_of(text_pagetypeinfo, s);
	EXPECT(begins(text, "Page block order: 9\nPages per block:  512\n\n"));
	EXPECT(has_line(text, "Free pages count per migrate type at order       0      1   "
			      "   2      3      4      5      6      7      8      9     10 "));
	EXPECT(has_line(text, "Node    0, zone   Normal, type      Movable      0      0   "
			      "   0      0      0      0      0      0      0      2    752 "));
	EXPECT(has_line(text, "Node    0, zone   Normal, type   HighAtomic      0      0   "
			      "   0      0      0      0      0      0      0      0      0 "));
	EXPECT(strstr(text, "\n\nNumber of blocks type     Unmovable      Movable  Reclaimable   "
			    "HighAtomic          CMA      Isolate \n"
			    "Node 0, zone   Normal           40          684           44  "
			    "          0            0            0 \n"));
	free(text);
	free(s);
}

static void zoneinfo_populated(void)
{
	struct text_snapshot *s = snapshot_new();
	struct text_zone     *z = &s->zones[0];
	char                 *text;

	s->nodes[0].anon = 60;
	s->nodes[0].shmem = 40;
	s->nodes[0].active = 30;
	s->nodes[0].unevictable = 20;
	s->nr_zones = 1;
	z->nr_free = 3840;
	z->nr_free_cma = 300;
	z->cma = 512;
	z->unreclaimable = true;
	z->min = 55;
	z->low = 68;
	z->high = 81;
	z->spanned = 4095;
	z->present = 3998;
	z->managed = 3840;
	z->start_pfn = 1;
	z->nr_pagesets = 1;
	z->pagesets[0] = (struct text_pageset){ .cpu = 2, .count = 7, .high = 34, .batch = 1,
						.high_min = 34, .high_max = 240 };
	text = text_of(text_zoneinfo, s);
	EXPECT(begins(text, "Node 0, zone   Normal\n  per-node stats\n"
			    "      nr_inactive_anon 50\n"));
	EXPECT(has_line(text, "      nr_active_anon 30"));
	EXPECT(has_line(text, "      nr_unevictable 20"));
	EXPECT(has_line(text, "      nr_mapped    40"));
	EXPECT(strstr(text, "\n  pages free     3840\n        boost    0\n        min      55\n"
			    "        low      68\n        high     81\n        promo    0\n"
			    "        spanned  4095\n        present  3998\n        managed  3840\n"
			    "        cma      512\n        protection: (0, 0)\n"
			    "      nr_free_pages 3840\n      nr_free_cma  300\n"));
	EXPECT(strstr(text, "\n  pagesets\n    cpu: 2\n              count:    7\n"
			    "              high:     34\n              batch:    1\n"
			    "              high_min: 34\n              high_max: 240\n"
			    "  vm stats threshold: 0\n  node_unreclaimable:  1\n"
			    "  start_pfn:           1\n"));
	free(text);
	free(s);
}

static void zoneinfo_nodes(void)
{
	struct text_snapshot *s = snapshot_new();
	const char           *first, *second;
	char                 *text;

	text = text_of(text_zoneinfo, s);
	first = strstr(text, "per-node stats");
	EXPECT(first != NULL);
	second = strstr(first + 1, "per-node stats");
	EXPECT(second != NULL && second > strstr(text, "Node 1"));
	EXPECT(strstr(second + 1, "per-node stats") == NULL);
	EXPECT(strstr(text, "pagesets") == NULL);
	EXPECT(strstr(text, "protection: (0, 0)\nNode 0, zone  Movable\n  pages free     0\n"));
	free(text);
	free(s);
}

static void vmstat_rows(void)
{
	struct text_snapshot *s = snapshot_new();
	char                 *text, *rest, *line;

	s->memory.free = 1002453;
	s->events.pgfault = 77;
	text = text_of(text_vmstat, s);
	EXPECT(begins(text, "nr_free_pages 1002453\n"));
	EXPECT(has_line(text, "pgfault 77"));
	EXPECT(has_line(text, "pswpin 0"));
	EXPECT(has_line(text, "oom_kill 0"));
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz_0123456789");

		EXPECT(name > 0 && line[name] == ' ');
		EXPECT(line[name + 1 + strspn(line + name + 1, "0123456789")] == '\0');
	}
	free(text);
	free(s);
}

static char *smaps_of(const struct text_window *w)
{
	char *text = calloc(1, TEXT_BYTES);
	FILE *out = fmemopen(text, TEXT_BYTES, "w");

	text_smaps(out, w);
	fclose(out);
	return text;
}

static void smaps_window(void)
{
	struct text_window w = {
		.start = 0x557430089000, .end = 0x55743008b000, .id = 247498, .page_size = 4096,
		.resident = 8192, .shared = 4096, .locked = 4096, .is_shared = true,
		.proportional = 6144, .swapped = 12288,
		.writable = true, .name = "web/index",
	};
	char *text = smaps_of(&w);

	EXPECT(begins(text, "557430089000-55743008b000 rw-s 00000000 00:00 247498"
			     "                     web/index\n"));
	EXPECT(has_line(text, "Size:                  8 kB"));
	EXPECT(has_line(text, "KernelPageSize:        4 kB"));
	EXPECT(has_line(text, "Rss:                   8 kB"));
	EXPECT(has_line(text, "Pss:                   6 kB"));
	EXPECT(has_line(text, "Swap:                 12 kB"));
	EXPECT(has_line(text, "Shared_Dirty:          4 kB"));
	EXPECT(has_line(text, "Private_Dirty:         4 kB"));
	EXPECT(has_line(text, "Shared_Hugetlb:        0 kB"));
	EXPECT(has_line(text, "Locked:                4 kB"));
	EXPECT(strstr(text, "\nVmFlags: rd wr sh mr "));
	free(text);
}

static void smaps_hugetlb(void)
{
	struct text_window w = {
		.start = 0x10000000, .end = 0x10400000, .page_size = 2 << 20, .hugetlb = true,
		.resident = 2 << 20, .proportional = 2 << 20, .is_shared = true,
	};
	char *text = smaps_of(&w);

	EXPECT(begins(text, "10000000-10400000 r--s 00000000 00:00 0 \n"));
	EXPECT(has_line(text, "KernelPageSize:     2048 kB"));
	EXPECT(has_line(text, "Rss:                   0 kB"));
	EXPECT(has_line(text, "Pss:                   0 kB"));
	EXPECT(has_line(text, "Private_Hugetlb:    2048 kB"));
	free(text);
}

static void smaps_names(void)
{
	struct text_window w = { .end = 4096, .page_size = 4096, .name = "a\nSize: 1 kB\033[2J" };
	char              *text = smaps_of(&w);

	EXPECT(strstr(text, " a\\012Size: 1 kB\\033[2J\nSize:                  4 kB\n"));
	free(text);
}

static const struct test_case cases[] = {
	{ "meminfo has the kernel's names, columns and units", meminfo_rows },
	{ "meminfo keeps a value that is wider than its column whole", meminfo_wide },
	{ "buddyinfo prints eleven orders summed over types, with the trailing blank",
	  buddyinfo_rows },
	{ "pagetypeinfo prints both tables at the kernel's columns", pagetypeinfo_tables },
	{ "zoneinfo prints statistics, pages, protection and pagesets of a populated zone",
	  zoneinfo_populated },
	{ "zoneinfo prints a node's statistics once and cuts an unpopulated zone short",
	  zoneinfo_nodes },
	{ "vmstat is a name in lower case and a number a line", vmstat_rows },
	{ "smaps puts the name at column 73 and counts in kB", smaps_window },
	{ "smaps counts hugetlb windows apart from Rss", smaps_hugetlb },
	{ "smaps keeps a name that a client chose on its line", smaps_names },
};

TEST_MAIN(cases)
