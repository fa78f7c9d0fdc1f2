/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_call - requests and replies: pipelining, deadlines, refusals, the end of the broker
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_client.h"
#include "libclient/connection.h"
#include "proto/methods.h"
#include "tests/lib/test.h"

enum { REGION_BYTES = 1 << 20 };
static struct fake_client client;

static uint64_t stat_pool(struct mmb_pool *of)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	return mmb_pool_stat(of, &stat) ? 0 : stat.refused;
}

static unsigned int nr_threads(void)
{
	unsigned int nr = 0;
	DIR *tasks = opendir("/proc/self/task");

	while (readdir(tasks))
		nr++;
	closedir(tasks);
	return nr - 2;
}

static void upcalls_come_when_others_can_change_memory(void)
{
	struct mmb_region *own, *named, *again;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &own), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_UPCALLS), 0);
	EXPECT_EQ(mmb_region_open(client.pool, "named", REGION_BYTES, MMB_REGION_CREATE, NULL,
				  &named), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_UPCALLS), 1);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT_EQ(mmb_region_open(client.pool, "again", REGION_BYTES, MMB_REGION_CREATE, NULL,
				  &again), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_UPCALLS), 1);
	mmb_region_close(again);
	mmb_region_close(named);
	mmb_region_close(own);
	fake_client_end(&client);
}

/* Who isn't asked which pages are in use loses them to swap. */
static void upcalls_come_when_pages_can_be_evicted(void)
{
	struct mmb_region *before, *region, *again;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &before), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_UPCALLS), 0);
	broker_swap(client.broker);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_UPCALLS), 1);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &again), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_UPCALLS), 1);
	mmb_region_close(again);
	mmb_region_close(region);
	mmb_region_close(before);
	fake_client_end(&client);
}

/* A program may be called anything; the broker takes 63 bytes that can be printed. */
static void a_program_may_be_called_anything(void)
{
	static const struct {
		const char *own, *told;
	} names[] = {
		{ "plain", "plain" },
		{ "gr\xc3\xb6\xc3\x9f\x65", "gr\xc3\xb6\xc3\x9f\x65" },
		{ "latin1 \xff\xe9.", "latin1 ??." },
		{ "new\nline\033[31m", "new?line?[31m" },
		{ "62 bytes, and then a letter of two bytes .....................\xc3\xb6",
		  "62 bytes, and then a letter of two bytes ....................." },
		{ "63 bytes, and then a byte that is no letter ...................\xff",
		  "63 bytes, and then a byte that is no letter ..................." },
		{ "", "" },
	};
	char *own = program_invocation_short_name, told[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		program_invocation_short_name = (char *)(uintptr_t)names[i].own;
		fake_client_begin(&client, 0);
		broker_client_name(client.broker, told);
		EXPECT(!strcmp(told, names[i].told));
		fake_client_end(&client);
	}
	program_invocation_short_name = own;
}

static void a_refused_upcall_socket_is_said(void)
{
	struct mmb_region *region;

	fake_client_begin(&client, 0);
	broker_refuse(client.broker, MMB_METHOD_UPCALLS, -EMFILE, "no descriptor is left");
	EXPECT_EQ(mmb_region_open(client.pool, "r", REGION_BYTES, MMB_REGION_CREATE, NULL,
				  &region), -EMFILE);
	EXPECT(!strcmp(mmb_error(), "no descriptor is left"));
	/* One that has none at all is no reason to do without regions. */
	broker_refuse(client.broker, MMB_METHOD_UPCALLS, -EOPNOTSUPP, "no upcalls");
	EXPECT_EQ(mmb_region_open(client.pool, "r", REGION_BYTES, MMB_REGION_CREATE, NULL,
				  &region), 0);
	mmb_region_close(region);
	fake_client_end(&client);
}

static void a_refused_hello_is_said_though_attach_was_sent(void)
{
	struct mmb *mmb;

	client.broker = broker_start();
	broker_refuse(client.broker, MMB_METHOD_HELLO, -EUSERS, "too many already");
	broker_hold(client.broker, MMB_METHOD_ATTACH);
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &mmb), -EUSERS);
	EXPECT(!strcmp(mmb_error(), "too many already"));
	broker_stop(client.broker);
}

