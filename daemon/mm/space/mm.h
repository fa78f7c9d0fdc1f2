/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mm - a session's address map: which window, hence which page of which region, an address is
 *
 * Purpose     An augmented red-black tree of windows with find, gap, merge and split, and the
 *             session's userfaultfd, through which its faults come and are answered.
 * Invariants  M1  windows don't overlap; a window shows whole pages of its region.
 *             M2  neighbours that continue each other with equal attributes are one window.
 *             M4  the records of a session's windows cover at every moment what its windows show;
 *                 where they overlap they agree.
 *             M3  every window is on its region's list and holds a reference to the region.
 * Crash       M4: of a window that is moved, cut or joined the record that shows more comes first;
 *             what two records show is taken from one. What a client has unmapped and no daemon has
 *             recorded does no harm. A move that was read and not recorded is lost: pages that
 *             weren't mapped then raise SIGBUS at the new address.
 * Locking     mm->lock (RANK_MAP) guards the tree; region->lock is taken outside it.
 *             mm objects are type-stable: a lane may look at one that has ended, and sees that
 *             refs is 0 or the generation differs.
 * Not here    Fault handling (fault.c), lanes (lane.c), who the session is (client).
 */
#ifndef MMB_SPACE_MM_H
#define MMB_SPACE_MM_H

#include <stdatomic.h>

#include "base/range_alloc.h"
#include "mm/phys/record.h"
#include "mm/space/region.h"

/* Advice splits windows; no more of them than the kernel lets a process have mappings. */
enum { NR_MM_MAX = 16384, MM_THREADS = 8, NR_STREAKS = 4, NR_WINDOWS_MAX = 65530 };
enum { MM_SEEN_WORDS = 8 };

enum window_advice { WINDOW_NORMAL, WINDOW_SEQUENTIAL, WINDOW_RANDOM };

/* One thread that touches page after page. */
struct streak {
	uint64_t page;      /* of its last fault */
	uint64_t next_page; /* where it goes on if all around that was done */
	uint64_t ahead;     /* pages before this one are made, or being made, in the background */
	uint32_t steps;     /* 0: one fault so far */
	uint32_t used;      /* the window's clock at its last step */
	uint64_t from;      /* what was read from slots for it and not asked for begins here; */
	uint64_t wish;      /* so many pages; 0: nothing was */
};

/* c: fixed after creation   m: mm->lock   r: region->lock */
struct window {
	struct range range;                /* (m) client addresses; the tree keeps the gaps */
	struct region *region;             /* (c) */
	uint32_t shown; /* (m) section that the client has mapped: the region's or an ancestor's */
	uint64_t page;                     /* (m) page of the region at start */
	uint32_t handle;                   /* (c) whose windows merge */
	bool readonly;                     /* (c) */
	_Atomic bool entered; /* changed under (m): somebody has asked for a page of it, so that
			       * there may be entries; set before the first is made */
	enum window_advice advice;         /* (m) */
	struct mm *mm;                     /* (c) */
	struct list_head region_link;      /* (r) */
	struct streak streaks[NR_STREAKS]; /* (m) */
	uint32_t streak_clock;             /* (m) */
	uint32_t nr_won, nr_lost;          /* (m) pages read ahead that were, weren't passed */
	struct window_record *record;      /* (m) NULL: of a session without one */
};

/* A part that the client has been asked to map anew. */
struct remap {
	uint64_t address, length, offset; /* in the region's file */
	uint32_t handle;
	uint64_t since_ns, sent_ns;
};
enum { REMAPS_MAX = 64 };

