/* SPDX-License-Identifier: Apache-2.0 */
/*
 * takeout - a page leaves every process that has it mapped, and comes back
 *
 * Purpose     Windows of clones may have a page of their ancestor mapped that nobody can unmap
 *             there: the page is punched out of its file, which unmaps it everywhere, and written
 *             back. Its contents come from its own home and from nowhere else: other homes have
 *             clients who write there.
 * Invariants  O1  while the page is out, its contents are in a record of the metadata file.
 *             O2  the stock counts its frames as present all the time, so that nobody of ours takes
 *                 their place; a stock that holds memory gives some up if the host has no page.
 * Crash       before the record is sealed nothing has happened; from then on until it ends,
 *             takeouts_resume() writes the page back.
 * Locking     the caller holds the page's word BUSY, so that nobody maps it or changes it.
 */
#ifndef MMB_SPACE_TAKEOUT_H
#define MMB_SPACE_TAKEOUT_H

#include <stdint.h>

#include "mm/phys/record.h"
#include "mm/phys/section.h"

/* Where contents of pages of that size are noted, for as many as the caller likes, one by one.
 * NULL: not now. */
struct taken_record *takeout_begin(unsigned int page_shift);
void takeout_end(struct taken_record *note); /* NULL does nothing */
/* A page of 2 MiB has room to be noted, and to be put back, without asking for memory, until as
 * many have left as have asked for it. -ENOMEM, -ENOSPC; -EAGAIN: so a moment ago. */
int takeout_prepare(void);
void takeout_leave(void);
/* 0; -ENODATA: a client had taken it out of the file before, and nothing has changed; else it
 * couldn't be put back, and is lost. */
int takeout_page(struct taken_record *note, struct section *section, uint64_t page, int node);
/* After a restart, before the regions. What can't be put back is poisoned. */
void takeouts_resume(void);
/* At a resume's end: what the predecessor had put by and nobody has asked for goes. */
void takeouts_settle(void);
/* The page's contents are lost, and its word is idle: before or after its region has come back. */
void takeout_lose(const struct section *section, uint64_t page);

#endif
