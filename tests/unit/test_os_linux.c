/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_os_linux - files, address space and binding on the running kernel
 */
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/inject.h"
#include "base/types.h"
#include "lib/test.h"
#include "os/huge_copy.h"
#include "os/os.h"
#include "os/process.h"
#include "os/topology.h"

enum { MB = 1 << 20 };

static int new_file(uint64_t bytes)
{
	int fd = os->memfd_new("mmb-test", bytes, 0);

	EXPECT(fd >= 0);
	return fd;
}

static int new_hugetlb(uint64_t bytes)
{
	int fd = os->memfd_new("mmb-test", bytes, OS_HUGETLB);

	if (fd < 0)
		SKIP("this kernel has no 2 MiB hugetlb files");
	return fd;
}

static void file_is_sealed(void)
{
	int         fd = new_file(1 << 30);
	struct stat st;

	EXPECT_EQ(fstat(fd, &st), 0);
	EXPECT_EQ(st.st_size, 1 << 30);
	EXPECT_EQ(st.st_mode & 07777, 0400);
	EXPECT(ftruncate(fd, 0) && errno == EPERM);
	EXPECT(ftruncate(fd, 2LL << 30) && errno == EPERM);
	EXPECT(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) && errno == EPERM);
	EXPECT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	EXPECT_EQ(os->allocated(fd), 0);
	os->close(fd);
}

