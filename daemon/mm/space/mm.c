/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mm - slots of address maps, windows in a range tree, streaks of faults
 *
 * Sections    life of an mm; windows; resume; moves; advice.
 * Not here    Which page an address means (streak.c).
 */
#include "mm/space/mm.h"

#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "mm/obj/slab.h"
#include "mm/space/mm_tree.h"
#include "os/last_close.h"
#include "os/os.h"

enum { NR_CLOSERS = 2 };

/* Client addresses are below 2^47. */
static const uint64_t address_begin = 1ull << 22, address_end = 1ull << 47;

/* The slots' objects are type-stable: allocated once, never freed. t: lock   a: atomic */
static struct {
	struct mutex lock;
	struct kmem_cache *mms, *windows; /* fixed after init */
	struct mm *slots[NR_MM_MAX];  /* (t) set once each */
	uint64_t generation;          /* (t) */
	uint32_t first_free;          /* (t) no free slot below this one */
	struct workqueue closers;     /* its own lock */
	_Atomic bool has_closers;    /* (a) */
} table;

void mm_table_init(void)
{
	memset(table.slots, 0, sizeof(table.slots));
	table.first_free = 0;
	mutex_init(&table.lock, RANK_TABLE, "mm table");
	table.mms = KMEM_CACHE(mm, SLAB_TYPE_STABLE);
	table.windows = KMEM_CACHE(window, 0);
}

/* ---- life of an mm ---- */

static struct mm *take_slot(void)
{
	struct mm *mm = NULL;

	mutex_lock(&table.lock);
	for (uint32_t i = table.first_free; i < NR_MM_MAX && !mm; i++) {
		table.first_free = i + 1;
		if (!table.slots[i]) {
			table.slots[i] = kmem_cache_zalloc(table.mms, GFP_KERNEL);
			if (!table.slots[i]) {
				table.first_free = i;
				break;
			}
			table.slots[i]->slot = i;
			mutex_init(&table.slots[i]->lock, RANK_MAP, "mm");
			mutex_init(&table.slots[i]->events_lock, RANK_EVENTS, "events");
		} else if (atomic_load(&table.slots[i]->refs) || table.slots[i]->claimed) {
			continue;
		}
		mm = table.slots[i];
		mm->claimed = true;
		mm->generation = ++table.generation;
	}
	mutex_unlock(&table.lock);
	return mm;
}

int mm_new(const struct mm_request *request, struct mm **out)
{
	struct mm *mm = take_slot();

	if (!mm)
		return -EMFILE;
	mm->uffd = request->uffd;
	mm->pid = request->pid;
	mm->session = request->session;
	mm->owner = request->owner;
	mm->released = request->released;
	range_alloc_init(&mm->windows, PAGE_SIZE, address_end);
	mm->nr_windows = 0;
	mm->nr_remaps = 0;
	mm->spanned = 0;
	atomic_store(&mm->nr_faults, 0);
	atomic_store(&mm->nr_strays, 0);
	atomic_store(&mm->nr_parked, 0);
	atomic_store(&mm->nr_waiting, 0);
	psi_init(&mm->psi, os->now_ns());
	atomic_store(&mm->nr_tasks, 0);
	atomic_store(&mm->slow_level, 0);
	atomic_store(&mm->slow_until_ns, 0);
	atomic_store(&mm->vain_until_ns, 0);
	atomic_store(&mm->lanes, 0);
	mm->lanes_wanted = 0;
	mm->nr_threads = 0;
	mm->nr_slow_events = 0;
	for (int i = 0; i < MM_THREADS; i++)
		atomic_store(&mm->threads[i], 0);
	mm->ended = false;
	atomic_store(&mm->nr_showing, 0);
	atomic_store(&mm->ends_for, NULL);
	atomic_store(&mm->refs, 1);
	*out = mm;
	return 0;
}

bool mm_get(struct mm *mm)
{
	uint32_t refs = atomic_load_explicit(&mm->refs, memory_order_relaxed);

	do {
		if (!refs)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&mm->refs, &refs, refs + 1, memory_order_acquire, memory_order_relaxed));
	return true;
}

