/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_region - open, close, unlink regions; where they are mapped; their figures
 *
 * Crash       window, then the handle's record, then the name (pool_region.h): a window without
 *             handle is forgotten, a handle is found by the request that made it, which is done
 *             once more from there. Closing ends the record first.
 * Not here    Advice and locks on ranges (verbs_range.c).
 */
#include <errno.h>
#include <string.h>

#include "client/access.h"
#include "client/account.h"
#include "client/address.h"
#include "client/arena_ahead.h"
#include "client/pool_stat.h"
#include "client/region_open.h"
#include "client/session.h"
#include "mm/map/swap.h"
#include "mm/space/clone.h"
#include "mm/space/fault.h"
#include "mm/space/lane.h"
#include "mm/space/lineage.h"
#include "mm/space/mapping.h"
#include "mmbroker.h"
#include "os/os.h"

enum {
	REGION_FLAGS = MMB_REGION_CREATE | MMB_REGION_EXCL | MMB_REGION_READONLY |
		       MMB_REGION_POPULATE | MMB_REGION_LOCKED,
	LENGTH_MAX_SHIFT = 43, /* 8 TiB: half of the pfn space */
};

/* ---- open ---- */

static int check_length(struct region_open_args *args, struct refusal *why)
{
	bool creates = !args->name[0] || args->flags & MMB_REGION_CREATE;

	if (args->page_size && args->page_size != PAGE_SIZE && args->page_size != PAGEBLOCK_SIZE)
		return refuse(why, -EINVAL, "pages of %u bytes don't exist; 4096 or 2097152",
			      args->page_size);
	if (!args->length && !args->name[0])
		return refuse(why, -EINVAL, "an unnamed region needs a length above 0");
	if (args->length >> LENGTH_MAX_SHIFT)
		return refuse(why, -EINVAL, "%llu bytes are more than a region can have, 2^%d",
			      (unsigned long long)args->length, LENGTH_MAX_SHIFT);
	if (creates && args->length % (args->page_size ? args->page_size : PAGE_SIZE))
		return refuse(why, -EINVAL, "%llu bytes are not a multiple of the page size %u",
			      (unsigned long long)args->length,
			      args->page_size ? args->page_size : PAGE_SIZE);
	return 0;
}

static int check_open_args(struct region_open_args *args, struct refusal *why)
{
	int r;

	if (args->flags & ~(uint32_t)REGION_FLAGS)
		return refuse(why, -EINVAL, "region flags %#x have unknown bits; known are %#x",
			      args->flags, REGION_FLAGS);
	if (!args->name[0] && args->flags & MMB_REGION_READONLY)
		return refuse(why, -EINVAL,
			      "an unnamed region can't be read-only: nobody could fill it");
	r = args->name[0] ? name_check("region", args->name, why) : 0;
	if (!r)
		r = check_length(args, why);
	if (!r)
		r = mode_check(&args->mode, why);
	if (!r)
		r = node_policy_check(&args->nodes, why);
	if (!r && args->address &&
	    (!address_is_legal(args->address, args->length) ||
	     args->address % (args->page_size ? args->page_size : PAGE_SIZE)))
		r = refuse(why, -EINVAL,
			   "a region can't be mapped at %#llx: not aligned, or outside a "
			   "process's address space",
			   (unsigned long long)args->address);
	return r;
}

int region_describe(struct region_handle *rh, uint32_t flags, struct region_opened *out)
{
	struct region *region = rh->pr->region;
	int fd = region->section->fd;

	out->page_size = (uint32_t)region_page_bytes(region);
	out->flags = flags & (MMB_REGION_READONLY | MMB_REGION_LOCKED);
	out->length = rh->pr->bytes;
	out->address = atomic_load(&rh->start);
	out->hugetlb = region_is_hugetlb(region);
	out->evictable = swap_capacity() > 0;
	out->fd = rh->readonly ? os->reopen_readonly(fd) : os->dup(fd);
	if (out->fd < 0)
		return out->fd;
	out->base_fd = atomic_exchange(&rh->base_fd, -1);
	return 0;
}

int region_describe_again(struct session *s, struct region_handle *rh, uint32_t flags,
			  struct region_opened *out)
{
	int r = region_describe(rh, flags, out);
	struct mm *mm = NULL;

	if (!r && out->base_fd < 0 && region_kin(rh->pr->region))
		mm = session_mm(s);
	if (!mm)
		return r;
	mm_show_own(mm, out->handle);
	mm_put(mm);
	return 0;
}

struct reader {
	const struct session *s;
	const struct region_handle *rh;
};

