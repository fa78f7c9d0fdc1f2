/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_region - from a name to a region, made at most once
 *
 * Race        two openers that both find no region both make one; the second to reach the list
 *             gives its own back and opens the first's.
 */
#include "client/pool_region.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/access.h"
#include "client/account.h"
#include "client/address.h"
#include "client/pool_limits.h"
#include "mm/obj/slab.h"
#include "mm/phys/node.h"
#include "mm/space/lineage.h"
#include "mmbroker.h"

static struct kmem_cache *pool_region_cache; /* fixed after init */
static _Atomic uint64_t nr_live;
static _Atomic uint64_t next_id = 1;

void pool_regions_init(void)
{
	pool_region_cache = KMEM_CACHE(pool_region, 0);
}

uint64_t pool_region_live(void)
{
	return atomic_load(&nr_live);
}

static void unpromise(struct pool *pool, uint64_t bytes, bool huge)
{
	memcg_unpromise(&pool->memcg, bytes >> PAGE_SHIFT, huge);
	pool_uncharge(pool, bytes);
}

/* What a region of so many bytes takes of the span, resident or not. */
static uint64_t span_of(uint64_t bytes)
{
	return round_up(bytes >> PAGE_SHIFT, PAGEBLOCK_PAGES);
}

static void uncharge_uid(uid_t uid, uint64_t bytes)
{
	account_uncharge_span(uid, span_of(bytes));
	account_uncharge(uid, ACCOUNT_REGIONS);
}

/* What is promised whole is bounded by what there is of memory and swap, and only counted. */
static int charge_uid(uid_t uid, uint64_t bytes, bool whole, struct refusal *why)
{
	uint32_t limit;
	int r = account_charge(uid, ACCOUNT_REGIONS, &limit);

	if (r == -EDQUOT)
		return refuse(why, r,
			      "uid %u has %u regions, which is the limit; close some, or raise "
			      "limits.regions_per_uid and what the service manager's store holds "
			      "(half of what sessions leave of it is one user's)",
			      uid, limit);
	if (r)
		return refuse(why, r, "no memory for another region");
	r = whole ? account_recharge_span(uid, span_of(bytes))
		  : account_charge_span(uid, span_of(bytes));
	if (!r)
		return 0;
	account_uncharge(uid, ACCOUNT_REGIONS);
	return refuse(why, r,
		      "regions of uid %u and the arenas of its pools may span %llu bytes, resident "
		      "or not, and no more than is left for others, and %llu more don't fit; ask "
		      "for less, close some, or raise limits.span_per_uid",
		      uid, (unsigned long long)limits_get()->span_per_uid,
		      (unsigned long long)bytes);
}

/* G2: what making it has charged. */
static void undo(struct pool_region *pr)
{
	struct pool *pool = pr->pool;

	record_free(RECORD_REGION, pr->record);
	memcg_uncharge(&pool->memcg, MEMCG_TABLES, pr->tables);
	unpromise(pool, pr->charged, pr->huge);
	address_free(&pr->address);
	uncharge_uid(pr->uid, pr->bytes);
	kmem_cache_free(pool_region_cache, pr);
	atomic_fetch_sub(&nr_live, 1);
	pool_del_region(pool);
}

static void released(void *owner)
{
	struct pool_region *pr = owner;

	if (pr->lingers) {
		mutex_lock(&pr->pool->lock);
		list_del(&pr->link);
		mutex_unlock(&pr->pool->lock);
	}
	undo(pr);
}

static void keeps(void *owner, uint64_t bytes)
{
	struct pool_region *pr = owner;

	mutex_lock(&pr->pool->lock);
	if (bytes < pr->charged) {
		unpromise(pr->pool, pr->charged - bytes, pr->huge);
		pr->charged = bytes;
	}
	mutex_unlock(&pr->pool->lock);
}

