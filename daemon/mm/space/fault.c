/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault - look up, produce, map; and what to do when one of these fails
 *
 * Parked      a page that can't be produced now waits on a list of this file, which the slow lanes
 *             retry until the deadline.
 */
#include "mm/space/fault.h"

#include <errno.h>

#include "base/log.h"
#include "mm/obj/slab.h"
#include "mm/space/ahead.h"
#include "mm/space/cow.h"
#include "mm/space/mapping.h"
#include "mm/space/protect.h"
#include "mm/space/reader.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"
#include "mm/space/rejoin.h"
#include "mm/space/swapin.h"
#include "mm/space/waiter.h"

enum {
	PARK_RETRY_NS = 10 * 1000 * 1000, /* pitfall 5: never longer with parked work */
	REMAP_RETRY_NS = 1000 * 1000 * 1000,
	ROUNDS_MAX = 8, /* a page punched under us this often is left to the next fault */
	CIRCLES_MAX = 64, /* such faults of a session between two ticks; later ones wait */
	OOM_PATIENCE_NS = 200 * 1000 * 1000, /* clients have been asked, and may give back */
	POOL_PATIENCE_NS = 1000 * 1000 * 1000, /* with pools of clones that have no room */
	PARKED_MAX = 1024, /* of one session: a thread that gets signals faults again and again */
};

/* c: fixed   p: parked_lock */
struct parked {
	struct list_head link;  /* (p) */
	struct waiting_fault f; /* (c) its target may have gone; the region is referenced */
	uint64_t due_ns;        /* (p) */
};

static struct fault_config config;
static struct mutex parked_lock;
static struct list_head parked_list = LIST_HEAD_INIT(parked_list);

void fault_init(const struct fault_config *request)
{
	config = *request;
	mutex_init(&parked_lock, RANK_LEAF, "parked faults");
}

void fault_set_deadline(uint64_t deadline_ns)
{
	config.deadline_ns = deadline_ns;
}

bool fault_can_share(void)
{
	return config.can_share && config.ask_remap;
}

void fault_ask_remap(struct mm *mm, const struct remap *remap)
{
	config.ask_remap(mm->owner, remap);
}

static void drop_parked(struct parked *p)
{
	struct region *region = p->f.target.region;

	atomic_fetch_sub(&p->f.mm->nr_parked, 1);
	if (region) {
		memstall_leave(region->memcg, &p->f.mm->psi);
		region_put(region);
	}
	mm_put(p->f.mm);
	kfree(p);
}

void fault_drop_parked(void)
{
	struct parked *p, *next;

	list_for_each_entry_safe(p, next, &parked_list, link) {
		list_del(&p->link);
		drop_parked(p);
	}
}

void fault_fini(void)
{
	CHECK(list_empty(&parked_list));
	mutex_fini(&parked_lock);
}

/* The client has cut its mapping inside the page: what is left of it. */
static int poison_pieces(struct mm *mm, const struct fault_record *record)
{
	int r = -ENOENT;

	for (uint64_t at = 0; at < record->length; at += PAGE_SIZE)
		if (!os->uffd_poison(mm->uffd, record->address + at, PAGE_SIZE))
			r = 0;
	return r;
}

/* hugetlb is poisoned in whole pages only; of an arena the caller knows just an address. */
static int poison_range(struct mm *mm, const struct fault_record *record)
{
	int r = os->uffd_poison(mm->uffd, record->address, record->length);

	if (r == -ENOENT && record->length > PAGE_SIZE)
		return poison_pieces(mm, record);
	if (r == -EINVAL && record->length < PAGEBLOCK_SIZE)
		r = os->uffd_poison(mm->uffd, round_down(record->address, PAGEBLOCK_SIZE),
				    PAGEBLOCK_SIZE);
	return r;
}

/* A page that isn't lost any more gets no mark: whoever has dropped it waited for the turn before
 * it had the clients' marks taken away, and nobody would take this one. */
static int poison_lost(struct mm *mm, const struct mm_target *target,
		       const struct fault_record *record)
{
	unsigned int turn = region_map_enter(target->region);
	bool lost = word_state(word_load(&target->region->words[target->page])) == PAGE_POISONED;
	int r = lost ? poison_range(mm, record) : -EAGAIN;

	region_map_leave(target->region, turn);
	return r;
}

