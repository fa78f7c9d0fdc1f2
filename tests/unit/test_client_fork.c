/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_fork - what a forked child may do, and frees that end a process
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_broker.h"
#include "mmbroker.h"
#include "proto/methods.h"
#include "tests/lib/test.h"

enum { REGION_BYTES = 1 << 20 };
static struct fake_broker *broker;
static struct mmb *mmb;
static struct mmb_pool *pool;
static struct mmb_region *region;
static struct mmb_cache *cache;
static struct mmb_mempool *mempool;
static void *run;

static void begin(void)
{
	broker = broker_start();
	EXPECT_EQ(mmb_open(broker_path(broker), NULL, &mmb), 0);
	EXPECT_EQ(mmb_pool_open(mmb, "p", MMB_POOL_PRIVATE, NULL, &pool), 0);
	EXPECT_EQ(mmb_region_open(pool, "r", REGION_BYTES, MMB_REGION_CREATE, NULL, &region), 0);
	run = mmb_alloc_pages(pool, 1, 0);
	EXPECT(run);
}

static void end(void)
{
	mmb_free_pages(pool, run, 1);
	mmb_region_close(region);
	mmb_pool_close(pool);
	EXPECT_EQ(broker_frames_out(broker), 0);
	mmb_close(mmb);
	broker_stop(broker);
}

/* 0, or the line of the first thing that was not as expected. */
#define CHILD_EXPECT(e)                  \
	do {                             \
		if (!(e))                \
			return __LINE__; \
	} while (0)

static int use_parents_handles(void)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_pool *other;
	struct mmb_region *opened;

	CHILD_EXPECT(mmb_pool_stat(pool, &stat) == -EOWNERDEAD);
	CHILD_EXPECT(strstr(mmb_error(), "fork"));
	CHILD_EXPECT(mmb_pool_open(mmb, "p", 0, NULL, &other) == -EOWNERDEAD);
	CHILD_EXPECT(mmb_region_create(pool, 4096, NULL, &opened) == -EOWNERDEAD);
	CHILD_EXPECT(mmb_region_lock(region, 0, 4096) == -EOWNERDEAD);
	CHILD_EXPECT(mmb_region_advise(region, 0, 4096, MMB_ADVISE_DONTNEED) == -EOWNERDEAD);
	CHILD_EXPECT(!mmb_region_address(region) && errno == EOWNERDEAD);
	CHILD_EXPECT(!mmb_alloc_pages(pool, 0, 0) && errno == EOWNERDEAD);
	CHILD_EXPECT(!mmb_alloc_pages(pool, 1, 0) && errno == EOWNERDEAD);
	mmb_free_pages(pool, run, 1);
	mmb_region_close(region);
	mmb_pool_close(pool);
	mmb_close(mmb);
	return 0;
}

static int open_ones_own(void)
{
	struct mmb_region *mine;
	struct mmb_pool *p;
	struct mmb *m;
	char *page;

	CHILD_EXPECT(!mmb_open(broker_path(broker), NULL, &m));
	CHILD_EXPECT(!mmb_pool_open(m, "p", 0, NULL, &p));
	page = mmb_alloc_pages(p, 0, 0);
	CHILD_EXPECT(page);
	page[0] = 1;
	mmb_free_pages(p, page, 0);
	CHILD_EXPECT(!mmb_region_create(p, REGION_BYTES, NULL, &mine));
	mmb_region_close(mine);
	mmb_pool_close(p);
	mmb_close(m);
	return 0;
}

static bool is_at_rest(const char *task)
{
	char path[64], text[128] = "", state = 'S';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/stat", task);
	file = fopen(path, "re");
	if (file && fgets(text, sizeof(text), file) && strrchr(text, ')'))
		state = strrchr(text, ')')[2];
	if (file)
		fclose(file);
	return state == 'S' || atoi(task) == gettid();
}

static bool are_others_at_rest(void *unused)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	bool rest = true;

	EXPECT(tasks);
	while (rest && (task = readdir(tasks)))
		rest = task->d_name[0] == '.' || is_at_rest(task->d_name);
	closedir(tasks);
	return rest;
}

/* AddressSanitizer's allocator isn't whole in a child that was forked while another thread was in
 * it: here the library's or the broker's, which have just begun. glibc's is. */
static void before_fork(void)
{
	fflush(NULL);
	EXPECT(test_wait(are_others_at_rest, NULL, 10));
}

