/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta - the metadata memfd: layout, population by pieces, exact bytes
 *
 * Purpose     See meta.h.
 * Invariants  T2 to T4 of meta.h. A piece (4 KiB) of a dense window has a count of the ranges that
 *             use it; sparse windows are populated in whole pageblocks' worth by one owner.
 * Locking     meta_mutex (leaf) for pieces[]; never held while charging.
 */
#include "mm/phys/meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/inject.h"
#include "base/lock.h"
#include "mm/phys/page.h"
#include "mm/phys/record.h"
#include "mm/phys/section.h"
#include "os/os.h"

struct page           *vmemmap;
_Atomic uint64_t      *page_words;
_Atomic uint32_t      *section_of;
_Atomic uint8_t       *block_flags;
struct section_record *section_records;
struct slot_record    *slot_records;
struct swap_cluster   *swap_clusters;
struct meta_header    *meta_header;
char                  *direct_map;
uint64_t               meta_span_frames;
uint32_t               meta_version = META_VERSION;

/* c: fixed after init   m: meta_mutex   a: atomic */
struct window {
	uint64_t         entry_bytes; /* (c) */
	uint64_t         nr;          /* (c) entries */
	uint64_t         offset;      /* (c) in the file */
	uint64_t         bytes;       /* (c) address space */
	_Atomic uint16_t *pieces;     /* (m) users of each piece; NULL in sparse windows */
	_Atomic uint64_t populated;   /* (a) bytes */
};

static struct window        windows[NR_META_WINDOWS];
static char                *meta_map;
static uint64_t             meta_map_bytes;
static int                  meta_file = -1;
static struct mutex         meta_mutex;
static struct meta_charger  charger;
static bool                 has_charger;

uint64_t meta_swap_slots(void)
{
	return meta_span_frames / META_SWAP_AREAS;
}

/* Whole pageblocks' worth of them, like all entries of sparse windows. */
uint64_t meta_swap_clusters(void)
{
	return round_up(meta_swap_slots() >> PAGEBLOCK_ORDER, PAGEBLOCK_PAGES);
}

static void layout(uint64_t span)
{
	uint64_t offset = 0;

	windows[META_HEADER] = (struct window){ sizeof(struct meta_header), 1, 0, 0, NULL, 0 };
	windows[META_RECORDS] = (struct window){ sizeof(struct section_record), NR_SECTIONS_MAX,
						 0, 0, NULL, 0 };
	windows[META_SECTION_OF] = (struct window){ sizeof(uint32_t), span >> PAGEBLOCK_ORDER,
						    0, 0, NULL, 0 };
	windows[META_BLOCKS] = (struct window){ 1, span >> PAGEBLOCK_ORDER, 0, 0, NULL, 0 };
	windows[META_VMEMMAP] = (struct window){ sizeof(struct page), span, 0, 0, NULL, 0 };
	windows[META_WORDS] = (struct window){ sizeof(uint64_t), span, 0, 0, NULL, 0 };
	windows[META_SLOTS] = (struct window){ SLOT_RECORD_BYTES,
					       META_SWAP_AREAS * meta_swap_slots(), 0, 0, NULL, 0 };
	windows[META_CLUSTERS] = (struct window){ SWAP_CLUSTER_BYTES,
						  META_SWAP_AREAS * meta_swap_clusters(), 0, 0,
						  NULL, 0 };
	windows[META_POOLS] = (struct window){ META_POOL_BYTES, META_POOLS_MAX, 0, 0, NULL, 0 };
	windows[META_SESSIONS] = (struct window){ META_SESSION_BYTES, META_SESSIONS_MAX,
						  0, 0, NULL, 0 };
	windows[META_REGIONS] = (struct window){ META_REGION_BYTES, META_REGIONS_MAX,
						 0, 0, NULL, 0 };
	windows[META_HANDLES] = (struct window){ META_HANDLE_BYTES, META_HANDLES_MAX,
						 0, 0, NULL, 0 };
	windows[META_CLIENT_WINDOWS] = (struct window){ META_CLIENT_WINDOW_BYTES,
							META_CLIENT_WINDOWS_MAX, 0, 0, NULL, 0 };
	windows[META_CACHES] = (struct window){ META_CACHE_BYTES, META_CACHES_MAX, 0, 0, NULL, 0 };
	windows[META_SWAPS] = (struct window){ META_SWAP_BYTES, META_SWAPS_MAX, 0, 0, NULL, 0 };
	windows[META_TAKEN] = (struct window){ META_TAKEN_BYTES, META_TAKEN_MAX, 0, 0, NULL, 0 };
	windows[META_CONTENTS] = (struct window){ META_CONTENTS_BYTES, META_TAKEN_MAX, 0, 0,
						  NULL, 0 };
	for (int i = 0; i < NR_META_WINDOWS; i++) {
		windows[i].offset = offset;
		windows[i].bytes = round_up(windows[i].entry_bytes * windows[i].nr,
					    PAGEBLOCK_SIZE);
		offset += windows[i].bytes;
	}
	meta_map_bytes = offset;
}

