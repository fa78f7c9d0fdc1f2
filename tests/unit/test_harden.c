/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_harden - MMB_CONF=harden over the scripted broker: quarantine, zeroes, and what ends a
 *               process
 *
 * Not here    Sampled objects, whose pages nobody serves here (tests/system/test_harden.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_client.h"
#include "heap/harden.h"
#include "heap/heap.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "pool.h"

enum { SIZE = 96, MANY = 3000, LIVE = 512, ROUNDS = 20000 / TEST_SLOWER,
       PAGE_OBJECT = 4096, UNIT = 64 << 10 };

static struct fake_client client;

static void end(void)
{
	EXPECT_EQ(heap_pool_validate(atomic_load(&client.pool->heap)), 0);
	fake_client_end(&client);
}

static bool is_zero_from(const char *object, size_t from, size_t to)
{
	while (from < to && !object[from])
		from++;
	return from >= to;
}

/* ---- what goes on as ever ---- */

static void every_call_misses(void)
{
	struct heap *h;
	void *object;

	fake_client_begin(&client, 0);
	object = mmb_malloc(client.pool, SIZE);
	EXPECT(object);
	h = heap_current;
	EXPECT(atomic_load(&h->open_pool) != client.pool);
	EXPECT_EQ(atomic_load(&h->open_length), 0);
	EXPECT_EQ(mmb_usable_size(object), SIZE);
	mmb_free(object);
	end();
}

static void freed_objects_are_zero_and_wait(void)
{
	char *object;

	fake_client_begin(&client, 0);
	object = mmb_malloc(client.pool, SIZE);
	memset(object, 1, SIZE);
	mmb_free(object);
	EXPECT(is_zero_from(object, 8, SIZE));
	for (int i = 0; i < 500; i++) {
		char *other = mmb_malloc(client.pool, SIZE);

		EXPECT(other && other != object);
		mmb_free(other);
	}
	end();
}

static void freed_runs_are_zero(void)
{
	char *run;

	fake_client_begin(&client, 0);
	run = mmb_malloc(client.pool, 1 << 20);
	EXPECT(run);
	memset(run, 1, 1 << 20);
	mmb_free(run);
	EXPECT(is_zero_from(run, 0, 1 << 20));
	end();
}

/* One object at a time: the oldest comes back when the quarantine is full. */
static void the_quarantine_is_bounded(void)
{
	static const size_t sizes[] = { 16, SIZE, 4096, 100000, 262144 };
	uint32_t units;

	fake_client_begin(&client, 0);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (int i = 0; i < MANY; i++) {
			void *object = mmb_malloc(client.pool, sizes[s]);

			EXPECT(object);
			mmb_free(object);
		}
	}
	units = broker_units_out(client.broker);
	EXPECT(units <= 4 * (QUARANTINE_BYTES >> SLAB_UNIT_SHIFT) + 32);
	mmb_trim(client.pool);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	end();
}

struct live {
	char  *object;
	size_t size;
	char   value;
};

static bool is_filled(const struct live *l)
{
	for (size_t i = 0; i < l->size; i++)
		if (l->object[i] != l->value)
			return false;
	return true;
}

/* 0, or how many objects were not as they were left. */
static uintptr_t churn(uint64_t seed)
{
	struct live live[LIVE] = { 0 };
	uintptr_t wrong = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct live *l = &live[test_below(&seed, LIVE)];

		if (l->object) {
			wrong += !is_filled(l);
			mmb_free(l->object);
			l->object = NULL;
			continue;
		}
		l->size = 1 + test_below(&seed, test_below(&seed, 20) ? 300 : 20000);
		l->value = (char)i;
		l->object = mmb_malloc(client.pool, l->size);
		if (l->object)
			memset(l->object, l->value, l->size);
		else
			wrong++;
	}
	for (int i = 0; i < LIVE; i++) {
		wrong += live[i].object && !is_filled(&live[i]);
		mmb_free(live[i].object);
	}
	return wrong;
}

static void objects_stay_as_they_are(void)
{
	fake_client_begin(&client, 0);
	EXPECT_EQ(churn(test_seed()), 0);
	mmb_trim(client.pool);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	end();
}

static void *churn_in_thread(void *arg)
{
	return (void *)churn(test_seed() + (uintptr_t)arg);
}

static void *free_all(void *arg)
{
	void **objects = arg;

	for (int i = 0; i < MANY; i++)
		mmb_free(objects[i]);
	return NULL;
}

