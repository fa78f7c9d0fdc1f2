/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sweep - the k-th pass of every injection point fails, for every k; all counters return
 *
 * Purpose     One scripted client does something of everything. Whatever fails in between, the
 *             broker stays in agreement with itself, what the client touches comes or raises
 *             SIGBUS, and when the client is gone nothing of it is left.
 * Not here    PUNCH and UNMAP: where giving memory back fails the daemon ends rather than account
 *             for memory it may not have (the punches that may fail are in test_region.c).
 */
#include <errno.h>
#include <stdio.h>

#include "base/inject.h"
#include "client/pool_slabs.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/balance/tick.h"
#include "mmbroker.h"

enum { UID = 1000, MIB = 1 << 20, SMALL = 6 * MIB, LARGE = 4 * MIB, SHARED = MIB, RUNS = 3 };
static const uint64_t moved_to = 0x4f0000000000ull;

/* ---- the script: each step does what it can with what the others have got ---- */

struct script {
	struct session *s;
	uint32_t pool, twice;
	struct region_opened small, large, shared; /* handle 0: not opened */
	uint64_t runs[RUNS];
	uint32_t nr_runs;
};

static void connect_client(struct script *c)
{
	struct attach_args args = { .uffd = fake_uffd_new() };
	int error, fd;

	c->s = client_connect(UID, &client_why, &error);
	if (!c->s) {
		os->close(args.uffd);
		return;
	}
	session_attach(c->s, &args, &client_why);
	fd = session_fault_log_fd(c->s);
	if (fd >= 0)
		os->close(fd);
}

static void open_pools(struct script *c)
{
	struct pool_open_args args = { .name = "p", .flags = MMB_POOL_CREATE };
	struct arena_opened arena;

	if (client_open_pool(c->s, &args, &c->pool))
		c->pool = 0;
	if (client_open_pool(c->s, &args, &c->twice))
		c->twice = 0;
	if (!verb_arena_open(c->s, c->twice, 0, &arena, &client_why))
		for (uint32_t i = 0; i < arena.nr; i++)
			os->close(arena.windows[i].fd);
}

static void open_region(struct script *c, struct region_open_args args, struct region_opened *out)
{
	args.pool = c->pool;
	if (!c->s->mm || verb_region_open(c->s, &args, out, &client_why))
		*out = (struct region_opened){ .fd = -1 };
	else
		client_map(c->s, out);
}

static void open_regions(struct script *c)
{
	open_region(c, (struct region_open_args){ .name = "", .length = SMALL }, &c->small);
	open_region(c,
		    (struct region_open_args){ .name = "shared",
					       .length = SHARED,
					       .flags = MMB_REGION_CREATE | MMB_REGION_LOCKED },
		    &c->shared);
	open_region(c,
		    (struct region_open_args){ .name = "",
					       .length = LARGE,
					       .page_size = PAGEBLOCK_SIZE,
					       .flags = MMB_REGION_POPULATE },
		    &c->large);
}

static void touch_pages(struct script *c)
{
	for (uint64_t i = 0; c->small.handle && i < SMALL / 2; i += PAGE_SIZE)
		client_touch(c->s, c->small.address + i);
	space_settle();
	for (uint64_t i = 0; c->small.handle && i < 8; i++)
		client_touch(c->s, c->small.address + SMALL - (1 + 7 * i) * PAGE_SIZE);
	for (uint64_t i = 0; c->large.handle && i < LARGE; i += PAGEBLOCK_SIZE)
		client_touch(c->s, c->large.address + i);
}

static void range_verbs(struct script *c)
{
	struct region_range_args range = { .region = c->small.handle,
					   .offset = MIB,
					   .length = 2 * MIB };
	static const uint32_t advice[] = { MMB_ADVISE_WILLNEED, MMB_ADVISE_SEQUENTIAL,
					   MMB_ADVISE_HUGEPAGE, MMB_ADVISE_DONTNEED };

	verb_region_lock(c->s, &range, &client_why);
	verb_region_unlock(c->s, &range, &client_why);
	for (unsigned int i = 0; i < ARRAY_SIZE(advice); i++) {
		range.advice = advice[i];
		verb_region_advise(c->s, &range, &client_why);
		if (c->small.handle)
			client_touch(c->s, c->small.address + (1 + i) * MIB);
	}
}

