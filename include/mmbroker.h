/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmbroker - public interface of libmmbroker
 *
 * Purpose     Memory from mmbrokerd: objects and page runs at one address in every client of a
 *             pool, and demand-paged regions, unnamed or shared by name.
 * Errors      Functions returning int give 0 or a negative errno; functions returning a pointer
 *             give NULL and set errno. mmb_error() has the sentence, the daemon's own words where
 *             the daemon refused.
 * Threads     Everything is thread-safe, and nothing is a cancellation point. A handle used in a
 *             forked child gives -EOWNERDEAD.
 * Options     Structs begin with `size_t size`, set to sizeof the struct, so that they can grow.
 *             A NULL option pointer means the defaults. Lengths and limits are bytes.
 */
#ifndef MMBROKER_H
#define MMBROKER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- connection ---- */

struct mmb;

struct mmb_open_options {
	size_t   size;
	uint64_t operation_timeout_ms; /* longest wait for one reply; 0: 30 s */
	/* Without a broker mmb_open() retries that long (0: fails at once); later, when none has
	 * answered for so long, the session is over, and memory that is not mapped raises SIGBUS
	 * (0: its toucher waits until the broker is back). */
	uint64_t daemon_timeout_ms;
};

/* Connects. NULL path: $MMB_SOCKET, then the user's, then the system's socket. */
int mmb_open(const char *socket_path, const struct mmb_open_options *options, struct mmb **out);
/* Ends the connection, its regions, and all objects and page runs of its pools; no other thread may
 * be using them. Handles of pools answer -ENOTCONN then, and are small until mmb_pool_close(). */
void mmb_close(struct mmb *mmb);

/* The sentence for the calling thread's last failure; never NULL, valid until the next failure. */
const char *mmb_error(void);
const char *mmb_version(void);

/* ---- pools ---- */

struct mmb_pool;

enum { MMB_NODE_LOCAL, MMB_NODE_PREFERRED, MMB_NODE_BIND, MMB_NODE_INTERLEAVE };

struct mmb_pool_options {
	size_t   size;
	/* Bytes, rounded down to pages; 0: none. Whoever makes the pool gives them, and mmbctl
	 * pool set changes them later. min and low are for root and the broker's operators. */
	uint64_t min;            /* resident memory that is never reclaimed for others */
	uint64_t low;            /* nor this, unless others have no more than their own low */
	uint64_t high;           /* above it the pool is reclaimed from, and its faults delayed */
	uint64_t max;            /* most that is resident; with swap_max, most it may commit */
	uint64_t swap_max;       /* most that is swapped out; less than a page: nothing is */
	uint32_t mode;           /* permission bits; 0: 0600; group means the creator's egid */
	uint32_t node_policy;    /* MMB_NODE_* */
	uint64_t node_mask;      /* bit n: node n; 0 with MMB_NODE_LOCAL: all nodes */
};

enum { MMB_POOL_CREATE = 1, MMB_POOL_EXCL = 2, MMB_POOL_PRIVATE = 4,
       MMB_POOL_OVERCOMMIT = 8, MMB_POOL_OOM_KILL = 16 };

/* Opens a pool by name (up to 63 bytes). PRIVATE: an unnamed pool of this session alone, which
 * ends with it; name is then a label and may be NULL. OVERCOMMIT, of a pool that is being made: the
 * regions' lengths are promised to nobody, each page is found, or not, when it is touched: then the
 * touch raises SIGBUS, or with OOM_KILL the pool's biggest session is ended. */
int mmb_pool_open(struct mmb *mmb, const char *name, unsigned flags,
		  const struct mmb_pool_options *options, struct mmb_pool **out);
/* Closes the handle. With the connection's last one of the pool go its page runs, with the last of
 * all clients the pool's objects; regions that are open stay so. */
void mmb_pool_close(struct mmb_pool *pool);

