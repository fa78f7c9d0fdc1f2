/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_lies - what a broker says that can't be is refused before it can do harm
 */
#include <errno.h>
#include <string.h>

#include "fake_client.h"
#include "libclient/pool_heap.h"
#include "libclient/runmap.h"
#include "proto/methods.h"
#include "tests/lib/test.h"

enum { REGION_BYTES = 1 << 20 };
static struct fake_client client;

static void a_fault_log_without_its_page_is_none(void)
{
	struct mmb_fault_info info = { .size = sizeof(info) };

	client.broker = broker_start();
	broker_shorten(client.broker, SHORT_FAULT_LOG);
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	EXPECT_EQ(mmb_fault_info(&info, &info), -ENOENT);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

/* -EPROTO ends the session. */
static void expect_no_object(enum broker_short what, const char *words)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	char *object;

	fake_client_begin(&client, 0);
	broker_shorten(client.broker, what);
	object = mmb_malloc(client.pool, 64);
	EXPECT(!object && errno == EPROTO);
	EXPECT(strstr(mmb_error(), words));
	if (object)
		memset(object, 1, 64);
	EXPECT_EQ(mmb_pool_stat(client.pool, &stat), -EPROTO);
	mmb_pool_close(client.pool);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

static void an_arena_is_as_long_as_its_window(void)
{
	expect_no_object(SHORT_ARENA, "an arena's file is shorter");
}

static void a_slab_map_is_as_long_as_its_window_needs(void)
{
	expect_no_object(SHORT_SLAB_MAP, "a slab map's file is shorter");
}

/* The pool that came with HELLO. A slab map that is too short can't even be claimed. */
static void an_offer_is_as_long_as_it_says(void)
{
	client.broker = broker_start();
	broker_offer(client.broker, OFFER_GOOD);
	broker_shorten(client.broker, SHORT_ARENA);
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	EXPECT_EQ(mmb_pool_open(client.mmb, NULL, MMB_POOL_PRIVATE, NULL, &client.pool), -EPROTO);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

static void a_region_is_as_long_as_it_says(void)
{
	struct mmb_region *region = NULL;

	fake_client_begin(&client, 0);
	broker_shorten(client.broker, SHORT_REGION);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), -EPROTO);
	EXPECT(strstr(mmb_error(), "a region's file is shorter"));
	mmb_region_close(region);
	mmb_pool_close(client.pool);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

/* Objects would be looked for where there is no arena. */
static void a_slab_map_is_of_a_whole_window(void)
{
	static const uint64_t lies[] = { 2 * BROKER_ARENA_BYTES, BROKER_ARENA_BYTES / 2 };

	for (int i = 0; i < 2; i++) {
		fake_client_begin(&client, 0);
		broker_stretch(client.broker, lies[i]);
		EXPECT(!mmb_malloc(client.pool, 64) && errno == EPROTO);
		EXPECT(strstr(mmb_error(), "a slab map describes no arena window"));
		mmb_pool_close(client.pool);
		mmb_close(client.mmb);
		broker_stop(client.broker);
	}
}

/* Nothing of the window that is one too many stays: there may be another pool's one day. */
static void an_arena_of_too_many_windows_leaves_none(void)
{
	uint64_t one_more;

	client.broker = broker_start();
	one_more = broker_arena_address(client.broker) +
		   RUNMAP_WINDOWS * (uint64_t)(BROKER_ARENA_BYTES / (2 * RUNMAP_WINDOWS));
	broker_scatter(client.broker, 2 * RUNMAP_WINDOWS);
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_PRIVATE, NULL, &client.pool), 0);
	EXPECT(!mmb_malloc(client.pool, 64) && errno == EPROTO);
	EXPECT(strstr(mmb_error(), "more than 64 arena windows"));
	EXPECT(pool_heap_find(one_more - 1) == client.pool);
	EXPECT(!pool_heap_find(one_more));
	mmb_pool_close(client.pool);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

static const struct test_case cases[] = {
	{ "a fault log without its page is none", a_fault_log_without_its_page_is_none },
	{ "an arena's file is as long as its window", an_arena_is_as_long_as_its_window },
	{ "a slab map's file is as long as its window needs",
	  a_slab_map_is_as_long_as_its_window_needs },
	{ "an offer's arena is as long as it says", an_offer_is_as_long_as_it_says },
	{ "a slab map is of a whole window", a_slab_map_is_of_a_whole_window },
	{ "an arena of too many windows leaves none of them",
	  an_arena_of_too_many_windows_leaves_none },
	{ "a region's file is as long as it says", a_region_is_as_long_as_it_says },
};
TEST_MAIN(cases)
