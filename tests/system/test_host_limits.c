/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_host_limits - clients at the limits of their process, and devices that write to their memory
 *
 * Purpose     Out of descriptors, threads, address space or mappings: an error with a sentence,
 *             nothing left behind, and everything works again when there is room.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

/* In an actor: what fills its table of descriptors. */
static int fillers[256];
static unsigned int nr_fillers;

/* From now on it can open so many more. */
static void leave_room(unsigned int more)
{
	struct rlimit limit;
	int fd;

	CLIENT_EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 256;
	CLIENT_EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while ((fd = dup(STDERR_FILENO)) >= 0)
		fillers[nr_fillers++] = fd;
	CLIENT_EXPECT(errno == EMFILE && nr_fillers > more);
	while (more--)
		close(fillers[--nr_fillers]);
}

static void make_room(void)
{
	while (nr_fillers)
		close(fillers[--nr_fillers]);
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

/* Everything that brings descriptors, with room for `more` of them. */
static void try_with_few(struct actor *a, unsigned int more)
{
	const struct mmb_region_options huge = { .size = sizeof(huge), .page_size = HUGE_PAGE };
	struct mmb_region *region = NULL, *clone = NULL, *big = NULL, *named = NULL;
	struct mmb_pool *pool = NULL;
	void *object = NULL;

	leave_room(more);
	for (int i = 0; i < 2; i++) {
		int error = i ? mmb_region_open(a->pool, "few", BYTES,
						MMB_REGION_CREATE | MMB_REGION_EXCL, NULL, &named)
			      : mmb_region_create(a->pool, BYTES, NULL, &region);

		CLIENT_EXPECT(!error || (error == -EMFILE && strstr(mmb_error(), "RLIMIT_NOFILE")));
		CLIENT_EXPECT(!error || !more);
	}
	if (!mmb_region_create(a->pool, HUGE_PAGE, &huge, &big))
		CLIENT_EXPECT_EQ(touch_write(act_at(big), 1), 0);
	if (region)
		mmb_region_clone(region, NULL, &clone);
	if (!mmb_pool_open(a->mmb, "few", MMB_POOL_CREATE, NULL, &pool))
		object = mmb_malloc(pool, 100);
	CLIENT_EXPECT(object || errno == EMFILE || !pool);
	make_room();
	/* What failed works now. */
	if (pool && !object)
		object = mmb_malloc(pool, 100);
	CLIENT_EXPECT(object || !pool);
	mmb_free(object);
	mmb_pool_close(pool);
	mmb_region_close(clone);
	mmb_region_close(region);
	mmb_region_close(big);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "few"), named ? 0 : -ENOENT);
	mmb_region_close(named);
}

/* None are needed to unmap, to empty a range, or to bring a clone's pages that are written to. */
static void go_on_without(struct actor *a)
{
	struct mmb_region *region = act_region(a, BYTES, 0), *clone, *dropped;
	char *at;

	stamp(act_at(region), BYTES, 3);
	clone = act_clone(region, NULL, 0);
	dropped = act_clone(region, NULL, 0);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 3));
	leave_room(0);
	stamp(act_at(clone), BYTES, 4);
	stamp(act_at(region), BYTES, 5);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 4));
	CLIENT_EXPECT_EQ(mmb_region_advise(dropped, 0, MIB, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(act_at(dropped), MIB));
	at = act_at(clone);
	mmb_region_close(clone);
	CLIENT_EXPECT_EQ(touch_read(at, &(char){ 0 }), SIGSEGV);
	make_room();
	mmb_region_close(dropped);
	mmb_region_close(region);
}

/* Nothing of the session is lost with the descriptors that didn't fit. */
static void run_out_later(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_region *region;

	act_common_pool(a);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES / 2, 1);
	for (unsigned int more = 0; more < 5; more++) {
		try_with_few(a, more);
		CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
		CLIENT_EXPECT_EQ(stat.regions, 1);
		CLIENT_EXPECT(is_stamped(act_at(region), BYTES / 2, 1));
	}
	stamp(act_at(region), BYTES, 2);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
	go_on_without(a);
}