/* With its new parent's frames for what it inherits, also after a restart. */
static void adopted(void *owner, void *parent)
{
	struct pool_region *pr = owner, *above = parent;
	uint64_t id = above ? above->id : 0;

	atomic_store(&pr->parent, id);
	if (pr->record)
		record_word_set(&pr->record->parent, id);
}

/* The last handle and the name are gone. What was cloned from it may still need its frames: then it
 * stays for those. The pool's lock is held. */
static void end_locked(struct pool_region *pr)
{
	list_del(&pr->link);
	pr->lingers = clone_close(pr->region);
	if (pr->lingers) {
		list_add_tail(&pr->link, &pr->pool->lingering);
		record_word_set(&pr->record->closed, 1);
		return; /* with its record: its clones need it after a restart, too */
	}
	record_free(RECORD_REGION, pr->record);
	pr->record = NULL;
}

/* Its swap_max may be what keeps it from being promised swap. */
static int refuse_region(const struct region_refusal *why, const struct region_open_args *args,
			 bool keeps_in_memory, int code, struct refusal *out)
{
	if (why->what == REFUSED_COMMIT)
		return refuse(
			out, -ENOMEM,
			"%llu bytes are asked for and %llu can still be granted of the %s stock; "
			"free memory, ask for less, or raise memory.%s%s",
			(unsigned long long)args->length, (unsigned long long)why->available,
			why->kind == STOCK_HUGE ? "huge-page" : "base",
			why->kind == STOCK_HUGE ? "reserve_huge" : "reserve",
			keeps_in_memory ? ", or the pool's swap_max" : "");
	if (why->what == REFUSED_METADATA)
		return refuse(out, -ENOMEM,
			      "no memory for the page table of %llu bytes; free memory "
			      "or raise memory.reserve",
			      (unsigned long long)args->length);
	if (code == -ENOSPC)
		return refuse(out, -ENOSPC,
			      "no span of %llu bytes is left beside other regions and arenas, "
			      "which take it resident or not; ask for 1 GiB or less, or close "
			      "large ones",
			      (unsigned long long)args->length);
	return refuse(out, code == -EMFILE ? -EMFILE : -ENOMEM,
		      "the region can't be set up: %s; the daemon is short of %s", strerror(-code),
		      code == -EMFILE ? "descriptors (LimitNOFILE, FileDescriptorStoreMax)"
				       : "memory");
}

static int choose_address(struct pool_region *pr, const struct region_open_args *args,
			  struct refusal *why)
{
	uint64_t align = pr->bytes >= PAGEBLOCK_SIZE ? PAGEBLOCK_SIZE : PAGE_SIZE;
	int r;

	if (args->address) {
		pr->start = args->address;
		return 0;
	}
	r = address_alloc(&pr->address, round_up(pr->bytes, align), align);
	if (r)
		return refuse(why, r,
			      "no address range of %llu bytes is left; close regions, or name "
			      "an address",
			      (unsigned long long)pr->bytes);
	pr->start = pr->address.start;
	return 0;
}

static uint32_t page_size_of(const struct region_open_args *args)
{
	return args->page_size ? args->page_size : PAGE_SIZE;
}

/* Of a region that is promised nothing there may be more than memory has. */
static uint64_t tables_of(uint64_t nr_pages)
{
	return round_up(nr_pages, PAGEBLOCK_PAGES) * sizeof(uint64_t) >> PAGE_SHIFT;
}

static int charge_tables(struct pool_region *pr, const struct region_open_args *args,
			 struct refusal *why)
{
	struct memcg *memcg = &pr->pool->memcg;
	uint64_t frames = tables_of(args->length / page_size_of(args));
	int r;

