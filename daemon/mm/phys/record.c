/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record - slots by bitmap, seals, words with a check
 *
 * Locking     record.lock (leaf) for the bitmaps; it is not held while memory is populated.
 */
#include "mm/phys/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/lock.h"
#include "mm/phys/meta.h"

enum { RECORD_VERSION = 1, PINS_MAX = 32768 /* meta.c counts to 65535 */ };
static const uint64_t word_mask = (1ull << RECORD_WORD_BITS) - 1;

/* Where a kind lives, and which of its bytes the seal covers. */
static const struct {
	enum meta_window window;
	uint32_t bytes, fixed, most;
} kinds[NR_RECORD_KINDS] = {
	[RECORD_POOL] = { META_POOLS, META_POOL_BYTES, offsetof(struct pool_record, has_arena),
			  META_POOLS_MAX },
	[RECORD_SESSION] = { META_SESSIONS, META_SESSION_BYTES,
			     offsetof(struct session_record, attached), META_SESSIONS_MAX },
	[RECORD_REGION] = { META_REGIONS, META_REGION_BYTES,
			    offsetof(struct region_record, named), META_REGIONS_MAX },
	[RECORD_HANDLE] = { META_HANDLES, META_HANDLE_BYTES,
			    offsetof(struct handle_record, start), META_HANDLES_MAX },
	[RECORD_WINDOW] = { META_CLIENT_WINDOWS, META_CLIENT_WINDOW_BYTES,
			    offsetof(struct window_record, start), META_CLIENT_WINDOWS_MAX },
	[RECORD_CACHE] = { META_CACHES, META_CACHE_BYTES, sizeof(struct cache_record),
			   META_CACHES_MAX },
	[RECORD_SWAP] = { META_SWAPS, META_SWAP_BYTES, sizeof(struct swap_record),
			  META_SWAPS_MAX },
	[RECORD_TAKEN] = { META_TAKEN, META_TAKEN_BYTES, sizeof(struct taken_record),
			   META_TAKEN_MAX },
};

static_assert(sizeof(struct pool_record) <= META_POOL_BYTES, "a pool's record fits");
static_assert(sizeof(struct session_record) <= META_SESSION_BYTES, "a session's record fits");
static_assert(sizeof(struct region_record) <= META_REGION_BYTES, "a region's record fits");
static_assert(sizeof(struct handle_record) <= META_HANDLE_BYTES, "a handle's record fits");
static_assert(sizeof(struct cache_record) <= META_CACHE_BYTES, "a cache's record fits");
static_assert(sizeof(struct swap_record) <= META_SWAP_BYTES, "an area's record fits");
static_assert(sizeof(struct taken_record) <= META_TAKEN_BYTES, "a page's record fits");
static_assert(sizeof(struct window_record) <= META_CLIENT_WINDOW_BYTES, "a window's record fits");

/* l: lock   a: atomic */
static struct {
	struct mutex lock;
	uint64_t *used[NR_RECORD_KINDS]; /* (l) a bit a slot */
	uint32_t hint[NR_RECORD_KINDS];  /* (l) no free slot below it */
	uint32_t nr[NR_RECORD_KINDS];    /* (l) */
	_Atomic uint32_t nr_pins;        /* (a) of the first slot's contents */
	_Atomic bool has_contents;       /* (a) the predecessor had; nobody has pinned them yet */
} table;

uint32_t record_bytes(enum record_kind kind)
{
	return kinds[kind].bytes;
}

uint32_t record_most(enum record_kind kind)
{
	return kinds[kind].most;
}