/* A page that isn't lost may be mapped meanwhile, and what is mapped protected must stay so: others
 * count on that. It isn't where the word, held, says that nobody can have mapped it. */
static int poison_unserved(struct mm *mm, const struct mm_target *target,
			   const struct fault_record *record)
{
	_Atomic uint64_t *word = target ? &target->region->words[target->page] : NULL;
	enum page_state state = word ? word_state(word_load(word)) : PAGE_PRESENT;
	uint64_t old;
	int r;

	if (state == PAGE_PRESENT || state == PAGE_INHERIT || !word_try_busy(word, state, &old))
		return os->uffd_poison_absent(mm->uffd, record->address, record->length);
	r = poison_range(mm, record);
	if (word_end_busy(word, old))
		region_wake(target->region, (struct page_range){ target->page, 1 });
	return r;
}

enum poison_why {
	POISON_STRAY,    /* no page of a region can be there */
	POISON_LOST,     /* the target's page */
	POISON_UNSERVED, /* the target's page, or a range (NULL), isn't to be had */
};

/* SIGBUS at this page of this client, with a cause it can read: the record comes first, since the
 * client may be in its signal handler before this returns. */
static void poison_window(struct mm *mm, const struct mm_target *target,
			  const struct fault_record *record, enum poison_why why)
{
	int r = -EOPNOTSUPP;

	if (config.log_fault)
		config.log_fault(mm->owner, record);
	if (config.can_poison)
		r = why == POISON_LOST	     ? poison_lost(mm, target, record)
		    : why == POISON_UNSERVED ? poison_unserved(mm, target, record)
					     : poison_range(mm, record);
	if (!r)
		fault_stat(&fault_stats.nr_poisoned);
	/* Mapped, moved or unmapped meanwhile: it may look again. The kernel wakes nobody there. */
	if (r == -EEXIST || r == -EAGAIN || r == -ENOENT)
		r = os->uffd_wake(mm->uffd, record->address, record->length);
	if (r && r != -ESRCH && r != -ENOENT && config.end_client)
		config.end_client(mm->owner, "a page is lost and this kernel can't poison it");
}

static void poison_target(struct mm *mm, const struct mm_target *target, const char *cause,
			  enum poison_why why)
{
	uint64_t bytes = region_page_bytes(target->region);
	struct fault_record record = {
		.address = target->base + target->page * bytes,
		.length = bytes,
		.offset = target->page * bytes,
		.region = target->region->name,
		.error = -EIO,
		.cause = cause,
	};

	poison_window(mm, target, &record, why);
}

/* An address in our userfaultfd that no window of ours covers: an arena page that was never
 * granted or has been returned, or a range that the client registered by itself. */
static void poison_stray(struct mm *mm, uint64_t address)
{
	struct fault_record record = {
		.address = round_down(address, PAGE_SIZE),
		.length = PAGE_SIZE,
		.region = "",
		.error = -EFAULT,
		.cause = "no memory was granted at this address, or it has been given back",
	};

	fault_stat(&fault_stats.nr_strays);
	atomic_fetch_add_explicit(&mm->nr_strays, 1, memory_order_relaxed);
	poison_window(mm, NULL, &record, POISON_STRAY);
}

/* delay_ns: it is tried again then; error 0: nothing is wrong, but its pool is above high. */
static void park(const struct waiting_fault *f, int error, uint64_t delay_ns)
{
	struct mm *mm = f->mm;
	bool full = atomic_fetch_add(&mm->nr_parked, 1) >= PARKED_MAX;
	struct parked *p = full ? NULL : kmalloc(sizeof(*p), GFP_KERNEL);

	if (!p || !mm_get(mm)) {
		kfree(p);
		atomic_fetch_sub(&mm->nr_parked, 1);
		os->uffd_wake(mm->uffd, round_down(f->event.address, PAGE_SIZE), PAGE_SIZE);
		fault_ended(f);
		return;
	}
	*p = (struct parked){ .f = *f, .due_ns = os->now_ns() + delay_ns };
	if (f->target.region) {
		region_get(f->target.region);
		memstall_enter(f->target.region->memcg, &mm->psi);
	}
	if (!f->again)
		fault_stat(&fault_stats.nr_parked);
	if (error && error != -ENOENT && error != -ENODATA && !f->again)
		log_emit_limited(LOG_WARNING, "fault_parked",
				 "pid %d: a page can't be produced now (error %d); retrying",
				 mm->pid, -error);
	mutex_lock(&parked_lock);
	list_add_tail(&p->link, &parked_list);
	mutex_unlock(&parked_lock);
}