	if (!atomic_load(&memcg->overcommit))
		return 0;
	r = memcg_charge(memcg, MEMCG_TABLES, frames);
	if (r)
		return refuse(why, r,
			      "the page table of %llu bytes takes %llu of the %llu bytes that pool "
			      "'%s' may have in memory, which aren't left; ask for less, or raise "
			      "its max",
			      (unsigned long long)args->length,
			      (unsigned long long)(frames << PAGE_SHIFT),
			      (unsigned long long)(memcg_limit(memcg, MEMCG_MAX) << PAGE_SHIFT),
			      pr->pool->name);
	pr->tables = frames;
	return 0;
}

static int make_region(struct pool_region *pr, const struct pool_region_request *request,
		       struct refusal *why)
{
	const struct region_open_args *args = request->args;
	const struct node_policy *nodes =
		args->nodes.policy || args->nodes.mask ? &args->nodes : &request->pool->nodes;
	struct region_refusal because;
	struct region_request want = {
		.name = args->name,
		.nr_pages = args->length / page_size_of(args),
		.page_shift = (unsigned int)__builtin_ctz(page_size_of(args)),
		.policy = (enum region_policy)nodes->policy,
		.node_mask = nodes->mask,
		.home_node = request->home_node,
		.released = released,
		.keeps = keeps,
		.adopted = adopted,
		.owner = pr,
		.owner_id = pr->id,
		.movable = request->pool->movable,
		.memcg = &request->pool->memcg,
		.overcommit = atomic_load(&request->pool->memcg.overcommit),
	};
	int r = region_new(&want, &pr->region, &because);
	bool limited;

	if (!r)
		return 0;
	limited = memcg_limit(want.memcg, MEMCG_SWAP_MAX) != MEMCG_NO_LIMIT;
	return refuse_region(&because, args, limited, r, why);
}

/* The list's lock is held, or nobody knows the region yet. */
static void set_name(struct pool_region *pr, const char *name)
{
	snprintf(pr->name, sizeof(pr->name), "%.*s", NAME_MAX_BYTES, name);
	atomic_store(&pr->is_named, pr->name[0] != 0);
}

/* What a region's record says of the name that it has. Pending: whoever makes it has no handle yet,
 * and nobody else has opened it; the next daemon would end it. */
enum { NAME_NONE, NAME_GIVEN, NAME_PENDING };

static void record_name(struct pool_region *pr, uint64_t state)
{
	record_word_set(&pr->record->named, state);
}

static void commit_record(struct pool_region *pr)
{
	struct region_record *record = pr->record;
	struct region *region = pr->region;

	record->id = pr->id;
	record->pool = pr->pool->id;
	record->nr_pages = region->nr_pages;
	record->node_mask = region->node_mask;
	record->start = pr->start;
	record->bytes = pr->bytes;
	record->range_start = pr->address.start;
	record->range_length = pr->address.length;
	/* What is promised to an overcommitted one is what is resident. */
	for (int node = 0; node < MAX_NUMNODES && !region->overcommit; node++)
		record->committed[node] = atomic_load(&region->committed[node]);
	record->family = region->family;
	record->section = region->section->id;
	record->page_shift = region->page_shift;
	record->policy = region->policy;
	record->home_node = (uint32_t)region->home_node;
	record->uid = pr->uid;
	record->gid = pr->gid;
	record->mode = pr->mode;
	record->overcommit = region->overcommit;
	memcpy(record->name, pr->name, sizeof(record->name));
	record_name(pr, pr->name[0] ? NAME_PENDING : NAME_NONE);
	record_word_set(&record->huge, region->huge);
	record_word_set(&record->parent, atomic_load(&pr->parent));
	record_word_set(&record->closed, 0);
	record_commit(RECORD_REGION, record);
}

