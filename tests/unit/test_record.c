/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_record - record.c: a record exists from commit to free, and damage is seen
 */
#include "mm/phys/record.h"

#include <string.h>

#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/phys/meta.h"

static void one_exists_from_commit_to_free(void)
{
	struct handle_record *record = NULL;
	void *out;
	uint64_t before;
	uint32_t slot;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	before = meta_bytes();
	EXPECT_EQ(record_new(RECORD_HANDLE, &out), 0);
	record = out;
	slot = record_slot(RECORD_HANDLE, record);
	EXPECT(!record_at(RECORD_HANDLE, slot));
	record->object = 7;
	record_commit(RECORD_HANDLE, record);
	EXPECT(record_at(RECORD_HANDLE, slot) == record);
	EXPECT_EQ(record_count(RECORD_HANDLE), 1);
	phys_expect_valid();
	record_free(RECORD_HANDLE, record);
	EXPECT(!record_at(RECORD_HANDLE, slot));
	EXPECT_EQ(meta_bytes(), before);
	phys_stop();
}

static void a_pinned_page_is_there_before_the_record(void)
{
	uint64_t before;
	void *out;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(records_pin(), 0);
	before = meta_bytes();
	EXPECT_EQ(record_new(RECORD_REGION, &out), 0);
	EXPECT_EQ(meta_bytes(), before);
	record_free(RECORD_REGION, out);
	EXPECT_EQ(meta_bytes(), before);
	for (int window = META_POOLS; window <= META_TAKEN; window++)
		meta_release((enum meta_window)window, 0, 1);
	phys_stop();
}

static void a_changed_byte_is_seen(void)
{
	struct pool_record *record;
	void *out;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(record_new(RECORD_POOL, &out), 0);
	record = out;
	strcpy(record->name, "a pool");
	record_commit(RECORD_POOL, record);
	record->name[3] ^= 1;
	EXPECT(!record_at(RECORD_POOL, record_slot(RECORD_POOL, record)));
	record->name[3] ^= 1;
	EXPECT(record_at(RECORD_POOL, record_slot(RECORD_POOL, record)) == record);
	record_free(RECORD_POOL, record);
	phys_stop();
}

static void a_word_changes_by_itself_and_is_checked(void)
{
	struct window_record *record;
	uint64_t value;
	void *out;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(record_new(RECORD_WINDOW, &out), 0);
	record = out;
	record_commit(RECORD_WINDOW, record);
	record_word_set(&record->start, 0x7ffffffff);
	EXPECT(record_word_get(&record->start, &value));
	EXPECT_EQ(value, 0x7ffffffff);
	EXPECT(record_at(RECORD_WINDOW, record_slot(RECORD_WINDOW, record)) == record);
	record->start.word ^= 1;
	EXPECT(!record_word_get(&record->start, &value));
	EXPECT_EQ(value, 0);
	record_free(RECORD_WINDOW, record);
	phys_stop();
}

static void count_one(void *record, void *arg)
{
	++*(uint32_t *)arg;
	record_free(RECORD_SESSION, record);
}

static void a_walk_meets_all_and_may_free_them(void)
{
	uint32_t nr = 0;
	void *out;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	for (int i = 0; i < 100; i++) {
		EXPECT_EQ(record_new(RECORD_SESSION, &out), 0);
		record_commit(RECORD_SESSION, out);
	}
	record_for_each(RECORD_SESSION, count_one, &nr);
	EXPECT_EQ(nr, 100);
	EXPECT_EQ(record_count(RECORD_SESSION), 0);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "a record exists from its commit to its free", one_exists_from_commit_to_free },
	{ "a pinned page is there before its first record",
	  a_pinned_page_is_there_before_the_record },
	{ "a changed byte is seen", a_changed_byte_is_seen },
	{ "a word changes by itself and is checked", a_word_changes_by_itself_and_is_checked },
	{ "a walk meets all and may free them", a_walk_meets_all_and_may_free_them },
};
TEST_MAIN(cases)