/* The first replies aren't slept for at once. */
static void a_broker_that_takes_its_time_is_slept_for(void)
{
	const struct mmb_open_options options = { .size = sizeof(options),
						  .operation_timeout_ms = 400 };
	struct timespec before, after;
	struct mmb *mmb;

	client.broker = broker_start();
	broker_hold(client.broker, MMB_METHOD_HELLO);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	EXPECT_EQ(mmb_open(broker_path(client.broker), &options, &mmb), -ETIMEDOUT);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	EXPECT((after.tv_sec - before.tv_sec) * 1000 +
	       (after.tv_nsec - before.tv_nsec) / 1000000 < 200);
	broker_release(client.broker, MMB_METHOD_HELLO);
	broker_stop(client.broker);
}

/* Whoever wants to wait for ever says so with the largest number. */
static void the_longest_timeout_is_no_short_one(void)
{
	const struct mmb_open_options options = { .size = sizeof(options),
						  .operation_timeout_ms = UINT64_MAX,
						  .daemon_timeout_ms = UINT64_MAX };

	client.broker = broker_start();
	EXPECT_EQ(mmb_open(broker_path(client.broker), &options, &client.mmb), 0);
	EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_PRIVATE, NULL, &client.pool), 0);
	EXPECT(stat_pool(client.pool) > 0);
	fake_client_end(&client);
}

static void on_alarm(int number)
{
}

/* Its queue is full: connect(2) waits, and every signal ends that. */
static void signals_dont_end_the_wait_for_a_busy_broker(void)
{
	const struct mmb_open_options options = { .size = sizeof(options),
						  .operation_timeout_ms = 300 };
	const struct itimerval often = { { 0, 10000 }, { 0, 10000 } }, never = { 0 };
	const struct sigaction action = { .sa_handler = on_alarm };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int other, sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct timespec before, after;
	struct mmb *mmb;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/mmb-busy-%d", getpid());
	unlink(address.sun_path); /* of one with this number that was killed */
	EXPECT_EQ(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	EXPECT_EQ(listen(sock, 0), 0);
	other = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	EXPECT_EQ(connect(other, (struct sockaddr *)&address, sizeof(address)), 0);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	clock_gettime(CLOCK_MONOTONIC, &before);
	EXPECT_EQ(mmb_open(address.sun_path, &options, &mmb), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &after);
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT((after.tv_sec - before.tv_sec) * 1000 +
	       (after.tv_nsec - before.tv_nsec) / 1000000 >= 299);
	unlink(address.sun_path);
	close(other);
	close(sock);
}

static void opening_waits_for_one_reply(void)
{
	unsigned int before;
	struct mmb_region *region;

	client.broker = broker_start();
	/* ATTACH is never answered here: opening doesn't wait for it. */
	broker_hold(client.broker, MMB_METHOD_ATTACH);
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_ATTACH, 1));
	broker_release(client.broker, MMB_METHOD_ATTACH);
	before = nr_threads();
	EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_PRIVATE, NULL, &client.pool), 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	EXPECT_EQ(nr_threads(), before);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_HELLO), 1);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_ATTACH), 1);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_POOL_OPEN), 1);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_CREATE), 1);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_WINDOW), 0);
	EXPECT_EQ((uintptr_t)mmb_region_address(region), broker_region_address(client.broker));
	mmb_region_close(region);
	fake_client_end(&client);
}

static void a_refused_attach_surfaces_at_the_next_call(void)
{
	client.broker = broker_start();
	broker_refuse(client.broker, MMB_METHOD_ATTACH, -EPERM, "no such userfaultfd here");
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_PRIVATE, NULL, &client.pool), -EPERM);
	EXPECT(strstr(mmb_error(), "no such userfaultfd here"));
	EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_PRIVATE, NULL, &client.pool), -EPERM);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

static void *create_region(void *out)
{
	struct mmb_region **region = out;

	return (void *)(intptr_t)mmb_region_create(client.pool, REGION_BYTES, NULL, region);
}

/* As when the broker died after it had read ATTACH. */
static void a_lost_attach_is_sent_again(void)
{
	struct mmb_region *region = NULL;
	pthread_t thread;
	void *result;

	fake_client_begin(&client, 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_ATTACH), 1);
	broker_refuse(client.broker, MMB_METHOD_REGION_CREATE, -EUNATCH, "ATTACH first");
	pthread_create(&thread, NULL, create_region, &region);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_ATTACH, 2));
	broker_refuse(client.broker, MMB_METHOD_REGION_CREATE, 0, "");
	pthread_join(thread, &result);
	EXPECT_EQ((intptr_t)result, 0);
	EXPECT(broker_count(client.broker, MMB_METHOD_REGION_CREATE) >= 2);
	EXPECT_EQ((uintptr_t)mmb_region_address(region), broker_region_address(client.broker));
	mmb_region_close(region);
	fake_client_end(&client);
}