static const char punched[] = "the page was punched out of its file by a client";

/* CONTINUE says the page isn't in the file although its word is PRESENT. With BUSY held nobody of
 * ours can have taken it: if it isn't there, a client punched it, and the next look at the word
 * finds it poisoned. The file is asked and not the client, which may have mapped another one. */
static void poison_vanished(const struct mm_target *target, struct kin *kin)
{
	_Atomic uint64_t *word = &target->region->words[target->page];
	uint64_t bytes = region_page_bytes(target->region);
	uint64_t old;

	if (!word_try_busy(word, PAGE_PRESENT, &old))
		return;
	if (os->has_hole(target->region->section->fd, target->page * bytes, bytes)) {
		region_poison_busy(target->region, target->page, old, punched);
		if (kin)
			cow_lose(target->region, target->page);
		fault_stat(&fault_stats.nr_punched);
	} else if (word_end_busy(word, old)) {
		region_wake(target->region, (struct page_range){ target->page, 1 });
	}
}

/* Under the family's lock nobody inherits a page whose owner has no more of it, and may end. */
static void settle_vanished(const struct mm_target *target)
{
	struct kin *kin = region_kin(target->region);

	if (kin)
		mutex_lock(&kin->family->lock);
	poison_vanished(target, kin);
	if (kin)
		mutex_unlock(&kin->family->lock);
}

/* What to do after CONTINUE failed on the faulting page. 0: look at the word again. */
static int settle_error(struct mm *mm, const struct mm_target *target, int error)
{
	uint64_t bytes = region_page_bytes(target->region);
	uint64_t address = target->base + target->page * bytes;

	switch (error) {
	case -ENOENT: /* unmapped: who waits there isn't woken by that, and is to get its SIGSEGV */
		os->uffd_wake(mm->uffd, address, bytes);
		fault_stat(&fault_stats.nr_gone);
		return 1;
	case -ESRCH:
		fault_stat(&fault_stats.nr_gone);
		return 1;
	case -EFAULT:
		settle_vanished(target);
		return 0;
	case -EBUSY: /* frozen: the thaw wakes */
		fault_stat(&fault_stats.nr_busy);
		return 1;
	default: /* -EAGAIN: the client is changing its map; -ENOMEM: no page table just now */
		fault_stat(&fault_stats.nr_again);
		os->uffd_wake(mm->uffd, address, bytes);
		return 1;
	}
}

/* One round: produce and map. 1: the event is settled; 0: look again; else the error. */
static int fault_round(struct mm *mm, const struct mm_target *target,
		       const struct os_uffd_event *event, uint64_t around)
{
	struct page_range range = { target->page,
				    min_t(uint64_t, around, target->end - target->page) };
	struct page_range run;
	uint64_t done = 0;
	int r;

	if (region_kin(target->region)) { /* as whatever is shown elsewhere than at home */
		r = cow_fault(mm, target, event, around);
		if (r != COW_GO_ON)
			return r == COW_SETTLED ? 1 : r == COW_AGAIN ? 0 : r;
	}
	r = region_make_present(target->region, range, target->page, &run);
	if (r == -ENOMEM && range.nr > 1) { /* the neighbours are a wish */
		range.nr = 1;
		r = region_make_present(target->region, range, target->page, &run);
	}
	if (r == -EBUSY) {
		fault_stat(&fault_stats.nr_busy);
		return 1;
	}
	if (r == -EIO) {
		poison_target(mm, target, atomic_load(&target->region->poison_cause),
			      POISON_LOST);
		return 1;
	}
	if (r)
		return r == -ESTALE ? 0 : r;
	run.nr -= target->page - run.first;
	run.first = target->page;
	r = map_run(mm, target, run, &done);
	/* A range can only be mapped inside one mapping of the client, which may have cut its
	 * window (by munmap, mprotect, madvise): then what it needs, and no more. */
	if (!done && r == -ENOENT)
		r = map_least(mm, target, event->address, &done);
	if (done) {
		atomic_fetch_add_explicit(&fault_stats.nr_around, done - 1, memory_order_relaxed);
		return 1;
	}
	return settle_error(mm, target, r);
}

