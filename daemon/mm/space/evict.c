/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict - choose, protect, write, take
 */
#include "mm/space/evict.h"

#include <errno.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "mm/map/lru.h"
#include "mm/space/crowd.h"
#include "mm/space/heirs.h"
#include "mm/space/mapping.h"
#include "mm/space/protect.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"
#include "mm/space/slots.h"
#include "os/os.h"

enum { BETWEEN_MAX = 32 /* pages; holding them takes less than another punch */ };

/* ---- which pages ---- */

static bool may_be_evicted(uint64_t word, const struct evict_filter *filter)
{
	if (word_state(word) != PAGE_PRESENT || word & (WORD_BUSY | WORD_LOCKED) ||
	    (filter->unwanted && !(word & WORD_LAZYFREE)))
		return false;
	return filter->node < 0 || word_node(word) == filter->node;
}

/* Raises ages that would soon be taken for young ones, and ends the activity of those whose client
 * hasn't answered (L2). */
static void age_page(struct region *region, uint64_t page, uint64_t seen)
{
	struct lruvec *lru = region_lru(region, word_node(seen));
	uint64_t aged = word_with_age(seen & ~(uint64_t)WORD_ACTIVE, lru_age_now(lru) - LRU_OLD);

	if (word_replace(region_word(region, page), &seen, aged) && seen & WORD_ACTIVE) {
		atomic_fetch_sub(&lru->nr_active, region_frames_per_page(region));
		reclaim_count(&reclaim_stats.pgdeactivate, region_frames_per_page(region));
	}
}

static void ask_mapping(struct mm *mm, const struct mapped_range *ranges, uint32_t nr, void *told)
{
	if (!reclaim_ask(mm, ranges, nr))
		*(bool *)told = false;
}

/* Who couldn't be told is silent for that alone: the pages are asked for another time. */
static void take_back(struct region *region, struct page_range run)
{
	for (uint64_t page = run.first; page < run.first + run.nr; page++) {
		uint64_t seen = word_load(region_word(region, page));
		uint64_t value = seen & WORD_ACTIVE ? seen | WORD_REFERENCED
						    : seen & ~(uint64_t)WORD_ASKED;

		if (word_state(seen) == PAGE_PRESENT && !(seen & WORD_BUSY) && value != seen)
			word_replace(region_word(region, page), &seen, value);
	}
}

/* Clients are to show whether they use these pages: many runs in one request. */
static void ask(struct swapper *s, struct region *region)
{
	bool told = true;

	if (s->nr_questions)
		region_for_each_mapped_run(region, s->questions, s->nr_questions, ask_mapping,
					   &told);
	for (uint32_t i = 0; i < s->nr_questions && !told; i++)
		take_back(region, s->questions[i]);
	s->nr_questions = 0;
}

/* Nobody has an entry of what isn't there: one run does for both sides of it. */
static bool reaches(struct region *region, const struct page_range *run, uint64_t page)
{
	uint64_t at = run->first + run->nr;

	while (at < page && word_state(word_load(region_word(region, at))) != PAGE_PRESENT)
		at++;
	return at == page;
}

/* Each page once. The fault that is the answer brings REFERENCED back to an active page, and makes
 * an inactive one active. */
static void question(struct swapper *s, struct region *region, uint64_t page, uint64_t seen)
{
	struct page_range *last = s->nr_questions ? &s->questions[s->nr_questions - 1] : NULL;
	unsigned int asked = lru_age_now(region_lru(region, word_node(seen))) - LRU_ASK;
	uint64_t value = seen | WORD_ASKED;

	if (seen & WORD_ACTIVE)
		value = word_with_age(seen & ~(uint64_t)WORD_REFERENCED, asked);
	if (!word_replace(region_word(region, page), &seen, value))
		return;
	if (last && reaches(region, last, page)) {
		last->nr = page + 1 - last->first;
		return;
	}
	if (s->nr_questions == MAPPED_RUNS_MAX)
		ask(s, region);
	s->questions[s->nr_questions++] = (struct page_range){ page, 1 };
}

