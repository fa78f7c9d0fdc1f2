/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_fixture - see swap_fixture.h
 */
#include "lib/swap_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/balance/swap_frame.h"
#include "mm/phys/stock.h"
#include "os/os.h"

enum { FAMILY = 77 };

struct section    *swap_test_section;
struct swap_queue *swap_test_queue;
int                swap_test_fd = -1;

static bool has_huge;

const char *swap_test_path(const char *name)
{
	static char path[2][512];
	static int  which;
	char        folder[256];

	which = !which;
	EXPECT(getcwd(folder, sizeof(folder)) != NULL);
	snprintf(path[which], sizeof(path[which]), "%s/mmb-%d-%s", folder, (int)getpid(), name);
	return path[which];
}

void swap_boot(void)
{
	phys_start(&(struct phys_setup){ .base_mib = 64, .huge_mib = 64 });
	swap_areas_init();
}

void swap_shutdown(void)
{
	swap_areas_fini();
	phys_stop();
}

static void start_frames(bool huge)
{
	struct section_request request = {
		.name = "frames",
		.nr_frames = SWAP_TEST_FRAMES,
		.kind = huge ? STOCK_HUGE : STOCK_BASE,
		.type = SECTION_REGION,
		.node = 0,
	};

	has_huge = huge;
	EXPECT_EQ(section_add(&request, &swap_test_section), 0);
	EXPECT_EQ(stock_commit(0, request.kind, SWAP_TEST_FRAMES), 0);
	EXPECT_EQ(stock_take(0, request.kind, SWAP_TEST_FRAMES), 0);
	EXPECT_EQ(os->populate(swap_test_section->fd, 0, (uint64_t)SWAP_TEST_FRAMES << PAGE_SHIFT,
			       0), 0);
}

void swap_start(enum disk_engine engine, bool huge)
{
	struct swap_on_request request = { .path = swap_test_path("swap"),
					   .bytes = (uint64_t)SWAP_TEST_AREA_MIB << 20 };
	char why[SWAP_WHY_BYTES];
	int  r;

	swap_boot();
	r = swap_on(&request, why);
	if (r == -EOPNOTSUPP)
		SKIP("this folder's file system has no direct I/O");
	EXPECT_EQ(r, 0);
	swap_test_fd = open(request.path, O_RDWR | O_CLOEXEC);
	EXPECT(swap_test_fd >= 0);
	unlink(request.path); /* nothing stays, however the test ends */
	start_frames(huge);
	swap_io_set_engine(engine);
	EXPECT_EQ(swap_queue_new(1 << 20, &swap_test_queue), 0);
}

static const char *area_path(void)
{
	static struct swap_report report;

	EXPECT(swap_area_report(0, &report));
	return report.path;
}

void swap_stop(void)
{
	enum stock_kind kind = has_huge ? STOCK_HUGE : STOCK_BASE;
	char            why[SWAP_WHY_BYTES];

	EXPECT_EQ(swap_off(area_path(), why), 0);
	swap_queue_free(swap_test_queue);
	close(swap_test_fd);
	section_remove(swap_test_section);
	stock_put(0, kind, SWAP_TEST_FRAMES);
	stock_uncommit(0, kind, SWAP_TEST_FRAMES);
	swap_shutdown();
}

static void make_bytes(uint32_t frame, uint32_t version, uint64_t bytes[PAGE_SIZE / 8])
{
	uint64_t state = (uint64_t)frame << 32 | version;

	for (unsigned int i = 0; i < PAGE_SIZE / 8; i++)
		bytes[i] = test_random(&state);
}

static uint64_t offset_of(uint32_t frame)
{
	return (uint64_t)frame << PAGE_SHIFT;
}

void swap_fill(uint32_t frame, uint32_t version)
{
	uint64_t bytes[PAGE_SIZE / 8];

	make_bytes(frame, version, bytes);
	EXPECT_EQ(swap_frame_write(swap_test_section, offset_of(frame), bytes, PAGE_SIZE), 0);
}

bool swap_has(uint32_t frame, uint32_t version)
{
	uint64_t want[PAGE_SIZE / 8], got[PAGE_SIZE / 8];

	make_bytes(frame, version, want);
	EXPECT_EQ(os->read(swap_test_section->fd, offset_of(frame), got, PAGE_SIZE), 0);
	return !memcmp(want, got, PAGE_SIZE);
}

void swap_clear(uint32_t frame)
{
	static const char zeros[PAGE_SIZE];

	EXPECT_EQ(swap_frame_write(swap_test_section, offset_of(frame), zeros, PAGE_SIZE), 0);
}

struct swap_page swap_page_of(uint32_t frame, uint32_t slot, uint32_t nr)
{
	return (struct swap_page){ .section = swap_test_section, .offset = offset_of(frame),
				   .slot = slot, .nr = nr, .family = FAMILY, .page = frame };
}
