/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_region - windows of regions: where they go, and that nothing else is touched
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "fake_client.h"
#include "proto/methods.h"
#include "tests/lib/test.h"

enum { REGION_BYTES = 1 << 20, HUGE_BYTES = 2 << 20,
       BIG_BYTES = 8 << 20 /* from here on unmapping ages no page */ };
static struct fake_client client;

static bool is_mapped(const void *address)
{
	unsigned char in_core;

	return mincore((void *)(uintptr_t)address, 4096, &in_core) == 0;
}

static void *put_there(const void *address, size_t length)
{
	return mmap((void *)(uintptr_t)address, length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

static void an_occupied_place_moves_the_window(void)
{
	struct mmb_region_options huge = { .size = sizeof(huge), .page_size = HUGE_BYTES };
	struct mmb_region *first, *second, *third;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &first), 0);
	EXPECT_EQ((uintptr_t)mmb_region_address(first), broker_region_address(client.broker));
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_WINDOW), 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &second), 0);
	EXPECT(mmb_region_address(second) != mmb_region_address(first));
	EXPECT_EQ(broker_last_window(client.broker), (uintptr_t)mmb_region_address(second));
	EXPECT_EQ(mmb_region_create(client.pool, HUGE_BYTES, &huge, &third), 0);
	EXPECT_EQ((uintptr_t)mmb_region_address(third) % HUGE_BYTES, 0);
	EXPECT_EQ(broker_last_window(client.broker), (uintptr_t)mmb_region_address(third));
	mmb_region_close(third);
	mmb_region_close(second);
	mmb_region_close(first);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_CLOSE), 3);
	fake_client_end(&client);
}

static void a_wanted_address_is_exact(void)
{
	struct mmb_region_options options = { .size = sizeof(options) };
	struct mmb_region *first, *second;
	uint8_t *wanted;

	fake_client_begin(&client, 0);
	wanted = (uint8_t *)(uintptr_t)broker_region_address(client.broker) + 16 * REGION_BYTES;
	options.address = wanted;
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, &options, &first), 0);
	EXPECT(mmb_region_address(first) == wanted);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, &options, &second), -EADDRNOTAVAIL);
	EXPECT(broker_wait_count(client.broker, MMB_METHOD_REGION_CLOSE, 1));
	options.address = wanted + 5;
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, &options, &second), -EINVAL);
	mmb_region_close(first);
	fake_client_end(&client);
}

static void closing_unmaps_only_what_is_ours(void)
{
	struct mmb_region *region;
	uint8_t *window, *mine;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	window = mmb_region_address(region);
	/* The application throws a part away, and something of its own comes there. */
	EXPECT_EQ(munmap(window + 65536, 65536), 0);
	mine = put_there(window + 65536, 8192);
	EXPECT(mine == window + 65536);
	memset(mine, 0x42, 8192);
	mmb_region_close(region);
	EXPECT(!is_mapped(window) && !is_mapped(window + REGION_BYTES - 4096));
	EXPECT(is_mapped(mine) && mine[8191] == 0x42);
	munmap(mine, 8192);
	fake_client_end(&client);
}

static void dontneed_and_zap_spare_what_is_not_ours(void)
{
	struct mmb_region *region;
	uint8_t *window, *mine;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_open(client.pool, "named", REGION_BYTES, MMB_REGION_CREATE, NULL,
				  &region), 0);
	window = mmb_region_address(region);
	EXPECT_EQ(munmap(window, 8192), 0);
	mine = put_there(window, 8192);
	memset(mine, 0x42, 8192);
	EXPECT_EQ(mmb_region_advise(region, 0, REGION_BYTES, MMB_ADVISE_DONTNEED), 0);
	EXPECT_EQ(mine[0], 0x42);
	EXPECT(broker_zap(client.broker, (uintptr_t)window, REGION_BYTES, 0));
	EXPECT_EQ(mine[8191], 0x42);
	EXPECT(broker_zap(client.broker, (uintptr_t)window, 2 * REGION_BYTES, -ENOENT));
	EXPECT(broker_zap(client.broker, (uintptr_t)&region & ~4095ull, 4096, -ENOENT));
	mmb_region_close(region);
	munmap(mine, 8192);
	fake_client_end(&client);
}

static void ranges_are_checked_before_the_broker_is_asked(void)
{
	struct mmb_region *region;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	EXPECT_EQ(mmb_region_lock(region, 1, 4096), -EINVAL);
	EXPECT(strstr(mmb_error(), "multiples"));
	EXPECT_EQ(mmb_region_lock(region, 0, REGION_BYTES + 4096), -EINVAL);
	EXPECT(strstr(mmb_error(), "beyond"));
	EXPECT_EQ(mmb_region_unlock(region, SIZE_MAX - 4095, 8192), -EINVAL);
	EXPECT_EQ(mmb_region_lock(region, 4096, SIZE_MAX - 4095), -EINVAL);
	EXPECT_EQ(mmb_region_advise(region, 0, 4096, 9), -EINVAL);
	EXPECT_EQ(mmb_region_advise(region, 0, 4096, -1), -EINVAL);
	EXPECT_EQ(mmb_region_lock(region, REGION_BYTES, 0), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_LOCK), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_ADVISE), 0);
	EXPECT_EQ(mmb_region_lock(region, 4096, REGION_BYTES - 4096), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_LOCK), 1);
	mmb_region_close(region);
	fake_client_end(&client);
}

