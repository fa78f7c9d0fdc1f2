/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs - what a session may ask for: the border between the socket and the broker
 *
 * Purpose     One function a method of the protocol, on plain structs. Every argument is a
 *             client's word and is checked here, not above. Handles are per session.
 * Errors      0 or a negative errno with a sentence in `struct refusal`.
 * Threads     Any thread. A verb marked "slow" may populate, punch or wait for another fault and
 *             must not run on a control worker's event loop.
 * Not here    Packets, sockets and who may call which method (ipc).
 */
#ifndef MMB_CLIENT_VERBS_H
#define MMB_CLIENT_VERBS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/types.h"
#include "mm/space/region.h"

enum { REFUSAL_BYTES = 320, PEER_GROUPS_MAX = 64 };

struct refusal {
	char text[REFUSAL_BYTES]; /* what was wrong, what was expected, what to do */
};

/* Fills the sentence and returns code. */
int refuse(struct refusal *why, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	uint32_t nr_groups;
	gid_t groups[PEER_GROUPS_MAX];
	bool admin;   /* root, the daemon's uid or the admin group */
	bool control; /* a tool: takes no memory */
	char name[NAME_MAX_BYTES + 1];
};

struct session; /* counted; session_get/put */

/* Limits per uid are checked here. The caller holds the only reference. */
int session_new(const struct peer *peer, struct session **out, struct refusal *why);
void session_get(struct session *s);
void session_put(struct session *s);
uint64_t session_id(const struct session *s);
/* Before session_end(): the daemon ends it, and the process may not know yet. Takes over upcalls.
 * The session counts as one of its user's until nobody holds it any more. */
void session_cut(struct session *s, int pidfd, int upcalls);
/* Of one that has ended: nobody of its process works in slabs any more. */
bool session_is_out(struct session *s);
/* The session is over: its bookkeeping is undone before this returns, its memory follows from a
 * work thread. Idempotent. `reason` is logged. */
void session_end(struct session *s, const char *reason);
/* Set once by ipc before the session serves: sends an upcall and returns at once. */
struct pressure_call {
	uint32_t pool;   /* handle */
	uint32_t level;  /* 1: low, 2: min */
	uint64_t wanted; /* bytes */
};
struct remap_part {
	uint32_t region; /* handle */
	uint64_t address, length, offset;
};
struct upcall_ops {
	/* A part of a clone's window is to show the clone's own memory. */
	void (*remap)(void *context, const struct remap_part *part);
	/* The client hears upcalls. */
	bool (*listens)(void *context);
	/* It does, and hasn't acknowledged one in time: it may be stopped. */
	bool (*is_late)(void *context);
	/* It is to drop its entries there; false: it has as many requests as it may have. */
	bool (*zap)(void *context, const struct mapped_range *ranges, uint32_t nr);
	void (*pressure)(void *context, const struct pressure_call *call);
	/* A member of a pool has ended; false if the client couldn't be told, and still exists. */
	bool (*orphans)(void *context, uint32_t pool, uint32_t member);
	/* Ends the process that connected (SIGKILL) and the connection. */
	void (*kill)(void *context, const char *reason);
};
void session_set_upcalls(struct session *s, const struct upcall_ops *ops, void *context);
/* Read-only memfd of the session's fault log for the HELLO reply; the caller closes it. */
int session_fault_log_fd(struct session *s);
void session_count_request(struct session *s);
/* The calling thread is at the request with that first id from now on. NULL: at nobody's. */
void session_work(struct session *s, uint64_t request);
/* How many daemons died while they were at that request, which is refused from some number on. */
enum { REQUEST_DEATHS_MAX = 3 };
uint32_t session_request_deaths(const struct session *s, uint64_t request);
/* Before HELLO is answered: from now on the session outlives the daemon. Tools' sessions don't. */
int session_keep(struct session *s, int sock);
/* The same for its upcall socket; and no higher id than this was sent on it. */
int session_keep_upcalls(struct session *s, int sock);
void session_count_upcall(struct session *s, uint64_t id);

