/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_clone_limits - clones of those who may not read the origin, who have few mappings left, who
 *                     don't answer; and on two nodes
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/lib/clock.h"
#include "system/stage.h"

enum { BYTES = 4 * MIB, PAGES = BYTES / PAGE, THREADS = 2 };

static const char *const flags[] = { "--memory.reserve=128M", "--memory.pass_userfaultfd=all",
				     "--memory.fault_deadline=5s", NULL };
static const struct setting setting = { .flags = flags };

/* One line of /proc/self/smaps's head, and whether it is left out of cores. */
struct mapping {
	bool found, is_private, not_dumped;
};

static struct mapping mapping_of(const char *at)
{
	struct mapping m = { 0 };
	bool here = false;
	char line[512], may[5];
	unsigned long from, to;
	FILE *f = fopen("/proc/self/smaps", "r");

	CLIENT_EXPECT(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s ", &from, &to, may) == 3) {
			here = from <= (uintptr_t)at && (uintptr_t)at < to;
			m.found |= here;
			if (here)
				m.is_private = may[3] == 'p';
		}
		if (here && !strncmp(line, "VmFlags", 7))
			m.not_dumped = strstr(line, " dd") != NULL;
	}
	fclose(f);
	return m;
}

/* Frames are shared where the kernel maps protected, and this isn't hidden. */
static bool kernel_shares(struct mmb_region *region)
{
	struct mmb_region *clone = act_clone(region, NULL, 0);
	bool shares = mapping_of(act_at(clone)).is_private;

	mmb_region_close(clone);
	return shares;
}

/* ---- who can't open the origin ---- */

enum { SHARES, OPENED }; /* numbers on the board */

static void make_snapshots(struct actor *a)
{
	struct mmb_region *named, *hidden;

	act_common_pool(a);
	named = act_named(a, "named", BYTES);
	hidden = act_named(a, "hidden", BYTES);
	stamp(act_at(named), BYTES, 1);
	stamp(act_at(hidden), BYTES, 2);
	atomic_store(&board->number[SHARES], kernel_shares(named));
	mmb_region_close(act_clone(named, "of-named", 0));
	mmb_region_close(act_clone(hidden, "of-hidden", 0));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "hidden"), 0);
	stamp(act_at(hidden), PAGE, 3);
	cue(1);
	await(2);
	stamp(act_at(named), BYTES, 4);
	stamp(act_at(hidden), BYTES, 5);
	cue(3);
	await(4);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "of-named"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "of-hidden"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "named"), 0);
	mmb_region_close(named);
	mmb_region_close(hidden);
}

static struct mmb_region *open_snapshot(struct actor *a, const char *name, bool frames)
{
	struct mmb_region *clone = NULL;

	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, name, 0, 0, NULL, &clone), 0);
	CLIENT_EXPECT_EQ(mapping_of(act_at(clone)).is_private, frames);
	return clone;
}

static void read_snapshots(struct actor *a)
{
	struct mmb_region *named, *hidden;

	act_common_pool(a);
	await(1);
	named = open_snapshot(a, "of-named", atomic_load(&board->number[SHARES]));
	hidden = open_snapshot(a, "of-hidden", false);
	CLIENT_EXPECT(is_stamped(act_at(named), BYTES / 2, 1));
	CLIENT_EXPECT(is_stamped(act_at(hidden), BYTES / 2, 2));
	CLIENT_EXPECT(act_stat(hidden).resident >= BYTES / 2); /* copies */
	cue(2);
	await(3);
	CLIENT_EXPECT(is_stamped(act_at(named), BYTES, 1));
	CLIENT_EXPECT(is_stamped(act_at(hidden), BYTES, 2));
	mmb_region_close(named);
	mmb_region_close(hidden);
	cue(4);
}

static void who_cannot_open_the_origin_gets_copies(void)
{
	need_root("another user's process");
	stage_set(&setting);
	PLAY(ROLE(make_snapshots), ROLE(read_snapshots, .nobody = true));
}

/* ---- few mappings left ---- */

enum { FILL = 65600, SPARE = 16 };

