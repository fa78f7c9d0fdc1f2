/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_usercopy - usercopy.c: what may be copied, and what not
 */
#include <string.h>

#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/obj/slub.h"

enum { SIZE = 200, OFFSET = 40, USER = 64 };

static void only_the_user_part_of_one_object(void)
{
	struct kmem_cache_args args = { .object_size = SIZE, .useroffset = OFFSET,
					.usersize = USER };
	struct kmem_cache     *s, *none;
	char                  *object, *closed, text[USER];

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true });
	s = kmem_cache_create("user", &args);
	args.usersize = 0;
	none = kmem_cache_create("none", &args);
	object = kmem_cache_zalloc(s, 0);
	closed = kmem_cache_zalloc(none, 0);
	EXPECT(check_object_size(object + OFFSET, USER));
	EXPECT(check_object_size(object + OFFSET + 10, USER - 10));
	EXPECT(check_object_size(object, 0));
	EXPECT(!check_object_size(object + OFFSET, USER + 1));
	EXPECT(!check_object_size(object + OFFSET - 1, 1));
	EXPECT(!check_object_size(object + OFFSET + USER, 1));
	EXPECT(!check_object_size(object + OFFSET, SIZE_MAX));
	EXPECT(!check_object_size(object + OFFSET, SIZE_MAX - (uintptr_t)object));
	EXPECT(!check_object_size(closed + OFFSET, 1));
	memset(text, 'x', sizeof(text));
	usercopy_in(object + OFFSET, text, sizeof(text));
	EXPECT_EQ(object[OFFSET + USER - 1], 'x');
	EXPECT_EQ(object[OFFSET + USER], 0);
	usercopy_out(text, object + OFFSET + 8, 8);
	kmem_cache_free(s, object);
	kmem_cache_free(none, closed);
	phys_stop();
}

static void the_whole_of_kmalloc_objects(void)
{
	static char outside[64];
	char       *small, *large;

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true });
	small = kmalloc(100, 0);
	large = kmalloc(20000, 0);
	EXPECT(check_object_size(small, 128));
	EXPECT(!check_object_size(small, 129));
	EXPECT(check_object_size(large, 32768));
	EXPECT(check_object_size(large + 32767, 1));
	EXPECT(!check_object_size(large, 32769));
	EXPECT(!check_object_size(large + 5000, 32768));
	EXPECT(check_object_size(outside, sizeof(outside)));
	kfree(small);
	kfree(large);
	EXPECT(!check_object_size(large, 1)); /* nobody's */
	phys_stop();
}

static const struct test_case cases[] = {
	{ "only the user part of one object", only_the_user_part_of_one_object },
	{ "the whole of kmalloc objects", the_whole_of_kmalloc_objects },
};
TEST_MAIN(cases)
