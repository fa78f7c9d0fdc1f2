/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leases - marks and lists of leased units
 *
 * Locking     see leases.h.
 */
#include "client/leases.h"

#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "client/gate.h"
#include "client/runs.h"
#include "client/session.h"
#include "mm/phys/node.h"

enum {
	FREED_AT_ONCE = 512,  /* units behind the gate in one go */
	PUNCHED_A_TICK = 256, /* slab map pages of one window */
};

static _Atomic uint64_t last_owner;

static void new_owner(struct leases *leases)
{
	leases->owner = PAGE_UNIT | (atomic_fetch_add(&last_owner, 1) + 1);
}

uint64_t leases_owner(const struct leases *leases)
{
	return leases->owner & ~PAGE_UNIT;
}

void leases_init(struct leases *leases)
{
	mutex_init(&leases->lock, RANK_LEASES, "leases");
	list_init(&leases->units);
	list_init(&leases->ended);
	new_owner(leases);
}

static void free_maps(struct leases *leases)
{
	for (int node = 0; node < MAX_NUMNODES; node++)
		if (leases->maps[node])
			slab_map_free(leases->maps[node]);
	memset(leases->maps, 0, sizeof(leases->maps));
}

void leases_fini(struct leases *leases)
{
	free_maps(leases);
	mutex_fini(&leases->lock);
}

/* Crash: of the maps that a predecessor has made some may be there: no client has them yet. */
int leases_make_maps(struct pool *pool, struct refusal *why)
{
	struct leases *leases = &pool->leases;
	int r = 0;

	mutex_lock(&leases->lock);
	for (int node = 0; node < nr_nodes && !leases->has_maps && !r; node++)
		if (pool->sections[node] && !leases->maps[node])
			r = slab_map_new(pool->sections[node], pool->id, &leases->maps[node]);
	if (r)
		free_maps(leases);
	else
		leases->has_maps = true;
	mutex_unlock(&leases->lock);
	if (r)
		return refuse(why, r, "pool '%s': its slab map can't be set up: %s", pool->name,
			      strerror(-r));
	return 0;
}

void leases_take_map(struct leases *leases, int node, struct slab_map *map)
{
	mutex_lock(&leases->lock);
	leases->maps[node] = map;
	mutex_unlock(&leases->lock);
}

void leases_drop_maps(struct leases *leases)
{
	mutex_lock(&leases->lock);
	free_maps(leases);
	mutex_unlock(&leases->lock);
}

static struct slab_map *map_of(const struct leases *leases, const struct page *page)
{
	return leases->maps[page_zone(page)->node];
}

/* ---- resume ---- */

void leases_resume(struct leases *leases, uint64_t owner)
{
	leases->owner = PAGE_UNIT | owner;
	if (owner > atomic_load(&last_owner)) /* one thread resumes */
		atomic_store(&last_owner, owner);
}

int leases_resume_map(struct pool *pool, struct section *section)
{
	struct leases *leases = &pool->leases;
	int r = slab_map_resume(pool->sections[section->node], section,
				&leases->maps[section->node]);

	leases->has_maps = true;
	for (int node = 0; node < nr_nodes; node++)
		leases->has_maps &= !pool->sections[node] || leases->maps[node];
	return r;
}

int leases_resume_unit(struct pool *pool, struct page *page)
{
	struct leases *leases = &pool->leases;
	struct slab_map *map = map_of(leases, page);
	int r;

	if (!map || page_session(page) != leases->owner || pg_order(page) != UNIT_ORDER)
		return -EUCLEAN;
	if (pg_state(page) == PG_CLAIMED) {
		if (!pool->is_private)
			slab_map_stamp(map, page_to_pfn(page), 1, 0);
		return -EUCLEAN;
	}
	mutex_lock(&leases->lock);
	r = slab_map_resume_unit(map, page_to_pfn(page));
	if (!r) {
		list_add_tail(&page->lru, &leases->units);
		leases->nr_units++;
	}
	mutex_unlock(&leases->lock);
	return r;
}