/* As many mappings as there may be, but for a few. */
static char *fill_map(void)
{
	char *fill = mmap(NULL, (size_t)FILL * PAGE, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t nr = 0;

	CLIENT_EXPECT(fill != MAP_FAILED);
	while (nr < FILL && !mprotect(fill + nr * PAGE, PAGE, PROT_READ | PROT_WRITE))
		nr += 2;
	CLIENT_EXPECT(nr > SPARE);
	for (size_t i = 2; i <= SPARE; i += 2)
		CLIENT_EXPECT_EQ(mprotect(fill + (nr - i) * PAGE, PAGE, PROT_READ), 0);
	return fill;
}

static void write_with_few_mappings(struct actor *a)
{
	struct mmb_region *region, *clone;
	char *fill;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	clone = act_clone(region, NULL, 0);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 1));
	fill = fill_map();
	for (size_t page = 5; page < PAGES; page += 100) {
		CLIENT_EXPECT_EQ(touch_write(act_at(clone) + page * PAGE, 7), 0);
		CLIENT_EXPECT_EQ(touch_write(act_at(region) + (page + 1) * PAGE, 8), 0);
	}
	for (size_t page = 5; page < PAGES; page += 100) {
		CLIENT_EXPECT_EQ(act_at(clone)[page * PAGE], 7);
		CLIENT_EXPECT(act_at(clone)[(page + 1) * PAGE] != 8);
	}
	CLIENT_EXPECT_EQ(munmap(fill, (size_t)FILL * PAGE), 0);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void a_clone_with_few_mappings_left(void)
{
	PLAY(ROLE(write_with_few_mappings));
}

static void write_and_look(struct actor *a)
{
	struct mmb_region *region, *clone;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	clone = act_clone(region, NULL, 0);
	stamp(act_at(clone) + 5 * PAGE, PAGE, 2);
	for (size_t page = 0; page < PAGES; page += 5)
		CLIENT_EXPECT(!mapping_of(act_at(clone) + page * PAGE).not_dumped);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void a_core_has_all_of_a_clone(void)
{
	PLAY(ROLE(write_and_look));
}

/* ---- a clone that doesn't answer ---- */

static void write_all(char *at, uint64_t seed, const char *beside)
{
	static uint64_t ns[PAGES];

	for (size_t page = 0; page < PAGES; page++) {
		uint64_t before = clock_ns();

		stamp(at + page * PAGE, PAGE, seed);
		ns[page] = clock_ns() - before;
	}
	for (size_t i = 1; i < PAGES; i++)
		ns[0] = ns[i] > ns[0] ? ns[i] : ns[0];
	printf("  the origin's writes beside a clone that %s: the longest took %.1f us\n", beside,
	       (double)ns[0] / 1000);
}

static void write_beside(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = act_region(a, BYTES, 0);
	for (size_t page = 0; page < PAGES; page++)
		stamp(act_at(region) + page * PAGE, PAGE, 1);
	mmb_region_close(act_clone(region, "mute", 0));
	cue(1);
	await(3);
	write_all(act_at(region), 2, "answers nothing");
	cue(4);
	await(5);
	for (size_t page = 0; page < PAGES; page++)
		CLIENT_EXPECT(is_stamped(act_at(region) + page * PAGE, PAGE, 2));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "mute"), 0);
	mmb_region_close(region);
}

static void be_mute(struct actor *a)
{
	struct mmb_region *clone = NULL;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "mute", 0, 0, NULL, &clone), 0);
	stamp(act_at(clone), PAGE, 9); /* the thread that answers has begun */
	for (size_t page = 1; page < PAGES; page++)
		CLIENT_EXPECT(is_stamped(act_at(clone) + page * PAGE, PAGE, 1));
	cue(2);
	await(4);
	for (size_t page = 1; page < PAGES; page++)
		CLIENT_EXPECT(is_stamped(act_at(clone) + page * PAGE, PAGE, 1));
	CLIENT_EXPECT(is_stamped(act_at(clone), PAGE, 9));
	mmb_region_close(clone);
	cue(5);
}

/* The library's threads of an actor, which has no other but its first; how many. By number: each
 * gives itself its name a moment after it was made. */
