/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapping - turns, and runs of equal protection
 */
#include "mm/space/mapping.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/heartbeat.h"
#include "mm/obj/slab.h"
#include "mm/space/residency.h"
#include "os/os.h"

enum {
	SYNC_SPINS = 64,
	TRY_SYNC_NS = 1000 * 1000,
	LATE_SYNC_NS = 1000 * 1000 * 1000,
	WORD_BITS = 64,
};
/* A word of `showing`: the first page above, how many below. */
enum { SHOWING_SHIFT = 16, SHOWING_PAGES_MAX = (1 << SHOWING_SHIFT) - 1 };
static _Atomic bool cannot_protect; /* the kernel has said so */
static const struct timespec sync_pause = { .tv_nsec = 20 * 1000 };

static unsigned int enter(struct map_turns *turns)
{
	for (;;) {
		unsigned int turn = atomic_load(&turns->turn) & 1;

		atomic_fetch_add(&turns->nr[turn], 1);
		if ((atomic_load(&turns->turn) & 1) == turn)
			return turn;
		atomic_fetch_sub(&turns->nr[turn], 1); /* it has just ended */
	}
}

unsigned int region_map_enter(struct region *region)
{
	return enter(&region->mapping);
}

void region_map_leave(struct region *region, unsigned int turn)
{
	atomic_fetch_sub(&region->mapping.nr[turn], 1);
}

/* The i-th pause of one who waits for calls that take microseconds. False: not any longer. */
static bool rest_a_moment(unsigned int i, uint64_t until_ns)
{
	if (i < SYNC_SPINS)
		sched_yield();
	else if (os->now_ns() > until_ns)
		return false;
	else
		heartbeat_sleep(&sync_pause);
	return true;
}

static bool wait_for_turn(struct map_turns *turns, unsigned int turn, uint64_t until_ns)
{
	for (unsigned int i = 0; atomic_load(&turns->nr[turn]); i++)
		if (!rest_a_moment(i, until_ns))
			return false;
	return true;
}

/* Who gave up waiting has left the other turn behind, perhaps not empty. */
static bool end_turn(struct map_turns *turns, uint64_t until_ns)
{
	unsigned int turn = atomic_load(&turns->turn) & 1;

	if (!wait_for_turn(turns, !turn, until_ns))
		return false;
	atomic_fetch_add(&turns->turn, 1);
	return wait_for_turn(turns, turn, until_ns);
}

void region_map_sync(struct region *region)
{
	mutex_lock(&region->sync_lock);
	end_turn(&region->mapping, UINT64_MAX);
	mutex_unlock(&region->sync_lock);
}

bool region_map_try_sync(struct region *region)
{
	uint64_t until_ns = os->now_ns() + TRY_SYNC_NS;
	bool ended;

	while (!mutex_trylock(&region->sync_lock)) {
		if (os->now_ns() > until_ns)
			return false;
		sched_yield();
	}
	ended = end_turn(&region->mapping, until_ns);
	mutex_unlock(&region->sync_lock);
	return ended;
}

/* ---- for windows that were found some time ago ---- */

bool map_late_begin(struct mm *mm, const struct mm_target *target, struct page_range run,
		    unsigned int *turn)
{
	*turn = enter(&mm->late);
	if (mm_shows(mm, target, run))
		return true;
	map_late_end(mm, *turn);
	return false;
}

void map_late_end(struct mm *mm, unsigned int turn)
{
	atomic_fetch_sub(&mm->late.nr[turn], 1);
}

/* Several at once end one more turn than they need. */
void map_late_sync(struct mm *mm)
{
	end_turn(&mm->late, os->now_ns() + LATE_SYNC_NS);
}

/* ---- inherited pages on their way into windows ---- */

static uint64_t packed(struct page_range run)
{
	return run.first << SHOWING_SHIFT | min_t(uint64_t, run.nr, SHOWING_PAGES_MAX);
}

int region_show_begin(struct region *region, struct page_range run)
{
	int place;

	CHECK(run.nr && run.nr <= SHOWING_PAGES_MAX);
	for (place = 0; place < SHOWING_MAX; place++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&region->showing[place], &none, packed(run)))
			break;
	}
	if (place == SHOWING_MAX)
		atomic_fetch_add(&region->nr_showing_more, 1);
	atomic_thread_fence(memory_order_seq_cst); /* before the words are read */
	return place;
}

void region_show_end(struct region *region, int place)
{
	if (place < SHOWING_MAX)
		atomic_store(&region->showing[place], 0);
	else
		atomic_fetch_sub(&region->nr_showing_more, 1);
}