/* c: fixed while live   m: lock   a: atomic   w: changed by lane_watch.c under its lock */
struct mm {
	_Atomic uint32_t refs; /* (a) 0: free slot */
	bool claimed;          /* the table's lock: in use, also before and after refs */
	uint32_t slot;         /* (c) index in the table */
	uint64_t generation;   /* (c) differs for each user of the slot */
	int uffd;              /* (c) -1 before attach */
	int pid;               /* (c) for logs and for ending the client */
	uint32_t session;      /* (c) slot of the session's record + 1; 0: it has none */
	struct mutex events_lock; /* the lanes', outside all others: see lane.h */
	struct mutex lock;
	struct range_alloc windows;     /* (m) */
	uint32_t nr_windows;            /* (m) */
	uint32_t nr_remaps;             /* (m) */
	struct remap remaps[REMAPS_MAX]; /* (m) */
	uint64_t spanned;               /* (m) bytes */
	_Atomic uint64_t nr_faults;     /* (a) */
	_Atomic uint64_t nr_strays;     /* (a) faults at addresses no window has */
	_Atomic uint32_t nr_parked;     /* (a) faults that wait to be retried */
	_Atomic uint32_t nr_waiting;    /* (a) faults handed to waiters */
	struct psi psi;                 /* its own lock; see memstall_enter() */
	_Atomic uint32_t nr_tasks;      /* (a) threads that faulted between the last two ticks,
					 * or have waited since before */
	uint32_t nr_slow_events;        /* (w) since the last tick */
	_Atomic uint32_t nr_showing;    /* (a) calls under way that map ancestors' frames */
	_Atomic uint64_t showing_ns;    /* (a) when the last of them began */
	_Atomic(const char *) ends_for; /* (a) why its client is to end; NULL: it isn't */
	_Atomic uint32_t nr_circles;    /* (a) faults that led to no page, since the last tick */
	struct map_turns late;              /* (a) map_late_begin() */
	_Atomic uint32_t slow_level;    /* (a) grows while ioctls on it are slow; 0: fast lanes */
	_Atomic uint64_t slow_until_ns; /* (a) */
	_Atomic uint64_t vain_until_ns; /* (a) see protect.h: what it has cost is paid then */
	void *owner;                    /* (c) the session, for the fault log */
	void (*released)(void *owner);  /* (c) */
	_Atomic uint64_t lanes;         /* (w) mask of the fault threads that poll it */
	uint64_t lanes_wanted;          /* (w) by the threads below */
	_Atomic uint32_t threads[MM_THREADS]; /* (w) that have faulted since the last tick */
	uint64_t seen[MM_SEEN_WORDS];         /* (w) of all of those a bit, by thread id */
	uint32_t nr_threads;                  /* (w) bits */
	uint32_t next_thread;                 /* (w) place in threads[] */
	bool ended;                           /* (w) no lane polls it any more */
	struct work end_work;                 /* after the last put */
};

/* Once, before everything else here. */
void mm_table_init(void);

struct mm_request {
	int uffd, pid;
	uint32_t session; /* slot of its record + 1; 0: nothing is recorded */
	void *owner;
	void (*released)(void *owner); /* after the last put; NULL: nobody is told */
};

/* One reference. -EMFILE when the table is full. Takes over the descriptor on success. */
int mm_new(const struct mm_request *request, struct mm **out);
/* NULL if the slot's user isn't that generation any more. */
struct mm *mm_get_slot(uint32_t slot, uint64_t generation);
/* Every live mm, with a reference held during fn. */
void mm_for_each(void (*fn)(struct mm *mm, void *arg), void *arg);
bool mm_get(struct mm *mm);
/* The last put closes the userfaultfd, on a thread of its own between these two. */
void mm_put(struct mm *mm);
int mm_closers_start(void);
void mm_closers_stop(void);

struct window_request {
	struct region *region; /* a reference is taken */
	uint64_t start, length, page;
	uint32_t handle;
	bool readonly;
	uint32_t shown; /* section; 0: the region's */
};

/* A window as a predecessor has recorded it. What another one shows already goes, also from the
 * record. -ENOMEM. */
int mm_resume_window(struct mm *mm, struct region *region, struct window_record *record);
/* It shows another region's memory. */
bool mm_resume_shows(const struct window_record *record);
/* Whoever waits for anything of it faults again. */
void mm_wake_all(struct mm *mm);
/* -EEXIST if something is there. */
int mm_add_window(struct mm *mm, const struct window_request *request);
/* Removes whatever lies in the range, splitting windows at its ends. */
int mm_remove_range(struct mm *mm, uint64_t start, uint64_t length);
/* All windows of one handle. */
void mm_remove_handle(struct mm *mm, uint32_t handle);
void mm_remove_all(struct mm *mm);
/* The client moved [from, from + length) to `to` (EVENT_REMAP). */
int mm_move_range(struct mm *mm, uint64_t from, uint64_t to, uint64_t length);
/* Lowest hole of `length` bytes in [low, high), aligned; 0: none. */
uint64_t mm_find_gap(struct mm *mm, uint64_t length, uint64_t align, const uint64_t bounds[2]);
/* Advice for a part of a handle's windows; splits and merges. */
int mm_set_advice(struct mm *mm, uint32_t handle, struct page_range range,
		  enum window_advice advice);