struct mmb_pool_stat {
	size_t   size;
	uint64_t committed, resident, arena, locked, swapped, max, swap_max; /* bytes */
	uint64_t sessions, regions, refused;
	uint64_t some_stall_us, full_stall_us; /* time in which some, or all, waited for memory */
};

/* Set stat->size first. */
int mmb_pool_stat(struct mmb_pool *pool, struct mmb_pool_stat *stat);

/* ---- pooled memory: objects at the same address in every client of the pool ----
 * The environment's MMB_CONF (libmmbroker(3)) makes wrong uses of objects show. */

/* Any size; 0 gives a unique pointer. Aligned for every type up to 16 bytes. NULL with errno ENOMEM
 * when the pool or the broker is out of memory. Up to 4 MiB the object is visible to every client
 * of the pool and lives until it is freed or the pool's last session closes; a larger one is
 * private to this process. Contents are undefined (never another pool's data). An address that
 * another client tells may be followed once this one has allocated from the pool or opened a cache
 * of it: that maps the pool's memory. */
void *mmb_malloc(struct mmb_pool *pool, size_t size);
/* n objects of that size, zeroed; NULL with ENOMEM also when n * size overflows. */
void *mmb_calloc(struct mmb_pool *pool, size_t n, size_t size);
/* Contents up to the smaller size are kept; on failure the object stays as it was. NULL with
 * EOWNERDEAD for an object of the parent's in a forked child. */
void *mmb_realloc(struct mmb_pool *pool, void *object, size_t size);
/* alignment: a power of two, at most 2 MiB; else NULL with EINVAL. */
void *mmb_aligned_alloc(struct mmb_pool *pool, size_t alignment, size_t size);
/* Any thread, any client of the pool that has it open. A double or wild free that is detected ends
 * the calling process with a message. NULL is fine; so is an object of the parent's in a forked
 * child, where it does nothing. */
void mmb_free(void *object);
/* Bytes that may be used, at least what was asked for. */
size_t mmb_usable_size(const void *object);
/* Gives memory that this process keeps unused back to the broker now. */
int mmb_trim(struct mmb_pool *pool);

typedef void (*mmb_write_fn)(void *arg, const char *text);
/* What the pool's objects take by size class and cache, and what this process keeps and has done,
 * as text for people, a line a call; write NULL: to stderr. */
int mmb_stats_print(struct mmb_pool *pool, mmb_write_fn write, void *arg);

/* ---- typed caches: objects of one size, known by name to all clients of a pool ---- */

struct mmb_cache;

/* Opens the pool's cache of that name (up to 63 bytes), and makes it if there is none. object: 1 to
 * 262144 bytes; align: 0, or a power of two up to 4096; flags: 0. -EINVAL when the cache exists
 * with other objects. A cache lives as long as the pool. */
int mmb_cache_open(struct mmb_pool *pool, const char *name, size_t object, size_t align,
		   unsigned flags, struct mmb_cache **out);
/* As mmb_malloc: at one address in every client, contents undefined, NULL with ENOMEM. */
void *mmb_cache_alloc(struct mmb_cache *cache);
/* An object that any client of the pool took from the cache of that name; anything else that is
 * detected ends the calling process with a message. NULL is fine. */
void mmb_cache_free(struct mmb_cache *cache, void *object);
/* All n or none: then -ENOMEM, and what objects[] holds is undefined. */
int mmb_cache_alloc_bulk(struct mmb_cache *cache, size_t n, void **objects);
/* Fastest when neighbours in the array are neighbours in memory, as alloc_bulk gives them. */
void mmb_cache_free_bulk(struct mmb_cache *cache, size_t n, void **objects);
/* Closes the handle; objects stay, and may be freed through another handle or by mmb_free(). */
void mmb_cache_close(struct mmb_cache *cache);

/* ---- mempools: a reserve of one process, for what must get on when memory is short ---- */

struct mmb_mempool;