static bool shows(struct region *region, unsigned int place, struct page_range run)
{
	uint64_t word = atomic_load(&region->showing[place]);
	uint64_t first = word >> SHOWING_SHIFT, nr = word & SHOWING_PAGES_MAX;

	return first < run.first + run.nr && run.first < first + nr;
}

bool region_show_wait(struct region *region, struct page_range run)
{
	uint64_t until_ns = os->now_ns() + TRY_SYNC_NS;

	atomic_thread_fence(memory_order_seq_cst); /* after the words were made busy */
	for (unsigned int place = 0; place < SHOWING_MAX; place++) {
		for (unsigned int i = 0; shows(region, place, run); i++)
			if (!rest_a_moment(i, until_ns))
				return false;
	}
	return !atomic_load(&region->nr_showing_more) || region_map_try_sync(region);
}

/* ---- what became writable ---- */

struct touched *touched_new(const struct region *region)
{
	struct touched *t = NULL;
	unsigned int shift = 0;

	while (region->nr_pages >> shift > TOUCHED_BITS_MAX)
		shift++;
	for (uint64_t left = region->nr_pages >> shift; !t; left /= 2, shift++) {
		uint64_t nr_words = left / WORD_BITS + 1;

		t = kzalloc(sizeof(*t) + nr_words * sizeof(t->bits[0]), GFP_KERNEL);
		if (t) {
			t->shift = shift;
			t->nr_words = nr_words;
		} else if (nr_words == 1) {
			return NULL;
		}
	}
	return t;
}

void touched_clear(struct touched *touched)
{
	if (!atomic_exchange(&touched->nr_runs, 0))
		return;
	for (uint64_t i = 0; i < touched->nr_words; i++)
		atomic_store_explicit(&touched->bits[i], 0, memory_order_relaxed);
}

/* Of bits from `from` to the end of its word. */
static uint64_t bits_from(uint64_t from)
{
	return UINT64_MAX << from % WORD_BITS;
}

/* The first bit from `from` on that differs from those in `flip`. */
static uint64_t next_bit(const struct touched *t, uint64_t from, uint64_t flip)
{
	for (uint64_t i = from / WORD_BITS; i < t->nr_words; i++) {
		uint64_t word = atomic_load_explicit(&t->bits[i], memory_order_relaxed) ^ flip;

		if (i == from / WORD_BITS)
			word &= bits_from(from);
		if (word)
			return i * WORD_BITS + (uint64_t)__builtin_ctzll(word);
	}
	return t->nr_words * WORD_BITS;
}

struct page_range touched_next(const struct touched *touched, const struct region *region,
			       uint64_t from)
{
	uint64_t first = next_bit(touched, from >> touched->shift, 0);
	uint64_t end = next_bit(touched, first, UINT64_MAX);

	first = max_t(uint64_t, from, first << touched->shift);
	end = min_t(uint64_t, region->nr_pages, end << touched->shift);
	return (struct page_range){ first, end > first ? end - first : 0 };
}

void region_note_touched(struct region *region, struct page_range run)
{
	struct touched *touched = atomic_load(&region->touched);
	uint64_t bit, last;

	if (likely(!touched) || !run.nr)
		return;
	last = (run.first + run.nr - 1) >> touched->shift;
	for (bit = run.first >> touched->shift; bit <= last; bit = (bit | (WORD_BITS - 1)) + 1) {
		uint64_t mask = bits_from(bit);

		if (last / WORD_BITS == bit / WORD_BITS)
			mask &= UINT64_MAX >> (WORD_BITS - 1 - last % WORD_BITS);
		atomic_fetch_or(&touched->bits[bit / WORD_BITS], mask);
	}
	atomic_fetch_add(&touched->nr_runs, 1);
}

bool region_map_idle(struct region *region)
{
	/* The caller's change of a word is seen by whoever enters after this. */
	atomic_thread_fence(memory_order_seq_cst);
	return !atomic_load(&region->mapping.nr[0]) && !atomic_load(&region->mapping.nr[1]);
}

bool region_map_settle(struct region *region)
{
	bool ended;

	if (region_map_idle(region))
		return true;
	mutex_lock(&region->sync_lock);
	ended = end_turn(&region->mapping, os->now_ns() + TRY_SYNC_NS);
	mutex_unlock(&region->sync_lock);
	return ended;
}

/* A page whose word is busy may have a frame that isn't its own yet. */
enum map_mode { MAP_NOT, MAP_PLAIN, MAP_PROTECTED };

static enum map_mode mode_of(struct region *region, uint64_t page)
{
	uint64_t word = word_load(&region->words[page]);

