/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_procmap - what is mapped where: by query and by text, and without a free descriptor
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "procmap.h"
#include "tests/lib/test.h"

enum { PAGE = 4096, PIECES = 40 };

/* Every other page of it can be written. */
static char *striped(void)
{
	char *at = mmap(NULL, PIECES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(at != MAP_FAILED);
	for (int i = 0; i < PIECES; i += 2)
		EXPECT_EQ(mprotect(at + i * PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
	return at;
}

static void expect_stripes(struct procmap *map, const char *at)
{
	for (int i = 0; i < PIECES; i++) {
		uint64_t page = (uintptr_t)at + (uint64_t)i * PAGE;
		struct procmap_vma vma;

		EXPECT_EQ(procmap_find(map, page, &vma), 0);
		EXPECT_EQ(vma.start, page);
		EXPECT_EQ(vma.end, page + PAGE);
		EXPECT_EQ(vma.protection, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE);
		EXPECT(!vma.ino && !vma.shared);
	}
}

static void expect_both_ways(const char *at)
{
	struct procmap map;

	for (int in_text = 0; in_text < 2; in_text++) {
		EXPECT_EQ(procmap_open(&map), 0);
		map.in_text = in_text;
		expect_stripes(&map, at);
		procmap_close(&map);
	}
}

static void both_ways_find_the_same(void)
{
	char *at = striped();
	struct procmap query, text;
	struct procmap_vma a, b;
	uint64_t from = 0;

	EXPECT_EQ(procmap_open(&query), 0);
	EXPECT_EQ(procmap_open(&text), 0);
	text.in_text = true;
	while (!procmap_find(&query, from, &a)) {
		EXPECT_EQ(procmap_find(&text, from, &b), 0);
		EXPECT(a.start == b.start && a.end == b.end && a.ino == b.ino && a.dev == b.dev);
		EXPECT(a.offset == b.offset && a.protection == b.protection &&
		       a.shared == b.shared);
		from = a.end;
	}
	/* The text has the kernel's own page above all others. */
	EXPECT(procmap_find(&text, from, &b) || b.start >> 47);
	expect_stripes(&text, at); /* from the beginning once more */
	procmap_close(&query);
	procmap_close(&text);
	munmap(at, PIECES * PAGE);
}

static void needs_no_descriptor_while_kept(void)
{
	struct rlimit limit, none;
	char *at = striped();
	struct procmap map;

	procmap_keep();
	EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	expect_both_ways(at);
	procmap_release();
	EXPECT_EQ(procmap_open(&map), -EMFILE);
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	EXPECT_EQ(procmap_open(&map), 0);
	procmap_close(&map);
	munmap(at, PIECES * PAGE);
}

static void what_the_application_has_there_is_left_alone(void)
{
	char *at = striped();
	struct procmap map;
	int fd, other;

	procmap_keep();
	EXPECT_EQ(procmap_open(&map), 0);
	fd = map.fd;
	procmap_close(&map);
	other = open("/dev/null", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(dup2(other, fd), fd);
	expect_both_ways(at);
	procmap_release();
	EXPECT(fcntl(fd, F_GETFD) >= 0);
	close(fd);
	close(other);
	munmap(at, PIECES * PAGE);
}

/* As the fork handler does it. */
static int ask_in_a_child(const char *at)
{
	struct procmap_vma vma;
	struct procmap map;

	procmap_forget();
	munmap((void *)(uintptr_t)at, PAGE);
	if (procmap_open(&map) || procmap_find(&map, (uintptr_t)at, &vma))
		return 1;
	return vma.start != (uintptr_t)at + PAGE;
}

static void a_child_asks_about_itself(void)
{
	char *at = striped();
	int status;
	pid_t pid;

	procmap_keep();
	pid = fork();
	EXPECT(pid >= 0);
	if (!pid)
		_exit(ask_in_a_child(at));
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	procmap_release();
	munmap(at, PIECES * PAGE);
}

static const struct test_case cases[] = {
	{ "query and text find the same mappings", both_ways_find_the_same },
	{ "while it is kept, whoever is out of descriptors can ask",
	  needs_no_descriptor_while_kept },
	{ "what the application has closed, and has something else at, is left alone",
	  what_the_application_has_there_is_left_alone },
	{ "a child asks about itself", a_child_asks_about_itself },
};
TEST_MAIN(cases)
