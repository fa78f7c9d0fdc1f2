/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_reader - a thread that reads single pages without waiting for them: reader.c
 */
#include "mm/space/reader.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/balance/swap_io.h"
#include "mm/space/crowd.h"
#include "mm/space/reclaim.h"
#include "mm/space/swapper.h"
#include "os/disk.h"

enum { BASE = 0x10000000, NR = 64, NR_MANY = 5 * CROWD_PLACE,
       SWAP_MIB = 16, TAG = 4711, PATIENCE_MS = 60000 };

static struct region *region;
static struct mm *mm;
static int epoll_fd;
static unsigned int nr_resumed;

static uint64_t where(uint64_t page)
{
	return BASE + page * PAGE_SIZE;
}

static void resume(const struct waiting_fault *fault)
{
	nr_resumed++;
	fault_resume(fault);
}

/* All pages are in slots. */
static void start_with(uint64_t nr)
{
	if (disk_uring_probe())
		SKIP("there is no io_uring");
	space_begin(&(struct space_options){ .swap_mib = SWAP_MIB });
	swapper_keep(true);
	region = space_region(nr, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t mark[2] = { i, ~i };

		space_fault(mm, where(i), OS_FAULT_WRITE);
		EXPECT_EQ(os->write(region->section->fd, i << PAGE_SHIFT, mark, sizeof(mark)), 0);
	}
	EXPECT_EQ(reclaim_range(region, (struct page_range){ 0, nr }), nr);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	nr_resumed = 0;
	reader_begin(&(struct reader_config){ epoll_fd, TAG, resume, fault_show_ahead });
}

static void start(void)
{
	start_with(NR);
}

static void stop(void)
{
	reader_end();
	close(epoll_fd);
	EXPECT_EQ(atomic_load(&mm->nr_waiting), 0);
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	space_end_swap();
}

static bool holds(uint64_t page)
{
	uint64_t mark[2];

	EXPECT_EQ(os->read(region->section->fd, page << PAGE_SHIFT, mark, sizeof(mark)), 0);
	return mark[0] == page && mark[1] == ~page;
}

static void await(unsigned int nr)
{
	while (nr_resumed < nr) {
		struct epoll_event event = { 0 };

		/* A completion may interrupt the call. */
		EXPECT(epoll_wait(epoll_fd, &event, 1, PATIENCE_MS) == 1 || errno == EINTR);
		reader_reap();
	}
}

static void await_all(void)
{
	while (atomic_load(&mm->nr_waiting)) {
		reader_reap();
		usleep(100);
	}
}

static void pages_come_back_by_and_by(void)
{
	uint64_t ended, faults, major;

	start();
	ended = histogram_count(&fault_latency);
	faults = fault_stats.nr_faults;
	major = fault_stats.nr_major;
	for (uint64_t i = 0; i < 20; i++)
		space_fault(mm, where(i * 3), i % 2 ? OS_FAULT_WRITE : 0);
	EXPECT_EQ(atomic_load(&mm->nr_waiting), 20);
	EXPECT_EQ(histogram_count(&fault_latency) - ended, 0);
	await(20);
	EXPECT_EQ(nr_resumed, 20);
	EXPECT_EQ(histogram_count(&fault_latency) - ended, 20);
	EXPECT_EQ(fault_stats.nr_faults - faults, 20);
	EXPECT_EQ(fault_stats.nr_major - major, 20);
	for (uint64_t i = 0; i < 20; i++) {
		EXPECT_EQ(space_state(region, i * 3), PAGE_PRESENT);
		EXPECT(fake_uffd_mapped(mm->uffd, where(i * 3)));
		EXPECT(holds(i * 3));
	}
	EXPECT_EQ(space_slots_used(), NR - 10); /* what was written has none any more */
	stop();
}

static void who_comes_second_is_woken(void)
{
	start();
	space_fault(mm, where(5), 0);
	space_fault(mm, where(5), 0);
	EXPECT_EQ(atomic_load(&mm->nr_waiting), 1);
	EXPECT(word_load(region_word(region, 5)) & WORD_WAITERS);
	await(1);
	EXPECT(!(word_load(region_word(region, 5)) & (WORD_BUSY | WORD_WAITERS)));
	stop();
}

static void a_lost_page_is_poisoned_alone(void)
{
	start();
	inject_arm(INJECT_DISK_READ, 1, -EIO);
	space_fault(mm, where(7), 0);
	inject_arm(INJECT_DISK_READ, 0, 0);
	space_fault(mm, where(8), 0);
	await(2);
	EXPECT_EQ(space_state(region, 7), PAGE_POISONED);
	EXPECT(fake_uffd_poisoned(mm->uffd, where(7)));
	EXPECT_EQ(space_state(region, 8), PAGE_PRESENT);
	EXPECT(holds(8));
	stop();
}

