/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region_open - the part of opening that regions made in different ways have in common
 *
 * Locking     session->lock inside.
 */
#ifndef MMB_CLIENT_REGION_OPEN_H
#define MMB_CLIENT_REGION_OPEN_H

#include "client/session.h"
#include "mm/space/clone.h"

/* The session gets a handle and a window: at the address that the request
 * names, or 0 for the common one or one of its own.
 * The handle has a reference of its own afterwards. */
int region_publish(struct session *s, struct region_handle *rh,
		   const struct region_open_args *args, uint32_t *handle, struct refusal *why);
/* What a request has made, at that place of it, whose answer was lost with the daemon that made it;
 * referenced. NULL: it was not carried out. */
struct region_handle *region_find_again(struct session *s, uint64_t request, uint32_t place,
					uint32_t *handle);
/* A clone that nobody knows yet, charged in full and of its source's shape. */
struct clone_making {
	struct pool_region *source;
	struct pool *pool;
	const struct peer *creator;
	const char *name;
	uint32_t flags;
};
/* *out is to be put also where it fails, unless it is NULL. */
int clone_make(const struct clone_making *making, struct pool_region **out, struct refusal *why);
/* All at one instant. */
int clones_arm(const struct clone_pair *pairs, uint32_t nr, struct refusal *why);
/* As whom a rollback is noted once the region has the snapshot's contents. */
struct rollback_past {
	struct carried *carried;
	struct request_past request;
	uint64_t region; /* its id */
};
/* With a sentence for what can go wrong. past NULL: nobody repeats it. */
int region_roll_back(struct pool_region *pr, struct pool_region *snapshot,
		     struct rollback_past *past, struct refusal *why);
/* Pages of the range that were lost aren't any more: all clients are told to drop the marks, and
 * who has asked does so by itself before it goes on. */
void region_zap_poison(struct region *region, struct page_range range);
/* Whole and locked, as the flags of the request say. */
int region_populate_whole(struct region_handle *rh, uint32_t flags, struct refusal *why);
/* What the client needs in order to map it. 0 or the errno of making a descriptor. */
int region_describe(struct region_handle *rh, uint32_t flags, struct region_opened *out);
/* The client was told before, and perhaps didn't hear: if nothing else is left to be shown, what it
 * maps now is the region's own memory. */
int region_describe_again(struct session *s, struct region_handle *rh, uint32_t flags,
			  struct region_opened *out);

#endif