/* The socket is full, as it is when the broker has been stopped for long. */
static void an_attach_that_finds_no_room_is_a_timeout(void)
{
	int error;

	fake_client_begin(&client, 300);
	broker_deafen(client.broker, true);
	do {
		error = connection_attach(client.mmb, 0);
	} while (!error);
	EXPECT_EQ(error, -ETIMEDOUT);
	EXPECT(strstr(mmb_error(), "for 300 ms"));
	broker_deafen(client.broker, false);
	EXPECT_EQ(stat_pool(client.pool), 1);
	fake_client_end(&client);
}

static void *lock_region(void *region)
{
	return (void *)(intptr_t)mmb_region_lock(region, 0, REGION_BYTES);
}

static void a_slow_call_delays_no_other_thread(void)
{
	struct mmb_region *region;
	pthread_t thread;
	void *result;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	broker_hold(client.broker, MMB_METHOD_REGION_LOCK);
	pthread_create(&thread, NULL, lock_region, region);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_LOCK, 1));
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(stat_pool(client.pool), 1);
	broker_release(client.broker, MMB_METHOD_REGION_LOCK);
	pthread_join(thread, &result);
	EXPECT_EQ((intptr_t)result, 0);
	mmb_region_close(region);
	fake_client_end(&client);
}

static void *ask_often(void *arg)
{
	struct mmb_pool *own;
	uint64_t first;

	EXPECT_EQ(mmb_pool_open(client.mmb, "own", MMB_POOL_PRIVATE, NULL, &own), 0);
	first = stat_pool(own);
	EXPECT(first > 1);
	for (int i = 0; i < 300; i++)
		EXPECT_EQ(stat_pool(own), first);
	mmb_pool_close(own);
	return NULL;
}

static void every_thread_gets_its_own_reply(void)
{
	pthread_t threads[8];

	fake_client_begin(&client, 0);
	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, ask_often, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(stat_pool(client.pool), 1);
	fake_client_end(&client);
}

static void a_late_reply_is_a_timeout_with_a_sentence(void)
{
	fake_client_begin(&client, 1000);
	broker_hold(client.broker, MMB_METHOD_POOL_STAT);
	EXPECT_EQ(stat_pool(client.pool), 0);
	EXPECT(strstr(mmb_error(), "POOL_STAT for 1000 ms"));
	broker_release(client.broker, MMB_METHOD_POOL_STAT);
	EXPECT_EQ(stat_pool(client.pool), 1);
	fake_client_end(&client);
}

static void a_late_success_is_undone(void)
{
	struct mmb_region *region;

	fake_client_begin(&client, 1000);
	broker_hold(client.broker, MMB_METHOD_REGION_CREATE);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), -ETIMEDOUT);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_CLOSE), 0);
	broker_release(client.broker, MMB_METHOD_REGION_CREATE);
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_CLOSE, 1));
	EXPECT_EQ(stat_pool(client.pool), 1);
	broker_hold(client.broker, MMB_METHOD_PAGES_ALLOC);
	EXPECT(!mmb_alloc_pages(client.pool, 5, 0));
	broker_release(client.broker, MMB_METHOD_PAGES_ALLOC);
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_PAGES_FREE, 1));
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT_EQ(broker_frames_out(client.broker), 0);
	fake_client_end(&client);
}

/* The socket is full when the late reply is read. */
static void a_late_success_is_undone_when_there_is_room(void)
{
	Mmb__Wire__RegionOpenRequest create = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	Mmb__Wire__PoolRequest stat = MMB__WIRE__POOL_REQUEST__INIT;
	struct call *late, *other;
	int error = 0;

	fake_client_begin(&client, 300);
	broker_hold(client.broker, MMB_METHOD_REGION_CREATE);
	broker_hold(client.broker, MMB_METHOD_POOL_STAT);
	late = call_get(client.mmb, &error);
	other = call_get(client.mmb, &error);
	create.length = REGION_BYTES;
	stat.pool = client.pool->handle;
	EXPECT_EQ(call_begin(client.mmb, late, MMB_METHOD_REGION_CREATE, &create.base), 0);
	EXPECT_EQ(call_begin(client.mmb, other, MMB_METHOD_POOL_STAT, &stat.base), 0);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_POOL_STAT, 1));
	call_abandon(late);
	call_put(client.mmb, late);
	broker_deafen(client.broker, true);
	do {
		error = connection_attach(client.mmb, 0);
	} while (!error);
	EXPECT_EQ(error, -ETIMEDOUT);
	broker_release(client.broker, MMB_METHOD_REGION_CREATE);
	broker_release(client.broker, MMB_METHOD_POOL_STAT);
	EXPECT_EQ(call_wait(client.mmb, other), 0);
	call_put(client.mmb, other);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_CLOSE), 0);
	broker_deafen(client.broker, false);
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_CLOSE, 1));
	EXPECT(broker_in_order(client.broker));
	fake_client_end(&client);
}

