/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_report - what operators read: status, lists by cursor, maps, texts, the live verify
 */
#include "client/report.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/phys/stock.h"
#include "mmbroker.h"

enum { UID = 1000, OTHER_UID = 2000, MIB = 1 << 20, NR_REGIONS = 11, NR_POOLS = 5, LIST_MAX = 64 };

static struct session *a, *b;
static uint32_t pool_a;
static struct client_counts before;

static void begin(void)
{
	client_begin(&(struct client_options){ .space = { .nr_nodes = 2, .huge_mib = 32 } });
	client_count(&before);
	a = client_session(UID);
	b = client_session(OTHER_UID);
	pool_a = client_pool(a, "p", MMB_POOL_CREATE);
}

/* ---- lists ---- */

static void many_pools(void)
{
	char name[8];

	for (int i = 1; i < NR_POOLS; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		client_pool(a, name, MMB_POOL_CREATE);
	}
}

static void pools_are_listed_whatever_the_page(void)
{
	static struct pool_report list[LIST_MAX];

	begin();
	many_pools();
	for (uint32_t page = 1; page <= NR_POOLS + 1; page++) {
		uint64_t after = 0, next, last = 0;
		uint32_t nr = 0;

		do {
			uint32_t got = report_pools(after, list, page, &next);

			EXPECT(got <= page && (got || !next));
			for (uint32_t i = 0; i < got; i++) {
				EXPECT(list[i].id > last);
				last = list[i].id;
				EXPECT_EQ(list[i].uid, UID);
				EXPECT_EQ(list[i].mode, 0600);
			}
			nr += got;
			after = next;
		} while (next);
		EXPECT_EQ(nr, NR_POOLS);
	}
	client_end_two(a, b, &before);
}

static void regions_are_listed_whatever_the_page(void)
{
	static struct region_report list[LIST_MAX];
	uint32_t other;

	begin();
	other = client_pool(a, "q", MMB_POOL_CREATE);
	for (int i = 0; i < NR_REGIONS; i++)
		client_region(a, i % 3 ? pool_a : other, "", MIB, 0);
	for (uint32_t page = 1; page <= NR_REGIONS + 1; page++) {
		uint64_t after = 0, next, last = 0;
		uint32_t nr = 0;

		do {
			uint32_t got = report_regions(after, "", list, page, &next);

			for (uint32_t i = 0; i < got; i++) {
				EXPECT(list[i].id > last);
				last = list[i].id;
				EXPECT_EQ(list[i].stat.length, MIB);
			}
			nr += got;
			after = next;
		} while (next);
		EXPECT_EQ(nr, NR_REGIONS);
	}
	EXPECT_EQ(report_regions(0, "q", list, LIST_MAX, &(uint64_t){ 0 }), 4);
	EXPECT(!strcmp(list[0].pool, "q"));
	EXPECT_EQ(report_regions(0, "none", list, LIST_MAX, &(uint64_t){ 0 }), 0);
	EXPECT_EQ(report_check_pool("q", &client_why), 0);
	EXPECT_EQ(report_check_pool("", &client_why), 0);
	EXPECT_REFUSED(report_check_pool("none", &client_why), -ENOENT, "no pool is named 'none'");
	client_end_two(a, b, &before);
}

/* A private pool may be called as anybody's. */
static void a_name_is_that_of_a_shared_pool(void)
{
	static struct region_report list[LIST_MAX];
	uint32_t alone, same;
	char *text;

	begin();
	alone = client_pool(b, "alone", MMB_POOL_PRIVATE);
	same = client_pool(b, "p", MMB_POOL_PRIVATE);
	client_region(b, alone, "", MIB, 0);
	client_region(b, same, "", MIB, 0);
	client_region(a, pool_a, "", MIB, 0);
	EXPECT_EQ(report_regions(0, "alone", list, LIST_MAX, &(uint64_t){ 0 }), 0);
	EXPECT_EQ(report_regions(0, "p", list, LIST_MAX, &(uint64_t){ 0 }), 1);
	EXPECT_EQ(list[0].uid, UID);
	EXPECT_REFUSED(report_check_pool("alone", &client_why), -ENOENT, "'alone'");
	EXPECT_REFUSED(report_slabinfo("alone", false, &text, &client_why), -ENOENT, "'alone'");
	EXPECT_REFUSED(report_text(TEXT_MEMINFO, "alone", &text, &client_why), -ENOENT, "'alone'");
	client_end_two(a, b, &before);
}

