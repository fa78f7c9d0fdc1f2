/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_memory - the descriptors and mappings a client rightly has, put to wrong use
 *
 * Purpose     Punching, mapping twice, writing, resizing and reopening the memfd of a region or an
 *             arena; moving and dropping windows. A client spoils its own data at most, learns why
 *             by the fault log, and every frame comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmbroker.h"
#include "proto/uffd_compat.h"
#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { PAGES = 64, PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };

static int unlink_region(struct raw *r, const char *name)
{
	Mmb__Wire__RegionUnlinkRequest request = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;

	request.pool = r->pool;
	request.name = (char *)(uintptr_t)name;
	return raw_call(r, MMB_METHOD_REGION_UNLINK, &request);
}

/* ---- punching ---- */

static void expect_poisoned(struct attack *a, char *at)
{
	const struct mmb_fault_record *record;
	char                           value;

	CLIENT_EXPECT_EQ(raw_read_byte(at, &value), -EFAULT);
	record = raw_fault_record(&a->r, at);
	CLIENT_EXPECT(record && record->error < 0);
	if (!strstr(record->cause, "punched"))
		printf("  the cause told: %s\n", record->cause);
	CLIENT_EXPECT(strstr(record->cause, "punched"));
	CLIENT_EXPECT_EQ(raw_write_byte(at, 1), -EFAULT);
}

ATTACK(punched_page)
{
	struct raw_region region;
	char             *bad;

	attack_pool(a);
	region = attack_region(a, PAGES);
	for (int i = 0; i < PAGES; i++)
		pattern_fill(region.at + i * PAGE, PAGE, (uint64_t)i);
	bad = region.at + 7 * PAGE;
	CLIENT_EXPECT_EQ(fallocate(region.fd, PUNCH, 7 * PAGE, PAGE), 0);
	expect_poisoned(a, bad);
	for (int i = 0; i < PAGES; i++)
		CLIENT_EXPECT(i == 7 || pattern_holds(region.at + i * PAGE, PAGE, (uint64_t)i));
	attack_serves(&a->r);
}

ATTACK(punched_region)
{
	struct raw_region region;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length, 1);
	CLIENT_EXPECT_EQ(fallocate(region.fd, PUNCH, 0, (off_t)region.length), 0);
	for (int i = 0; i < PAGES; i++)
		expect_poisoned(a, region.at + i * PAGE);
	/* Emptied by the rules, it is as new. */
	CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(madvise(region.at, region.length, MADV_DONTNEED), 0);
	pattern_fill(region.at, region.length, 2);
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 2));
}

ATTACK(punched_while_faulting)
{
	struct raw_region region;
	pid_t             puncher;
	int               lost = 0;

	attack_pool(a);
	region = attack_region(a, PAGES);
	puncher = fork();
	if (!puncher) {
		for (;;)
			fallocate(region.fd, PUNCH, 0, (off_t)region.length);
	}
	for (int i = 0; i < 4000; i++) {
		lost += raw_write_byte(region.at + i % PAGES * PAGE, 1) != 0;
		if (i % PAGES == PAGES - 1) {
			raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_DONTNEED);
			CLIENT_EXPECT_EQ(madvise(region.at, region.length, MADV_DONTNEED), 0);
		}
	}
	kill(puncher, SIGKILL);
	waitpid(puncher, NULL, 0);
	printf("  %d of 4000 touches were answered with SIGBUS\n", lost);
	attack_serves(&a->r);
}

/* One of two sharers punches: the other loses that page too, is told, and keeps the rest. */
ATTACK(punched_by_a_sharer)
{
	struct raw_region_want want = { .name = "shared", .length = PAGES * PAGE,
					.flags = MMB_REGION_CREATE };
	static struct attack   other = { .seed = 1 };
	struct raw_region      mine, theirs;

	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "sharers", 0), 0);
	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &mine), 0);
	pattern_fill(mine.at, mine.length, 1);
	other.socket = a->socket;
	attack_attach(&other);
	CLIENT_EXPECT_EQ(raw_pool(&other.r, "sharers", 0), 0);
	CLIENT_EXPECT_EQ(raw_region_ask(&other.r, &want, &theirs), 0);
	CLIENT_EXPECT_EQ(fallocate(theirs.fd, PUNCH, 5 * PAGE, PAGE), 0);
	raw_close(&other.r);
	expect_poisoned(a, mine.at + 5 * PAGE);
	CLIENT_EXPECT(pattern_holds(mine.at, 5 * PAGE, 1));
	CLIENT_EXPECT_EQ(unlink_region(&a->r, want.name), 0);
}

static volatile sig_atomic_t told;
static void                 *told_of;