static unsigned int find_threads(pid_t pid, pid_t found[THREADS])
{
	unsigned int nr = 0;
	struct dirent *entry;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && nr < THREADS && (entry = readdir(tasks))) {
		pid_t thread = atoi(entry->d_name);

		if (thread && thread != pid)
			found[nr++] = thread;
	}
	if (tasks)
		closedir(tasks);
	return nr;
}

static bool hold(pid_t thread)
{
	int status;

	return !ptrace(PTRACE_SEIZE, thread, 0, 0) && !ptrace(PTRACE_INTERRUPT, thread, 0, 0) &&
	       waitpid(thread, &status, __WALL) == thread && WIFSTOPPED(status);
}

static void a_clone_that_answers_nothing_delays_nobody(void)
{
	pid_t threads[THREADS];
	unsigned int nr;

	stage_begin();
	CAST(ROLE(write_beside), ROLE(be_mute));
	EXPECT(cue_comes(2));
	nr = find_threads(stage_pid(1), threads);
	EXPECT(nr > 0);
	for (unsigned int i = 0; i < nr; i++)
		EXPECT(hold(threads[i]));
	cue(3);
	EXPECT(cue_comes(4)); /* while nobody answers */
	usleep(300 * 1000);   /* the clone waits for its pages */
	for (unsigned int i = 0; i < nr; i++)
		EXPECT_EQ(ptrace(PTRACE_DETACH, threads[i], 0, 0), 0);
	stage_end();
}

/* ---- where one clone fits, and not two ---- */

enum { LARGE = 36 * MIB, CLONES_IN_TURN = 100 };

/* A closed clone's promise comes back on another thread. */
static void clone_in_turn(struct actor *a)
{
	struct mmb_region *region, *clones[1];

	act_pool(a, 0);
	region = act_region(a, LARGE, 0);
	stamp(act_at(region), LARGE, 1);
	for (unsigned int i = 0; i < CLONES_IN_TURN; i++) {
		CLIENT_EXPECT_EQ(mmb_region_clone_many(1, &region, NULL, clones), 0);
		CLIENT_EXPECT(is_stamped(act_at(clones[0]), PAGE, 1));
		mmb_region_close(clones[0]);
	}
	mmb_region_close(region);
}

static void clones_come_one_after_the_other(void)
{
	PLAY(ROLE(clone_in_turn));
}

/* ---- two nodes ---- */

/* What is taken out of the clone's window is populated anew, on its node. */
static void clone_on_two_nodes(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .node_policy = MMB_NODE_INTERLEAVE };
	struct mmb_region *region = NULL, *clone;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES, &options, &region), 0);
	stamp(act_at(region), BYTES, 1);
	clone = act_clone(region, NULL, 0);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 1));
	for (size_t page = 0; page < PAGES; page += 3)
		stamp(act_at(region) + page * PAGE, PAGE, 2);
	for (size_t page = 1; page < PAGES; page += 3)
		stamp(act_at(clone) + page * PAGE, PAGE, 3);
	for (size_t page = 0; page < PAGES; page += 3)
		CLIENT_EXPECT(is_stamped(act_at(region) + page * PAGE, PAGE, 2));
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT(mmbctl(a->socket, "verify") != NULL);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void clones_on_two_nodes(void)
{
	static const char *const two_nodes[] = { "HWLOC_SYNTHETIC=node:2 pu:1", NULL };
	static const struct setting two = { flags, two_nodes };

	stage_set(&two);
	PLAY(ROLE(clone_on_two_nodes));
}

static const struct test_case cases[] = {
	{ "who can't open the origin gets copies, who can its frames",
	  who_cannot_open_the_origin_gets_copies },
	{ "a clone of a process with few mappings left", a_clone_with_few_mappings_left },
	{ "a core has all of a clone", a_core_has_all_of_a_clone },
	{ "a clone that answers nothing delays nobody",
	  a_clone_that_answers_nothing_delays_nobody },
	{ "clones come one after the other where one fits", clones_come_one_after_the_other },
	{ "clones on two nodes", clones_on_two_nodes },
	STAGE_STOPS,
};
TEST_MAIN(cases)