static int in_child(int (*body)(void))
{
	int status;
	pid_t child;

	before_fork();
	child = fork();
	if (!child) {
		alarm(20);
		_exit(body() ? 1 : 0);
	}
	waitpid(child, &status, 0);
	return status;
}

/* The same in a child that no fork handler ran in. */
static int in_raw_child(int (*body)(void))
{
	int status;
	pid_t child;

	before_fork();
	child = _Fork();
	if (!child) {
		alarm(20);
		_exit(body() ? 1 : 0);
	}
	waitpid(child, &status, 0);
	return status;
}

static void a_childs_use_of_a_handle_gives_eownerdead(void)
{
	uint32_t requests;

	begin();
	requests = broker_count(broker, MMB_METHOD_PAGES_FREE) +
		   broker_count(broker, MMB_METHOD_REGION_CLOSE) +
		   broker_count(broker, MMB_METHOD_POOL_CLOSE);
	EXPECT_EQ(in_child(use_parents_handles), 0);
	EXPECT_EQ(in_raw_child(use_parents_handles), 0);
	/* The parent's session has noticed nothing. */
	EXPECT_EQ(broker_count(broker, MMB_METHOD_PAGES_FREE) +
			  broker_count(broker, MMB_METHOD_REGION_CLOSE) +
			  broker_count(broker, MMB_METHOD_POOL_CLOSE),
		  requests);
	EXPECT_EQ(mmb_region_lock(region, 0, 4096), 0);
	end();
}

static void a_child_may_open_its_own(void)
{
	begin();
	EXPECT_EQ(in_child(open_ones_own), 0);
	EXPECT_EQ(in_raw_child(open_ones_own), 0);
	EXPECT_EQ(mmb_region_lock(region, 0, 4096), 0);
	end();
}

static atomic_bool has_object, may_end;

/* As long as it lives, the pool's heap does. */
static void *have_a_heap(void *unused)
{
	(void)unused;
	mmb_free(mmb_malloc(pool, 100));
	atomic_store(&has_object, true);
	while (!atomic_load(&may_end))
		usleep(1000);
	return NULL;
}

static bool is_there(void *flag)
{
	return atomic_load((atomic_bool *)flag);
}

static int close_what_is_left(void)
{
	mmb_mempool_close(mempool);
	mmb_cache_close(cache);
	mmb_pool_close(pool);
	CHILD_EXPECT(strstr(mmb_error(), "fork"));
	return 0;
}

static void a_child_may_close_handles_of_a_closed_connection(void)
{
	pthread_t thread;

	broker = broker_start();
	EXPECT_EQ(mmb_open(broker_path(broker), NULL, &mmb), 0);
	EXPECT_EQ(mmb_pool_open(mmb, "p", MMB_POOL_CREATE, NULL, &pool), 0);
	EXPECT_EQ(mmb_cache_open(pool, "c", 100, 0, 0, &cache), 0);
	EXPECT_EQ(mmb_mempool_open(cache, 1, &mempool), 0);
	EXPECT_EQ(pthread_create(&thread, NULL, have_a_heap, NULL), 0);
	EXPECT(test_wait(is_there, &has_object, 20));
	mmb_close(mmb);
	EXPECT_EQ(in_child(close_what_is_left), 0);
	EXPECT_EQ(in_raw_child(close_what_is_left), 0);
	mmb_mempool_close(mempool);
	mmb_cache_close(cache);
	mmb_pool_close(pool);
	atomic_store(&may_end, true);
	pthread_join(thread, NULL);
	broker_stop(broker);
}

static int others[16];

static int find_descriptors(void)
{
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		CHILD_EXPECT(fcntl(others[i], F_GETFD) >= 0);
	return 0;
}

