/* SPDX-License-Identifier: Apache-2.0 */
/*
 * section - a contiguous pfn range backed by exactly one memfd
 *
 * Purpose     Everything the broker owns or hands out lives in a section: pfn ranges are given
 *             out here, the file is made and mapped into the direct map, and pfn_to_section() finds
 *             the section in O(1).
 * Invariants  S1  sections don't overlap; start and length are multiples of a pageblock, arenas
 *                 and the daemon's own memory start at multiples of the largest order.
 *             S2  section_of[block] is the id of the section the block belongs to, 0 if none.
 *             S3  a record in the metadata file says everything that a restarted daemon needs;
 *                 struct section is derived from it, but for fd and owner.
 *             S5  the file of a section that must outlive the daemon is kept (os/keep.h) from
 *                 before its record exists until after.
 *             S4  a new section's file is all holes: memory comes by stock_take() and populate.
 * Locking     section mutex (RANK_STOCK) for ids, pfn ranges and the table. A section stays valid
 *             until its owner removes it; pfn_to_section() of a pfn the caller owns needs no lock.
 * Not here    How much memory is in it (stock.h), struct pages (zone.h).
 */
#ifndef MMB_MM_PHYS_SECTION_H
#define MMB_MM_PHYS_SECTION_H

#include "base/range_alloc.h"
#include "mm/phys/page.h"

enum stock_kind { STOCK_BASE, STOCK_HUGE, NR_STOCK_KINDS };

enum section_type {
	SECTION_META = 1, /* the daemon's own memory, pool 0; the first one lies at pfn 0 */
	SECTION_RESERVE,  /* held by a stock; used by nobody */
	SECTION_ARENA,    /* a pool's, managed frame by frame */
	SECTION_REGION,   /* homes of a region */
	SECTION_SLAB_MAP, /* what clients write about the units of an arena */
};

/* Names of sections' files begin with it, as /proc/PID/maps shows them. */
#define SECTION_FILE_PREFIX "mmb-"
enum { SECTION_NODE_MIXED = -1, SECTION_NAME_BYTES = 48 };

/* Authoritative: lives in the metadata file, by section id. */
struct section_record {
	uint32_t magic; /* SECTION_RECORD_MAGIC while in use; written last */
	uint32_t id, pfn;
	uint8_t  kind, type;
	int16_t  node;
	uint64_t nr_frames;
	uint64_t owner_id; /* pool or region id, for the owner's own use at resume */
	uint64_t file;     /* st_ino of the memfd; 0 unknown */
	uint64_t mapped;   /* in the direct map */
	uint64_t checksum; /* of what is above, from id on */
	uint64_t reserved;
};

static_assert(sizeof(struct section_record) == 64, "records don't straddle pieces of metadata");
enum { SECTION_RECORD_MAGIC = 0x43455342 };

/* Derived. c: fixed after section_add   s: section mutex */
struct section {
	uint32_t          id;        /* (c) 1 .. NR_SECTIONS_MAX - 1 */
	uint32_t          pfn;       /* (c) first frame */
	uint64_t          nr_frames; /* (c) */
	int               fd;        /* (c) */
	enum stock_kind   kind;      /* (c) */
	enum section_type type;      /* (c) */
	int               node;      /* (c) SECTION_NODE_MIXED: of several */
	bool              mapped;    /* (c) in the direct map */
	void             *owner;     /* (c) zone, region or stock, as type says */
	struct range      range;     /* (s) */
	bool              listed;    /* (s) its tables are written */
	char              name[SECTION_NAME_BYTES]; /* (c) of the memfd */
};

struct section_request {
	const char       *name;
	uint64_t          nr_frames; /* multiple of PAGEBLOCK_PAGES */
	enum stock_kind   kind;
	enum section_type type;
	int               node;
	bool              map; /* into the direct map */
	void             *owner;
	uint64_t          owner_id;
};

/* The last part of the span is for those up to this size: whoever takes it in large parts leaves
 * the others something. */
enum { SECTION_SMALL_FRAMES = 1 << 18 };
/* Of how many frames one may be just now, if there is a gap for it. */
uint64_t section_frames_max(void);
/* -ENOMEM, -ENOSPC (no pfn range), -EMFILE (no id) or what making and mapping the file gave. */
int section_add(const struct section_request *request, struct section **out);
/* It was made ahead, and is somebody's from now on. Crash: it has no record for a moment, so that
 * the owner must not rely on it yet. */
void section_give(struct section *section, void *owner, uint64_t owner_id);
/* Closes the file, which gives back what is in it: the caller has told the stock. */
void section_remove(struct section *section);

/* NULL for a pfn that no section has. Any number is allowed. */
struct section *pfn_to_section(uint64_t pfn);
struct section *section_by_id(uint32_t id);
uint32_t section_count(void);
/* Calls fn for every section, lowest pfn first, with the section mutex held. */
void section_for_each(void (*fn)(struct section *section, void *arg), void *arg);

static inline uint64_t section_offset(const struct section *section, uint32_t pfn)
{
	return (uint64_t)(pfn - section->pfn) << PAGE_SHIFT;
}

static inline void *section_virt(const struct section *section)
{
	return pfn_to_virt(section->pfn);
}

void section_init(void); /* after meta_init */
/* After meta_resume(), before any other section is added: those whose files were kept, without
 * owners yet, and their tables. *lost: records without a file, or damaged. */
int sections_resume(uint64_t *lost);
/* When all owners have taken theirs: the rest goes. Returns how many. */
uint64_t sections_settle(void);
void section_fini(void);
void section_validate(struct validation *v);

#endif