static int promise(struct pool *pool, const struct region_open_args *args, struct refusal *why)
{
	const struct memcg *memcg = &pool->memcg;
	uint64_t frames = args->length >> PAGE_SHIFT;
	bool huge = page_size_of(args) > PAGE_SIZE;
	/* First: what may be committed depends on it. */
	int r = memcg_promise(&pool->memcg, frames, huge);

	if (!r && pool_charge(pool, args->length)) {
		r = refuse(why, -ENOMEM,
			   "pool '%s' may commit %llu bytes and %llu are taken; %llu more are "
			   "asked for",
			   pool->name, (unsigned long long)pool_commit_limit(pool),
			   (unsigned long long)atomic_load(&pool->committed),
			   (unsigned long long)args->length);
		memcg_unpromise(&pool->memcg, frames, huge);
		return r;
	}
	if (!r)
		return 0;
	atomic_fetch_add(&pool->nr_refused, 1);
	return refuse(why, r,
		      "%llu of the %llu bytes that pool '%s' may have in memory are objects, page "
		      "runs and locked pages, which can't be swapped out: too little is left for "
		      "the pages of %llu bytes more; raise its max",
		      (unsigned long long)(atomic_load(&memcg->pinned) << PAGE_SHIFT),
		      (unsigned long long)(memcg_limit(memcg, MEMCG_MAX) << PAGE_SHIFT),
		      pool->name, (unsigned long long)args->length);
}

int pool_region_make(const struct pool_region_request *request, struct pool_region **out,
			   struct refusal *why)
{
	const struct region_open_args *args = request->args;
	bool huge = page_size_of(args) > PAGE_SIZE;
	struct pool_region *pr;
	void *record = NULL;
	bool whole = !atomic_load(&request->pool->memcg.overcommit);
	int r = charge_uid(request->creator->uid, args->length, whole, why);

	if (r)
		return r;
	r = promise(request->pool, args, why);
	if (r) {
		uncharge_uid(request->creator->uid, args->length);
		return r;
	}
	pr = kmem_cache_zalloc(pool_region_cache, GFP_KERNEL);
	if (!pr) {
		unpromise(request->pool, args->length, huge);
		uncharge_uid(request->creator->uid, args->length);
		return refuse(why, -ENOMEM, "no memory for another region");
	}
	atomic_fetch_add(&nr_live, 1);
	pr->id = atomic_fetch_add(&next_id, 1);
	pr->pool = request->pool;
	pr->uid = request->creator->uid;
	pr->gid = request->creator->gid;
	pr->mode = args->mode;
	pr->bytes = args->length;
	pr->charged = args->length;
	pr->huge = huge;
	pr->nr_handles = 1;
	atomic_store(&pr->parent, request->parent);
	set_name(pr, args->name);
	pool_add_region(request->pool);
	r = record_new(RECORD_REGION, &record);
	pr->record = record;
	r = r ? refuse(why, r, "no memory for another region") : choose_address(pr, args, why);
	if (!r)
		r = charge_tables(pr, args, why);
	if (!r)
		r = make_region(pr, request, why);
	if (r) {
		atomic_fetch_add(&request->pool->nr_refused, r == -ENOMEM);
		undo(pr);
		return r;
	}
	*out = pr;
	return 0;
}

/* ---- resume ---- */

static struct section *section_of_record(const struct region_record *record)
{
	struct section *section = section_by_id(record->section);
	uint64_t frames = record->nr_pages << (record->page_shift - PAGE_SHIFT);

	if (!section || section->owner || section->type != SECTION_REGION ||
	    section_records[section->id].owner_id != record->id || frames > section->nr_frames)
		return NULL;
	return section;
}

static int resume_address(struct pool_region *pr, const struct region_record *record)
{
	pr->start = record->start;
	if (!record->range_length)
		return 0;
	return address_take(&pr->address, record->range_start, record->range_length);
}

