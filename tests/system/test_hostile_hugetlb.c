/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_hugetlb - hugepages of the whole host at stake
 *
 * Purpose     What only hugetlb files allow a client: reserving hugepages through them, and losing
 *             2 MiB at a time. Needs free hugepages; the whole program is skipped without.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { "--memory.reserve_huge=64M", NULL };

enum { NEEDED = 48, PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };

static unsigned long hugepages(const char *which)
{
	char          path[80];
	unsigned long nr = 0;
	FILE         *file;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s_hugepages",
		 which);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%lu", &nr) != 1)
		nr = 0;
	fclose(file);
	return nr;
}

static void need_hugepages(void)
{
	static bool enough;

	enough = enough || hugepages("free") >= NEEDED;
	if (!enough)
		SKIP("48 free hugepages are needed: sysctl vm.nr_hugepages=48");
}

static struct raw_region huge_region(struct attack *a, uint64_t pages)
{
	const struct raw_region_want want = { .length = pages * HUGE_PAGE, .page_size = HUGE_PAGE };
	struct raw_region            region;

	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	CLIENT_EXPECT(region.hugetlb);
	return region;
}

/* ---- reservations ---- */

static void reserve_hugepages(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };
	struct raw_region    region;
	void                *at;

	a.socket = socket;
	attack_pool(&a);
	region = huge_region(&a, 4);
	at = mmap(NULL, region.length, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0);
	CLIENT_EXPECT(at != MAP_FAILED);
	CLIENT_EXPECT(client_tell_step(self, 'm'));
	attack_ended(&a.r);
	pause();
}

static bool reservation_gone(void *before)
{
	return hugepages("resv") <= *(unsigned long *)before;
}

static void mapped_without_noreserve(void)
{
	struct client_process c;
	struct fixture       *f;
	unsigned long         before;

	need_hugepages();
	f = hostile_begin();
	before = hugepages("resv");
	client_fork(&c, reserve_hugepages, f->socket);
	EXPECT(client_hear_step(&c, 'm'));
	/* Ended by the daemon, not only disconnected: or the reservation would stay. */
	EXPECT_EQ(client_wait(&c), -SIGKILL);
	EXPECT(test_wait(reservation_gone, &before, 10));
	hostile_check();
}

/* ---- punching and conjuring ---- */

ATTACK(huge_page_punched)
{
	struct raw_region              region;
	const struct mmb_fault_record *record;
	char                           value;

	attack_pool(a);
	region = huge_region(a, 3);
	for (int i = 0; i < 3; i++)
		pattern_fill(region.at + i * HUGE_PAGE, HUGE_PAGE, (uint64_t)i);
	CLIENT_EXPECT_EQ(fallocate(region.fd, PUNCH, HUGE_PAGE, HUGE_PAGE), 0);
	CLIENT_EXPECT_EQ(raw_read_byte(region.at + HUGE_PAGE + 5 * PAGE, &value), -EFAULT);
	record = raw_fault_record(&a->r, region.at + HUGE_PAGE + 5 * PAGE);
	CLIENT_EXPECT(record && strstr(record->cause, "punched"));
	CLIENT_EXPECT(pattern_holds(region.at, HUGE_PAGE, 0));
	CLIENT_EXPECT(pattern_holds(region.at + 2 * HUGE_PAGE, HUGE_PAGE, 2));
	attack_serves(&a->r);
}

ATTACK(huge_pages_conjured)
{
	struct raw_region region;

	attack_pool(a);
	region = huge_region(a, 4);
	CLIENT_EXPECT_EQ(fallocate(region.fd, 0, 0, 4 * HUGE_PAGE), 0);
	attack_file_shrinks(region.fd, 0);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
	attack_serves(&a->r);
}

/* The daemon zeroes page runs in an arena that loses its pages at the same time: SIGBUS there must
 * be caught. */
ATTACK(huge_arena_punched_while_zeroed)
{
	uint64_t run;
	int      fd;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, &fd), 0);
	if (fork() == 0) {
		for (int i = 0; i < 3000; i++)
			fallocate(fd, PUNCH, 0, 8 * HUGE_PAGE);
		_exit(0);
	}
	for (int i = 0; i < 60; i++) {
		int r = raw_pages(&a->r, 9, MMB_GFP_ZERO, 1, &run);

		CLIENT_EXPECT(r == 1 || raw_refused(&a->r, r));
		if (r == 1)
			CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 9, &run, 1), 0);
	}
	attack_serves(&a->r);
}

/* All hugepages that the host has left, taken by others: errors, no SIGBUS in the daemon. */
ATTACK(host_out_of_hugepages)
{
	struct raw_region region;
	uint64_t          run;
	unsigned long     free_pages = hugepages("free");
	int               fd = memfd_create("greedy", MFD_HUGETLB | MFD_CLOEXEC), r;
	char              value;

	CLIENT_EXPECT(fd >= 0);
	attack_pool(a);
	region = huge_region(a, 2);
	CLIENT_EXPECT_EQ(ftruncate(fd, (off_t)(free_pages * HUGE_PAGE)), 0);
	while (free_pages && fallocate(fd, 0, 0, (off_t)(free_pages * HUGE_PAGE)))
		free_pages--;
	r = raw_pages(&a->r, 9, MMB_GFP_NORETRY, 1, &run);
	CLIENT_EXPECT(r == 1 || raw_refused(&a->r, r));
	r = raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_WILLNEED);
	CLIENT_EXPECT(r == 0 || raw_refused(&a->r, r));
	attack_serves(&a->r);
	close(fd);
	/* And a fault that waited for a page gets it now. */
	CLIENT_EXPECT_EQ(raw_read_byte(region.at, &value), 0);
}

ATTACK(arena_mapped_without_noreserve)
{
	void *at;
	int   fd;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, &fd), 0);
	at = mmap(NULL, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CLIENT_EXPECT(at != MAP_FAILED);
	munmap(at, 2 * HUGE_PAGE);
	attack_serves(&a->r);
}

#define WITH_HUGEPAGES(attack)                 \
	static void attack##_with_pages(void)  \
	{                                      \
		need_hugepages();              \
		attack();                      \
	}
WITH_HUGEPAGES(huge_page_punched)
WITH_HUGEPAGES(huge_pages_conjured)
WITH_HUGEPAGES(huge_arena_punched_while_zeroed)
WITH_HUGEPAGES(host_out_of_hugepages)
WITH_HUGEPAGES(arena_mapped_without_noreserve)
WITH_HUGEPAGES(hostile_stops)

static const struct test_case cases[] = {
	{ "a client that reserves the host's hugepages is ended", mapped_without_noreserve },
	{ "a punched hugepage is SIGBUS with a cause, the others intact",
	  huge_page_punched_with_pages },
	{ "conjured hugepages are punched", huge_pages_conjured_with_pages },
	{ "an arena that loses its hugepages while it is zeroed harms nobody",
	  huge_arena_punched_while_zeroed_with_pages },
	{ "a host out of hugepages means errors or waiting, not the daemon's end",
	  host_out_of_hugepages_with_pages },
	{ "a short reservation through the arena harms nobody",
	  arena_mapped_without_noreserve_with_pages },
	{ "after all of it the daemon ends with status 0", hostile_stops_with_pages },
};
TEST_MAIN(cases)