static void wrong_opens_are_refused(void)
{
	struct mmb_region_options options = { .size = sizeof(options) };
	struct mmb_region *region;
	char name[128];

	fake_client_begin(&client, 0);
	memset(name, 'n', sizeof(name));
	name[127] = 0;
	EXPECT_EQ(mmb_region_create(client.pool, 0, NULL, &region), -EINVAL);
	EXPECT_EQ(mmb_region_create(client.pool, 4096, NULL, NULL), -EINVAL);
	options.page_size = 8192;
	EXPECT_EQ(mmb_region_create(client.pool, 8192, &options, &region), -EINVAL);
	options.page_size = 0;
	options.flags = 1u << 20;
	EXPECT_EQ(mmb_region_create(client.pool, 8192, &options, &region), -EINVAL);
	EXPECT_EQ(mmb_region_open(client.pool, NULL, 4096, 0, NULL, &region), -EINVAL);
	EXPECT_EQ(mmb_region_open(client.pool, "", 4096, 0, NULL, &region), -EINVAL);
	EXPECT_EQ(mmb_region_open(client.pool, name, 4096, 0, NULL, &region), -EINVAL);
	EXPECT_EQ(mmb_region_open(client.pool, "n", 4096, MMB_REGION_EXCL, NULL, &region), -EINVAL);
	EXPECT_EQ(mmb_region_unlink(client.pool, name), -EINVAL);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_OPEN), 0);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_CREATE), 0);
	fake_client_end(&client);
}

static void a_read_only_region_can_not_be_written(void)
{
	struct mmb_region *region;
	int pipes[2];

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_open(client.pool, "r", REGION_BYTES, MMB_REGION_READONLY, NULL,
				  &region), 0);
	EXPECT(!pipe(pipes) && write(pipes[1], "x", 1) == 1);
	/* The kernel refuses at the mapping already: no fault is raised. */
	EXPECT_EQ(read(pipes[0], mmb_region_address(region), 1), -1);
	EXPECT_EQ(errno, EFAULT);
	close(pipes[0]);
	close(pipes[1]);
	mmb_region_close(region);
	fake_client_end(&client);
}

static void a_fault_record_is_found_through_the_connection(void)
{
	struct mmb_fault_info info = { .size = sizeof(info) };

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_fault_info((void *)0x123456789000, &info), -ENOENT);
	broker_log_fault(client.broker, 0x123456789000, "the page's checksum is wrong");
	EXPECT_EQ(mmb_fault_info((void *)0x123456789010, &info), 0);
	EXPECT_EQ(info.error, -EIO);
	EXPECT_EQ(info.offset, 8192 + 16);
	EXPECT(!strcmp(info.region, "faulty"));
	EXPECT(!strcmp(info.cause, "the page's checksum is wrong"));
	fake_client_end(&client);
	EXPECT_EQ(mmb_fault_info((void *)0x123456789010, &info), -ENOENT);
}

static void region_stat_is_filled(void)
{
	struct mmb_region_stat stat = { .size = sizeof(stat), .faults = 1, .swapped = 1 };
	struct mmb_region *region;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_region_create(client.pool, REGION_BYTES, NULL, &region), 0);
	EXPECT_EQ(mmb_region_stat(region, &stat), 0);
	EXPECT_EQ(stat.faults, 7);
	EXPECT_EQ(stat.swapped, 0);
	stat.size = 0;
	EXPECT_EQ(mmb_region_stat(region, &stat), -EINVAL);
	EXPECT_EQ(mmb_region_stat(region, NULL), -EINVAL);
	mmb_region_close(region);
	fake_client_end(&client);
}

/* Has the kernel this flag for the mapping that begins there? */
static bool has_flag(const void *address, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	unsigned long start = 0, at, end;
	char line[512];
	bool found = false;

	while (smaps && !found && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &at, &end) == 2)
			start = at;
		else if (start == (uintptr_t)address && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag);
	}
	if (smaps)
		fclose(smaps);
	return found;
}