/* The slot may have another user as soon as it isn't claimed. */
static void end_mm(struct work *work)
{
	struct mm *mm = container_of(work, struct mm, end_work);
	void (*released)(void *owner) = mm->released;
	void *owner = mm->owner;

	mm_remap_forget_all(mm);
	if (mm->uffd >= 0 && !last_close(mm->uffd))
		os->close(mm->uffd);
	psi_fini(&mm->psi);
	mutex_lock(&table.lock);
	mm->uffd = -1;
	mm->claimed = false;
	table.first_free = min_t(uint32_t, table.first_free, mm->slot);
	mutex_unlock(&table.lock);
	if (released)
		released(owner);
}

void mm_put(struct mm *mm)
{
	if (atomic_fetch_sub_explicit(&mm->refs, 1, memory_order_acq_rel) != 1)
		return;
	CHECK(!mm->nr_windows);
	work_init(&mm->end_work, end_mm);
	if (atomic_load(&table.has_closers))
		workqueue_add(&table.closers, &mm->end_work);
	else
		end_mm(&mm->end_work);
}

int mm_closers_start(void)
{
	int r = workqueue_init(&table.closers, "mmb-close", NR_CLOSERS);

	atomic_store(&table.has_closers, !r);
	return r;
}

void mm_closers_stop(void)
{
	if (atomic_exchange(&table.has_closers, false))
		workqueue_fini(&table.closers);
}

struct mm *mm_get_slot(uint32_t slot, uint64_t generation)
{
	struct mm *mm = slot < NR_MM_MAX ? table.slots[slot] : NULL;

	if (!mm || !mm_get(mm))
		return NULL;
	if (mm->generation == generation)
		return mm;
	mm_put(mm);
	return NULL;
}

void mm_for_each(void (*fn)(struct mm *mm, void *arg), void *arg)
{
	for (uint32_t i = 0; i < NR_MM_MAX; i++) {
		struct mm *mm = table.slots[i];

		if (!mm || !mm_get(mm))
			continue;
		fn(mm, arg);
		mm_put(mm);
	}
}

/* ---- windows: all with region->lock of the window's region and mm->lock held ---- */

struct window *window_new(const struct mm *mm)
{
	struct window *w = kmem_cache_zalloc(table.windows, GFP_KERNEL);
	void *record = NULL;

	if (!w || !mm->session)
		return w;
	if (record_new(RECORD_WINDOW, &record)) {
		kmem_cache_free(table.windows, w);
		return NULL;
	}
	w->record = record;
	return w;
}

void window_free(struct window *w)
{
	record_free(RECORD_WINDOW, w->record);
	kmem_cache_free(table.windows, w);
}

static void record_range(struct window *w, uint64_t start, uint64_t end)
{
	if (!w->record)
		return;
	record_word_set(&w->record->start, start >> PAGE_SHIFT);
	record_word_set(&w->record->end, end >> PAGE_SHIFT);
}

void window_record_state(struct window *w)
{
	uint64_t shown = window_shows_own(w) ? 0 : w->shown;

	if (w->record)
		record_word_set(&w->record->advice, w->advice | shown << RECORD_SHOWN_SHIFT);
}

/* w exists from now on for who resumes; region, page, handle, readonly and advice are set. */
static void commit_window(const struct mm *mm, struct window *w, uint64_t start, uint64_t end)
{
	struct window_record *record = w->record;

	if (!record)
		return;
	record->region = w->region->id;
	record->base = start - (w->page << w->region->page_shift);
	record->session = mm->session - 1;
	record->handle = w->handle;
	record->readonly = w->readonly;
	window_record_state(w);
	record_range(w, start, end);
	record_commit(RECORD_WINDOW, record);
}

static bool continues(const struct window *a, const struct window *b)
{
	return a->region == b->region && a->shown == b->shown && a->handle == b->handle &&
	       a->advice == b->advice &&
	       window_end(a) == b->range.start &&
	       a->page + (a->range.length >> a->region->page_shift) == b->page;
}

static int link_window(struct mm *mm, struct window *w, uint64_t start, uint64_t length)
{
	int r = range_alloc_at(&mm->windows, &w->range, start, length);

	if (r)
		return r;
	w->mm = mm;
	list_add_tail(&w->region_link, &w->region->windows);
	w->region->nr_windows++;
	mm->nr_windows++;
	mm->spanned += length;
	region_get(w->region);
	return 0;
}

/* The region reference is the caller's afterwards, since putting it may free the region. */
static struct region *unlink_window(struct mm *mm, struct window *w)
{
	struct region *region = w->region;

