/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta - the metadata memfd and its windows
 *
 * Purpose     One sparse memfd holds all state about memory that must outlive the daemon: the
 *             state header, the section records, section_of, pageblock flags, struct pages, page
 *             words and swap slots. Each is an array ("window") over the whole pfn space, or over
 *             all swap areas, mapped at a fixed base, of which only the used parts are populated.
 * Invariants  T1  an entry is read or written only while it is populated: a bare touch of a hole
 *                 would conjure memory that nobody has accounted for.
 *             T2  meta_bytes() is what the file holds: the sum over windows of populated bytes.
 *             T3  vmemmap, page words and the tables of swap areas are populated by whole pages of
 *                 entries, so that no two owners share a 4 KiB piece. Pieces of the dense
 *                 windows are shared and counted: the last release punches.
 *             T4  from meta_set_charger() on, every populated byte is charged before it appears
 *                 and uncharged after it is gone.
 * Locking     meta mutex (leaf) for the counts of shared pieces; the caller owns the entries.
 * Not here    What the entries mean (page.h, section.h, the region's page words).
 */
#ifndef MMB_MM_PHYS_META_H
#define MMB_MM_PHYS_META_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/check.h"
#include "base/types.h"

struct page;
struct section_record;
struct slot_record;
struct swap_cluster;

enum meta_window {
	META_HEADER,     /* one struct meta_header */
	META_RECORDS,    /* struct section_record by section id */
	META_SECTION_OF, /* uint32_t section id by pageblock; 0: none */
	META_BLOCKS,     /* _Atomic uint8_t block flags by pageblock (page.h) */
	META_VMEMMAP,    /* struct page by pfn */
	META_WORDS,      /* _Atomic uint64_t by pfn */
	META_SLOTS,      /* struct slot_record by swap area and index */
	META_CLUSTERS,   /* struct swap_cluster by swap area and index; derived */
	META_POOLS,      /* records by slot (record.h), here and below */
	META_SESSIONS,
	META_REGIONS,
	META_HANDLES,
	META_CLIENT_WINDOWS,
	META_CACHES,
	META_SWAPS,
	META_TAKEN,
	META_CONTENTS, /* of pages of 2 MiB, by slot of the record in META_TAKEN */
	NR_META_WINDOWS
};

#define META_MAGIC 0x4154454d424d4dull /* "MMBMETA" */
enum { META_VERSION = 8, NR_SECTIONS_MAX = 65536, META_SWAP_AREAS = 8,
       SLOT_RECORD_BYTES = 12, SWAP_CLUSTER_BYTES = 128 /* of map/swap.h */ };
/* Bytes of a record, a power of two, and how many there may be. */
enum {
	META_POOL_BYTES = 512,
	META_POOLS_MAX = 16384,
	META_SESSION_BYTES = 256,
	META_SESSIONS_MAX = 16384,
	META_REGION_BYTES = 512,
	META_REGIONS_MAX = 65536,
	META_HANDLE_BYTES = 64,
	META_HANDLES_MAX = 1 << 20,
	META_CLIENT_WINDOW_BYTES = 64,
	META_CLIENT_WINDOWS_MAX = 1 << 20,
	META_CACHE_BYTES = 128,
	META_CACHES_MAX = 65536,
	META_SWAP_BYTES = 2048,
	META_SWAPS_MAX = 64, /* fewer are used: META_SWAP_AREAS */
	META_TAKEN_BYTES = 8192,
	META_TAKEN_MAX = 64,
	META_CONTENTS_BYTES = PAGEBLOCK_SIZE,
};
#define META_SPAN_FRAMES (1ull << 32)     /* 16 TiB of broker physical memory */
#define META_BASE 0x101000000000ull /* 337 GiB of windows; ASan keeps off from 0x10007fff8000 up */
#define DIRECT_MAP_BASE 0x108000000000ull

/* Authoritative. What a restarted daemon checks before it believes the rest of the file. */
struct meta_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes;
	uint64_t span_frames;
	uint64_t base, direct_map;
	uint64_t window_offset[NR_META_WINDOWS]; /* bytes from the start of the file */
	uint32_t page_bytes, record_bytes;
	uint64_t checksum;  /* of all before it */
	uint64_t nr_resumed; /* times that a daemon has taken it over */
};

