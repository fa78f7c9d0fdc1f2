/* SPDX-License-Identifier: Apache-2.0 */
/*
 * takeout - the note, the punch, the way back
 *
 * Locking     see takeout.h.
 */
#include "mm/space/takeout.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/log.h"
#include "mm/map/pageword.h"
#include "mm/phys/meta.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "mm/space/region.h"
#include "os/os.h"

/* The host has no memory: soon again at first; the contents are at hand, so for long. */
enum { TRIES_SOON = 2000, TRIES_MAX = TRIES_SOON + 60000 };
static const struct timespec soon = { .tv_nsec = 50 * 1000 }, later = { .tv_nsec = 1000 * 1000 };
static const char not_put_back[] = "no memory to put the page back that clones had mapped";

/* Each fault asks that finds no room: only one in a second is worth the attempt. */
int takeout_prepare(void)
{
	int node = 0, r = 0;

	while (node < nr_nodes && !(r = stock_keep_spare(node)))
		node++;
	if (!r)
		r = records_pin_contents();
	if (!r)
		return 0;
	while (node--)
		stock_leave_spare(node);
	for (node = 0; node < nr_nodes && r != -EAGAIN; node++)
		stock_pause_spares(node);
	return r;
}

void takeouts_settle(void)
{
	for (int node = 0; node < nr_nodes; node++)
		stock_settle_spare(node);
	records_settle_contents();
}

void takeout_leave(void)
{
	for (int node = 0; node < nr_nodes; node++)
		stock_leave_spare(node);
	records_unpin_contents();
}

static bool is_huge(const struct taken_record *note)
{
	return note->page_shift != PAGE_SHIFT;
}

struct taken_record *takeout_begin(unsigned int page_shift)
{
	struct taken_record *note;
	void *record = NULL;

	if (record_new(RECORD_TAKEN, &record))
		return NULL;
	note = record;
	note->page_shift = PAGE_SHIFT;
	if (page_shift != PAGE_SHIFT &&
	    meta_populate(META_CONTENTS, record_slot(RECORD_TAKEN, record), 1)) {
		record_free(RECORD_TAKEN, record);
		return NULL;
	}
	note->page_shift = page_shift;
	for (int node = 0; node < nr_nodes && is_huge(note); node++)
		stock_renew_spare(node);
	return note;
}

void takeout_end(struct taken_record *note)
{
	if (!note)
		return;
	record_end(note);
	if (is_huge(note))
		meta_release(META_CONTENTS, record_slot(RECORD_TAKEN, note), 1);
	record_free(RECORD_TAKEN, note);
}

static void *contents_of(struct taken_record *note)
{
	return is_huge(note) ? meta_entry(META_CONTENTS, record_slot(RECORD_TAKEN, note))
			     : note->bytes;
}

/* One write makes the page where only one node can have it. */
static int put_back_once(const struct taken_record *note, struct section *section, bool by_write)
{
	struct stock_source contents = { .fd = meta_fd() };
	struct stock_populate_request want = {
		.section = section,
		.offset = note->page << note->page_shift,
		.length = 1ull << note->page_shift,
		.node = (int)note->node,
	};
	int r;

	if (is_huge(note)) {
		contents.offset = meta_offset(META_CONTENTS, record_slot(RECORD_TAKEN, note));
		want.copy_of = &contents;
		want.must_be = true;
		return stock_populate(&want);
	}
	r = by_write ? 0 : stock_populate(&want);
	return r ? r : os->write(section->fd, want.offset, note->bytes, PAGE_SIZE);
}

static int put_back(const struct taken_record *note, struct section *section)
{
	int r = put_back_once(note, section, nr_nodes == 1);

	for (unsigned int i = 0; r && i < TRIES_MAX; i++) {
		if (i == TRIES_SOON)
			log_emit_limited(LOG_WARNING, "page_out",
					 "section %u: a page that clones had mapped can't be put "
					 "back (%s); trying for a minute", section->id,
					 strerror(-r));
		heartbeat_sleep(i < TRIES_SOON ? &soon : &later);
		r = put_back_once(note, section, false);
	}
	return r;
}

int takeout_page(struct taken_record *note, struct section *section, uint64_t page, int node)
{
	uint64_t bytes = 1ull << note->page_shift, offset = page << note->page_shift;
	int r;

	note->section = section->id;
	note->page = page;
	note->node = (uint32_t)node;
	/* In this order: what was read before a hole was there is the page. */
	if (os->read(section->fd, offset, contents_of(note), bytes) ||
	    os->has_hole(section->fd, offset, bytes))
		return -ENODATA;
	record_commit(RECORD_TAKEN, note); /* O1 */
	os->punch(section->fd, offset, bytes);
	INJECT_TURN(TAKEN_OUT);
	r = put_back(note, section);
	record_end(note);
	return r;
}

void takeout_lose(const struct section *section, uint64_t page)
{
	_Atomic uint64_t *word = &page_words[section->pfn + page];

	if (section->owner)
		region_poison(section->owner, page, not_put_back);
	else
		atomic_store(word, PAGE_POISONED | WORD_BUSY);
}

static void resume_one(void *record, void *unused)
{
	struct taken_record *note = record;
	struct section *section = section_by_id(note->section);

	(void)unused;
	if (section && section->type == SECTION_REGION &&
	    note->page < section->nr_frames >> (note->page_shift - PAGE_SHIFT) &&
	    note->node < (uint32_t)nr_nodes && put_back(note, section))
		takeout_lose(section, note->page);
	takeout_end(note);
}

void takeouts_resume(void)
{
	record_for_each(RECORD_TAKEN, resume_one, NULL);
}