/* The session's lock is held. */
static bool has_open(const struct session *s, const struct pool_region *pr)
{
	const struct region_handle *rh;
	uint32_t cursor = 0, handle;

	while ((rh = handles_next(&s->regions, &cursor, &handle)))
		if (rh->pr == pr)
			return true;
	return false;
}

/* Who has its memory sees what is written there from now on, too: only who could see that anyway.
 * The mode of what has no name says nothing. */
static bool may_read(const struct region *ancestor, void *arg)
{
	const struct reader *reader = arg;
	const struct pool_region *pr = ancestor->owner;
	struct access_owner owner = { pr->uid, pr->gid, pr->mode };

	return pr->pool == reader->rh->pr->pool &&
	       (has_open(reader->s, pr) ||
		(atomic_load(&pr->is_named) &&
		 access_allowed(&reader->s->peer, &owner, ACCESS_READ)));
}

/* A clone's window shows its ancestor's memory at first, if the session may read that, if both are
 * of one pool, and if the client can map parts anew. Else pages are copied when touched. The
 * session's lock is held. */
static uint32_t open_base(struct session *s, struct region_handle *rh)
{
	struct reader reader = { s, rh };
	struct region *region = rh->pr->region;
	uint32_t section = 0;
	int fd;

	if (!region_kin(region) || !s->can_remap ||
	    (region_is_hugetlb(region) && !s->can_remap_huge) || !fault_can_share() ||
	    !s->upcalls.listens || !s->upcalls.listens(s->upcall_context))
		return 0;
	fd = clone_open_base(region, may_read, &reader, &section);
	fd = atomic_exchange(&rh->base_fd, fd);
	if (fd >= 0)
		os->close(fd);
	return atomic_load(&rh->base_fd) < 0 ? 0 : section;
}

/* The common address, or, if this session has something there, one of its own. */
static int add_window(struct session *s, struct region_handle *rh, uint32_t handle,
		      uint64_t address, uint32_t shown)
{
	struct window_request want = {
		.region = rh->pr->region,
		.start = address ? address : rh->pr->start,
		.length = rh->pr->bytes,
		.handle = handle,
		.readonly = rh->readonly,
		.shown = shown,
	};
	int r;

	mm_await_changes(s->mm);
	r = mm_add_window(s->mm, &want);
	if (r == -EEXIST && !address) {
		want.start =
			mm_find_gap(s->mm, want.length, PAGEBLOCK_SIZE, address_private_bounds);
		r = want.start ? mm_add_window(s->mm, &want) : -EADDRNOTAVAIL;
	}
	if (!r)
		atomic_store(&rh->start, want.start);
	if (!r && rh->record)
		record_word_set(&rh->record->start, want.start >> PAGE_SHIFT);
	return r;
}

/* Before the client hears of it: where a window has gone or is new, nothing is mapped any more for
 * one that was there before. */
static void settle_windows(struct session *s)
{
	struct mm *mm = session_mm(s);

	if (!mm)
		return;
	map_late_sync(mm);
	mm_put(mm);
}

/* S2: handle and window together, unless the session has ended. */
int region_publish(struct session *s, struct region_handle *rh,
		   const struct region_open_args *args, uint32_t *handle, struct refusal *why)
{
	int r = 0;

	mutex_lock(&s->lock);
	if (s->ended)
		r = refuse(why, -ENOTCONN, "the session has ended");
	else if (!s->mm)
		r = refuse(why, -EUNATCH, "ATTACH a userfaultfd first");
	else if (s->regions.nr_used >= limits_get()->regions_per_session)
		r = refuse(why, -EDQUOT,
			   "this session has %u regions, which is the limit; close some, or "
			   "raise limits.regions_per_session",
			   s->regions.nr_used);
	if (!r) {
		*handle = handles_add(&s->regions, rh);
		r = *handle ? add_window(s, rh, *handle, args->address, open_base(s, rh)) : -ENOMEM;
		if (r == -EEXIST)
			r = -EADDRNOTAVAIL;
		if (r) {
			handles_del(&s->regions, *handle);
			refuse(why, r, "no place for the region in the session's address map: %s",
			       r == -EADDRNOTAVAIL ? "another region is there" : strerror(-r));
		} else {
			atomic_fetch_add(&rh->refs, 1);
			region_handle_commit(rh, s, *handle, args);
		}
	}
	mutex_unlock(&s->lock);
	settle_windows(s);
	return r;
}