/* Of a closed one the promise is found out anew, as of one that overcommits. */
static int resume_region(struct pool_region *pr, const struct region_record *record)
{
	static const uint64_t nothing[MAX_NUMNODES];
	uint64_t closed = 0;
	bool known = record_word_get(&record->closed, &closed);
	struct region_resume_request want = {
		.region = {
			.name = pr->name,
			.nr_pages = record->nr_pages,
			.page_shift = record->page_shift,
			.policy = (enum region_policy)record->policy,
			.node_mask = record->node_mask,
			.home_node = (int)record->home_node,
			.released = released,
			.keeps = keeps,
			.adopted = adopted,
			.owner = pr,
			.owner_id = record->id,
			.movable = pr->pool->movable,
			.memcg = &pr->pool->memcg,
			.overcommit = record->overcommit || closed,
		},
		.section = section_of_record(record),
		.committed = known && closed ? nothing : record->committed,
	};
	uint64_t huge;
	int r = region_resume(&want, &pr->region);

	if (!r && record_word_get(&record->huge, &huge))
		atomic_store(&pr->region->huge, huge);
	if (!r)
		pr->region->family = record->family;
	return r;
}

int pool_region_resume(struct region_record *record, struct pool_region **out)
{
	struct pool *pool = pool_by_id(record->pool);
	struct pool_region *pr;
	uint64_t named, parent = 0;
	int r;

	if (!pool || !section_of_record(record) || record->home_node >= (uint32_t)nr_nodes)
		return -EUCLEAN;
	pr = kmem_cache_zalloc(pool_region_cache, GFP_KERNEL);
	if (!pr)
		return -ENOMEM;
	pr->id = record->id;
	pr->pool = pool;
	pr->uid = record->uid;
	pr->gid = record->gid;
	pr->mode = record->mode;
	pr->bytes = record->bytes;
	pr->charged = record->bytes;
	pr->huge = record->page_shift > PAGE_SHIFT;
	pr->nr_handles = 1;
	pr->record = record;
	record_word_get(&record->parent, &parent);
	atomic_store(&pr->parent, parent);
	if (record_word_get(&record->named, &named) && named == NAME_GIVEN)
		set_name(pr, record->name);
	r = account_recharge(pr->uid, ACCOUNT_REGIONS);
	if (!r)
		r = account_recharge_span(pr->uid, span_of(pr->bytes));
	if (!r)
		r = resume_address(pr, record);
	if (!r)
		r = resume_region(pr, record);
	if (r)
		return r; /* the daemon doesn't start */
	pr->tables = record->overcommit ? tables_of(record->nr_pages) : 0;
	memcg_recharge_tables(&pool->memcg, pr->tables);
	atomic_fetch_add(&nr_live, 1);
	atomic_store(&next_id, max_t(uint64_t, atomic_load(&next_id), pr->id + 1));
	pool_recharge(pool, pr->bytes, pr->huge);
	pool_add_region(pool);
	mutex_lock(&pool->lock);
	list_add_tail(&pr->link, &pool->regions);
	mutex_unlock(&pool->lock);
	*out = pr;
	return 0;
}

void pool_region_reopen(struct pool_region *pr)
{
	mutex_lock(&pr->pool->lock);
	CHECK(pr->nr_handles);
	pr->nr_handles++;
	pr->opened_again = true;
	mutex_unlock(&pr->pool->lock);
}

static struct pool_region *find_name(struct pool *pool, const char *name)
{
	struct pool_region *pr;

	list_for_each_entry(pr, &pool->regions, link)
		if (!strcmp(pr->name, name))
			return pr;
	return NULL;
}

static int check_existing(const struct pool_region *pr, const struct pool_region_request *request,
			  struct refusal *why)
{
	const struct region_open_args *args = request->args;
	struct access_owner owner = { pr->uid, pr->gid, pr->mode };
	/* Who may only read may not keep others' pages in memory. */
	bool reads = args->flags & MMB_REGION_READONLY && !(args->flags & MMB_REGION_LOCKED);
	uint32_t wanted = reads ? ACCESS_READ : ACCESS_READ | ACCESS_WRITE;