void leases_resumed(struct leases *leases)
{
	mutex_lock(&leases->lock);
	for (int node = 0; node < MAX_NUMNODES; node++)
		if (leases->maps[node])
			slab_map_audit(leases->maps[node]);
	mutex_unlock(&leases->lock);
}

/* ---- leasing ---- */

/* F6 of page.h; the third frame has the unit's place in its run. */
static void note_unit(struct page *unit, uint64_t handle, uint32_t place,
		      const struct request_past *past)
{
	runs_note(unit, past);
	unit[1].grant.request = handle;
	unit[2].grant.request = place;
}

/* Crash: units beyond the first that has no owner yet are leased without it; see
 * leases_find_again(). */
static int add_run_locked(struct pool_handle *ph, struct page *run,
			  const struct leases_granted *g)
{
	struct leases *leases = &ph->pool->leases;
	int r = slab_map_lease(map_of(leases, run), page_to_pfn(run), g->units);

	for (uint32_t i = r ? 0 : g->units; i-- > 0;) {
		struct page *page = run + i * UNIT_PAGES;

		note_unit(page, ph->id, i, g->past);
		list_add_tail(&page->lru, &leases->units);
		page_set_owner(page, leases->owner, (uint32_t)ph->pool->id);
		INJECT_TURN(LEASE_HALF);
	}
	leases->nr_units += r ? 0 : g->units;
	return r;
}

static bool is_of_request(const struct page *unit, uint64_t handle, uint64_t request)
{
	return unit->grant.request == request && unit[1].grant.request == handle;
}

/* The first unit of the run that this one is part of: leased by the same request? */
static bool run_is_whole(const struct leases *leases, const struct page *unit)
{
	uint64_t place = unit[2].grant.request;
	const struct page *first = unit - place * UNIT_PAGES;

	return page_session(first) == leases->owner && !first[2].grant.request &&
	       is_of_request(first, unit[1].grant.request, unit->grant.request);
}

uint32_t leases_find_again(struct pool_handle *ph, const struct leases_granted *g,
			   struct page **runs)
{
	struct leases *leases = &ph->pool->leases;
	struct page *unit, *next;
	struct list_head halves;
	uint32_t got = 0;

	list_init(&halves);
	mutex_lock(&ph->lock);
	mutex_lock(&leases->lock);
	list_for_each_entry_safe(unit, next, &leases->units, lru) {
		if (!is_of_request(unit, ph->id, g->past->id))
			continue;
		if (!unit[2].grant.request && got < g->nr) {
			runs[got++] = unit;
			if (!ph->pool->is_private)
				slab_map_stamp(map_of(leases, unit), page_to_pfn(unit), g->units,
					       g->member);
		} else if (unit[2].grant.request && !run_is_whole(leases, unit)) {
			list_del(&unit->lru);
			list_add_tail(&unit->lru, &halves);
			slab_map_return(map_of(leases, unit), page_to_pfn(unit));
			leases->nr_units--;
			ph->nr_leased--;
		}
	}
	mutex_unlock(&leases->lock);
	mutex_unlock(&ph->lock);
	list_for_each_entry_safe(unit, next, &halves, lru) {
		page_clear_owner(unit);
		free_pages(unit, UNIT_ORDER);
	}
	return got;
}

int leases_add(struct pool_handle *ph, const struct leases_granted *g)
{
	struct leases *leases = &ph->pool->leases;
	int r = 0;
	uint32_t got = 0;

	mutex_lock(&ph->lock);
	mutex_lock(&leases->lock);
	if (ph->closed)
		r = -ENOTCONN;
	while (!r && got < g->nr) {
		r = add_run_locked(ph, g->runs[got], g);
		if (!r && !ph->pool->is_private)
			slab_map_stamp(map_of(leases, g->runs[got]), page_to_pfn(g->runs[got]),
				       g->units, g->member);
		got += !r;
	}
	ph->nr_leased += (int64_t)got * g->units;
	mutex_unlock(&leases->lock);
	mutex_unlock(&ph->lock);
	return got ? (int)got : r;
}

