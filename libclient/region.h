/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region - struct mmb_region, for the files that make and use regions
 *
 * Locking     none of its own: the struct is fixed after it was opened.
 */
#ifndef MMB_LIBCLIENT_REGION_H
#define MMB_LIBCLIENT_REGION_H

#include "connection.h"

/* c: fixed after open */
struct mmb_region {
	uint32_t      generation; /* (c) */
	struct mmb   *mmb;        /* (c) counted */
	uint32_t      handle;     /* (c) the daemon's */
	uint32_t      page_size;  /* (c) */
	struct window window;
};

/* At the top of a public function: 0, -EINVAL for NULL, -EOWNERDEAD in a forked child. */
int region_check(const struct mmb_region *region);
/* mmb_region_create(), but that nothing is given back for it: for who holds a heap's locks. */
int region_create(struct mmb_pool *pool, size_t length, const struct mmb_region_options *options,
		  struct mmb_region **out);
/* Maps and registers what the reply describes, with the call's descriptors. wanted: NULL, or the
 * address that the application has asked for. On failure the daemon's handle is closed. */
int region_take_reply(struct mmb *mmb, struct call *c, const Mmb__Wire__RegionOpenReply *reply,
		      const void *wanted, struct mmb_region **out);
/* Closes the daemon's handle of a region that can't be used here: one that was made for it goes
 * with its name, unless others have had it open. The second: of one that is mapped. */
void region_release(struct mmb *mmb, uint32_t handle);
void region_unmake(struct mmb_region *region);

#endif
