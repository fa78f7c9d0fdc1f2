/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_region - a region as clients know it: in a pool, perhaps with a name, an owner and a mode
 *
 * Purpose     Find or make a region by name, count its handles, end it with its last user.
 * Invariants  G1  it is on its pool's list while it has a handle, or has a name. After that it is
 *                 on the list of those that linger while others that were cloned from it need
 *                 its frames, and is charged for those alone.
 *             G2  charge of the pool, address, account of the uid: from making until its memory
 *                 is really back (region's released callback).
 *             G3  its record exists while it is on the list.
 * Crash       what has a record has all that it is made of; without a handle or a name it ends when
 *             the next daemon has found out who is left. Its name is pending in the record while
 *             its maker has no handle: so that a request to make it by name that is repeated finds
 *             either nothing, or its own. One that ends for its clones says "closed" before
 *             anything of it goes; any other loses its record first, and then its section is
 *             nobody's.
 * Locking     pool->lock for the list, handles and names.
 */
#ifndef MMB_CLIENT_POOL_REGION_H
#define MMB_CLIENT_POOL_REGION_H

#include "client/carried.h"
#include "client/pool.h"
#include "mm/space/region.h"

/* c: fixed   l: pool->lock */
struct pool_region {
	struct list_head link;         /* (l) */
	uint64_t id;                   /* (c) */
	struct pool *pool;             /* (c) */
	struct region *region;         /* (c) one reference, until G1 ends */
	char name[NAME_MAX_BYTES + 1]; /* (l) empty: unnamed or unlinked */
	_Atomic bool is_named;         /* (l) changes; readable any time: it can be opened */
	uid_t uid;                     /* (c) */
	gid_t gid;                     /* (c) */
	uint32_t mode;                 /* (c) */
	struct range address;          /* (c) from the table; length 0: the creator chose */
	uint64_t start;                /* (c) the common address */
	uint64_t bytes;                /* (c) length */
	_Atomic uint64_t parent;       /* id of what it is a clone of, while that exists; 0: none */
	bool lingers;                  /* (l) it has ended, and stays for its clones */
	uint64_t charged;              /* (l) of its pool's commit */
	bool huge;                     /* (c) its pages are */
	uint64_t tables;               /* (c) frames of its words, if it overcommits */
	_Atomic uint32_t nr_handles; /* (l) changes; readable any time */
	bool opened_again;           /* (l) by others than its maker, or perhaps */
	struct region_record *record; /* (l) NULL: it is ending */
};

struct pool_region_request {
	struct pool *pool;
	const struct peer *creator;
	const struct region_open_args *args; /* checked */
	int home_node;
	uint64_t parent; /* id of the region that it is a clone of; 0: none */
};

void pool_regions_init(void);
/* Opens by name or makes; one handle is counted. *created tells which. The next daemon knows what
 * was made without its name until pool_region_settle_name(), or until somebody else opens it. */
int pool_region_open(const struct pool_region_request *request, struct pool_region **out,
		     bool *created, struct refusal *why);
/* Makes one that nobody can find yet: it is listed next, or ended by region_put(pr->region). */
int pool_region_make(const struct pool_region_request *request, struct pool_region **out,
		     struct refusal *why);
/* -EEXIST: its name is taken. The next daemon knows it without name until pool_region_name(). */
int pool_region_list(struct pool_region *pr, struct refusal *why);
/* From now on it lives without handles, too, unless it is "". -EEXIST: the name has been taken. */
int pool_region_name(struct pool_region *pr, const char *name, struct refusal *why);
/* Its maker has a handle of it: it is named so for good, unless it was unlinked meanwhile. -EEXIST:
 * after a restart somebody was faster. */
int pool_region_settle_name(struct pool_region *pr, const char *name, struct refusal *why);
/* It was made, and its maker can't have it: unless somebody else has opened it meanwhile, it ends
 * with the maker's handle. */
void pool_region_abandon(struct pool_region *pr);
/* The same later, when others may have had it open, and gone: then it stays. */
void pool_region_unmake(struct pool_region *pr);
void pool_region_close(struct pool_region *pr);
/* Its contents are being destroyed: the name goes now, the region with its last handle. */
void pool_region_lose(struct pool_region *pr);

struct unlink_request {
	const char *name;
	const struct peer *peer;
	struct carried *carried;   /* NULL: nobody repeats it */
	struct request_past past;
};
int pool_region_unlink(struct pool *pool, const struct unlink_request *want, struct refusal *why);
/* All named ones. */
void pool_region_unlink_all(struct pool *pool);
uint64_t pool_region_live(void);
/* A predecessor's region; one handle is counted, which is the caller's to close. -EUCLEAN: the
 * record means nothing that exists, or what went wrong. */
int pool_region_resume(struct region_record *record, struct pool_region **out);
/* One more handle of one that has some. */
void pool_region_reopen(struct pool_region *pr);

#endif
