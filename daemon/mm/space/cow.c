/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cow - claims of runs, copies, and who gets them
 */
#include "mm/space/cow.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/heartbeat.h"
#include "mm/space/fault.h"
#include "mm/space/lineage.h"
#include "mm/space/mapping.h"
#include "mm/space/rejoin.h"
#include "mm/space/residency.h"
#include "mm/space/shown.h"
#include "mm/space/takeout.h"

enum {
	BREAK_BYTES_MAX = 256 << 10, /* at once, of small pages: what a thread waits for */
	COPY_SPINS = 256,
	SYNC_TRIES = 3,
};
/* A client that makes others wait so long for its map does so on purpose. */
static const uint64_t showing_ns_max = 1000ull * 1000 * 1000;
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };
static const char lost[] = "the page was punched out of the file of the region it is cloned from";
static const char no_copy[] = "there was no memory for a copy when what it is cloned from changed";
static const char not_put_back[] = "no memory to put the page back that clones had mapped";

struct region *cow_owner(uint64_t word)
{
	struct section *section = section_by_id(word_high(word));

	CHECK(word_state(word) == PAGE_INHERIT && section && section->type == SECTION_REGION);
	return section->owner;
}

static uint64_t at_once(const struct region *region, uint64_t nr)
{
	uint64_t most = BREAK_BYTES_MAX >> region->page_shift;

	return min_t(uint64_t, nr, most ? most : 1);
}

static bool is_broken(uint64_t word)
{
	return word_state(word) == PAGE_PRESENT && !(word & (WORD_BUSY | WORD_SHARED));
}

/* The bits of a word that its BUSY had, and the ancestor's section if it was named there, go. */
static uint64_t word_ended(uint64_t word, uint64_t clear)
{
	uint64_t value = word & ~(uint64_t)(WORD_BUSY | WORD_WAITERS | clear);

	if (word_state(word) == PAGE_PRESENT && word & WORD_OF_COPY)
		value = word_with_high(value & ~(uint64_t)WORD_SEEN, 0);
	return value;
}

static bool end_page(struct region *region, uint64_t page, uint64_t clear)
{
	uint64_t word = word_load(&region->words[page]);

	return word_end_busy(&region->words[page], word_ended(word, clear));
}

/* ---- work on an owner's pages: the family's lock is held ---- */

/* A run of an owner's pages, BUSY, while nobody of the family can get at them. */
struct breaking {
	struct region *owner;
	struct page_range run;
	struct region *only; /* who gets copies; NULL: everybody who still needs the pages */
	enum cow_patience patience;
	bool losing;         /* who has got no copy has lost the page */
	uint64_t taken;      /* by page of the run: leaves the windows of clones */
	uint64_t lost;       /* by page of the run: a client has taken it out of the file */
	struct taken_record *note;
};

static_assert(BREAK_BYTES_MAX >> PAGE_SHIFT <= 64, "one bit a page");

static uint64_t claim_shared(struct region *region, struct page_range range)
{
	uint64_t i;

	for (i = range.first; i < range.first + range.nr; i++) {
		uint64_t old;

		if (!(word_load(&region->words[i]) & WORD_SHARED) ||
		    !word_try_busy(&region->words[i], PAGE_PRESENT, &old))
			break;
		if (old & WORD_SHARED)
			continue;
		if (word_end_busy(&region->words[i], old))
			region_wake(region, (struct page_range){ i, 1 });
		break;
	}
	return i - range.first;
}

/* A clone that is being armed is told of the change when that ends (clone.h). */
static bool needs_copy(const struct kin *kin, const struct kin *root)
{
	return !kin->closed && !(kin->arming && kin->parent == root);
}

/* Until it has looked its copy over. */
static void hold_page(struct region *member, uint64_t page, uint32_t owner)
{
	_Atomic uint64_t *word = &member->words[page];
	uint64_t old;

	for (unsigned int i = 0;; i++) {
		uint64_t seen = word_load(word);

		if (!word_has_mark(seen, WORD_CHECKING) &&
		    (word_state(seen) != PAGE_INHERIT || word_high(seen) != owner))
			return;
		if (word_try_busy(word, PAGE_INHERIT, &old)) {
			if (word_high(old) == owner) {
				atomic_fetch_or(word, WORD_BREAKING);
				return;
			}
			end_page(member, page, 0);
		}
		if (i < COPY_SPINS)
			sched_yield();
		else
			heartbeat_sleep(&busy_pause);
	}
}

