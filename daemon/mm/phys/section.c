/* SPDX-License-Identifier: Apache-2.0 */
/*
 * section - pfn ranges, ids, records and the table that finds a section by pfn
 *
 * Purpose     See section.h.
 * Locking     section_mutex (RANK_STOCK) for ids[], pfns and the number of sections. Files are made
 *             and mapped without it.
 */
#include "mm/phys/section.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/inject.h"
#include "base/lock.h"
#include "mm/phys/heap.h"
#include "mm/phys/section_file.h"
#include "os/keep.h"
#include "os/os.h"

enum { SMALL_PART = 8 }; /* of the span, for small ones */

static struct mutex       section_mutex;
static struct section *_Atomic *ids; /* (s) by id; read any time */
static struct range_alloc pfns;      /* (s) */
static _Atomic uint32_t   nr_sections; /* (s) */
static uint32_t           next_id;   /* (s) where the search for a free id begins */

void section_init(void)
{
	mutex_init(&section_mutex, RANK_STOCK, "sections");
	section_files_init();
	ids = calloc(NR_SECTIONS_MAX, sizeof(ids[0]));
	CHECK(ids);
	/* PFN_NONE is the last number of a full span. */
	range_alloc_init(&pfns, 0, meta_span_frames - (1u << MAX_ORDER));
	nr_sections = 0;
	next_id = 1;
}

void section_fini(void)
{
	CHECK(nr_sections == 0);
	free((void *)ids);
	ids = NULL;
	section_files_fini();
	mutex_fini(&section_mutex);
}

/* Whether struct pages may describe the section's frames. */
static bool has_blocks(const struct section *section)
{
	return section->type == SECTION_ARENA || section->type == SECTION_META;
}

static uint64_t frames_max_locked(void)
{
	uint64_t kept = meta_span_frames / SMALL_PART;

	return max_t(uint64_t, SECTION_SMALL_FRAMES,
		     pfns.nr_free > kept ? pfns.nr_free - kept : 0);
}

uint64_t section_frames_max(void)
{
	uint64_t frames;

	mutex_lock(&section_mutex);
	frames = frames_max_locked();
	mutex_unlock(&section_mutex);
	return round_down(frames, 1u << MAX_ORDER);
}

/* An id and a pfn range. */
static int take_names(struct section *section)
{
	uint32_t id;
	int      r = INJECT(PFN_RANGE);

	if (r)
		return r;
	mutex_lock(&section_mutex);
	id = next_id;
	for (uint32_t tries = 1; ids[id] && tries < NR_SECTIONS_MAX; tries++)
		id = id + 1 < NR_SECTIONS_MAX ? id + 1 : 1;
	if (ids[id])
		r = -EMFILE;
	if (!r && section->nr_frames > frames_max_locked())
		r = -ENOSPC;
	if (!r)
		r = range_alloc(&pfns, &section->range, section->nr_frames,
				has_blocks(section) ? 1u << MAX_ORDER : PAGEBLOCK_PAGES);
	if (!r) {
		section->id = id;
		section->pfn = (uint32_t)section->range.start;
		ids[id] = section;
		nr_sections++;
		next_id = id + 1 < NR_SECTIONS_MAX ? id + 1 : 1;
	}
	mutex_unlock(&section_mutex);
	return r;
}

static void put_names(struct section *section)
{
	mutex_lock(&section_mutex);
	range_free(&pfns, &section->range);
	ids[section->id] = NULL;
	nr_sections--;
	/* Low ids first: few pages of records, which are there already. */
	next_id = min_t(uint32_t, next_id, section->id);
	mutex_unlock(&section_mutex);
}

/* Walks see a section from when its tables are written until they go. */
static void set_listed(struct section *section, bool listed)
{
	mutex_lock(&section_mutex);
	section->listed = listed;
	mutex_unlock(&section_mutex);
}

static int populate_tables(const struct section *section)
{
	uint32_t block = pfn_to_block(section->pfn);
	uint64_t nr = section->nr_frames >> PAGEBLOCK_ORDER;
	int      r = meta_populate(META_RECORDS, section->id, 1);

	if (r)
		return r;
	r = meta_populate(META_SECTION_OF, block, nr);
	if (r)
		goto out_record;
	r = has_blocks(section) ? meta_populate(META_BLOCKS, block, nr) : 0;
	if (!r)
		return 0;
	meta_release(META_SECTION_OF, block, nr);
out_record:
	meta_release(META_RECORDS, section->id, 1);
	return r;
}

