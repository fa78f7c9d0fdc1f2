/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_io - swap_io.c and swap_frame.c: batches on a real file, through io_uring and through
 * threads
 */
#include "mm/balance/swap_io.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/swap_fixture.h"
#include "lib/test.h"
#include "os/os.h"

enum {
	MANY = 700,
	/* For the first blocks of a huge page, and not for all of it: eight requests, and one
	 * block for as long as it is tried, with each engine. */
	PASSES = 9 * 21 + 12,
};

static struct swap_cursor cursor;
static struct swap_page   pages[MANY];
static enum disk_engine   engine;

static void start(void)
{
	cursor = (struct swap_cursor){ 0 };
	swap_start(engine, false);
}

static void stop(void)
{
	inject_arm(INJECT_DISK_READ, 0, 0);
	swap_stop();
}

/* Frames first, first + step, ... get slots of their own and are pages[0 .. nr). */
static void take_pages(uint32_t first, uint32_t step, uint32_t nr)
{
	uint32_t done = 0, got, slot;

	while (done < nr) {
		slot = swap_alloc(&cursor, nr - done, SLOT_NONE, &got);
		EXPECT(slot != SLOT_NONE);
		for (uint32_t i = 0; i < got; i++, done++)
			pages[done] = swap_page_of(first + done * step, slot + i, 1);
	}
}

static uint32_t frame_of(const struct swap_page *page)
{
	return (uint32_t)(page->offset >> PAGE_SHIFT);
}

static void write_out(uint32_t nr, uint32_t version)
{
	for (uint32_t i = 0; i < nr; i++)
		swap_fill(frame_of(&pages[i]), version);
	EXPECT_EQ(swap_write(swap_test_queue, pages, nr), nr);
	for (uint32_t i = 0; i < nr; i++)
		swap_clear(frame_of(&pages[i]));
}

static void free_pages(uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		swap_free(pages[i].slot, 1);
}

static uint64_t disk_offset(const struct swap_page *page)
{
	return (uint64_t)slot_index(page->slot) << PAGE_SHIFT;
}

static void peek(const struct swap_page *page, char bytes[PAGE_SIZE])
{
	EXPECT_EQ(pread(swap_test_fd, bytes, PAGE_SIZE, (off_t)disk_offset(page)), PAGE_SIZE);
}

static void poke(const struct swap_page *page, const char bytes[PAGE_SIZE])
{
	EXPECT_EQ(pwrite(swap_test_fd, bytes, PAGE_SIZE, (off_t)disk_offset(page)), PAGE_SIZE);
	EXPECT_EQ(fsync(swap_test_fd), 0);
}

/* pages[bad] doesn't come back, and all others do. */
static void expect_only_bad(uint32_t nr, uint32_t bad, int error)
{
	struct swap_report before, after;

	swap_area_report(0, &before);
	EXPECT_EQ(swap_read(swap_test_queue, pages, nr), nr - 1);
	for (uint32_t i = 0; i < nr; i++) {
		EXPECT_EQ(pages[i].error, i == bad ? error : 0);
		EXPECT_EQ(swap_has(frame_of(&pages[i]), 1), i != bad);
		EXPECT_EQ(swap_count(pages[i].slot), 1);
	}
	swap_area_report(0, &after);
	EXPECT_EQ(after.state, SWAP_ON);
	EXPECT_EQ(after.bad, 0);
	EXPECT_EQ(after.checksum_errors - before.checksum_errors, error == -EILSEQ);
}

static void what_is_written_comes_back(void)
{
	start();
	take_pages(3, 2, MANY);
	write_out(MANY, 1);
	EXPECT_EQ(swap_read(swap_test_queue, pages, MANY), MANY);
	for (uint32_t i = 0; i < MANY; i++)
		EXPECT(swap_has(3 + 2 * i, 1));
	free_pages(MANY);
	stop();
}

static void adjoining_pages_are_one_request(void)
{
	uint64_t out, in;

	start();
	take_pages(0, 1, 256);
	out = swap_io_stat.requests_out;
	in = swap_io_stat.requests_in;
	write_out(256, 1);
	EXPECT_EQ(swap_io_stat.requests_out - out, 8); /* of 128 KiB, an eighth of the buffer */
	EXPECT_EQ(swap_read(swap_test_queue, pages, 256), 256);
	EXPECT_EQ(swap_io_stat.requests_in - in, 8);
	free_pages(256);
	stop();
}

