/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_clone_windows - windows that show an ancestor's memory, when applications or the daemon do
 *                      something to them
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB, PRIVATE = 0x100, LOOKS = 10000 };

static const char *const flags[] = { "--memory.reserve=128M", "--memory.pass_userfaultfd=all",
				     NULL };
static const struct setting setting = { .flags = flags };
static const char *const huge_flags[] = { "--memory.reserve=128M", "--memory.reserve_huge=64M",
					  "--memory.pass_userfaultfd=all", NULL };
static const struct setting huge_setting = { .flags = huge_flags };

/* PROT_* of what is mapped there, and PRIVATE; -1: nothing is. */
static int look_at_mapping(const char *at)
{
	unsigned long from, to;
	int found = -1;
	char line[512], may[5];
	FILE *maps = fopen("/proc/self/maps", "r");

	CLIENT_EXPECT(maps != NULL);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s", &from, &to, may) == 3 && from <= (uintptr_t)at &&
		    (uintptr_t)at < to)
			found = (may[0] == 'r' ? PROT_READ : 0) |
				(may[1] == 'w' ? PROT_WRITE : 0) |
				(may[3] == 'p' ? PRIVATE : 0);
	fclose(maps);
	return found;
}

/* The kernel's text has a hole for a moment where a mapping is just being moved to. */
static int mapping_of(const char *at)
{
	int found = -1;

	for (int i = 0; i < LOOKS && found < 0; i++) {
		if (i)
			usleep(1000);
		found = look_at_mapping(at);
	}
	return found;
}

/* Pages [2, 6) of the clone have diverged, since the parent was written there, and its window
 * doesn't show its own memory there yet. */
static void begin_diverged(struct actor *a, struct mmb_region **region, struct mmb_region **clone)
{
	act_pool(a, 0);
	*region = act_region(a, BYTES, 0);
	stamp(act_at(*region), BYTES, 1);
	*clone = act_clone(*region, NULL, 0);
	CLIENT_EXPECT(is_stamped(act_at(*clone), BYTES, 1));
	stamp(act_at(*region) + 2 * PAGE, PAGE * 4, 2);
}

/* The pages hold what was stamped all over the region first. */
static bool as_before(const char *at, size_t first, size_t nr)
{
	static char whole[BYTES];

	stamp(whole, BYTES, 1);
	return !memcmp(at + first * PAGE, whole + first * PAGE, nr * PAGE);
}