/* It grows no older: ages wrap. */
static void keep_active(struct region *region, uint64_t page, uint64_t seen)
{
	unsigned int age = lru_age_now(region_lru(region, word_node(seen))) - LRU_ASK;

	word_replace(region_word(region, page), &seen, word_with_age(seen, age));
}

/* A page that stays. */
static void look_after(struct swapper *s, struct region *region, uint64_t page, uint64_t word,
		       const struct evict_filter *filter)
{
	struct lruvec *lru = region_lru(region, word_node(word));
	unsigned int distance = lru_distance(lru, word);
	bool asks = filter->hard || lru_is_crowded(lru);
	bool referenced = word & WORD_ACTIVE && word & WORD_REFERENCED;

	if (distance >= LRU_OLD_ACTIVE) {
		if (word & WORD_ACTIVE && !filter->hard && (referenced || !asks))
			keep_active(region, page, word);
		else
			age_page(region, page, word);
	} else if (word & WORD_ACTIVE ? distance >= LRU_ASK && asks && referenced
				      : distance >= LRU_ASK_INACTIVE && !(word & WORD_ASKED)) {
		question(s, region, page, word);
	}
}

static bool is_old(struct region *region, uint64_t word, const struct evict_filter *filter)
{
	struct lruvec *lru = region_lru(region, word_node(word));

	if (word & WORD_LAZYFREE)
		return true;
	return !(word & WORD_ACTIVE) && lru_distance(lru, word) >= filter->old;
}

/* The first three fates. E5 */
static enum swap_fate choose(struct region *region, struct swap_item *item)
{
	uint32_t slot = word_high(item->word);
	uint64_t value = word_with_high(item->word | WORD_CLEAN, 0);

	item->value = slot;
	if (item->word & WORD_LAZYFREE)
		return FATE_LAZY;
	if (item->word & WORD_CLEAN && slot && swap_stays(slot))
		return FATE_COPIED;
	if (!word_replace(region_word(region, item->page), &item->word, value))
		return FATE_GIVEN_UP;
	if (slot)
		region_free_slot(region, slot);
	item->word = value;
	item->value = SLOT_NONE;
	return FATE_DIRTY;
}

static bool collect(struct swapper *s, struct region *region, struct page_range block,
		    const struct evict_filter *filter, struct evict_result *result)
{
	uint64_t most = filter->most ? filter->most / region_frames_per_page(region) : block.nr;
	bool dirty = false;

	s->w->nr = 0;
	for (uint64_t i = block.first; i < block.first + block.nr && s->w->nr < most; i++) {
		struct swap_item *item = &s->w->items[s->w->nr];
		uint64_t word = word_load(region_word(region, i));

		if (!may_be_evicted(word, filter))
			continue;
		result->nr_scanned += region_frames_per_page(region);
		result->scanned_on[word_node(word)] += region_frames_per_page(region);
		if (!filter->all_ages && !is_old(region, word, filter)) {
			look_after(s, region, i, word, filter);
			continue;
		}
		*item = (struct swap_item){ .page = i, .word = word };
		item->fate = choose(region, item);
		if (item->fate == FATE_GIVEN_UP)
			continue;
		dirty |= item->fate == FATE_DIRTY;
		s->w->nr++;
	}
	return dirty;
}

/* ---- protecting ---- */

/* Its entries may stay protected: a write to it is then an event for nothing. */
static void give_up(struct region *region, struct swap_item *item)
{
	if (item->fate == FATE_DIRTY)
		region_dirty_page(region, item->page);
	item->fate = FATE_GIVEN_UP;
}

struct protection {
	const struct region *region;
	int error;
};

static void protect_mapping(struct mm *mm, uint64_t address, uint64_t length, void *arg)
{
	struct protection *p = arg;
	int r = mm_protect(mm, p->region, address, length);

	if (r)
		p->error = r;
}

/* Dirty items from `first` on that adjoin; what lies between them isn't. */
static uint32_t run_of(const struct swapper *s, uint32_t first, enum swap_fate fate)
{
	uint32_t i = first + 1;

	while (i < s->w->nr && s->w->items[i].fate == fate &&
	       s->w->items[i].page == s->w->items[i - 1].page + 1)
		i++;
	return i - first;
}

