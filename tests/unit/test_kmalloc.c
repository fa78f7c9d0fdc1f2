/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kmalloc - kmalloc.c: sizes, alignment, overflow, large objects
 */
#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/obj/own.h"
#include "mm/obj/slub.h"

static void start(void)
{
	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true });
}

static void sizes_are_the_kernels(void)
{
	static const struct {
		size_t bytes, usable;
	} rows[] = {
		{ 1, 8 }, { 8, 8 }, { 9, 16 }, { 16, 16 }, { 17, 32 }, { 33, 64 }, { 64, 64 },
		{ 65, 96 }, { 96, 96 }, { 97, 128 }, { 128, 128 }, { 129, 192 }, { 192, 192 },
		{ 193, 256 }, { 256, 256 }, { 257, 512 }, { 512, 512 }, { 513, 1024 },
		{ 1024, 1024 }, { 1025, 2048 }, { 2049, 4096 }, { 4097, 8192 }, { 8192, 8192 },
		{ 8193, 16384 }, { 16385, 32768 }, { 1 << 20, 1 << 20 }, { 4 << 20, 4 << 20 },
	};

	start();
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		char *object = kmalloc(rows[i].bytes, 0);

		EXPECT(object != NULL);
		EXPECT_EQ(ksize(object), rows[i].usable);
		EXPECT_EQ(kmalloc_size_roundup(rows[i].bytes), rows[i].usable);
		memset(object, 0x55, rows[i].usable);
		kfree(object);
	}
	phys_stop();
}

static void powers_of_two_are_aligned_to_themselves(void)
{
	start();
	for (size_t bytes = 8; bytes <= 8192; bytes *= 2) {
		void *objects[20];

		for (int i = 0; i < 20; i++) {
			objects[i] = kmalloc(bytes, 0);
			EXPECT(is_aligned((uintptr_t)objects[i],
					  min_t(size_t, bytes, PAGE_SIZE)));
		}
		for (int i = 0; i < 20; i++)
			kfree(objects[i]);
	}
	phys_stop();
}

static void nothing_and_too_much(void)
{
	void *object;

	start();
	object = kmalloc(0, 0);
	EXPECT(object == ZERO_SIZE_PTR);
	EXPECT_EQ(ksize(object), 0);
	kfree(object);
	kfree(NULL);
	EXPECT_EQ(ksize(NULL), 0);
	EXPECT(kmalloc(KMALLOC_MAX_SIZE + 1, 0) == NULL);
	EXPECT(kmalloc(SIZE_MAX, 0) == NULL);
	EXPECT(kmalloc((size_t)INT64_MAX + 1, 0) == NULL);
	EXPECT_EQ(kmalloc_size_roundup(SIZE_MAX), 0);
	EXPECT_EQ(kmalloc_size_roundup(0), 0);
	phys_stop();
}

static void arrays_check_for_overflow(void)
{
	static const struct {
		size_t nr, bytes;
	} wrong[] = {
		{ SIZE_MAX, 2 }, { 2, SIZE_MAX }, { SIZE_MAX, SIZE_MAX },
		{ (size_t)1 << 32, (size_t)1 << 32 }, { ((size_t)1 << 32) + 1, (size_t)1 << 32 },
		{ SIZE_MAX / 8 + 2, 8 }, { KMALLOC_MAX_SIZE / 8 + 1, 8 },
	};
	uint64_t *object;

	start();
	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++) {
		EXPECT(kmalloc_array(wrong[i].nr, wrong[i].bytes, 0) == NULL);
		EXPECT(kcalloc(wrong[i].nr, wrong[i].bytes, 0) == NULL);
		EXPECT(krealloc_array(NULL, wrong[i].nr, wrong[i].bytes, 0) == NULL);
	}
	EXPECT(kmalloc_array(0, SIZE_MAX, 0) == ZERO_SIZE_PTR);
	EXPECT(kcalloc(SIZE_MAX, 0, 0) == ZERO_SIZE_PTR);
	object = kcalloc(100, 8, 0);
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(object[i], 0);
	kfree(object);
	phys_stop();
}

static void zalloc_gives_zeros_where_others_wrote(void)
{
	static const size_t sizes[] = { 8, 96, 192, 1000, 8192, 40000 };

	start();
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *object = kmalloc(sizes[i], 0);

		memset(object, 0xff, sizes[i]);
		kfree(object);
		object = kzalloc(sizes[i], 0);
		for (size_t at = 0; at < sizes[i]; at++)
			EXPECT_EQ(object[at], 0);
		kfree(object);
	}
	phys_stop();
}

static void realloc_keeps_what_fits(void)
{
	unsigned char *object = NULL, *same;
	size_t         bytes;

	start();
	for (bytes = 1; bytes <= 100000; bytes = bytes * 3 + 1) {
		size_t kept = ksize(object);

		object = krealloc(object, bytes, 0);
		EXPECT(object != NULL);
		for (size_t at = 0; at < kept; at++)
			EXPECT_EQ(object[at], at % 251);
		for (size_t at = 0; at < ksize(object); at++)
			object[at] = (unsigned char)(at % 251);
	}
	same = krealloc(object, 10, 0);
	EXPECT(same == object);
	inject_arm(NR_INJECT_POINTS, 1, -ENOMEM);
	EXPECT(krealloc(object, 2 << 20, 0) == NULL);
	inject_arm(NR_INJECT_POINTS, 0, 0);
	EXPECT_EQ(object[5], 5);
	EXPECT(krealloc(object, 0, 0) == ZERO_SIZE_PTR);
	phys_stop();
}

static void large_objects_come_and_go_by_frames(void)
{
	uint64_t before;
	char    *object;

	start();
	before = slab_bytes();
	object = kmalloc(100000, 0);
	EXPECT_EQ(slab_bytes() - before, 128 << 10);
	EXPECT(virt_to_slab(object) == NULL);
	EXPECT(is_aligned((uintptr_t)object, 128 << 10));
	phys_expect_valid();
	kfree(object);
	EXPECT_EQ(slab_bytes(), before);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "sizes are the kernel's", sizes_are_the_kernels },
	{ "powers of two are aligned to themselves", powers_of_two_are_aligned_to_themselves },
	{ "nothing, and too much", nothing_and_too_much },
	{ "arrays check for overflow", arrays_check_for_overflow },
	{ "zalloc gives zeros where others wrote", zalloc_gives_zeros_where_others_wrote },
	{ "realloc keeps what fits", realloc_keeps_what_fits },
	{ "large objects come and go by frames", large_objects_come_and_go_by_frames },
};
TEST_MAIN(cases)