static void ask_why(int number, siginfo_t *info, void *context)
{
	struct mmb_fault_info why = { .size = sizeof(why) };

	if (!mmb_fault_info(info->si_addr, &why) && why.error < 0 && strstr(why.cause, "punched") &&
	    why.offset / PAGE == 3)
		told = 1;
	/* Something harmless where the access failed, so that it succeeds. */
	mmap(told_of, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Through the library, as an application sees it. */
ATTACK(library_tells_the_cause)
{
	struct sigaction   action = { .sa_sigaction = ask_why, .sa_flags = SA_SIGINFO };
	struct mmb        *mmb;
	struct mmb_pool   *pool;
	struct mmb_region *region;
	char              *at;

	CLIENT_EXPECT_EQ(mmb_open(a->socket, NULL, &mmb), 0);
	CLIENT_EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	CLIENT_EXPECT_EQ(mmb_region_create(pool, PAGES * PAGE, NULL, &region), 0);
	at = mmb_region_address(region);
	pattern_fill(at, PAGES * PAGE, 1);
	CLIENT_EXPECT_EQ(madvise(at + 3 * PAGE, PAGE, MADV_REMOVE), 0);
	told_of = at + 3 * PAGE;
	sigaction(SIGBUS, &action, NULL);
	*(volatile char *)told_of = 1;
	CLIENT_EXPECT(told);
	CLIENT_EXPECT(pattern_holds(at, 3 * PAGE, 1));
	mmb_close(mmb);
}

/* ---- a second mapping, and frames from nowhere ---- */

static uint64_t bytes_in_file(int fd)
{
	struct stat st;

	CLIENT_EXPECT_EQ(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static char *map_again(int fd, uint64_t length, int protection)
{
	char *again = mmap(NULL, length, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);

	CLIENT_EXPECT(again != MAP_FAILED);
	return again;
}

static uint64_t resident(struct raw *r, const struct raw_region *region)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;

	request.region = region->handle;
	CLIENT_EXPECT_EQ(raw_call(r, MMB_METHOD_REGION_STAT, &request), 0);
	return ((const Mmb__Wire__RegionStatReply *)r->body)->resident;
}

ATTACK(frames_conjured_by_writing)
{
	struct raw_region region;
	char             *again;

	attack_pool(a);
	region = attack_region(a, 16 * PAGES);
	pattern_fill(region.at, 2 * PAGE, 1);
	again = map_again(region.fd, region.length, PROT_READ | PROT_WRITE);
	for (int i = 2; i < 16 * PAGES; i++)
		again[i * PAGE] = 1;
	attack_file_shrinks(region.fd, resident(&a->r, &region));
	CLIENT_EXPECT(pattern_holds(region.at, 2 * PAGE, 1));
	attack_serves(&a->r);
}

ATTACK(frames_conjured_by_reading)
{
	struct raw_region_want want = { .name = "read", .length = 16 * PAGES * PAGE,
					.flags = MMB_REGION_CREATE };
	struct raw_region      region, readonly;
	char                  *again, value;

	attack_pool(a); /* a private one: its named regions go with it */
	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	want.flags = MMB_REGION_READONLY;
	CLIENT_EXPECT_EQ(raw_region_ask(&a->r, &want, &readonly), 0);
	again = map_again(readonly.fd, region.length, PROT_READ);
	for (int i = 0; i < 16 * PAGES; i++)
		CLIENT_EXPECT_EQ(raw_read_byte(again + i * PAGE, &value), 0);
	attack_file_shrinks(region.fd, 0);
	attack_serves(&a->r);
}

ATTACK(frames_conjured_by_system_calls)
{
	static char       page[PAGE];
	struct raw_region region;

	attack_pool(a);
	region = attack_region(a, 16 * PAGES);
	for (int i = 0; i < PAGES; i++)
		CLIENT_EXPECT_EQ(pwrite(region.fd, page, PAGE, i * PAGE), PAGE);
	CLIENT_EXPECT_EQ(fallocate(region.fd, 0, PAGES * PAGE, PAGES * PAGE), 0);
	attack_file_shrinks(region.fd, 0);
	attack_serves(&a->r);
}

/* Whatever the file has behind the region's end. */
ATTACK(frames_conjured_behind_the_end)
{
	struct raw_region region;
	off_t             end;

	attack_pool(a);
	region = attack_region(a, 3);
	end = lseek(region.fd, 0, SEEK_END);
	CLIENT_EXPECT(end >= 3 * PAGE);
	if (end > 3 * PAGE)
		CLIENT_EXPECT_EQ(fallocate(region.fd, 0, 3 * PAGE, end - 3 * PAGE), 0);
	attack_file_shrinks(region.fd, 0);
	attack_serves(&a->r);
}

ATTACK(frames_conjured_in_the_arena)
{
	uint64_t run, before;
	int      fd;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, &fd), 0);
	CLIENT_EXPECT_EQ(raw_pages(&a->r, 0, 0, 1, &run), 1);
	before = bytes_in_file(fd);
	CLIENT_EXPECT_EQ(fallocate(fd, 0, 0, lseek(fd, 0, SEEK_END)), 0);
	attack_file_shrinks(fd, before + 4 * HUGE_PAGE);
	attack_serves(&a->r);
}

/* Again and again while the audit is at work. */
ATTACK(frames_conjured_all_the_time)
{
	struct raw_region region;
	char             *again;

	attack_pool(a);
	region = attack_region(a, 4 * PAGES);
	again = map_again(region.fd, region.length, PROT_READ | PROT_WRITE);
	for (int round = 0; round < 300; round++) {
		for (int i = 0; i < 4 * PAGES; i += 2)
			again[i * PAGE] = 1;
		for (int i = 1; i < 4 * PAGES; i += 2)
			CLIENT_EXPECT_EQ(raw_write_byte(region.at + i * PAGE, 2), 0);
		usleep(5000);
	}
	attack_serves(&a->r);
}

/* ---- the file itself ---- */

ATTACK(resized)
{
	struct raw_region region;
	off_t             end;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length, 1);
	end = lseek(region.fd, 0, SEEK_END);
	CLIENT_EXPECT(ftruncate(region.fd, 0) && errno == EPERM);
	CLIENT_EXPECT(ftruncate(region.fd, end + PAGE) && errno == EPERM);
	CLIENT_EXPECT(fallocate(region.fd, 0, end, PAGE) && errno == EPERM);
	CLIENT_EXPECT(fallocate(region.fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE));
	CLIENT_EXPECT(fcntl(region.fd, F_ADD_SEALS, F_SEAL_WRITE) && errno == EPERM);
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 1));
}