static bool is_dense(enum meta_window window)
{
	return window != META_VMEMMAP && window != META_WORDS && window != META_SLOTS &&
	       window != META_CLUSTERS;
}

static int alloc_pieces(void)
{
	for (int i = 0; i < NR_META_WINDOWS; i++) {
		if (!is_dense((enum meta_window)i))
			continue;
		windows[i].pieces = calloc(windows[i].bytes >> PAGE_SHIFT, sizeof(uint16_t));
		if (!windows[i].pieces)
			return -ENOMEM;
	}
	return 0;
}

static void free_pieces(void)
{
	for (int i = 0; i < NR_META_WINDOWS; i++) {
		free((void *)windows[i].pieces);
		windows[i].pieces = NULL;
	}
}

/* Address space for `bytes`, pageblock-aligned when the place is free to choose. */
static int reserve_space(void *at, uint64_t bytes, char **out)
{
	void *p;
	int   r = os->reserve(at, at ? bytes : bytes + PAGEBLOCK_SIZE, &p);

	if (!r)
		*out = (char *)round_up((uint64_t)(uintptr_t)p, PAGEBLOCK_SIZE);
	return r;
}

static void set_pointers(void)
{
	meta_header = (struct meta_header *)(meta_map + windows[META_HEADER].offset);
	section_records = (struct section_record *)(meta_map + windows[META_RECORDS].offset);
	section_of = (_Atomic uint32_t *)(meta_map + windows[META_SECTION_OF].offset);
	block_flags = (_Atomic uint8_t *)(meta_map + windows[META_BLOCKS].offset);
	vmemmap = (struct page *)(meta_map + windows[META_VMEMMAP].offset);
	slot_records = (struct slot_record *)(meta_map + windows[META_SLOTS].offset);
	swap_clusters = (struct swap_cluster *)(meta_map + windows[META_CLUSTERS].offset);
	page_words = (_Atomic uint64_t *)(meta_map + windows[META_WORDS].offset);
}

static uint64_t header_checksum(const struct meta_header *h)
{
	const uint64_t *at = (const uint64_t *)h;
	uint64_t        sum = 0;

	for (; at < &h->checksum; at++)
		sum = (sum ^ *at) * 0x9e3779b97f4a7c15ull;
	return sum ^ sum >> 32;
}

/* What this daemon's header says. */
static void fill_header(struct meta_header *h)
{
	*h = (struct meta_header){
		.magic = META_MAGIC,
		.version = meta_version,
		.header_bytes = sizeof(*h),
		.span_frames = meta_span_frames,
		.base = (uint64_t)(uintptr_t)meta_map,
		.direct_map = (uint64_t)(uintptr_t)direct_map,
		.page_bytes = sizeof(struct page),
		.record_bytes = sizeof(struct section_record),
	};
	for (int i = 0; i < NR_META_WINDOWS; i++)
		h->window_offset[i] = windows[i].offset;
	h->checksum = header_checksum(h);
}

static void write_header(void)
{
	struct meta_header header;

	fill_header(&header);
	header.magic = 0;
	*meta_header = header;
	meta_header->magic = META_MAGIC;
}

