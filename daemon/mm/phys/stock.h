/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock - what a node has of one kind of memory, and admission to it
 *
 * Purpose     commit is a promise (stock_commit), present is memory that exists (stock_take), held
 *             is memory the broker keeps so that promises can be kept (hold mode). account mode
 *             holds nothing and only counts.
 * Swap        what can be evicted may be promised beyond the reserve, as far as swap areas have
 *             room for it; what can't be (arenas, metadata, locked pages) is fixed, and stays
 *             within the limit. Only what is evictable can find the stock full when it takes.
 * Floor       A page that may go to swap still needs a frame while it is used. So that there is
 *             one, evictable memory keeps the last frames of the limit (as many as it has, at most
 *             floor): what is fixed is refused there, and so is what is evictable where they are
 *             fixed already.
 * Credit      The base stock that metadata is charged to keeps a 32nd of its limit (4 to 32 MiB, an
 *             eighth at most) committed to nobody: the broker must bring pages in when all else
 *             has been promised, and that takes memory.
 * Invariants  K1  held + present <= reserve, at every moment, but for the page of K6; after a
 *                 restart what was present before is so again, whatever else has come by then.
 *             K2  committed is what is fixed (also because its pool's swap_max doesn't let it go:
 *                 promise.h) and what is evictable; spoken = fixed + min(evictable,
 *                 floor) <= limit = reserve - margin when it is promised, and present <= committed;
 *                 what doesn't fit into memory has slots of swap (promise.h). Without swap taking
 *                 what was committed never fails.
 *             K3  present is raised before a file is populated and lowered after it was punched.
 *             K4  held frames lie in the stock's reserve section, whole pageblocks.
 *             K5  slack <= margin: the part of the reserve the holder leaves free, so that a taker
 *                 populates first and the holder punches afterwards.
 *             K6  while it is asked for, a huge stock has a page that only what must be is
 *                 populated with: the host may give what was punched to anybody. In hold mode
 *                 margin - slack is held in any case, in account mode a page of the margin. Like
 *                 what is held it outlives the daemon, in a section of its own.
 * Locking     committed changes under the lock of promises; evictable, spoken and used (held +
 *             present) are atomic and change by compare-and-swap: room is taken in spoken
 *             before evictable says so, and given back after, so that two can be refused at once
 *             where one had fitted, and never too much is granted;
 *             stock->lock (RANK_STOCK) for moving held. One atomic operation when slack suffices.
 * Not here    Limits of a pool (client), background threads (they call stock_refill_step).
 */
#ifndef MMB_MM_PHYS_STOCK_H
#define MMB_MM_PHYS_STOCK_H

#include "base/lock.h"
#include "mm/phys/promise.h"
#include "mm/phys/section.h"

enum stock_mode { STOCK_ACCOUNT, STOCK_HOLD };
enum stock_block {
	BLOCK_ABSENT,
	BLOCK_BUSY, /* being populated or locked */
	BLOCK_BARE, /* held: the host's pages are taken, neither zeroed nor locked against swap */
	BLOCK_HELD
};

/* c: fixed after init   l: lock   p: the promises' lock   a: atomic */
struct stock {
	uint64_t         reserve; /* (c) frames; 0: this node has no such stock */
	uint64_t         limit;   /* (c) most that may be committed */
	uint64_t         floor;   /* (c) most that is kept for what is evictable */
	uint64_t         slack;   /* (c) K5; 0 in account mode */
	enum stock_mode  mode;    /* (c) */
	int              node;    /* (c) index */
	enum stock_kind  kind;    /* (c) */
	int              os_node; /* (c) for binding; OS_NODE_ANY: never bound */
	_Atomic uint64_t committed; /* (p) changes; readable any time. K2: fixed and evictable */
	uint64_t         out;       /* (p) most that pools' max may keep on the disk */
	uint64_t         whole;     /* (p) of committed, pages of 2 MiB that are evictable */
	uint64_t         demand;    /* (p) slots for it that must be there: promise.h */
	uint64_t         whole_demand; /* (p) of them, for pages of 2 MiB */
	_Atomic uint64_t evictable; /* (a) K2 */
	_Atomic uint64_t spoken;    /* (a) K2 */
	_Atomic uint64_t credit;    /* (a) of committed and spoken: for emergencies */
	_Atomic uint64_t used;      /* (a) K1: held + present */
	_Atomic uint64_t held;      /* (l) changes; readable any time */
	uint64_t         beyond;    /* (c) from a resume on: most used beyond the reserve */
	struct mutex     lock;
	struct section  *section;   /* (c) the reserve's, NULL in account mode */
	uint8_t         *blocks;    /* (l) enum stock_block of each pageblock of section */
	uint32_t         nr_busy;   /* (l) blocks BUSY */
	uint32_t         nr_bare;   /* (l) blocks BARE */
	bool             quick;     /* (c) start-up leaves blocks BARE */
	uint32_t         nr_blocks; /* (c) */
	uint32_t         hint_held, hint_absent, hint_bare; /* (l) where a search starts */
	struct section  *spare;     /* (l) for one huge page, held in account mode; NULL: none */
	bool             has_spare; /* (l) the page is in it, and counts as held */
	uint32_t         nr_sparing; /* (l) who asked for it, and may need it */
	uint64_t         no_spare_until_ns; /* (l) it was asked for in vain */
	_Atomic bool     locked;    /* (a) all held memory so far could be locked */
	_Atomic uint64_t nr_punched, nr_refilled, nr_refused; /* (a) */
};