bool cow_is_held(const struct region *member, uint64_t page)
{
	return word_has_mark(word_load(&member->words[page]), WORD_BREAKING);
}

bool cow_hold_page(struct region *member, uint64_t page, const struct region *owner)
{
	hold_page(member, page, owner->section->id);
	return cow_is_held(member, page) && word_load(&member->words[page]) & WORD_SEEN;
}

bool cow_let_go(struct region *member, uint64_t page)
{
	return end_page(member, page, WORD_BREAKING);
}

/* The member's page is BUSY, and `old` an inherited one. */
static void lose_heir(struct region *member, uint64_t page, uint64_t old, const char *cause)
{
	region_poison_busy(member, page, word_ended(old, WORD_BREAKING), cause);
	lineage_diverged(word_high(old), 1);
}

void cow_lose(struct region *owner, uint64_t page)
{
	struct kin *root = region_kin(owner), *kin;

	for (kin = family_below(root, root); kin; kin = family_below(root, kin)) {
		cow_hold_page(kin->region, page, owner);
		if (cow_is_held(kin->region, page))
			lose_heir(kin->region, page, word_load(region_word(kin->region, page)),
				  lost);
	}
}

/* No entry is on its way any more to where a held page may be mapped: false if that takes long, or
 * there is nowhere to note what is taken out of there. */
static bool hold_member(struct region *member, struct breaking *w)
{
	bool seen = false;

	for (uint64_t i = w->run.first; i < w->run.first + w->run.nr; i++) {
		seen |= cow_hold_page(member, i, w->owner);
	}
	if (seen && !w->note)
		w->note = takeout_begin(member->page_shift);
	for (unsigned int i = 0; seen && w->note && i < SYNC_TRIES; i++)
		if (region_show_wait(member, w->run))
			return true;
	return !seen;
}

/* A call that maps frames waits while the client keeps its map busy, and a writer of another
 * session waits for that call. No other has begun since: none gets through. */
static void find_slow(struct mm *mm, uint64_t address, uint64_t length, void *arg)
{
	uint64_t now_ns = *(uint64_t *)arg;

	(void)address;
	(void)length;
	if (atomic_load(&mm->nr_showing) &&
	    atomic_load(&mm->showing_ns) + showing_ns_max < now_ns)
		mm_end_later(mm, "it keeps its map busy while others wait for a page that its "
				 "clone has mapped");
}

static int give_copies(struct region *member, const struct breaking *w)
{
	uint64_t end = w->run.first + w->run.nr;
	int r = 0;

	for (uint64_t at = w->run.first; at < end && !r;) {
		struct page_range part = { at, 0 };
		uint64_t copied;

		while (at < end && cow_is_held(member, at)) {
			part.nr++;
			at++;
		}
		if (part.nr)
			r = region_copy_in(member, part, w->owner, WORD_BREAKING, &copied);
		at++;
	}
	return r;
}

static void note_lost(struct breaking *w)
{
	uint64_t bytes = region_page_bytes(w->owner);
	int fd = w->owner->section->fd;

	if (likely(!os->has_hole(fd, w->run.first * bytes, w->run.nr * bytes)))
		return;
	for (uint64_t i = 0; i < w->run.nr; i++)
		if (os->has_hole(fd, (w->run.first + i) * bytes, bytes))
			w->lost |= 1ull << i;
}

/* Of pages that are held: it has a copy, or has lost it. */
static bool is_parted(const struct breaking *w, uint64_t word)
{
	return word_state(word) == PAGE_PRESENT || w->losing;
}

