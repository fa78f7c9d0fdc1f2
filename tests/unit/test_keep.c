/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_keep - keep.c: a number means one descriptor, and no more are kept than there is room for
 */
#include "os/keep.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/test.h"

static unsigned int nr_kept, nr_dropped;
static int result;

static int take(uint32_t key, int fd)
{
	nr_kept++;
	return result;
}

static void forget(uint32_t key)
{
	nr_dropped++;
}

static int nothing_before(int fd)
{
	return result;
}

static const struct keep_ops ops = { take, forget, nothing_before };

static void without_a_keeper_nothing_fails(void)
{
	EXPECT(!keep_is_on());
	EXPECT_EQ(keep_fd(KEEP_META, 0), 0);
	keep_drop(KEEP_META);
	EXPECT_EQ(nr_kept + nr_dropped, 0);
}

static void no_more_than_there_is_room_for(void)
{
	keep_set(&ops);
	keep_set_room(3);
	EXPECT_EQ(keep_room(), 3);
	for (uint32_t i = 1; i <= 3; i++)
		EXPECT_EQ(keep_fd(KEEP_SECTIONS + i, 0), 0);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 4, 0), -EMFILE);
	EXPECT_EQ(nr_kept, 3);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 2, 0), 0); /* instead of what it meant */
	keep_drop(KEEP_SECTIONS + 2);
	keep_drop(KEEP_SECTIONS + 2);
	result = -EAGAIN;
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 4, 0), -EAGAIN);
	result = 0;
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 4, 0), 0);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 5, 0), -EMFILE);
	keep_drop(KEEP_SECTIONS + 1);
	keep_drop(KEEP_SECTIONS + 3);
	keep_drop(KEEP_SECTIONS + 4);
}

/* However many regions there are, who connects finds room. */
static void sections_leave_room_for_sessions(void)
{
	uint32_t nr = 0, socket = keep_session_key(0, KEEP_SOCKET);

	keep_set_room(UINT32_MAX);
	keep_set_reserved(5);
	EXPECT_EQ(keep_room_for_sections(), UINT32_MAX);
	keep_set_room(8);
	EXPECT_EQ(keep_room_for_sections(), 3);
	while (nr < 8 && !keep_fd(KEEP_SECTIONS + nr + 1, 0))
		nr++;
	EXPECT_EQ(nr, 3);
	for (uint32_t i = 0; i < KEEP_SESSION_FDS; i++)
		EXPECT_EQ(keep_fd(socket + i, 0), 0);
	EXPECT_EQ(keep_fd(KEEP_META, 0), 0);
	EXPECT_EQ(keep_fd(socket + KEEP_SESSION_FDS, 0), -EMFILE);
	keep_set_reserved(3); /* a reload: sections may have more, but nothing is there */
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 4, 0), -EMFILE);
	keep_drop(KEEP_META);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 4, 0), 0);
	keep_set_reserved(7); /* fewer than there are: they stay */
	keep_drop(KEEP_SECTIONS + 4);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 4, 0), -EMFILE);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 3, 0), 0);
	for (uint32_t i = 1; i <= 3; i++)
		keep_drop(KEEP_SECTIONS + i);
	for (uint32_t i = 0; i < KEEP_SESSION_FDS; i++)
		keep_drop(socket + i);
	keep_set_reserved(9);
	EXPECT_EQ(keep_room_for_sections(), 0);
	keep_set_reserved(0);
	keep_set_room(3);
}

static void what_was_left_takes_room(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	EXPECT(fd >= 0);
	EXPECT_EQ(keep_give(KEEP_META, fd), 0);
	EXPECT_EQ(keep_give(KEEP_LISTENER, open("/dev/null", O_RDONLY | O_CLOEXEC)), 0);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 1, 0), 0);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 2, 0), -EMFILE);
	EXPECT_EQ(keep_take(KEEP_META), fd);
	EXPECT_EQ(keep_take(KEEP_META), -1);
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 2, 0), -EMFILE); /* it stays kept */
	keep_settle(); /* nobody took the listener */
	EXPECT_EQ(keep_fd(KEEP_SECTIONS + 2, 0), 0);
	EXPECT(!keep_has(KEEP_LISTENER));
}

static const struct test_case cases[] = {
	{ "without a keeper nothing is kept, and nothing fails", without_a_keeper_nothing_fails },
	{ "no more than there is room for", no_more_than_there_is_room_for },
	{ "sections leave room for sessions", sections_leave_room_for_sessions },
	{ "what was left takes room until it is dropped", what_was_left_takes_room },
};
TEST_MAIN(cases)