/* Address space for the windows and the direct map; the file isn't there yet. */
static int prepare(const struct meta_request *request)
{
	int r;

	CHECK(is_aligned(request->span_frames, 1u << MAX_ORDER));
	meta_span_frames = request->span_frames;
	has_charger = false;
	mutex_init(&meta_mutex, RANK_LEAF, "meta");
	layout(meta_span_frames);
	r = alloc_pieces();
	if (!r)
		r = records_init();
	if (!r)
		r = reserve_space(request->base, meta_map_bytes, &meta_map);
	if (!r)
		r = reserve_space(request->direct_map_base, meta_span_frames << PAGE_SHIFT,
				  &direct_map);
	return r;
}

int meta_init(const struct meta_request *request)
{
	int r = prepare(request);

	if (!r) {
		meta_file = os->memfd_new("mmb-meta", meta_map_bytes, 0);
		r = meta_file < 0 ? meta_file : 0;
	}
	if (!r)
		r = os->map(meta_map, meta_map_bytes, meta_file, 0);
	if (!r) {
		set_pointers();
		r = meta_populate(META_HEADER, 0, 1);
	}
	if (r) {
		meta_fini();
		return r;
	}
	write_header();
	return 0;
}

/* ---- a predecessor's file ---- */

static int charge(uint64_t bytes)
{
	return has_charger && bytes ? charger.charge(bytes >> PAGE_SHIFT) : 0;
}

static void uncharge(uint64_t bytes)
{
	if (has_charger && bytes)
		charger.uncharge(bytes >> PAGE_SHIFT);
}

static int check_header(int fd)
{
	struct meta_header found, expected;
	int                r = os->read(fd, 0, &found, sizeof(found));

	if (r)
		return r;
	if (found.magic != META_MAGIC)
		return -EUCLEAN;
	if (found.version != meta_version || found.header_bytes != sizeof(found))
		return -EPROTONOSUPPORT;
	if (found.checksum != header_checksum(&found))
		return -EUCLEAN;
	fill_header(&expected);
	return found.checksum == expected.checksum ? 0 : -EPROTONOSUPPORT;
}

int meta_resume(const struct meta_request *request, int fd)
{
	int r = prepare(request);

	if (!r)
		r = check_header(fd);
	if (!r)
		r = os->map(meta_map, meta_map_bytes, fd, 0);
	if (r) {
		meta_fini();
		return r;
	}
	meta_file = fd;
	set_pointers();
	r = meta_adopt(META_HEADER, 0, 1);
	CHECK(!r); /* nobody pays yet */
	meta_header->nr_resumed++;
	return 0;
}

uint64_t meta_offset(enum meta_window window, uint64_t entry)
{
	return windows[window].offset + entry * windows[window].entry_bytes;
}

void *meta_entry(enum meta_window window, uint64_t entry)
{
	return meta_map + meta_offset(window, entry);
}

int meta_adopt(enum meta_window window, uint64_t first, uint64_t nr)
{
	struct window *w = &windows[window];
	uint64_t       at = round_down(first * w->entry_bytes, PAGE_SIZE);
	uint64_t       end = round_up((first + nr) * w->entry_bytes, PAGE_SIZE);
	uint64_t       bytes = end - at;

	if (is_dense(window)) {
		bytes = 0;
		mutex_lock(&meta_mutex);
		for (uint64_t i = at >> PAGE_SHIFT; i < end >> PAGE_SHIFT; i++)
			if (!w->pieces[i]++)
				bytes += PAGE_SIZE;
		mutex_unlock(&meta_mutex);
	}
	atomic_fetch_add(&w->populated, bytes);
	return has_charger && bytes ? charger.recharge(bytes >> PAGE_SHIFT) : 0;
}

bool meta_next_present(enum meta_window window, uint64_t *entry)
{
	const struct window *w = &windows[window];
	int64_t at;

	if (*entry >= w->nr)
		return false;
	at = os->next_present(meta_file, w->offset + *entry * w->entry_bytes);
	if (at < 0 || (uint64_t)at >= w->offset + w->nr * w->entry_bytes)
		return false;
	*entry = ((uint64_t)at - w->offset) / w->entry_bytes;
	return true;
}