/* What the member doesn't inherit any more, and may have mapped from its owner. */
static void take_out(const struct region *member, struct breaking *w)
{
	for (uint64_t i = 0; i < w->run.nr; i++) {
		uint64_t page = w->run.first + i, bit = 1ull << i;
		uint64_t word = word_load(&member->words[page]);
		int r;

		if (!word_has_mark(word, WORD_BREAKING) || !word_has_mark(word, WORD_SEEN) ||
		    !is_parted(w, word) || (w->taken | w->lost) & bit)
			continue;
		r = takeout_page(w->note, w->owner->section, page,
				 word_node(word_load(&w->owner->words[page])));
		if (r != -ENODATA)
			w->taken |= bit;
		if (r)
			w->lost |= bit;
	}
}

static void finish_member(struct region *member, const struct breaking *w)
{
	bool waiters = false;

	for (uint64_t i = 0; i < w->run.nr; i++) {
		uint64_t page = w->run.first + i, word = word_load(&member->words[page]);
		uint64_t bit = 1ull << i;

		if (!word_has_mark(word, WORD_BREAKING))
			continue;
		if (w->lost & ~w->taken & bit && word_state(word) == PAGE_PRESENT)
			region_poison_busy(member, page, word_ended(word, WORD_BREAKING), lost);
		else if (w->losing && word_state(word) == PAGE_INHERIT)
			lose_heir(member, page, word, no_copy);
		else
			waiters |= end_page(member, page,
					    WORD_BREAKING | (w->taken & bit ? WORD_SEEN : 0));
	}
	if (waiters)
		region_wake(member, w->run);
}

/* Without a copy the member has lost its pages, rather than that its owner waits. */
static bool may_lose(const struct breaking *w, const struct region *member)
{
	return w->patience == COW_NO_PATIENCE ||
	       (w->patience == COW_POOL_PATIENCE && member->memcg != w->owner->memcg);
}

static int give_all(struct breaking *w)
{
	struct kin *root = region_kin(w->owner), *kin;
	bool lose = false;

	for (kin = family_below(root, root); kin; kin = family_below(root, kin)) {
		int r = 0;

		if (!w->only || w->only == kin->region)
			r = give_copies(kin->region, w);
		if (r && !may_lose(w, kin->region))
			return r;
		lose = lose || r;
	}
	w->losing = lose;
	return 0;
}

/* -EAGAIN: a client is slow; nothing has happened. */
static int work_on_run(struct breaking *w)
{
	struct kin *root = region_kin(w->owner), *kin;
	uint64_t now_ns = os->now_ns();
	int r = 0;

	for (kin = family_below(root, root); kin && !r; kin = family_below(root, kin))
		if (needs_copy(kin, root) && !hold_member(kin->region, w)) {
			region_for_each_window(kin->region, w->run, find_slow, &now_ns);
			r = -EAGAIN;
		}
	if (!r)
		r = give_all(w);
	if (r != -EAGAIN)
		note_lost(w);
	for (kin = family_below(root, root); kin; kin = family_below(root, kin))
		take_out(kin->region, w);
	for (kin = family_below(root, root); kin; kin = family_below(root, kin))
		finish_member(kin->region, w);
	takeout_end(w->note);
	return r;
}

static void finish_owner(const struct breaking *w, uint64_t clear)
{
	bool waiters = false;

	for (uint64_t i = 0; i < w->run.nr; i++) {
		uint64_t page = w->run.first + i, word = word_load(&w->owner->words[page]);
		/* Who was copying it to a slot may have seen it while it was out. */
		uint64_t unclean = w->taken >> i & 1 && !word_slot(word) ? WORD_CLEAN : 0;

		if (w->lost >> i & 1 && w->taken >> i & 1) {
			region_poison_busy(w->owner, page, word_ended(word, 0), not_put_back);
			continue;
		}
		if (clear & WORD_SHARED)
			atomic_fetch_sub(&w->owner->nr_shared, 1);
		waiters |= end_page(w->owner, page, clear | unclean);
	}
	if (waiters)
		region_wake(w->owner, w->run);
}

/* Of the range, as many pages as are shared and idle from its start on; *broken of them needn't be
 * protected any more, and *taken: the first has left the owner's windows as well. 0, or the errno
 * of a copy. */