/* Pages of a streak of writes from the one that was hit on. */
static uint64_t dirty_run(const struct mm_target *target, uint64_t around)
{
	uint64_t end = min_t(uint64_t, target->page + around, target->end);
	uint64_t i = target->page;

	while (i < end && region_dirty_page(target->region, i) &&
	       (i == target->page ||
		!(word_load(&target->region->words[i]) & WORD_SHARED)))
		i++;
	return max_t(uint64_t, i - target->page, 1);
}

/* A write to what is mapped protected, and need not be any more; or what a client protected by
 * itself. */
static void end_protection(struct mm *mm, const struct mm_target *target, uint64_t around)
{
	_Atomic uint64_t *word = &target->region->words[target->page];
	uint64_t bytes = region_page_bytes(target->region);
	struct page_range run = { target->page, 1 };
	int r;

	if (word_load(word) & WORD_BUSY && word_wait(word)) {
		fault_stat(&fault_stats.nr_busy);
		return;
	}
	run.nr = dirty_run(target, around);
	region_note_use(target->region, target->page);
	r = map_unprotect(mm, target, run);
	if (r && run.nr > 1) {
		run.nr = 1;
		r = map_unprotect(mm, target, run);
	}
	if (r && r != -EBUSY)
		os->uffd_wake(mm->uffd, target->base + target->page * bytes, bytes);
}

/* Who shares the page gets a copy first. *waits: somebody else goes on with it. */
static int settle_wp(const struct waiting_fault *f, bool *waits)
{
	int r = COW_GO_ON;

	if (region_kin(f->target.region))
		r = cow_fault(f->mm, &f->target, &f->event, f->hint.around);
	if (r == COW_AGAIN)
		os->uffd_wake(f->mm->uffd, round_down(f->event.address, PAGE_SIZE), PAGE_SIZE);
	if (r == COW_GO_ON)
		end_protection(f->mm, &f->target, f->hint.around);
	if (r >= 0 && r != COW_AGAIN && region_kin(f->target.region))
		ahead_break(&f->target, f->hint.around);
	*waits = r == -ENOMEM && waiters_add(f);
	return r < 0 && !*waits ? r : 0;
}

/* Blocks made ahead have their first page unmapped, which says nothing about the others: touched
 * while present, it alone is mapped, unless the rest was left for the caller to do. */
static bool left_to_job(struct mm *mm, const struct mm_target *target,
			const struct os_uffd_event *event, struct mm_hint *hint)
{
	bool marker = ahead_is_for_job(target->region, target->page) &&
		      target->page % ahead_block_pages(target->region) == 0 &&
		      event->flags & OS_FAULT_MINOR;
	enum ahead_state state = ahead_claim(mm, target);

	if (marker && state != AHEAD_TAKEN)
		hint->around = 1;
	return state == AHEAD_BEGUN && !marker;
}

/* 1: settled; 0: it went away each time; else the error for which the page can't be produced. */
static int try_rounds(const struct waiting_fault *f)
{
	int r = 0;

	if (f->event.flags & OS_FAULT_WRITE)
		region_dirty_page(f->target.region, f->target.page);
	for (int round = 0; round < ROUNDS_MAX && !r; round++)
		r = fault_round(f->mm, &f->target, &f->event, f->hint.around);
	if (r > 0 && f->event.flags & OS_FAULT_MINOR)
		region_note_use(f->target.region, f->target.page);
	return r;
}

/* I5 of mapping.h: the same some time after the target was found. */
static int try_late(const struct waiting_fault *f)
{
	const struct mm_target *t = &f->target;
	uint64_t around = min_t(uint64_t, f->hint.around, t->end - t->page);
	unsigned int turn;
	int r;

	if (!map_late_begin(f->mm, t, (struct page_range){ t->page, around }, &turn))
		return 0; /* it looks again, if there is anybody */
	r = try_rounds(f);
	map_late_end(f->mm, turn);
	return r;
}

