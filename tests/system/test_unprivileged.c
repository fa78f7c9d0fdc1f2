/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unprivileged - clients without any privilege: faults in their own code and in system calls
 *
 * Purpose     With the broker's device descriptor a client of any user has full service, also for
 *             pages that a system call touches first. Without it the library says at connect time
 *             what won't work, and the rest works.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB };

#define RESERVE "--memory.reserve=96M"
static const char *const all_flags[] = { RESERVE, "--memory.pass_userfaultfd=all", NULL };
static const char *const never_flags[] = { RESERVE, "--memory.pass_userfaultfd=never", NULL };
static const char *const member_flags[] = { RESERVE, "--memory.pass_userfaultfd=group",
					    "--socket.group=65534", NULL };
static const char *const other_group_flags[] = { RESERVE, "--memory.pass_userfaultfd=group",
						 "--socket.group=0", NULL };
static const struct setting passed_to_all = { .flags = all_flags };
static const struct setting passed_to_nobody = { .flags = never_flags };
static const struct setting passed_to_members = { .flags = member_flags };
static const struct setting passed_to_others = { .flags = other_group_flags };

/* A file of the given contents, to read from and write to. */
static int file_with(uint64_t seed, size_t bytes)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	void *at;

	CLIENT_EXPECT(fd >= 0);
	CLIENT_EXPECT_EQ(ftruncate(fd, (off_t)bytes), 0);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CLIENT_EXPECT(at != MAP_FAILED);
	if (seed)
		stamp(at, bytes, seed);
	munmap(at, bytes);
	return fd;
}

static bool file_is_zero(int fd, size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	bool zero;

	CLIENT_EXPECT(at != MAP_FAILED);
	zero = is_zero(at, bytes);
	munmap(at, bytes);
	return zero;
}

static int64_t unprivileged_sysctl(void)
{
	FILE *file = fopen("/proc/sys/vm/unprivileged_userfaultfd", "re");
	int value = 1;

	if (file && fscanf(file, "%d", &value) != 1)
		value = 1;
	if (file)
		fclose(file);
	return value;
}

/* ---- full service ---- */

static void touch_and_stamp(struct mmb_region *region)
{
	char *at = act_at(region);
	size_t length = mmb_region_length(region);

	CLIENT_EXPECT(is_zero(at, length / 2));
	stamp(at, length, 3);
	CLIENT_EXPECT(is_stamped(at, length, 3));
}

/* read(2) writes into missing pages, write(2) reads from missing pages. */
static void by_system_calls(struct actor *a, const struct mmb_region_options *options)
{
	const size_t odd = 3 * PAGE + 123;
	struct mmb_region *region;
	int fd = file_with(5, BYTES), out = file_with(0, BYTES);
	char *at;

	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES, options, &region), 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(pread(fd, at + 104, 8, 0), 8);
	CLIENT_EXPECT(is_stamped(at + 104, 8, 5));
	CLIENT_EXPECT_EQ(pread(fd, at + 2 * MIB - odd, 2 * odd, 0), 2 * odd);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(pread(fd, at, BYTES, 0), BYTES);
	CLIENT_EXPECT(is_stamped(at, BYTES, 5));
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(pwrite(out, at, BYTES, 0), BYTES);
	CLIENT_EXPECT(file_is_zero(out, BYTES));
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	close(fd);
	close(out);
	mmb_region_close(region);
}

/* Vectors whose every piece is another missing page. */
static void by_vectors(struct actor *a)
{
	enum { PIECES = 64, PIECE = 1000 };
	struct mmb_region *region = act_region(a, BYTES, 0);
	struct iovec iov[PIECES];
	int fd = file_with(6, BYTES);
	char *at = act_at(region);

	for (size_t i = 0; i < PIECES; i++)
		iov[i] = (struct iovec){ at + (PIECES - i) * 7 * PAGE + i, PIECE };
	CLIENT_EXPECT_EQ(preadv(fd, iov, PIECES, 0), PIECES * PIECE);
	for (size_t i = 0; i < PIECES; i++) {
		char want[PIECE];

		CLIENT_EXPECT_EQ(pread(fd, want, PIECE, (off_t)(i * PIECE)), PIECE);
		CLIENT_EXPECT(!memcmp(want, iov[i].iov_base, PIECE));
	}
	close(fd);
	mmb_region_close(region);
}