	if (word_state(word) != PAGE_PRESENT || word & WORD_BUSY)
		return MAP_NOT;
	return word & WORD_PROTECTED ? MAP_PROTECTED : MAP_PLAIN;
}

bool region_dirty_page(struct region *region, uint64_t page)
{
	_Atomic uint64_t *word = &region->words[page];
	uint64_t seen = word_load(word);
	uint32_t slot;

	do {
		if (word_state(seen) != PAGE_PRESENT || seen & WORD_BUSY)
			return false;
		if (!(seen & (WORD_CLEAN | WORD_LAZYFREE)))
			return true;
		slot = word_high(seen);
	} while (!word_replace(word, &seen,
			       word_with_high(seen & ~(uint64_t)(WORD_CLEAN | WORD_LAZYFREE), 0)));
	if (slot)
		region_free_slot(region, slot);
	return true;
}

/* Kernels that can't map protected: the pages count as written. */
static bool dirty_all(struct region *region, struct page_range run)
{
	for (uint64_t i = run.first; i < run.first + run.nr; i++)
		if (word_load(&region->words[i]) & WORD_SHARED || !region_dirty_page(region, i))
			return false;
	return true;
}

static struct os_range_result install(struct mm *mm, uint64_t address, uint64_t length,
				      bool protected)
{
	struct os_range_result r =
		protected ? os->uffd_continue_protected(mm->uffd, address, length)
			  : os->uffd_continue(mm->uffd, address, length);

	if (r.error == -EOPNOTSUPP)
		atomic_store_explicit(&cannot_protect, true, memory_order_relaxed);
	return r;
}

bool map_can_protect(void)
{
	return !atomic_load_explicit(&cannot_protect, memory_order_relaxed);
}

int map_run(struct mm *mm, const struct mm_target *target, struct page_range run, uint64_t *done)
{
	struct region *region = target->region;
	unsigned int shift = region->page_shift;
	uint64_t end = min_t(uint64_t, run.first + run.nr, target->end);
	uint64_t at = run.first;
	unsigned int turn = region_map_enter(region);
	int error = atomic_load(&region->frozen) ? -EBUSY : 0;

	while (at < end && !error) {
		enum map_mode mode = mode_of(region, at);
		uint64_t next = at + 1;
		struct os_range_result r = { .error = -EFAULT };

		while (next < end && mode_of(region, next) == mode)
			next++;
		if (mode != MAP_NOT)
			r = install(mm, target->base + (at << shift), (next - at) << shift,
				    mode == MAP_PROTECTED);
		if (r.error == -EOPNOTSUPP &&
		    dirty_all(region, (struct page_range){ at, next - at }))
			r.error = 0;
		if (mode == MAP_PLAIN)
			region_note_touched(region, (struct page_range){ at, r.done >> shift });
		error = r.error;
		at += r.done >> shift;
	}
	region_map_leave(region, turn);
	*done = at - run.first;
	return error;
}

int map_least(struct mm *mm, const struct mm_target *target, uint64_t address, uint64_t *done)
{
	struct region *region = target->region;
	uint64_t bytes = region_is_hugetlb(region) ? PAGEBLOCK_SIZE : PAGE_SIZE;
	unsigned int turn = region_map_enter(region);
	enum map_mode mode = mode_of(region, target->page);
	struct os_range_result r = { .error = mode == MAP_NOT ? -EFAULT : -EBUSY };

	if (mode != MAP_NOT && !atomic_load(&region->frozen))
		r = install(mm, round_down(address, bytes), bytes, mode == MAP_PROTECTED);
	if (r.done && mode == MAP_PLAIN)
		region_note_touched(region, (struct page_range){ target->page, 1 });
	region_map_leave(region, turn);
	*done = r.done ? 1 : 0;
	return r.error;
}

int map_unprotect(struct mm *mm, const struct mm_target *target, struct page_range run)
{
	struct region *region = target->region;
	unsigned int turn = region_map_enter(region);
	int error = atomic_load(&region->frozen) ? -EBUSY : 0;

	/* What isn't there may come back clean, and be mapped, while the kernel is asked. */
	for (uint64_t i = run.first; i < run.first + run.nr && !error; i++)
		if (mode_of(region, i) != MAP_PLAIN)
			error = -EAGAIN;
	if (!error)
		error = os->uffd_unprotect(mm->uffd,
					   target->base + (run.first << region->page_shift),
					   run.nr << region->page_shift);
	if (error != -EBUSY) /* perhaps some of it */
		region_note_touched(region, run);
	region_map_leave(region, turn);
	return error;
}
