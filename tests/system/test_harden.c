/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_harden - MMB_CONF on a real daemon: guards around sampled objects, quarantine, both at once
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/stage.h"

enum { THREADS = 3, ROUNDS = 20000, LIVE = 128, MANY = 700 };

static const char *const flags[] = { "--memory.reserve=256M", NULL };
static const struct setting setting = { .flags = flags };
/* The actor's stderr. */
static int words_fd;

static void open_with(struct actor *a, const char *conf)
{
	setenv("MMB_CONF", conf, 1);
	signal(SIGSEGV, SIG_DFL); /* sanitizers' handlers would exit */
	act_pool(a, 0);
	CLIENT_EXPECT(dup2(words_fd, STDERR_FILENO) >= 0);
}

static char *sampled(struct actor *a, size_t size)
{
	char *object;

	open_with(a, "sample=1");
	object = mmb_malloc(a->pool, size);
	CLIENT_EXPECT(object);
	memset(object, 1, size);
	return object;
}

static struct mmb_cache *cache_of(struct actor *a, size_t size)
{
	struct mmb_cache *cache = NULL;

	CLIENT_EXPECT_EQ(mmb_cache_open(a->pool, "c", size, 0, 0, &cache), 0);
	return cache;
}

/* ---- faults ---- */

static void write_behind(struct actor *a)
{
	sampled(a, 64)[64] = 1;
}

static void read_behind(struct actor *a)
{
	const volatile char *object = sampled(a, 4096);

	CLIENT_EXPECT(!object[4096]);
}

static void write_before(struct actor *a)
{
	sampled(a, 4096)[-1] = 1;
}

static void use_after_free(struct actor *a)
{
	char *object = sampled(a, 64);

	mmb_free(object);
	object[0] = 2;
}

static void read_after_free_in_a_cache(struct actor *a)
{
	struct mmb_cache *cache;
	volatile char *object;

	open_with(a, "sample=1");
	cache = cache_of(a, 48);
	object = mmb_cache_alloc(cache);
	object[47] = 1;
	mmb_cache_free(cache, (void *)(uintptr_t)object);
	CLIENT_EXPECT(object[47]);
}

static void overflow_in_a_cache(struct actor *a)
{
	open_with(a, "sample=1");
	((char *)mmb_cache_alloc(cache_of(a, 48)))[48] = 1;
}

/* An old pointer faults after as many frees as there are other slots. */
static void use_long_after_free(struct actor *a)
{
	char *object = sampled(a, 100);

	mmb_free(object);
	for (int i = 0; i < 200; i++)
		mmb_free(mmb_malloc(a->pool, 100));
	object[0] = 2;
}

static const act_fn faults[] = {
	write_behind, read_behind, write_before, use_after_free, read_after_free_in_a_cache,
	overflow_in_a_cache, use_long_after_free,
};

static void each_faults(void)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct role role = ROLE(faults[i], .status = -SIGSEGV);

		words_fd = memfd_create("words", MFD_CLOEXEC);
		EXPECT(words_fd >= 0);
		stage_play(&role, 1);
		close(words_fd);
	}
}

/* ---- messages ---- */

static void sampled_twice(struct actor *a)
{
	char *object = sampled(a, 64);

	mmb_free(object);
	mmb_free(object);
}

static void sampled_twice_in_bulk(struct actor *a)
{
	void *objects[3];
	struct mmb_cache *cache;

	open_with(a, "sample=1");
	cache = cache_of(a, 48);
	CLIENT_EXPECT_EQ(mmb_cache_alloc_bulk(cache, 3, objects), 0);
	objects[2] = objects[1];
	mmb_cache_free_bulk(cache, 3, objects);
}

static void inside_sampled(struct actor *a)
{
	mmb_free(sampled(a, 64) + 16);
}

static void beside_sampled(struct actor *a)
{
	mmb_free(sampled(a, 64) + 64);
}

static void small_overflow(struct actor *a)
{
	char *object = sampled(a, 61);

	object[61] = 1;
	mmb_free(object);
}

static void small_underflow(struct actor *a)
{
	char *object = sampled(a, 61);

	object[-1] = 1;
	mmb_free(object);
}

static void sampled_of_malloc(struct actor *a)
{
	char *object = sampled(a, 48);

	mmb_cache_free(cache_of(a, 48), object);
}

static void realloc_after_free(struct actor *a)
{
	char *object = sampled(a, 64);

	mmb_free(object);
	mmb_realloc(a->pool, object, 65);
}

