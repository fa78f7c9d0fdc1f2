/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cow - divergence: pages of a family stop being the same
 *
 * Purpose     An INHERIT page's contents are those in the home of the ancestor that its word
 *             names, whose word has SHARED. A clone that needs a page of its own copies it into its
 *             own home (diverge); an owner that is about to change a shared page first copies it
 *             into the homes of those who still need it (break), and goes on in place.
 * Invariants  C1  a frame that some member INHERITs doesn't change, and isn't taken from its home:
 *                 its word is PRESENT with SHARED, so it is write-protected wherever it is mapped.
 *                 Evicted, it is nobody's any more (heirs.h) until it is read (rejoin.h).
 *             C2  an owner holds BUSY of its page and the family's lock while it makes the copies
 *                 of others; a clone holds BUSY of its own page alone. So an owner waits for
 *                 clones that are copying, never for a client, and clones wait for nobody.
 *             C3  copies come out of what the receiving region was promised when it was cloned.
 * Locking     family->lock; words by BUSY, the owner's first.
 * Crash       a clone's page is INHERIT|BUSY until its copy is whole, then PRESENT: a crash before
 *             leaves a frame in its home that the word doesn't know, and resume punches it. Until
 *             it has been looked over it is PRESENT|BUSY, and resume makes it INHERIT again. An
 *             owner's page is PRESENT|SHARED|BUSY until all copies are words, and SHARED with some
 *             or no sharers is always right: it only costs a look.
 * Not here    Making clones (clone.h), installing entries (mapping.h).
 */
#ifndef MMB_SPACE_COW_H
#define MMB_SPACE_COW_H

#include "mm/space/mm.h"
#include "os/os.h"

/* The region in whose home an INHERIT page's contents are. */
struct region *cow_owner(uint64_t word);

enum cow_outcome {
	COW_GO_ON,   /* the page is an ordinary one of its region now, or something else happened */
	COW_SETTLED, /* nothing more is to be done for this event */
	COW_AGAIN,   /* something changed meanwhile: look again */
};
/* The part of a fault that concerns the family; before the page is made present and mapped. The
 * page and perhaps up to `around`, its neighbours. Negative errno: try again later. */
int cow_fault(struct mm *mm, const struct mm_target *target, const struct os_uffd_event *event,
	      uint64_t around);

/* Of that the part about a page that is inherited: it is copied, and some of its neighbours. */
int cow_fault_on_inherited(const struct mm_target *target, uint64_t around);
/* Somebody writes page after page, and isn't at the range yet: gives copies to all for the first of
 * its pages that are shared. How many pages needn't be looked at again; 0: no more just now. */
uint64_t cow_break_ahead(struct region *owner, struct page_range range);

/* The client is to map the page, and what has diverged around it, from the clone's own memory: its
 * faults wait for that alone. COW_SETTLED, COW_AGAIN, or -EAGAIN: too much is asked for already. */
int cow_ask(struct mm *mm, const struct mm_target *target);

/* What a write to a shared page waits for: copies for all; for a while only for those of its own
 * pool, whose limits are what it lives with, too; in the end for nobody. */
enum cow_patience { COW_PATIENCE, COW_POOL_PATIENCE, COW_NO_PATIENCE };
/* Who can't get a copy has lost the page, and the owner's isn't shared any more. False: it wasn't,
 * or something else is in the way. */
bool cow_force(struct region *owner, uint64_t page, enum cow_patience patience);

/* The owner's page is lost: so it is for who inherits it. The family's lock is held. */
void cow_lose(struct region *owner, uint64_t page);
/* For who works on an owner's pages, BUSY, under the family's lock. Holds the page of a member that
 * inherits it, waiting while that makes a copy by itself; true: windows may have it mapped. */
bool cow_hold_page(struct region *member, uint64_t page, const struct region *owner);
bool cow_is_held(const struct region *member, uint64_t page);
/* As it was. True: somebody waits. */
bool cow_let_go(struct region *member, uint64_t page);

/* Ends BUSY of pages that were copied out of the owner's home: what isn't in its file any more was
 * taken by a client that has it, and is lost, not zero. True: somebody waits. */
bool cow_end_copied(struct region *region, struct page_range run, const struct region *owner);

/* Afterwards no page of the range is shared with anybody, either way: before its contents change
 * in place, or it is locked. Waits for busy pages. */
int cow_unshare(struct region *region, struct page_range range);
/* The same before the range is dropped: what it inherits is forgotten instead of copied. */
int cow_forget(struct region *region, struct page_range range);

#endif