static void release_tables(const struct section *section)
{
	uint32_t block = pfn_to_block(section->pfn);
	uint64_t nr = section->nr_frames >> PAGEBLOCK_ORDER;

	if (has_blocks(section))
		meta_release(META_BLOCKS, block, nr);
	meta_release(META_SECTION_OF, block, nr);
	meta_release(META_RECORDS, section->id, 1);
}

static void set_section_of(const struct section *section, uint32_t id)
{
	uint32_t block = pfn_to_block(section->pfn);
	uint64_t nr = section->nr_frames >> PAGEBLOCK_ORDER;

	for (uint64_t i = 0; i < nr; i++)
		atomic_store_explicit(&section_of[block + i], id, memory_order_release);
}

static uint64_t record_checksum(const struct section_record *record)
{
	uint64_t sum = 0;
	uint32_t word;

	for (size_t at = offsetof(struct section_record, id);
	     at < offsetof(struct section_record, checksum); at += sizeof(word)) {
		memcpy(&word, (const char *)record + at, sizeof(word));
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
	}
	return sum ^ sum >> 32;
}

/* Whether a restarted daemon wants the file: the daemon's own memory is made anew. */
static bool is_kept(enum section_type type)
{
	return type != SECTION_META;
}

static void write_record(const struct section *section, uint64_t owner_id)
{
	struct section_record *record = &section_records[section->id];
	struct stat            file;

	record->magic = 0;
	*record = (struct section_record){
		.id = section->id,
		.pfn = section->pfn,
		.kind = (uint8_t)section->kind,
		.type = (uint8_t)section->type,
		.node = (int16_t)section->node,
		.nr_frames = section->nr_frames,
		.owner_id = owner_id,
		.file = fstat(section->fd, &file) ? 0 : file.st_ino,
		.mapped = section->mapped,
	};
	record->checksum = record_checksum(record);
	atomic_thread_fence(memory_order_release);
	record->magic = SECTION_RECORD_MAGIC;
}

static int open_file(struct section *section)
{
	int r = INJECT(SECTION_ADD);

	if (r)
		return r;
	section->fd = section_file_new(section->name, section->nr_frames << PAGE_SHIFT,
				       section->kind);
	return section->fd < 0 ? section->fd : 0;
}

static struct section *section_new(const struct section_request *request)
{
	struct section *section = phys_alloc(sizeof(*section));

	if (!section)
		return NULL;
	section->nr_frames = request->nr_frames;
	section->kind = request->kind;
	section->type = request->type;
	section->node = request->node;
	section->owner = request->owner;
	section->fd = -1;
	snprintf(section->name, sizeof(section->name), SECTION_FILE_PREFIX "%s", request->name);
	return section;
}

static void unmap(const struct section *section)
{
	int r = section->mapped ? os->unmap(section_virt(section), section->nr_frames << PAGE_SHIFT)
				: 0;

	CHECK(!r);
}

/* Crash    before write_record() the section doesn't exist, whatever the tables say: what was
 *          populated for it is adopted by nobody, and the file is dropped by the keeper.
 *          Removing begins with the record's magic; the rest is the same. */
int section_add(const struct section_request *request, struct section **out)
{
	struct section *section = section_new(request);
	int             r;

	CHECK(request->nr_frames && is_aligned(request->nr_frames, PAGEBLOCK_PAGES));
	if (!section)
		return -ENOMEM;
	r = take_names(section);
	if (r)
		goto out_free;
	r = open_file(section);
	if (r)
		goto out_names;
	r = populate_tables(section);
	if (r)
		goto out_file;
	if (request->map)
		r = os->map(section_virt(section), section->nr_frames << PAGE_SHIFT, section->fd,
			    0);
	if (r)
		goto out_tables;
	section->mapped = request->map;
	if (is_kept(section->type))
		r = keep_fd(KEEP_SECTIONS + section->id, section->fd);
	if (r)
		goto out_map;
	set_section_of(section, section->id);
	write_record(section, request->owner_id);
	set_listed(section, true);
	*out = section;
	return 0;
out_map:
	unmap(section);
out_tables:
	release_tables(section);
out_file:
	os->close(section->fd);
out_names:
	put_names(section);
out_free:
	phys_free(section);
	return r;
}