	mm->spanned -= w->range.length;
	mm->nr_windows--;
	region->nr_windows--;
	list_del(&w->region_link);
	range_free(&mm->windows, &w->range);
	window_free(w);
	return region;
}

static void resize(struct mm *mm, struct window *w, uint64_t start, uint64_t end)
{
	w->page += (start - w->range.start) >> w->region->page_shift;
	mm->spanned += (end - start) - w->range.length;
	record_range(w, start, end);
	range_free(&mm->windows, &w->range);
	CHECK(!range_alloc_at(&mm->windows, &w->range, start, end - start));
}

struct window *window_merge(struct mm *mm, struct window *w)
{
	struct rb_node *node = rb_prev(&w->range.node);
	struct window *other = node ? window_of(rb_entry(node, struct range, node)) : NULL;
	uint64_t end;

	if (other && continues(other, w)) {
		end = window_end(w);
		record_range(other, other->range.start, end); /* M4 */
		other->entered = other->entered || w->entered;
		region_put(unlink_window(mm, w)); /* `other` holds one as well */
		resize(mm, other, other->range.start, end);
		w = other;
	}
	other = window_of(range_next(&w->range));
	if (other && continues(w, other)) {
		end = window_end(other);
		record_range(w, w->range.start, end);
		w->entered = w->entered || other->entered;
		region_put(unlink_window(mm, other));
		resize(mm, w, w->range.start, end);
	}
	return w;
}

void window_split(struct mm *mm, struct window *w, uint64_t at, struct window *fresh)
{
	uint64_t end = window_end(w);

	fresh->region = w->region;
	fresh->shown = w->shown;
	fresh->handle = w->handle;
	fresh->readonly = w->readonly;
	fresh->entered = atomic_load(&w->entered);
	fresh->advice = w->advice;
	window_copy_streaks(fresh, w);
	fresh->page = w->page + ((at - w->range.start) >> w->region->page_shift);
	commit_window(mm, fresh, at, end); /* M4 */
	resize(mm, w, w->range.start, at);
	CHECK(!link_window(mm, fresh, at, end - at));
}

int mm_add_window(struct mm *mm, const struct window_request *request)
{
	struct window *w;
	int r = INJECT(WINDOW_ADD);

	if (r)
		return r;
	w = window_new(mm);
	if (!w)
		return -ENOMEM;
	w->region = request->region;
	w->shown = request->shown ? request->shown : request->region->section->id;
	w->page = request->page;
	w->handle = request->handle;
	w->readonly = request->readonly;
	w->advice = WINDOW_NORMAL;
	mutex_lock(&request->region->lock);
	mutex_lock(&mm->lock);
	r = link_window(mm, w, request->start, request->length);
	if (r) {
		window_free(w);
	} else {
		commit_window(mm, w, request->start, request->start + request->length);
		window_merge(mm, w);
	}
	mutex_unlock(&mm->lock);
	mutex_unlock(&request->region->lock);
	return r;
}

/* Only the first part of [*start, *end) that no window has is left. */
static void trim_to_gap(struct mm *mm, uint64_t *start, uint64_t *end)
{
	struct range *r = range_find_from(&mm->windows, *start);

	while (r && r->start <= *start) {
		*start = max_t(uint64_t, *start, r->start + r->length);
		r = range_next(r);
	}
	if (r)
		*end = min_t(uint64_t, *end, r->start);
}

int mm_resume_window(struct mm *mm, struct region *region, struct window_record *record)
{
	struct window *w;
	uint64_t start, end, advice;
	bool good = record_word_get(&record->start, &start);

	good = record_word_get(&record->end, &end) && good;
	good = record_word_get(&record->advice, &advice) && good;
	start <<= PAGE_SHIFT;
	end <<= PAGE_SHIFT;
	trim_to_gap(mm, &start, &end);
	good = good && start < end && end <= address_end && start - record->base < 1ull << 63 &&
	       (end - record->base) >> region->page_shift <= region->nr_pages;
	w = good ? kmem_cache_zalloc(table.windows, GFP_KERNEL) : NULL;
	if (!w) {
		record_free(RECORD_WINDOW, record);
		return good ? -ENOMEM : 0;
	}
	*w = (struct window){ .region = region,
			      .shown = (uint32_t)(advice >> RECORD_SHOWN_SHIFT),
			      .page = (start - record->base) >> region->page_shift,
			      .handle = record->handle,
			      .readonly = record->readonly,
			      .entered = true, /* perhaps */
			      .advice = (enum window_advice)(advice & RECORD_ADVICE_MASK),
			      .record = record };
	if (!w->shown)
		w->shown = region->section->id;
	record_range(w, start, end);
	mutex_lock(&region->lock);
	mutex_lock(&mm->lock);
	CHECK(!link_window(mm, w, start, end - start));
	window_merge(mm, w);
	mutex_unlock(&mm->lock);
	mutex_unlock(&region->lock);
	return 0;
}