/* ---- returning ---- */

static uint64_t unit_at(const struct slab_return_args *args, uint32_t i, uint32_t j)
{
	return args->addresses[i] + (uint64_t)j * SLAB_UNIT_BYTES;
}

/* Calls fn for the first nr units of the request; stops at the first that it refuses. */
static uint32_t for_units(const struct slab_return_args *args, uint32_t nr,
			  bool (*fn)(uint64_t address, void *arg), void *arg)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < args->nr; i++)
		for (uint32_t j = 0; j < args->units[i]; j++, done++)
			if (done == nr || !fn(unit_at(args, i, j), arg))
				return done;
	return done;
}

struct returning {
	struct pool *pool;
	uint64_t before, handle; /* of struct free_request */
	uint64_t not_of;         /* with a giver: this handle's own are looked at otherwise */
	uint32_t giver;          /* 0, or the member whose name is to stand in the header */
	uint64_t bad; /* address of the unit that can't be returned */
	enum free_fault fault;
};

/* Claimed, so that nobody else returns it now, and nobody leases it. */
static bool is_for_giver(const struct returning *ret, const struct page *page)
{
	return !ret->giver ||
	       (page[1].grant.request != ret->not_of &&
		slab_map_is_given(map_of(&ret->pool->leases, page), page_to_pfn(page), ret->giver));
}

static bool claim_unit(uint64_t address, void *arg)
{
	struct returning *ret = arg;
	struct free_request want = {
		.zones = &ret->pool->zones,
		.pfn = pool_address_to_pfn(ret->pool, address),
		.order = UNIT_ORDER,
		.session = ret->pool->leases.owner,
		.before = ret->before,
		.handle = ret->handle,
	};
	struct page *page;

	ret->bad = address;
	ret->fault = FREE_FOREIGN;
	if (!is_aligned(address, SLAB_UNIT_BYTES) || page_claim(&want, &page, &ret->fault))
		return false;
	if (!is_for_giver(ret, page)) {
		page_unclaim(page);
		ret->fault = FREE_FOREIGN;
		return false;
	}
	INJECT_TURN(RETURN_HALF);
	return true;
}

static struct page *page_at(struct pool *pool, uint64_t address)
{
	return pfn_to_page((uint32_t)pool_address_to_pfn(pool, address));
}

static bool unclaim_unit(uint64_t address, void *arg)
{
	page_unclaim(page_at(((struct returning *)arg)->pool, address));
	return true;
}

static bool unlist_unit(uint64_t address, void *arg)
{
	struct pool *pool = ((struct returning *)arg)->pool;
	struct page *page = page_at(pool, address);

	list_del(&page->lru);
	slab_map_return(map_of(&pool->leases, page), page_to_pfn(page));
	return true;
}

/* Who takes over what a dead member had must not find its name there: a client that returns what it
 * got too late to use has written nothing. What a dead daemon has claimed: leases_resume_unit(). */
static void unstamp_units(struct pool *pool, const struct slab_return_args *args)
{
	for (uint32_t i = 0; i < args->nr && !pool->is_private; i++) {
		struct page *page = page_at(pool, args->addresses[i]);

		slab_map_stamp(map_of(&pool->leases, page), page_to_pfn(page), args->units[i],
			       0);
	}
}

static bool free_unit(uint64_t address, void *arg)
{
	free_claimed_page(page_at(((struct returning *)arg)->pool, address));
	return true;
}

static const char *fault_text(enum free_fault fault)
{
	switch (fault) {
	case FREE_ABSENT:
	case FREE_DOUBLE:
		return "it is not leased, or named twice";
	case FREE_INSIDE:
		return "it is inside a page run";
	default:
		return "it is no unit that was leased in this pool";
	}
}

