/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_snapshots - clones as an operator has them: by name, charged, in other pools
 *
 * Not here    What clones show, rollback (test_clones.c).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB };

/* Nothing is made or broken around a touch, so that what is counted is exact. */
static struct mmb_region *one_by_one(struct mmb_region *region)
{
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, mmb_region_length(region),
					   MMB_ADVISE_RANDOM), 0);
	return region;
}

/* ---- what mmbctl does by name ---- */

static int64_t figure(struct actor *a, const char *name, const char *key)
{
	char mark[80];

	snprintf(mark, sizeof(mark), "\"name\":\"%s\"", name);
	return json_number(mmbctl(a->socket, "region ls common --json"), mark, key);
}

static void snapshot_by_name(struct actor *a)
{
	struct mmb_region *region, *other, *snapshot = NULL;

	act_common_pool(a);
	region = one_by_one(act_named(a, "table", BYTES));
	other = act_named(a, "index", BYTES);
	stamp(act_at(region), BYTES, 1);
	stamp(act_at(other), BYTES, 2);
	CLIENT_EXPECT(mmbctl(a->socket, "region clone common table t1 index i1"));
	CLIENT_EXPECT_EQ(figure(a, "t1", "parent"), figure(a, "table", "id"));
	CLIENT_EXPECT_EQ(figure(a, "t1", "inherited"), BYTES);
	stamp(act_at(region), BYTES / 4, 3);
	stamp(act_at(other), BYTES, 4);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "i1", 0, MMB_REGION_READONLY, NULL, &snapshot),
			 0);
	CLIENT_EXPECT(is_stamped(act_at(snapshot), BYTES, 2));
	CLIENT_EXPECT_EQ(figure(a, "t1", "inherited"), BYTES - BYTES / 4);
	CLIENT_EXPECT_EQ(figure(a, "t1", "own"), BYTES / 4);
	CLIENT_EXPECT_EQ(figure(a, "t1", "shared"), BYTES - BYTES / 4);
	CLIENT_EXPECT(mmbctl(a->socket, "region rollback common table t1"));
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	/* One that is there already, or isn't: nothing is made. */
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone common table t2 index i1"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone common table t2 nothing n2"));
	CLIENT_EXPECT_EQ(figure(a, "t2", "id"), -1);
	CLIENT_EXPECT(!mmbctl(a->socket, "region rollback common table nothing"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone nowhere table t2"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common t1"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common i1"));
	mmb_region_close(snapshot);
	mmb_region_close(other);
	mmb_region_close(region);
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common table"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common index"));
	CLIENT_EXPECT_EQ(figure(a, "table", "id"), -1);
}

static void snapshots_by_name(void)
{
	PLAY(ROLE(snapshot_by_name));
}

static void rob(struct actor *a)
{
	await(1);
	CLIENT_EXPECT(!mmbctl(a->socket, "region clone common private-table copy"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region rollback common private-table private-table"));
	CLIENT_EXPECT(!mmbctl(a->socket, "region rm common private-table"));
	cue(2);
}

static void guard(struct actor *a)
{
	struct mmb_region *region = NULL;

	act_common_pool(a);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "private-table", BYTES, MMB_REGION_CREATE, NULL,
					 &region), 0);
	cue(1);
	await(2);
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "private-table"), 0);
}

static void strangers_have_no_snapshots(void)
{
	need_root("another user's client");
	PLAY(ROLE(guard), ROLE(rob, .nobody = true));
}

/* ---- who is charged ---- */

static uint64_t committed(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	return stat.committed;
}

/* What has been closed is settled in the background. */
static void wait_for_committed(struct actor *a, uint64_t bytes)
{
	for (int i = 0; i < 20000 && committed(a) != bytes; i++)
		usleep(1000);
	CLIENT_EXPECT_EQ(committed(a), bytes);
}