static void hardened_twice(struct actor *a)
{
	char *object;

	open_with(a, "harden");
	object = mmb_malloc(a->pool, 100);
	mmb_free(object);
	mmb_free(object);
}

/* A visit of the library's own thread finds it, without another call. */
static void hardened_write(struct actor *a)
{
	char *object;

	open_with(a, "harden");
	object = mmb_malloc(a->pool, 100);
	mmb_free(object);
	object[50] = 1;
	sleep(30);
}

static const struct {
	act_fn      act;
	const char *words;
} wrongs[] = {
	{ sampled_twice, "double free" },
	{ sampled_twice_in_bulk, "mmb_cache_free_bulk(0x" },
	{ inside_sampled, "no object begins there" },
	{ beside_sampled, "beside a sampled one" },
	{ small_overflow, "behind the sampled object of 61 bytes" },
	{ small_underflow, "before the sampled object" },
	{ sampled_of_malloc, "comes from mmb_malloc()" },
	{ realloc_after_free, "mmb_realloc(0x" },
	{ hardened_twice, "double free" },
	{ hardened_write, "byte 50 was written after" },
};

static void each_ends_with_a_message(void)
{
	char words[512];

	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		const struct role role = ROLE(wrongs[i].act, .status = -SIGABRT);
		ssize_t length;

		words_fd = memfd_create("words", MFD_CLOEXEC);
		EXPECT(words_fd >= 0);
		stage_play(&role, 1);
		length = pread(words_fd, words, sizeof(words) - 1, 0);
		close(words_fd);
		words[length > 0 ? length : 0] = 0;
		if (!strstr(words, wrongs[i].words))
			printf("  case %zu said: %s", i, words);
		EXPECT(strstr(words, "libmmbroker: "));
		EXPECT(strstr(words, wrongs[i].words));
	}
}

/* ---- what goes on as ever ---- */

struct job {
	struct mmb_pool  *pool;
	struct mmb_cache *cache;
	uint64_t          seed;
};

static void *work(void *arg)
{
	struct job *job = arg;
	char *live[LIVE] = { NULL };
	size_t size[LIVE];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t n = test_below(&job->seed, LIVE);

		if (live[n]) {
			CLIENT_EXPECT(is_stamped(live[n], size[n], n));
			if (n % 2)
				mmb_free(live[n]);
			else
				mmb_cache_free(job->cache, live[n]);
			live[n] = NULL;
			continue;
		}
		size[n] = n % 2 ? 8 + 8 * test_below(&job->seed, 700) : 48;
		live[n] = n % 2 ? mmb_malloc(job->pool, size[n]) : mmb_cache_alloc(job->cache);
		CLIENT_EXPECT(live[n]);
		CLIENT_EXPECT(mmb_usable_size(live[n]) >= size[n]);
		CLIENT_EXPECT((uintptr_t)live[n] % (size[n] > 8 ? 16 : 8) == 0);
		stamp(live[n], size[n], n);
	}
	for (int i = 0; i < LIVE; i++)
		mmb_free(live[i]);
	return NULL;
}

static void many_threads(struct actor *a)
{
	struct job jobs[THREADS];
	pthread_t threads[THREADS];
	struct mmb_cache *cache;

	open_with(a, "harden,sample=20");
	cache = cache_of(a, 48);
	for (int i = 0; i < THREADS; i++) {
		jobs[i] = (struct job){ a->pool, cache, test_seed() + (uint64_t)i };
		CLIENT_EXPECT_EQ(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	mmb_cache_close(cache);
	mmb_pool_close(a->pool);
	a->pool = NULL;
}

static void both_modes_work(void)
{
	words_fd = STDERR_FILENO;
	PLAY(ROLE(many_threads));
}

/* One in ten; only a sampled object's usable size is what was asked for. */
static void one_in_ten(struct actor *a)
{
	int nr = 0;

	open_with(a, "sample=10");
	for (int i = 0; i < 5000; i++) {
		void *object = mmb_malloc(a->pool, 100);

		CLIENT_EXPECT(object);
		nr += mmb_usable_size(object) == 100;
		mmb_free(object);
	}
	CLIENT_EXPECT(nr > 350 && nr < 650);
}

/* More than there are slots: the others are ordinary objects. All stay as they are. */
static void all_sampled(struct actor *a)
{
	char *objects[MANY];

	open_with(a, "sample=1");
	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < MANY; i++) {
			objects[i] = mmb_malloc(a->pool, 8 * (i % 512 + 1));
			CLIENT_EXPECT(objects[i]);
			stamp(objects[i], 8 * (i % 512 + 1), i);
		}
		for (uint64_t i = 0; i < MANY; i++) {
			CLIENT_EXPECT(is_stamped(objects[i], 8 * (i % 512 + 1), i));
			mmb_free(objects[i]);
		}
	}
}