void section_give(struct section *section, void *owner, uint64_t owner_id)
{
	mutex_lock(&section_mutex);
	section->owner = owner;
	write_record(section, owner_id);
	mutex_unlock(&section_mutex);
}

void section_remove(struct section *section)
{
	set_listed(section, false);
	section_records[section->id].magic = 0;
	if (is_kept(section->type))
		keep_drop(KEEP_SECTIONS + section->id);
	set_section_of(section, 0);
	unmap(section);
	os->close(section->fd);
	release_tables(section);
	put_names(section);
	phys_free(section);
}

struct section *section_by_id(uint32_t id)
{
	return id && id < NR_SECTIONS_MAX ? ids[id] : NULL;
}

struct section *pfn_to_section(uint64_t pfn)
{
	uint64_t block = pfn >> PAGEBLOCK_ORDER;

	if (pfn >= meta_span_frames || !meta_is_populated(META_SECTION_OF, block))
		return NULL;
	return section_by_id(atomic_load_explicit(&section_of[block], memory_order_acquire));
}

uint32_t section_count(void)
{
	return nr_sections;
}

void section_for_each(void (*fn)(struct section *section, void *arg), void *arg)
{
	mutex_lock(&section_mutex);
	for (struct range *r = range_find_from(&pfns, 0); r; r = range_next(r))
		if (container_of(r, struct section, range)->listed)
			fn(container_of(r, struct section, range), arg);
	mutex_unlock(&section_mutex);
}

/* ---- resume ---- */

static bool is_damaged(uint32_t id, const struct section_record *record)
{
	return record->id != id || record->checksum != record_checksum(record) ||
	       record->kind >= NR_STOCK_KINDS || !record->nr_frames ||
	       !is_aligned(record->nr_frames | record->pfn, PAGEBLOCK_PAGES) ||
	       record->nr_frames > meta_span_frames || record->pfn >= meta_span_frames;
}

static bool is_file_of(int fd, const struct section_record *record)
{
	struct stat file;

	return !fstat(fd, &file) && file.st_ino == record->file &&
	       (uint64_t)file.st_size == record->nr_frames << PAGE_SHIFT;
}

static int take_old_names(struct section *section, const struct section_record *record)
{
	int r = range_alloc_at(&pfns, &section->range, record->pfn, record->nr_frames);

	if (r)
		return -EUCLEAN;
	section->id = record->id;
	section->pfn = record->pfn;
	ids[section->id] = section;
	nr_sections++;
	return 0;
}

static void adopt_tables(const struct section *section)
{
	uint32_t block = pfn_to_block(section->pfn);
	uint64_t nr = section->nr_frames >> PAGEBLOCK_ORDER;

	int      r = meta_adopt(META_RECORDS, section->id, 1);

	if (!r)
		r = meta_adopt(META_SECTION_OF, block, nr);
	if (!r && has_blocks(section))
		r = meta_adopt(META_BLOCKS, block, nr);
	CHECK(!r); /* nobody pays yet */
	set_section_of(section, section->id);
}

static int resume_section(const struct section_record *record, int fd)
{
	struct section *section = section_new(&(struct section_request){
		.name = "resumed",
		.nr_frames = record->nr_frames,
		.kind = (enum stock_kind)record->kind,
		.type = (enum section_type)record->type,
		.node = record->node,
	});
	int r = section ? take_old_names(section, record) : -ENOMEM;

	if (!r && record->mapped)
		r = os->map(section_virt(section), section->nr_frames << PAGE_SHIFT, fd, 0);
	if (r) {
		if (section && section->range.length)
			put_names(section);
		phys_free(section);
		return r;
	}
	section->fd = fd;
	section->mapped = record->mapped;
	adopt_tables(section);
	section->listed = true;
	return 0;
}

/* 0, -EUCLEAN for a record that can't be believed, or what went wrong. */
static int resume_record(uint32_t id)
{
	struct section_record *record = &section_records[id];
	int                    fd, r;

	if (record->magic != SECTION_RECORD_MAGIC)
		return 0;
	if (is_damaged(id, record) || !is_kept((enum section_type)record->type)) {
		r = is_damaged(id, record) ? -EUCLEAN : 0;
		record->magic = 0;
		return r;
	}
	fd = keep_take(KEEP_SECTIONS + id);
	r = fd < 0 || !is_file_of(fd, record) ? -EUCLEAN : resume_section(record, fd);
	if (r && fd >= 0)
		os->close(fd);
	if (r == -EUCLEAN)
		record->magic = 0;
	return r;
}