static void heirs_are_charged(struct actor *a)
{
	struct mmb_region *region, *older, *younger;

	act_pool(a, 0);
	region = one_by_one(act_region(a, BYTES, 0));
	stamp(act_at(region), BYTES / 2, 1);
	older = one_by_one(act_clone(region, NULL, 0));
	younger = act_clone(region, NULL, 0);
	CLIENT_EXPECT_EQ(committed(a), 3 * BYTES); /* in full */
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES / 2);
	CLIENT_EXPECT_EQ(act_stat(older).own, 0);
	stamp(act_at(older), BYTES / 8, 2);
	CLIENT_EXPECT_EQ(act_stat(older).own, BYTES / 8);
	CLIENT_EXPECT_EQ(act_stat(older).shared, BYTES / 2 - BYTES / 8);
	/* The closed one is charged for what others show, and no more. */
	mmb_region_close(region);
	wait_for_committed(a, 2 * BYTES + BYTES / 2);
	mmb_region_close(younger);
	wait_for_committed(a, BYTES + BYTES / 2 - BYTES / 8);
	CLIENT_EXPECT_EQ(act_stat(older).own, BYTES / 2);
	CLIENT_EXPECT_EQ(act_stat(older).shared, 0);
	CLIENT_EXPECT(mmbctl(a->socket, "verify"));
	stamp(act_at(older) + BYTES / 8, PAGE, 2); /* a single page goes, too */
	wait_for_committed(a, BYTES + BYTES / 2 - BYTES / 8 - PAGE);
	CLIENT_EXPECT_EQ(act_stat(older).own, BYTES / 2);
	stamp(act_at(older), BYTES, 3);
	wait_for_committed(a, BYTES);
	CLIENT_EXPECT_EQ(act_stat(older).own, BYTES);
	mmb_region_close(older);
	wait_for_committed(a, 0);
}

static void closed_regions_are_charged_for_what_is_shown(void)
{
	PLAY(ROLE(heirs_are_charged));
}

static void take_all(struct actor *a)
{
	struct mmb_region *region, *clone, *more = NULL;

	act_pool(a, 3 * BYTES);
	region = one_by_one(act_region(a, BYTES, 0));
	stamp(act_at(region), BYTES, 1);
	clone = one_by_one(act_clone(region, NULL, 0));
	mmb_region_close(region);
	stamp(act_at(clone), PAGE, 2);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES + 2 * PAGE, NULL, &more), -ENOMEM);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES + PAGE, NULL, &more), 0);
	mmb_region_close(more);
	mmb_region_close(clone);
}

static void what_nobody_shows_is_nobodys(void)
{
	PLAY(ROLE(take_all));
}

static void clone_into_another_pool(struct actor *a)
{
	struct mmb_clone_options there = { .size = sizeof(there) };
	struct mmb_region *region, *clone = NULL;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &there.pool), 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, &there, &clone), 0);
	stamp(act_at(region), BYTES / 2, 2);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES / 4, 1));
	/* Nothing of the parent's stays in its pool for a clone in another. */
	mmb_region_close(region);
	wait_for_committed(a, 0);
	CLIENT_EXPECT_EQ(act_stat(clone).own, BYTES);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 1));
	mmb_region_close(clone);
	mmb_pool_close(there.pool);
}

static void clones_in_other_pools_are_copies(void)
{
	PLAY(ROLE(clone_into_another_pool));
}

/* ---- a region with few pages in it, which are all that a clone of it looks at ---- */

enum { SPARSE_PLACES = 600, SPARSE_CLONES = 12 };
#define SPARSE_BYTES (2ull * 1024 * MIB + 3 * MIB)

/* In any order, and the last page at last. */
static uint64_t place_of(uint64_t k)
{
	uint64_t nr = SPARSE_BYTES / PAGE;

	return (k == SPARSE_PLACES - 1 ? nr - 1 : k * 2654435761u % nr) * PAGE;
}

static void *write_places(void *base)
{
	for (uint64_t k = 0; k < SPARSE_PLACES; k++) {
		*(uint64_t *)((char *)base + place_of(k)) = k + 1;
		if (k % 8 == 0)
			usleep(1000);
	}
	return NULL;
}

/* What was written before something that it has it has, too. */
static void expect_one_instant(struct mmb_region *clone, bool whole)
{
	char *at = act_at(clone);
	bool is_there = true;

	for (uint64_t k = 0; k < SPARSE_PLACES; k++) {
		uint64_t value = *(uint64_t *)(at + place_of(k));

		CLIENT_EXPECT(value == k + 1 || (!value && !whole));
		CLIENT_EXPECT(!value || is_there);
		is_there = value;
		CLIENT_EXPECT_EQ(*(uint64_t *)(at + (place_of(k) + 5 * MIB) % SPARSE_BYTES / PAGE *
						      PAGE + 8), 0);
	}
}