/* ---- checksums ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 29;
}

static uint64_t seal_of(enum record_kind kind, const void *record)
{
	const uint64_t *at = (const uint64_t *)record + 1;
	const uint64_t *end = (const uint64_t *)((const char *)record + kinds[kind].fixed);
	uint64_t hash = mix(RECORD_VERSION, record_slot(kind, record));

	while (at < end)
		hash = mix(hash, *at++);
	return hash << 16 | RECORD_VERSION << 8 | (uint64_t)(kind + 1);
}

void record_word_set(struct record_word *w, uint64_t value)
{
	uint64_t check = mix((uintptr_t)w % PAGE_SIZE, value & word_mask) & ~word_mask;

	DCHECK(value <= word_mask);
	atomic_store_explicit(&w->word, check | (value & word_mask), memory_order_release);
}

bool record_word_get(const struct record_word *w, uint64_t *value)
{
	uint64_t word = atomic_load_explicit(&w->word, memory_order_acquire);
	uint64_t check = mix((uintptr_t)w % PAGE_SIZE, word & word_mask) & ~word_mask;
	/* All zero: it hasn't been set. */
	bool good = !word || check == (word & ~word_mask);

	*value = good ? word & word_mask : 0;
	return good;
}

/* ---- slots ---- */

static void *slot_address(enum record_kind kind, uint32_t slot)
{
	return meta_entry(kinds[kind].window, slot);
}

uint32_t record_slot(enum record_kind kind, const void *record)
{
	return (uint32_t)(((const char *)record - (const char *)slot_address(kind, 0)) /
			  kinds[kind].bytes);
}

static bool is_used(enum record_kind kind, uint32_t slot)
{
	return table.used[kind][slot / 64] >> slot % 64 & 1;
}

static int take_slot(enum record_kind kind, uint32_t *slot)
{
	uint32_t words = kinds[kind].most / 64;
	int r = -EMFILE;

	mutex_lock(&table.lock);
	for (uint32_t i = table.hint[kind] / 64; i < words && r; i++) {
		uint64_t free = ~table.used[kind][i];

		if (!free)
			continue;
		*slot = i * 64 + (uint32_t)__builtin_ctzll(free);
		table.used[kind][i] |= free & -free;
		table.hint[kind] = *slot + 1;
		table.nr[kind]++;
		r = 0;
	}
	mutex_unlock(&table.lock);
	return r;
}

static void put_slot(enum record_kind kind, uint32_t slot)
{
	mutex_lock(&table.lock);
	table.used[kind][slot / 64] &= ~(1ull << slot % 64);
	table.hint[kind] = min_t(uint32_t, table.hint[kind], slot);
	table.nr[kind]--;
	mutex_unlock(&table.lock);
}

int record_new(enum record_kind kind, void **out)
{
	uint32_t slot;
	int r = take_slot(kind, &slot);

	if (r)
		return r;
	r = meta_populate(kinds[kind].window, slot, 1);
	if (r) {
		put_slot(kind, slot);
		return r;
	}
	*out = slot_address(kind, slot);
	memset(*out, 0, kinds[kind].bytes);
	return 0;
}

void record_commit(enum record_kind kind, void *record)
{
	atomic_store_explicit((_Atomic uint64_t *)record, seal_of(kind, record),
			      memory_order_release);
}

void record_end(void *record)
{
	atomic_store_explicit((_Atomic uint64_t *)record, 0, memory_order_release);
}

void record_free(enum record_kind kind, void *record)
{
	uint32_t slot;

	if (!record)
		return;
	slot = record_slot(kind, record);
	record_end(record);
	meta_release(kinds[kind].window, slot, 1);
	put_slot(kind, slot);
}

static bool is_sealed(enum record_kind kind, const void *record)
{
	uint64_t seal = atomic_load_explicit((const _Atomic uint64_t *)record,
					     memory_order_acquire);

	return seal && seal == seal_of(kind, record);
}

void *record_at(enum record_kind kind, uint32_t slot)
{
	void *record;

	if (slot >= kinds[kind].most || !is_used(kind, slot))
		return NULL;
	record = slot_address(kind, slot);
	return is_sealed(kind, record) ? record : NULL;
}

void record_for_each(enum record_kind kind, void (*fn)(void *record, void *arg), void *arg)
{
	for (uint32_t i = 0; i < kinds[kind].most / 64; i++)
		for (uint64_t bits = table.used[kind][i]; bits; bits &= bits - 1) {
			void *record = record_at(kind, i * 64 + (uint32_t)__builtin_ctzll(bits));

			if (record)
				fn(record, arg);
		}
}

uint32_t record_count(enum record_kind kind)
{
	uint32_t nr;

	mutex_lock(&table.lock);
	nr = table.nr[kind];
	mutex_unlock(&table.lock);
	return nr;
}