/* Of a heap that couldn't be made the descriptors are closed: their numbers are somebody else's. */
static void a_child_keeps_what_isnt_the_librarys(void)
{
	begin();
	broker_refuse(broker, MMB_METHOD_SLAB_LEASE, -EIO, "units can't be read");
	EXPECT(!mmb_malloc(pool, 100) && errno == EIO);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		others[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(in_child(find_descriptors), 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		close(others[i]);
	end();
}

static volatile char *window;

static int touch_window(void)
{
	return *window ? 1 : 0;
}

static void a_child_has_no_windows(void)
{
	int status;

	begin();
	window = mmb_region_address(region);
	status = in_child(touch_window);
	/* Not zeros: a signal, which a sanitizer makes an exit status. */
	EXPECT(WIFSIGNALED(status) || WEXITSTATUS(status));
	end();
}

/* ---- frees that end a process: each in a child with a connection of its own ---- */

static struct mmb_pool *doomed;
static char *pages;

static void free_twice(void)
{
	mmb_free_pages(doomed, pages, 2);
	mmb_free_pages(doomed, pages, 2);
}

static void free_wrong_order(void)
{
	mmb_free_pages(doomed, pages, 1);
}

static void free_interior(void)
{
	mmb_free_pages(doomed, pages + 4096, 0);
}

static void free_stack(void)
{
	mmb_free_pages(doomed, &pages, 0);
}

static void free_never_granted(void)
{
	char *end_of_arena = (char *)(uintptr_t)broker_arena_address(broker) + BROKER_ARENA_BYTES;

	mmb_free_pages(doomed, end_of_arena - 4096, 0);
}

static void free_order_too_large(void)
{
	mmb_free_pages(doomed, pages, 11);
}

static void nofail_without_hope(void)
{
	mmb_alloc_pages(doomed, 10, MMB_GFP_NOFAIL);
	for (;;)
		mmb_alloc_pages(doomed, 10, MMB_GFP_NOFAIL);
}

struct death {
	void (*cause)(void);
	const char *words;
	uint64_t timeout_ms;
};

static int die_of(const struct death *death, int errors)
{
	struct mmb_open_options options = { .size = sizeof(options),
					    .operation_timeout_ms = death->timeout_ms };
	struct mmb *m;

	dup2(errors, STDERR_FILENO);
	if (mmb_open(broker_path(broker), &options, &m) ||
	    mmb_pool_open(m, "p", 0, NULL, &doomed))
		return 1;
	pages = mmb_alloc_pages(doomed, 2, 0);
	if (!pages)
		return 1;
	death->cause();
	return 0;
}

static void expect_death(const struct death *death)
{
	char words[512] = "";
	int pipes[2], status;
	size_t nr = 0;
	ssize_t got;
	pid_t child;

	EXPECT(!pipe2(pipes, O_CLOEXEC));
	before_fork();
	child = fork();
	if (!child) {
		alarm(20);
		_exit(die_of(death, pipes[1]));
	}
	close(pipes[1]);
	while ((got = read(pipes[0], words + nr, sizeof(words) - 1 - nr)) > 0)
		nr += (size_t)got;
	EXPECT(nr > 0);
	close(pipes[0]);
	waitpid(child, &status, 0);
	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	if (!strstr(words, death->words))
		printf("  it said: %s", words);
	EXPECT(strstr(words, death->words));
}

static void a_bad_free_ends_its_own_process_with_a_message(void)
{
	static const struct death deaths[] = {
		{ .cause = free_twice, .words = "double free" },
		{ .cause = free_wrong_order, .words = "run of another order" },
		{ .cause = free_interior, .words = "inside a run" },
		{ .cause = free_stack, .words = "no address of this pool" },
		{ .cause = free_never_granted, .words = "that is no run of yours" },
		{ .cause = free_order_too_large, .words = "MMB_ORDER_MAX" },
	};

	broker = broker_start();
	for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++)
		expect_death(&deaths[i]);
	broker_stop(broker);
}

static void nofail_ends_the_process_after_the_timeout(void)
{
	static const struct death death = { nofail_without_hope, "MMB_GFP_NOFAIL", 1500 };

	broker = broker_start();
	expect_death(&death);
	broker_stop(broker);
}

static const struct test_case cases[] = {
	{ "a child's use of a handle gives EOWNERDEAD", a_childs_use_of_a_handle_gives_eownerdead },
	{ "a child may open its own connection", a_child_may_open_its_own },
	{ "a child may close handles of a connection that its parent has closed",
	  a_child_may_close_handles_of_a_closed_connection },
	{ "a child keeps descriptors that are not the library's any more",
	  a_child_keeps_what_isnt_the_librarys },
	{ "a child has no windows", a_child_has_no_windows },
	{ "a bad free ends its own process with a message",
	  a_bad_free_ends_its_own_process_with_a_message },
	{ "NOFAIL ends the process after the timeout", nofail_ends_the_process_after_the_timeout },
};

TEST_MAIN(cases)