static void threads(void)
{
	static void *objects[MANY];
	pthread_t thread[3];
	void *wrong;

	fake_client_begin(&client, 0);
	for (int i = 0; i < MANY; i++) {
		objects[i] = mmb_malloc(client.pool, SIZE);
		EXPECT(objects[i]);
		memset(objects[i], 7, SIZE);
	}
	EXPECT_EQ(pthread_create(&thread[0], NULL, free_all, objects), 0);
	for (uintptr_t i = 1; i < 3; i++)
		EXPECT_EQ(pthread_create(&thread[i], NULL, churn_in_thread, (void *)i), 0);
	EXPECT_EQ(churn(test_seed()), 0);
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(pthread_join(thread[i], &wrong), 0);
		EXPECT(!wrong);
	}
	mmb_trim(client.pool);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	end();
}

static void typed_caches(void)
{
	static void *objects[MANY];
	struct mmb_cache *cache;
	struct mmb_mempool *mempool;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_cache_open(client.pool, "c", 48, 0, 0, &cache), 0);
	EXPECT_EQ(mmb_mempool_open(cache, 3, &mempool), 0);
	for (int round = 0; round < 3; round++) {
		EXPECT_EQ(mmb_cache_alloc_bulk(cache, MANY, objects), 0);
		for (int i = 0; i < MANY; i++)
			memset(objects[i], i, 48);
		for (int i = 0; i < 8; i++)
			mmb_cache_free(cache, objects[i]);
		mmb_cache_free_bulk(cache, MANY - 8, objects + 8);
		EXPECT(is_zero_from(objects[MANY - 1], 8, 48));
		mmb_mempool_free(mempool, mmb_mempool_alloc(mempool));
	}
	mmb_mempool_close(mempool);
	mmb_cache_close(cache);
	end();
}

/* ---- what ends the process ---- */

static char *object_of(size_t size)
{
	char *object = mmb_malloc(client.pool, size);

	memset(object, 1, size);
	return object;
}

/* On its slab's free list: it has left the quarantine, and the slab has a neighbour in use. */
static char *long_freed_object(void)
{
	char *object = object_of(SIZE);

	object_of(SIZE);
	mmb_free(object);
	mmb_trim(client.pool);
	return object;
}

static void twice(void)
{
	char *object = object_of(SIZE);

	mmb_free(object);
	mmb_free(object);
}

static void twice_in_a_cache(void)
{
	struct mmb_cache *cache;
	void *object;

	mmb_cache_open(client.pool, "c", 48, 0, 0, &cache);
	object = mmb_cache_alloc(cache);
	mmb_cache_free(cache, object);
	mmb_cache_free(cache, object);
}

static void twice_in_bulk(void)
{
	struct mmb_cache *cache;
	void *objects[3];

	mmb_cache_open(client.pool, "c", 48, 0, 0, &cache);
	mmb_cache_alloc_bulk(cache, 3, objects);
	objects[2] = objects[0];
	mmb_cache_free_bulk(cache, 3, objects);
}

static void *free_it(void *object)
{
	mmb_free(object);
	return NULL;
}

static void twice_by_two_threads(void)
{
	pthread_t thread;
	char *object = object_of(SIZE);

	mmb_free(object);
	pthread_create(&thread, NULL, free_it, object);
	pthread_join(thread, NULL);
}

static void twice_with_much_between(void)
{
	mmb_free(long_freed_object());
}

static void once_and_to_a_mempool(void)
{
	struct mmb_mempool *mempool;
	struct mmb_cache *cache;
	void *object;

	mmb_cache_open(client.pool, "c", 48, 0, 0, &cache);
	mmb_mempool_open(cache, 1, &mempool);
	object = mmb_mempool_alloc(mempool);
	mmb_free(object);
	mmb_mempool_free(mempool, object);
}

static void resized_after_its_free(void)
{
	mmb_realloc(client.pool, long_freed_object(), SIZE - 1);
}

static void resized_inside_an_object(void)
{
	mmb_realloc(client.pool, (char *)object_of(SIZE) + 16, SIZE - 1);
}

static void never_allocated(void)
{
	uintptr_t object = (uintptr_t)object_of(PAGE_OBJECT), unit = object & -(uintptr_t)UNIT;

	/* The slab's next one, or the one at its start; its word may be anything. */
	mmb_free((void *)(unit + (object + PAGE_OBJECT) % UNIT));
}

static void inside_an_object(void)
{
	mmb_free(object_of(SIZE) + 16);
}

static void written_found_by_trim(void)
{
	char *object = object_of(SIZE);

	mmb_free(object);
	object[40] = 1;
	mmb_trim(client.pool);
}

