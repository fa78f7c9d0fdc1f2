/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unclosed - programs that close the connection and not the pools, and that have many
 *
 * Purpose     mmb_close() gives everything back: a program that opens and closes connections as
 *             long as it lives has no more descriptors and mappings than after the first ones, also
 *             if another of its threads has used the pools. The handles answer that they are
 *             closed, and can be closed later. A process may have more pools open than a connection
 *             can have.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "system/stage.h"

enum { ROUNDS = 400, WARM = 20, OBJECT = 200, MORE_MAPS = 4 };

static const char *const flags[] = { "--memory.reserve=256M", NULL };
static const struct setting setting = { .flags = flags };

static unsigned int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int nr = 0;

	CLIENT_EXPECT(dir);
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

/* AddressSanitizer has more and more of its own. */
#ifdef __SANITIZE_ADDRESS__
static const char any[] = "mmb-";
#else
static const char any[] = "";
#endif

/* Those whose lines have that in them. */
static unsigned int count_mappings(const char *what)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int nr = 0;
	char line[512];

	CLIENT_EXPECT(maps);
	while (fgets(line, sizeof(line), maps))
		nr += strstr(line, what) != NULL;
	fclose(maps);
	return nr;
}

/* ---- a thread that uses what the other opens ---- */

struct helper {
	sem_t go, done;
	struct mmb_pool *pool; /* of this round; NULL: no more rounds */
};

static void use(struct mmb_pool *pool)
{
	char *object = mmb_malloc(pool, OBJECT), *run = mmb_alloc_pages(pool, 0, 0);

	CLIENT_EXPECT(object && run);
	object[0] = run[0] = 1;
}

static void *help(void *argument)
{
	struct helper *h = argument;

	for (;;) {
		sem_wait(&h->go);
		if (!h->pool)
			break;
		use(h->pool);
		sem_post(&h->done);
	}
	return NULL;
}

static void open_one(struct actor *a, unsigned int round, struct mmb **mmb, struct mmb_pool **pool)
{
	bool shared = round % 2;

	CLIENT_EXPECT_EQ(mmb_open(a->socket, NULL, mmb), 0);
	CLIENT_EXPECT_EQ(mmb_pool_open(*mmb, shared ? "shared" : NULL,
				       shared ? MMB_POOL_CREATE : MMB_POOL_PRIVATE, NULL, pool), 0);
}

/* ---- the cases ---- */

static void open_and_close(struct actor *a)
{
	static struct mmb_pool *pools[ROUNDS];
	unsigned int descriptors = 0, mappings = 0;
	struct helper h = { 0 };
	pthread_t thread;

	sem_init(&h.go, 0, 0);
	sem_init(&h.done, 0, 0);
	CLIENT_EXPECT(!pthread_create(&thread, NULL, help, &h));
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct mmb *mmb;

		open_one(a, i, &mmb, &pools[i]);
		use(pools[i]);
		h.pool = pools[i];
		sem_post(&h.go);
		sem_wait(&h.done);
		mmb_close(mmb);
		if (i == WARM) {
			descriptors = count_descriptors();
			mappings = count_mappings(any);
		}
	}
	CLIENT_EXPECT(count_descriptors() <= descriptors);
	CLIENT_EXPECT(count_mappings(any) <= mappings + MORE_MAPS);
	h.pool = NULL;
	sem_post(&h.go);
	pthread_join(thread, NULL);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		errno = 0;
		CLIENT_EXPECT(!mmb_malloc(pools[i], OBJECT));
		CLIENT_EXPECT_EQ(errno, ENOTCONN);
		CLIENT_EXPECT(!mmb_alloc_pages(pools[i], 0, 0));
		CLIENT_EXPECT_EQ(mmb_trim(pools[i]), -ENOTCONN);
		mmb_pool_close(pools[i]);
	}
	CLIENT_EXPECT(count_descriptors() < descriptors); /* the thread's last pool is gone, too */
}

static void connections_leave_nothing(void)
{
	stage_set(&setting);
	PLAY(ROLE(open_and_close));
}

/* More than one connection may have. */
static void open_many(struct actor *a)
{
	enum { CONNECTIONS = 6, EACH = 200 };
	static struct mmb_pool *pools[CONNECTIONS][EACH];
	struct mmb *mmb[CONNECTIONS];
	char name[16], *object = NULL;

	for (unsigned int i = 0; i < CONNECTIONS; i++) {
		CLIENT_EXPECT_EQ(mmb_open(a->socket, NULL, &mmb[i]), 0);
		for (unsigned int k = 0; k < EACH; k++) {
			snprintf(name, sizeof(name), "many-%u", k % 8);
			CLIENT_EXPECT_EQ(mmb_pool_open(mmb[i], name, MMB_POOL_CREATE, NULL,
						       &pools[i][k]), 0);
			mmb_free(object);
			object = mmb_malloc(pools[i][k], OBJECT);
			CLIENT_EXPECT(object);
		}
	}
	mmb_free(object);
	for (unsigned int i = 0; i < CONNECTIONS; i++)
		mmb_close(mmb[i]);
	for (unsigned int i = 0; i < CONNECTIONS; i++)
		for (unsigned int k = 0; k < EACH; k++)
			mmb_pool_close(pools[i][k]);
}

static void many_at_once(void)
{
	stage_set(&setting);
	PLAY(ROLE(open_many));
}

/* Each has its own addresses; those of closed ones stay for a while. */
static void open_side_by_side(struct actor *a)
{
	enum { SIDE_BY_SIDE = 110, LEFT = 64 };
	static struct mmb_pool *pools[SIDE_BY_SIDE];
	struct mmb *mmb;

	CLIENT_EXPECT_EQ(mmb_open(a->socket, NULL, &mmb), 0);
	for (unsigned int i = 0; i < SIDE_BY_SIDE; i++) {
		CLIENT_EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pools[i]), 0);
		use(pools[i]);
	}
	CLIENT_EXPECT(count_mappings("mmb-arena") >= SIDE_BY_SIDE);
	for (unsigned int i = 0; i < SIDE_BY_SIDE; i++)
		mmb_pool_close(pools[i]);
	CLIENT_EXPECT(count_mappings("mmb-arena") <= LEFT + MORE_MAPS);
	mmb_close(mmb);
}

static void closed_pools_leave_few_mappings(void)
{
	stage_set(&setting);
	PLAY(ROLE(open_side_by_side));
}

static const struct test_case cases[] = {
	{ "connections whose pools aren't closed leave no descriptor and no mapping behind",
	  connections_leave_nothing },
	{ "a process has more pools open than a connection can have", many_at_once },
	{ "of pools that are closed in an open connection few mappings are left",
	  closed_pools_leave_few_mappings },
	STAGE_STOPS,
};
TEST_MAIN(cases)