static void spoil_first_pages(const struct window *w, void *unused)
{
	if (w->page || w->region->kind != STOCK_BASE)
		return;
	fake_os_client_punch(w->region->section->fd, 0, PAGE_SIZE);
	for (uint64_t page = w->region->nr_pages; page-- > 0;) {
		if (fake_os_present(w->region->section->fd, page * PAGE_SIZE))
			continue;
		fake_os_conjure(w->region->section->fd, page * PAGE_SIZE);
		break;
	}
}

/* A page punched behind the broker's back, a frame conjured, a write-protection, an address that is
 * nothing's. */
static void misbehave(struct script *c)
{
	if (!c->s->mm)
		return;
	mm_for_each_window(c->s->mm, spoil_first_pages, NULL);
	if (c->small.handle) {
		client_touch(c->s, c->small.address);
		space_fault(c->s->mm, c->small.address + PAGE_SIZE, OS_FAULT_WP);
	}
	if (c->shared.handle)
		client_touch(c->s, c->shared.address);
	space_fault(c->s->mm, moved_to - PAGE_SIZE, 0);
}

static void move_windows(struct script *c)
{
	if (!c->small.handle)
		return;
	verb_region_window(c->s, c->large.handle, moved_to, &client_why);
	mm_move_range(c->s->mm, c->small.address + MIB, moved_to + SMALL, MIB);
	mm_remove_range(c->s->mm, moved_to + SMALL + PAGE_SIZE, PAGE_SIZE);
}

static void page_runs(struct script *c)
{
	static const uint32_t orders[RUNS] = { 0, 3, PAGEBLOCK_ORDER };

	for (uint32_t i = 0; i < RUNS; i++) {
		struct pages_args args = { .pool = c->twice,
					   .order = orders[i],
					   .nr = 1,
					   .gfp = i % 2 ? MMB_GFP_ZERO : 0,
					   .addresses = &c->runs[i] };
		uint32_t got;

		if (!verb_pages_alloc(c->s, &args, &got, &client_why) && i % 2)
			verb_pages_free(c->s, &args, &client_why);
	}
}

static void ignore_row(const struct pool_slabs_row *row, void *unused)
{
}

static void leases(struct script *c)
{
	static const uint32_t units[] = { 1, 40 };
	struct cache_open_args cache = { .pool = c->twice, .name = "c", .object = 8 };
	struct cache_opened opened;
	struct slab_mapped mapped;
	uint64_t address;

	if (!verb_slab_map(c->s, c->twice, 0, &mapped, &client_why))
		for (uint32_t i = 0; i < mapped.nr; i++)
			os->close(mapped.windows[i].fd);
	for (uint32_t i = 0; i < ARRAY_SIZE(units); i++) {
		struct lease_args args = { .pool = c->twice,
					   .units = units[i],
					   .nr = 1,
					   .addresses = &address };
		struct slab_return_args back = { .pool = c->twice,
						 .nr = 1,
						 .addresses = &address,
						 .units = &units[i] };
		uint32_t got;

		if (!verb_slab_lease(c->s, &args, &got, &client_why) && i % 2)
			verb_slab_return(c->s, &back, &client_why);
	}
	if (!verb_cache_open(c->s, &cache, &opened, &client_why))
		verb_cache_close(c->s, c->twice, opened.cache, &client_why);
	pool_slabs_for_each("", ignore_row, NULL);
}

static void tick_leases(struct pool *pool, void *unused)
{
	leases_tick(&pool->leases);
	members_tick(&pool->members);
}

static void close_some(struct script *c)
{
	verb_region_close(c->s, c->large.handle, &client_why);
	client_unlink(c->s, c->pool, "shared", &client_why);
	verb_pool_close(c->s, c->pool, &client_why);
}

static void audit(struct region *region, void *unused)
{
	region_audit(region);
}

static void (*const steps[])(struct script *) = {
	open_pools, open_regions, touch_pages,  range_verbs,
	misbehave,  page_runs,    leases,       move_windows, close_some,
};

/* ---- what must hold ---- */

static void retry_until_nothing_is_parked(void)
{
	for (int i = 0; i < 100; i++) {
		fake_os_advance_ns(100 * 1000 * 1000);
		if (!fault_retry_parked(os->now_ns()))
			return;
	}
	EXPECT(!"a fault is parked for ever");
}

/* Nothing fails any more: each address comes, or says that it is lost. */
static void expect_answers(struct script *c)
{
	static const uint64_t offsets[] = { 0, PAGE_SIZE, MIB / 2, 4 * MIB, SMALL - PAGE_SIZE };

	for (unsigned int i = 0; c->small.handle && i < ARRAY_SIZE(offsets); i++) {
		uint64_t address = c->small.address + offsets[i];

		if (client_touch(c->s, address) != TOUCH_WAITS)
			continue;
		space_settle(); /* it may wait for a block that is made ahead */
		retry_until_nothing_is_parked();
		EXPECT(client_touch(c->s, address) != TOUCH_WAITS);
	}
}

