/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_leases - slab maps handed out, units leased and returned, caches opened and closed
 *
 * Locking     none of its own.
 * Not here    What a lease is (leases.h).
 */
#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "client/arena_ahead.h"
#include "client/gate.h"
#include "client/runs.h"
#include "mm/balance/split.h"
#include "mm/phys/node.h"
#include "os/os.h"
#include "proto/methods.h"

/* ---- slab maps ---- */

static int fill_window(struct pool *pool, int node, struct slab_window *out)
{
	*out = (struct slab_window){
		.address = pool->windows[node].start,
		.length = pool->sections[node]->nr_frames << PAGE_SHIFT,
		.fd = os->dup(pool->leases.maps[node]->section->fd),
	};
	return out->fd < 0 ? out->fd : 0;
}

static int fill_windows(struct pool *pool, uint32_t first, struct slab_mapped *out,
			struct refusal *why)
{
	int r = 0;

	for (int node = 0; node < nr_nodes && !r; node++) {
		if (!pool->leases.maps[node])
			continue;
		if (out->total >= first && out->nr < ARENA_WINDOWS) {
			r = fill_window(pool, node, &out->windows[out->nr]);
			out->nr += !r;
		}
		out->total++;
	}
	while (r && out->nr)
		os->close(out->windows[--out->nr].fd);
	return r ? refuse(why, r, "the slab map's descriptor can't be passed: %s", strerror(-r))
		 : 0;
}

static int make_maps(struct pool *pool, struct refusal *why)
{
	int r = pool_make_arena(pool, why);

	return r ? r : leases_make_maps(pool, why);
}

int verb_slab_map(struct session *s, uint32_t handle, uint32_t first, struct slab_mapped *out,
		  struct refusal *why)
{
	struct pool_handle *ph = session_pool(s, handle, why);
	int r;

	out->nr = out->total = 0;
	if (!ph)
		return -EBADF;
	r = make_maps(ph->pool, why);
	if (!r)
		r = fill_windows(ph->pool, first, out, why);
	pool_handle_put(ph);
	return r;
}

/* ---- units ---- */

/* Of the smallest block that holds so many. */
static uint32_t order_of(uint32_t units)
{
	uint32_t order = UNIT_ORDER;

	while (1u << (order - UNIT_ORDER) < units)
		order++;
	return order;
}
static_assert(SLAB_UNITS_MAX == 1 << (MAX_ORDER - UNIT_ORDER), "the longest lease is a block");

/* Each unit is a block of its own from now on, and those beyond the lease are free again. */
static void split_run(struct page *run, uint32_t order, uint32_t units)
{
	uint32_t all = 1u << (order - UNIT_ORDER);

	if (all == 1)
		return;
	split_page(run, UNIT_ORDER);
	for (uint32_t i = units; i < all; i++)
		free_pages(run + i * UNIT_PAGES, UNIT_ORDER);
}

static void free_run(struct page *run, uint32_t units)
{
	for (uint32_t i = 0; i < units; i++)
		free_pages(run + i * UNIT_PAGES, UNIT_ORDER);
}

static int lease_runs(struct pool_handle *ph, struct page **runs, uint32_t nr,
		      const struct lease_args *args)
{
	uint32_t order = order_of(args->units), got = 0;
	int r;

	gate_enter();
	for (uint32_t i = 0; i < nr; i++)
		split_run(runs[i], order, args->units);
	r = leases_add(ph, &(struct leases_granted){ runs, nr, args->units,
						     member_number(ph, args->pool),
						     &args->past });
	got = r < 0 ? 0 : (uint32_t)r;
	for (uint32_t i = got; i < nr; i++)
		free_run(runs[i], args->units);
	gate_leave();
	for (uint32_t i = 0; i < got; i++)
		args->addresses[i] = pool_pfn_to_address(ph->pool, page_to_pfn(runs[i]));
	return r;
}

static int lease(struct session *s, struct pool_handle *ph, const struct lease_args *args,
		 uint32_t *got, struct refusal *why)
{
	struct page *runs[MMB_PAGES_BATCH];
	struct pages_args want = { .order = order_of(args->units),
				   .gfp = args->gfp,
				   .nr = args->nr,
				   .since_ns = args->since_ns,
				   .at_once = args->at_once,
				   .to_min = true };
	uint32_t nr;
	int r = runs_alloc(s, ph, &want, runs, &nr, why);

	if (r)
		return r;
	r = lease_runs(ph, runs, nr, args);
	if (r == -ENOTCONN)
		return refuse(why, r, "the pool handle has been closed");
	if (r < 0 && args->at_once)
		return -EAGAIN;
	if (r < 0) {
		atomic_fetch_add(&ph->pool->nr_refused, 1);
		return refuse(why, r,
			      "no memory for a page of the slab map; free memory, or raise "
			      "memory.reserve");
	}
	*got = (uint32_t)r;
	if (!atomic_load(&ph->pool->leased_on))
		atomic_store(&ph->pool->leased_on, page_zone(runs[0])->node + 1);
	return 0;
}