/* A fault where no window is waits as well: at an address of an arena that was never granted, or
 * where a window was. The kernel takes any range that a process can have. */
void mm_wake_all(struct mm *mm)
{
	if (!os->uffd_wake(mm->uffd, address_begin, address_end - PAGE_SIZE - address_begin))
		return;
	mutex_lock(&mm->lock);
	for (struct range *r = range_find_from(&mm->windows, 0); r; r = range_next(r))
		os->uffd_wake(mm->uffd, r->start, r->length);
	mutex_unlock(&mm->lock);
}

/* The region of the first window that touches [start, end), referenced. */
static struct region *region_at(struct mm *mm, uint64_t start, uint64_t end)
{
	struct window *w;
	struct region *region = NULL;

	mutex_lock(&mm->lock);
	w = window_of(range_find_from(&mm->windows, start));
	if (w && w->range.start < end) {
		region = w->region;
		region_get(region);
	}
	mutex_unlock(&mm->lock);
	return region;
}

/* Takes the part of w inside [start, end) out; w->region->lock and mm->lock are held. A page that
 * is cut in two leaves with the part that goes. Returns whether `fresh` was used. */
static bool cut(struct mm *mm, struct window *w, uint64_t start, uint64_t end, struct window *fresh)
{
	uint64_t bytes = region_page_bytes(w->region);
	uint64_t low = max_t(uint64_t, start, w->range.start);
	uint64_t high = min_t(uint64_t, end, window_end(w));
	uint64_t offset = low - w->range.start;
	bool used = false;

	low = w->range.start + round_down(offset, bytes);
	high = w->range.start + round_up(high - w->range.start, bytes);
	if (high < window_end(w)) {
		window_split(mm, w, high, fresh);
		used = true;
	}
	if (low > w->range.start)
		resize(mm, w, w->range.start, low);
	else
		region_put(unlink_window(mm, w)); /* the caller holds one more */
	return used;
}

int mm_remove_range(struct mm *mm, uint64_t start, uint64_t length)
{
	uint64_t end;
	struct region *region;

	if (__builtin_add_overflow(start, length, &end) || !length)
		return -EINVAL;
	while ((region = region_at(mm, start, end))) {
		struct window *fresh = window_new(mm);
		struct window *w;
		bool used = false;

		if (!fresh) {
			region_put(region);
			return -ENOMEM;
		}
		mutex_lock(&region->lock);
		mutex_lock(&mm->lock);
		w = window_of(range_find_from(&mm->windows, start));
		if (w && w->range.start < end && w->region == region)
			used = cut(mm, w, start, end, fresh);
		mutex_unlock(&mm->lock);
		mutex_unlock(&region->lock);
		if (!used)
			window_free(fresh);
		region_put(region);
	}
	mm_forget_remaps(mm, start, length);
	return 0;
}

struct region *window_region(struct mm *mm, const struct window_search *search,
			     struct range *found)
{
	struct region *region = NULL;

	mutex_lock(&mm->lock);
	for (struct range *r = range_find_from(&mm->windows, search->from);
	     r && r->start < search->end; r = range_next(r)) {
		struct window *w = window_of(r);

		if ((search->handle && w->handle != search->handle) ||
		    (search->foreign && window_shows_own(w)))
			continue;
		if (found)
			*found = *r;
		region = w->region;
		region_get(region);
		break;
	}
	mutex_unlock(&mm->lock);
	return region;
}

/* Onwards from the last one found, and from the beginning again: windows move. */
static struct region *region_from(struct mm *mm, uint32_t handle, struct range *found)
{
	struct window_search search = { .handle = handle, .from = found->start,
					.end = UINT64_MAX };
	struct region *region = window_region(mm, &search, found);

	if (region || !search.from)
		return region;
	search.from = 0;
	return window_region(mm, &search, found);
}