uint64_t meta_next_touched(enum meta_window window, uint64_t entry)
{
	const struct window *w = &windows[window];
	int64_t at = os->next_touched(meta_file, w->offset + entry * w->entry_bytes);

	if (at == -ENXIO)
		return w->nr;
	return at < 0 ? entry : min_t(uint64_t, ((uint64_t)at - w->offset) / w->entry_bytes, w->nr);
}

static void punch_window(const struct window *w, uint64_t at, uint64_t end)
{
	int r = at < end ? os->punch(meta_file, w->offset + at, end - at) : 0;

	CHECK(!r);
}

void meta_forget(enum meta_window window, uint64_t first, uint64_t end)
{
	const struct window *w = &windows[window];

	CHECK(!is_dense(window));
	punch_window(w, first * w->entry_bytes, end * w->entry_bytes);
}

void meta_settle(void)
{
	for (int i = 0; i < NR_META_WINDOWS; i++) {
		const struct window *w = &windows[i];
		uint64_t             from = 0;

		if (!is_dense((enum meta_window)i))
			continue;
		for (uint64_t piece = 0; piece < w->bytes >> PAGE_SHIFT; piece++) {
			if (!w->pieces[piece])
				continue;
			punch_window(w, from, piece << PAGE_SHIFT);
			from = (piece + 1) << PAGE_SHIFT;
		}
		punch_window(w, from, w->bytes);
	}
}

void meta_fini(void)
{
	if (meta_file >= 0) {
		os->unmap(meta_map, meta_map_bytes);
		os->close(meta_file);
	}
	meta_file = -1;
	free_pieces();
	records_fini();
	mutex_fini(&meta_mutex);
}

int meta_fd(void)
{
	return meta_file;
}

/* Fills a part of the file; nothing stays of it on failure. */
static int fill(const struct window *w, uint64_t at, uint64_t bytes)
{
	int node = has_charger ? charger.os_node : OS_NODE_ANY;
	int r = os->populate(meta_file, w->offset + at, bytes, node);

	if (r)
		os->punch(meta_file, w->offset + at, bytes);
	return r;
}

static void drop(const struct window *w, uint64_t at, uint64_t bytes)
{
	int r = os->punch(meta_file, w->offset + at, bytes);

	CHECK(!r);
}

/* Counts a user out of pieces [first, end) and punches runs of those without any; returns bytes. */
static uint64_t put_pieces_locked(struct window *w, uint64_t first, uint64_t end)
{
	uint64_t bytes = 0, run;

	for (uint64_t i = first; i < end; i += run + 1) { /* the one behind a run stays */
		for (run = 0; i + run < end; run++) {
			CHECK(w->pieces[i + run]);
			if (--w->pieces[i + run])
				break;
		}
		if (run)
			drop(w, i << PAGE_SHIFT, run << PAGE_SHIFT);
		bytes += run << PAGE_SHIFT;
	}
	return bytes;
}

/* Counts a user into pieces [first, end). *bytes: what was populated for it. */
static int get_pieces_locked(struct window *w, uint64_t first, uint64_t end, uint64_t *bytes)
{
	*bytes = 0;
	for (uint64_t i = first, next; i < end; i = next) {
		int r = 0;

		for (next = i; next < end && !w->pieces[next]; next++)
			;
		if (next > i)
			r = fill(w, i << PAGE_SHIFT, (next - i) << PAGE_SHIFT);
		if (r) {
			put_pieces_locked(w, first, i);
			*bytes = 0;
			return r;
		}
		*bytes += (next - i) << PAGE_SHIFT;
		next = max_t(uint64_t, next, i + 1);
		for (uint64_t k = i; k < next; k++)
			w->pieces[k]++;
	}
	return 0;
}

static int populate_dense(struct window *w, uint64_t at, uint64_t length, uint64_t *bytes)
{
	int r;

	mutex_lock(&meta_mutex);
	r = get_pieces_locked(w, at >> PAGE_SHIFT, (at + length) >> PAGE_SHIFT, bytes);
	mutex_unlock(&meta_mutex);
	return r;
}