/* Nothing can be made good of it, nor may it lead anywhere. */
static void a_late_lease_of_too_much_is_dropped(void)
{
	fake_client_begin(&client, 1000);
	broker_hold(client.broker, MMB_METHOD_SLAB_LEASE);
	EXPECT(!mmb_malloc(client.pool, 100) && errno == ETIMEDOUT);
	broker_exaggerate(client.broker, MMB_PAGES_BATCH + 400);
	broker_release(client.broker, MMB_METHOD_SLAB_LEASE);
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_SLAB_RETURN), 0);
	fake_client_end(&client);
}

/* A broker that died had read them, and the one after it knows nothing of them. */
static void what_was_lost_and_not_waited_for_is_undone(void)
{
	Mmb__Wire__RegionOpenRequest request = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	enum { CALLS = CALL_ORPHANS_MAX - 1 };
	struct call *calls[CALLS];
	int error = 0;

	fake_client_begin(&client, 0);
	request.length = REGION_BYTES;
	broker_hold(client.broker, MMB_METHOD_REGION_CREATE);
	for (int i = 0; i < CALLS; i++) {
		calls[i] = call_get(client.mmb, &error);
		EXPECT_EQ(call_begin(client.mmb, calls[i], MMB_METHOD_REGION_CREATE,
				     &request.base), 0);
	}
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_CREATE, CALLS));
	broker_restart(client.broker);
	/* When the second one is answered, so is the question which were lost. */
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT_EQ(stat_pool(client.pool), 1);
	for (int i = 0; i < CALLS; i++) {
		call_abandon(calls[i]);
		call_put(client.mmb, calls[i]);
	}
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_CREATE, 2 * CALLS));
	EXPECT_EQ(stat_pool(client.pool), 1);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_CLOSE, CALLS));
	EXPECT_EQ(stat_pool(client.pool), 1);
	fake_client_end(&client);
}

static atomic_bool enough;

static void *stat_until_enough(void *unused)
{
	(void)unused;
	while (!atomic_load(&enough))
		EXPECT_EQ(stat_pool(client.pool), 1);
	return NULL;
}

/* C5 of call.h, for what undoes too. */
static void ids_grow_in_the_order_of_sending(void)
{
	Mmb__Wire__RegionOpenRequest request = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	pthread_t threads[3];
	struct call *c;
	int error = 0;

	fake_client_begin(&client, 0);
	request.length = REGION_BYTES;
	atomic_store(&enough, false);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, stat_until_enough, NULL);
	for (uint32_t i = 1; i <= 2000; i++) {
		c = call_get(client.mmb, &error);
		EXPECT_EQ(call_begin(client.mmb, c, MMB_METHOD_REGION_CREATE, &request.base), 0);
		call_abandon(c);
		call_put(client.mmb, c);
		EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_CLOSE, i));
	}
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	EXPECT(broker_in_order(client.broker));
	fake_client_end(&client);
}

static void a_refusal_is_in_the_brokers_words(void)
{
	struct mmb_region *region;

	fake_client_begin(&client, 0);
	broker_refuse(client.broker, MMB_METHOD_REGION_CREATE, -ENOMEM,
		      "the pool may commit 3 pages more");
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), -ENOMEM);
	EXPECT(!strcmp(mmb_error(), "the pool may commit 3 pages more"));
	broker_refuse(client.broker, MMB_METHOD_REGION_CREATE, 0, "");
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	mmb_region_close(region);
	fake_client_end(&client);
}

static void a_broker_that_went_is_not_connected(void)
{
	struct mmb_region *region;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	broker_goodbye(client.broker, "planned stop");
	broker_hang_up(client.broker);
	EXPECT_EQ(mmb_region_lock(region, 0, 4096), -ENOTCONN);
	EXPECT(strstr(mmb_error(), "planned stop"));
	EXPECT_EQ(stat_pool(client.pool), 0);
	EXPECT(strstr(mmb_error(), "planned stop"));
	EXPECT(mmb_region_address(region));
	mmb_region_close(region);
	fake_client_end(&client);
}

