/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_host_limits - clients at the limits of their process, and devices that write to their memory
 *
 * Purpose     Out of descriptors, address space or mappings: an error with a sentence, nothing left
 *             behind, and everything works again when there is room.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB };

static const char *const flags[] = { "--memory.reserve=400M", NULL };
static const struct setting setting = { .flags = flags };

/* ---- limits ---- */

static unsigned int nr_open(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* What each call needs of descriptors may be missing at any of them. */
static void run_out_of_descriptors(struct actor *a)
{
	struct rlimit limit;
	unsigned int opened = 0, before;

	CLIENT_EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	before = nr_open();
	for (rlim_t more = 0; more < 16; more++) {
		struct mmb_pool *pool = NULL;
		struct mmb_region *region = NULL;
		struct mmb *mmb = NULL;
		int error;

		limit.rlim_cur = before + more;
		CLIENT_EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
		error = mmb_open(a->socket, NULL, &mmb);
		if (!error)
			error = mmb_pool_open(mmb, "few", MMB_POOL_CREATE, NULL, &pool);
		if (!error)
			error = mmb_region_open(pool, "few", BYTES, MMB_REGION_CREATE, NULL,
						&region);
		CLIENT_EXPECT(error <= 0);
		CLIENT_EXPECT(!error || mmb_error()[0]);
		if (region) {
			opened++;
			stamp(act_at(region), BYTES, 1);
			CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
			mmb_region_close(region);
			CLIENT_EXPECT_EQ(mmb_region_unlink(pool, "few"), 0);
		}
		mmb_pool_close(pool);
		mmb_close(mmb);
		CLIENT_EXPECT_EQ(nr_open(), before);
	}
	CLIENT_EXPECT(opened > 0);
}

static void descriptors_run_out(void)
{
	PLAY(ROLE(run_out_of_descriptors));
}

/* Bytes of address space that this process has in use. */
static rlim_t address_space(void)
{
	unsigned long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");

	CLIENT_EXPECT(statm && fscanf(statm, "%lu", &pages) == 1);
	fclose(statm);
	return (rlim_t)pages * PAGE;
}

static void run_out_of_address_space(struct actor *a)
{
	struct rlimit limit;
	struct mmb_region *region = NULL;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = address_space() + 16 * MIB;
	CLIENT_EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 32 * MIB, NULL, &region), -ENOMEM);
	CLIENT_EXPECT(!region && strstr(mmb_error(), "RLIMIT_AS"));
	limit.rlim_cur = limit.rlim_max;
	CLIENT_EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	region = act_region(a, 32 * MIB, 0);
	stamp(act_at(region), MIB, 1);
	CLIENT_EXPECT(is_stamped(act_at(region), MIB, 1));
}

static void address_space_runs_out(void)
{
	PLAY(ROLE(run_out_of_address_space));
}

/* vm.max_map_count: no page of the window can be unmapped alone any more, the window still can. */
static void run_out_of_mappings(struct actor *a)
{
	struct mmb_region *region;
	size_t bytes = 300 * MIB, at = 0;

	act_pool(a, 0);
	region = act_region(a, bytes, 0);
	stamp(act_at(region), PAGE, 1);
	while (at < bytes && !mprotect(act_at(region) + at, PAGE, PROT_READ))
		at += 2 * PAGE;
	if (at >= bytes) {
		atomic_store(&board->number[0], 1);
		return;
	}
	CLIENT_EXPECT_EQ(errno, ENOMEM);
	CLIENT_EXPECT(is_stamped(act_at(region), PAGE, 1));
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, MIB, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(act_at(region), MIB));
	mmb_region_close(region);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 2);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
}

static void mappings_run_out(void)
{
	PLAY(ROLE(run_out_of_mappings));
	if (atomic_load(&board->number[0]))
		SKIP("vm.max_map_count is too high here to be reached");
}

/* ---- devices write to locked pages ---- */

static void read_past_the_cache(struct actor *a)
{
	char path[] = "/var/tmp/mmb-test-direct-XXXXXX";
	int fd = mkstemp(path), direct;
	struct mmb_region *region;
	char *text = malloc(MIB);

	CLIENT_EXPECT(fd >= 0 && text);
	stamp(text, MIB, 3);
	CLIENT_EXPECT_EQ(pwrite(fd, text, MIB, 0), MIB);
	CLIENT_EXPECT_EQ(fsync(fd), 0);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(path);
	if (direct < 0) {
		atomic_store(&board->number[0], 1);
		return;
	}
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	CLIENT_EXPECT_EQ(mmb_region_lock(region, MIB, MIB), 0);
	CLIENT_EXPECT_EQ(pread(direct, act_at(region) + MIB, MIB, 0), MIB);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), -EBUSY);
	CLIENT_EXPECT(is_stamped(act_at(region) + MIB, MIB, 3));
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, MIB, MIB), 0);
	/* And into pages that weren't there: the kernel faults them in. */
	CLIENT_EXPECT_EQ(pread(direct, act_at(region) + 2 * MIB, MIB, 0), MIB);
	CLIENT_EXPECT(is_stamped(act_at(region) + 2 * MIB, MIB, 3));
}

static void pinned_pages_lose_nothing(void)
{
	need_root("faults inside system calls");
	PLAY(ROLE(read_past_the_cache));
	if (atomic_load(&board->number[0]))
		SKIP("the file system of /var/tmp has no O_DIRECT");
}

static const struct test_case cases[] = {
	{ "RLIMIT_NOFILE: an error with a sentence, and nothing is left", descriptors_run_out },
	{ "RLIMIT_AS: a window that can't be mapped is -ENOMEM, and nothing is left",
	  address_space_runs_out },
	{ "max_map_count: a window cut to pieces can still be closed", mappings_run_out },
	{ "device reads into locked pages lose nothing", pinned_pages_lose_nothing },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
