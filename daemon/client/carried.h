/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carried - requests that have been carried out, and whose answer may be lost
 *
 * Purpose     After a restart the library repeats what it got no answer to. Most requests can be
 *             carried out twice, or find what they have made. Not so a name's end, when somebody
 *             else has given the name to another region meanwhile, and a rollback, after which
 *             others have written. The last of these are noted in the session's record.
 * Invariants  C1  of a request that is noted, the region that it named has what was wanted, or
 *                 gets it when the request is repeated; no other region does.
 *             C2  answers that nobody has read are few: CARRIED_MAX requests are remembered, and
 *                 a repeated one that isn't among them is taken as new.
 * Crash       the region is noted first: what has no request's id is no note.
 * Locking     its own, below all others: it ends with the record, while verbs may be at work.
 */
#ifndef MMB_CLIENT_CARRIED_H
#define MMB_CLIENT_CARRIED_H

#include "client/verbs.h"
#include "mm/phys/record.h"

struct carried {
	struct mutex lock;
	struct carried_note *notes; /* lock; of the record; NULL: none are kept */
	uint32_t next;              /* lock */
};

/* NULL: a session without a record. One that is resumed has some notes already. */
void carried_init(struct carried *c, struct session_record *record);
/* Before the record is another's. */
void carried_end(struct carried *c);
void carried_fini(struct carried *c);
/* It was, or is being, carried out on the region with that id. */
void carried_note(struct carried *c, const struct request_past *past, uint64_t region);
/* True: it is repeated, and was carried out on another region than that one (0: than none). */
bool carried_before(struct carried *c, const struct request_past *past, uint64_t region);

#endif