struct meta_request {
	uint64_t span_frames;     /* multiple of MAX_ORDER blocks; META_SPAN_FRAMES in the daemon */
	void    *base;            /* where the windows go; NULL: anywhere (unit tests) */
	void    *direct_map_base; /* the same for the direct map */
};

/* c: fixed after meta_init */
extern struct page            *vmemmap;        /* (c) */
extern _Atomic uint64_t       *page_words;     /* (c) */
extern _Atomic uint32_t       *section_of;     /* (c) read it through pfn_to_section() */
extern _Atomic uint8_t        *block_flags;    /* (c) */
extern struct section_record  *section_records; /* (c) */
extern struct slot_record     *slot_records;   /* (c) map/swap.h */
extern struct swap_cluster    *swap_clusters;  /* (c) map/swap.h */
extern struct meta_header     *meta_header;    /* (c) */
extern char                   *direct_map;     /* (c) */
extern uint64_t                meta_span_frames; /* (c) */
extern uint32_t                meta_version;     /* (c) META_VERSION, but in tests of releases */

/* Reserves the address space, makes the memfd and the header. */
int meta_init(const struct meta_request *request);
/* Takes over a predecessor's file instead, which is this process's from then on, unless it fails:
 * -EPROTONOSUPPORT: of another version or layout; -EUCLEAN: damaged. Nothing has been changed then,
 * and nothing is populated that meta_adopt() doesn't name. */
int meta_resume(const struct meta_request *request, int fd);
/* Entries [first, first + nr) are in use, as after a meta_populate(). -ENOMEM: no commit left. */
int meta_adopt(enum meta_window window, uint64_t first, uint64_t nr);
/* Of a sparse window: entries [first, end) are not in use. */
void meta_forget(enum meta_window window, uint64_t first, uint64_t end);
/* All that is in use has been adopted: the rest of the dense windows goes. */
void meta_settle(void);
/* The next entry from *entry on whose memory is present; false: none. */
bool meta_next_present(enum meta_window window, uint64_t *entry);
/* The first entry from this one on whose memory somebody may have touched since it was populated,
 * for what is before it is zero; none: the number of the window's entries. */
uint64_t meta_next_touched(enum meta_window window, uint64_t entry);
void *meta_entry(enum meta_window window, uint64_t entry);
/* Unmaps everything; all sections are gone. For tests and a clean exit. */
void meta_fini(void);
int meta_fd(void);
/* Where the entry is in the file. */
uint64_t meta_offset(enum meta_window window, uint64_t entry);

/* Entries of each of META_SWAP_AREAS areas in the windows SLOTS and CLUSTERS. */
uint64_t meta_swap_slots(void);
uint64_t meta_swap_clusters(void);

/* Makes entries [first, first + nr) of a window usable and zero where they were absent. 0,
 * -ENOMEM (no commit left, or the host has none). All or nothing. */
int meta_populate(enum meta_window window, uint64_t first, uint64_t nr);
/* The same range as a meta_populate() before. */
void meta_release(enum meta_window window, uint64_t first, uint64_t nr);
/* True if entry is populated, for the dense windows (RECORDS, SECTION_OF, BLOCKS). */
bool meta_is_populated(enum meta_window window, uint64_t entry);
/* Bytes of the file in use, exact. */
uint64_t meta_bytes(void);
uint64_t meta_window_bytes(enum meta_window window);

/* Who pays for metadata. charge(frames) may refuse with -ENOMEM; NULL: nobody. What is populated
 * already is charged by the call itself, which fails like charge does. */
struct meta_charger {
	int (*charge)(uint64_t frames);
	void (*uncharge)(uint64_t frames);
	int (*recharge)(uint64_t frames); /* what a predecessor had: -ENOMEM: a smaller reserve */
	bool (*relieve)(void); /* the host has no page left: true if trying again makes sense */
	int os_node;           /* where metadata is bound to */
};
int meta_set_charger(const struct meta_charger *charger);

void meta_validate(struct validation *v);

#endif