/* ---- start and resume ---- */

int records_pin(void)
{
	int r = 0;

	for (int kind = 0; kind < NR_RECORD_KINDS && !r; kind++)
		r = meta_populate(kinds[kind].window, 0, 1);
	return r;
}

int records_pin_contents(void)
{
	int r = -ENOMEM;

	if (atomic_fetch_add(&table.nr_pins, 1) < PINS_MAX)
		r = atomic_exchange(&table.has_contents, false)
			    ? 0
			    : meta_populate(META_CONTENTS, 0, 1);
	if (r)
		atomic_fetch_sub(&table.nr_pins, 1);
	return r;
}

void records_unpin_contents(void)
{
	atomic_fetch_sub(&table.nr_pins, 1);
	meta_release(META_CONTENTS, 0, 1);
}

void records_settle_contents(void)
{
	if (atomic_exchange(&table.has_contents, false))
		meta_release(META_CONTENTS, 0, 1);
}

int records_init(void)
{
	atomic_store(&table.has_contents, false);
	atomic_store(&table.nr_pins, 0);
	mutex_init(&table.lock, RANK_LEAF, "records");
	for (int kind = 0; kind < NR_RECORD_KINDS; kind++) {
		table.used[kind] = calloc(kinds[kind].most / 64, sizeof(uint64_t));
		table.hint[kind] = 0;
		table.nr[kind] = 0;
		if (!table.used[kind])
			return -ENOMEM;
	}
	return 0;
}

void records_fini(void)
{
	for (int kind = 0; kind < NR_RECORD_KINDS; kind++) {
		free(table.used[kind]);
		table.used[kind] = NULL;
	}
	mutex_fini(&table.lock);
}

/* Whether a record was found damaged. */
static bool resume_slot(enum record_kind kind, uint32_t slot)
{
	_Atomic uint64_t *record = slot_address(kind, slot);

	if (!atomic_load(record))
		return false;
	if (!is_sealed(kind, record)) {
		atomic_store(record, 0);
		return true;
	}
	table.used[kind][slot / 64] |= 1ull << slot % 64;
	table.nr[kind]++;
	CHECK(!meta_adopt(kinds[kind].window, slot, 1)); /* nobody pays yet */
	return false;
}

static uint64_t resume_kind(enum record_kind kind)
{
	uint32_t per_page = max_t(uint32_t, PAGE_SIZE / kinds[kind].bytes, 1);
	uint64_t damaged = 0, slot = 0;

	while (meta_next_present(kinds[kind].window, &slot)) {
		slot = round_down(slot, per_page);
		for (uint32_t i = 0; i < per_page; i++)
			damaged += resume_slot(kind, (uint32_t)(slot + i));
		slot += per_page;
	}
	return damaged;
}

static void adopt_contents(void *record, void *unused)
{
	const struct taken_record *taken = record;

	(void)unused;
	if (taken->page_shift == PAGEBLOCK_SHIFT)
		CHECK(!meta_adopt(META_CONTENTS, record_slot(RECORD_TAKEN, record), 1));
}

uint64_t records_resume(void)
{
	uint64_t damaged = 0, slot = 0;

	for (int kind = 0; kind < NR_RECORD_KINDS; kind++)
		damaged += resume_kind((enum record_kind)kind);
	record_for_each(RECORD_TAKEN, adopt_contents, NULL);
	/* What the predecessor had put by is needed again, before there is memory to be had. */
	if (meta_next_present(META_CONTENTS, &slot) && !slot)
		atomic_store(&table.has_contents, !meta_populate(META_CONTENTS, 0, 1));
	return damaged;
}

void records_validate(struct validation *v)
{
	for (int kind = 0; kind < NR_RECORD_KINDS; kind++) {
		uint32_t nr = 0;

		mutex_lock(&table.lock);
		for (uint32_t i = 0; i < kinds[kind].most / 64; i++)
			nr += (uint32_t)__builtin_popcountll(table.used[kind][i]);
		validation_compare(v, nr, table.nr[kind], "records of kind %d", kind);
		mutex_unlock(&table.lock);
	}
}