static void an_error_that_passes_costs_no_page(void)
{
	start();
	inject_arm(INJECT_DISK_READ, 1, -ENOMEM);
	space_fault(mm, where(7), 0);
	inject_arm(INJECT_DISK_READ, 0, 0);
	await(1);
	EXPECT(holds(7));
	stop();
}

static const struct os_ops *os_before;

static int fail_write(int fd, uint64_t offset, const void *bytes, uint64_t length)
{
	return fd == region->section->fd ? -ENOMEM : os_before->write(fd, offset, bytes, length);
}

static int fail_populate(int fd, uint64_t offset, uint64_t length, int node)
{
	(void)fd, (void)offset, (void)length, (void)node;
	return -ENOMEM;
}

/* It is read once by the thread, and has its deadline like any other. */
static void a_page_without_a_frame_is_left_to_others(void)
{
	struct os_ops full;

	start();
	os_before = os;
	full = *os;
	full.write = fail_write;
	full.populate = fail_populate;
	os = &full;
	space_fault(mm, where(7), 0);
	await(1);
	EXPECT_EQ(atomic_load(&mm->nr_waiting), 0);
	EXPECT_EQ(atomic_load(&mm->nr_parked), 1);
	os = os_before;
	EXPECT_EQ(space_state(region, 7), PAGE_SWAPPED);
	fault_retry_parked(UINT64_MAX);
	await_all();
	EXPECT(fake_uffd_mapped(mm->uffd, where(7)));
	EXPECT(holds(7));
	stop();
}

static void ending_waits_for_what_is_under_way(void)
{
	start();
	for (uint64_t i = 0; i < 30; i++)
		space_fault(mm, where(i * 2), 0);
	reader_end();
	EXPECT_EQ(nr_resumed, 30);
	for (uint64_t i = 0; i < 30; i++)
		EXPECT(holds(i * 2));
	stop();
}

static void what_it_cant_read_is_left_to_others(void)
{
	struct waiting_fault fault = { 0 };

	start();
	fault.mm = mm;
	EXPECT(mm_find(mm, where(3), &fault.target, &fault.hint));
	fault.hint.around = 4;
	EXPECT(!reader_add(&fault));
	fault.hint.around = 1;
	EXPECT(reader_add(&fault));
	await(1);
	EXPECT(mm_find(mm, where(3), &fault.target, &fault.hint));
	EXPECT(!reader_add(&fault)); /* it is here */
	region_put(fault.target.region);
	stop();
	EXPECT(!reader_add(&fault)); /* this thread isn't a reader any more */
}

/* Every other page of a place, until its share of all faults is too big for chance. */
static unsigned int crowd_in(uint32_t flags)
{
	unsigned int nr = 0;
	uint64_t page = 0;

	for (; atomic_load(&mm->nr_waiting) < CROWD_READS && nr < CROWD_PLACE / 2; page += 2) {
		if (space_state(region, page) == PAGE_PRESENT)
			continue;
		await(nr++);
		space_fault(mm, where(page), flags);
	}
	EXPECT_EQ(atomic_load(&mm->nr_waiting), 1 + CROWD_READS);
	EXPECT(nr > CROWD_LEAST);
	await_all();
	return nr;
}

static void neighbours_come_where_many_faults_are(void)
{
	unsigned int nr, nr_mapped = 0, nr_came = 0;

	start_with(NR_MANY);
	nr = crowd_in(0);
	for (uint64_t i = 0; i < NR_MANY; i++) {
		if (space_state(region, i) != PAGE_PRESENT)
			continue;
		EXPECT(i < CROWD_PLACE && holds(i));
		nr_came++;
		nr_mapped += fake_uffd_mapped(mm->uffd, where(i));
	}
	EXPECT_EQ(nr_resumed, nr);
	EXPECT_EQ(nr_came, nr + CROWD_READS);
	EXPECT_EQ(nr_mapped, nr_came - CROWD_READS / CROWD_UNMAPPED);
	stop();
}