/* Takes `minimum` objects of the cache as a reserve, or fails. */
int mmb_mempool_open(struct mmb_cache *cache, size_t minimum, struct mmb_mempool **out);
/* From the cache; if that has none, from the reserve; if that is empty, waits until an object is
 * freed, at most the operation timeout: then NULL with ENOMEM. */
void *mmb_mempool_alloc(struct mmb_mempool *mempool);
/* An object of the cache: refills the reserve first. NULL is fine. */
void mmb_mempool_free(struct mmb_mempool *mempool, void *object);
/* Gives the reserve back. Nobody may wait in mmb_mempool_alloc(). */
void mmb_mempool_close(struct mmb_mempool *mempool);

/* ---- page runs: 2^order pages of 4 KiB, aligned, at the same address in every client ---- */

enum {
	MMB_GFP_KERNEL = 0,
	MMB_GFP_NOWAIT = 1,
	MMB_GFP_ATOMIC = 2,
	MMB_GFP_NORETRY = 4,
	MMB_GFP_RETRY_MAYFAIL = 8,
	MMB_GFP_NOFAIL = 16, /* waits for the operation timeout, then ends the caller */
	MMB_GFP_ZERO = 32,
	MMB_GFP_MOVABLE = 64,
	MMB_GFP_RECLAIMABLE = 128,
	MMB_GFP_THISNODE = 256
};
enum { MMB_ORDER_MAX = 10 };

/* A run goes back to the pool when it is freed or when the session that took it ends. Contents
 * are undefined without MMB_GFP_ZERO (never another pool's data). */
void *mmb_alloc_pages(struct mmb_pool *pool, unsigned order, unsigned gfp);
/* Through any handle that the connection which took it has of the pool. A wrong address or order, a
 * run of another client's, or a second free, ends the calling process with a message. */
void mmb_free_pages(struct mmb_pool *pool, void *pages, unsigned order);

/* ---- regions: demand-paged, shareable ---- */

struct mmb_region;

struct mmb_region_options {
	size_t   size;
	uint32_t page_size;   /* 4096 or 2 MiB; 0: 4096 */
	uint32_t mode;        /* permission bits of a named region; 0: 0600 */
	uint32_t flags;       /* MMB_REGION_*, or-ed with the argument */
	uint32_t node_policy; /* MMB_NODE_* */
	uint64_t node_mask;
	void    *address;     /* where to map it; NULL: the broker's choice, equal in all clients */
};

enum {
	MMB_REGION_CREATE = 1,
	MMB_REGION_EXCL = 2,
	MMB_REGION_READONLY = 4,
	MMB_REGION_POPULATE = 8, /* every page resident before the call returns */
	MMB_REGION_LOCKED = 16   /* populated, and never evicted */
};

/* An unnamed region of this session. Its whole length is charged here, or refused here. */
int mmb_region_create(struct mmb_pool *pool, size_t length,
		      const struct mmb_region_options *options, struct mmb_region **out);
/* A named region. length 0 opens at the existing length; any other mismatch is -EINVAL. One that
 * this call has made and can't map leaves no name. */
int mmb_region_open(struct mmb_pool *pool, const char *name, size_t length, unsigned flags,
		    const struct mmb_region_options *options, struct mmb_region **out);
void *mmb_region_address(struct mmb_region *region);
size_t mmb_region_length(struct mmb_region *region);

/* ---- clones: point-in-time copies in the time of a call ---- */

struct mmb_clone_options {
	size_t           size;
	const char      *name;  /* NULL: unnamed */
	/* MMB_REGION_READONLY, POPULATE, LOCKED. A READONLY clone with a name stays as it is: its
	 * mode has no bits for writing. */
	uint32_t         flags;
	struct mmb_pool *pool;  /* where the clone belongs; NULL: the region's own pool */
};