static bool protect(struct region *region, struct page_range range)
{
	struct protection p = { .region = region };

	region_for_each_mapping(region, range, protect_mapping, &p);
	return !p.error;
}

/* No window of the range has moved since there were so many moves: what was protected is. */
static bool has_stayed(struct region *region, struct page_range range, uint64_t moves)
{
	return region_moves_known(region, range) && atomic_load(&region->nr_moves) == moves;
}

/* Only holes and pages that are protected anyway lie between two items of a span, so that one call
 * does for it. */
static uint32_t span_of(struct swapper *s, struct region *region, uint32_t first)
{
	uint32_t i = first + 1;

	for (; i < s->w->nr; i++) {
		for (uint64_t p = s->w->items[i - 1].page + 1; p < s->w->items[i].page; p++)
			if (word_state(word_load(region_word(region, p))) == PAGE_PRESENT)
				return i - first;
	}
	return i - first;
}

static void protect_dirty(struct swapper *s, struct region *region)
{
	bool settled = region_map_try_sync(region);
	uint32_t nr;

	for (uint32_t i = 0; i < s->w->nr; i += nr) {
		uint64_t first = s->w->items[i].page;
		bool ok;

		nr = span_of(s, region, i);
		ok = settled && protect(region, (struct page_range){
					first, s->w->items[i + nr - 1].page + 1 - first });
		for (uint32_t k = i; k < i + nr && !ok; k++)
			give_up(region, &s->w->items[k]);
	}
}

/* ---- writing ---- */

/* Looks at a page piece by piece; most differ in the first line. */
static bool look_for_same(struct swapper *s, struct region *region, struct swap_item *item)
{
	uint64_t bytes = region_page_bytes(region);
	uint64_t offset = item->page * bytes;
	uint64_t step = min_t(uint64_t, bytes, PAGE_SIZE);
	uint32_t value = 0;

	for (uint64_t at = 0; at < bytes; at += step) {
		uint32_t before = value;

		if (at)
			step = min_t(uint64_t, bytes - at, SWAPPER_BYTES);
		if (os->read(region->section->fd, offset + at, s->bytes, step) ||
		    !swap_repeats(s->bytes, step, &value) || (at && value != before))
			return false;
	}
	item->value = value;
	return true;
}

/* Without a slot only what needs none can go. */
static void keep_or_drop(struct swapper *s, struct region *region, struct swap_item *item)
{
	if (look_for_same(s, region, item))
		item->fate = FATE_SAME;
	else
		give_up(region, item);
}

/* E4 */
static void check_zeros(struct swapper *s, struct region *region)
{
	uint64_t bytes = region_page_bytes(region);

	for (uint32_t i = 0; i < s->w->nr; i++) {
		struct swap_item *item = &s->w->items[i];

		if (item->fate == FATE_SAME && !item->value &&
		    os->has_hole(region->section->fd, item->page * bytes, bytes)) {
			item->fate = FATE_DIRTY;
			give_up(region, item);
		}
	}
}

/* Small pages are looked at when they are copied (swap_io.h). */
static void sort_out_same(struct swapper *s, struct region *region)
{
	for (uint32_t i = 0; i < s->w->nr; i++)
		if (s->w->items[i].fate == FATE_DIRTY && look_for_same(s, region, &s->w->items[i]))
			s->w->items[i].fate = FATE_SAME;
}

/* Beside the slots of the neighbours, so that both come back by one read. */
static uint32_t slot_hint(struct swapper *s, struct region *region, uint32_t index)
{
	const struct swap_item *item = &s->w->items[index];
	uint64_t word;

	if (index && s->w->items[index - 1].fate == FATE_COPIED)
		return s->w->items[index - 1].value +
		       (uint32_t)(item->page - s->w->items[index - 1].page);
	if (!item->page)
		return SLOT_NONE;
	word = word_load(region_word(region, item->page - 1));
	return word_state(word) == PAGE_SWAPPED && word_high(word) ? word_high(word) + 1
								   : SLOT_NONE;
}

static _Atomic bool slots_missing; /* somebody has found no slot since it was asked */