	if ((args->flags & MMB_REGION_CREATE) && (args->flags & MMB_REGION_EXCL))
		return refuse(why, -EEXIST, "region '%s' exists already", args->name);
	if (!access_allowed(request->creator, &owner, wanted))
		return refuse(why, -EACCES,
			      "uid %u may not open region '%s' (owner %u, mode %04o) %s",
			      request->creator->uid, args->name, pr->uid, pr->mode,
			      reads				       ? "for reading"
			      : args->flags & MMB_REGION_READONLY ? "locked, as for writing"
								       : "for writing");
	if (args->length && args->length != pr->bytes)
		return refuse(why, -EINVAL,
			      "region '%s' has %llu bytes, not %llu; 0 opens it as it is",
			      args->name, (unsigned long long)pr->bytes,
			      (unsigned long long)args->length);
	if (args->page_size && args->page_size != region_page_bytes(pr->region))
		return refuse(why, -EINVAL, "region '%s' has pages of %llu bytes, not %u",
			      args->name, (unsigned long long)region_page_bytes(pr->region),
			      args->page_size);
	return 0;
}

int pool_region_open(const struct pool_region_request *request, struct pool_region **out,
		     bool *created, struct refusal *why)
{
	const struct region_open_args *args = request->args;
	struct pool *pool = request->pool;
	struct pool_region *pr = NULL;
	int r = 0;

	*created = false;
	mutex_lock(&pool->lock);
	if (args->name[0])
		pr = find_name(pool, args->name);
	if (pr) {
		r = check_existing(pr, request, why);
		if (!r) {
			pr->nr_handles++;
			pr->opened_again = true;
			record_name(pr, NAME_GIVEN);
		}
	} else if (args->name[0] && args->flags & MMB_REGION_CREATE && !args->length) {
		r = refuse(why, -EINVAL, "region '%s' doesn't exist, and making it needs a length",
			   args->name);
	} else if (args->name[0] && !(args->flags & MMB_REGION_CREATE)) {
		r = refuse(why, -ENOENT,
			   "pool '%s' has no region '%s'; MMB_REGION_CREATE makes one", pool->name,
			   args->name);
	}
	mutex_unlock(&pool->lock);
	if (r || pr) {
		*out = pr;
		return r;
	}
	r = pool_region_make(request, &pr, why);
	if (r)
		return r;
	mutex_lock(&pool->lock);
	if (args->name[0] && find_name(pool, args->name)) {
		/* Somebody was faster; once more, as an opener. */
		mutex_unlock(&pool->lock);
		region_put(pr->region);
		return pool_region_open(request, out, created, why);
	}
	list_add_tail(&pr->link, &pool->regions);
	commit_record(pr);
	mutex_unlock(&pool->lock);
	*created = true;
	*out = pr;
	return 0;
}

int pool_region_list(struct pool_region *pr, struct refusal *why)
{
	struct pool *pool = pr->pool;
	int r = 0;

	mutex_lock(&pool->lock);
	if (pr->name[0] && find_name(pool, pr->name))
		r = refuse(why, -EEXIST, "region '%s' exists already", pr->name);
	if (!r) {
		list_add_tail(&pr->link, &pool->regions);
		commit_record(pr);
	}
	mutex_unlock(&pool->lock);
	return r;
}

static int name_locked(struct pool_region *pr, const char *name, struct refusal *why)
{
	struct pool_region *other = find_name(pr->pool, name);

	if (other && other != pr)
		return refuse(why, -EEXIST, "region '%s' exists already", name);
	set_name(pr, name);
	record_name(pr, NAME_GIVEN);
	return 0;
}

int pool_region_name(struct pool_region *pr, const char *name, struct refusal *why)
{
	int r;

	if (!name[0])
		return 0;
	mutex_lock(&pr->pool->lock);
	r = name_locked(pr, name, why);
	mutex_unlock(&pr->pool->lock);
	return r;
}

