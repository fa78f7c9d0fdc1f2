/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_readonly - who opens a region read-only sees everything and changes nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/raw_client.h"
#include "system/stage.h"

enum { BYTES = 2 * HUGE_PAGE, HUGE_STOCK_PAGES = 16 };

static const char *const flags[] = { "--memory.reserve=96M", "--memory.pass_userfaultfd=all",
				     NULL };
static const char *const huge_flags[] = { "--memory.reserve=96M", "--memory.reserve_huge=32M",
					  "--memory.pass_userfaultfd=all", NULL };
static const struct setting setting = { .flags = flags };
static const struct setting huge_setting = { .flags = huge_flags };

/* The page size of a scene. */
static uint32_t page_size;

static struct mmb_region *open_as(struct actor *a, unsigned int open_flags, size_t bytes)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .mode = 0644,
						    .page_size = page_size };
	struct mmb_region *region = NULL;

	if (mmb_region_open(a->pool, "r", bytes, open_flags, &options, &region))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(region);
	return region;
}

static void write_for_reader(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_common_pool(a);
	region = open_as(a, MMB_REGION_CREATE, BYTES);
	at = act_at(region);
	stamp(at, BYTES / 2, 1);
	cue(1);
	await(2);
	stamp(at, BYTES / 4, 2);
	stamp(at + BYTES / 2, BYTES / 2, 3);
	cue(3);
	await(4);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, page_size, MMB_ADVISE_DONTNEED), 0);
	cue(5);
	await(6);
	at[5] = 5;
	cue(7);
	await(8);
	CLIENT_EXPECT(is_stamped(at + BYTES / 2, BYTES / 2, 3));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "r"), 0);
}

static void read_only(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_common_pool(a);
	await(1);
	region = open_as(a, MMB_REGION_READONLY, 0);
	at = act_at(region);
	CLIENT_EXPECT(is_stamped(at, BYTES / 2, 1));
	CLIENT_EXPECT(is_zero(at + BYTES / 2, BYTES / 2));
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	cue(2);
	await(3);
	CLIENT_EXPECT(is_stamped(at, BYTES / 4, 2));
	CLIENT_EXPECT(is_stamped(at + BYTES / 2, BYTES / 2, 3));
	cue(4);
	await(5);
	CLIENT_EXPECT(is_zero(at, page_size));
	cue(6);
	await(7);
	CLIENT_EXPECT_EQ(at[5], 5);
	CLIENT_EXPECT_EQ(touch_write(at, 1), SIGSEGV);
	CLIENT_EXPECT_EQ(touch_write(at + BYTES - 1, 1), SIGSEGV);
	CLIENT_EXPECT_EQ(at[0], 0);
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(touch_write(at, 1), SIGSEGV);
	cue(8);
}

static void play_both(uint32_t size, bool by_stranger)
{
	page_size = size;
	PLAY(ROLE(write_for_reader), ROLE(read_only, .nobody = by_stranger));
}

static void sees_changes(void)
{
	play_both(PAGE, false);
	play_both(HUGE_PAGE, false);
}

static void stranger_sees_changes(void)
{
	need_root("becoming another user");
	play_both(PAGE, true);
	play_both(HUGE_PAGE, true);
}

static void sees_changes_on_hugetlb(void)
{
	if (!hugepages_get(HUGE_STOCK_PAGES))
		SKIP("32 MiB of free huge pages: vm.nr_hugepages is too low, and raising it "
		     "needs root");
	stage_set(&huge_setting);
	play_both(HUGE_PAGE, false);
	stage_set(&setting);
}

/* ---- what a reader may not ---- */

static void make_and_wait(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = open_as(a, MMB_REGION_CREATE, BYTES);
	stamp(act_at(region), BYTES, 1);
	cue(1);
	await(2);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	CLIENT_EXPECT_EQ(act_stat(region).locked, 0);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "r"), 0);
}

static void ask_for_changes(struct actor *a)
{
	struct mmb_region *region, *other = NULL;

	act_common_pool(a);
	await(1);
	region = open_as(a, MMB_REGION_READONLY, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, PAGE, MMB_ADVISE_DONTNEED), -EACCES);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, PAGE, MMB_ADVISE_FREE), -EACCES);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, PAGE), -EACCES);
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, 0, PAGE), -EACCES);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, PAGE, MMB_ADVISE_WILLNEED), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_SEQUENTIAL), 0);
	CLIENT_EXPECT(strstr(mmbctl_maps(a->socket, getpid()), " r--p "));
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES,
					   &(struct mmb_region_options){
						   .size = sizeof(struct mmb_region_options),
						   .flags = MMB_REGION_READONLY },
					   &other),
			 -EINVAL);
	/* Its own copy, if it makes its window writable: nobody else sees that. */
	CLIENT_EXPECT_EQ(mprotect(act_at(region), PAGE, PROT_READ | PROT_WRITE), 0);
	touch_write(act_at(region), 77);
	cue(2);
}