bool evict_missed_slots(void)
{
	return atomic_load(&slots_missing) && atomic_exchange(&slots_missing, false);
}

static uint32_t slots_for(struct swapper *s, struct region *region, uint32_t first, uint32_t nr,
			  uint32_t *got)
{
	uint64_t frames = region_frames_per_page(region);
	uint32_t slot;

	*got = 1;
	nr = s->needed || !slots_are_scarce() ? memcg_charge_slots(region->memcg, nr, frames) : 0;
	if (!nr)
		return SLOT_NONE;
	slot = frames > 1 ? swap_alloc_huge(&s->cursor)
			  : swap_alloc(&s->cursor, nr, slot_hint(s, region, first), got);
	memcg_uncharge(region->memcg, MEMCG_SWAP, (slot ? nr - *got : nr) * frames);
	if (slot)
		atomic_fetch_add(&region->nr_writing, *got);
	else
		atomic_store(&slots_missing, true);
	return slot;
}

static void add_io(struct swapper *s, struct region *region, uint32_t index, uint32_t nr_io)
{
	s->w->io_item[nr_io] = index;
	s->w->io[nr_io] = swapper_page(region, &s->w->items[index]);
}

/* Gives slots to dirty items; returns how many pages are to be written. */
static uint32_t give_slots(struct swapper *s, struct region *region)
{
	bool huge = region->page_shift != PAGE_SHIFT;
	uint32_t nr_io = 0;
	uint32_t nr, got;

	for (uint32_t i = 0; i < s->w->nr; i += nr) {
		uint32_t slot;

		nr = huge ? 1 : run_of(s, i, s->w->items[i].fate);
		if (s->w->items[i].fate != FATE_DIRTY)
			continue;
		slot = slots_for(s, region, i, nr, &got);
		if (!slot) {
			for (uint32_t k = i; k < i + nr; k++)
				keep_or_drop(s, region, &s->w->items[k]);
			continue;
		}
		nr = got;
		for (uint32_t k = 0; k < nr; k++) {
			s->w->items[i + k].value = slot + k;
			s->w->items[i + k].fate = FATE_COPIED;
			add_io(s, region, i + k, nr_io++);
		}
	}
	return nr_io;
}

/* What became of a page that was to be written. */
static void note_written(struct region *region, struct swap_item *item, const struct swap_page *io)
{
	uint64_t frames = region_frames_per_page(region);

	if (!io->error && !io->same) {
		reclaim_count(&reclaim_stats.pswpout, frames);
		return;
	}
	region_drop_slot(region, item->value, swap_is_retired(io));
	item->fate = io->same ? FATE_SAME : FATE_DIRTY;
	item->value = io->value;
	if (!io->same)
		give_up(region, item);
}

static void begin_writing(struct swapper *s, struct region *region)
{
	struct swap_work *w = s->w;

	if (region->page_shift != PAGE_SHIFT)
		sort_out_same(s, region);
	w->nr_io = give_slots(s, region);
	if (w->nr_io)
		swap_write_begin(s->queue, &w->batch, w->io, w->nr_io);
}

static void end_writing(struct swapper *s, struct region *region)
{
	struct swap_work *w = s->w;

	if (w->nr_io)
		swap_write_end(s->queue, &w->batch);
	for (uint32_t i = 0; i < w->nr_io; i++)
		note_written(region, &w->items[w->io_item[i]], &w->io[i]);
	check_zeros(s, region);
}

/* ---- taking ---- */

static bool was_touched(uint64_t before, uint64_t now)
{
	return (before ^ now) & WORD_AGE_MASK || (now & ~before) & (WORD_REFERENCED | WORD_ACTIVE);
}

static void lose(struct region *region, struct swap_item *item)
{
	if (item->fate == FATE_COPIED && !word_high(item->word)) /* the word never named it */
		region_drop_slot(region, item->value, false);
	item->fate = FATE_GIVEN_UP;
}

/* Pages that were protected just now, and not before. */
static void lose_new(struct swapper *s, struct region *region)
{
	for (uint32_t i = 0; i < s->w->nr; i++) {
		struct swap_item *item = &s->w->items[i];

		if (word_high(item->word) || item->fate == FATE_GIVEN_UP || item->fate == FATE_LAZY)
			continue;
		region_dirty_page(region, item->page);
		lose(region, item);
	}
}