bool session_is_attached(struct session *s);

struct attach_args {
	int uffd; /* taken over, also on failure, but with -EPROTO */
	uint64_t features;
	bool user_mode_only;
	bool hears_remap; /* and knows what to do */
	bool remaps_huge; /* also of hugetlb pages */
};
/* -EPROTO: the descriptor is no userfaultfd, and stays the caller's. */
int session_attach(struct session *s, const struct attach_args *args, struct refusal *why);

struct node_policy {
	uint32_t policy; /* MMB_NODE_* */
	uint64_t mask;
};

/* Bytes; 0: no guarantee, no protection, no limit. Less than a page of swap_max: no swap. */
struct pool_limits {
	uint64_t min, low, high, max, swap_max;
};
struct pool_open_args {
	uint64_t request; /* the request's id */
	bool again;       /* it may have been carried out already */
	const char *name; /* may be "" for PRIVATE */
	uint32_t flags, mode;
	struct pool_limits limits;
	struct node_policy nodes;
};
struct pool_opened {
	uint32_t handle;
	uint32_t member; /* of the pool; see members.h */
	uint64_t key;    /* the pool's */
};
int verb_pool_open(struct session *s, const struct pool_open_args *args, struct pool_opened *out,
		   struct refusal *why);
int verb_pool_close(struct session *s, uint32_t handle, struct refusal *why);

struct pool_stat {
	uint64_t committed, resident, arena, locked, swapped, leased; /* bytes */
	uint64_t peak; /* most that was charged against max at a time, since the daemon began */
	uint64_t sessions, regions, refused;
	uint64_t some_stall_us, full_stall_us;
	struct pool_limits limits; /* as they were set */
};
int verb_pool_stat(struct session *s, uint32_t handle, struct pool_stat *out, struct refusal *why);

/* slow. set: MMB_POOL_SET_*. */
int verb_pool_set(struct session *s, const char *name, uint32_t set,
		  const struct pool_limits *limits, struct refusal *why);
struct pool_create_args {
	struct pool_open_args pool;
	bool has_owner; /* else the session's user */
	uid_t uid;
	gid_t gid;
};
/* The pool stays, also without sessions and regions, until it is removed. */
int verb_pool_create(struct session *s, const struct pool_create_args *args, struct refusal *why);
/* slow. Reclaims so many bytes of the pool, or as many as can be; *freed says how many. */
int verb_trim(struct session *s, const char *name, uint64_t bytes, uint64_t *freed,
	      struct refusal *why);
/* slow. -EBUSY while sessions have it open, -ENOTEMPTY while it has regions, unless force. */
int verb_pool_rm(struct session *s, const char *name, bool force, struct refusal *why);

struct arena_window {
	uint64_t address, length;
	bool hugetlb;
	uint32_t node;
	int fd; /* the caller closes it */
};
enum { ARENA_WINDOWS = 4 }; /* at most, in one call */
struct arena_opened {
	uint32_t            nr, total; /* filled here; existing */
	struct arena_window windows[ARENA_WINDOWS];
};
/* Windows from index `first` on. */
int verb_arena_open(struct session *s, uint32_t handle, uint32_t first, struct arena_opened *out,
		    struct refusal *why);

/* Where a request stands in its session's stream. */
struct request_past {
	uint64_t id;   /* of the first try */
	bool again;    /* the answer was lost with a daemon; it may have been carried out */
	const _Atomic uint64_t *heard; /* the last id that was read; of what is granted later it
					* is newer than of what was granted before */
};

struct pages_args {
	uint32_t pool, order, gfp;
	uint32_t nr;         /* wanted / given */
	uint64_t *addresses; /* client addresses, equal in all clients */
	uint64_t since_ns;   /* alloc: when it was first asked for */
	bool at_once;        /* alloc: see struct lease_args */
	bool to_min;         /* alloc: of struct alloc_request */
	struct request_past past;
};
/* slow. Fills up to nr addresses and sets *got (at least 1 on success). -EAGAIN: none yet, and
 * GFP_NOFAIL wants it tried again, after others have had their turn. */