static void sessions_are_listed_with_what_they_have(void)
{
	struct pages_args args = {
		.pool = pool_a, .order = 2, .nr = 3, .addresses = (uint64_t[3]){ 0 }
	};
	struct session_report list[4];
	struct region_opened r;
	uint64_t next;
	uint32_t got;

	begin();
	args.pool = pool_a;
	EXPECT_EQ(verb_pages_alloc(a, &args, &got, &client_why), 0);
	client_pool(a, "p", 0); /* twice the same: what it has counts once */
	r = client_region(a, pool_a, "", MIB, 0);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	session_count_request(a);
	EXPECT_EQ(report_sessions(0, list, 1, &next), 1);
	EXPECT_EQ(next, session_id(a));
	EXPECT_EQ(list[0].id, session_id(a));
	EXPECT_EQ(list[0].uid, UID);
	EXPECT_EQ(list[0].regions, 1);
	EXPECT_EQ(list[0].spanned, MIB);
	EXPECT_EQ(list[0].resident, PAGE_SIZE);
	EXPECT_EQ(list[0].page_runs, got * 4 * PAGE_SIZE);
	EXPECT_EQ(list[0].faults, 1);
	EXPECT_EQ(list[0].requests, 1);
	EXPECT(!strcmp(list[0].state, "live"));
	EXPECT(!strcmp(list[0].name, "test"));
	EXPECT_EQ(report_sessions(next, list, 1, &next), 1);
	EXPECT_EQ(next, 0);
	EXPECT_EQ(list[0].uid, OTHER_UID);
	client_end_two(a, b, &before);
}

static void an_empty_list_ends_at_once(void)
{
	static struct region_report list[LIST_MAX];
	uint64_t next = 5;

	begin();
	EXPECT_EQ(report_regions(0, "", list, LIST_MAX, &next), 0);
	EXPECT_EQ(next, 0);
	EXPECT_EQ(report_sessions(UINT64_MAX, (struct session_report[1]){ 0 }, 1, &next), 0);
	EXPECT_EQ(report_pools(UINT64_MAX, (struct pool_report[1]){ 0 }, 1, &next), 0);
	EXPECT_EQ(next, 0);
	client_end_two(a, b, &before);
}

/* ---- status, maps, texts ---- */

static void status_sums_up(void)
{
	struct status_report status;
	struct region_opened r;
	uint64_t faults, metadata;

	begin();
	report_status(&status);
	faults = status.faults;
	metadata = status.metadata;
	EXPECT(stock_charge_buffers(16));
	report_status(&status);
	EXPECT_EQ(status.metadata, metadata + 16 * PAGE_SIZE);
	stock_uncharge_buffers(16);
	r = client_region(a, pool_a, "", 2 * MIB, 0);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	report_status(&status);
	EXPECT_EQ(status.pools, 1);
	EXPECT_EQ(status.sessions, 2);
	EXPECT_EQ(status.regions, 1);
	EXPECT_EQ(status.spanned, 2 * MIB);
	EXPECT_EQ(status.faults, faults + 1);
	EXPECT_EQ(status.nr_stocks, 4);
	EXPECT(!strcmp(status.stocks[0].stock, "base") && !strcmp(status.stocks[1].stock, "huge"));
	EXPECT_EQ(status.stocks[3].node, 1);
	EXPECT_EQ(status.stocks[0].reserve, 64 * MIB);
	EXPECT(status.stocks[0].present >= PAGE_SIZE && status.stocks[0].committed >= 2 * MIB);
	client_end_two(a, b, &before);
}

