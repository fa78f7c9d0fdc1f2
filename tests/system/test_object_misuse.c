/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_object_misuse - wrong frees: each ends its process with a message, and nobody else's
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/client_process.h"
#include "system/stage.h"

static const char *const flags[] = { "--memory.reserve=64M", NULL };
static const struct setting setting = { .flags = flags };
/* The actor's stderr. */
static int words_fd;

struct tools {
	struct mmb_cache   *small, *large;
	struct mmb_mempool *mempool;
};

static struct tools prepare(struct actor *a)
{
	struct tools t = { 0 };

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_cache_open(a->pool, "small", 48, 0, 0, &t.small), 0);
	CLIENT_EXPECT_EQ(mmb_cache_open(a->pool, "large", 48, 0, 0, &t.large), 0);
	CLIENT_EXPECT_EQ(mmb_mempool_open(t.small, 2, &t.mempool), 0);
	CLIENT_EXPECT(dup2(words_fd, STDERR_FILENO) >= 0);
	return t;
}

static void other_cache(struct actor *a)
{
	struct tools t = prepare(a);

	mmb_cache_free(t.small, mmb_cache_alloc(t.large));
}

static void other_cache_in_bulk(struct actor *a)
{
	struct tools t = prepare(a);
	void *objects[3];

	CLIENT_EXPECT_EQ(mmb_cache_alloc_bulk(t.small, 3, objects), 0);
	objects[1] = mmb_cache_alloc(t.large);
	mmb_cache_free_bulk(t.small, 3, objects);
}

static void malloc_object(struct actor *a)
{
	struct tools t = prepare(a);

	mmb_cache_free(t.small, mmb_malloc(a->pool, 48));
}

static void run_object(struct actor *a)
{
	struct tools t = prepare(a);

	mmb_cache_free(t.small, mmb_malloc(a->pool, 1 << 20));
}

static void mempool_of_other_cache(struct actor *a)
{
	struct tools t = prepare(a);

	CLIENT_EXPECT(mmb_mempool_alloc(t.mempool));
	mmb_mempool_free(t.mempool, mmb_cache_alloc(t.large));
}

/* An object that is back in its reserve, as the pool is full. */
static struct tools back_in_reserve(struct actor *a, void **object)
{
	struct tools t = { 0 };

	act_pool(a, 4 * MIB);
	CLIENT_EXPECT_EQ(mmb_cache_open(a->pool, "small", 4096, 0, 0, &t.small), 0);
	CLIENT_EXPECT_EQ(mmb_mempool_open(t.small, 2, &t.mempool), 0);
	while (mmb_cache_alloc(t.small))
		;
	*object = mmb_mempool_alloc(t.mempool);
	CLIENT_EXPECT(*object);
	mmb_mempool_free(t.mempool, *object);
	CLIENT_EXPECT(!mmb_cache_alloc(t.small));
	CLIENT_EXPECT(dup2(words_fd, STDERR_FILENO) >= 0);
	return t;
}

static void reserve_twice(struct actor *a)
{
	void *object;
	struct tools t = back_in_reserve(a, &object);

	mmb_mempool_free(t.mempool, object);
}

static void reserve_then_cache(struct actor *a)
{
	void *object;
	struct tools t = back_in_reserve(a, &object);

	mmb_cache_free(t.small, object);
}

static void reserve_then_bulk(struct actor *a)
{
	void *object;
	struct tools t = back_in_reserve(a, &object);

	mmb_cache_free_bulk(t.small, 1, &object);
}

static void reserve_then_free(struct actor *a)
{
	void *object;

	back_in_reserve(a, &object);
	mmb_free(object);
}

static void no_pool_address(struct actor *a)
{
	struct tools t = prepare(a);

	mmb_cache_free(t.small, &t);
}

static void no_address_at_all(struct actor *a)
{
	int local;

	prepare(a);
	mmb_free(&local);
}

static void twice(struct actor *a)
{
	struct tools t = prepare(a);
	void *p = mmb_cache_alloc(t.small);

	mmb_cache_free(t.small, p);
	mmb_cache_free(t.small, p);
}

static void twice_later(struct actor *a)
{
	struct tools t = prepare(a);
	void *p = mmb_cache_alloc(t.small), *q = mmb_cache_alloc(t.small);

	mmb_cache_free(t.small, q);
	mmb_cache_free(t.small, p);
	mmb_cache_free(t.small, p);
}

static void twice_in_bulk(struct actor *a)
{
	struct tools t = prepare(a);
	void *objects[3];

	CLIENT_EXPECT_EQ(mmb_cache_alloc_bulk(t.small, 3, objects), 0);
	objects[2] = objects[0];
	mmb_cache_free_bulk(t.small, 3, objects);
}

static void malloc_twice(struct actor *a)
{
	void *p;

	prepare(a);
	p = mmb_malloc(a->pool, 100);
	mmb_free(p);
	mmb_free(p);
}

static void run_twice(struct actor *a)
{
	void *p;

	prepare(a);
	p = mmb_malloc(a->pool, 1 << 20);
	mmb_free(p);
	mmb_free(p);
}

static void inside_a_run(struct actor *a)
{
	char *p;

	prepare(a);
	p = mmb_malloc(a->pool, 1 << 20);
	mmb_free(p + 65536);
}

static void inside_a_large_object(struct actor *a)
{
	char *p;

	prepare(a);
	p = mmb_malloc(a->pool, 200000);
	mmb_free(p + 65536);
}

static const struct {
	act_fn      act;
	const char *words;
} wrongs[] = {
	{ other_cache, "not of cache 'small'" },
	{ other_cache_in_bulk, "not of cache 'small'" },
	{ malloc_object, "mmb_cache_free(0x" },
	{ malloc_object, "comes from mmb_malloc()" },
	{ run_object, "comes from mmb_malloc()" },
	{ mempool_of_other_cache, "not of cache 'small'" },
	{ reserve_twice, "double free" },
	{ reserve_then_cache, "double free" },
	{ reserve_then_bulk, "double free" },
	{ reserve_then_free, "double free" },
	{ no_pool_address, "no address of the cache's pool" },
	{ no_address_at_all, "no address of an open pool" },
	{ twice, "double free" },
	{ twice_later, "double free" },
	{ twice_in_bulk, "double free" },
	{ malloc_twice, "double free" },
	{ run_twice, "double free" },
	{ inside_a_run, "inside an object" },
	{ inside_a_large_object, "no object begins there" },
};

static void each_ends_its_process(void)
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
		EXPECT(length > 0);
		words[length > 0 ? length : 0] = 0;
		if (!strstr(words, wrongs[i].words))
			printf("  case %zu said: %s", i, words);
		EXPECT(strstr(words, "libmmbroker: "));
		EXPECT(strstr(words, wrongs[i].words));
	}
}

static const struct test_case cases[] = {
	{ "a wrong free ends its process with a message", each_ends_its_process },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