/* Of a page that goes or stays with the copy that it has, also where nobody wants it any more. */
static uint32_t slot_of(const struct swap_item *item)
{
	return item->fate == FATE_COPIED || item->fate == FATE_LAZY ? item->value : SLOT_NONE;
}

/* The commit point. What the word says now decides: E1. */
static void take_page(struct region *region, struct swap_item *item)
{
	_Atomic uint64_t *word = region_word(region, item->page);
	uint64_t needed = item->fate == FATE_LAZY ? WORD_LAZYFREE : WORD_CLEAN;
	uint32_t slot = slot_of(item);
	uint64_t seen = word_load(word);
	uint64_t value;
	bool touched;

	do {
		if (word_state(seen) != PAGE_PRESENT || !(seen & needed) ||
		    seen & (WORD_BUSY | WORD_LOCKED) ||
		    (seen & WORD_SHARED && item->fate == FATE_LAZY) ||
		    word_high(seen) != word_high(item->word)) {
			lose(region, item);
			return;
		}
		touched = was_touched(item->word, seen);
		value = word_with_high(seen, slot);
		if (touched && !slot && needed == WORD_CLEAN)
			value &= ~(uint64_t)WORD_CLEAN;
		if (!touched)
			value |= WORD_BUSY;
	} while (!word_replace(word, &seen, value));
	item->word = seen;
	if (slot && !word_high(seen))
		atomic_fetch_sub(&region->nr_writing, 1);
	if (touched)
		item->fate = FATE_GIVEN_UP;
}

static uint64_t word_after(struct region *region, const struct swap_item *item)
{
	uint16_t shadow = lru_shadow(region_lru(region, word_node(item->word)));

	if (item->fate == FATE_COPIED)
		return word_swapped(item->value, shadow);
	return item->fate == FATE_SAME ? word_same_filled(item->value, shadow) : PAGE_NONE;
}

/* ---- punching ---- */

/* Whether somebody waits. */
static bool release_between(struct region *region, uint64_t from, uint64_t to)
{
	bool waiters = false;

	for (uint64_t page = from; page < to; page++) {
		_Atomic uint64_t *word = region_word(region, page);

		waiters |= word_end_busy(word, word_load(word) &
						       ~(uint64_t)(WORD_BUSY | WORD_WAITERS));
	}
	return waiters;
}

/* The pages between two victims have no frames. They are held, so that none gets one meanwhile and
 * one punch does for both victims: false, and none is held, where that can't be. */
static bool hold_between(struct region *region, uint64_t from, uint64_t to)
{
	uint64_t page, old;

	for (page = from; page < to; page++) {
		_Atomic uint64_t *word = region_word(region, page);
		enum page_state state = word_state(word_load(word));

		if ((state != PAGE_NONE && state != PAGE_SWAPPED && state != PAGE_SAME_FILLED) ||
		    !word_try_busy(word, state, &old))
			break;
	}
	if (page == to)
		return true;
	if (release_between(region, from, page))
		region_wake(region, (struct page_range){ from, page - from });
	return false;
}

static bool adjoin(struct region *region, const struct swap_item *a, const struct swap_item *b)
{
	uint64_t between = b->page - a->page - 1;

	if (b->fate == FATE_GIVEN_UP || word_node(a->word) != word_node(b->word))
		return false;
	return !between || (between <= BETWEEN_MAX && region->page_shift == PAGE_SHIFT &&
			    hold_between(region, a->page + 1, b->page));
}

static void settle_punched(struct region *region, const struct swap_item *item, uint64_t value)
{
	if (item->word & WORD_ACTIVE)
		atomic_fetch_sub(&region_lru(region, word_node(item->word))->nr_active,
				 region_frames_per_page(region));
	region_count_state(region, word_state(value), 1);
	if (item->word & WORD_UNASKED)
		crowd_lost(region);
	if (item->fate == FATE_LAZY && word_high(item->word))
		region_free_slot(region, word_high(item->word));
}