/* The other user's descriptor stays what it is: uid 65534 against a daemon of root. */
ATTACK(reopened_for_writing)
{
	static struct attack   owner = { .seed = 1 };
	struct raw_region_want want = { .name = "library", .length = PAGES * PAGE,
					.flags = MMB_REGION_CREATE, .mode = 0644 };
	struct raw_region      region, readonly;
	char                   path[40];
	Mmb__Wire__PoolOpenRequest pool = MMB__WIRE__POOL_OPEN_REQUEST__INIT;

	owner.socket = a->socket;
	attack_attach(&owner);
	pool.name = (char *)(uintptr_t)"public";
	pool.flags = MMB_POOL_CREATE | MMB_POOL_EXCL;
	pool.mode = 0666;
	CLIENT_EXPECT_EQ(raw_call(&owner.r, MMB_METHOD_POOL_OPEN, &pool), 0);
	owner.r.pool = ((const Mmb__Wire__PoolOpenReply *)owner.r.body)->pool;
	CLIENT_EXPECT_EQ(raw_region_open(&owner.r, &want, &region), 0);
	pattern_fill(region.at, region.length, 1);

	CLIENT_EXPECT_EQ(client_become_nobody(), 0);
	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "public", 0), 0);
	want.flags = MMB_REGION_READONLY;
	CLIENT_EXPECT_EQ(raw_region_ask(&a->r, &want, &readonly), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", readonly.fd);
	CLIENT_EXPECT(open(path, O_RDWR) < 0 && errno == EACCES);
	CLIENT_EXPECT(open(path, O_WRONLY) < 0 && errno == EACCES);
	CLIENT_EXPECT(open(path, O_RDWR | O_TRUNC) < 0);
	CLIENT_EXPECT(fchmod(readonly.fd, 0666) && errno == EPERM);
	CLIENT_EXPECT(fchown(readonly.fd, getuid(), getgid()) && errno == EPERM);
	CLIENT_EXPECT(pwrite(readonly.fd, "x", 1, 0) < 0);
	CLIENT_EXPECT(fallocate(readonly.fd, PUNCH, 0, PAGE) < 0);
	CLIENT_EXPECT(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, readonly.fd, 0) == MAP_FAILED);
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 1));
	want.flags = 0;
	CLIENT_EXPECT_EQ(raw_region_ask(&a->r, &want, &readonly), -EACCES);
	CLIENT_EXPECT_EQ(unlink_region(&owner.r, want.name), 0);
}

static void readonly_reopened(void)
{
	if (getuid())
		SKIP("two users are needed, and becoming another one needs root");
	reopened_for_writing();
}

/* ---- windows ---- */