int verb_pages_alloc(struct session *s, const struct pages_args *args, uint32_t *got,
		     struct refusal *why);
/* All or none. Again: those that were not freed before. */
int verb_pages_free(struct session *s, const struct pages_args *args, struct refusal *why);

struct slab_window {
	uint64_t address, length; /* of the arena window */
	int fd;                   /* the caller closes it */
};
struct slab_mapped {
	uint32_t nr, total;
	struct slab_window windows[ARENA_WINDOWS];
};
/* Slab maps of windows from index `first` on, in the order of verb_arena_open(). */
int verb_slab_map(struct session *s, uint32_t handle, uint32_t first, struct slab_mapped *out,
		  struct refusal *why);

struct lease_args {
	uint32_t pool, gfp;
	uint32_t units;      /* contiguous ones a lease */
	uint32_t nr;         /* leases wanted */
	uint64_t *addresses;
	uint64_t since_ns;   /* when it was first asked for */
	bool at_once;        /* what is there: quick, if few units are asked for; or -EAGAIN */
	struct request_past past;
};
/* Unless at_once, slow. As verb_pages_alloc(). */
int verb_slab_lease(struct session *s, const struct lease_args *args, uint32_t *got,
		    struct refusal *why);
/* Its answer is on its way: if it was the pool's first, there will be others like it. */
void verb_slab_leased(struct session *s, uint32_t pool);

/* A private pool as the defaults have it, with its arena and a leased unit, before the client has
 * asked; see offer.h. Quick. Once a session, which has a record and no pool. A negative errno:
 * there is none, which is no mistake of anybody's. */
struct offered {
	struct pool_opened opened;
	struct arena_window arena;
	int map_fd; /* of the slab map; the caller closes it, too */
	uint64_t unit;
};
int verb_pool_offer(struct session *s, const struct request_past *past, struct offered *out);

struct slab_return_args {
	uint32_t pool, nr;
	const uint64_t *addresses;
	const uint32_t *units; /* contiguous ones from each address */
	struct request_past past;
};
/* All or none. slow if many. Again: those that this handle has leased, or has taken over and begun
 * to return, and that haven't been returned before. */
int verb_slab_return(struct session *s, const struct slab_return_args *args, struct refusal *why);

struct cache_open_args {
	uint32_t pool;
	const char *name;
	uint32_t object, align, flags;
};
struct cache_opened {
	uint32_t cache, object, align, flags;
	bool created;
};
int verb_cache_open(struct session *s, const struct cache_open_args *args,
		    struct cache_opened *out, struct refusal *why);
int verb_cache_close(struct session *s, uint32_t pool, uint32_t cache, struct refusal *why);

struct region_open_args {
	uint64_t request; /* as for a pool */
	bool again;
	uint32_t place; /* among those that the request makes */
	uint32_t pool;
	const char *name; /* "" creates an unnamed region */
	uint64_t length, address;
	uint32_t page_size, mode, flags;
	struct node_policy nodes;
};
struct region_opened {
	uint32_t handle, page_size, flags;
	uint64_t address, length;
	bool hugetlb, created, evictable;
	int fd; /* the caller closes it */
	int base_fd; /* whose memory the window shows at first, read-only; -1: the region's own */
};
/* slow with POPULATE or LOCKED, quick otherwise. */
int verb_region_open(struct session *s, const struct region_open_args *args,
		     struct region_opened *out, struct refusal *why);
/* A verify walk keeps frames at rest: what gives some back now waits for it. */
bool frames_at_rest(void);
/* Memory of closed regions or pools is on its way back: what is refused now may be granted after
 * frames_settle(), which waits for that and isn't for an event loop. */
bool frames_settling(void);
void frames_settle(void);
struct pool;
/* Pageblocks of arenas that nothing is in stay with their pools for a second. When so many bytes
 * more were refused to a pool they go back at once: its own, or, if its own limit isn't why, all
 * pools'. False: there are none. Not for an event loop, which may look whether there are any. */
