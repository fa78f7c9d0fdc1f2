/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_options - structs of the public interface that grow
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "libclient/options.h"
#include "mmbroker.h"
#include "tests/lib/test.h"

struct known {
	size_t   size;
	uint64_t first, second;
};
struct longer {
	struct known known;
	uint64_t     third, fourth;
};

static void null_means_the_defaults(void)
{
	struct known k = { 1, 2, 3 };

	EXPECT_EQ(options_read(&k, sizeof(k), NULL, "known"), 0);
	EXPECT_EQ(k.size, sizeof(k));
	EXPECT_EQ(k.first | k.second, 0);
}

static void a_shorter_struct_gets_defaults(void)
{
	struct known given = { offsetof(struct known, second), 7, 8 }, k;

	EXPECT_EQ(options_read(&k, sizeof(k), &given, "known"), 0);
	EXPECT_EQ(k.first, 7);
	EXPECT_EQ(k.second, 0);
}

static void a_longer_struct_must_end_in_zeros(void)
{
	struct longer given = { { sizeof(given), 7, 8 }, 0, 0 };
	struct known k;

	EXPECT_EQ(options_read(&k, sizeof(k), &given, "known"), 0);
	EXPECT_EQ(k.second, 8);
	given.fourth = 1ull << 63;
	EXPECT_EQ(options_read(&k, sizeof(k), &given, "known"), -EINVAL);
	EXPECT(strstr(mmb_error(), "byte 39"));
}

static void an_impossible_size_is_refused(void)
{
	struct known given = { 0, 0, 0 }, k;
	const size_t sizes[] = { 0, 1, sizeof(size_t) - 1, 1u << 20, SIZE_MAX };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		given.size = sizes[i];
		EXPECT_EQ(options_read(&k, sizeof(k), &given, "known"), -EINVAL);
		EXPECT(strstr(mmb_error(), "sizeof(struct known)"));
	}
}

static void a_result_is_filled_as_far_as_it_reaches(void)
{
	struct longer out;
	struct known k = { sizeof(k), 7, 8 };

	memset(&out, 0xff, sizeof(out));
	out.known.size = offsetof(struct known, second);
	EXPECT_EQ(result_check(&out, "known"), 0);
	result_write(&out, &k, sizeof(k));
	EXPECT_EQ(out.known.size, offsetof(struct known, second));
	EXPECT_EQ(out.known.first, 7);
	EXPECT_EQ(out.known.second, UINT64_MAX);
	out.known.size = sizeof(out);
	result_write(&out, &k, sizeof(k));
	EXPECT_EQ(out.known.second, 8);
	EXPECT_EQ(out.third | out.fourth, 0);
	EXPECT_EQ(result_check(NULL, "known"), -EINVAL);
}

/* Every public function that takes a handle, with none. */
static void null_handles_are_refused_with_a_sentence(void)
{
	struct mmb_pool_stat pool_stat = { .size = sizeof(pool_stat) };
	struct mmb_region_stat region_stat = { .size = sizeof(region_stat) };
	struct mmb_fault_info info = { .size = sizeof(info) };
	struct mmb_region *region;
	struct mmb_pool *pool;

	EXPECT_EQ(mmb_open("/nonexistent", NULL, NULL), -EINVAL);
	EXPECT_EQ(mmb_pool_open(NULL, "a", MMB_POOL_CREATE, NULL, &pool), -EINVAL);
	EXPECT_EQ(mmb_pool_stat(NULL, &pool_stat), -EINVAL);
	errno = 0;
	EXPECT(!mmb_alloc_pages(NULL, 0, 0));
	EXPECT_EQ(errno, EINVAL);
	mmb_free_pages(NULL, &pool, 0);
	EXPECT_EQ(mmb_region_create(NULL, 4096, NULL, &region), -EINVAL);
	EXPECT_EQ(mmb_region_open(NULL, "a", 4096, 0, NULL, &region), -EINVAL);
	errno = 0;
	EXPECT(!mmb_region_address(NULL));
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmb_region_length(NULL), 0);
	EXPECT_EQ(mmb_region_advise(NULL, 0, 4096, MMB_ADVISE_DONTNEED), -EINVAL);
	EXPECT_EQ(mmb_region_advise(NULL, 0, 4096, 4711), -EINVAL);
	EXPECT_EQ(mmb_region_lock(NULL, 0, 4096), -EINVAL);
	EXPECT_EQ(mmb_region_unlock(NULL, 0, 4096), -EINVAL);
	EXPECT_EQ(mmb_region_stat(NULL, &region_stat), -EINVAL);
	EXPECT_EQ(mmb_region_unlink(NULL, "a"), -EINVAL);
	EXPECT(strlen(mmb_error()) > 10);
	EXPECT_EQ(mmb_fault_info(NULL, NULL), -EINVAL);
	EXPECT_EQ(mmb_fault_info(&info, &info), -ENOENT);
	mmb_region_close(NULL);
	mmb_pool_close(NULL);
	mmb_close(NULL);
}

static const struct test_case cases[] = {
	{ "NULL options mean the defaults", null_means_the_defaults },
	{ "a shorter struct gets defaults for what it lacks", a_shorter_struct_gets_defaults },
	{ "a longer struct must end in zeros", a_longer_struct_must_end_in_zeros },
	{ "an impossible size is refused", an_impossible_size_is_refused },
	{ "a result is filled as far as it reaches", a_result_is_filled_as_far_as_it_reaches },
	{ "NULL handles are refused with a sentence", null_handles_are_refused_with_a_sentence },
};

TEST_MAIN(cases)