void mm_remove_handle(struct mm *mm, uint32_t handle)
{
	struct range found = { 0 };
	struct region *region;

	while ((region = region_from(mm, handle, &found))) {
		struct window *w;

		mutex_lock(&region->lock);
		mutex_lock(&mm->lock);
		w = window_of(range_find(&mm->windows, found.start));
		if (w && w->region == region && (!handle || w->handle == handle))
			region_put(unlink_window(mm, w));
		mutex_unlock(&mm->lock);
		mutex_unlock(&region->lock);
		if (handle) /* who waits for a page there is found by no window any more */
			os->uffd_wake(mm->uffd, found.start, found.length);
		region_put(region);
	}
	mm_forget_remaps_of(mm, handle);
}

void mm_remove_all(struct mm *mm)
{
	mm_remove_handle(mm, 0);
}

/* Moves the whole window w; `fresh` takes its place in the map. */
static int move_window(struct mm *mm, struct window *w, uint64_t to, struct window *fresh)
{
	uint64_t length = w->range.length;
	int r;

	*fresh = (struct window){ .region = w->region,
				  .shown = w->shown,
				  .handle = w->handle,
				  .advice = w->advice,
				  .entered = atomic_load(&w->entered),
				  .readonly = w->readonly,
				  .page = w->page,
				  .record = fresh->record };
	commit_window(mm, fresh, to, to + length); /* two of them, for a moment */
	region_put(unlink_window(mm, w)); /* the caller holds one more */
	r = link_window(mm, fresh, to, length);
	if (r)
		window_free(fresh);
	else
		window_merge(mm, fresh);
	return r;
}

/* Between two of its pages; at a large page's middle it stays whole. */
static bool is_cuttable(const struct window *w, uint64_t at)
{
	return w->range.start < at && at < window_end(w) &&
	       is_aligned(at - w->range.start, region_page_bytes(w->region));
}

static int cut_at(struct mm *mm, uint64_t address)
{
	struct region *region = region_at(mm, address, address + 1);
	struct window *fresh, *w;
	bool used = false;

	if (!region)
		return 0;
	fresh = window_new(mm);
	if (!fresh) {
		region_put(region);
		return -ENOMEM;
	}
	mutex_lock(&region->lock);
	mutex_lock(&mm->lock);
	w = window_of(range_find(&mm->windows, address));
	if (w && w->region == region && is_cuttable(w, address)) {
		window_split(mm, w, address, fresh);
		used = true;
	}
	mutex_unlock(&mm->lock);
	mutex_unlock(&region->lock);
	if (!used)
		window_free(fresh);
	region_put(region);
	return 0;
}

/* M2 around an address, after a cut that nothing came of. */
static void join_at(struct mm *mm, uint64_t address)
{
	struct region *region = region_at(mm, address, address + 1);
	struct window *w;

	if (!region)
		return;
	mutex_lock(&region->lock);
	mutex_lock(&mm->lock);
	w = window_of(range_find(&mm->windows, address));
	if (w && w->region == region)
		window_merge(mm, w);
	mutex_unlock(&mm->lock);
	mutex_unlock(&region->lock);
	region_put(region);
}

static int move_windows(struct mm *mm, uint64_t from, uint64_t to, uint64_t length)
{
	uint64_t end = from + length;
	struct region *region;
	int r = 0;

	while (!r && (region = region_at(mm, from, end))) {
		struct window *fresh, *w;

		r = cut_at(mm, from);
		if (!r)
			r = cut_at(mm, end);
		fresh = r ? NULL : window_new(mm);
		if (!fresh) {
			region_put(region);
			join_at(mm, from);
			join_at(mm, end - 1);
			return r ? r : -ENOMEM;
		}
		mutex_lock(&region->lock);
		atomic_fetch_add(&region->nr_moves, 1);
		mutex_lock(&mm->lock);
		/* Closed, moved or merged meanwhile by another thread: look again. */
		w = window_of(range_find_from(&mm->windows, from));
		if (w && w->region == region && w->range.start < end && !is_cuttable(w, from) &&
		    !is_cuttable(w, end))
			r = move_window(mm, w, to + (w->range.start - from), fresh);
		else
			window_free(fresh);
		mutex_unlock(&mm->lock);
		mutex_unlock(&region->lock);
		region_put(region);
	}
	return r;
}