bool frames_release(const struct pool *pool, uint64_t bytes);
bool frames_idle(void);
bool verb_region_release(struct session *s, const struct region_open_args *args);
int verb_region_window(struct session *s, uint32_t handle, uint64_t address, struct refusal *why);
int verb_region_close(struct session *s, uint32_t handle, struct refusal *why);
/* The client couldn't use what it opened: what was made for it goes with its name. */
int verb_region_unmake(struct session *s, uint32_t handle, struct refusal *why);

struct region_unlink_args {
	uint32_t pool;
	const char *name;
	struct request_past past;
};
/* Again: only the region that had the name then. */
int verb_region_unlink(struct session *s, const struct region_unlink_args *args,
		       struct refusal *why);

struct region_clone_args {
	uint32_t region; /* of which */
	uint32_t pool;   /* in which; 0: the same */
	const char *name;
	uint32_t flags;
};
struct region_clone_request {
	uint64_t request; /* the request's id */
	bool again;       /* it may have been carried out already */
	const struct region_clone_args *clones;
	uint32_t nr;
};
enum { REGION_CLONES_MAX = 64 };
/* slow. All at one instant or none; each has a handle then, which verb_region_map() describes. */
int verb_region_clone(struct session *s, const struct region_clone_request *want,
		      uint32_t *handles, struct refusal *why);
/* frames_release() for all of them. */
bool verb_clone_release(struct session *s, const struct region_clone_request *want);
struct region_rollback_args {
	uint32_t region, snapshot;
	struct request_past past;
};
/* slow. The region's contents become the snapshot's. Again: unless they did. *poisoned: pages of it
 * were lost, and the client has marks of that, perhaps. */
int verb_region_rollback(struct session *s, const struct region_rollback_args *args, bool *poisoned,
			 struct refusal *why);
int verb_region_map(struct session *s, uint32_t handle, struct region_opened *out,
		    struct refusal *why);

/* ---- regions by pool and name, for tools ---- */

struct named_clone_args {
	const char *pool;
	char *const *regions, *const *names; /* nr of each */
	uint32_t nr;
};
/* slow. All at one instant or none. */
int verb_named_clone(struct session *s, const struct named_clone_args *args, struct refusal *why);
bool verb_named_release(struct session *s, const struct named_clone_args *args);
/* slow */
int verb_named_rollback(struct session *s, const char *pool, const char *region,
			const char *snapshot, struct refusal *why);
int verb_named_unlink(struct session *s, const char *pool, const char *region,
		      struct refusal *why);

/* ---- ranges of a region ---- */

struct region_range_args {
	uint32_t region, advice;
	uint64_t offset, length;
	uint64_t *done; /* what earlier turns have done: 0 at first; NULL: all in one */
};
/* Slow. -EAGAIN and more done than before: to be called once more, after others have had their
 * turn. */
int verb_region_advise(struct session *s, const struct region_range_args *args,
		       struct refusal *why);
int verb_region_lock(struct session *s, const struct region_range_args *args,
		     struct refusal *why); /* slow */
int verb_region_unlock(struct session *s, const struct region_range_args *args,
		       struct refusal *why);

struct region_stat {
	uint64_t length, page_size, resident, shared, own, locked, faults, write_faults, sessions;
	uint64_t swapped, refaults;
	uint64_t inherited; /* still what an ancestor has */
	uint64_t charged;   /* resident, with what it is charged for of closed ancestors */
};
/* slow for a member of a family, quick otherwise. */
int verb_region_stat(struct session *s, uint32_t handle, struct region_stat *out,
		     struct refusal *why);
bool region_stat_is_slow(struct session *s, uint32_t handle);

/* ---- swap areas: slow both ---- */

struct swapon_args {
	const char *path;
	uint64_t bytes; /* 0: what is there */
	int32_t priority;
};
int verb_swapon(const struct swapon_args *args, struct refusal *why);
int verb_swapoff(const char *path, struct refusal *why);

#endif
