/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_closer - ipc/closer.c: whose descriptors block when they are closed keeps others' neither
 * open nor waiting
 *
 * Locking     gate for which numbers block, and for what is counted.
 */
#include "ipc/closer.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/ipc_fixture.h"
#include "lib/test.h"
#include "os/os.h"

/* Numbers that no process has: uid * PER_UID and so on. */
enum { FIRST = 1 << 24, PER_UID = 1 << 12, USERS = 64 };

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool blocks[USERS];
static unsigned int nr_begun[USERS], nr_closed[USERS];
static struct os_ops os_blocking;
static const struct os_ops *os_before;

static void close_or_block(int fd)
{
	unsigned int uid = (unsigned int)(fd - FIRST) / PER_UID;

	if (fd < FIRST || uid >= USERS) {
		os_before->close(fd);
		return;
	}
	pthread_mutex_lock(&gate);
	nr_begun[uid]++;
	pthread_cond_broadcast(&moved);
	while (blocks[uid])
		pthread_cond_wait(&moved, &gate);
	nr_closed[uid]++;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&gate);
}

static void begin(void)
{
	os_before = os;
	os_blocking = *os;
	os_blocking.close = close_or_block;
	os = &os_blocking;
	for (int i = 0; i < USERS; i++)
		nr_begun[i] = nr_closed[i] = 0;
}

static void set_blocks(uid_t uid, bool block)
{
	pthread_mutex_lock(&gate);
	blocks[uid] = block;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&gate);
}

static bool reaches(const unsigned int *counter, unsigned int value)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&gate);
	while (*counter < value && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&moved, &gate, &until);
	pthread_mutex_unlock(&gate);
	return !r;
}

static void send_some(uid_t uid, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		closer_discard((int)(FIRST + uid * PER_UID + i), uid);
}

static void end(void)
{
	for (uid_t uid = 0; uid < USERS; uid++)
		set_blocks(uid, false);
}

static bool is_full(void *uid)
{
	return closer_is_full(*(uid_t *)uid);
}

static void one_user_has_its_share(void)
{
	uid_t one = 1;

	begin();
	set_blocks(1, true);
	send_some(1, CLOSERS_PER_UID + CLOSER_QUEUE_MAX - 1);
	EXPECT(reaches(&nr_begun[1], CLOSERS_PER_UID));
	EXPECT(!closer_is_full(1));
	send_some(1, 1);
	EXPECT(test_wait(is_full, &one, 60)); /* not at once */
	EXPECT(!closer_is_full(2));
	/* Another one's aren't behind them. */
	send_some(2, 100);
	EXPECT(reaches(&nr_closed[2], 100));
	EXPECT_EQ(nr_begun[1], CLOSERS_PER_UID);
	end();
	EXPECT(reaches(&nr_closed[1], CLOSERS_PER_UID + CLOSER_QUEUE_MAX));
	EXPECT(!closer_is_full(1));
	os = os_before;
}

static void many_users_leave_some_to_the_next(void)
{
	begin();
	for (uid_t uid = 1; uid <= CLOSERS_MAX / CLOSERS_PER_UID; uid++) {
		set_blocks(uid, true);
		send_some(uid, 200);
		EXPECT(reaches(&nr_begun[uid], 1));
	}
	send_some(20, 100);
	EXPECT(reaches(&nr_closed[20], 100));
	end();
	for (uid_t uid = 1; uid <= CLOSERS_MAX / CLOSERS_PER_UID; uid++)
		EXPECT(reaches(&nr_closed[uid], 200));
	os = os_before;
}

static void who_is_full_is_turned_away(void)
{
	uid_t own = getuid();
	struct ipc_fixture f;
	struct wire_client c;
	int pair[2];

	if (own >= USERS)
		SKIP("the numbers of this test are for root");
	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	begin();
	set_blocks(own, true);
	send_some(own, CLOSERS_PER_UID + CLOSER_QUEUE_MOST);
	EXPECT(reaches(&nr_begun[own], CLOSERS_PER_UID));
	EXPECT(closer_is_full(own));
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	wire_client_init(&c, pair[1]);
	EXPECT_EQ(server_adopt(f.server, pair[0]), -EUSERS);
	EXPECT_EQ(wire_client_recv(&c, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(c.packet.code, -EUSERS);
	wire_client_fini(&c);
	end();
	EXPECT(reaches(&nr_closed[own], CLOSERS_PER_UID + CLOSER_QUEUE_MOST));
	os = os_before;
	ipc_fixture_session(&f, &c);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static const struct test_case cases[] = {
	{ "one user's descriptors that block keep a share of the threads", one_user_has_its_share },
	{ "many users leave some to the next", many_users_leave_some_to_the_next },
	{ "who has too many of them is turned away", who_is_full_is_turned_away },
};
TEST_MAIN(cases)