static void scattered_slots_come_back_together(void)
{
	static struct swap_page some[MANY / 3];

	start();
	take_pages(0, 1, MANY);
	write_out(MANY, 1);
	for (uint32_t i = 0; i < MANY / 3; i++) /* every third one, backwards */
		some[i] = pages[MANY - 1 - 3 * i];
	EXPECT_EQ(swap_read(swap_test_queue, some, MANY / 3), MANY / 3);
	for (uint32_t i = 0; i < MANY / 3; i++)
		EXPECT(swap_has(frame_of(&some[i]), 1));
	free_pages(MANY);
	stop();
}

static void a_huge_page_comes_back(void)
{
	struct swap_page page;

	cursor = (struct swap_cursor){ 0 };
	swap_start(engine, true);
	page = swap_page_of(512, swap_alloc_huge(&cursor), 512);
	EXPECT(page.slot != SLOT_NONE);
	for (uint32_t i = 512; i < 1024; i++)
		swap_fill(i, 1);
	EXPECT_EQ(swap_write(swap_test_queue, &page, 1), 1);
	for (uint32_t i = 512; i < 1024; i++)
		swap_clear(i);
	EXPECT_EQ(swap_read(swap_test_queue, &page, 1), 1);
	for (uint32_t i = 512; i < 1024; i++)
		EXPECT(swap_has(i, 1));
	swap_free(page.slot, 512);
	stop();
}

/* Asking costs ten calls of the kernel: once a page, not for each piece that is copied. */
static void a_huge_page_that_has_gone_is_not_written(void)
{
	struct fake_os_calls before, after;
	struct swap_page page;

	cursor = (struct swap_cursor){ 0 };
	swap_start(engine, true);
	page = swap_page_of(512, swap_alloc_huge(&cursor), 512);
	swap_fill(512, 1);
	fake_os_calls(&before);
	EXPECT_EQ(swap_write(swap_test_queue, &page, 1), 1);
	fake_os_calls(&after);
	EXPECT_EQ(after.has_hole - before.has_hole, 1);
	fake_os_client_punch(swap_test_section->fd, page.offset, PAGEBLOCK_SIZE);
	EXPECT_EQ(swap_write(swap_test_queue, &page, 1), 0);
	EXPECT_EQ(page.error, -EFAULT);
	EXPECT_EQ(swap_count(page.slot), 1);
	EXPECT_EQ(os->populate(swap_test_section->fd, page.offset, PAGEBLOCK_SIZE, 0), 0);
	swap_free(page.slot, 512);
	stop();
}

static void a_flipped_bit_is_caught(void)
{
	char bytes[PAGE_SIZE];

	start();
	take_pages(0, 1, 20);
	write_out(20, 1);
	peek(&pages[7], bytes);
	bytes[4095] ^= 0x10;
	poke(&pages[7], bytes);
	expect_only_bad(20, 7, -EILSEQ);
	free_pages(20);
	stop();
}

static void a_torn_block_is_caught(void)
{
	char old[PAGE_SIZE], new[PAGE_SIZE];

	start();
	take_pages(0, 1, 20);
	write_out(20, 2);
	peek(&pages[19], old);
	write_out(20, 1);
	peek(&pages[19], new);
	memcpy(new + 512, old + 512, PAGE_SIZE - 512);
	poke(&pages[19], new);
	expect_only_bad(20, 19, -EILSEQ);
	free_pages(20);
	stop();
}

static void a_stale_block_is_caught(void)
{
	char old[PAGE_SIZE];

	start();
	take_pages(0, 1, 20);
	write_out(20, 2);
	peek(&pages[0], old);
	write_out(20, 1);
	poke(&pages[0], old);
	expect_only_bad(20, 0, -EILSEQ);
	free_pages(20);
	stop();
}