static void clone_of_little(struct actor *a)
{
	struct mmb_region *region, *clones[SPARSE_CLONES];
	pthread_t writer;

	act_open(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "few", MMB_POOL_CREATE | MMB_POOL_OVERCOMMIT, NULL,
				       &a->pool), 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, SPARSE_BYTES, NULL, &region), 0);
	CLIENT_EXPECT_EQ(pthread_create(&writer, NULL, write_places, act_at(region)), 0);
	for (int i = 0; i < SPARSE_CLONES; i++)
		clones[i] = act_clone(region, NULL, 0);
	CLIENT_EXPECT_EQ(pthread_join(writer, NULL), 0);
	for (int i = 0; i < SPARSE_CLONES; i++) {
		expect_one_instant(clones[i], false);
		mmb_region_close(clones[i]);
	}
	clones[0] = act_clone(region, NULL, 0);
	clones[1] = act_clone(clones[0], NULL, 0);
	CLIENT_EXPECT_EQ(act_stat(clones[0]).shared, SPARSE_PLACES * PAGE);
	mmb_region_close(region);
	mmb_region_close(clones[0]);
	expect_one_instant(clones[1], true);
}

static void a_clone_of_little(void)
{
	PLAY(ROLE(clone_of_little));
}

/* ---- what a client has lost ---- */

enum { LOST_AT = 16 * PAGE, LOST_OTHER_HAS_IT = 1, LOST_IS_BACK, LOST_TRIES = 5000 };

static void roll_what_is_lost(struct actor *a)
{
	struct mmb_region *region, *snapshot;
	char *at, byte;

	act_common_pool(a);
	region = one_by_one(act_named(a, "lost", BYTES));
	snapshot = act_region(a, BYTES, 0);
	at = act_at(region);
	stamp(at, BYTES, 1);
	stamp(act_at(snapshot), BYTES, 2);
	CLIENT_EXPECT_EQ(madvise(at + LOST_AT, PAGE, MADV_REMOVE), 0);
	CLIENT_EXPECT_EQ(touch_read(at + LOST_AT, &byte), SIGBUS);
	await(LOST_OTHER_HAS_IT);
	CLIENT_EXPECT_EQ(mmb_region_rollback(region, snapshot), 0);
	CLIENT_EXPECT_EQ(touch_read(at + LOST_AT, &byte), 0);
	CLIENT_EXPECT(is_stamped(at, BYTES, 2));
	cue(LOST_IS_BACK);
	mmb_region_close(snapshot);
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "lost"), 0);
}

/* The broker tells it, and waits for nobody. */
static void find_it_back(struct actor *a)
{
	struct mmb_region *region;
	char byte;

	act_common_pool(a);
	region = one_by_one(act_named(a, "lost", BYTES));
	while (touch_read(act_at(region) + LOST_AT, &byte) != SIGBUS)
		usleep(1000);
	cue(LOST_OTHER_HAS_IT);
	await(LOST_IS_BACK);
	for (int i = 0; touch_read(act_at(region) + LOST_AT, &byte) && i < LOST_TRIES; i++)
		usleep(1000);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
	mmb_region_close(region);
}

/* Where the kernel can't poison nothing is left to be brought back. */
static void lose_and_end(struct actor *a)
{
	struct mmb_region *region;
	char byte;

	act_pool(a, 0);
	region = one_by_one(act_region(a, BYTES, 0));
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT_EQ(madvise(act_at(region) + LOST_AT, PAGE, MADV_REMOVE), 0);
	touch_read(act_at(region) + LOST_AT, &byte);
	CLIENT_EXPECT(!"who has lost a page goes on");
}

static void rollback_brings_back_what_was_lost(void)
{
	if (getenv("MMB_HIDE"))
		PLAY(ROLE(lose_and_end, .status = -SIGKILL));
	else
		PLAY(ROLE(roll_what_is_lost), ROLE(find_it_back));
}

static const struct test_case cases[] = {
	{ "mmbctl makes snapshots by name, and rolls back", snapshots_by_name },
	{ "mmbctl lets strangers do nothing to a region", strangers_have_no_snapshots },
	{ "closed regions are charged for what others show, and no more",
	  closed_regions_are_charged_for_what_is_shown },
	{ "who asks for the last memory gets what only a closed region has",
	  what_nobody_shows_is_nobodys },
	{ "a clone in another pool leaves nothing in its parent's",
	  clones_in_other_pools_are_copies },
	{ "a clone of a region with few pages in it has them all, of one instant",
	  a_clone_of_little },
	{ "a page that was lost is the snapshot's after a rollback, for all clients",
	  rollback_brings_back_what_was_lost },
	STAGE_STOPS,
};
TEST_MAIN(cases)