/* Tables of pfns [from, end), which no section has: pieces that others use too stay. */
static void clear_tables(uint64_t from, uint64_t end)
{
	if (from >= end)
		return;
	meta_forget(META_VMEMMAP, from, end);
	meta_forget(META_WORDS, from, end);
	for (uint64_t block = from >> PAGEBLOCK_ORDER; block < end >> PAGEBLOCK_ORDER; block++) {
		if (meta_is_populated(META_SECTION_OF, block))
			atomic_store(&section_of[block], 0);
		else
			block |= PAGE_SIZE / sizeof(section_of[0]) - 1;
	}
	for (uint64_t block = from >> PAGEBLOCK_ORDER; block < end >> PAGEBLOCK_ORDER; block++) {
		if (meta_is_populated(META_BLOCKS, block))
			atomic_store(&block_flags[block], 0);
		else
			block |= PAGE_SIZE - 1;
	}
}

static void clear_gaps(void)
{
	uint64_t from = 0;

	for (struct range *r = range_find_from(&pfns, 0); r; r = range_next(r)) {
		clear_tables(from, r->start);
		from = r->start + r->length;
	}
	clear_tables(from, meta_span_frames);
}

int sections_resume(uint64_t *lost)
{
	const uint32_t per_page = PAGE_SIZE / sizeof(struct section_record);
	uint64_t       id = 0;

	*lost = 0;
	while (meta_next_present(META_RECORDS, &id)) {
		id = round_down(id, per_page);
		for (uint32_t i = 0; i < per_page; i++) {
			int r = id + i ? resume_record((uint32_t)id + i) : 0;

			if (r && r != -EUCLEAN)
				return r;
			*lost += r != 0;
		}
		id += per_page;
	}
	clear_gaps();
	return 0;
}

/* The lowest section that nobody owns, but for the daemon's own memory. */
static struct section *find_orphan(void)
{
	struct section *found = NULL;

	mutex_lock(&section_mutex);
	for (struct range *r = range_find_from(&pfns, 0); r && !found; r = range_next(r)) {
		struct section *section = container_of(r, struct section, range);

		if (!section->owner && is_kept(section->type))
			found = section;
	}
	mutex_unlock(&section_mutex);
	return found;
}

uint64_t sections_settle(void)
{
	struct section *orphan;
	uint64_t        nr = 0;

	for (; (orphan = find_orphan()); nr++) {
		os->punch(orphan->fd, 0, orphan->nr_frames << PAGE_SHIFT);
		clear_tables(orphan->pfn, orphan->pfn + orphan->nr_frames);
		section_remove(orphan);
	}
	return nr;
}

static void validate_section(struct section *section, void *arg)
{
	struct validation           *v = arg;
	const struct section_record *record = &section_records[section->id];
	uint32_t                     block = pfn_to_block(section->pfn);

	validation_expect(v, ids[section->id] == section, "section %u is found by its id",
			  section->id);
	validation_compare(v, SECTION_RECORD_MAGIC, record->magic, "magic of section %u's record",
			   section->id);
	validation_compare(v, section->pfn, record->pfn, "pfn in section %u's record", section->id);
	validation_compare(v, section->nr_frames, record->nr_frames,
			   "length in section %u's record", section->id);
	for (uint64_t i = 0; i < section->nr_frames >> PAGEBLOCK_ORDER; i++)
		validation_compare(v, section->id, section_of[block + i],
				   "section of pageblock %llu",
				   (unsigned long long)(block + i));
}

void section_validate(struct validation *v)
{
	mutex_lock(&section_mutex);
	range_alloc_validate(&pfns, v);
	validation_compare(v, pfns.nr_ranges, nr_sections, "number of sections");
	for (struct range *r = range_find_from(&pfns, 0); r; r = range_next(r))
		if (container_of(r, struct section, range)->listed)
			validate_section(container_of(r, struct section, range), v);
	mutex_unlock(&section_mutex);
}
