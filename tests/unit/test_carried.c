/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_carried - client/carried.c: which requests are known to have been carried out, and on what
 */
#include "client/carried.h"

#include <errno.h>

#include "client/pool_region.h"
#include "client/session.h"
#include "lib/client_fixture.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { UID = 1000, LAST = 3 * CARRIED_MAX, MIB = 1 << 20 };

static struct request_past first_time(uint64_t id)
{
	return (struct request_past){ .id = id };
}

static struct request_past repeated(uint64_t id)
{
	return (struct request_past){ .id = id, .again = true };
}

static bool before(struct session *s, uint64_t request, uint64_t region)
{
	const struct request_past past = repeated(request);

	return carried_before(&s->carried, &past, region);
}

static void note(struct session *s, uint64_t request, uint64_t region)
{
	const struct request_past past = first_time(request);

	carried_note(&s->carried, &past, region);
}

static void the_last_ones_are_known(void)
{
	struct session *s;
	struct request_past past = first_time(5);

	client_begin(NULL);
	s = client_session(UID);
	EXPECT(!before(s, 5, 0) && !before(s, 0, 0));
	note(s, 5, 70);
	EXPECT(!carried_before(&s->carried, &past, 0)); /* it isn't repeated */
	EXPECT(before(s, 5, 0) && before(s, 5, 71));
	EXPECT(!before(s, 5, 70)); /* it may have been cut short */
	EXPECT(!before(s, 6, 0));
	for (uint64_t id = 6; id <= LAST; id++)
		note(s, id, 100 + id);
	for (uint64_t id = 5; id <= LAST; id++)
		EXPECT_EQ(before(s, id, 0), id > LAST - CARRIED_MAX);
	/* As the next daemon finds them; the oldest goes first there, too. */
	carried_fini(&s->carried);
	carried_init(&s->carried, s->record);
	note(s, LAST + 1, 1);
	for (uint64_t id = 5; id <= LAST + 1; id++)
		EXPECT_EQ(before(s, id, 0), id > LAST + 1 - CARRIED_MAX);
	/* Once more: it takes no other's place. */
	note(s, LAST, 2);
	EXPECT(before(s, LAST, 1) && !before(s, LAST, 2));
	EXPECT(before(s, LAST + 2 - CARRIED_MAX, 0));
	client_leave(s);
	client_end();
}

static void nothing_is_noted_where_nothing_lasts(void)
{
	const struct request_past past = repeated(9);
	struct carried c;

	carried_init(&c, NULL);
	carried_note(&c, &past, 1);
	carried_end(&c);
	carried_note(&c, &past, 1);
	EXPECT(!carried_before(&c, &past, 0));
	carried_fini(&c);
}

static int unlink_r(struct session *s, uint32_t pool, struct request_past past)
{
	return verb_region_unlink(
		s, &(struct region_unlink_args){ .pool = pool, .name = "r", .past = past },
		&client_why);
}

/* A daemon that dies between note and deed leaves the name; one that dies after it doesn't. */
static void a_name_ends_once(void)
{
	struct region_handle *rh;
	struct session *s;
	uint32_t pool;

	client_begin(NULL);
	s = client_session(UID);
	pool = client_pool(s, "p", MMB_POOL_CREATE);
	client_region(s, pool, "r", MIB, MMB_REGION_CREATE);
	EXPECT_EQ(unlink_r(s, pool, first_time(3)), 0);
	EXPECT_EQ(unlink_r(s, pool, repeated(3)), 0); /* there is none */
	client_region(s, pool, "r", MIB, MMB_REGION_CREATE);
	EXPECT_EQ(unlink_r(s, pool, repeated(3)), 0);
	EXPECT_EQ(unlink_r(s, pool, repeated(4)), 0);
	EXPECT_REFUSED(unlink_r(s, pool, repeated(5)), -ENOENT, "no region");
	rh = session_region(s, client_region(s, pool, "r", MIB, MMB_REGION_CREATE).handle,
			    &client_why);
	note(s, 6, rh->pr->id);
	region_handle_put(rh);
	EXPECT_EQ(unlink_r(s, pool, repeated(6)), 0);
	EXPECT_REFUSED(unlink_r(s, pool, first_time(7)), -ENOENT, "no region");
	client_leave(s);
	client_end();
}

static const struct test_case cases[] = {
	{ "the last requests are known by their first ids, with what they were carried out on",
	  the_last_ones_are_known },
	{ "of a session that doesn't last nothing is noted", nothing_is_noted_where_nothing_lasts },
	{ "a name ends once, and as long as it hasn't when the request is repeated",
	  a_name_ends_once },
};
TEST_MAIN(cases)