int region_populate_whole(struct region_handle *rh, uint32_t flags, struct refusal *why)
{
	struct region *region = rh->pr->region;
	struct page_range all = { 0, region->nr_pages };
	int r = 0;

	if (flags & MMB_REGION_LOCKED)
		r = region_lock_pages(region, all);
	else if (flags & MMB_REGION_POPULATE)
		r = region_populate(region, all);
	return r ? refuse(why, r,
			  "the region's pages can't all be produced: %s; the host is short of "
			  "memory (see mmbctl doctor)",
			  strerror(-r))
		 : 0;
}

static int open_handle(struct session *s, struct pool *pool, const struct region_open_args *args,
		       struct region_handle **out, bool *created, struct refusal *why)
{
	struct pool_region_request want = {
		.pool = pool, .creator = &s->peer, .args = args, .home_node = session_home_node(s)
	};
	struct pool_region *pr;
	int r = pool_region_open(&want, &pr, created, why);

	if (r)
		return r;
	*out = region_handle_new(pr, args->flags & MMB_REGION_READONLY);
	if (*out)
		return 0;
	if (*created)
		pool_region_abandon(pr);
	pool_region_close(pr);
	return refuse(why, -ENOMEM, "no memory for another region handle");
}

static int open_in_pool(struct session *s, struct pool *pool, const struct region_open_args *args,
			struct region_opened *out, struct refusal *why)
{
	struct region_handle *rh;
	uint32_t handle = 0;
	/* Before the region is charged, which may leave no room for it. */
	void *record = NULL;
	int r = s->record ? record_new(RECORD_HANDLE, &record) : 0;

	if (r)
		return refuse(why, r, "no memory for another region handle");
	r = open_handle(s, pool, args, &rh, &out->created, why);
	if (r) {
		record_free(RECORD_HANDLE, record);
		return r;
	}
	rh->record = record;
	rh->made = out->created;
	r = region_publish(s, rh, args, &handle, why);
	if (!r) {
		out->handle = handle;
		r = out->created ? pool_region_settle_name(rh->pr, args->name, why) : 0;
		if (!r)
			r = region_populate_whole(rh, args->flags, why);
		if (!r) {
			r = region_describe(rh, args->flags, out);
			if (r)
				refuse(why, r, "the region's descriptor can't be passed: %s",
				       strerror(-r));
		}
		if (r) {
			struct refusal unused;

			verb_region_close(s, handle, &unused);
		}
	}
	if (r && out->created)
		pool_region_abandon(rh->pr);
	out->handle = handle;
	region_handle_put(rh);
	return r;
}

struct region_handle *region_find_again(struct session *s, uint64_t request, uint32_t place,
					uint32_t *handle)
{
	struct region_handle *rh, *found = NULL;
	uint32_t cursor = 0;

	mutex_lock(&s->lock);
	while (!found && (rh = handles_next(&s->regions, &cursor, handle)))
		if (rh->record && rh->record->request == request && rh->record->member == place)
			found = rh;
	if (found)
		atomic_fetch_add(&found->refs, 1);
	mutex_unlock(&s->lock);
	return found;
}

/* What is asked for again may be more than was. */
static int check_again(const struct session *s, const struct region_open_args *args,
		       const struct region_handle *rh, struct refusal *why)
{
	const struct pool_region *pr = rh->pr;
	struct access_owner owner = { pr->uid, pr->gid, pr->mode };

	if (rh->made || !(args->flags & MMB_REGION_LOCKED) ||
	    access_allowed(&s->peer, &owner, ACCESS_READ | ACCESS_WRITE))
		return 0;
	return refuse(why, -EACCES, "uid %u may not open the region locked, as for writing",
		      s->peer.uid);
}

static int reply_again(struct session *s, const struct region_open_args *args,
		       struct region_handle *rh, struct region_opened *out, struct refusal *why)
{
	int r = check_again(s, args, rh, why);

	if (!r)
		r = pool_region_settle_name(rh->pr, args->name, why);
	if (!r)
		r = region_populate_whole(rh, args->flags, why);
	if (!r) {
		r = region_describe_again(s, rh, args->flags, out);
		if (r)
			refuse(why, r, "the region's descriptor can't be passed: %s",
			       strerror(-r));
	}
	out->created = rh->made;
	if (r) {
		struct refusal unused;

		verb_region_close(s, out->handle, &unused);
	}
	if (r && rh->made)
		pool_region_abandon(rh->pr);
	region_handle_put(rh);
	return r;
}

int verb_region_open(struct session *s, const struct region_open_args *given,
		     struct region_opened *out, struct refusal *why)
{
	struct region_open_args args = *given;
	struct region_handle *rh;
	struct pool_handle *ph;
	int r = check_open_args(&args, why);