static void full_service(struct actor *a)
{
	const struct mmb_region_options small = { .size = sizeof(small) };
	const struct mmb_region_options huge = { .size = sizeof(huge), .page_size = HUGE_PAGE };
	struct mmb_region *region;
	void *run;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	touch_and_stamp(region);
	mmb_region_close(region);
	by_system_calls(a, &small);
	by_system_calls(a, &huge);
	by_vectors(a);
	run = mmb_alloc_pages(a->pool, 3, MMB_GFP_ZERO);
	CLIENT_EXPECT(run);
	CLIENT_EXPECT(is_zero(run, PAGE << 3));
	mmb_free_pages(a->pool, run, 3);
}

static void device_for_all(void)
{
	need_root("becoming another user");
	stage_set(&passed_to_all);
	PLAY(ROLE(full_service, .nobody = true));
}

static void device_for_members(void)
{
	need_root("becoming another user");
	stage_set(&passed_to_members);
	PLAY(ROLE(full_service, .nobody = true));
}

static void same_user(void)
{
	stage_set(&passed_to_nobody);
	need_root("a userfaultfd of one's own");
	PLAY(ROLE(full_service));
}

/* ---- without the device ---- */

/* mmb_open, with what it writes to stderr. */
static void open_and_listen(struct actor *a, char *said, size_t bytes)
{
	int keep = dup(STDERR_FILENO), paper = memfd_create("stderr", 0);
	ssize_t got;

	CLIENT_EXPECT(keep >= 0 && paper >= 0);
	CLIENT_EXPECT(dup2(paper, STDERR_FILENO) >= 0);
	act_open(a);
	fflush(stderr);
	CLIENT_EXPECT(dup2(keep, STDERR_FILENO) >= 0);
	got = pread(paper, said, bytes - 1, 0);
	CLIENT_EXPECT(got >= 0);
	said[got] = '\0';
	close(keep);
	close(paper);
}

static void partial_service(struct actor *a)
{
	struct mmb_region *region;
	char said[1024];
	int fd = file_with(7, BYTES), out = file_with(0, BYTES);
	char *at;

	open_and_listen(a, said, sizeof(said));
	CLIENT_EXPECT(strstr(said, "libmmbroker: ") && strstr(said, "EFAULT"));
	CLIENT_EXPECT(strstr(said, "pass_userfaultfd") && strstr(mmb_error(), "EFAULT"));
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(at[PAGE], 0);
	CLIENT_EXPECT(pread(fd, at + MIB, PAGE, 0) < 0 && errno == EFAULT);
	CLIENT_EXPECT(pwrite(out, at + MIB, PAGE, 0) < 0 && errno == EFAULT);
	CLIENT_EXPECT_EQ(act_stat(region).faults, 1);
	at[MIB] = 1;
	CLIENT_EXPECT_EQ(pread(fd, at + MIB, PAGE, 0), PAGE);
	CLIENT_EXPECT(is_stamped(at + MIB, PAGE, 7));
	CLIENT_EXPECT_EQ(pwrite(out, at + MIB, PAGE, 0), PAGE);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	touch_and_stamp(region);
	CLIENT_EXPECT_EQ(pread(fd, at, BYTES, 0), BYTES);
	CLIENT_EXPECT(is_stamped(at, BYTES, 7));
	CLIENT_EXPECT(strstr(mmbctl(a->socket, "sessions --json"), "\"user_mode_only\":true"));
}

static bool device_is_open_to_all(void)
{
	struct stat st;

	return !stat("/dev/userfaultfd", &st) && st.st_mode & S_IROTH;
}

static void play_without_device(const struct setting *setting)
{
	need_root("becoming another user");
	if (unprivileged_sysctl() || device_is_open_to_all())
		SKIP("this host gives every user full service without the broker's device");
	stage_set(setting);
	PLAY(ROLE(partial_service, .nobody = true));
}

static void device_for_nobody(void)
{
	play_without_device(&passed_to_nobody);
}

static void device_for_others(void)
{
	play_without_device(&passed_to_others);
}

static const struct test_case cases[] = {
	{ "pass_userfaultfd=all: any user has full service, also inside read(2) and write(2)",
	  device_for_all },
	{ "pass_userfaultfd=group: members of the socket's group have it", device_for_members },
	{ "pass_userfaultfd=group: others are told what won't work, and the rest works",
	  device_for_others },
	{ "pass_userfaultfd=never: the library says so at connect time, and the rest works",
	  device_for_nobody },
	{ "pass_userfaultfd=never takes nothing from who may have a userfaultfd anyway",
	  same_user },
	STAGE_STOPS,
};

TEST_MAIN(cases)