static void sizes_and_alignments(struct actor *a)
{
	char *p, *q;

	open_with(a, "sample=1");
	for (size_t align = 1; align <= 4096; align *= 2) {
		for (size_t size = 1; size <= 4096; size = size * 3 + 1) {
			p = mmb_aligned_alloc(a->pool, align, size);
			CLIENT_EXPECT(p && (uintptr_t)p % align == 0);
			CLIENT_EXPECT(mmb_usable_size(p) >= size);
			memset(p, 1, mmb_usable_size(p));
			mmb_free(p);
		}
	}
	p = mmb_malloc(a->pool, 0);
	q = mmb_malloc(a->pool, 0);
	CLIENT_EXPECT(p && q && p != q);
	CLIENT_EXPECT_EQ(mmb_usable_size(p), 1);
	mmb_free(p);
	mmb_free(q);
	p = mmb_calloc(a->pool, 5, 100);
	CLIENT_EXPECT(p && is_zero(p, 500));
	CLIENT_EXPECT_EQ(mmb_usable_size(p), 500);
	stamp(p, 496, 1);
	for (size_t size = 600; size < 2 << 20; size *= 2) {
		p = mmb_realloc(a->pool, p, size);
		CLIENT_EXPECT(p && is_stamped(p, 496, 1));
	}
	p = mmb_realloc(a->pool, p, 496);
	CLIENT_EXPECT(p && is_stamped(p, 496, 1));
	mmb_free(p);
}

/* The region goes with the pool handle or the connection, whatever is still allocated. */
static void closing(struct actor *a)
{
	struct mmb_pool *other;
	char *object;

	object = sampled(a, 64);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &other), 0);
	CLIENT_EXPECT(mmb_malloc(other, 64));
	mmb_pool_close(a->pool);
	a->pool = NULL;
	CLIENT_EXPECT_EQ(touch_write(object, 1), SIGSEGV);
	object = mmb_malloc(other, 64);
	CLIENT_EXPECT_EQ(touch_write(object, 1), 0);
	mmb_close(a->mmb);
	a->mmb = NULL;
	CLIENT_EXPECT_EQ(touch_write(object, 1), SIGSEGV);
	mmb_pool_close(other);
}

/* A child doesn't see the parent's object and can have its own. */
static void forking(struct actor *a)
{
	char *object = sampled(a, 64);
	pid_t child = fork();
	int status;

	if (!child) {
		struct actor own = { .socket = a->socket };

		CLIENT_EXPECT_EQ(touch_write(object, 1), SIGSEGV);
		CLIENT_EXPECT(!mmb_usable_size(object));
		mmb_free(object);
		CLIENT_EXPECT(!mmb_malloc(a->pool, 64) && errno == EOWNERDEAD);
		act_pool(&own, 0);
		object = mmb_malloc(own.pool, 64);
		CLIENT_EXPECT(object);
		object[63] = 1;
		mmb_free(object);
		CLIENT_EXPECT_EQ(touch_write(object, 1), SIGSEGV);
		mmb_close(own.mmb);
		_exit(0);
	}
	CLIENT_EXPECT_EQ(waitpid(child, &status, 0), child);
	CLIENT_EXPECT_EQ(status, 0);
	object[63] = 2;
	mmb_free(object);
}

/* A pool too small for the region: objects are ordinary ones. */
static void no_room(struct actor *a)
{
	char *object;

	setenv("MMB_CONF", "sample=1", 1);
	act_pool(a, 2 << 20);
	for (int i = 0; i < 100; i++) {
		object = mmb_malloc(a->pool, 100);
		CLIENT_EXPECT(object);
		CLIENT_EXPECT(mmb_usable_size(object) > 100);
	}
}

/* Runs and ranges: what is freed is zero when it comes again. */
static void large_ones(struct actor *a)
{
	char *range, *run;

	setenv("MMB_CONF", "harden,sample=1", 1);
	act_pool(a, 0);
	run = mmb_malloc(a->pool, 1 << 20);
	range = mmb_calloc(a->pool, 5, 1 << 20);
	CLIENT_EXPECT(run && range && is_zero(range, 5 << 20));
	stamp(run, 1 << 20, 1);
	stamp(range, 5 << 20, 2);
	run = mmb_realloc(a->pool, run, 6 << 20);
	CLIENT_EXPECT(run && is_stamped(run, 1 << 20, 1));
	mmb_free(range);
	range = mmb_malloc(a->pool, 5 << 20);
	CLIENT_EXPECT(range && is_zero(range, 5 << 20));
	mmb_free(range);
	mmb_free(run);
}