/* A region of its own that holds what the region holds now. Memory is shared until either is
 * written; the clone's whole length is charged here, or refused here. NULL options: unnamed,
 * writable, same pool. -EEXIST: the name is taken. */
int mmb_region_clone(struct mmb_region *region, const struct mmb_clone_options *options,
		     struct mmb_region **out);
/* Clones of n regions (at most 64) of one connection at one instant, all or none. options: an
 * array of n, or NULL. */
int mmb_region_clone_many(size_t n, struct mmb_region **of, const struct mmb_clone_options *options,
			  struct mmb_region **clones);

/* The region's contents become those of the snapshot, a clone of it or any region of its length and
 * page size on the same connection; mappings stay, in all clients. What is written to the region
 * meanwhile is lost, or comes after all of the snapshot's contents. -EBUSY: a page that would
 * change is locked; nothing has changed. A page that the snapshot has lost is lost, one that the
 * region had lost is not any more. After another error some pages are the snapshot's, and one may
 * be lost until the call is repeated. */
int mmb_region_rollback(struct mmb_region *region, struct mmb_region *snapshot);

enum {
	MMB_ADVISE_NORMAL = 0,
	MMB_ADVISE_SEQUENTIAL = 1,
	MMB_ADVISE_RANDOM = 2,
	MMB_ADVISE_WILLNEED = 3,
	MMB_ADVISE_COLD = 4,     /* the first to be swapped out */
	MMB_ADVISE_PAGEOUT = 5,  /* swapped out now, as far as there is swap */
	/* The range reads zero for all its users. -EBUSY: but for pages that are locked. */
	MMB_ADVISE_DONTNEED = 6,
	MMB_ADVISE_FREE = 7,     /* until it is written again it may turn to zeros at any time */
	MMB_ADVISE_HUGEPAGE = 8
};

/* offset and length in bytes, multiples of the region's page size. Who has the region open
 * read-only may not empty, free or page out: -EACCES, as for locks and rollback. */
int mmb_region_advise(struct mmb_region *region, size_t offset, size_t length, int advice);
/* Resident and pinned: needed for device or registered-buffer I/O. On failure no more is locked
 * than before. Locks are the region's, and stay when who made them ends. */
int mmb_region_lock(struct mmb_region *region, size_t offset, size_t length);
int mmb_region_unlock(struct mmb_region *region, size_t offset, size_t length);

struct mmb_region_stat {
	size_t   size;
	uint64_t length, page_size, resident, swapped, shared, own, locked; /* bytes */
	uint64_t faults, refaults, write_faults, sessions;
};

/* Set stat->size first. */
int mmb_region_stat(struct mmb_region *region, struct mmb_region_stat *stat);

struct mmb_fault_info {
	size_t   size;
	char     region[64];
	uint64_t offset;
	int      error;
	char     cause[96];
};

/* Why an access to this address raised SIGBUS. Async-signal-safe. -ENOENT: no record. */
int mmb_fault_info(const void *address, struct mmb_fault_info *info);

void mmb_region_close(struct mmb_region *region);
int mmb_region_unlink(struct mmb_pool *pool, const char *name);

/* ---- pressure: give back what you can before it is taken ---- */

/* Frees about so many bytes of what the program can do without, and returns how many it freed; 0
 * if there is nothing. Runs on a thread of the library's own, and may use the pool as any other,
 * but for closing it. */
typedef size_t (*mmb_shrink_fn)(void *arg, size_t bytes_wanted);
/* Called when the pool is short of memory: above its limits, refused something by them, or because
 * the broker is short. What the library keeps unused goes back without. -EEXIST: registered. */
int mmb_shrinker_register(struct mmb_pool *pool, mmb_shrink_fn fn, void *arg);
/* It isn't running any more when this returns, unless it does this itself. -ENOENT: it isn't
 * registered. Closing the pool does the same for all. */
int mmb_shrinker_unregister(struct mmb_pool *pool, mmb_shrink_fn fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
