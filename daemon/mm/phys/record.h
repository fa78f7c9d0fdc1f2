/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record - what a restarted daemon must know and can't derive, in windows of the metadata file
 *
 * Purpose     One table a kind of record: entries of fixed size, given out by slot. A thing that
 *             must survive exists from the commit of its record to its free.
 * Invariants  C1  a record exists while its seal is not 0. The seal has kind, version and a
 *                 checksum of the fixed part, and is written last, by one store.
 *             C2  a word that changes later has a check of its own: it changes by one store.
 *             C3  in a slot that is in use the record's memory is populated; others are never
 *                 touched.
 * Order       To make something: the thing, its record, the reply. To end it: the record, the
 *             thing. What has no record when a daemon resumes is given back.
 * Locking     record.lock (leaf) inside for slots; a record belongs to the owner of its thing.
 * Not here    What the fields mean to those above: they only keep them here.
 */
#ifndef MMB_MM_PHYS_RECORD_H
#define MMB_MM_PHYS_RECORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/types.h"

enum record_kind {
	RECORD_POOL,
	RECORD_SESSION,
	RECORD_REGION,
	RECORD_HANDLE,
	RECORD_WINDOW,
	RECORD_CACHE,
	RECORD_SWAP,
	RECORD_TAKEN,
	NR_RECORD_KINDS
};

/* A value of RECORD_WORD_BITS and a check; changed by record_word_set() alone. */
enum { RECORD_WORD_BITS = 40 };
struct record_word {
	_Atomic uint64_t word;
};

enum { RECORD_LIMITS = 8 };

struct pool_record {
	_Atomic uint64_t seal;
	uint64_t id, key, node_mask;
	uint32_t node_policy, uid, gid, mode;
	uint32_t is_private;
	uint32_t overcommit, oom_kill;
	char name[NAME_MAX_BYTES + 1];
	/* changing: */
	struct record_word has_arena;
	struct record_word kept;        /* an operator keeps it from ending */
	struct record_word operated;    /* its limits are an operator's */
	struct record_word lease_owner; /* whose its leased units are */
	struct record_word windows[MAX_NUMNODES]; /* of its arena: client address >> PAGE_SHIFT */
	struct record_word limits[RECORD_LIMITS]; /* the limits that can change, in pages */
};

/* client/carried.h */
enum { CARRIED_MAX = 8 };
struct carried_note {
	struct record_word request, region; /* ids; 0: no note */
};

struct session_record {
	_Atomic uint64_t seal;
	uint64_t id;
	char name[NAME_MAX_BYTES + 1];
	/* changing: */
	struct record_word attached; /* 1: its userfaultfd is kept; 2: user mode only; 4: remaps,
				      * 8: 2 MiB pages, too */
	struct record_word last_upcall; /* no later id than this was sent */
	struct record_word suspect; /* a request that daemons died by: client/suspect.h */
	struct carried_note carried[CARRIED_MAX];
};

struct region_record {
	_Atomic uint64_t seal;
	uint64_t id, pool; /* ids */
	uint64_t nr_pages, node_mask;
	uint64_t start, bytes;                /* common address, length */
	uint64_t range_start, range_length;   /* in the table of addresses; length 0: none */
	uint64_t committed[MAX_NUMNODES];     /* pages */
	uint64_t family;                      /* in the identity of slots */
	uint32_t section, page_shift, policy, home_node;
	uint32_t uid, gid, mode, overcommit;
	char name[NAME_MAX_BYTES + 1];
	/* changing: */
	struct record_word named; /* whether it has its name: client/pool_region.c */
	struct record_word huge;
	struct record_word parent; /* id of what it is a clone of; 0: none */
	struct record_word closed; /* 1: it stays for its clones, and is promised what it has */
};

enum { HANDLE_OF_POOL = 1, HANDLE_OF_REGION, HANDLE_READONLY = 0x100,
       HANDLE_MADE = 0x200 /* by the request that made its region */ };

struct handle_record {
	_Atomic uint64_t seal;
	uint64_t object;  /* id of the pool or region */
	uint64_t share;   /* POOL: whose the page runs are */
	uint64_t request; /* that made it */
	uint32_t session; /* slot of its record */
	uint32_t handle;
	uint32_t what;   /* HANDLE_* */
	uint32_t member; /* POOL: the number in the pool; REGION: the place in the request */
	/* changing: */
	struct record_word start; /* REGION: where the client has it, >> PAGE_SHIFT; POOL: whether
				   * it has ended, see client/members.h */
	struct record_word process; /* POOL: the mark (os/process.h) of one that outlived it */
};

struct window_record {
	_Atomic uint64_t seal;
	uint64_t region;  /* id */
	uint64_t base;    /* where page 0 of the region would be; it wraps */
	uint32_t session; /* slot of its record */
	uint32_t handle;
	uint32_t readonly, reserved;
	/* changing, >> PAGE_SHIFT: */
	struct record_word start, end;
	struct record_word advice;
};

struct cache_record {
	_Atomic uint64_t seal;
	uint64_t pool; /* id */
	uint32_t number, object, align, flags;
	char name[NAME_MAX_BYTES + 1];
};

/* What nobody asks the disk for at resume: it may be slow, or stand still. */
enum { RECORD_PATH_BYTES = 1024 };

struct swap_record {
	_Atomic uint64_t seal;
	uint64_t nr_slots;
	uint32_t area, is_device;
	int32_t priority;
	uint32_t reserved;
	char path[RECORD_PATH_BYTES];
};

/* A page that is out of its file for a moment (space/takeout.h). Of 2 MiB, its bytes are in the
 * entry of META_CONTENTS with the record's number, which the seal doesn't cover. */
struct taken_record {
	_Atomic uint64_t seal;
	uint64_t page;
	uint32_t section, node;
	uint32_t page_shift, reserved;
	uint8_t bytes[PAGE_SIZE];
};

uint32_t record_bytes(enum record_kind kind);
uint32_t record_most(enum record_kind kind);

/* A record in a fresh slot, all zero. -ENOMEM, -EMFILE: all slots are taken. */
int record_new(enum record_kind kind, void **out);
/* Its fixed fields are filled: it exists from now on. */
void record_commit(enum record_kind kind, void *record);
/* It exists no more; its slot is taken until record_free(). */
void record_end(void *record);
/* It exists no more, and its slot is free. NULL does nothing. */
void record_free(enum record_kind kind, void *record);
uint32_t record_slot(enum record_kind kind, const void *record);
/* NULL: there is none in that slot. */
void *record_at(enum record_kind kind, uint32_t slot);
/* Calls fn for each record, lowest slot first; fn may free that one. */
void record_for_each(enum record_kind kind, void (*fn)(void *record, void *arg), void *arg);
uint32_t record_count(enum record_kind kind);

void record_word_set(struct record_word *w, uint64_t value);
/* False: it is damaged; *value is 0. */
bool record_word_get(const struct record_word *w, uint64_t *value);

/* The first page of each kind stays from now on: few records cost nobody an extra page, and what is
 * refused for lack of memory needed none. -ENOMEM. */
int records_pin(void);
/* The contents of one page of 2 MiB have room until it is unpinned, as often as it was pinned.
 * -ENOMEM. */
int records_pin_contents(void);
void records_unpin_contents(void);
/* A resume is over: whoever needs what the predecessor had pinned has pinned it. */
void records_settle_contents(void);
/* With meta_init and meta_fini. */
int records_init(void);
void records_fini(void);
/* After meta_resume(): finds all records; how many were damaged and have been freed. */
uint64_t records_resume(void);
void records_validate(struct validation *v);

#endif