static int break_locked(struct region *owner, struct page_range range, uint64_t *broken,
			bool *taken)
{
	struct breaking w = { .owner = owner, .run = { range.first, claim_shared(owner, range) } };
	int r;

	*broken = 0;
	*taken = false;
	if (!w.run.nr)
		return 0;
	r = work_on_run(&w);
	finish_owner(&w, r ? 0 : WORD_SHARED);
	*taken = w.taken & 1;
	if (!r)
		*broken = w.run.nr;
	return r;
}

bool cow_force(struct region *owner, uint64_t page, enum cow_patience patience)
{
	struct breaking w = { .owner = owner, .run = { page, 1 }, .patience = patience };
	struct kin *kin = region_kin(owner);
	unsigned int turn;
	bool done = false;

	if (!kin)
		return false;
	mutex_lock(&kin->family->lock);
	turn = region_map_enter(owner);
	if (!atomic_load(&owner->frozen) && claim_shared(owner, w.run)) {
		done = !work_on_run(&w);
		finish_owner(&w, done ? WORD_SHARED : 0);
		region_note_touched(owner, w.run); /* a clone that is being made looks again */
	}
	region_map_leave(owner, turn);
	mutex_unlock(&kin->family->lock);
	return done;
}

static int break_shared(struct region *owner, struct page_range range, uint64_t *broken)
{
	struct family *family = region_kin(owner)->family;
	bool taken;
	int r;

	mutex_lock(&family->lock);
	r = break_locked(owner, range, broken, &taken);
	mutex_unlock(&family->lock);
	return r;
}

/* ---- a clone's own copies ---- */

/* From range.first on, what is inherited from one owner and mapped by no window. */
static uint64_t claim_inherited(struct region *region, struct page_range range, uint64_t *value)
{
	uint64_t i;

	for (i = range.first; i < range.first + range.nr; i++) {
		uint64_t old;

		if (!word_try_busy(&region->words[i], PAGE_INHERIT, &old))
			break;
		if (old & WORD_SEEN || (i > range.first && word_high(old) != word_high(*value))) {
			if (word_end_busy(&region->words[i], old))
				region_wake(region, (struct page_range){ i, 1 });
			break;
		}
		*value = old;
	}
	return i - range.first;
}

bool cow_end_copied(struct region *region, struct page_range run, const struct region *owner)
{
	uint64_t bytes = region_page_bytes(region);
	bool holes = os->has_hole(owner->section->fd, run.first * bytes, run.nr * bytes);
	bool waiters = false;

	for (uint64_t i = run.first; i < run.first + run.nr; i++) {
		if (holes && os->has_hole(owner->section->fd, i * bytes, bytes))
			region_poison_busy(region, i, word_load(&region->words[i]), lost);
		else
			waiters |= end_page(region, i, WORD_BREAKING | WORD_CHECKING);
	}
	return waiters;
}

static bool is_seen(uint64_t word)
{
	return word_state(word) == PAGE_INHERIT && word & WORD_SEEN;
}

/* Windows may have the owner's frames mapped, and must not keep them. 0: look again; -ESTALE: as
 * below. */
static int diverge_seen(struct region *region, struct page_range range)
{
	struct family *family = region_kin(region)->family;
	struct breaking w = { .only = region, .run = { range.first, 0 } };
	uint64_t word;
	int r = 0;

	mutex_lock(&family->lock);
	word = word_load(&region->words[range.first]);
	if (atomic_load(&region->closed)) {
		r = -ESTALE;
	} else if (is_seen(word)) {
		w.owner = cow_owner(word);
		range.nr = at_once(region, range.nr);
		for (uint64_t i = 1; i < range.nr; i++)
			if (!is_seen(word_load(&region->words[range.first + i])))
				range.nr = i;
		w.run.nr = claim_shared(w.owner, range);
	}
	if (w.run.nr) {
		r = work_on_run(&w);
		finish_owner(&w, 0);
	}
	/* Lost without its heirs having been told: by a daemon that died, say. */
	if (!r && !w.run.nr && w.owner &&
	    word_state(word_load(&w.owner->words[range.first])) == PAGE_POISONED &&
	    word_try_busy(&region->words[range.first], PAGE_INHERIT, &word))
		lose_heir(region, range.first, word, lost);
	mutex_unlock(&family->lock);
	if (!r && !w.run.nr && is_seen(word)) /* the owner's page is busy */
		heartbeat_sleep(&busy_pause);
	return r;
}