struct stock_request {
	int             node, os_node;
	enum stock_kind kind;
	enum stock_mode mode;
	uint64_t        reserve;   /* frames; rounded down to pageblocks */
	uint64_t        available; /* frames the host can give; more is refused */
	/* Base memory in hold mode: start-up only takes pages, stock_settle_step() locks them. For
	 * hosts without huge shared memory, where touching takes time and gains nothing. */
	bool            quick;
};

/* -EINVAL: smaller than four pageblocks; -ENOMEM: more than what is available; nothing is made. */
int stock_check(const struct stock_request *request);
/* As stock_check() says; or the errno of making the reserve's section. A hold stock is empty until
 * stock_hold_populate(). */
int stock_init(const struct stock_request *request);
/* Gives back what is held. present and committed must be 0. */
void stock_fini(int node, enum stock_kind kind);

/* Start-up in hold mode: pageblocks [0, stock_hold_blocks) of the reserve are to be populated; any
 * number of threads may take parts. -ENOMEM or -ENOSPC: the host doesn't have it. */
uint64_t stock_hold_blocks(int node, enum stock_kind kind);
int stock_hold_populate(int node, enum stock_kind kind, uint64_t first_block, uint64_t nr);

/* How many frames of swap may be promised, and how many of them in whole pageblocks, for pages of
 * 2 MiB. Asked at any time and with any lock but leaves. */
struct stock_swap {
	uint64_t (*frames)(void);
	uint64_t (*huge_frames)(void);
};
/* NULL: there is none. */
void stock_set_swap(const struct stock_swap *swap);
/* Frames for which slots must be there, and of them those of pages of 2 MiB: promise.h. */
uint64_t stock_promised_beyond(void);
uint64_t stock_promised_beyond_huge(void);

/* Admission of nr frames that can't be evicted. -ENOMEM: the limit is reached. */
int stock_commit(int node, enum stock_kind kind, uint64_t nr);
void stock_uncommit(int node, enum stock_kind kind, uint64_t nr);
/* Frames still admissible so. */
uint64_t stock_available(int node, enum stock_kind kind);
/* The same for frames that can be evicted. */
int stock_commit_evictable(const struct stock_place *place, uint64_t nr);
void stock_uncommit_evictable(const struct stock_place *place, uint64_t nr);
uint64_t stock_available_evictable(const struct stock_place *place);
/* nr frames committed as evictable are fixed from now on. -ENOMEM: no more can be. */
int stock_fix(const struct stock_place *place, uint64_t nr);
void stock_unfix(const struct stock_place *place, uint64_t nr);
/* After a restart: what was granted before stays so, though metadata may have taken the floor, and
 * slots that were retired are fewer. */
int stock_recommit(int node, enum stock_kind kind, uint64_t nr);
int stock_recommit_evictable(const struct stock_place *place, uint64_t nr);
void stock_refix(const struct stock_place *place, uint64_t nr);
/* And what was present stays so, where the next daemon's own memory, or the page for what must be
 * (K6), is in its place by now: up to the margin beyond the reserve. -ENOMEM: a smaller reserve. */
int stock_retake(int node, enum stock_kind kind, uint64_t nr);
/* Both, of what is fixed: promised and present as before, or neither. */
int stock_readopt(int node, enum stock_kind kind, uint64_t nr);