int mm_move_range(struct mm *mm, uint64_t from, uint64_t to, uint64_t length)
{
	uint64_t end;
	int r;

	if (__builtin_add_overflow(from, length, &end) || !length || to >= address_end)
		return -EINVAL;
	mm_remove_range(mm, to, length); /* whatever was there has been replaced */
	r = move_windows(mm, from, to, length);
	mm_forget_remaps(mm, from, length);
	return r;
}

uint64_t mm_find_gap(struct mm *mm, uint64_t length, uint64_t align, const uint64_t bounds[2])
{
	struct range_request want = {
		.length = length, .align = align, .low = bounds[0], .high = bounds[1]
	};
	struct range probe = { 0 };
	uint64_t start = 0;

	mutex_lock(&mm->lock);
	if (!range_alloc_within(&mm->windows, &probe, &want)) {
		start = probe.start;
		range_free(&mm->windows, &probe);
	}
	mutex_unlock(&mm->lock);
	return start;
}

/* ---- advice ---- */

/* Applies to the part of one window that shows pages of `range`; both locks held. */
static void advise_window(struct mm *mm, struct window *w, struct page_range range,
			  enum window_advice advice, struct window *fresh[2])
{
	unsigned int shift = w->region->page_shift;
	uint64_t last = w->page + (w->range.length >> shift);
	uint64_t low = max_t(uint64_t, range.first, w->page);
	uint64_t high = min_t(uint64_t, range.first + range.nr, last);

	if (low >= high || w->advice == advice)
		return;
	if (high < last) {
		window_split(mm, w, w->range.start + ((high - w->page) << shift), fresh[0]);
		fresh[0] = NULL;
	}
	if (low > w->page) {
		window_split(mm, w, w->range.start + ((low - w->page) << shift), fresh[1]);
		w = fresh[1];
		fresh[1] = NULL;
	}
	w->advice = advice;
	window_record_state(w);
	window_merge(mm, w);
}

int mm_set_advice(struct mm *mm, uint32_t handle, struct page_range range,
		  enum window_advice advice)
{
	uint64_t from = 0;
	struct region *region;
	struct range found = { 0 };

	region = region_from(mm, handle, &found);
	if (!region)
		return -ENOENT;
	for (;;) {
		struct window *fresh[2] = { window_new(mm),
					    window_new(mm) };
		struct window *w;
		bool ok = fresh[0] && fresh[1];

		mutex_lock(&region->lock);
		mutex_lock(&mm->lock);
		ok = ok && mm->nr_windows <= NR_WINDOWS_MAX - 2;
		w = window_of(range_find_from(&mm->windows, from));
		while (w && w->handle != handle)
			w = window_of(range_next(&w->range));
		if (w && ok) {
			from = window_end(w);
			advise_window(mm, w, range, advice, fresh);
		}
		mutex_unlock(&mm->lock);
		mutex_unlock(&region->lock);
		for (int i = 0; i < 2; i++)
			if (fresh[i])
				window_free(fresh[i]);
		if (!w || !ok) {
			region_put(region);
			return ok ? 0 : -ENOMEM;
		}
	}
}

void mm_for_each_window(struct mm *mm, void (*fn)(const struct window *w, void *arg), void *arg)
{
	mutex_lock(&mm->lock);
	for (struct range *r = range_find_from(&mm->windows, 0); r; r = range_next(r))
		fn(window_of(r), arg);
	mutex_unlock(&mm->lock);
}

void mm_validate(struct mm *mm, struct validation *v)
{
	uint64_t nr = 0, spanned = 0;

	mutex_lock(&mm->lock);
	range_alloc_validate(&mm->windows, v);
	for (struct range *r = range_find_from(&mm->windows, 0); r; r = range_next(r)) {
		struct window *w = window_of(r);
		struct range *next = range_next(r);

		nr++;
		spanned += r->length;
		validation_expect(v, is_aligned(r->length, region_page_bytes(w->region)),
				  "window at %#llx: not whole pages", (unsigned long long)r->start);
		validation_expect(v, !next || !continues(w, window_of(next)),
				  "window at %#llx: not merged with the next",
				  (unsigned long long)r->start);
	}
	validation_compare(v, nr, mm->nr_windows, "mm of pid %d: windows", mm->pid);
	validation_compare(v, spanned, mm->spanned, "mm of pid %d: bytes spanned", mm->pid);
	mutex_unlock(&mm->lock);
}