static int swap_in(struct waiting_fault *f)
{
	struct swapper *s = swapper_get(SWAPPER_READER);
	struct swap_in_request want = {
		.region = f->target.region,
		.range = { f->target.page,
			   min_t(uint64_t, f->hint.around, f->target.end - f->target.page) },
		.write = f->event.flags & OS_FAULT_WRITE,
	};
	struct page_range run;
	int r = -ENOENT;

	if (!s)
		return -ENOMEM;
	if (!want.write)
		r = rejoin_swap_in(s, &want, &run);
	if (r == -ENOENT)
		r = region_swap_in(s, &want, &run);
	swapper_put(s);
	if (!r || r == -EIO)
		fault_count_major(f);
	if (!r)
		swap_ahead_count(run.nr - 1);
	return r == -EAGAIN || r == -EIO ? 0 : r; /* the word says what to do */
}

/* As try_rounds, waiting for the disk. */
static int try_waiting(struct waiting_fault *f)
{
	int r = try_late(f);

	return r == -ENODATA ? swap_in(f) : r;
}

/* And for frames. To find none takes long, and others may have given back meanwhile. */
static int serve_waiting(struct waiting_fault *f)
{
	int r = 0;

	for (int round = 0; round < ROUNDS_MAX && !r; round++) {
		r = try_waiting(f);
		if (r == -ENOMEM && reclaim_for(f->target.region))
			r = 0;
	}
	return r == -ENOMEM ? try_waiting(f) : r;
}

/* Its faults lead to no page over and over: it has mapped another file where the window was, and
 * its threads fault again as soon as they are woken. That may go on, but not on the lanes' time. */
static bool goes_in_circles(struct mm *mm)
{
	uint32_t nr = atomic_fetch_add_explicit(&mm->nr_circles, 1, memory_order_relaxed);

	return nr >= CIRCLES_MAX;
}

/* 0: settled; -EDQUOT: it may try again, but not at once; else the error for which the page can't
 * be produced now. */
static int end_fault(const struct waiting_fault *f, int r)
{
	if (!r && !f->again && goes_in_circles(f->mm))
		return -EDQUOT;
	if (!r) /* fault again rather than hold this thread */
		os->uffd_wake(f->mm->uffd, round_down(f->event.address, PAGE_SIZE), PAGE_SIZE);
	if (r > 0 && f->hint.ahead_nr)
		ahead_start(f->mm, &f->target,
			    (struct page_range){ f->hint.ahead_first, f->hint.ahead_nr });
	return r < 0 ? r : 0;
}

/* A write to a shared page goes on although some who share it get no copy: their pages are lost. */
static bool write_on(const struct waiting_fault *f, enum cow_patience patience)
{
	const struct mm_target *t = &f->target;

	if (!t->region || !(f->event.flags & (OS_FAULT_WRITE | OS_FAULT_WP)) ||
	    patience == COW_PATIENCE || !cow_force(t->region, t->page, patience))
		return false;
	os->uffd_wake(f->mm->uffd, t->base + t->page * region_page_bytes(t->region),
		      region_page_bytes(t->region));
	return true;
}

static void give_up(const struct waiting_fault *f, const char *cause)
{
	struct mm_target target;
	struct mm_hint hint;

	fault_ended(f);
	if (write_on(f, COW_NO_PATIENCE))
		return;
	log_emit_limited(LOG_ERR, "fault_deadline", "pid %d: %s", f->mm->pid, cause);
	if (!mm_find(f->mm, f->event.address, &target, &hint)) {
		os->uffd_wake(f->mm->uffd, round_down(f->event.address, PAGE_SIZE), PAGE_SIZE);
		return;
	}
	/* The page itself isn't lost, but DONTNEED must know that clients have poison to drop. */
	atomic_fetch_add(&target.region->nr_poisoned, 1);
	poison_target(f->mm, &target, cause, POISON_UNSERVED);
	region_put(target.region);
}