/* What an address means. The region is referenced; window fields are copied. */
struct mm_target {
	struct region *region;
	uint64_t page;
	uint32_t shown; /* section */
	uint32_t handle;
	uint64_t first, end; /* pages of the region that this window shows */
	uint64_t base;       /* address of page 0 of the region, if it were mapped */
};
/* Streak hints of a fault at target->page, decided under mm->lock. */
struct mm_hint {
	bool alone;           /* the client says that neighbours are of no use */
	uint64_t around;      /* pages to produce and map from the page on; 1: only it */
	bool in_ahead;        /* made, or being made, in the background: if present, map only it */
	uint64_t ahead_first; /* pages to produce in the background */
	uint64_t ahead_nr;
};
bool mm_find(struct mm *mm, uint64_t address, struct mm_target *target, struct mm_hint *hint);
/* All of the range is still seen as the target says. */
bool mm_shows(struct mm *mm, const struct mm_target *target, struct page_range range);

/* ---- remap.c: windows of clones that come to show the clone's own memory ---- */

struct mm_remap {
	struct page_range extent; /* around the page and within the block, in adjoining windows */
	uint32_t nr_pieces;       /* how many windows that are */
	uint32_t nr_windows;      /* of the session */
};
/* -ENOENT: the window isn't there any more. */
int mm_remap_look(struct mm *mm, const struct mm_target *target, struct page_range block,
		  struct mm_remap *out);
enum remap_state {
	REMAP_BEGUN,   /* the caller asks the client */
	REMAP_PENDING, /* it has been asked for some of it: whoever waits is woken when it's done */
	REMAP_FULL,    /* too many at once: later */
	REMAP_IS_DONE, /* the window shows it */
};
/* *wanted may become smaller. */
enum remap_state mm_remap_begin(struct mm *mm, const struct mm_target *target,
				struct remap *wanted);
/* The kernel says that the client has moved [from, from + length) to `to`. True: it was what it is
 * asked for, and the windows show their regions' own memory now. */
bool mm_remap_done(struct mm *mm, uint64_t from, uint64_t to, uint64_t length);
/* All windows of the handle show their region's own memory: the client is about to map that. */
void mm_show_own(struct mm *mm, uint32_t handle);
/* The section of an ancestor that windows of the handle show; 0: all show the region's own. */
uint32_t mm_shown(struct mm *mm, uint32_t handle);
/* One that was sent so long ago; it counts as sent now. */
bool mm_remap_due(struct mm *mm, uint64_t now_ns, uint64_t after_ns, struct remap *out);
/* Its deadline counts from now on. */
void mm_remap_extend(struct mm *mm, const struct remap *remap, uint64_t now_ns);
/* The mm ends, and nobody waits any more. */
void mm_remap_forget_all(struct mm *mm);
/* Windows have gone or moved: nothing is asked for there any more, or of the handle (0: any). */
void mm_forget_remaps(struct mm *mm, uint64_t address, uint64_t length);
void mm_forget_remaps_of(struct mm *mm, uint32_t handle);
/* What is asked for, in all mms. */
extern _Atomic uint64_t nr_remaps_pending;
/* The client is ended soon, by who holds no locks. The reason is a literal. */
void mm_end_later(struct mm *mm, const char *reason);
/* The reason, once; NULL: there is none. */
const char *mm_take_end(struct mm *mm);
extern _Atomic uint64_t nr_to_end;

/* Calls fn for each window, lowest address first, with mm->lock held. */
void mm_for_each_window(struct mm *mm, void (*fn)(const struct window *w, void *arg), void *arg);
void mm_validate(struct mm *mm, struct validation *v);

#endif