/* After REGION_CLOSE the mapping is a mapping of nothing. */
ATTACK(used_after_close)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;
	struct raw_region        region;
	char                     value;
	int                      r = 0;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length, 1);
	request.region = region.handle;
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_CLOSE, &request), 0);
	for (int i = 0; i < 500 && !r; i++) {
		r = raw_read_byte(region.at + PAGE, &value);
		usleep(10000);
	}
	CLIENT_EXPECT_EQ(r, -EFAULT);
	attack_serves(&a->r);
}

/* A client that closed a region and kept its descriptor goes on conjuring frames in it. */
ATTACK(descriptor_kept_after_close)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;
	struct raw_region        region;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length, 1);
	request.region = region.handle;
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_CLOSE, &request), 0);
	fallocate(region.fd, 0, 0, (off_t)region.length);
	attack_serves(&a->r);
}

ATTACK(dropped_by_madvise)
{
	struct raw_region region;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length, 1);
	CLIENT_EXPECT_EQ(madvise(region.at, region.length, MADV_DONTNEED), 0);
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 1));
}

ATTACK(moved_by_mremap)
{
	struct raw_region region;
	char             *moved, value;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length, 1);
	moved = mmap(NULL, region.length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CLIENT_EXPECT(moved != MAP_FAILED);
	moved = mremap(region.at, region.length, region.length, MREMAP_MAYMOVE | MREMAP_FIXED,
		       moved);
	CLIENT_EXPECT(moved != MAP_FAILED);
	/* The same data, or SIGBUS; never zeros. */
	CLIENT_EXPECT_EQ(madvise(moved, region.length, MADV_DONTNEED), 0);
	for (int i = 0; i < PAGES; i++)
		if (!raw_read_byte(moved + i * PAGE, &value))
			break;
	if (!raw_read_byte(moved, &value))
		CLIENT_EXPECT(pattern_holds(moved, region.length, 1));
	attack_serves(&a->r);
}

ATTACK(mapped_where_it_should_not_be)
{
	struct raw_region region;
	char             *at;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length, 1);
	/* Another file under the window's address, and holes in the middle. */
	CLIENT_EXPECT_EQ(munmap(region.at + 8 * PAGE, 8 * PAGE), 0);
	at = mmap(region.at + 16 * PAGE, 16 * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CLIENT_EXPECT(at != MAP_FAILED);
	memset(at, 7, 16 * PAGE);
	CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_WILLNEED), 0);
	CLIENT_EXPECT(at[0] == 7 && at[15 * PAGE] == 7);
	CLIENT_EXPECT(region.at[0] == 0);
	attack_serves(&a->r);
}

ATTACK(window_moved_to_nowhere)
{
	Mmb__Wire__WindowRequest request = MMB__WIRE__WINDOW_REQUEST__INIT;
	struct raw_region        region;
	char                     value;

	attack_pool(a);
	region = attack_region(a, PAGES);
	request.region = region.handle;
	request.address = 1ull << 45; /* nothing is mapped there */
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_WINDOW, &request), 0);
	CLIENT_EXPECT_EQ(raw_read_byte(region.at, &value), -EFAULT);
	request.address = (uintptr_t)region.at;
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_WINDOW, &request), 0);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at + PAGE, 1), 0);
}

static const struct test_case cases[] = {
	{ "a page punched by its client is SIGBUS with a cause, the others intact", punched_page },
	{ "a region punched by its client is poisoned, and emptied it is as new", punched_region },
	{ "punching in a loop while pages fault harms nobody", punched_while_faulting },
	{ "a page punched by one sharer is SIGBUS for the other, the rest intact",
	  punched_by_a_sharer },
	{ "mmb_fault_info tells the cause in the signal handler", library_tells_the_cause },
	{ "frames conjured by writing through a second mapping are punched",
	  frames_conjured_by_writing },
	{ "frames conjured through a read-only descriptor are punched",
	  frames_conjured_by_reading },
	{ "frames conjured by write and fallocate are punched", frames_conjured_by_system_calls },
	{ "frames conjured behind the region's end are punched", frames_conjured_behind_the_end },
	{ "frames conjured in the arena are punched", frames_conjured_in_the_arena },
	{ "conjuring without end spoils no page that was produced", frames_conjured_all_the_time },
	{ "a region's file can't be resized, collapsed or sealed", resized },
	{ "a read-only descriptor can't be reopened for writing by another user",
	  readonly_reopened },
	{ "a mapping kept after REGION_CLOSE is SIGBUS", used_after_close },
	{ "a descriptor kept after REGION_CLOSE costs nobody", descriptor_kept_after_close },
	{ "MADV_DONTNEED on a window loses nothing", dropped_by_madvise },
	{ "a window moved by mremap shows its data or SIGBUS, never zeros", moved_by_mremap },
	{ "other mappings in the place of a window stay the client's own",
	  mapped_where_it_should_not_be },
	{ "a window told to be where nothing is harms that client alone",
	  window_moved_to_nowhere },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