	*out = (struct region_opened){ .fd = -1, .base_fd = -1 };
	if (r)
		return r;
	rh = args.again ? region_find_again(s, args.request, 0, &out->handle) : NULL;
	if (rh)
		return reply_again(s, &args, rh, out, why);
	ph = session_pool(s, args.pool, why);
	if (!ph)
		return -EBADF;
	r = open_in_pool(s, ph->pool, &args, out, why);
	if (r == -ENOMEM && arenas_ahead_drop())
		r = open_in_pool(s, ph->pool, &args, out, why);
	pool_handle_put(ph);
	return r;
}

int verb_region_close(struct session *s, uint32_t handle, struct refusal *why)
{
	struct region_handle *rh;

	mutex_lock(&s->lock);
	rh = s->ended ? NULL : handles_del(&s->regions, handle);
	if (rh && rh->record)
		record_end(rh->record); /* crash: its windows mean nothing from here on */
	if (rh)
		mm_remove_handle(s->mm, handle);
	mutex_unlock(&s->lock);
	if (!rh)
		return refuse(why, -EBADF, "%#x is no region handle of this session", handle);
	settle_windows(s);
	region_handle_put(rh);
	return 0;
}

int verb_region_unmake(struct session *s, uint32_t handle, struct refusal *why)
{
	struct region_handle *rh = session_region(s, handle, why);

	if (!rh)
		return -EBADF;
	if (rh->made)
		pool_region_unmake(rh->pr);
	region_handle_put(rh);
	return verb_region_close(s, handle, why);
}

int verb_region_unlink(struct session *s, const struct region_unlink_args *args,
		       struct refusal *why)
{
	struct unlink_request want = { .name = args->name, .peer = &s->peer,
				       .carried = &s->carried, .past = args->past };
	struct pool_handle *ph;
	int r = name_check("region", args->name, why);

	if (r)
		return r;
	ph = session_pool(s, args->pool, why);
	if (!ph)
		return -EBADF;
	r = pool_region_unlink(ph->pool, &want, why);
	pool_handle_put(ph);
	return r;
}

bool frames_settling(void)
{
	return regions_ending() || lineage_is_unsettled() || pools_ending();
}

void frames_settle(void)
{
	lineage_settle_all();
	regions_flush();
	pools_flush(); /* what ended with its last region, too */
}

bool verb_region_release(struct session *s, const struct region_open_args *args)
{
	struct refusal unsaid = { 0 };
	struct pool_handle *ph = session_pool(s, args->pool, &unsaid);
	bool released = ph && frames_release(ph->pool, args->length);

	if (ph)
		pool_handle_put(ph);
	return released;
}

int verb_region_window(struct session *s, uint32_t handle, uint64_t address, struct refusal *why)
{
	struct region_handle *rh = session_region(s, handle, why);
	uint64_t old;
	uint32_t shown;
	int r = 0;

	if (!rh)
		return -EBADF;
	if (!address_is_legal(address, rh->pr->bytes) ||
	    address % (region_is_hugetlb(rh->pr->region) ? PAGEBLOCK_SIZE : PAGE_SIZE)) {
		region_handle_put(rh);
		return refuse(why, -EINVAL,
			      "a region can't be mapped at %#llx: not aligned, or outside a "
			      "process's address space",
			      (unsigned long long)address);
	}
	mutex_lock(&s->lock);
	old = atomic_load(&rh->start);
	if (s->ended || handles_get(&s->regions, handle) != rh) {
		r = -ENOTCONN;
	} else {
		/* The client has what it was given when the handle was made, and nothing newer. */
		shown = mm_shown(s->mm, handle);
		mm_remove_handle(s->mm, handle);
		r = add_window(s, rh, handle, address, shown);
		if (r)
			add_window(s, rh, handle, old, shown);
	}
	mutex_unlock(&s->lock);
	settle_windows(s);
	region_handle_put(rh);
	return r ? refuse(why, r, "no window at %#llx: %s", (unsigned long long)address,
			  strerror(-r))
		 : 0;
}

int verb_region_stat(struct session *s, uint32_t handle, struct region_stat *out,
		     struct refusal *why)
{
	struct region_handle *rh = session_region(s, handle, why);

	if (!rh)
		return -EBADF;
	region_stat_take(rh->pr, out);
	region_stat_count(rh->pr->region, out);
	region_handle_put(rh);
	return 0;
}

bool region_stat_is_slow(struct session *s, uint32_t handle)
{
	struct refusal unused;
	struct region_handle *rh = session_region(s, handle, &unused);
	bool slow = rh && region_kin(rh->pr->region);

	if (rh)
		region_handle_put(rh);
	return slow;
}