/* 0: look again; -EBUSY: the page is busy, and wakes the faulter; -ESTALE: the region is closed,
 * and whom it inherits from may be gone. Where it closes later, its busy pages keep the owner. */
static int diverge(struct region *region, struct page_range range)
{
	uint64_t value = 0;
	struct page_range run = { range.first, 0 };
	struct page_range copied = { run.first, 0 };
	bool waiters = false;
	int r;

	if (is_seen(word_load(&region->words[range.first])))
		return diverge_seen(region, range);
	run.nr = claim_inherited(region, range, &value);
	if (!run.nr)
		return word_load(&region->words[range.first]) & WORD_BUSY &&
				       word_wait(&region->words[range.first])
			       ? -EBUSY
			       : 0;
	r = atomic_load(&region->closed) ? -ESTALE
					 : region_copy_in(region, run, cow_owner(value),
							  WORD_CHECKING, &copied.nr);
	if (copied.nr)
		waiters = cow_end_copied(region, copied, cow_owner(value));
	for (uint64_t i = run.first + copied.nr; i < run.first + run.nr; i++)
		waiters |= end_page(region, i, 0);
	if (waiters)
		region_wake(region, run);
	return copied.nr ? 0 : r;
}

/* ---- faults ---- */

int cow_fault_on_inherited(const struct mm_target *t, uint64_t around)
{
	struct page_range range = { t->page,
				    at_once(t->region, min_t(uint64_t, around, t->end - t->page)) };
	int r = diverge(t->region, range);

	if (r != -EBUSY)
		return r < 0 && r != -ESTALE ? r : COW_GO_ON;
	atomic_fetch_add_explicit(&fault_stats.nr_busy, 1, memory_order_relaxed);
	return COW_SETTLED;
}

/* What somebody is about to write. -EBUSY: the region is frozen. The family's lock comes before the
 * turn: who holds it may wait for turns to end. */
static int break_for_write(struct region *owner, struct page_range *range, bool *taken)
{
	struct family *family = region_kin(owner)->family;
	unsigned int turn;
	int r = -EBUSY;

	mutex_lock(&family->lock);
	turn = region_map_enter(owner);
	if (!atomic_load(&owner->frozen)) {
		r = break_locked(owner, *range, &range->nr, taken);
		region_note_touched(owner, *range);
	}
	region_map_leave(owner, turn);
	mutex_unlock(&family->lock);
	return r;
}

uint64_t cow_break_ahead(struct region *owner, struct page_range range)
{
	uint64_t end = range.first + range.nr, at = range.first;
	struct page_range run;
	bool taken;

	while (at < end && is_broken(word_load(&owner->words[at])))
		at++;
	run = (struct page_range){ at, at_once(owner, end - at) };
	if (!run.nr || break_for_write(owner, &run, &taken))
		run.nr = 0;
	return at + run.nr - range.first;
}

/* The write that is an event: with the break it can go on, in the neighbourhood too. */
static int fault_on_shared(struct mm *mm, const struct mm_target *t, uint32_t flags,
			   uint64_t around)
{
	struct page_range range = { t->page,
				    at_once(t->region, min_t(uint64_t, around, t->end - t->page)) };
	bool taken = false;
	int r = break_for_write(t->region, &range, &taken);

	if (r == -EBUSY) /* the thaw wakes */
		return COW_SETTLED;
	if (!r && !range.nr && word_wait(&t->region->words[t->page]))
		return COW_SETTLED;
	if (!r && taken) /* mapped at once: else it would be one more event */
		map_run(mm, t, (struct page_range){ t->page, 1 }, &range.nr);
	if (!r && taken && range.nr)
		return COW_SETTLED;
	if (r || taken || !range.nr || !(flags & OS_FAULT_WP))
		return r < 0 ? r : COW_GO_ON;
	for (uint64_t i = range.first; i < range.first + range.nr; i++)
		region_dirty_page(t->region, i);
	r = map_unprotect(mm, t, range);
	return !r || r == -EBUSY ? COW_SETTLED : COW_GO_ON;
}