/* Ends BUSY of the victims and of what lies between them; whether somebody waits. */
static bool end_run(struct region *region, struct swap_item *items, uint32_t nr, bool punched)
{
	bool waiters = false;

	for (uint32_t i = 0; i < nr; i++) {
		uint64_t value = punched ? word_after(region, &items[i])
					 : word_with_high(items[i].word, slot_of(&items[i]));

		if (i)
			waiters |= release_between(region, items[i - 1].page + 1, items[i].page);
		if (punched)
			settle_punched(region, &items[i], value);
		waiters |= word_end_busy(region_word(region, items[i].page), value);
	}
	return waiters;
}

/* Pages of one node whose frames go together.
 * Crash    from the commit on they are evicted, and resume punches them once more; before it they
 *          are resident, with a slot that resume forgets. What is held between them stays what it
 *          is. heirs: who inherits them, held; NULL: nobody. */
static uint64_t finish_run(struct region *region, struct swap_item *items, uint32_t nr,
			   struct bequest *heirs)
{
	struct page_range run = { items[0].page, items[nr - 1].page + 1 - items[0].page };
	int node = word_node(items[0].word);
	uint64_t frames = nr * region_frames_per_page(region);
	int r;

	for (uint32_t i = 0; i < nr; i++)
		word_commit_busy(region_word(region, items[i].page), word_after(region, &items[i]));
	r = region_punch(region, run);
	INJECT_TURN(PUNCHED_OUT);
	if (heirs) /* while the owner's words are BUSY: nothing of theirs comes back before */
		heirs_end(heirs, !r);
	if (heirs && !r)
		atomic_fetch_sub(&region->nr_shared, nr);
	if (end_run(region, items, nr, !r))
		region_wake(region, run);
	if (r)
		return 0;
	region_give_back(region, node, nr);
	atomic_fetch_add(&region_lru(region, node)->nr_evicted, frames);
	return frames;
}

/* ---- pages that others inherit ---- */

/* It stays, with the copy that it has now, or as it was. */
static void keep_shared(struct region *region, struct swap_item *item)
{
	uint64_t word = word_load(region_word(region, item->page));
	uint64_t value = word & ~(uint64_t)(WORD_BUSY | WORD_WAITERS);

	if (!word_slot(word))
		value &= ~(uint64_t)WORD_CLEAN;
	item->fate = FATE_GIVEN_UP;
	if (word_end_busy(region_word(region, item->page), value))
		region_wake(region, (struct page_range){ item->page, 1 });
}

/* Together with those who inherit them, or not at all. How many frames went. */
static uint64_t hand_down(struct region *region, struct swap_item *items, uint32_t nr)
{
	struct bequest b = { .owner = region, .run = { items[0].page, nr } };
	uint64_t freed;

	for (uint32_t i = 0; i < nr; i++)
		b.values[i] = word_after(region, &items[i]);
	if (!heirs_begin(&b)) {
		for (uint32_t i = 0; i < nr; i++)
			keep_shared(region, &items[i]);
		return 0;
	}
	freed = finish_run(region, items, nr, &b);
	for (uint32_t i = 0; i < nr; i++)
		items[i].fate = FATE_GIVEN_UP; /* their words are settled */
	return freed;
}

/* BUSY, and to be had only together with those who inherit them. */
static uint32_t shared_run(const struct swapper *s, uint32_t first)
{
	uint32_t i = first;

	while (i < s->w->nr && i - first < HEIRS_PAGES_MAX &&
	       s->w->items[i].fate != FATE_GIVEN_UP && s->w->items[i].word & WORD_SHARED &&
	       s->w->items[i].page == s->w->items[first].page + (i - first) &&
	       word_node(s->w->items[i].word) == word_node(s->w->items[first].word))
		i++;
	return i - first;
}