static void cut(struct actor *a)
{
	struct mmb_region *region, *clone;
	char *at;

	begin_diverged(a, &region, &clone);
	at = act_at(clone);
	CLIENT_EXPECT_EQ(munmap(at + 3 * PAGE, PAGE), 0);
	CLIENT_EXPECT(as_before(at, 2, 1));
	CLIENT_EXPECT(as_before(at, 4, 4));
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void beside_a_cut_all_is_there(void)
{
	stage_set(&setting);
	PLAY(ROLE(cut));
}

static void protect(struct actor *a)
{
	struct mmb_region *region, *clone;
	char *at;

	begin_diverged(a, &region, &clone);
	at = act_at(clone);
	CLIENT_EXPECT_EQ(mprotect(at + 3 * PAGE, PAGE, PROT_READ), 0);
	CLIENT_EXPECT(as_before(at, 2, 4));
	CLIENT_EXPECT_EQ(mapping_of(at + 3 * PAGE), PROT_READ);
	CLIENT_EXPECT_EQ(mapping_of(at + 4 * PAGE), PROT_READ | PROT_WRITE);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void protection_stays(void)
{
	PLAY(ROLE(protect));
}

static void move(struct actor *a)
{
	struct mmb_region *region, *clone;
	char *at, *to;

	begin_diverged(a, &region, &clone);
	at = act_at(clone);
	to = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CLIENT_EXPECT(to != MAP_FAILED);
	CLIENT_EXPECT(mremap(at, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CLIENT_EXPECT(as_before(to, 0, BYTES / PAGE));
	stamp(to + 9 * PAGE, PAGE, 3);
	CLIENT_EXPECT(is_stamped(to + 9 * PAGE, PAGE, 3));
	CLIENT_EXPECT(as_before(act_at(region), 9, 1));
	CLIENT_EXPECT_EQ(munmap(to, BYTES), 0);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void a_moved_window_is_served(void)
{
	PLAY(ROLE(move));
}

/* The kernel fills what it can at once, and must not be able to. */
static void lock_all(struct actor *a)
{
	struct mmb_region *region, *clone;

	CLIENT_EXPECT_EQ(mlockall(MCL_FUTURE), 0);
	begin_diverged(a, &region, &clone);
	CLIENT_EXPECT(as_before(act_at(clone), 0, BYTES / PAGE));
	stamp(act_at(clone) + 9 * PAGE, PAGE, 3);
	CLIENT_EXPECT(as_before(act_at(clone), 10, BYTES / PAGE - 10));
	CLIENT_EXPECT(as_before(act_at(region), 6, BYTES / PAGE - 6));
	if (mapping_of(act_at(clone)) & PRIVATE) /* older kernels copy at the first touch */
		CLIENT_EXPECT(act_stat(clone).resident <= 16 * PAGE);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void memory_may_be_locked(void)
{
	need_root("locked memory");
	PLAY(ROLE(lock_all));
}

static void lose_proc(struct actor *a)
{
	struct mmb_region *region, *clone;
	char *at;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT_EQ(chroot("/dev"), 0);
	clone = act_clone(region, NULL, 0);
	at = act_at(clone);
	CLIENT_EXPECT(as_before(at, 0, BYTES / PAGE));
	stamp(act_at(region), PAGE, 2);
	stamp(at + 9 * PAGE, PAGE, 3);
	CLIENT_EXPECT(as_before(at, 0, 9));
	CLIENT_EXPECT(is_stamped(at + 9 * PAGE, PAGE, 3));
	CLIENT_EXPECT(as_before(act_at(region), 1, BYTES / PAGE - 1));
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void without_proc_a_clone_shows_its_own(void)
{
	need_root("chroot");
	PLAY(ROLE(lose_proc));
}

/* ---- the daemon dies while a part is to be mapped anew ---- */

static void outlive(struct actor *a)
{
	struct mmb_region *region, *clone;

	begin_diverged(a, &region, &clone);
	atomic_store(&board->number[0], (uintptr_t)act_at(clone) + 3 * PAGE);
	cue(1);
	await(2);
	mmb_region_close(clone);
	mmb_region_close(region);
}

/* A fault in the actor's map, while it stands still. */
static pid_t touch_from_afar(pid_t pid, uint64_t address)
{
	pid_t child = fork();
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)(uintptr_t)address, 1 };

	if (!child) {
		process_vm_readv(pid, &here, 1, &there, 1, 0);
		_exit(0);
	}
	return child;
}

static void stand_still(struct actor *a)
{
	struct mmb_region *region, *clone;

	begin_diverged(a, &region, &clone);
	atomic_store(&board->number[0], (uintptr_t)act_at(clone) + 3 * PAGE);
	cue(1);
	await(2);
	CLIENT_EXPECT(as_before(act_at(clone), 2, 4));
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void who_was_stopped_loses_nothing(void)
{
	static const char *const short_flags[] = { "--memory.reserve=128M",
						   "--memory.pass_userfaultfd=all",
						   "--memory.fault_deadline=1s",
						   "--limits.upcall_deadline=100ms", NULL };
	static const struct setting short_setting = { .flags = short_flags };
	pid_t child;

	stage_set(&short_setting);
	stage_begin();
	CAST(ROLE(stand_still));
	EXPECT(cue_comes(1));
	EXPECT(stop_process(stage_pid(0)));
	child = touch_from_afar(stage_pid(0), atomic_load(&board->number[0]));
	EXPECT(child > 0);
	usleep(2500 * 1000); /* longer than fault_deadline */
	stage_kill(0, SIGCONT);
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	cue(2);
	stage_end();
}

static void calls_end_when_the_daemon_dies(void)
{
	struct fixture *f;
	pid_t child;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(outlive));
	EXPECT(cue_comes(1));
	EXPECT(stop_process(stage_pid(0)));
	child = touch_from_afar(stage_pid(0), atomic_load(&board->number[0]));
	EXPECT(child > 0);
	usleep(300 * 1000); /* the upcall is sent; else this shows nothing */
	EXPECT(stop_process(f->pid));
	stage_kill(0, SIGCONT);
	usleep(300 * 1000); /* the part is moved, and nobody reads of it */
	cue(2);
	EXPECT_EQ(kill(f->pid, SIGKILL), 0);
	EXPECT_EQ(kill(child, SIGKILL), 0);
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	stage_end_without_daemon();
}

/* ---- 2 MiB pages whose frames are shared ---- */

enum { NR_HUGE = 6 };

static struct mmb_region *stamped_huge(struct actor *a, const char *name)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region = NULL;

	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, name, NR_HUGE * HUGE_PAGE, MMB_REGION_CREATE,
					 &options, &region), 0);
	for (size_t i = 0; i < NR_HUGE; i++)
		stamp(act_at(region) + i * HUGE_PAGE, HUGE_PAGE, 1 + i);
	return region;
}

static void expect_huge(struct mmb_region *region, size_t page, uint64_t stamped)
{
	CLIENT_EXPECT(is_stamped(act_at(region) + page * HUGE_PAGE, HUGE_PAGE, stamped));
}

static void share_huge(struct actor *a)
{
	struct mmb_region *region, *clone;

	act_common_pool(a);
	region = stamped_huge(a, "origin");
	clone = act_clone(region, "huge-snapshot", 0);
	for (size_t i = 0; i < NR_HUGE; i++)
		expect_huge(clone, i, 1 + i);
	/* Kernels that can't map what is protected copy at the first touch. */
	atomic_store(&board->number[0], act_stat(clone).resident == 0);
	cue(1);
	await(2);
	stamp(act_at(region), HUGE_PAGE, 11);     /* both have it mapped */
	stamp(act_at(clone) + HUGE_PAGE, HUGE_PAGE, 12);
	cue(3);
	await(4);
	expect_huge(region, 0, 11);
	expect_huge(clone, 0, 1);
	expect_huge(region, 1, 2);
	expect_huge(clone, 1, 12);
	expect_huge(clone, 2, 13);
	expect_huge(region, 2, 3);
	for (size_t i = 3; i < NR_HUGE; i++)
		expect_huge(clone, i, 1 + i);
	if (atomic_load(&board->number[0]))
		CLIENT_EXPECT_EQ(act_stat(clone).resident, 3 * HUGE_PAGE);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "huge-snapshot"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "origin"), 0);
	mmb_region_close(region);
	for (size_t i = 3; i < NR_HUGE; i++)
		expect_huge(clone, i, 1 + i);
	mmb_region_close(clone);
}