static void maps_show_a_session_s_windows_to_its_uid(void)
{
	struct peer owner = { .uid = UID }, stranger = { .uid = OTHER_UID };
	struct peer admin = { .uid = OTHER_UID, .admin = true };
	struct region_opened r;
	char *text, address[32];

	begin();
	r = client_region(a, pool_a, "", 2 * MIB, 0);
	EXPECT_EQ(client_touch(a, r.address + PAGE_SIZE), TOUCH_MAPPED);
	EXPECT_EQ(report_maps(session_id(a), &owner, &text, &client_why), 0);
	snprintf(address, sizeof(address), "%llx-", (unsigned long long)r.address);
	EXPECT(strstr(text, address) != NULL);
	EXPECT(strstr(text, "p/(unnamed)") != NULL);
	free(text);
	EXPECT_EQ(report_maps(session_id(a), &admin, &text, &client_why), 0);
	free(text);
	EXPECT_REFUSED(report_maps(session_id(a), &stranger, &text, &client_why), -EACCES, "uid");
	EXPECT(!text);
	EXPECT_REFUSED(report_maps(999999, &owner, &text, &client_why), -ENOENT, "no session");
	EXPECT_EQ(report_maps(session_id(b), &admin, &text, &client_why), 0); /* empty */
	EXPECT_EQ(text[0], '\0');
	free(text);
	client_end_two(a, b, &before);
}

/* How many windows of `s` have this row. */
static uint32_t rows_of(const struct session *s, const char *row)
{
	struct peer admin = { .admin = true };
	char *text, *at;
	uint32_t nr = 0;

	EXPECT_EQ(report_maps(session_id(s), &admin, &text, &client_why), 0);
	for (at = text; (at = strstr(at, row)); at++)
		nr++;
	free(text);
	return nr;
}

/* Parts of one window have no page in common. */
static void maps_tell_what_is_shared(void)
{
	struct region_opened r;
	struct session *c;

	begin();
	r = client_region(a, pool_a, "r", MIB, MMB_REGION_CREATE);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT_EQ(mm_set_advice(a->mm, r.handle, (struct page_range){ 16, 240 }, WINDOW_RANDOM),
		  0);
	EXPECT_EQ(rows_of(a, "\nSize:"), 2);
	EXPECT_EQ(rows_of(a, "Private_Dirty:         4 kB"), 1);
	EXPECT_EQ(rows_of(a, "Shared_Dirty:          4 kB"), 0);
	EXPECT_EQ(rows_of(a, "Pss:                   4 kB"), 1);
	c = client_session(UID);
	client_region(c, client_pool(c, "p", 0), "r", 0, 0);
	EXPECT_EQ(rows_of(a, "Shared_Dirty:          4 kB"), 1);
	EXPECT_EQ(rows_of(a, "Pss:                   2 kB"), 1);
	EXPECT_EQ(rows_of(c, "Pss:                   2 kB"), 1);
	EXPECT_EQ(client_unlink(a, pool_a, "r", &client_why), 0);
	client_leave(c);
	client_end_two(a, b, &before);
}

static void texts_are_of_all_pools_or_of_one(void)
{
	static const enum report_text texts[] = { TEXT_MEMINFO, TEXT_BUDDYINFO, TEXT_ZONEINFO,
						  TEXT_PAGETYPEINFO, TEXT_VMSTAT };
	struct pages_args args = { .order = 3, .nr = 1, .addresses = (uint64_t[1]){ 0 } };
	uint32_t got;
	char *text;

	begin();
	args.pool = pool_a;
	EXPECT_EQ(verb_pages_alloc(a, &args, &got, &client_why), 0);
	client_region(a, pool_a, "", MIB, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(texts); i++) {
		EXPECT_EQ(report_text(texts[i], "", &text, &client_why), 0);
		EXPECT(strlen(text) > 40);
		free(text);
		EXPECT_EQ(report_text(texts[i], "p", &text, &client_why), 0);
		free(text);
		EXPECT_REFUSED(report_text(texts[i], "none", &text, &client_why), -ENOENT, "none");
	}
	client_end_two(a, b, &before);
}

/* In kB in meminfo, in frames elsewhere. */
static uint64_t figure(enum report_text what, const char *pool, const char *name)
{
	char *text, *at;
	uint64_t sum = 0;

	EXPECT_EQ(report_text(what, pool, &text, &client_why), 0);
	at = strstr(text, name);
	EXPECT(at != NULL);
	for (; at; at = strstr(at + 1, name)) /* zoneinfo has one a node */
		sum += strtoull(at + strlen(name), NULL, 10);
	free(text);
	return sum;
}