/* nr committed frames are about to be populated. Always 0 without swap; -ENOMEM then is a caller
 * that takes what it did not commit. With swap: present memory must be evicted first. May punch
 * held memory. */
int stock_take(int node, enum stock_kind kind, uint64_t nr);
/* The same for evictable frames, which leave the margin to others. */
int stock_take_evictable(int node, enum stock_kind kind, uint64_t nr);
/* The same for frames of clients that can't be evicted: while some must go to swap for them, what
 * the daemon needs to do that is left to it. */
int stock_take_fixed(int node, enum stock_kind kind, uint64_t nr);
/* Frames that must go before stock_take_fixed() can take nr; 0: it can. */
uint64_t stock_lacking(int node, enum stock_kind kind, uint64_t nr);
/* Frames that stock_take_evictable() could still take; UINT64_MAX while nothing is promised beyond
 * the limit: nobody can run short. */
uint64_t stock_free_evictable(int node, enum stock_kind kind);
/* Most frames that may be in use: the reserve less the margin. */
uint64_t stock_limit(int node, enum stock_kind kind);
/* nr frames have been punched. */
void stock_put(int node, enum stock_kind kind, uint64_t nr);

/* Populates [offset, offset + length) of a section's file with memory of `node`, which the caller
 * has taken. If the host has no page left, held memory is given up for it. Whole pageblocks of base
 * memory are made huge where `huge` says so. 0 or negative errno; what came stays. Pages of the
 * huge stock that are in the direct map come through it, so that threads don't wait for each
 * other. */
struct stock_source {
	int      fd;
	uint64_t offset;
};
struct stock_populate_request {
	struct section *section;
	uint64_t        offset, length; /* bytes */
	int             node;
	bool            huge;
	bool            cleared; /* it is all holes, and will be mapped later */
	bool            must_be; /* it was there before, and can't be done without: K6 */
	const struct stock_source *copy_of; /* not NULL: holes are to hold what is there */
};
int stock_populate(const struct stock_populate_request *request);
/* K6: whoever is going to take pages away in order to put them back asks for it before. 0: the node
 * has one, or no such stock; else the host has none to spare. */
int stock_keep_spare(int node);
void stock_leave_spare(int node);
/* Whoever asks within the next second, and nobody has one, is refused at once. */
void stock_pause_spares(int node);
/* Those who asked for it have needed it: it is to be there again. */
void stock_renew_spare(int node);
/* After a restart: whoever needs the last daemon's has asked for it. */
void stock_settle_spare(int node);

/* Moves held one pageblock towards reserve - present - slack. 1: there may be more to do, 0: it is
 * there, negative errno: the host doesn't give (try later). May take long. */
int stock_refill_step(int node, enum stock_kind kind);
/* How far held is from where it should be, in frames; negative: too little is held. */
int64_t stock_hold_surplus(int node, enum stock_kind kind);

/* Locks one BARE pageblock, the lowest. True if there are more; false when all is done, or locking
 * was refused (then the rest stays as it is). May take a millisecond. */
bool stock_settle_step(int node, enum stock_kind kind);

struct stock_snapshot {
	uint64_t reserve, held, present, committed, fixed, margin, slack; /* frames */
	uint64_t nr_refused;
	uint64_t bare; /* frames of held that are still to be locked */
	bool     hold, locked;
};
/* False if the node has no such stock. */
bool stock_snapshot(int node, enum stock_kind kind, struct stock_snapshot *out);

/* The same for memory of the daemon's own. A node's base stock keeps some for emergencies
 * (stock_keep_credit()): threads marked by memalloc_set() have it when the stock is full of
 * promises to clients. */
int stock_commit_own(int node, enum stock_kind kind, uint64_t nr);
/* Brings what is kept on the node that metadata is charged to where it should be, as far as there
 * is room: at the start, and from time to time. */
void stock_keep_credit(void);

/* Charges metadata to node's base stock from now on, what exists included; -1: to nobody again. */
int stock_charge_metadata(int node);
/* Whose base stock that is, or -1. */
int stock_metadata_node(void);
/* The daemon's own buffers, to the same stock. False: there is no room, or nobody is charged; who
 * makes room for others goes on with an uncharged one. */
bool stock_charge_buffers(uint64_t frames);
void stock_uncharge_buffers(uint64_t frames);
uint64_t stock_buffer_frames(void);
/* Recomputes held and present from the files. Quiescent callers only: nobody takes or puts. */
void stock_validate(struct validation *v);

#endif