static void unknown_word(struct actor *a)
{
	char words[256] = "";
	int fd = memfd_create("words", MFD_CLOEXEC);

	CLIENT_EXPECT(dup2(fd, STDERR_FILENO) >= 0);
	setenv("MMB_CONF", "hardened", 1);
	act_pool(a, 0);
	CLIENT_EXPECT(mmb_malloc(a->pool, 100));
	act_open(&(struct actor){ .socket = a->socket });
	CLIENT_EXPECT(pread(fd, words, sizeof(words) - 1, 0) > 0);
	CLIENT_EXPECT(strstr(words, "'hardened' is ignored"));
	CLIENT_EXPECT(strchr(words, '\n') == words + strlen(words) - 1);
}

/* ---- two processes ---- */

enum { NR_SHARED = 3000 };

/* Neither hardens what the other does. */
static void plain_owner(struct actor *a)
{
	void **objects;

	words_fd = STDERR_FILENO;
	act_common_pool(a);
	objects = mmb_malloc(a->pool, NR_SHARED * sizeof(*objects));
	CLIENT_EXPECT(objects);
	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < NR_SHARED; i++) {
			objects[i] = mmb_malloc(a->pool, 64);
			CLIENT_EXPECT(objects[i]);
			stamp(objects[i], 64, i);
		}
		board->number[0] = (uintptr_t)objects;
		cue((uint32_t)(2 * round + 1));
		await((uint32_t)(2 * round + 2));
	}
	mmb_free(objects);
	cue(10);
}

static void hardened_user(struct actor *a)
{
	setenv("MMB_CONF", "harden", 1);
	act_common_pool(a);
	for (int round = 0; round < 3; round++) {
		void **objects;

		await((uint32_t)(2 * round + 1));
		objects = (void **)(uintptr_t)board->number[0];
		for (uint64_t i = 0; i < NR_SHARED; i++) {
			CLIENT_EXPECT(is_stamped(objects[i], 64, i));
			mmb_free(objects[i]);
			mmb_free(mmb_malloc(a->pool, 64));
		}
		cue((uint32_t)(2 * round + 2));
	}
	await(10);
}

static void frees_and_stays(struct actor *a)
{
	char *object;

	setenv("MMB_CONF", "harden", 1);
	act_common_pool(a);
	object = mmb_malloc(a->pool, 64);
	CLIENT_EXPECT(object);
	stamp(object, 64, 1);
	mmb_free(object);
	board->number[0] = (uintptr_t)object;
	cue(1);
	await(2);
}

static void frees_it_again(struct actor *a)
{
	setenv("MMB_CONF", "harden", 1);
	act_common_pool(a);
	CLIENT_EXPECT(dup2(words_fd, STDERR_FILENO) >= 0);
	await(1);
	mmb_free((void *)(uintptr_t)board->number[0]);
}

static void with_an_ordinary_client(void)
{
	PLAY(ROLE(plain_owner), ROLE(hardened_user));
}

static void second_free_elsewhere(void)
{
	char words[512] = "";

	words_fd = memfd_create("words", MFD_CLOEXEC);
	stage_begin();
	CAST(ROLE(frees_and_stays), ROLE(frees_it_again, .status = -SIGABRT));
	EXPECT(stage_ended(1));
	cue(2);
	stage_end();
	EXPECT(pread(words_fd, words, sizeof(words) - 1, 0) > 0);
	EXPECT(strstr(words, "double free"));
	close(words_fd);
}

static void each_works(void)
{
	static const act_fn acts[] = { one_in_ten, all_sampled, sizes_and_alignments, closing,
				       forking, no_room, large_ones, unknown_word };

	words_fd = STDERR_FILENO;
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		const struct role role = ROLE(acts[i]);

		stage_play(&role, 1);
	}
}

static const struct test_case cases[] = {
	{ "beyond a sampled object, and after its free, is SIGSEGV", each_faults },
	{ "wrong frees and writes end their process with a message", each_ends_with_a_message },
	{ "threads work with both modes on", both_modes_work },
	{ "sampled objects do all that others do", each_works },
	{ "a hardened client works with an ordinary one", with_an_ordinary_client },
	{ "a second free in another process is found", second_free_elsewhere },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