static void figures_of_large_pages_add_up(void)
{
	struct region_open_args args = { .name = "", .length = 8 * MIB, .page_size = 2 * MIB };
	struct region_opened r;

	begin();
	args.pool = pool_a;
	EXPECT_EQ(verb_region_open(a, &args, &r, &client_why), 0);
	client_map(a, &r);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT_EQ(client_touch(a, r.address + 4 * MIB), TOUCH_MAPPED);
	EXPECT_EQ(figure(TEXT_VMSTAT, "", "\nnr_hugetlb "), 2 * PAGEBLOCK_PAGES);
	EXPECT_EQ(figure(TEXT_ZONEINFO, "", "      nr_hugetlb   "), 2 * PAGEBLOCK_PAGES);
	EXPECT_EQ(figure(TEXT_MEMINFO, "p", "\nAnonPages:"), 2 * 2048);
	/* Four words. */
	EXPECT_EQ(figure(TEXT_MEMINFO, "p", "\nPageTables:"), 4);
	EXPECT(figure(TEXT_MEMINFO, "p", "\nPageTables:") <=
	       figure(TEXT_MEMINFO, "", "\nPageTables:"));
	for (int kind = 0; kind < 2; kind++) {
		const char *active = kind ? "nr_active_anon " : "nr_inactive_anon ";

		EXPECT_EQ(figure(TEXT_VMSTAT, "", active), figure(TEXT_ZONEINFO, "", active));
		EXPECT_EQ(figure(TEXT_VMSTAT, "", active) * 4,
			  figure(TEXT_MEMINFO, "", kind ? "\nActive(anon):" : "\nInactive(anon):"));
	}
	EXPECT_EQ(figure(TEXT_VMSTAT, "", "nr_active_anon ") +
			  figure(TEXT_VMSTAT, "", "nr_inactive_anon "),
		  figure(TEXT_VMSTAT, "", "nr_anon_pages "));
	client_end_two(a, b, &before);
}

static void slabinfo_has_a_row_a_cache(void)
{
	char *text;

	begin();
	EXPECT_EQ(report_slabinfo("", false, &text, &client_why), 0);
	EXPECT(strstr(text, "slabinfo - version: 2.1\n# name            <active_objs>") == text);
	EXPECT(strstr(text, "\nkmalloc-192       ") != NULL);
	EXPECT(strstr(text, " : tunables    0    0    0 : slabdata ") != NULL);
	EXPECT(!strstr(text, "alloc_fastpath"));
	free(text);
	EXPECT_EQ(report_slabinfo("", true, &text, &client_why), 0);
	EXPECT(strstr(text, "slabinfo - version: 2.1 (statistics)\n") == text);
	EXPECT(strstr(text, " : statistics object_size ") != NULL);
	EXPECT(strstr(text, " alloc_fastpath ") != NULL);
	free(text);
	EXPECT_EQ(report_slabinfo("p", false, &text, &client_why), 0);
	EXPECT(!strstr(text, "kmalloc"));
	free(text);
	EXPECT_REFUSED(report_slabinfo("none", false, &text, &client_why), -ENOENT, "none");
	client_end_two(a, b, &before);
}

/* ---- verify ---- */

static void verify_sees_what_is_wrong(void)
{
	static struct validation v;
	struct region_opened r;
	struct region *region;
	struct mm_target target;
	struct mm_hint hint;

	begin();
	r = client_region(a, pool_a, "", MIB, 0);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	client_expect_valid();
	EXPECT(mm_find(a->mm, r.address, &target, &hint));
	region = target.region;
	fake_os_conjure(region->section->fd, 5 * PAGE_SIZE);
	report_verify(&v);
	EXPECT(v.nr_differences > 0);
	EXPECT_EQ(region_audit(region), 1);
	region_put(region);
	client_end_two(a, b, &before);
}

static void expect_seen(uint64_t *count)
{
	static struct validation v;

	++*count;
	report_verify(&v);
	EXPECT(v.nr_differences > 0);
	--*count;
	client_expect_valid();
}