static int return_locked(struct pool_handle *ph, const struct slab_return_args *args,
			 uint32_t total, uint32_t giver, struct refusal *why)
{
	struct pool *pool = ph->pool;
	bool own = args->past.again && !giver;
	struct returning ret = { .pool = pool,
				 .before = own ? args->past.id : 0,
				 .handle = own ? ph->id : 0,
				 .not_of = ph->id,
				 .giver = giver };
	uint32_t claimed = for_units(args, total, claim_unit, &ret);

	if (claimed < total) {
		for_units(args, claimed, unclaim_unit, &ret);
		return refuse(why, -EINVAL, "returning the unit at %#llx: %s",
			      (unsigned long long)ret.bad, fault_text(ret.fault));
	}
	unstamp_units(pool, args);
	for_units(args, total, unlist_unit, &ret);
	pool->leases.nr_units -= total;
	return 0;
}

int leases_return(struct pool_handle *ph, const struct slab_return_args *args, uint32_t giver,
		  struct refusal *why)
{
	struct returning ret = { .pool = ph->pool };
	uint32_t total = 0;
	int r;

	for (uint32_t i = 0; i < args->nr; i++)
		total += args->units[i];
	mutex_lock(&ph->lock);
	mutex_lock(&ph->pool->leases.lock);
	if (ph->closed)
		r = refuse(why, -ENOTCONN, "the pool handle has been closed");
	else
		r = return_locked(ph, args, total, giver, why);
	if (!r)
		ph->nr_leased -= total;
	mutex_unlock(&ph->pool->leases.lock);
	mutex_unlock(&ph->lock);
	if (!r)
		for_units(args, total, free_unit, &ret);
	return r;
}

/* ---- the end ---- */

bool leases_end(struct leases *leases)
{
	bool any;

	mutex_lock(&leases->lock);
	any = leases->nr_units != 0;
	list_splice_tail(&leases->units, &leases->ended);
	leases->nr_ended += leases->nr_units;
	leases->nr_units = 0;
	new_owner(leases);
	mutex_unlock(&leases->lock);
	return any;
}

/* Nobody else can claim them (E2). */
static bool free_some(struct pool *pool)
{
	struct leases *leases = &pool->leases;
	struct page *pages[FREED_AT_ONCE];
	uint32_t nr = 0;

	gate_enter();
	mutex_lock(&leases->lock);
	while (nr < FREED_AT_ONCE && !list_empty(&leases->ended)) {
		struct page *page = list_first_entry(&leases->ended, struct page, lru);

		list_del(&page->lru);
		slab_map_return(map_of(leases, page), page_to_pfn(page));
		leases->nr_ended--;
		pages[nr++] = page;
	}
	mutex_unlock(&leases->lock);
	for (uint32_t i = 0; i < nr; i++)
		free_pages(pages[i], UNIT_ORDER);
	gate_leave();
	return nr == FREED_AT_ONCE;
}

void leases_free_ended(struct pool *pool)
{
	while (free_some(pool))
		;
	/* What those clients wrote means nothing to the next ones. */
	mutex_lock(&pool->leases.lock);
	for (int node = 0; node < MAX_NUMNODES; node++) {
		struct slab_map *map = pool->leases.maps[node];

		if (!map)
			continue;
		slab_map_shrink(map, UINT32_MAX, true);
		if (!pool->is_private)
			slab_map_forget(map);
	}
	mutex_unlock(&pool->leases.lock);
}

/* ---- figures, upkeep, checks ---- */

uint32_t leases_next_block(struct leases *leases, int node, uint32_t *block)
{
	const struct slab_map *map;
	uint32_t bits = 0;

	mutex_lock(&leases->lock);
	map = leases->maps[node];
	while (map && *block < map->nr_blocks && !(bits = slab_map_leased(map, *block)))
		++*block;
	mutex_unlock(&leases->lock);
	return bits;
}