/* A pool that promises more than there is decides what to do without it. True: the fault fails. */
static bool is_out_of_memory(const struct waiting_fault *f, int error)
{
	struct region *region = f->target.region;

	if (error != -ENOMEM || !region)
		return false;
	memcg_pressure(region->memcg, MEMCG_LEVEL_MIN, region_frames_per_page(region));
	if (!region->overcommit || os->now_ns() - f->first_ns < OOM_PATIENCE_NS)
		return false;
	memcg_oom(region->memcg, region_frames_per_page(region));
	return !atomic_load_explicit(&region->memcg->oom_kill, memory_order_relaxed);
}

/* It can't be served now. */
static void put_off(const struct waiting_fault *f, int error)
{
	uint64_t age = os->now_ns() - f->first_ns;

	if (error == -ENOMEM &&
	    write_on(f, age < POOL_PATIENCE_NS ? COW_PATIENCE : COW_POOL_PATIENCE))
		fault_ended(f);
	else if (is_out_of_memory(f, error))
		give_up(f, "out of memory: the pool has promised more than there is");
	else if (age >= config.deadline_ns)
		give_up(f, "no memory for the page within fault_deadline");
	else
		park(f, error == -EDQUOT ? 0 : error, PARK_RETRY_NS);
}

static void finish(const struct waiting_fault *f, int r)
{
	if (r)
		put_off(f, r);
	else
		fault_ended(f);
}

void fault_wait(const struct waiting_fault *fault)
{
	struct waiting_fault f = *fault;

	finish(&f, end_fault(&f, serve_waiting(&f)));
}

/* For how long a fault that would add pages to a pool above its high waits. */
static uint64_t throttle_ns(const struct waiting_fault *f)
{
	struct region *region = f->target.region;

	if (likely(!memcg_excess(region->memcg)) ||
	    word_state(word_load(region_word(region, f->target.page))) == PAGE_PRESENT)
		return 0;
	return memcg_delay_ns(region->memcg, f->hint.around * region_frames_per_page(region));
}

/* r is what came of trying. *waits: somebody else goes on with it, and has the reference to the
 * region. Whose page has been read, and still isn't there, needs more than the disk. */
static int resolve_target(struct waiting_fault *f, int r, bool *waits)
{
	*waits = (r == -ENODATA && !f->major && reader_add(f)) ||
		 ((r == -ENODATA || r == -ENOMEM) && waiters_add(f));
	if (*waits)
		return 0;
	/* A lane never waits for a disk: what the waiters don't take is tried again. */
	if (!waiters_running() && (r == -ENODATA || (r == -ENOMEM && swap_capacity()))) {
		memstall_enter(f->target.region->memcg, &f->mm->psi);
		r = serve_waiting(f);
		memstall_leave(f->target.region->memcg, &f->mm->psi);
	}
	return end_fault(f, r);
}

void fault_resume(const struct waiting_fault *fault)
{
	struct waiting_fault f = *fault;
	bool waits;
	int r;

	region_get(f.target.region); /* for who waits next */
	fault_count_major(&f);
	r = resolve_target(&f, try_late(&f), &waits);
	if (waits)
		return;
	finish(&f, r);
	region_put(f.target.region);
}

void fault_show_ahead(const struct waiting_fault *f)
{
	const struct page_range one = { f->target.page, 1 };
	unsigned int turn;

	if (!map_late_begin(f->mm, &f->target, one, &turn))
		return;
	map_run(f->mm, &f->target, one, &(uint64_t){ 0 });
	map_late_end(f->mm, turn);
}

/* An address without a window is looked up again: another lane may have read that the window has
 * moved there, and be about to say so. Until the deadline nobody is poisoned for that. */
enum look { LOOK_FIRST, LOOK_AGAIN };

/* 0: settled, and f's region is nobody's; else the error for which the page can't be produced now,
 * and the caller's is a reference to the region. -ENOENT: without window. */