static void look_at_huge(struct actor *a)
{
	struct mmb_region *clone = NULL;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "huge-snapshot", 0, 0, NULL, &clone), 0);
	for (size_t i = 0; i < NR_HUGE; i++)
		expect_huge(clone, i, 1 + i);
	if (atomic_load(&board->number[0]))
		CLIENT_EXPECT_EQ(act_stat(clone).resident, 0);
	cue(2);
	await(3);
	expect_huge(clone, 0, 1);
	expect_huge(clone, 1, 12);
	stamp(act_at(clone) + 2 * HUGE_PAGE, HUGE_PAGE, 13);
	expect_huge(clone, 2, 13);
	cue(4);
	mmb_region_close(clone);
}

static void frames_of_2_mib_are_shared(void)
{
	if (!hugepages_get(32))
		SKIP("no 64 MiB of free huge pages: vm.nr_hugepages is too low");
	stage_set(&huge_setting);
	PLAY(ROLE(share_huge), ROLE(look_at_huge));
}

/* The first page that the second clone inherits is the first clone's, all others are not. */
static void read_a_clone_of_a_clone(struct actor *a)
{
	struct mmb_region *region, *first, *second;
	bool shares;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	first = act_clone(region, NULL, 0);
	CLIENT_EXPECT(as_before(act_at(first), 0, BYTES / PAGE));
	shares = !act_stat(first).resident; /* else this kernel copies at the first touch */
	stamp(act_at(first), PAGE, 2);
	second = act_clone(first, NULL, 0);
	CLIENT_EXPECT(is_stamped(act_at(second), PAGE, 2));
	CLIENT_EXPECT(as_before(act_at(second), 1, BYTES / PAGE - 1));
	CLIENT_EXPECT(!shares || act_stat(second).resident <= BYTES / 8);
	mmb_region_close(second);
	mmb_region_close(first);
	mmb_region_close(region);
}

static void who_reads_a_clone_of_a_clone_copies_little(void)
{
	stage_set(&setting);
	PLAY(ROLE(read_a_clone_of_a_clone));
}

static const struct test_case cases[] = {
	{ "beside a part that was unmapped all of a clone is there", beside_a_cut_all_is_there },
	{ "what an application has protected stays so", protection_stays },
	{ "a clone's window that was moved is served", a_moved_window_is_served },
	{ "a clone of a process whose memory is locked", memory_may_be_locked },
	{ "calls end when the daemon dies while a part is mapped anew",
	  calls_end_when_the_daemon_dies },
	{ "without /proc a clone shows its own memory", without_proc_a_clone_shows_its_own },
	{ "who was stopped for longer than fault_deadline loses nothing",
	  who_was_stopped_loses_nothing },
	{ "2 MiB pages are one frame until somebody writes", frames_of_2_mib_are_shared },
	{ "who reads a clone of a written clone copies little",
	  who_reads_a_clone_of_a_clone_copies_little },
	STAGE_STOPS,
};
TEST_MAIN(cases)
