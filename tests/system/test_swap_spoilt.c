/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_spoilt - blocks of the swap file that are flipped, torn, stale or misdirected
 *
 * The file is changed from outside while the daemon runs. The page whose block it is raises SIGBUS
 * with a cause; its neighbours, other clients and the area itself go on. Blocks are found by what
 * stands in them, so that nothing about the file's layout is assumed but that a page is stored
 * as it is, in 4 KiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/lib/pattern.h"
#include "system/swap_scene.h"

enum {
	PAGES = 512,
	RESERVE_MIB = 96,
	SWAP_MIB = 64,
	BLOCKS = SWAP_MIB * MIB / PAGE,
	SPOILT = 100, /* a page in the middle of others */
	OTHER = 300,
	NEIGHBOUR_PAGES = 256,
	OWNER_OBJECT = 1,
	NEIGHBOUR_OBJECT = 2,
};

/* ---- the file, from outside ---- */

static int open_file(void)
{
	int fd = open(swap_scene_path(), O_RDWR | O_DIRECT | O_CLOEXEC);

	EXPECT(fd >= 0);
	return fd;
}

static char *aligned_page(unsigned int i)
{
	static char memory[3 * PAGE] __attribute__((aligned(4096)));

	return memory + (size_t)i * PAGE;
}

/* The block that holds this page in this generation; -1: none. */
static off_t find_block(int fd, uint64_t page, uint32_t generation)
{
	char *block = aligned_page(0);

	for (off_t at = 0; at < (off_t)BLOCKS * PAGE; at += PAGE) {
		if (pread(fd, block, PAGE, at) != PAGE)
			break;
		if (pattern_check(block, PAGE, pattern_key(OWNER_OBJECT, page), generation) < 0)
			return at;
	}
	return -1;
}

static void put_block(int fd, off_t at, const char *bytes)
{
	EXPECT_EQ(pwrite(fd, bytes, PAGE, at), PAGE);
	EXPECT_EQ(fsync(fd), 0);
}

typedef void (*spoil_fn)(int fd);

static void flip(int fd)
{
	off_t at = find_block(fd, SPOILT, 2);

	EXPECT(at >= 0);
	aligned_page(0)[1234] ^= 8;
	put_block(fd, at, aligned_page(0));
}

/* The second half is what stood there before. */
static void tear(int fd)
{
	off_t at = find_block(fd, SPOILT, 2);

	EXPECT(at >= 0);
	pattern_fill(aligned_page(1), PAGE, pattern_key(OWNER_OBJECT, SPOILT), 1);
	memcpy(aligned_page(0) + PAGE / 2, aligned_page(1) + PAGE / 2, PAGE / 2);
	put_block(fd, at, aligned_page(0));
}

/* A write that the disk said it had done, and had not. */
static void make_stale(int fd)
{
	off_t at = find_block(fd, SPOILT, 2);

	EXPECT(at >= 0);
	pattern_fill(aligned_page(1), PAGE, pattern_key(OWNER_OBJECT, SPOILT), 1);
	put_block(fd, at, aligned_page(1));
}

/* Another page's block, as it is on the disk, in place of this one's. */
static void misdirect(int fd)
{
	off_t at = find_block(fd, SPOILT, 2), from;

	EXPECT(at >= 0);
	from = find_block(fd, OTHER, 2);
	EXPECT(from >= 0 && from != at);
	put_block(fd, at, aligned_page(0));
}

static void blank(int fd)
{
	off_t at = find_block(fd, SPOILT, 2);

	EXPECT(at >= 0);
	memset(aligned_page(0), 0, PAGE);
	put_block(fd, at, aligned_page(0));
}

/* ---- the clients ---- */

enum { CUE_OUT = 1, CUE_SPOILT, CUE_NEIGHBOUR };
enum { NUMBER_AT };

static void write_pages(char *at, uint64_t object, uint32_t pages, uint32_t generation)
{
	for (uint32_t i = 0; i < pages; i++)
		pattern_fill(at + (size_t)i * PAGE, PAGE, pattern_key(object, i), generation);
}

static bool page_is(const char *at, uint64_t object, uint32_t page, uint32_t generation)
{
	return pattern_check(at + (size_t)page * PAGE, PAGE, pattern_key(object, page),
			     generation) < 0;
}