uint64_t leases_bytes(struct leases *leases)
{
	uint64_t nr;

	mutex_lock(&leases->lock);
	nr = leases->nr_units;
	mutex_unlock(&leases->lock);
	return nr << SLAB_UNIT_SHIFT;
}

uint64_t leases_map_bytes(struct leases *leases)
{
	uint64_t pages = 0;

	mutex_lock(&leases->lock);
	for (int node = 0; node < MAX_NUMNODES; node++)
		pages += leases->maps[node] ? leases->maps[node]->nr_populated : 0;
	mutex_unlock(&leases->lock);
	return pages << PAGE_SHIFT;
}

int64_t leases_tick(struct leases *leases)
{
	int64_t nr = 0;

	mutex_lock(&leases->lock);
	for (int node = 0; node < MAX_NUMNODES; node++) {
		int64_t conjured;

		if (!leases->maps[node])
			continue;
		slab_map_shrink(leases->maps[node], PUNCHED_A_TICK, false);
		conjured = slab_map_audit(leases->maps[node]);
		nr += max_t(int64_t, conjured, 0);
	}
	mutex_unlock(&leases->lock);
	return nr;
}

/* The units of a pageblock, by struct pages, as the slab map has them. */
static uint32_t marked_units(uint32_t block, const struct pool *pool, struct validation *v)
{
	uint32_t bits = 0;

	for (uint32_t i = 0; i < UNITS_PER_BLOCK && block_is_present(block); i++) {
		const struct page *page = pfn_to_page(block_to_pfn(block) + i * UNIT_PAGES);

		if (!(page_session(page) & PAGE_UNIT))
			continue;
		bits |= 1u << i;
		validation_compare(v, pg_word(PG_ALLOCATED, UNIT_ORDER, 0), pg_load(page) & 0xff,
				   "state of the unit at %u", page_to_pfn(page));
		validation_compare(v, pool->id, page->pool, "pool of the unit at %u",
				   page_to_pfn(page));
	}
	return bits;
}

static uint64_t validate_window(struct pool *pool, int node, struct validation *v)
{
	const struct section *arena = pool->sections[node];
	const struct slab_map *map = pool->leases.maps[node];
	uint64_t nr = 0;

	for (uint32_t i = 0; i < arena->nr_frames >> PAGEBLOCK_ORDER; i++) {
		uint32_t block = pfn_to_block(arena->pfn) + i;
		uint32_t bits = marked_units(block, pool, v);

		nr += (uint64_t)__builtin_popcount(bits);
		validation_compare(v, bits, map ? slab_map_leased(map, i) : 0,
				   "leased units of pageblock %u", block);
	}
	if (map)
		slab_map_validate(map, v);
	return nr;
}

static void validate_list(const struct leases *leases, const struct list_head *list, bool current,
			  struct validation *v)
{
	uint64_t recorded = current ? leases->nr_units : leases->nr_ended, nr = 0;
	const struct page *page;

	list_for_each_entry(page, list, lru) {
		uint64_t owner = page_session(page);

		validation_expect(v, owner & PAGE_UNIT && current == (owner == leases->owner),
				  "owner of the listed unit at %u", page_to_pfn(page));
		if (++nr > recorded)
			break;
	}
	validation_compare(v, nr, recorded, "listed units");
}

void leases_validate(struct pool *pool, struct validation *v)
{
	struct leases *leases = &pool->leases;
	uint64_t marked = 0;

	mutex_lock(&leases->lock);
	for (int node = 0; node < nr_nodes; node++)
		if (pool->sections[node])
			marked += validate_window(pool, node, v);
	validate_list(leases, &leases->units, true, v);
	validate_list(leases, &leases->ended, false, v);
	validation_compare(v, marked, leases->nr_units + leases->nr_ended, "pool %s: leased units",
			   pool->name);
	mutex_unlock(&leases->lock);
}
