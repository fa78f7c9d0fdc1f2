/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members - numbers of a pool's handles, and the word to the others when one ends
 *
 * Purpose     Each handle of a pool has a number that clients write beside what they lease. Numbers
 *             are given in a circle, so that one comes again only after all others; those of live
 *             handles are skipped. When a handle ends while units are leased in a shared pool, all
 *             others are told its number (ORPHANS): they take over what it has left. Where the
 *             daemon has cut a session whose process lives, that waits until the process has shut
 *             its upcall socket, or has ended: until then its threads may work in the slabs. Who
 *             never does either keeps what it leased, at its pool's charge, and so does who can't
 *             be watched for want of descriptors: nobody is told of it, ever. Until then the
 *             session counts as one of its user's.
 * Invariants  B1  the numbers with their bit set are those of members that exist.
 *             B2  a member is listed from when its handle is valid until the handle has ended, and
 *                 then, with its number still taken, among the outlived until others are told.
 *             B3  the record of a handle whose session has ended, or that is being closed, says so.
 * Crash       A handle's record stays until the others have been told of its end, marked (B3),
 *             since its session's slot may be another's by then: the next daemon tells them. Of an
 *             outlived one it finds the process by what the record says of it, and tells the
 *             others when that has ended (survivor.h); if nobody can say, the number stays taken,
 *             and what it left is in use until the pool ends.
 * Locking     members.lock (RANK_LEASES). Upcalls are made without it; nobody waits for them.
 */
#ifndef MMB_CLIENT_MEMBERS_H
#define MMB_CLIENT_MEMBERS_H

#include "base/list.h"
#include "base/lock.h"
#include "client/verbs.h"

enum { MEMBER_BITS = 18, MEMBERS_MAX = (1 << MEMBER_BITS) - 1, MEMBER_MISSED_MAX = 64 };

/* Of a process whose session was cut. */
struct member_life {
	bool alive;  /* then; both -1: nobody can say when it is out */
	int pidfd;   /* -1: none */
	int upcalls; /* its upcall socket, of which this side is shut down; -1: none */
};

struct pool;
struct pool_handle;
struct session;

/* c: fixed once listed   l: members.lock */
struct member {
	struct list_head link;   /* (l) of the pool */
	struct list_head of_ph;  /* (l) of the session's share of the pool */
	struct handle_record *record; /* (c) the handle's; NULL: none */
	uint32_t number, handle; /* (c) handle 0: a walker's place in the list */
	bool (*orphans)(void *context, uint32_t handle, uint32_t member); /* (c) NULL: nobody */
	void *context;                                                   /* (c) */
	struct session *of; /* (l) of those outlived: whose life says when it is out; NULL: never */
	bool is_out;        /* (l) nothing is waited for: it ended with the last daemon, say */
	bool is_put_by;     /* (c) told of by the tick, since there are many others */
	struct survivor *survivor; /* (l) the process that a predecessor has cut; NULL: none */
	struct list_head of_missing;        /* (l) while nr_missed */
	uint32_t nr_missed;                 /* (l) that it couldn't be told; the first ones in */
	uint32_t missed[MEMBER_MISSED_MAX]; /* (l) */
};

/* l: lock */
struct members {
	struct mutex lock;
	struct list_head list; /* (l) */
	struct list_head outlived; /* (l) their handles have ended, and their processes haven't */
	struct list_head missing;  /* (l) listed ones that haven't been told all */
	uint64_t *bits;        /* (l) by number; grows as numbers do */
	uint32_t nr_words;     /* (l) of bits */
	uint32_t last;         /* (l) number given last */
	uint32_t nr;           /* (l) members that exist */
	uint32_t nr_listed;    /* (l) length of list */
	uint32_t nr_missing;   /* (l) length of missing */
	uint32_t nr_put_by;    /* (l) of those outlived */
};

void members_global_init(void);
void members_init(struct members *members);
void members_fini(struct members *members);

/* So many have ended of whom the others haven't been told that no more can come. */
bool members_are_behind(struct members *members);
/* A number, not listed yet. NULL: no memory, or all numbers are taken. */
struct member *member_new(struct members *members);
/* The number of a handle that existed before. NULL: no memory, or it is taken. */
struct member *member_restore(struct members *members, uint32_t number);
/* The handle of the session's share that a request has made; 0: none. */
uint32_t member_find_request(struct pool_handle *ph, uint64_t request);
/* Never listed. */
void member_free(struct members *members, struct member *m);
/* Its handle exists from now on for who resumes. */
void member_commit(struct member *m, const struct pool_handle *ph, uint64_t request);
/* With the session's lock held. */
void member_list(struct member *m, struct session *s, struct pool_handle *ph, uint32_t handle);
/* B3. Before the record of its session is freed. process: its mark, if it lives and is known. */
struct member_end_mark {
	bool alive;
	uint64_t process;
};
void member_mark_end(struct pool_handle *ph, uint32_t handle, const struct member_end_mark *mark);
/* Whether the record says so. */
bool member_is_marked(const struct handle_record *record);
/* Of a handle that has ended with the last daemon or before: the others will be told. -EUCLEAN:
 * there are no others, or its number is another's. */
int member_resume_ended(struct pool *pool, struct handle_record *record);
/* The handle has ended, and its number is free again. The others are told if need be: at once, or,
 * where there are many, by the tick; with the session of a process that was cut, when that is out
 * of the slabs. */
void member_end(struct pool_handle *ph, uint32_t handle, struct session *cut);
/* The number behind a handle of the session; 0: it has been closed. */
uint32_t member_number(struct pool_handle *ph, uint32_t handle);
/* A tick: tells again those who couldn't be told, and of those outlived who are out. */
void members_tick(struct members *members);

#endif