/* One that hung up while nobody asked it, and one of which is known. */
static void a_trim_without_a_session_says_so(void)
{
	fake_client_begin(&client, 0);
	mmb_free(mmb_malloc(client.pool, 100));
	broker_hang_up(client.broker);
	EXPECT_EQ(mmb_trim(client.pool), -ENOTCONN);
	EXPECT(strstr(mmb_error(), "this session is over"));
	EXPECT_EQ(mmb_trim(client.pool), -ENOTCONN);
	fake_client_end(&client);
}

static void *expect_not_connected(void *region)
{
	EXPECT_EQ(mmb_region_lock(region, 0, REGION_BYTES), -ENOTCONN);
	return NULL;
}

static void waiting_calls_end_with_the_broker(void)
{
	struct mmb_region *region;
	pthread_t threads[4];

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	broker_hold(client.broker, MMB_METHOD_REGION_LOCK);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, expect_not_connected, region);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_LOCK, 4));
	broker_hang_up(client.broker);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	mmb_region_close(region);
	fake_client_end(&client);
}

static void a_reply_to_nothing_ends_the_session(void)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	fake_client_begin(&client, 0);
	broker_confuse(client.broker);
	EXPECT_EQ(mmb_pool_stat(client.pool, &stat), -EPROTO);
	EXPECT(strstr(mmb_error(), "answers no request"));
	EXPECT_EQ(mmb_pool_stat(client.pool, &stat), -EPROTO);
	fake_client_end(&client);
}

static void handles_outlive_their_connection(void)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_region *region;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	mmb_close(client.mmb);
	EXPECT_EQ(mmb_pool_stat(client.pool, &stat), -ENOTCONN);
	EXPECT_EQ(mmb_region_lock(region, 0, 4096), -ENOTCONN);
	EXPECT(!mmb_alloc_pages(client.pool, 0, 0));
	EXPECT_EQ(errno, ENOTCONN);
	EXPECT_EQ(mmb_region_length(region), REGION_BYTES);
	mmb_region_close(region);
	mmb_pool_close(client.pool);
	broker_stop(client.broker);
}

/* Another client's object, of which this one knows nothing yet. */
static void what_cant_be_looked_at_is_no_wrong_address(void)
{
	void *object;

	client.broker = broker_start();
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_CREATE, NULL, &client.pool), 0);
	object = (void *)(uintptr_t)broker_arena_address(client.broker);
	broker_refuse(client.broker, MMB_METHOD_SLAB_MAP, -ENOMEM, "no memory for a slab map");
	EXPECT(!mmb_realloc(client.pool, object, 100) && errno == ENOMEM);
	EXPECT(strstr(mmb_error(), "no memory for a slab map"));
	mmb_pool_close(client.pool);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

static void *trim_pool(void *unused)
{
	(void)unused;
	EXPECT_EQ(mmb_trim(client.pool), 0);
	return NULL;
}

static atomic_bool is_closed;

static void *close_connection(void *unused)
{
	(void)unused;
	mmb_close(client.mmb);
	atomic_store(&is_closed, true);
	return NULL;
}

/* Once the connection ends others may take over what that trim is still at work in. */
static void closing_waits_for_a_trim(void)
{
	pthread_t trimming, closing;

	fake_client_begin(&client, 0);
	mmb_free(mmb_malloc(client.pool, 100));
	broker_hold(client.broker, MMB_METHOD_SLAB_RETURN);
	pthread_create(&trimming, NULL, trim_pool, NULL);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_SLAB_RETURN, 1));
	atomic_store(&is_closed, false);
	pthread_create(&closing, NULL, close_connection, NULL);
	usleep(100000);
	EXPECT(!atomic_load(&is_closed));
	broker_release(client.broker, MMB_METHOD_SLAB_RETURN);
	pthread_join(trimming, NULL);
	pthread_join(closing, NULL);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	mmb_pool_close(client.pool);
	broker_stop(client.broker);
}