static void refused_to_readers(void)
{
	page_size = PAGE;
	PLAY(ROLE(make_and_wait), ROLE(ask_for_changes));
}

/* With the descriptor in its hands, as the library has it for a moment. */
static void try_descriptor(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CLIENT_EXPECT(open(path, O_RDWR) < 0 && errno == EACCES);
	CLIENT_EXPECT(open(path, O_WRONLY) < 0 && errno == EACCES);
	CLIENT_EXPECT(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CLIENT_EXPECT(pwrite(fd, path, 1, 0) < 0);
	CLIENT_EXPECT(ftruncate(fd, 0) < 0);
	CLIENT_EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BYTES) < 0);
	CLIENT_EXPECT(fchmod(fd, 0600) < 0);
}

static void try_map_files(const char *at)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)(uintptr_t)at,
		 (unsigned long)(uintptr_t)at + BYTES);
	fd = open(path, O_RDWR);
	CLIENT_EXPECT(fd < 0);
}

static void reopen(struct actor *a)
{
	static struct raw r;
	const struct raw_region_want want = { .name = "r", .flags = MMB_REGION_READONLY };
	struct raw_region region;

	await(1);
	CLIENT_EXPECT_EQ(raw_session(&r, a->socket, "stranger"), 0);
	CLIENT_EXPECT_EQ(raw_pool(&r, "common", 0), 0);
	CLIENT_EXPECT_EQ(raw_region_open(&r, &want, &region), 0);
	CLIENT_EXPECT(is_stamped(region.at, BYTES, 1));
	try_descriptor(region.fd);
	try_map_files(region.at);
	raw_close(&r);
	cue(2);
}

static void reopened_by_a_stranger(void)
{
	need_root("becoming another user");
	page_size = PAGE;
	PLAY(ROLE(make_and_wait), ROLE(reopen, .nobody = true));
}

/* Pinning them is a change to others. */
static void lock_by_opening(struct actor *a)
{
	const unsigned int reading = MMB_REGION_READONLY;
	struct mmb_region *region = NULL;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", 0, reading | MMB_REGION_LOCKED, NULL,
					 &region), -EACCES);
	region = open_as(a, reading | MMB_REGION_POPULATE, 0);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	cue(2);
}

static void a_stranger_cant_lock(void)
{
	need_root("becoming another user");
	page_size = PAGE;
	PLAY(ROLE(make_and_wait), ROLE(lock_by_opening, .nobody = true));
}

static int open_named(struct actor *a, const char *name, unsigned int open_flags,
		      struct mmb_region **region)
{
	return mmb_region_open(a->pool, name, 0, open_flags, NULL, region);
}

static void keep_a_snapshot(struct actor *a)
{
	struct mmb_region *region, *clone, *again = NULL;

	act_common_pool(a);
	region = open_as(a, MMB_REGION_CREATE, BYTES);
	stamp(act_at(region), BYTES, 1);
	clone = act_clone(region, "kept", MMB_REGION_READONLY);
	CLIENT_EXPECT_EQ(open_named(a, "kept", 0, &again), -EACCES);
	CLIENT_EXPECT_EQ(open_named(a, "kept", MMB_REGION_READONLY, &again), 0);
	CLIENT_EXPECT(is_stamped(act_at(again), BYTES, 1));
	CLIENT_EXPECT_EQ(touch_write(act_at(again), 1), SIGSEGV);
	mmb_region_close(again);
	again = act_clone(clone, "changed", 0);
	mmb_region_close(again);
	CLIENT_EXPECT_EQ(open_named(a, "changed", 0, &again), 0);
	stamp(act_at(again), BYTES, 2);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 1));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "kept"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "changed"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "r"), 0);
}

static void a_named_snapshot_stays_as_it_is(void)
{
	need_root("becoming another user");
	page_size = PAGE;
	PLAY(ROLE(keep_a_snapshot, .nobody = true));
}

static const struct test_case cases[] = {
	{ "a read-only open sees data, later changes and dropped pages; writing is SIGSEGV",
	  sees_changes },
	{ "the same for a stranger who may only read", stranger_sees_changes },
	{ "a reader can't drop, free or lock; and what it does to its window stays with it",
	  refused_to_readers },
	{ "a stranger who may only read can't lock pages by opening", a_stranger_cant_lock },
	{ "a stranger can't make a read-only descriptor writable", reopened_by_a_stranger },
	{ "a read-only open of 2 MiB pages on hugetlb", sees_changes_on_hugetlb },
	{ "a named read-only clone is opened for writing by nobody",
	  a_named_snapshot_stays_as_it_is },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