static void descriptors_run_out_later(void)
{
	PLAY(ROLE(run_out_later));
}

/* The pager can't be started: each time the same descriptors are tried with. */
static void run_out_of_threads(struct actor *a)
{
	const struct rlimit none = { 1, 1 };
	struct mmb_region *region;
	unsigned int before = 0;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
	for (int i = 0; i < 8; i++) {
		CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, MMB_REGION_CREATE, NULL,
						 &region), -EAGAIN);
		CLIENT_EXPECT(strstr(mmb_error(), "RLIMIT_NPROC"));
		CLIENT_EXPECT(!i || nr_open() == before);
		before = nr_open();
	}
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
}

static void threads_run_out(void)
{
	need_root("becoming another user");
	PLAY(ROLE(run_out_of_threads, .nobody = true));
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

static bool exists(struct actor *a, const char *name)
{
	struct mmb_region *region;
	int error = mmb_region_open(a->pool, name, 0, MMB_REGION_READONLY, NULL, &region);

	if (!error)
		mmb_region_close(region);
	CLIENT_EXPECT(!error || error == -ENOENT);
	return !error;
}

/* A named region outlives its handles: one that its maker can't map would be there for ever. */
static void fail_to_map_by_name(struct actor *a)
{
	struct mmb_region_options there = { .size = sizeof(there) };
	const size_t size = sizeof(struct mmb_clone_options);
	const struct mmb_clone_options names[] = { { .size = size, .name = "clone-0" },
						   { .size = size, .name = "clone-1" } };
	struct mmb_region *of[2], *clones[2], *region = NULL;
	struct rlimit limit;

	act_common_pool(a);
	of[0] = act_region(a, MIB, 0);
	of[1] = act_region(a, 64 * MIB, 0);
	there.address = mmb_region_address(of[0]);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "new", MIB, MMB_REGION_CREATE, &there, &region),
			 -EADDRNOTAVAIL);
	CLIENT_EXPECT(!exists(a, "new"));
	/* One that was there before stays. */
	region = act_named(a, "old", MIB);
	stamp(act_at(region), MIB, 1);
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "old", MIB, MMB_REGION_CREATE, &there, &region),
			 -EADDRNOTAVAIL);
	CLIENT_EXPECT(exists(a, "old"));
	CLIENT_EXPECT_EQ(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = address_space() + 32 * MIB;
	CLIENT_EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	CLIENT_EXPECT_EQ(mmb_region_clone_many(2, of, names, clones), -ENOMEM);
	limit.rlim_cur = limit.rlim_max;
	CLIENT_EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	CLIENT_EXPECT(!exists(a, "clone-0") && !exists(a, "clone-1"));
	CLIENT_EXPECT_EQ(mmb_region_clone_many(2, of, names, clones), 0);
	CLIENT_EXPECT(exists(a, "clone-0") && exists(a, "clone-1"));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "clone-0"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "clone-1"), 0);
	region = act_named(a, "old", MIB);
	CLIENT_EXPECT(is_stamped(act_at(region), MIB, 1));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "old"), 0);
}

static void no_name_is_left(void)
{
	PLAY(ROLE(fail_to_map_by_name));
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
	{ "a session that has begun survives it, and so do its regions",
	  descriptors_run_out_later },
	{ "RLIMIT_NPROC: an error with a sentence, and nothing is left", threads_run_out },
	{ "RLIMIT_AS: a window that can't be mapped is -ENOMEM, and nothing is left",
	  address_space_runs_out },
	{ "a region or clone that its maker can't map leaves no name", no_name_is_left },
	{ "max_map_count: a window cut to pieces can still be closed", mappings_run_out },
	{ "device reads into locked pages lose nothing", pinned_pages_lose_nothing },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