int pool_region_settle_name(struct pool_region *pr, const char *name, struct refusal *why)
{
	uint64_t state;
	int r = 0;

	mutex_lock(&pr->pool->lock);
	if (record_word_get(&pr->record->named, &state) && state == NAME_PENDING)
		r = name_locked(pr, name, why);
	mutex_unlock(&pr->pool->lock);
	return r;
}

static void abandon_locked(struct pool_region *pr)
{
	if (pr->nr_handles != 1)
		return;
	set_name(pr, "");
	record_name(pr, NAME_NONE);
}

void pool_region_abandon(struct pool_region *pr)
{
	mutex_lock(&pr->pool->lock);
	abandon_locked(pr);
	mutex_unlock(&pr->pool->lock);
}

void pool_region_unmake(struct pool_region *pr)
{
	mutex_lock(&pr->pool->lock);
	if (!pr->opened_again)
		abandon_locked(pr);
	mutex_unlock(&pr->pool->lock);
}

void pool_region_lose(struct pool_region *pr)
{
	mutex_lock(&pr->pool->lock);
	set_name(pr, "");
	mutex_unlock(&pr->pool->lock);
}

void pool_region_close(struct pool_region *pr)
{
	struct pool *pool = pr->pool;
	bool ended;

	mutex_lock(&pool->lock);
	CHECK(pr->nr_handles);
	ended = !--pr->nr_handles && (!pr->name[0] || pool->is_private);
	if (ended)
		end_locked(pr);
	mutex_unlock(&pool->lock);
	/* Not under the lock: the region's end may be the pool's, with its lock. */
	if (ended)
		region_put(pr->region);
}

static bool unlinked_before(const struct unlink_request *want, const struct pool_region *pr)
{
	return want->carried && carried_before(want->carried, &want->past, pr ? pr->id : 0);
}

static int check_unlink(const struct pool *pool, const struct pool_region *pr,
			const struct unlink_request *want, struct refusal *why)
{
	uid_t uid = want->peer->uid;

	if (!pr)
		return refuse(why, -ENOENT, "pool '%s' has no region '%s'", pool->name, want->name);
	if (uid && uid != pr->uid && uid != pool->uid)
		return refuse(why, -EACCES,
			      "only the owner of region '%s', of pool '%s', or root may unlink it",
			      want->name, pool->name);
	return 0;
}

/* Crash: noted before, so that a repeated request ends this name and no later one. */
static bool unlink_locked(struct pool_region *pr, const struct unlink_request *want)
{
	bool ended = !pr->nr_handles;

	if (want->carried)
		carried_note(want->carried, &want->past, pr->id);
	set_name(pr, "");
	record_name(pr, NAME_NONE);
	if (ended)
		end_locked(pr);
	return ended;
}

int pool_region_unlink(struct pool *pool, const struct unlink_request *want, struct refusal *why)
{
	struct pool_region *pr;
	bool ended = false;
	int r = 0;

	mutex_lock(&pool->lock);
	pr = find_name(pool, want->name);
	if (!unlinked_before(want, pr)) {
		r = check_unlink(pool, pr, want, why);
		if (!r)
			ended = unlink_locked(pr, want);
	}
	mutex_unlock(&pool->lock);
	if (ended)
		region_put(pr->region);
	return r;
}

/* False: no region has a name. *ended gets it if the name was all it had. */
static bool unlink_one(struct pool *pool, struct pool_region **ended)
{
	struct pool_region *pr;
	bool found = false;

	*ended = NULL;
	mutex_lock(&pool->lock);
	list_for_each_entry(pr, &pool->regions, link) {
		if (!pr->name[0])
			continue;
		found = true;
		set_name(pr, "");
		record_name(pr, NAME_NONE);
		if (!pr->nr_handles) {
			end_locked(pr);
			*ended = pr;
		}
		break;
	}
	mutex_unlock(&pool->lock);
	return found;
}

void pool_region_unlink_all(struct pool *pool)
{
	struct pool_region *ended;

	while (unlink_one(pool, &ended))
		if (ended)
			region_put(ended->region);
}