static uint32_t lease_again(struct pool_handle *ph, const struct lease_args *args)
{
	struct page *runs[MMB_PAGES_BATCH];
	struct leases_granted want = { NULL, args->nr, args->units,
				       member_number(ph, args->pool), &args->past };
	uint32_t got;

	gate_enter();
	got = leases_find_again(ph, &want, runs);
	gate_leave();
	for (uint32_t i = 0; i < got; i++)
		args->addresses[i] = pool_pfn_to_address(ph->pool, page_to_pfn(runs[i]));
	return got;
}

static int check_units(uint32_t units, struct refusal *why)
{
	if (!units || units > SLAB_UNITS_MAX)
		return refuse(why, -EINVAL, "%u contiguous units; 1 to %d are allowed", units,
			      SLAB_UNITS_MAX);
	return 0;
}

static int check_count(uint32_t nr, struct refusal *why)
{
	if (!nr || nr > MMB_PAGES_BATCH)
		return refuse(why, -EINVAL, "%u leases in one request; it takes 1 to %d", nr,
			      MMB_PAGES_BATCH);
	return 0;
}

int verb_slab_lease(struct session *s, const struct lease_args *args, uint32_t *got,
		    struct refusal *why)
{
	bool settling = frames_settling();
	struct pool_handle *ph;
	int r = check_count(args->nr, why);

	*got = 0;
	if (!r)
		r = check_units(args->units, why);
	if (!r)
		r = runs_check_gfp(args->gfp, why);
	if (r)
		return r;
	ph = session_pool(s, args->pool, why);
	if (!ph)
		return -EBADF;
	r = make_maps(ph->pool, why);
	if (!r && args->past.again)
		*got = lease_again(ph, args);
	if (!r && !*got)
		r = lease(s, ph, args, got, why);
	if (r == -ENOMEM && args->at_once)
		r = -EAGAIN;
	if (r == -ENOMEM && runs_settle(args->gfp, settling))
		r = lease(s, ph, args, got, why);
	if (r == -ENOMEM && runs_release(ph->pool, args->gfp))
		r = lease(s, ph, args, got, why);
	INJECT_TURN(LEASE_DONE);
	pool_handle_put(ph);
	return r;
}

void verb_slab_leased(struct session *s, uint32_t handle)
{
	struct pool_handle *ph = session_pool_unused(s, handle);
	int node;

	if (!ph)
		return;
	node = atomic_load(&ph->pool->leased_on);
	if (node > 0 && atomic_compare_exchange_strong(&ph->pool->leased_on, &node, -1)) {
		offer_note_lease(s, handle);
		arena_ahead_want(node - 1);
	}
	pool_handle_put(ph);
}

/* Each unit by itself: some may have been returned before the daemon died. Of one that another
 * handle has leased only its header tells whether it was returned, and perhaps leased, since. */
static int return_again(struct pool_handle *ph, const struct slab_return_args *args)
{
	uint32_t unit = 1, giver = ph->pool->is_private ? 0 : member_number(ph, args->pool);
	struct refusal unused;
	uint64_t address;
	struct slab_return_args one = *args;

	one.nr = 1;
	one.addresses = &address;
	one.units = &unit;
	for (uint32_t i = 0; i < args->nr; i++) {
		for (uint32_t j = 0; j < args->units[i]; j++) {
			address = args->addresses[i] + j * UNIT_PAGES * PAGE_SIZE;
			if (leases_return(ph, &one, 0, &unused) && giver)
				leases_return(ph, &one, giver, &unused);
		}
	}
	return 0;
}

int verb_slab_return(struct session *s, const struct slab_return_args *args, struct refusal *why)
{
	struct pool_handle *ph;
	int r = check_count(args->nr, why);

	for (uint32_t i = 0; i < args->nr && !r; i++)
		r = check_units(args->units[i], why);
	if (r)
		return r;
	ph = session_pool(s, args->pool, why);
	if (!ph)
		return -EBADF;
	gate_enter();
	r = args->past.again ? return_again(ph, args) : leases_return(ph, args, 0, why);
	gate_leave();
	INJECT_TURN(RETURN_DONE);
	pool_handle_put(ph);
	return r;
}

/* ---- caches ---- */

int verb_cache_open(struct session *s, const struct cache_open_args *args,
		    struct cache_opened *out, struct refusal *why)
{
	struct pool_handle *ph = session_pool(s, args->pool, why);
	int r;

	if (!ph)
		return -EBADF;
	r = pool_cache_open(ph, args, out, why);
	pool_handle_put(ph);
	return r;
}

int verb_cache_close(struct session *s, uint32_t pool, uint32_t cache, struct refusal *why)
{
	struct pool_handle *ph = session_pool(s, pool, why);
	int r;

	if (!ph)
		return -EBADF;
	r = pool_cache_close(ph, cache, why);
	pool_handle_put(ph);
	return r;
}