static void readonly_descriptor(void)
{
	int fd = new_file(MB), copy = os->reopen_readonly(fd), again = os->dup(fd);

	EXPECT(copy >= 0);
	EXPECT(mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0) == MAP_FAILED);
	EXPECT(mmap(NULL, MB, PROT_READ, MAP_SHARED, copy, 0) != MAP_FAILED);
	EXPECT(fallocate(copy, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) &&
	       errno == EBADF);
	EXPECT_EQ(os->populate(again, 0, PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(os->allocated(fd), PAGE_SIZE);
	EXPECT(fcntl(again, F_GETFD) & FD_CLOEXEC);
	os->close(again);
	os->close(copy);
	os->close(fd);
}

static void populate_and_punch(void)
{
	int fd = new_file(1 << 30);

	EXPECT_EQ(os->populate(fd, 8 * MB, PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(os->allocated(fd), PAGE_SIZE);
	EXPECT_EQ(os->populate(fd, 16 * MB, 40 * MB, OS_NODE_ANY), 0);
	EXPECT_EQ(os->allocated(fd), 40 * MB + PAGE_SIZE);
	EXPECT_EQ(os->populate(fd, 16 * MB, 40 * MB, OS_NODE_ANY), 0);
	EXPECT_EQ(os->allocated(fd), 40 * MB + PAGE_SIZE);
	EXPECT_EQ(os->punch(fd, 16 * MB, 40 * MB), 0);
	EXPECT_EQ(os->allocated(fd), PAGE_SIZE);
	EXPECT_EQ(os->populate_huge(fd, 2 * MB, 4 * MB, OS_NODE_ANY), 0);
	EXPECT_EQ(os->allocated(fd), 4 * MB + PAGE_SIZE);
	EXPECT_EQ(os->populate_huge(fd, 4096, 2 * MB, OS_NODE_ANY), -EINVAL);
	os->close(fd);
}

static void present_pages_are_found(void)
{
	int fd = new_file(1 << 30);

	EXPECT_EQ(os->next_present(fd, 0), -ENXIO);
	EXPECT_EQ(os->populate(fd, 777 * PAGE_SIZE, 2 * PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(os->populate(fd, (1 << 30) - PAGE_SIZE, PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(os->next_present(fd, 0), 777 * PAGE_SIZE);
	EXPECT_EQ(os->next_present(fd, 777 * PAGE_SIZE), 777 * PAGE_SIZE);
	EXPECT_EQ(os->next_present(fd, 778 * PAGE_SIZE), 778 * PAGE_SIZE);
	EXPECT_EQ(os->next_present(fd, 779 * PAGE_SIZE), (1 << 30) - PAGE_SIZE);
	EXPECT(!os->has_hole(fd, 777 * PAGE_SIZE, 2 * PAGE_SIZE));
	EXPECT(os->has_hole(fd, 776 * PAGE_SIZE, 2 * PAGE_SIZE));
	EXPECT(os->has_hole(fd, 777 * PAGE_SIZE, 3 * PAGE_SIZE));
	EXPECT_EQ(os->punch(fd, (1 << 30) - PAGE_SIZE, PAGE_SIZE), 0);
	EXPECT_EQ(os->next_present(fd, 779 * PAGE_SIZE), -ENXIO);
	EXPECT_EQ(os->allocated(fd), 2 * PAGE_SIZE);
	os->close(fd);
}

static struct rlimit descriptors;

static void take_all_descriptors(void)
{
	struct rlimit none;

	EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &descriptors), 0);
	none = descriptors;
	none.rlim_cur = 0;
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void give_descriptors_back(void)
{
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &descriptors), 0);
}

static void hugetlb_file(void)
{
	int fd = new_hugetlb(16 * MB), error = os->populate(fd, 4 * MB, 2 * MB, OS_NODE_ANY);

	if (error) {
		EXPECT_EQ(error, -ENOSPC);
		EXPECT_EQ(os->allocated(fd), 0);
		os->close(fd);
		SKIP("no free hugepage");
	}
	EXPECT_EQ(os->allocated(fd), 2 * MB);
	EXPECT_EQ(os->next_present(fd, 0), 4 * MB);
	EXPECT_EQ(os->next_present(fd, 6 * MB), -ENXIO);
	EXPECT(!os->has_hole(fd, 4 * MB, 2 * MB));
	EXPECT(os->has_hole(fd, 4 * MB, 4 * MB));
	take_all_descriptors();
	EXPECT(os->has_hole(fd, 6 * MB, 2 * MB));
	EXPECT_EQ(os->next_present(fd, 0), 4 * MB);
	give_descriptors_back();
	EXPECT_EQ(os->punch(fd, 4 * MB, 2 * MB), 0);
	EXPECT_EQ(os->allocated(fd), 0);
	os->close(fd);
}

/* A page of shared memory that has been cleared keeps what is written to it. */
static void cleared_pages_read_zero(void)
{
	int   fd = new_file(64 * MB);
	char *page, byte = 7;

	EXPECT_EQ(os->populate_cleared(fd, 2 * MB + PAGE_SIZE, 5 * MB, OS_NODE_ANY), 0);
	EXPECT_EQ(os->allocated(fd), 5 * MB);
	EXPECT_EQ(os->next_present(fd, 0), 2 * MB + PAGE_SIZE);
	EXPECT_EQ(pwrite(fd, &byte, 1, 3 * MB), 1);
	page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 3 * MB);
	EXPECT(page != MAP_FAILED);
	EXPECT_EQ(page[0], 7);
	EXPECT_EQ(page[1], 0);
	munmap(page, PAGE_SIZE);
	os->close(fd);
}

static void populate_through_a_mapping(void)
{
	int   fd = new_hugetlb(16 * MB), error;
	char *map = mmap(NULL, 16 * MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	EXPECT(map != MAP_FAILED);
	error = os->populate_mapped(fd, 4 * MB, 2 * MB, OS_NODE_ANY, map + 4 * MB);
	EXPECT(error == 0 || error == -ENOSPC);
	EXPECT_EQ(os->allocated(fd), error ? 0 : 2 * MB);
	munmap(map, 16 * MB);
	os->close(fd);
	if (error)
		SKIP("no free hugepage");
}

/* Without a page left, it is an error and no signal. */
static void a_full_host_is_an_error_in_a_mapping_too(void)
{
	const uint64_t bytes = 1ULL << 40;
	int   fd = new_hugetlb(bytes);
	char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	EXPECT(map != MAP_FAILED);
	EXPECT_EQ(os->populate_mapped(fd, 0, bytes, OS_NODE_ANY, map), -ENOSPC);
	munmap(map, bytes);
	os->close(fd);
}

static void expect_filled(int fd, uint64_t offset, char byte)
{
	char *page = mmap(NULL, 2 * MB, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);

	EXPECT(page != MAP_FAILED);
	EXPECT(page[0] == byte && !memcmp(page, page + 1, 2 * MB - 1));
	munmap(page, 2 * MB);
}

static struct os_copy copy_of(int from, int to, uint64_t offset, uint64_t length)
{
	return (struct os_copy){ .from = from, .to = to, .from_offset = offset,
				 .offset = offset, .length = length, .node = OS_NODE_ANY };
}

/* Out of shared memory, and from elsewhere in it. */
static void expect_copied_from_small_pages(int to)
{
	int from = os->memfd_new("test-small", 4 * MB, 0);
	struct os_copy copy = copy_of(from, to, 4 * MB, 2 * MB);
	static char bytes[2 * MB];

	memset(bytes, 5, sizeof(bytes));
	copy.from_offset = 2 * MB;
	EXPECT_EQ(os->write(from, copy.from_offset, bytes, sizeof(bytes)), 0);
	for (int round = 0; round < 2; round++) {
		if (!round)
			EXPECT_EQ(os->punch(to, copy.offset, copy.length), 0);
		EXPECT_EQ(huge_copy(&copy), round ? -EEXIST : 0);
		EXPECT_EQ(os->copy(&copy), 0);
		expect_filled(to, copy.offset, 5);
	}
	os->close(from);
}

/* huge_copy.c, and the way without it; what is there already is overwritten, too. */
static void huge_pages_are_copied(void)
{
	int   from = new_hugetlb(16 * MB), to = new_hugetlb(16 * MB);
	struct os_copy one = copy_of(from, to, 4 * MB, 2 * MB);
	struct os_copy two = copy_of(from, to, 4 * MB, 4 * MB);
	struct os_copy hole = copy_of(from, to, 8 * MB, 2 * MB);
	char *map = mmap(NULL, 16 * MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, from,
			 0);
	bool  enough = !os->populate(from, 4 * MB, 4 * MB, OS_NODE_ANY) &&
		      !os->populate(to, 10 * MB, 6 * MB, OS_NODE_ANY);

	EXPECT(map != MAP_FAILED);
	if (!enough) {
		os->close(from);
		os->close(to);
		munmap(map, 16 * MB);
		SKIP("no free hugepages");
	}
	EXPECT_EQ(os->punch(to, 10 * MB, 6 * MB), 0);
	memset(map + 4 * MB, 3, 2 * MB);
	memset(map + 6 * MB, 4, 2 * MB);
	for (int round = 0; round < 2; round++) {
		EXPECT_EQ(huge_copy(&one), round ? -EEXIST : 0);
		EXPECT_EQ(os->copy(&two), 0);
		EXPECT_EQ(os->allocated(to), 4 * MB);
		expect_filled(to, 4 * MB, 3);
		expect_filled(to, 6 * MB, 4);
	}
	EXPECT(huge_copy(&hole) < 0); /* Y1 */
	EXPECT_EQ(os->copy(&hole), 0);
	expect_filled(to, 8 * MB, 0);
	EXPECT_EQ(os->allocated(from), 4 * MB);
	expect_copied_from_small_pages(to);
	munmap(map, 16 * MB);
	os->close(from);
	os->close(to);
}

static void failed_hugetlb_populate_leaves_holes(void)
{
	int fd = new_hugetlb(1ULL << 40);

	EXPECT_EQ(os->populate(fd, 0, 1ULL << 40, OS_NODE_ANY), -ENOSPC);
	EXPECT_EQ(os->allocated(fd), 0);
	os->close(fd);
}

static void reserve_map_unmap(void)
{
	void *base, *again;
	char *page;
	int   fd = new_file(4 * MB);

	EXPECT_EQ(os->reserve(NULL, 1ULL << 33, &base), 0);
	EXPECT_EQ(os->reserve(base, MB, &again), -EEXIST);
	EXPECT_EQ(os->populate(fd, 0, 2 * MB, OS_NODE_ANY), 0);
	EXPECT_EQ(os->map((char *)base + 8 * MB, 4 * MB, fd, 0), 0);
	page = (char *)base + 8 * MB;
	EXPECT_EQ(page[0], 0);
	page[0] = 'x';
	EXPECT_EQ(os->lock(page, PAGE_SIZE), 0);
	EXPECT_EQ(os->unmap(page, 4 * MB), 0);
	EXPECT_EQ(os->reserve(page, 4 * MB, &again), -EEXIST);
	EXPECT_EQ(os->map(page, 4 * MB, fd, 0), 0);
	EXPECT_EQ(page[0], 'x');
	EXPECT_EQ(munmap(base, 1ULL << 33), 0);
	EXPECT_EQ(os->reserve(base, MB, &again), 0);
	EXPECT(again == base);
	EXPECT_EQ(munmap(base, MB), 0);
	os->close(fd);
}

static void policy_is_restored(void)
{
	struct topology t;
	int             mode = -1, node = -1, fd = new_file(4 * MB);
	void           *window;

	EXPECT_EQ(topology_discover(&t), 0);
	if (!t.binds) {
		os->close(fd);
		SKIP("this kernel has no memory policies");
	}
	if (t.nr_nodes == 1) /* a second name of the same node makes binding happen */
		t.nodes[t.nr_nodes++] = t.nodes[0];
	os_bind_nodes(&t);
	EXPECT_EQ(os->populate(fd, 0, 2 * MB, (int)t.nr_nodes - 1), 0);
	EXPECT_EQ(get_mempolicy(&mode, NULL, 0, NULL, 0), 0);
	EXPECT_EQ(mode, MPOL_DEFAULT);
	window = mmap(NULL, 2 * MB, PROT_READ, MAP_SHARED, fd, 0);
	EXPECT(window != MAP_FAILED);
	EXPECT(*(volatile char *)window == 0);
	EXPECT_EQ(get_mempolicy(&node, NULL, 0, window, MPOL_F_NODE | MPOL_F_ADDR), 0);
	EXPECT_EQ(node, t.nodes[t.nr_nodes - 1].os_index);
	os_bind_nodes(NULL);
	munmap(window, 2 * MB);
	os->close(fd);
}

static void every_entry_can_fail(void)
{
	static const enum inject_point points[] = {
		INJECT_MEMFD_NEW, INJECT_REOPEN, INJECT_POPULATE, INJECT_PUNCH, INJECT_ALLOCATED,
		INJECT_NEXT_PRESENT, INJECT_RESERVE, INJECT_MAP, INJECT_UNMAP, INJECT_LOCK,
		INJECT_UFFD_CONTINUE, INJECT_UFFD_WAKE, INJECT_UFFD_POISON,
		INJECT_UFFD_PROTECT, INJECT_UFFD_UNPROTECT,
	};
	void *out;
	int   seen = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++) {
		inject_arm(points[i], 1, -EIO);
		seen += os->memfd_new("x", PAGE_SIZE, 7) == -EIO;
		seen += os->reopen_readonly(-1) == -EIO;
		seen += os->populate(-1, 0, PAGE_SIZE, OS_NODE_ANY) == -EIO;
		seen += os->punch(-1, 0, PAGE_SIZE) == -EIO;
		seen += os->allocated(-1) == -EIO;
		seen += os->next_present(-1, 0) == -EIO;
		seen += os->reserve(NULL, 0, &out) == -EIO;
		seen += os->map(NULL, 0, -1, 0) == -EIO;
		seen += os->unmap(NULL, 0) == -EIO;
		seen += os->lock((void *)8, PAGE_SIZE) == -EIO;
		seen += os->uffd_continue(-1, 0, PAGE_SIZE).error == -EIO;
		seen += os->uffd_wake(-1, 0, PAGE_SIZE) == -EIO;
		seen += os->uffd_poison(-1, 0, PAGE_SIZE) == -EIO;
		seen += os->uffd_protect(-1, 0, PAGE_SIZE) == -EIO;
		seen += os->uffd_unprotect(-1, 0, PAGE_SIZE) == -EIO;
		EXPECT_EQ(seen, (int)i + 1);
	}
	inject_arm(INJECT_MAP, 0, 0);
}

static void clock_goes_on(void)
{
	uint64_t before = os->now_ns();

	EXPECT(before > 0);
	EXPECT(os->now_ns() >= before);
}

static void processes_tell_their_threads_states(void)
{
	const struct timespec pause = { .tv_nsec = 1000 * 1000 };
	uint64_t before = process_start_ticks(getpid());
	pid_t child = fork();

	if (!child)
		_exit(0);
	EXPECT(child > 0 && before > 0);
	EXPECT_EQ(thread_state(getpid(), gettid()), 'R');
	for (int i = 0; i < 5000 && thread_state(child, child) != 'Z'; i++)
		nanosleep(&pause, NULL);
	EXPECT_EQ(thread_state(child, child), 'Z');
	EXPECT(process_start_ticks(child) >= before);
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	EXPECT_EQ(thread_state(child, child), '\0');
	EXPECT_EQ(process_start_ticks(child), 0);
}

static const struct test_case cases[] = {
	{ "a process tells its threads' states and since when it is",
	  processes_tell_their_threads_states },
	{ "a new file has its size, mode 0400, and can't be resized", file_is_sealed },
	{ "a read-only descriptor neither maps writable nor punches", readonly_descriptor },
	{ "populated pages are there, punched ones are gone", populate_and_punch },
	{ "present pages are found although nobody touched them", present_pages_are_found },
	{ "pages that were cleared early are zero and keep what is written",
	  cleared_pages_read_zero },
	{ "hugetlb pages are populated through a mapping", populate_through_a_mapping },
	{ "no hugetlb page left is an error there, too", a_full_host_is_an_error_in_a_mapping_too },
	{ "a hugetlb file populates, finds and punches 2 MiB pages", hugetlb_file },
	{ "2 MiB pages are copied, and who is read gets none", huge_pages_are_copied },
	{ "a hugetlb range that doesn't fit leaves only holes",
	  failed_hugetlb_populate_leaves_holes },
	{ "a mapping replaces a reservation and gives it back", reserve_map_unmap },
	{ "populating on a node obeys it and restores the thread's policy", policy_is_restored },
	{ "every entry passes its injection point", every_entry_can_fail },
	{ "the clock goes forward", clock_goes_on },
};
TEST_MAIN(cases)
