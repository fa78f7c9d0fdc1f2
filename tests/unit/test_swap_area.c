/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_area - swap_area.c and os/disk_file.c: what may become a swap area, and how it goes
 */
#include "mm/balance/swap_area.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/inject.h"
#include "lib/phys_fixture.h"
#include "lib/swap_fixture.h"
#include "lib/test.h"
#include "mm/map/swap.h"

enum { MIB = 1 << 20 };

static char why[SWAP_WHY_BYTES];

static int on(const char *path, uint64_t bytes)
{
	struct swap_on_request request = { .path = path, .bytes = bytes };
	int                    r = swap_on(&request, why);

	if (r == -EOPNOTSUPP)
		SKIP("this folder's file system has no direct I/O");
	return r;
}

static uint64_t blocks_of(const char *path)
{
	struct stat st;

	EXPECT_EQ(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void make_file(const char *path, const char *content, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	EXPECT(fd >= 0);
	EXPECT_EQ(write(fd, content, strlen(content)), strlen(content));
	EXPECT_EQ(ftruncate(fd, 4 * MIB), 0);
	EXPECT_EQ(fchmod(fd, mode), 0);
	close(fd);
}

static void expect_refused(const char *path, uint64_t bytes, int error)
{
	struct swap_report unused;

	why[0] = 0;
	EXPECT_EQ(on(path, bytes), error);
	EXPECT(strlen(why) > strlen(path));
	EXPECT(!swap_area_report(0, &unused));
}

static void a_new_file_is_private_and_has_its_blocks(void)
{
	const char        *path = swap_test_path("area");
	struct swap_report report;
	struct stat        st;

	swap_boot();
	EXPECT_EQ(on(path, 4 * MIB), 0);
	EXPECT_EQ(stat(path, &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0600);
	EXPECT_EQ(st.st_size, 4 * MIB);
	EXPECT(blocks_of(path) >= 4 * MIB);
	EXPECT_EQ(swap_capacity(), 1023);
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.bytes, 1023 << PAGE_SHIFT);
	EXPECT(!strcmp(report.path, path));
	EXPECT_EQ(swap_off(path, why), 0);
	EXPECT_EQ(swap_capacity(), 0);
	EXPECT_EQ(on(path, 0), 0); /* ours: used again, as large as it is */
	EXPECT_EQ(swap_capacity(), 1023);
	EXPECT_EQ(swap_off(path, why), 0);
	EXPECT_EQ(on(path, 8 * MIB), 0);
	EXPECT(blocks_of(path) >= 8 * MIB);
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

static void an_empty_file_will_do(void)
{
	const char *path = swap_test_path("area");

	swap_boot();
	make_file(path, "", 0600);
	EXPECT_EQ(on(path, 0), 0);
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

static void what_is_not_ours_is_refused(void)
{
	const char *path = swap_test_path("area"), *other = swap_test_path("other");

	swap_boot();
	make_file(path, "somebody's thesis", 0600);
	expect_refused(path, 4 * MIB, -EEXIST);
	make_file(path, "", 0600);
	EXPECT_EQ(truncate(path, 0), 0);
	make_file(path, "", 0644);
	expect_refused(path, 4 * MIB, -EPERM);
	EXPECT_EQ(chmod(path, 0600), 0);
	EXPECT_EQ(link(path, other), 0);
	expect_refused(path, 4 * MIB, -EPERM);
	unlink(other);
	EXPECT_EQ(symlink(path, other), 0);
	expect_refused(other, 4 * MIB, -ELOOP);
	unlink(other);
	EXPECT_EQ(mkfifo(other, 0600), 0);
	expect_refused(other, 4 * MIB, -EINVAL);
	unlink(other);
	EXPECT_EQ(mkdir(other, 0700), 0);
	expect_refused(other, 4 * MIB, -EISDIR);
	rmdir(other);
	expect_refused("/dev/null", 4 * MIB, -EINVAL);
	unlink(path);
	swap_shutdown();
}

/* Data far behind the beginning makes a file somebody's too, and it stays as it was. */
static void hidden_content_is_found(void)
{
	const char *path = swap_test_path("area");
	int         fd;

	swap_boot();
	make_file(path, "", 0600);
	fd = open(path, O_RDWR);
	EXPECT_EQ(pwrite(fd, "x", 1, 3 * MIB), 1);
	close(fd);
	expect_refused(path, 8 * MIB, -EEXIST);
	EXPECT(blocks_of(path) < MIB);
	unlink(path);
	swap_shutdown();
}

static void sizes_and_paths_are_checked(void)
{
	char        long_path[SWAP_PATH_BYTES + 10] = "/";
	const char *path = swap_test_path("area");

	swap_boot();
	expect_refused("relative", 4 * MIB, -EINVAL);
	expect_refused("", 4 * MIB, -EINVAL);
	expect_refused(path, 0, -ENOENT);
	expect_refused(path, MIB - 1, -EINVAL);
	EXPECT(access(path, F_OK) != 0); /* what was made for it is gone */
	expect_refused(path, (swap_slots_max() << PAGE_SHIFT) + MIB, -EFBIG);
	EXPECT(access(path, F_OK) != 0);
	expect_refused("/nowhere/to/be/found", 4 * MIB, -ENOENT);
	memset(long_path + 1, 'x', sizeof(long_path) - 2);
	EXPECT_EQ(on(long_path, 4 * MIB), -ENAMETOOLONG);
	swap_shutdown();
}

static void a_file_is_used_once(void)
{
	const char *path = swap_test_path("area");

	swap_boot();
	EXPECT_EQ(on(path, 4 * MIB), 0);
	EXPECT_EQ(on(path, 4 * MIB), -EBUSY);
	EXPECT(strstr(why, "in use") != NULL);
	EXPECT_EQ(swap_off(path, why), 0);
	EXPECT_EQ(swap_off(path, why), -ENOENT);
	unlink(path);
	swap_shutdown();
}

static void a_failing_swapon_leaves_nothing(void)
{
	const char *path = swap_test_path("area");
	uint64_t    before;

	swap_boot();
	before = meta_bytes();
	inject_arm(INJECT_META_POPULATE, 1, -ENOMEM);
	EXPECT_EQ(on(path, 4 * MIB), -ENOMEM);
	inject_arm(INJECT_DISK_WRITE, 1, -EIO);
	EXPECT_EQ(on(path, 4 * MIB), -EIO);
	EXPECT_EQ(meta_bytes(), before);
	inject_arm(INJECT_DISK_WRITE, 0, 0);
	EXPECT_EQ(on(path, 4 * MIB), 0);
	EXPECT_EQ(swap_off(path, why), 0);
	EXPECT_EQ(meta_bytes(), before);
	unlink(path);
	swap_shutdown();
}

static enum swap_state state_of(uint32_t area)
{
	struct swap_report report;

	EXPECT(swap_area_report(area, &report));
	return report.state;
}

/* ---- hooks ---- */

enum { FAULTS = 64 };

static uint64_t capacity_told;
static uint32_t held_slot;
static int      capacity_answer, evacuate_answer;

static int hook_capacity(uint64_t slots)
{
	capacity_told = slots;
	return slots ? 0 : capacity_answer;
}

static int hook_evacuate(uint32_t area)
{
	struct swap_cursor cursor = { 0 };
	uint32_t           got;

	EXPECT_EQ(swap_alloc(&cursor, 1, SLOT_NONE, &got), SLOT_NONE);
	if (!evacuate_answer) {
		EXPECT_EQ(slot_area(held_slot), area);
		swap_free(held_slot, 1);
	}
	return evacuate_answer;
}

static const struct swap_hooks hooks = { hook_capacity, hook_evacuate };

static void swapoff_brings_everything_back_or_stays(void)
{
	const char        *path = swap_test_path("area");
	struct swap_cursor cursor = { 0 };
	struct swap_report report;
	uint32_t           got;

	swap_boot();
	swap_set_hooks(&hooks);
	EXPECT_EQ(on(path, 4 * MIB), 0);
	EXPECT_EQ(capacity_told, 1023);
	held_slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	capacity_answer = -ENOMEM;
	EXPECT_EQ(swap_off(path, why), -ENOMEM);
	EXPECT_EQ(capacity_told, 1023);
	EXPECT(strstr(why, "promised") != NULL);
	capacity_answer = 0;
	evacuate_answer = -EINTR;
	EXPECT_EQ(swap_off(path, why), -EINTR);
	EXPECT_EQ(capacity_told, 1023);
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_ON);
	EXPECT_EQ(swap_count(held_slot), 1);
	EXPECT_EQ(swap_capacity(), 1023);
	evacuate_answer = -ENOMEM;
	EXPECT_EQ(swap_off(path, why), -ENOMEM);
	EXPECT(strstr(why, "4 KiB there couldn't be brought back") != NULL);
	EXPECT(strstr(why, "raise that max, end some of its clients, or add another area") != NULL);
	evacuate_answer = 0;
	EXPECT_EQ(swap_off(path, why), 0);
	EXPECT_EQ(capacity_told, 0);
	swap_set_hooks(NULL);
	unlink(path);
	swap_shutdown();
}

/* Clients can provoke as many reads that fail as they like. What can't be written ends an area in
 * the end, which is told of, and a swapoff that fails doesn't bring it to life. */
static void only_writes_that_fail_end_an_area(void)
{
	const char        *path = swap_test_path("area");
	struct swap_cursor cursor = { 0 };
	uint32_t           got;

	swap_boot();
	swap_set_hooks(&hooks);
	EXPECT_EQ(on(path, 4 * MIB), 0);
	held_slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	for (int i = 0; i < FAULTS; i++) {
		swap_area_fault(0, SWAP_CHECKSUM_WRONG, -EILSEQ);
		swap_area_fault(0, SWAP_READ_FAILED, -EIO);
	}
	EXPECT_EQ(state_of(0), SWAP_ON);
	swap_area_fault(0, SWAP_WRITE_FAILED, -EIO);
	EXPECT_EQ(state_of(0), SWAP_DEGRADED);
	EXPECT_EQ(swap_capacity(), 1023);
	for (int i = 1; i < FAULTS; i++)
		swap_area_fault(0, SWAP_WRITE_FAILED, -EIO);
	EXPECT_EQ(state_of(0), SWAP_DEAD);
	EXPECT_EQ(capacity_told, 0);
	capacity_told = 1;
	evacuate_answer = -EINTR;
	EXPECT_EQ(swap_off(path, why), -EINTR);
	EXPECT_EQ(state_of(0), SWAP_DEAD);
	EXPECT_EQ(capacity_told, 0);
	evacuate_answer = 0;
	EXPECT_EQ(swap_off(path, why), 0);
	swap_set_hooks(NULL);
	unlink(path);
	swap_shutdown();
}

static void without_an_evacuator_used_slots_hold_the_area(void)
{
	const char        *path = swap_test_path("area");
	struct swap_cursor cursor = { 0 };
	uint32_t           slot, got;

	swap_boot();
	EXPECT_EQ(on(path, 4 * MIB), 0);
	slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	EXPECT_EQ(swap_off(path, why), -EBUSY);
	swap_free(slot, 1);
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

/* The descriptor of an area as a daemon that died leaves it. */
static int area_left_behind(const char *path)
{
	int fd;

	swap_boot();
	EXPECT_EQ(on(path, 4 * MIB), 0);
	swap_areas_fini();
	swap_areas_init();
	swap_area_remove(0);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	EXPECT(fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB));
	return fd;
}

static void a_resumed_area_has_what_words_claim(void)
{
	const char        *path = swap_test_path("area");
	struct swap_cursor cursor = { 0 };
	struct swap_report report;
	uint32_t           got;
	int                fd = area_left_behind(path);

	EXPECT_EQ(swap_on_resumed(3, dup(fd), why), -ENOENT); /* its record names another */
	EXPECT_EQ(swap_on_resumed(0, fd, why), 0);
	EXPECT_EQ(swap_claim(slot_make(0, 5), 2), 0);
	EXPECT_EQ(swap_alloc(&cursor, 1, SLOT_NONE, &got), SLOT_NONE);
	swap_area_accept(0, true);
	EXPECT(swap_area_report(0, &report));
	EXPECT(!strcmp(report.path, path));
	EXPECT_EQ(report.used, 2 << PAGE_SHIFT);
	EXPECT_EQ(on(path, 0), -EBUSY);
	swap_free(slot_make(0, 5), 2);
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

/* It takes nobody along who has nothing there. */
static void an_area_that_cannot_be_opened_again_is_dead(void)
{
	const char        *path = swap_test_path("area");
	struct swap_cursor cursor = { 0 };
	struct swap_report report;
	uint32_t           got;
	int                fd = area_left_behind(path);

	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	EXPECT_EQ(swap_on_resumed(0, fd, why), 0);
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_DEAD);
	EXPECT(!strcmp(report.path, path));
	EXPECT_EQ(swap_claim(slot_make(0, 5), 2), 0);
	EXPECT_EQ(swap_alloc(&cursor, 1, SLOT_NONE, &got), SLOT_NONE);
	EXPECT_EQ(swap_capacity(), 0);
	swap_free(slot_make(0, 5), 2);
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

/* A death between the two. */
static void what_is_kept_without_a_record_is_no_area(void)
{
	const char        *path = swap_test_path("area");
	struct swap_report report;
	int                fd = area_left_behind(path);

	EXPECT_EQ(swap_on_resumed(0, -1, why), -ENOENT);
	EXPECT_EQ(swap_on_resumed(0, fd, why), -ENOENT);
	EXPECT(!swap_area_report(0, &report));
	EXPECT_EQ(on(path, 0), 0);
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

/* The open file description of one that is dead, which its writes hold. */
static int left_writing(const char *path)
{
	struct flock whole = { .l_type = F_WRLCK };
	int          fd = open(path, O_RDWR | O_CLOEXEC);

	EXPECT(fd >= 0 && !fcntl(fd, F_OFD_SETLK, &whole));
	return fd;
}

static _Atomic bool is_settled;

static void *settle(void *unused)
{
	swap_area_settle(0);
	atomic_store(&is_settled, true);
	return NULL;
}

static void nothing_is_written_while_a_dead_daemon_writes(void)
{
	const char        *path = swap_test_path("area");
	struct swap_report report;
	pthread_t          thread;
	int                fd = area_left_behind(path), late = left_writing(path);

	EXPECT_EQ(swap_on_resumed(0, fd, why), 0);
	EXPECT(swap_area_report(0, &report));
	EXPECT_EQ(report.state, SWAP_ON);
	swap_area_accept(0, true);
	EXPECT_EQ(swap_capacity(), 1023);
	EXPECT_EQ(pthread_create(&thread, NULL, settle, NULL), 0);
	usleep(50 * 1000);
	EXPECT(!atomic_load(&is_settled));
	close(late);
	pthread_join(thread, NULL);
	EXPECT(atomic_load(&is_settled));
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

static void swapon_and_swapoff_wait_for_a_dead_daemon_and_say_so(void)
{
	const char *path = swap_test_path("area");
	int         fd = area_left_behind(path), late = left_writing(path);

	EXPECT_EQ(swap_on_resumed(0, fd, why), 0);
	EXPECT_EQ(swap_off(path, why), -EBUSY);
	EXPECT(strstr(why, "still writing"));
	swap_areas_fini();
	swap_areas_init();
	swap_area_remove(0);
	EXPECT_EQ(swap_on_resumed(0, -1, why), -ENOENT);
	EXPECT_EQ(on(path, 0), -EBUSY);
	EXPECT(strstr(why, "still being written to"));
	close(late);
	EXPECT_EQ(on(path, 0), 0);
	EXPECT_EQ(swap_off(path, why), 0);
	unlink(path);
	swap_shutdown();
}

static const struct test_case cases[] = {
	{ "nothing is written to an area while a dead daemon writes there",
	  nothing_is_written_while_a_dead_daemon_writes },
	{ "swapon and swapoff wait for a dead daemon's writes, and say so",
	  swapon_and_swapoff_wait_for_a_dead_daemon_and_say_so },
	{ "an area that can't be opened again is taken up dead",
	  an_area_that_cannot_be_opened_again_is_dead },
	{ "what is kept without a record, or recorded and not kept, is no area",
	  what_is_kept_without_a_record_is_no_area },
	{ "a new file is private and has its blocks", a_new_file_is_private_and_has_its_blocks },
	{ "an empty file will do", an_empty_file_will_do },
	{ "what isn't ours is refused", what_is_not_ours_is_refused },
	{ "hidden content is found", hidden_content_is_found },
	{ "sizes and paths are checked", sizes_and_paths_are_checked },
	{ "a file is used once", a_file_is_used_once },
	{ "a failing swapon leaves nothing", a_failing_swapon_leaves_nothing },
	{ "swapoff brings everything back or stays", swapoff_brings_everything_back_or_stays },
	{ "only writes that fail end an area", only_writes_that_fail_end_an_area },
	{ "without an evacuator used slots hold the area",
	  without_an_evacuator_used_slots_hold_the_area },
	{ "a resumed area has what words claim", a_resumed_area_has_what_words_claim },
};
TEST_MAIN(cases)