static void a_missing_broker_is_named(void)
{
	struct mmb_open_options options = { .size = sizeof(options), .daemon_timeout_ms = 60 };

	EXPECT_EQ(mmb_open("/nonexistent/socket", NULL, &client.mmb), -ENOENT);
	EXPECT(strstr(mmb_error(), "/nonexistent/socket"));
	EXPECT_EQ(mmb_open("/nonexistent/socket", &options, &client.mmb), -ENOENT);
	setenv("MMB_SOCKET", "/nonexistent/other", 1);
	EXPECT_EQ(mmb_open(NULL, NULL, &client.mmb), -ENOENT);
	EXPECT(strstr(mmb_error(), "/nonexistent/other"));
	unsetenv("MMB_SOCKET");
	setenv("XDG_RUNTIME_DIR", "/nonexistent/run", 1);
	if (mmb_open(NULL, NULL, &client.mmb)) {
		EXPECT(strstr(mmb_error(), "/run/mmbroker/mmbroker.sock"));
	} else {
		mmb_close(client.mmb);
	}
}

/* 0: the search went on behind the folder, or found a broker there. */
static int search_as_nobody(void)
{
	int error;

	if (!geteuid() && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		return 2;
	error = mmb_open(NULL, NULL, &client.mmb);
	if (!error || access("/run/mmbroker/mmbroker.sock", F_OK) == 0)
		return error && strstr(mmb_error(), "mmb-closed") ? 3 : 0;
	return error == -EACCES && strstr(mmb_error(), "name another broker's") ? 0 : 1;
}

/* As su leaves it: $XDG_RUNTIME_DIR is another user's. */
static void a_runtime_folder_of_another_user_is_passed_over(void)
{
	char folder[] = "/tmp/mmb-closed-XXXXXX";
	int status = -1;
	pid_t child;

	EXPECT(mkdtemp(folder));
	EXPECT_EQ(chmod(folder, 0), 0);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	child = fork();
	if (!child)
		_exit(search_as_nobody());
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(rmdir(folder), 0);
}

static const struct test_case cases[] = {
	{ "a broker that takes its time is slept for",
	  a_broker_that_takes_its_time_is_slept_for },
	{ "the longest timeout that can be said is no short one",
	  the_longest_timeout_is_no_short_one },
	{ "signals don't end the wait for a busy broker",
	  signals_dont_end_the_wait_for_a_busy_broker },
	{ "opening waits for one reply, and starts no thread", opening_waits_for_one_reply },
	{ "the upcall socket comes when others can change memory",
	  upcalls_come_when_others_can_change_memory },
	{ "and when pages can be evicted", upcalls_come_when_pages_can_be_evicted },
	{ "a program may be called anything", a_program_may_be_called_anything },
	{ "a refused upcall socket is said", a_refused_upcall_socket_is_said },
	{ "a refused HELLO is said though ATTACH was sent",
	  a_refused_hello_is_said_though_attach_was_sent },
	{ "an ATTACH that got lost is sent again, and what needs it behind it",
	  a_lost_attach_is_sent_again },
	{ "an ATTACH that finds no room in the socket is a timeout",
	  an_attach_that_finds_no_room_is_a_timeout },
	{ "a refused ATTACH surfaces at the next call",
	  a_refused_attach_surfaces_at_the_next_call },
	{ "a slow call delays no other thread", a_slow_call_delays_no_other_thread },
	{ "every thread gets its own reply", every_thread_gets_its_own_reply },
	{ "a late reply is a timeout with a sentence", a_late_reply_is_a_timeout_with_a_sentence },
	{ "a late success is undone", a_late_success_is_undone },
	{ "a late success is undone, too, if the socket is full when it is read",
	  a_late_success_is_undone_when_there_is_room },
	{ "a late lease of more than can be asked for is dropped",
	  a_late_lease_of_too_much_is_dropped },
	{ "what was lost and not waited for is undone",
	  what_was_lost_and_not_waited_for_is_undone },
	{ "ids grow in the order of sending", ids_grow_in_the_order_of_sending },
	{ "a refusal is in the broker's words", a_refusal_is_in_the_brokers_words },
	{ "a broker that went gives ENOTCONN and its last words",
	  a_broker_that_went_is_not_connected },
	{ "a trim without a session says so", a_trim_without_a_session_says_so },
	{ "waiting calls end with the broker", waiting_calls_end_with_the_broker },
	{ "closing waits for a trim under way", closing_waits_for_a_trim },
	{ "a reply to nothing ends the session", a_reply_to_nothing_ends_the_session },
	{ "handles outlive their connection", handles_outlive_their_connection },
	{ "an object that can't be looked at is no wrong address",
	  what_cant_be_looked_at_is_no_wrong_address },
	{ "a missing broker is named", a_missing_broker_is_named },
	{ "a runtime folder of another user is passed over",
	  a_runtime_folder_of_another_user_is_passed_over },
};

TEST_MAIN(cases)