static void a_block_that_was_never_written_is_caught(void)
{
	char zeros[PAGE_SIZE] = { 0 };

	start();
	take_pages(0, 1, 20);
	write_out(20, 1);
	poke(&pages[3], zeros);
	expect_only_bad(20, 3, -EILSEQ);
	free_pages(20);
	stop();
}

static void a_misdirected_block_is_caught(void)
{
	char other[PAGE_SIZE];

	start();
	take_pages(0, 1, 20);
	write_out(20, 1);
	peek(&pages[4], other);
	poke(&pages[5], other);
	expect_only_bad(20, 5, -EILSEQ);
	free_pages(20);
	stop();
}

/* The contents are as written, and yet another page's. */
static void anothers_page_is_caught(void)
{
	start();
	take_pages(0, 1, 3);
	write_out(3, 1);
	pages[0].family++;
	pages[1].page++;
	EXPECT_EQ(swap_read(swap_test_queue, pages, 3), 1);
	EXPECT_EQ(pages[0].error, -EILSEQ);
	EXPECT_EQ(pages[1].error, -EILSEQ);
	EXPECT(!swap_has(0, 1) && !swap_has(1, 1) && swap_has(2, 1));
	free_pages(3);
	stop();
}

static void one_bad_block_fails_its_huge_page(void)
{
	struct swap_page page;
	char             bytes[PAGE_SIZE];

	cursor = (struct swap_cursor){ 0 };
	swap_start(engine, true);
	page = swap_page_of(0, swap_alloc_huge(&cursor), 512);
	EXPECT_EQ(swap_write(swap_test_queue, &page, 1), 1);
	page.slot += 500;
	peek(&page, bytes);
	bytes[0] ^= 1;
	poke(&page, bytes);
	page.slot -= 500;
	EXPECT_EQ(swap_read(swap_test_queue, &page, 1), 0);
	EXPECT_EQ(page.error, -EILSEQ);
	swap_free(page.slot, 512);
	stop();
}

static void a_read_error_is_that_pages(void)
{
	uint32_t last = 0;

	start();
	take_pages(0, 1, 20);
	write_out(20, 1);
	for (uint32_t i = 1; i < 20; i++)
		if (pages[i].slot > pages[last].slot)
			last = i;
	EXPECT_EQ(ftruncate(swap_test_fd, (off_t)disk_offset(&pages[last])), 0);
	expect_only_bad(20, last, -EIO);
	free_pages(20);
	stop();
}

static void what_can_not_be_written_is_retired(void)
{
	struct rlimit      before, low;
	struct swap_report report;
	uint32_t           nr_bad = 0;

	start();
	take_pages(0, 1, 100);
	for (uint32_t i = 0; i < 100; i++)
		swap_fill(i, 1);
	signal(SIGXFSZ, SIG_IGN);
	EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = before;
	low.rlim_cur = disk_offset(&pages[60]) + 512; /* it falls short in the middle of a page */
	EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
	EXPECT_EQ(swap_write(swap_test_queue, pages, 100), 60);
	EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
	for (uint32_t i = 0; i < 100; i++) {
		EXPECT_EQ(pages[i].error != 0, i >= 60);
		EXPECT_EQ(swap_count(pages[i].slot), i < 60);
		nr_bad += pages[i].error != 0;
	}
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_DEGRADED);
	EXPECT_EQ(report.bad, (uint64_t)nr_bad << PAGE_SHIFT);
	EXPECT_EQ(report.write_errors, nr_bad);
	EXPECT_EQ(swap_read(swap_test_queue, pages, 60), 60);
	free_pages(60);
	stop();
}

/* Nothing is wrong with the disk: no page is lost, and no slot retired. */
static void what_the_host_is_short_of_passes(void)
{
	static const int errors[] = { -ENOMEM, -EAGAIN, -EINTR, -EBUSY };
	struct swap_report report;

	start();
	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		for (uint32_t nr = 1; nr <= 3; nr += 2) {
			take_pages(0, 1, nr);
			inject_arm(INJECT_DISK_WRITE, 1, errors[i]);
			write_out(nr, i + 1);
			inject_arm(INJECT_DISK_READ, 1, errors[i]);
			EXPECT_EQ(swap_read(swap_test_queue, pages, nr), nr);
			inject_arm(INJECT_DISK_READ, 0, 0);
			free_pages(nr);
		}
	}
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_ON);
	EXPECT_EQ(report.read_errors + report.write_errors + report.bad, 0);
	stop();
}

