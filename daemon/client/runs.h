/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runs - granting blocks of a pool's arena to a session, before they are anybody's
 *
 * Purpose     What page runs and leases have in common: nodes by the pool's policy, waiting by the
 *             flags, a sentence on failure.
 * Locking     none; the gate inside.
 */
#ifndef MMB_CLIENT_RUNS_H
#define MMB_CLIENT_RUNS_H

#include "client/session.h"

/* Up to args->nr blocks of args->order, without owner, in pages; *got at least 1 on success.
 * -EAGAIN: see verb_pages_alloc(). */
int runs_alloc(struct session *s, struct pool_handle *ph, const struct pages_args *args,
	       struct page **pages, uint32_t *got, struct refusal *why);
/* Blocks that nobody has got: back. */
void runs_free(struct page *const *pages, uint32_t nr, uint32_t order);
/* F6 of page.h, before the block gets its owner. */
void runs_note(struct page *page, const struct request_past *past);
/* frames_settle(), if the flags allow to wait; true: what was refused may be granted now. settling:
 * what frames_settling() said before it was refused. */
bool runs_settle(uint32_t gfp, bool settling);
/* The same of frames_release(). */
bool runs_release(const struct pool *pool, uint32_t gfp);
/* -EINVAL for flags that don't exist. */
int runs_check_gfp(uint32_t gfp, struct refusal *why);

#endif