static void what_comes_with_a_write_stays_unmapped(void)
{
	unsigned int nr, nr_mapped = 0;

	start_with(NR_MANY);
	nr = crowd_in(OS_FAULT_WRITE);
	for (uint64_t i = 0; i < CROWD_PLACE; i++)
		nr_mapped += fake_uffd_mapped(mm->uffd, where(i));
	EXPECT_EQ(nr_mapped, nr);
	for (uint64_t i = CROWD_PLACE; i-- > 0;) /* no streak */
		if (space_state(region, i) == PAGE_PRESENT && !fake_uffd_mapped(mm->uffd, where(i)))
			space_fault(mm, where(i), OS_FAULT_MINOR);
	EXPECT_EQ(atomic_load(&region->crowd.nr_won), CROWD_READS);
	EXPECT_EQ(atomic_load(&region->crowd.nr_lost), 0);
	stop();
}

static void what_came_for_nothing_is_lost(void)
{
	start_with(NR_MANY);
	crowd_in(OS_FAULT_WRITE);
	reclaim_range(region, (struct page_range){ 0, NR_MANY });
	EXPECT_EQ(atomic_load(&region->crowd.nr_lost), CROWD_READS);
	EXPECT_EQ(atomic_load(&region->crowd.nr_won), 0);
	stop();
}

static void even_faults_bring_nobody(void)
{
	start_with(NR_MANY);
	for (uint64_t i = 0; i < NR_MANY / 8; i++) {
		space_fault(mm, where(i * 1237 % NR_MANY), 0);
		EXPECT_EQ(atomic_load(&mm->nr_waiting), 1);
		await((unsigned int)i + 1);
	}
	stop();
}

/* ---- a disk that answers nothing ---- */

struct slow_disk {
	int pipe[2];
	struct heartbeat hb;
	_Atomic bool begun;
};

static void *wait_for_disk(void *arg)
{
	struct slow_disk *slow = arg;
	struct disk_io reads[2];
	char bytes[2];
	struct disk_queue *queue;

	heartbeat_register(&slow->hb, "waits");
	EXPECT_EQ(disk_queue_new(DISK_URING, 2, &queue), 0);
	for (int i = 0; i < 2; i++) {
		reads[i] = (struct disk_io){ .fd = slow->pipe[0], .memory = &bytes[i],
					     .bytes = 1 };
		disk_add(queue, &reads[i]);
	}
	atomic_store(&slow->begun, true);
	while (disk_wait(queue))
		;
	EXPECT(!(atomic_load(&slow->hb.beats) & 1));
	disk_queue_free(queue);
	heartbeat_unregister(&slow->hb);
	return NULL;
}

static void who_waits_for_a_disk_does_not_hang(void)
{
	struct slow_disk slow = { .begun = false };
	char name[HEARTBEAT_NAME_BYTES];
	pthread_t thread;

	if (disk_uring_probe())
		SKIP("there is no io_uring");
	EXPECT_EQ(pipe(slow.pipe), 0);
	EXPECT_EQ(pthread_create(&thread, NULL, wait_for_disk, &slow), 0);
	while (!atomic_load(&slow.begun) || !(atomic_load(&slow.hb.beats) & 1))
		usleep(1000);
	heartbeat_oldest(1000, UINT64_MAX, name);
	EXPECT_EQ(heartbeat_oldest(100ull * 1000 * 1000 * 1000, UINT64_MAX, name), 0);
	EXPECT_EQ(write(slow.pipe[1], "ab", 2), 2);
	EXPECT_EQ(pthread_join(thread, NULL), 0);
	close(slow.pipe[0]);
	close(slow.pipe[1]);
}

static const struct test_case cases[] = {
	{ "who waits for a disk does not hang", who_waits_for_a_disk_does_not_hang },
	{ "pages come back while the thread does other things", pages_come_back_by_and_by },
	{ "who touches a page that is being read is woken with it", who_comes_second_is_woken },
	{ "a page that can't be read is poisoned alone", a_lost_page_is_poisoned_alone },
	{ "an error that passes costs no page", an_error_that_passes_costs_no_page },
	{ "a page that gets no frame is left to others", a_page_without_a_frame_is_left_to_others },
	{ "the end waits for what is under way (A2)", ending_waits_for_what_is_under_way },
	{ "neighbours come where a place has many faults", neighbours_come_where_many_faults_are },
	{ "what comes with a write stays unmapped, and its touch is won (D3)",
	  what_comes_with_a_write_stays_unmapped },
	{ "what came and went untouched is lost (D3)", what_came_for_nothing_is_lost },
	{ "faults that lie evenly bring no neighbours", even_faults_bring_nobody },
	{ "runs, and pages that are here, are left to others (A1)",
	  what_it_cant_read_is_left_to_others },
};
TEST_MAIN(cases)