static void written_at_its_end(void)
{
	char *object = object_of(SIZE);

	mmb_free(object);
	object[SIZE - 1] = 1;
	mmb_trim(client.pool);
}

static void written_at_its_beginning(void)
{
	char *object = object_of(SIZE);

	mmb_free(object);
	object[0] ^= 1;
	mmb_trim(client.pool);
}

static void written_found_by_frees(void)
{
	char *object = object_of(SIZE);

	mmb_free(object);
	object[41] = 1;
	for (int i = 0; i <= QUARANTINE_OBJECTS; i++)
		mmb_free(object_of(16));
}

static void *free_and_write(void *object)
{
	mmb_free(object);
	((char *)object)[43] = 1;
	return NULL;
}

static void written_found_at_thread_exit(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, free_and_write, object_of(SIZE));
	pthread_join(thread, NULL);
}

static void twice_after_its_thread(void)
{
	pthread_t thread;
	char *object = object_of(SIZE);

	pthread_create(&thread, NULL, free_it, object);
	pthread_join(thread, NULL);
	mmb_free(object);
}

static void written_found_at_close(void)
{
	char *object = object_of(SIZE);

	mmb_free(object);
	object[42] = 1;
	mmb_pool_close(client.pool);
}

static void list_overwritten(void)
{
	char *object = long_freed_object();

	memset(object, 0x55, 8);
	for (int i = 0; i < 100; i++)
		object_of(SIZE);
}

static void long_after_free(void)
{
	long_freed_object()[17] = 3;
	for (int i = 0; i < 100; i++)
		object_of(SIZE);
}

static const struct {
	void (*act)(void);
	const char *words;
} wrongs[] = {
	{ twice, "mmb_free(0x" },
	{ twice, "double free" },
	{ twice_in_a_cache, "double free" },
	{ twice_in_bulk, "double free" },
	{ twice_by_two_threads, "double free" },
	{ twice_with_much_between, "double free" },
	{ once_and_to_a_mempool, "double free" },
	{ resized_after_its_free, "mmb_realloc(0x" },
	{ resized_after_its_free, "double free" },
	{ resized_inside_an_object, "no object begins there" },
	{ never_allocated, "nothing was ever allocated" },
	{ inside_an_object, "no object begins there" },
	{ written_found_by_trim, "of 96 bytes: byte 40 was written after" },
	{ written_at_its_end, "of 96 bytes: byte 95 was written after" },
	{ written_at_its_beginning, "of 96 bytes: its first bytes were written after" },
	{ written_found_by_frees, "of 96 bytes: byte 41 was written after" },
	{ written_found_at_thread_exit, "of 96 bytes: byte 43 was written after" },
	{ twice_after_its_thread, "double free" },
	{ written_found_at_close, "of 96 bytes: byte 42 was written after" },
	{ list_overwritten, "of 96 bytes: its first bytes were written after" },
	{ long_after_free, "of 96 bytes: byte 17 was written after" },
};

/* The child's end; what it said on stderr in words. */
static int in_child(void (*act)(void), char *words, size_t bytes)
{
	int status = 0, fd = memfd_create("words", MFD_CLOEXEC);
	ssize_t length;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (!child) {
		alarm(20);
		fake_client_begin(&client, 0);
		broker_hide(client.broker); /* an abort() leaves nothing behind */
		dup2(fd, STDERR_FILENO);
		act();
		_exit(0);
	}
	waitpid(child, &status, 0);
	length = pread(fd, words, bytes - 1, 0);
	words[length > 0 ? length : 0] = 0;
	close(fd);
	return status;
}

static void each_ends_its_process(void)
{
	char words[1024];

	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		int status = in_child(wrongs[i].act, words, sizeof(words));

		if (!strstr(words, wrongs[i].words))
			printf("  case %zu said: %s\n", i, words);
		EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		EXPECT(strstr(words, "libmmbroker: "));
		EXPECT(strstr(words, wrongs[i].words));
	}
}

static const struct test_case cases[] = {
	{ "a wrong free and a write after free end their process", each_ends_its_process },
	{ "no call hits in a hardened heap", every_call_misses },
	{ "a freed object is zeroed and isn't used again at once",
	  freed_objects_are_zero_and_wait },
	{ "a freed run is zeroed", freed_runs_are_zero },
	{ "the quarantine is bounded, and trim empties it", the_quarantine_is_bounded },
	{ "objects keep their contents", objects_stay_as_they_are },
	{ "threads allocate and free, their own objects and others'", threads },
	{ "typed caches and mempools are hardened too", typed_caches },
};

int main(int argc, char **argv)
{
	setenv("MMB_CONF", "harden", 1);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