static uint64_t take_all(struct swapper *s, struct region *region)
{
	uint64_t freed = 0;
	uint32_t nr;

	for (uint32_t i = 0; i < s->w->nr; i++)
		if (s->w->items[i].fate != FATE_GIVEN_UP)
			take_page(region, &s->w->items[i]);
	for (uint32_t i = 0; i < s->w->nr; i += max_t(uint32_t, nr, 1)) {
		nr = shared_run(s, i);
		if (nr)
			freed += hand_down(region, &s->w->items[i], nr);
	}
	for (uint32_t i = 0; i < s->w->nr; i += nr) {
		nr = 1;
		if (s->w->items[i].fate == FATE_GIVEN_UP)
			continue;
		while (i + nr < s->w->nr &&
		       adjoin(region, &s->w->items[i + nr - 1], &s->w->items[i + nr]))
			nr++;
		freed += finish_run(region, &s->w->items[i], nr, NULL);
	}
	return freed;
}

/* ---- blocks, one behind the other ---- */

static _Atomic bool all_rest;

void evict_rest(bool rest)
{
	atomic_store(&all_rest, rest);
}

bool evict_begin(struct swapper *s, struct region *region)
{
	CHECK(!s->works[0].nr && !s->works[1].nr && !s->nr_questions);
	return !atomic_load(&all_rest) && !atomic_exchange(&region->evicting, true); /* E3 */
}

/* What was begun last but one is on the disk, or will be in a moment. */
static void settle_other(struct swapper *s, struct region *region, struct evict_result *result)
{
	struct swap_work *now = s->w;

	s->w = now == &s->works[0] ? &s->works[1] : &s->works[0];
	if (s->w->nr) {
		uint64_t first = s->w->items[0].page, last = s->w->items[s->w->nr - 1].page;

		end_writing(s, region);
		/* Protected where the window was, perhaps, and not where it had gone. */
		if (!has_stayed(region, (struct page_range){ first, last + 1 - first },
				s->w->moves))
			lose_new(s, region);
		result->nr_freed += take_all(s, region);
		s->w->nr = 0;
	}
	result->nr_begun = now->nr * region_frames_per_page(region);
	s->w = now;
}

void evict_block(struct swapper *s, struct region *region, struct page_range block,
		 const struct evict_filter *filter, struct evict_result *result)
{
	DCHECK(block.nr <= SWAPPER_PAGES);
	s->w->moves = atomic_load(&region->nr_moves);
	s->w->nr_io = 0;
	if (collect(s, region, block, filter, result)) {
		protect_dirty(s, region);
		begin_writing(s, region);
	}
	settle_other(s, region, result);
	s->w = s->w == &s->works[0] ? &s->works[1] : &s->works[0];
}

void evict_flush(struct swapper *s, struct region *region, struct evict_result *result)
{
	ask(s, region);
	settle_other(s, region, result);
	DCHECK(!s->works[0].nr && !s->works[1].nr);
}

void evict_end(struct swapper *s, struct region *region, struct evict_result *result)
{
	evict_flush(s, region, result);
	atomic_store(&region->evicting, false);
}

/* ---- lazily freed pages ---- */

static uint64_t mark_lazy(struct region *region, struct page_range range)
{
	uint64_t marked = 0;

	for (uint64_t i = range.first; i < range.first + range.nr; i++) {
		uint64_t seen = word_load(region_word(region, i));

		if (word_state(seen) == PAGE_PRESENT &&
		    !(seen & (WORD_BUSY | WORD_LOCKED | WORD_SHARED | WORD_LAZYFREE)))
			marked += word_replace(region_word(region, i), &seen, seen | WORD_LAZYFREE);
	}
	return marked;
}

/* In each window, wherever it is: while a client moves one its entries can't be protected, until
 * that has been read; and what has been read is dealt with, or nothing is certain. */
static bool protect_for_good(struct region *region, struct page_range range)
{
	uint64_t moves = atomic_load(&region->nr_moves);

	return region_map_try_sync(region) && protect(region, range) &&
	       has_stayed(region, range, moves);
}

void evict_lazily(struct region *region, struct page_range range)
{
	reclaim_count(&reclaim_stats.pglazyfree,
		      mark_lazy(region, range) * region_frames_per_page(region));
	atomic_store(&region->may_be_unwanted, true);
	if (protect_for_good(region, range))
		return;
	for (uint64_t i = range.first; i < range.first + range.nr; i++)
		region_dirty_page(region, i);
}