static void expect_no_fault(void)
{
	struct swap_report report;

	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_ON);
	EXPECT_EQ(report.read_errors + report.write_errors + report.bad, 0);
}

/* It lasts longer than anybody tries: all is as it was, and can be done later. */
static void what_does_not_pass_soon_costs_no_slot(void)
{
	const uint32_t nr = 100;

	start();
	take_pages(0, 1, nr);
	for (uint32_t i = 0; i < nr; i++)
		swap_fill(i, 1);
	inject_act(INJECT_FAIL_UNTIL);
	inject_arm(INJECT_DISK_WRITE, 1 << 20, -ENOMEM);
	EXPECT_EQ(swap_write(swap_test_queue, pages, nr), 0);
	EXPECT(inject_passes(INJECT_DISK_WRITE) < 4 * nr); /* not each is tried for long */
	inject_arm(INJECT_DISK_WRITE, 0, 0);
	for (uint32_t i = 0; i < nr; i++) {
		EXPECT_EQ(pages[i].error, -ENOMEM);
		EXPECT(!swap_is_retired(&pages[i]));
		EXPECT_EQ(swap_count(pages[i].slot), 1);
	}
	expect_no_fault();
	write_out(nr, 1);
	inject_arm(INJECT_DISK_READ, 1 << 20, -EAGAIN);
	EXPECT_EQ(swap_read(swap_test_queue, pages, nr), 0);
	EXPECT_EQ(pages[nr - 1].error, -EAGAIN);
	inject_act(INJECT_FAIL);
	inject_arm(INJECT_DISK_READ, 0, 0);
	expect_no_fault();
	EXPECT_EQ(swap_read(swap_test_queue, pages, nr), nr);
	free_pages(nr);
	stop();
}

/* A block of the page can't be written, and another not now: the first is what counts. */
static void what_is_broken_counts_more_than_what_passes(void)
{
	struct rlimit    before, low;
	struct swap_page page;

	cursor = (struct swap_cursor){ 0 };
	swap_start(engine, true);
	page = swap_page_of(0, swap_alloc_huge(&cursor), 512);
	for (uint32_t i = 0; i < 512; i++)
		swap_fill(i, 1);
	signal(SIGXFSZ, SIG_IGN);
	EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = before;
	low.rlim_cur = disk_offset(&page) + ((uint64_t)511 << PAGE_SHIFT);
	EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
	inject_act(INJECT_FAIL_UNTIL);
	inject_arm(INJECT_DISK_WRITE, PASSES, -ENOMEM);
	EXPECT_EQ(swap_write(swap_test_queue, &page, 1), 0);
	EXPECT(inject_passes(INJECT_DISK_WRITE) > PASSES);
	inject_act(INJECT_FAIL);
	inject_arm(INJECT_DISK_WRITE, 0, 0);
	EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
	EXPECT_EQ(page.error, -EFBIG);
	EXPECT(swap_is_retired(&page));
	EXPECT_EQ(swap_count(page.slot), 0);
	stop();
}

/* A thread that reads one page by itself serves others: it never sleeps for what passes. */
static void who_reads_one_page_does_not_wait_for_what_passes(void)
{
	char bytes[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
	struct disk_io io;

	start();
	take_pages(0, 1, 1);
	write_out(1, 1);
	swap_prepare_read(&pages[0], bytes, &io);
	io.result = -EAGAIN;
	inject_arm(INJECT_DISK_READ, INJECT_COUNT_ONLY, 0);
	EXPECT_EQ(swap_end_read(&pages[0], &io, os->now_ns()), -EAGAIN);
	EXPECT_EQ(inject_passes(INJECT_DISK_READ), 0);
	expect_no_fault();
	free_pages(1);
	stop();
}

static void an_injected_error_is_one_pages(void)
{
	struct swap_report report;

	start();
	take_pages(0, 1, 1);
	swap_fill(0, 1);
	inject_arm(INJECT_DISK_WRITE, 1, -EIO);
	EXPECT_EQ(swap_write(swap_test_queue, pages, 1), 0);
	EXPECT_EQ(pages[0].error, -EIO);
	EXPECT_EQ(swap_count(pages[0].slot), 0);
	take_pages(0, 1, 1);
	write_out(1, 1);
	inject_arm(INJECT_DISK_READ, 1, -EIO);
	EXPECT_EQ(swap_read(swap_test_queue, pages, 1), 0);
	EXPECT_EQ(pages[0].error, -EIO);
	EXPECT_EQ(swap_read(swap_test_queue, pages, 1), 1);
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_DEGRADED);
	EXPECT_EQ(report.read_errors, 1);
	free_pages(1);
	stop();
}