static void unmapping_ages_no_page_where_there_is_no_swap(void)
{
	struct sysinfo before, after;
	struct mmb_region *region;
	bool sequential;

	fake_client_begin(&client, 0);
	EXPECT_EQ(sysinfo(&before), 0);
	EXPECT_EQ(mmb_region_create(client.pool, BIG_BYTES, NULL, &region), 0);
	EXPECT_EQ(sysinfo(&after), 0);
	EXPECT(has_flag(mmb_region_address(region), " dc ")); /* MADV_DONTFORK, always */
	/* Others may swapon or swapoff meanwhile. */
	sequential = has_flag(mmb_region_address(region), " sr ");
	EXPECT(sequential == !before.totalswap || sequential == !after.totalswap);
	mmb_region_close(region);
	fake_client_end(&client);
}

/* ---- clones ---- */

static unsigned int nr_descriptors(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* The broker's side closes what it has sent a little later. */
static bool has_at_most(void *nr)
{
	return nr_descriptors() <= *(const unsigned int *)nr;
}

static struct mmb_region *begin_with_origin(enum broker_clone how)
{
	struct mmb_region *origin;

	fake_client_begin(&client, 0);
	broker_clone(client.broker, how);
	EXPECT_EQ(mmb_region_create(client.pool, BROKER_CLONE_BYTES, NULL, &origin), 0);
	return origin;
}

static void a_clone_takes_one_request_or_two_of_an_older_broker(void)
{
	for (int old = 0; old < 2; old++) {
		struct mmb_region *origin = begin_with_origin(old ? CLONE_UNTOLD : CLONE_TOLD);
		struct mmb_region *all[] = { origin, origin, origin }, *clone, *clones[3];

		EXPECT_EQ(mmb_region_clone(origin, NULL, &clone), 0);
		EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_MAP), old);
		EXPECT(is_mapped(mmb_region_address(clone)));
		EXPECT(mmb_region_address(clone) != mmb_region_address(origin));
		EXPECT_EQ(mmb_region_clone_many(3, all, NULL, clones), 0);
		EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_MAP), old + 2 + old);
		mmb_region_close(clone);
		for (int i = 0; i < 3; i++)
			mmb_region_close(clones[i]);
		mmb_region_close(origin);
		EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_CLOSE), 5);
		fake_client_end(&client);
	}
}

static void a_clone_that_is_told_of_wrongly_ends_the_session(void)
{
	static const enum broker_clone wrong[] = { CLONE_FOREIGN, CLONE_NO_FD };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct mmb_region *origin = begin_with_origin(CLONE_TOLD), *clone = NULL;
		unsigned int before;

		EXPECT_EQ(mmb_region_clone(origin, NULL, &clone), 0); /* with its upcall socket */
		mmb_region_close(clone);
		clone = NULL;
		before = nr_descriptors();
		broker_clone(client.broker, wrong[i]);
		EXPECT_EQ(mmb_region_clone(origin, NULL, &clone), -EPROTO);
		EXPECT(!clone && strstr(mmb_error(), "broke the protocol"));
		EXPECT(test_wait(has_at_most, &before, 10));
		mmb_region_close(origin);
		mmb_pool_close(client.pool);
		mmb_close(client.mmb);
		broker_stop(client.broker);
	}
}

static void what_is_made_with_a_clone_that_fails_is_released(void)
{
	struct mmb_region *origin = begin_with_origin(CLONE_TOLD);
	struct mmb_region *all[] = { origin, origin, origin }, *clones[3] = { NULL };

	broker_refuse(client.broker, MMB_METHOD_REGION_MAP, -EMFILE, "no descriptor is left");
	EXPECT_EQ(mmb_region_clone_many(3, all, NULL, clones), -EMFILE);
	EXPECT(!clones[0] && strstr(mmb_error(), "no descriptor is left"));
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_REGION_CLOSE), 3);
	mmb_region_close(origin);
	fake_client_end(&client);
}

static const struct test_case cases[] = {
	{ "an occupied place moves the window, and the broker is told",
	  an_occupied_place_moves_the_window },
	{ "a wanted address is exact", a_wanted_address_is_exact },
	{ "unmapping ages no page where there is no swap",
	  unmapping_ages_no_page_where_there_is_no_swap },
	{ "closing unmaps only what is ours", closing_unmaps_only_what_is_ours },
	{ "DONTNEED and ZAP spare what is not ours", dontneed_and_zap_spare_what_is_not_ours },
	{ "ranges are checked before the broker is asked",
	  ranges_are_checked_before_the_broker_is_asked },
	{ "wrong opens are refused", wrong_opens_are_refused },
	{ "a read-only region can't be written", a_read_only_region_can_not_be_written },
	{ "a fault record is found through the connection",
	  a_fault_record_is_found_through_the_connection },
	{ "region stat is filled", region_stat_is_filled },
	{ "a clone takes one request, or two of an older broker",
	  a_clone_takes_one_request_or_two_of_an_older_broker },
	{ "a clone that is told of wrongly ends the session",
	  a_clone_that_is_told_of_wrongly_ends_the_session },
	{ "what is made with a clone that fails is released",
	  what_is_made_with_a_clone_that_fails_is_released },
};

TEST_MAIN(cases)