/* The named region outlives the client that couldn't unlink it. */
static void unlink_shared(void)
{
	struct session *root = client_session(0);
	struct pool_open_args args = { .name = "p" };
	uint32_t pool;

	if (!client_open_pool(root, &args, &pool))
		client_unlink(root, pool, "shared", &client_why);
	client_leave(root);
}

static void run_script(void)
{
	struct client_counts before;
	struct script c = { 0 };

	while (balance_refill(64))
		;
	client_count(&before);
	connect_client(&c);
	for (unsigned int i = 0; c.s && i < ARRAY_SIZE(steps); i++)
		steps[i](&c);
	region_for_each(audit, NULL);
	pool_for_each(tick_leases, NULL);
	pool_for_each(tick_leases, NULL);
	space_settle();
	fault_retry_parked(os->now_ns());
	inject_arm(NR_INJECT_POINTS, 0, 0);
	retry_until_nothing_is_parked();
	region_for_each(audit, NULL);
	if (c.s) {
		expect_answers(&c);
		client_expect_valid();
		client_leave(c.s);
	}
	retry_until_nothing_is_parked();
	unlink_shared();
	client_settle();
	while (balance_refill(64))
		;
	client_expect_counts(&before);
}

/* ---- the sweep ---- */

static const int errors_of_ioctls[] = { -ENOMEM, -EAGAIN, -ENOENT, -ESRCH, -EFAULT };
static const int errors_of_others[] = { -ENOMEM };

static bool is_ioctl(enum inject_point point)
{
	return point == INJECT_UFFD_CONTINUE || point == INJECT_UFFD_WAKE ||
	       point == INJECT_UFFD_POISON || point == INJECT_UFFD_UNPROTECT;
}

static bool may_fail(enum inject_point point)
{
	return point != INJECT_PUNCH && point != INJECT_UNMAP;
}

/* The first slabs come once in a life of the broker: another life for each pass. */
static bool needs_new_broker(enum inject_point point)
{
	return point == INJECT_SLAB_PAGES;
}

/* The audit's walk passes once a page, which is always the same: some of them will do. */
static uint64_t after(enum inject_point point, uint64_t nth)
{
	return point == INJECT_NEXT_PRESENT && nth ? 3 * nth : nth + 1;
}

/* Returns how many passes were made to fail. */
static uint64_t sweep(enum inject_point point, int error, const struct client_options *options)
{
	uint64_t nth = 0, nr = 0;

	client_begin(options);
	for (;; nr++) {
		if (nth && needs_new_broker(point)) {
			client_end();
			client_begin(options);
		}
		nth = after(point, nth);
		inject_arm(point, nth, error);
		run_script();
		if (inject_passes(point) < nth)
			break;
	}
	client_end();
	return nr;
}

static void sweep_all(const struct client_options *options)
{
	unsigned int nr_points = 0;

	for (int i = 0; i < INJECT_FIRST_TURN; i++) {
		enum inject_point point = (enum inject_point)i;
		const int *errors = is_ioctl(point) ? errors_of_ioctls : errors_of_others;
		unsigned int nr_errors = is_ioctl(point) ? ARRAY_SIZE(errors_of_ioctls)
							 : ARRAY_SIZE(errors_of_others);
		uint64_t passes = 0;

		for (unsigned int e = 0; may_fail(point) && e < nr_errors; e++)
			passes += sweep(point, errors[e], options);
		nr_points += passes > 0;
		printf("# %s: %llu failures\n", inject_name(point), (unsigned long long)passes);
	}
	EXPECT(nr_points >= 20);
}

static void counted_memory_survives_any_failure(void)
{
	sweep_all(&(struct client_options){ .space = { .nr_nodes = 2, .huge_mib = 32 } });
}

static void held_memory_survives_any_failure(void)
{
	sweep_all(&(struct client_options){ .space = { .base_mib = 96, .hold = true } });
}

static const struct test_case cases[] = {
	{ "whatever fails, all counters return (memory that is counted)",
	  counted_memory_survives_any_failure },
	{ "whatever fails, all counters return (memory that is held)",
	  held_memory_survives_any_failure },
};
TEST_MAIN(cases)