/* Which of the batch repeat a value. */
enum mix { MIX_ALL, MIX_EVERY_OTHER, MIX_BLOCKS, MIX_RANDOM, NR_MIXES };

static bool repeats(enum mix mix, uint32_t i, uint64_t *random)
{
	switch (mix) {
	case MIX_ALL:
		return true;
	case MIX_EVERY_OTHER:
		return i % 2;
	case MIX_BLOCKS:
		return i / 37 % 2;
	default:
		return test_random(random) % 3 == 0;
	}
}

static void fill_with(uint32_t frame, uint64_t value)
{
	uint64_t bytes[PAGE_SIZE / 8];

	for (unsigned int i = 0; i < PAGE_SIZE / 8; i++)
		bytes[i] = value;
	EXPECT_EQ(os->write(swap_test_section->fd, (uint64_t)frame << PAGE_SHIFT, bytes,
			    PAGE_SIZE), 0);
}

static void expect_mix(enum mix mix, uint64_t *random)
{
	bool     same[MANY];
	uint32_t nr_same = 0;
	uint64_t before = swap_io_stat.pages_out;

	take_pages(0, 1, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		uint64_t value = (i / 2) * 0x100000001ull;

		same[i] = repeats(mix, i, random);
		nr_same += same[i];
		if (same[i])
			fill_with(frame_of(&pages[i]), value);
		else
			swap_fill(frame_of(&pages[i]), i);
	}
	EXPECT_EQ(swap_write(swap_test_queue, pages, MANY), MANY);
	EXPECT_EQ(swap_io_stat.pages_out - before, MANY - nr_same);
	for (uint32_t i = 0; i < MANY; i++) {
		EXPECT_EQ(pages[i].same, same[i]);
		if (same[i])
			EXPECT_EQ(pages[i].value, i / 2);
		swap_clear(frame_of(&pages[i]));
		if (same[i])
			continue;
		EXPECT_EQ(swap_read(swap_test_queue, &pages[i], 1), 1);
		EXPECT(swap_has(frame_of(&pages[i]), i));
	}
	free_pages(MANY);
}

static void pages_of_one_value_are_not_written(void)
{
	uint64_t random = test_seed();

	start();
	for (enum mix mix = 0; mix < NR_MIXES; mix++)
		expect_mix(mix, &random);
	stop();
}

static void one_word_that_differs_is_seen(void)
{
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)] = { 0 };
	uint32_t value = 1;

	EXPECT(swap_repeats(words, PAGE_SIZE, &value));
	EXPECT_EQ(value, 0);
	for (unsigned int i = 0; i < PAGE_SIZE / sizeof(words[0]); i++) {
		words[i] = 1ull << i % 64;
		EXPECT(!swap_repeats(words, PAGE_SIZE, &value));
		words[i] = 0;
	}
}

static void a_device_that_goes_gives_no_slots(void)
{
	struct swap_report report;
	uint32_t           got;

	start();
	take_pages(5, 1, 10);
	write_out(10, 1);
	pages[10] = swap_page_of(30, swap_alloc(&cursor, 1, SLOT_NONE, &got), 1);
	swap_fill(30, 1);
	inject_arm(INJECT_DISK_WRITE, 1, -ENODEV);
	EXPECT_EQ(swap_write(swap_test_queue, &pages[10], 1), 0);
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_DEAD);
	EXPECT_EQ(swap_alloc(&cursor, 1, SLOT_NONE, &got), SLOT_NONE);
	EXPECT_EQ(swap_capacity(), 0);
	EXPECT_EQ(swap_read(swap_test_queue, pages, 10), 10);
	EXPECT(swap_has(14, 1));
	free_pages(10);
	stop();
}

