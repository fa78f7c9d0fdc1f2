/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session - one connected client process and everything it has
 *
 * Purpose     Handles to pools and regions, the address map, page runs, the fault log; and its
 *             end, which undoes all of it whatever state the client died in.
 * Invariants  S1  what a session holds is reachable from its handles: ending walks them once.
 *             S2  after session_end has begun no verb adds anything (`ended`, under lock).
 * Crash       its descriptors are kept, then its record is sealed, then HELLO is answered: a
 *             session that isn't sealed is nobody's, and its client opens another. A userfaultfd is
 *             kept before the record says so; one that was read and not kept is sent again. Ending
 *             begins with the record, and the next daemon ends the rest.
 * Locking     session->lock (RANK_SESSION) for handles, mm and ended. It is not held while a verb
 *             populates, punches or frees: objects are pinned by counts.
 * Not here    The connection (ipc).
 */
#ifndef MMB_CLIENT_SESSION_H
#define MMB_CLIENT_SESSION_H

#include <stdatomic.h>

#include "client/carried.h"
#include "client/handles.h"
#include "client/offer.h"
#include "client/pool_region.h"
#include "client/fault_log.h"
#include "client/verbs.h"
#include "mm/space/fault.h"
#include "mm/space/mm.h"
#include "mm/space/reclaim.h"

/* A session's share of a pool. r: lock   a: atomic */
struct pool_handle {
	struct pool *pool;     /* fixed; one of pool's handles */
	uint64_t id;           /* fixed, never used again: whose the runs are */
	struct session_record *session; /* fixed; NULL: of a session without one */
	uint32_t nr_opens;     /* session->lock: handles that mean it */
	uint32_t nr_seen;      /* session->lock: of these, by a walk that counts the share once */
	_Atomic uint32_t refs; /* handles and verbs in progress */
	struct mutex lock;
	struct list_head runs; /* (r) heads of page runs, by page->lru */
	uint64_t nr_frames;    /* (r) in them */
	int64_t nr_leased;     /* (r) units leased less those returned: others' are too */
	bool closed;           /* (r) no more runs and leases */
	struct list_head members; /* the pool's members.lock: one for each handle */
	uint32_t *cache_opens; /* the pool's caches.lock: by cache; NULL: none yet */
	bool caches_closed;    /* the pool's caches.lock */
	bool resumed;          /* fixed: a predecessor has made it */
	struct pool_handle *resume_next; /* the resuming thread only */
};

struct region_handle {
	struct pool_region *pr; /* fixed; one of its handles */
	_Atomic uint32_t refs;  /* the handle and verbs in progress */
	bool readonly;          /* fixed */
	bool made;              /* fixed once it is listed: by the request that made the region */
	/* (a) of what its window shows at first, until the client has it; -1: none */
	_Atomic int base_fd;
	_Atomic uint64_t start; /* where the client has it */
	struct handle_record *record; /* session->lock; NULL: closed, or of no lasting session */
};

/* c: fixed   l: lock   a: atomic */
struct session {
	struct list_head link; /* the list's lock */
	uint64_t id;           /* (c) */
	struct peer peer;      /* (c) */
	_Atomic uint32_t refs; /* (a) */
	struct mutex lock;
	bool ended;                /* (l) S2 */
	struct handles pools;      /* (l) struct pool_handle */
	struct handles regions;    /* (l) struct region_handle */
	struct mm *mm;             /* (l) NULL before attach */
	bool user_mode_only;       /* (l) */
	bool can_remap;            /* (l) its userfaultfd tells of what it maps anew */
	bool can_remap_huge;       /* (l) also of hugetlb pages */
	struct upcall_ops upcalls; /* (c) once serving */
	void *upcall_context; /* (c) once serving */
	struct fault_log fault_log; /* (c) written under fault_log_lock, never read */
	struct mutex fault_log_lock;
	uint64_t nr_fault_records;    /* fault_log_lock */
	_Atomic uint64_t nr_requests; /* (a) */
	struct session_record *record; /* (c) NULL: a tool's, that needn't outlive the daemon */
	struct member_life life;       /* (c) once ending, of a process that may live on */
	struct offer offer;            /* its own keys */
	_Atomic bool is_out;           /* (a) it does no more, or works in no slab */
	_Atomic uint64_t looked_ns;    /* (a) when that was last looked at */
	_Atomic(struct record_word *) suspect; /* (a) its record's, see suspect.h; or NULL */
	struct carried carried;        /* its own lock */
	struct list_head resume_link;  /* the resuming thread only */
};

int sessions_init(void);
void sessions_fini(void);
uint64_t session_count(void);
/* From now on a session that ends leaves no memory behind that a client could still touch. */
void sessions_stopping(void);
/* Every live session, with a reference held and no lock. */
void session_for_each(void (*fn)(struct session *s, void *arg), void *arg);

/* Pinned handles, or NULL with a sentence. */
struct pool_handle *session_pool(struct session *s, uint32_t handle, struct refusal *why);
/* The same for who isn't the client: an offer stays open, and nothing is said. */
struct pool_handle *session_pool_unused(struct session *s, uint32_t handle);
/* Each share of a pool once, with the session's lock held: *cursor 0 starts, NULL ends a walk,
 * which may not be left before. */
struct pool_handle *session_next_share(struct session *s, uint32_t *cursor);
void pool_handle_put(struct pool_handle *ph);
struct region_handle *session_region(struct session *s, uint32_t handle, struct refusal *why);
/* NULL if the session has ended, or has no userfaultfd; put by the caller. */
struct mm *session_mm(struct session *s);
void region_handle_put(struct region_handle *rh);
struct pool_handle *pool_handle_new(struct pool *pool, struct session_record *session);
/* One of a predecessor's session, with its id; takes over the caller's hold on the pool. */
struct pool_handle *pool_handle_resume(struct pool *pool, struct session_record *session,
				       uint64_t id);
/* A share had that id, though it has ended: no other gets it. */
void pool_handle_skip(uint64_t id);
struct region_handle *region_handle_new(struct pool_region *pr, bool readonly);

/* ---- resume: on one thread, nobody is served yet ---- */

/* A session as its record says, whose descriptors were kept; references as after session_new().
 * NULL: no memory. */
struct session *session_resume(struct session_record *record, const struct peer *peer);
void session_mm_released(void *owner); /* of its address map */
int session_resume_parts(struct session *s); /* of it: fault log and address map */
/* -EUCLEAN: the record means nothing that exists. */
int session_resume_pool(struct session *s, struct pool *pool, struct handle_record *record);
int session_resume_region(struct session *s, struct pool_region *pr, struct handle_record *record);
/* That were all its handles. */
void session_resumed(struct session *s, uint32_t first_serial);

/* A handle's record is committed or changed, with session->lock held. */
void region_handle_commit(struct region_handle *rh, const struct session *s, uint32_t handle,
			  const struct region_open_args *args);

/* What fault.h calls with mm->owner. */
bool session_drop_entries(void *session, const struct mapped_range *ranges, uint32_t nr);
void session_log_fault(void *session, const struct fault_record *record);
void session_end_client(void *session, const char *reason);
void session_ask_remap(void *session, const struct remap *remap);
bool session_is_late(void *session);

/* Node whose CPU the client last ran on. */
int session_home_node(const struct session *s);
/* Gives back all page runs of a handle; returns frames. */
uint64_t pool_handle_free_runs(struct pool_handle *ph);

#endif