/* What its pool was promised, by what it has of it, and by its limits. */
static void verify_sees_wrong_promises(void)
{
	struct promise_share *share;
	struct region_opened r;
	struct mm_target target;
	struct mm_hint hint;

	begin();
	r = client_region(a, pool_a, "", MIB, 0);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT(mm_find(a->mm, r.address, &target, &hint));
	share = &target.region->memcg->share;
	memcg_set_limit(target.region->memcg, MEMCG_SWAP_MAX, 0);
	EXPECT_EQ(share->stays[0][STOCK_BASE], MIB >> PAGE_SHIFT);
	EXPECT_EQ(region_lock_pages(target.region, (struct page_range){ 0, 1 }), 0);
	client_expect_valid();
	expect_seen(&share->all);
	expect_seen(&share->paged);
	expect_seen(&share->whole);
	expect_seen(&share->goes);
	expect_seen(&share->evictable[0][STOCK_BASE]);
	expect_seen(&share->locked[0][STOCK_BASE]);
	expect_seen(&share->out[0][STOCK_BASE]);
	expect_seen(&share->stays[0][STOCK_BASE]);
	region_unlock_pages(target.region, (struct page_range){ 0, 1 });
	region_put(target.region);
	client_end_two(a, b, &before);
}

struct load {
	_Atomic bool stop;
	_Atomic unsigned int rounds;
};

/* Sessions that come with page runs and regions, fault, and go: none may confuse a walk. */
static void *come_and_go(void *arg)
{
	struct load *load = arg;
	uint64_t runs[64];

	while (!atomic_load(&load->stop)) {
		struct session *s = client_session(UID);
		struct pages_args args = { .pool = client_pool(s, "p", 0),
					   .nr = 64,
					   .addresses = runs };
		struct region_opened r = client_region(s, args.pool, "", MIB, 0);
		struct refusal why = { "" };
		uint32_t got;

		EXPECT_EQ(verb_pages_alloc(s, &args, &got, &why), 0);
		for (uint64_t i = 0; i < 8; i++)
			EXPECT_EQ(client_touch(s, r.address + i * 17 * PAGE_SIZE), TOUCH_MAPPED);
		args.nr = got / 2;
		EXPECT_EQ(verb_pages_free(s, &args, &why), 0);
		client_leave(s);
		regions_flush(); /* a uid's regions count until their memory is back */
		atomic_fetch_add(&load->rounds, 1);
	}
	return NULL;
}

static void verify_holds_under_load(void)
{
	enum { ROUNDS = 20 };
	struct load load = { 0 };
	pthread_t thread;

	begin();
	EXPECT_EQ(pthread_create(&thread, NULL, come_and_go, &load), 0);
	while (atomic_load(&load.rounds) < ROUNDS) {
		static struct session_report list[LIST_MAX];
		static struct validation v;
		struct status_report status;
		uint64_t next;

		report_verify(&v);
		EXPECT(v.nr_checked > 0);
		EXPECT_EQ(v.nr_differences, 0);
		report_sessions(0, list, LIST_MAX, &next);
		report_status(&status);
	}
	atomic_store(&load.stop, true);
	pthread_join(thread, NULL);
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "pools are listed once, whatever the page", pools_are_listed_whatever_the_page },
	{ "regions are listed once, whatever the page", regions_are_listed_whatever_the_page },
	{ "a pool's name is that of a shared pool, for every report",
	  a_name_is_that_of_a_shared_pool },
	{ "sessions are listed with what they have", sessions_are_listed_with_what_they_have },
	{ "an empty list ends at once", an_empty_list_ends_at_once },
	{ "status sums up", status_sums_up },
	{ "maps show a session's windows, to its uid and admins",
	  maps_show_a_session_s_windows_to_its_uid },
	{ "maps tell what other windows show, too", maps_tell_what_is_shared },
	{ "texts are of all pools or of one", texts_are_of_all_pools_or_of_one },
	{ "figures of 2 MiB pages add up, also between texts", figures_of_large_pages_add_up },
	{ "slabinfo has a row a cache", slabinfo_has_a_row_a_cache },
	{ "verify sees what is wrong", verify_sees_what_is_wrong },
	{ "verify sees what nobody was promised", verify_sees_wrong_promises },
	{ "verify holds under load", verify_holds_under_load },
};
TEST_MAIN(cases)