/* What is all there costs nothing and is there also when nothing can be charged any more. */
static bool share_pieces(struct window *w, uint64_t at, uint64_t length)
{
	uint64_t end = (at + length) >> PAGE_SHIFT;
	uint64_t i = at >> PAGE_SHIFT;

	mutex_lock(&meta_mutex);
	while (i < end && w->pieces[i])
		i++;
	if (i == end)
		for (i = at >> PAGE_SHIFT; i < end; i++)
			w->pieces[i]++;
	else
		end = 0;
	mutex_unlock(&meta_mutex);
	return end;
}

int meta_populate(enum meta_window window, uint64_t first, uint64_t nr)
{
	struct window *w = &windows[window];
	uint64_t       at = round_down(first * w->entry_bytes, PAGE_SIZE);
	uint64_t       length = round_up((first + nr) * w->entry_bytes, PAGE_SIZE) - at;
	uint64_t       bytes = 0;
	int            r = INJECT(META_POPULATE);

	CHECK(nr && first + nr <= w->nr);
	CHECK(is_dense(window) || is_aligned(first | nr, PAGEBLOCK_PAGES));
	if (!r && is_dense(window) && share_pieces(w, at, length))
		return 0;
	if (!r)
		r = charge(length);
	if (r)
		return r;
	do {
		r = is_dense(window) ? populate_dense(w, at, length, &bytes) : fill(w, at, length);
	} while (r == -ENOMEM && has_charger && charger.relieve());
	if (!r && !is_dense(window))
		bytes = length;
	atomic_fetch_add(&w->populated, bytes);
	uncharge(length - bytes);
	return r;
}

void meta_release(enum meta_window window, uint64_t first, uint64_t nr)
{
	struct window *w = &windows[window];
	uint64_t       at = first * w->entry_bytes;
	uint64_t       bytes = nr * w->entry_bytes;

	if (is_dense(window)) {
		mutex_lock(&meta_mutex);
		bytes = put_pieces_locked(w, at >> PAGE_SHIFT,
					  round_up(at + bytes, PAGE_SIZE) >> PAGE_SHIFT);
		mutex_unlock(&meta_mutex);
	} else {
		CHECK(is_aligned(first | nr, PAGEBLOCK_PAGES));
		drop(w, at, bytes);
	}
	atomic_fetch_sub(&w->populated, bytes);
	uncharge(bytes);
}

bool meta_is_populated(enum meta_window window, uint64_t entry)
{
	const struct window *w = &windows[window];

	return entry < w->nr &&
	       atomic_load_explicit(&w->pieces[entry * w->entry_bytes >> PAGE_SHIFT],
				    memory_order_acquire);
}

uint64_t meta_window_bytes(enum meta_window window)
{
	return atomic_load(&windows[window].populated);
}

uint64_t meta_bytes(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < NR_META_WINDOWS; i++)
		sum += meta_window_bytes((enum meta_window)i);
	return sum;
}

int meta_set_charger(const struct meta_charger *by)
{
	int r;

	if (!by) {
		uncharge(meta_bytes());
		has_charger = false;
		return 0;
	}
	r = by->charge(meta_bytes() >> PAGE_SHIFT);
	if (r)
		return r;
	charger = *by;
	has_charger = true;
	return 0;
}

void meta_validate(struct validation *v)
{
	validation_compare(v, (uint64_t)os->allocated(meta_file), meta_bytes(),
			   "bytes of the metadata file");
	validation_compare(v, META_MAGIC, meta_header->magic, "metadata header: magic");
	validation_compare(v, meta_span_frames, meta_header->span_frames,
			   "metadata header: span in frames");
	for (int i = 0; i < NR_META_WINDOWS; i++) {
		const struct window *w = &windows[i];
		uint64_t             bytes = 0;

		if (!w->pieces)
			continue;
		for (uint64_t piece = 0; piece < w->bytes >> PAGE_SHIFT; piece++)
			bytes += w->pieces[piece] ? PAGE_SIZE : 0;
		validation_compare(v, bytes, meta_window_bytes((enum meta_window)i),
				   "populated bytes of metadata window %d", i);
	}
}