int cow_fault(struct mm *mm, const struct mm_target *target, const struct os_uffd_event *event,
	      uint64_t around)
{
	struct page_range range = { target->page,
				    min_t(uint64_t, around, target->end - target->page) };
	uint64_t word = word_load(&target->region->words[target->page]);

	if (word_state(word) == PAGE_SWAPPED && rejoin_run(target->region, range))
		word = word_load(&target->region->words[target->page]);
	if (target->shown != target->region->section->id)
		return shown_fault(mm, target, event->flags, around);
	if (word_state(word) == PAGE_INHERIT)
		return cow_fault_on_inherited(target, around);
	if (word_state(word) == PAGE_PRESENT && word & WORD_SHARED &&
	    (event->flags & (OS_FAULT_WRITE | OS_FAULT_WP) || !map_can_protect()))
		return fault_on_shared(mm, target, event->flags, around);
	return COW_GO_ON;
}

/* ---- ranges ---- */

/* One step at page `at`: 0 and *done pages, or an error. */
static int unshare_step(struct region *region, struct page_range rest, uint64_t *done)
{
	uint64_t word = word_load(&region->words[rest.first]);

	*done = 0;
	rest.nr = at_once(region, rest.nr);
	if (word & WORD_BUSY)
		heartbeat_sleep(&busy_pause);
	else if (word_state(word) == PAGE_INHERIT)
		return diverge(region, rest);
	else if (word & WORD_SHARED)
		return break_shared(region, rest, done);
	else
		*done = 1;
	return 0;
}

/* No room for a copy. True: there may be now, or it isn't needed any more. */
static bool find_room(struct region *region, uint64_t page, unsigned int *tries)
{
	return region_try_again(region, tries) || cow_force(region, page, COW_POOL_PATIENCE);
}

int cow_unshare(struct region *region, struct page_range range)
{
	unsigned int tries = 0;

	while (range.nr && region_kin(region)) {
		uint64_t done;
		int r = unshare_step(region, range, &done);

		heartbeat_touch();
		if (r == -EAGAIN)
			heartbeat_sleep(&busy_pause);
		else if (r == -ENOMEM && find_room(region, range.first, &tries))
			continue;
		else if (r && r != -EBUSY)
			return r;
		range.first += done;
		range.nr -= done;
	}
	return 0;
}

static int forget_inherited(struct region *region, struct page_range range)
{
	uint64_t end = range.first + range.nr, old;
	unsigned int tries = 0;
	int r;

	for (uint64_t i = range.first; i < end; i++) {
		while (word_state(word_load(&region->words[i])) == PAGE_INHERIT) {
			heartbeat_touch();
			if (!word_try_busy(&region->words[i], PAGE_INHERIT, &old)) {
				heartbeat_sleep(&busy_pause);
				continue;
			}
			if (old & WORD_SEEN && !atomic_load(&region->closed)) { /* not while BUSY */
				if (word_end_busy(&region->words[i], old))
					region_wake(region, (struct page_range){ i, 1 });
				r = diverge_seen(region, (struct page_range){ i, end - i });
				if (r == -ENOMEM && find_room(region, i, &tries))
					continue;
				if (r && r != -EAGAIN && r != -ESTALE)
					return r;
				continue;
			}
			atomic_fetch_sub(&region->nr_inherit, 1);
			/* A closed one keeps nobody above it from ending. */
			if (!atomic_load(&region->closed))
				lineage_diverged(word_high(old), 1);
			if (word_end_busy(&region->words[i], PAGE_NONE))
				region_wake(region, (struct page_range){ i, 1 });
		}
	}
	return 0;
}

int cow_forget(struct region *region, struct page_range range)
{
	int r = region_kin(region) ? forget_inherited(region, range) : 0;

	return r ? r : cow_unshare(region, range);
}