static void expect_poisoned(char *at)
{
	struct mmb_fault_info info = { .size = sizeof(info) };
	char byte;

	CLIENT_EXPECT_EQ(touch_read(at + (size_t)SPOILT * PAGE, &byte), SIGBUS);
	CLIENT_EXPECT_EQ(mmb_fault_info(at + (size_t)SPOILT * PAGE, &info), 0);
	printf("  %s at %#llx: %s\n", info.region, (unsigned long long)info.offset, info.cause);
	CLIENT_EXPECT_EQ(info.offset, (uint64_t)SPOILT * PAGE);
	CLIENT_EXPECT(info.error);
	CLIENT_EXPECT(info.cause[0]);
	/* And it stays so, for system calls and for writes. */
	CLIENT_EXPECT_EQ(touch_write(at + (size_t)SPOILT * PAGE, 1), SIGBUS);
}

/* Two generations go out one after the other, so that there is something stale. Everything but the
 * spoilt page comes back; dropped, the page is good again, and so is its area. */
static void owner(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_pool(a, 0);
	region = act_region(a, (size_t)PAGES * PAGE, 0);
	at = act_at(region);
	for (uint32_t generation = 1; generation <= 2; generation++) {
		write_pages(at, OWNER_OBJECT, PAGES, generation);
		swap_scene_out(region);
	}
	cue(CUE_OUT);
	await(CUE_SPOILT);
	for (uint32_t page = 0; page < PAGES; page++)
		CLIENT_EXPECT(page == SPOILT || page_is(at, OWNER_OBJECT, page, 2));
	expect_poisoned(at);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, (size_t)SPOILT * PAGE, PAGE,
					   MMB_ADVISE_DONTNEED),
			 0);
	CLIENT_EXPECT(is_zero(at + (size_t)SPOILT * PAGE, PAGE));
	write_pages(at, OWNER_OBJECT, PAGES, 3);
	swap_scene_out(region);
	for (uint32_t page = 0; page < PAGES; page++)
		CLIENT_EXPECT(page_is(at, OWNER_OBJECT, page, 3));
	mmb_region_close(region);
}

/* Has swapped too, and goes in and out all the time. */
static void neighbour(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_pool(a, 0);
	region = act_region(a, (size_t)NEIGHBOUR_PAGES * PAGE, 0);
	at = act_at(region);
	write_pages(at, NEIGHBOUR_OBJECT, NEIGHBOUR_PAGES, 1);
	await(CUE_OUT);
	for (uint32_t generation = 1; generation <= 4; generation++) {
		write_pages(at, NEIGHBOUR_OBJECT, NEIGHBOUR_PAGES, generation);
		swap_scene_out(region);
		for (uint32_t page = 0; page < NEIGHBOUR_PAGES; page++)
			CLIENT_EXPECT(page_is(at, NEIGHBOUR_OBJECT, page, generation));
	}
	await(CUE_SPOILT);
	swap_scene_out(region);
	for (uint32_t page = 0; page < NEIGHBOUR_PAGES; page++)
		CLIENT_EXPECT(page_is(at, NEIGHBOUR_OBJECT, page, 4));
	mmb_region_close(region);
}

static void play(spoil_fn spoil)
{
	struct fixture *f = stage_begin();
	int fd;

	CAST(ROLE(owner), ROLE(neighbour));
	EXPECT(cue_comes(CUE_OUT));
	fd = open_file();
	spoil(fd);
	close(fd);
	cue(CUE_SPOILT);
	EXPECT(stage_ended(0));
	EXPECT(stage_ended(1));
	swap_scene_intact(f->socket, 1);
	stage_end();
}

static void flipped(void)
{
	struct stat status;

	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	stage_begin();
	EXPECT_EQ(stat(swap_scene_path(), &status), 0);
	EXPECT_EQ(status.st_mode & 0777, 0600);
	stage_end();
	play(flip);
}

static void torn(void)
{
	play(tear);
}

static void stale(void)
{
	play(make_stale);
}

static void misdirected(void)
{
	play(misdirect);
}

static void zeroed(void)
{
	play(blank);
}

static const struct test_case cases[] = {
	{ "a flipped bit: SIGBUS at that page, with a cause, and nowhere else", flipped },
	{ "a torn block: the same", torn },
	{ "a stale block, a write that was lost: the same", stale },
	{ "a misdirected block, right data of another page: the same", misdirected },
	{ "a block that reads zero: the same, and never zeros", zeroed },
	STAGE_STOPS,
};
TEST_MAIN(cases)