static void a_frame_that_has_gone_is_not_written(void)
{
	start();
	take_pages(0, 1, 20);
	fake_os_client_punch(swap_test_section->fd, 9 << PAGE_SHIFT, PAGE_SIZE);
	EXPECT_EQ(swap_write(swap_test_queue, pages, 20), 19);
	EXPECT_EQ(pages[9].error, -EFAULT);
	EXPECT_EQ(swap_count(pages[9].slot), 1);
	EXPECT_EQ(os->populate(swap_test_section->fd, 9 << PAGE_SHIFT, PAGE_SIZE, 0), 0);
	free_pages(20);
	stop();
}

static void without_io_uring_threads_do_it(void)
{
	start();
	inject_arm(INJECT_URING, 1, -EPERM);
	take_pages(0, 1, MANY);
	write_out(MANY, 1);
	EXPECT_EQ(swap_read(swap_test_queue, pages, MANY), MANY);
	free_pages(MANY);
	stop();
}

static void the_same_bytes_have_another_sum_each_time(void)
{
	struct slot_record before;

	start();
	take_pages(0, 1, 1);
	write_out(1, 1);
	before.sum[0] = swap_record(pages[0].slot)->sum[0];
	before.generation = swap_record(pages[0].slot)->generation;
	write_out(1, 1);
	EXPECT(swap_record(pages[0].slot)->sum[0] != before.sum[0]);
	EXPECT(swap_record(pages[0].slot)->generation != before.generation);
	free_pages(1);
	stop();
}

static const struct test_case cases[] = {
	{ "what is written comes back", what_is_written_comes_back },
	{ "adjoining pages are one request", adjoining_pages_are_one_request },
	{ "scattered slots come back together", scattered_slots_come_back_together },
	{ "a huge page comes back", a_huge_page_comes_back },
	{ "a huge page that has gone isn't written", a_huge_page_that_has_gone_is_not_written },
	{ "a flipped bit is caught", a_flipped_bit_is_caught },
	{ "a torn block is caught", a_torn_block_is_caught },
	{ "a stale block is caught", a_stale_block_is_caught },
	{ "a block that was never written is caught", a_block_that_was_never_written_is_caught },
	{ "a misdirected block is caught", a_misdirected_block_is_caught },
	{ "another's page is caught", anothers_page_is_caught },
	{ "one bad block fails its huge page", one_bad_block_fails_its_huge_page },
	{ "a read error is that page's", a_read_error_is_that_pages },
	{ "what can't be written is retired", what_can_not_be_written_is_retired },
	{ "pages that repeat one value are told, and not written, among others, too",
	  pages_of_one_value_are_not_written },
	{ "one word that differs is seen", one_word_that_differs_is_seen },
	{ "an error that passes costs nothing", what_the_host_is_short_of_passes },
	{ "one that lasts for a while costs no slot, and no more time for many pages",
	  what_does_not_pass_soon_costs_no_slot },
	{ "a block that can't be written counts more than one that can't be now",
	  what_is_broken_counts_more_than_what_passes },
	{ "who reads one page by itself waits for no error to pass",
	  who_reads_one_page_does_not_wait_for_what_passes },
	{ "an injected error is one page's", an_injected_error_is_one_pages },
	{ "a device that goes gives no slots", a_device_that_goes_gives_no_slots },
	{ "a frame that has gone isn't written", a_frame_that_has_gone_is_not_written },
	{ "without io_uring threads do it", without_io_uring_threads_do_it },
	{ "the same bytes have another sum each time", the_same_bytes_have_another_sum_each_time },
};

/* Argument "threads": without io_uring. */
int main(int argc, char **argv)
{
	engine = argc > 1 && !strcmp(argv[1], "threads") ? DISK_THREADS : DISK_URING;
	return test_main(1, argv, cases, ARRAY_SIZE(cases));
}