static int resolve(struct waiting_fault *f, enum look look)
{
	bool waits = false, known = look == LOOK_AGAIN && mm_moves_known(f->mm);
	struct region *region;
	int r = 0;

	f->target.region = NULL;
	if (!mm_find(f->mm, f->event.address, &f->target, &f->hint)) {
		f->target.region = NULL;
		if (look == LOOK_FIRST ||
		    (!known && os->now_ns() - f->first_ns < config.deadline_ns))
			return -ENOENT;
		poison_stray(f->mm, f->event.address);
		fault_ended(f); /* of one whose window has gone */
		return 0;
	}
	region = f->target.region;
	fault_count(f);
	if (region_kin(region) && f->target.shown == region->section->id)
		f->hint.ahead_nr = 0;
	if (f->event.flags & OS_FAULT_WP)
		r = settle_wp(f, &waits);
	else if (look == LOOK_FIRST && throttle_ns(f))
		r = -EDQUOT;
	else if (f->hint.in_ahead && left_to_job(f->mm, &f->target, &f->event, &f->hint))
		r = 0;
	else
		r = resolve_target(f, try_rounds(f), &waits);
	if (r)
		return r;
	f->target.region = NULL;
	if (waits)
		return 0; /* who goes on with it has the region */
	region_put(region);
	fault_ended(f);
	return 0;
}

void fault_handle(struct mm *mm, const struct os_uffd_event *event, uint64_t read_ns)
{
	struct waiting_fault f = { .mm = mm, .event = *event, .first_ns = read_ns };
	int r = resolve(&f, LOOK_FIRST);

	if (r == -EDQUOT)
		park(&f, 0, max_t(uint64_t, throttle_ns(&f), PARK_RETRY_NS));
	else if (r == -ENOENT)
		park(&f, r, PARK_RETRY_NS);
	else if (r)
		put_off(&f, r);
	if (f.target.region)
		region_put(f.target.region);
}

static void retry_one(struct parked *p)
{
	struct waiting_fault f = p->f;
	int r;

	f.again = true;
	r = resolve(&f, LOOK_AGAIN);
	if (r)
		put_off(&f, r);
	if (f.target.region)
		region_put(f.target.region);
	drop_parked(p);
}

/* A client that doesn't do it is asked again, until the deadline; one that is stopped can't, and
 * has its time when it goes on. */
static void retry_remaps(struct mm *mm, void *arg)
{
	uint64_t now_ns = *(uint64_t *)arg;
	struct remap remap;

	while (mm_remap_due(mm, now_ns, REMAP_RETRY_NS, &remap)) {
		struct fault_record record = {
			.address = remap.address,
			.length = remap.length,
			.offset = remap.offset,
			.region = "",
			.error = -ETIMEDOUT,
			.cause = "the process didn't map its page anew within fault_deadline",
		};
		bool late = config.is_late && config.is_late(mm->owner);

		if (late)
			mm_remap_extend(mm, &remap, now_ns);
		if (late || now_ns < remap.since_ns + config.deadline_ns) {
			fault_ask_remap(mm, &remap);
			continue;
		}
		poison_window(mm, NULL, &record, POISON_UNSERVED);
		mm_forget_remaps(mm, remap.address, remap.length);
	}
}

/* Without locks of those who wait for it. */
static void end_client(struct mm *mm, void *unused)
{
	const char *reason = mm_take_end(mm);

	(void)unused;
	if (reason && config.end_client)
		config.end_client(mm->owner, reason);
}

void fault_count_waiting(uint64_t before_ns)
{
	const struct parked *p;

	mutex_lock(&parked_lock);
	list_for_each_entry(p, &parked_list, link)
		if (p->f.target.region && p->f.first_ns < before_ns)
			atomic_fetch_add(&p->f.mm->nr_tasks, 1);
	mutex_unlock(&parked_lock);
}

uint64_t fault_retry_parked(uint64_t now_ns)
{
	struct list_head due = LIST_HEAD_INIT(due);
	struct parked *p, *next;
	bool more;

	if (atomic_load(&nr_remaps_pending))
		mm_for_each(retry_remaps, &now_ns);
	if (atomic_load(&nr_to_end))
		mm_for_each(end_client, NULL);
	mutex_lock(&parked_lock);
	list_for_each_entry_safe(p, next, &parked_list, link) {
		if (p->due_ns > now_ns)
			continue;
		list_del(&p->link);
		list_add_tail(&p->link, &due);
	}
	mutex_unlock(&parked_lock);
	list_for_each_entry_safe(p, next, &due, link) {
		list_del(&p->link);
		retry_one(p);
	}
	mutex_lock(&parked_lock);
	more = !list_empty(&parked_list);
	mutex_unlock(&parked_lock);
	return more ? PARK_RETRY_NS : 0;
}
