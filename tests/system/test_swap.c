/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap - more memory than there is, on swap areas that come, go and lie
 *
 * Purpose     Areas are added and taken away under load, and nothing is lost; what was changed on
 *             the disk behind the broker's back is a bus error at that page and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 96 * MIB, AREA_MIB = 192, PAGES = BYTES / PAGE, BAD_BLOCKS = 64, USED_KB = 8 << 10 };
enum { WRITTEN = 1, TURNED, STOP };

static const char *const flags[] = { "--memory.reserve=64M", NULL };
static const struct setting setting = { .flags = flags };

static char area_a[256], area_b[256];

static void remove_areas(void)
{
	unlink(area_a);
	unlink(area_b);
}

/* On a disk: the folder that the test runs in. */
static void name_areas(void)
{
	char folder[200];
	int fd;

	EXPECT(getcwd(folder, sizeof(folder)) != NULL);
	snprintf(area_a, sizeof(area_a), "%s/mmb-swap-a-%d", folder, (int)getpid());
	snprintf(area_b, sizeof(area_b), "%s/mmb-swap-b-%d", folder, (int)getpid());
	fd = open(area_a, O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (fd < 0)
		SKIP("this folder's file system has no direct I/O");
	close(fd);
	unlink(area_a);
	atexit(remove_areas);
}

static const char *ask(const struct fixture *f, const char *verb, const char *path)
{
	char line[400];
	const char *answer;

	if (strcmp(verb, "swapon") == 0)
		snprintf(line, sizeof(line), "%s %s %dM", verb, path, AREA_MIB);
	else
		snprintf(line, sizeof(line), "%s %s", verb, path);
	answer = mmbctl(f->socket, line);
	EXPECT(answer != NULL);
	return answer;
}

/* KiB in use of the area; -1: there is no such area. */
static int64_t used_kb(const struct fixture *f, const char *path)
{
	const char *text = ask(f, "swaps", ""), *row = strstr(text, path);
	long long size, used;

	if (!row || sscanf(row + strlen(path), " file %lld %lld", &size, &used) != 2)
		return -1;
	return used;
}

struct use {
	const struct fixture *f;
	const char *path;
};

static bool much_is_used(void *arg)
{
	const struct use *use = arg;

	return stage_failed() || used_kb(use->f, use->path) >= USED_KB;
}

static void await_use(const struct fixture *f, const char *path)
{
	struct use use = { f, path };

	EXPECT(test_wait(much_is_used, &use, 60));
	EXPECT(!stage_failed());
}

static bool is_off(void *arg)
{
	const struct use *use = arg;
	char line[400];

	snprintf(line, sizeof(line), "swapoff %s", use->path);
	return mmbctl(use->f->socket, line) != NULL;
}

/* What an ended client was promised counts until its memory is back. */
static void take_away_last(const struct fixture *f, const char *path)
{
	struct use use = { f, path };

	EXPECT(test_wait(is_off, &use, 30));
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

/* Each page tells its number and how often it was written. */
static void load(struct actor *a)
{
	static uint32_t versions[PAGES];
	struct mmb_region *region;
	uint64_t state = a->place + 1;
	char *at;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	for (uint32_t i = 0; i < PAGES; i++)
		stamp(at + (size_t)i * PAGE, PAGE, i);
	cue(WRITTEN);
	while (board->reached < STOP) {
		uint32_t i = (uint32_t)(next_random(&state) % PAGES);
		char *page = at + (size_t)i * PAGE;

		CLIENT_EXPECT(is_stamped(page, PAGE, i + (uint64_t)versions[i] * PAGES));
		if (i % 3 == 0)
			stamp(page, PAGE, i + (uint64_t)++versions[i] * PAGES);
	}
	for (uint32_t i = 0; i < PAGES; i++)
		CLIENT_EXPECT(is_stamped(at + (size_t)i * PAGE, PAGE,
					 i + (uint64_t)versions[i] * PAGES));
	mmb_region_close(region);
}

static struct fixture *begin_with_an_area(void)
{
	struct fixture *f;

	name_areas();
	f = stage_begin();
	ask(f, "swapon", area_a);
	return f;
}

static void areas_change_under_load(void)
{
	struct fixture *f;

	f = begin_with_an_area();
	CAST(ROLE(load));
	EXPECT(cue_comes(WRITTEN));
	await_use(f, area_a);
	ask(f, "swapon", area_b);
	ask(f, "swapoff", area_a);
	EXPECT_EQ(used_kb(f, area_a), -1);
	await_use(f, area_b);
	ask(f, "swapon", area_a);
	ask(f, "swapoff", area_b);
	EXPECT_EQ(used_kb(f, area_b), -1);
	EXPECT(!stage_failed());
	cue(STOP);
	EXPECT(stage_ended(0));
	take_away_last(f, area_a);
	stage_end();
	remove_areas();
}

/* Reads everything once; what is lost is lost for good, what isn't is right. */
static void find_the_lost(struct actor *a)
{
	struct mmb_region *region;
	uint64_t nr_lost = 0;
	char *at, value;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	for (uint32_t i = 0; i < PAGES; i++)
		stamp(at + (size_t)i * PAGE, PAGE, i);
	cue(WRITTEN);
	await(TURNED);
	for (uint32_t i = 0; i < PAGES; i++) {
		char *page = at + (size_t)i * PAGE;

		if (touch_read(page, &value) == SIGBUS) {
			CLIENT_EXPECT_EQ(touch_read(page + PAGE / 2, &value), SIGBUS);
			nr_lost++;
			continue;
		}
		CLIENT_EXPECT(is_stamped(page, PAGE, i));
	}
	board->number[0] = nr_lost;
	mmb_region_close(region);
}

/* One bit in blocks that lie apart. */
static uint64_t turn_bits(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char block[PAGE];
	uint64_t nr = 0;

	EXPECT(fd >= 0);
	for (off_t at = PAGE; nr < BAD_BLOCKS; at += 16 * PAGE) {
		if (pread(fd, block, PAGE, at) != PAGE)
			break;
		block[nr * 61 % PAGE] ^= 4;
		EXPECT_EQ(pwrite(fd, block, PAGE, at), PAGE);
		nr++;
	}
	EXPECT_EQ(fsync(fd), 0);
	close(fd);
	return nr;
}

static void turned_bits_are_bus_errors(void)
{
	struct fixture *f;
	uint64_t nr, lost;
	const char *json;

	f = begin_with_an_area();
	CAST(ROLE(find_the_lost));
	EXPECT(cue_comes(WRITTEN));
	await_use(f, area_a);
	nr = turn_bits(area_a);
	cue(TURNED);
	EXPECT(stage_ended(0));
	lost = board->number[0];
	EXPECT(lost > 0 && lost <= nr);
	json = mmbctl(f->socket, "swaps --json");
	EXPECT(json != NULL);
	EXPECT(json_number(json, area_a, "checksum_errors") >= (int64_t)lost);
	EXPECT_EQ(json_number(json, area_a, "write_errors"), 0);
	EXPECT_EQ(json_number(json, area_a, "bad"), 0);
	EXPECT(strstr(json, "\"state\":\"on\"") != NULL);
	take_away_last(f, area_a);
	stage_end();
	remove_areas();
}

/* ---- the other engine ---- */

static const char *const thread_flags[] = { "--memory.reserve=64M", "--swap.io=threads", NULL };
static const struct setting with_threads = { .flags = thread_flags };

/* What they do is seen where io_uring is refused. */
static void who_wants_threads_gets_them(void)
{
	struct fixture *f;

	stage_set(&with_threads);
	f = begin_with_an_area();
	EXPECT(fixture_log_says(f, "through threads"));
	take_away_last(f, area_a);
	stage_end();
	remove_areas();
	if (getenv("MMB_LONG"))
		areas_change_under_load();
	stage_set(&setting);
}

/* As a container's filter does it (EPERM or ENOSYS), and kernel.io_uring_disabled (EPERM): this
 * program, run in the daemon's place, takes io_uring away and becomes the daemon. */
static const char refusal_key[] = "MMB_TEST_URING_ERRNO", daemon_key[] = "MMB_TEST_BROKERD";

static void become_daemon_without_uring(char **argv)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			 SECCOMP_RET_ERRNO | (unsigned int)atoi(getenv(refusal_key))),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	argv[0] = getenv(daemon_key);
	if (!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	    !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		execv(argv[0], argv);
	_exit(126);
}

static void refuse_uring(int error, const struct setting *with)
{
	char text[16], self[200] = "";

	snprintf(text, sizeof(text), "%d", error);
	EXPECT(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	EXPECT_EQ(setenv(daemon_key, getenv("MMB_BROKERD"), 1), 0);
	EXPECT_EQ(setenv(refusal_key, text, 1), 0);
	EXPECT_EQ(setenv("MMB_BROKERD", self, 1), 0);
	stage_set(with);
}

static void allow_uring(void)
{
	EXPECT_EQ(setenv("MMB_BROKERD", getenv(daemon_key), 1), 0);
	unsetenv(daemon_key);
	unsetenv(refusal_key);
	stage_set(&setting);
}

static void the_same_where_io_uring_is_refused(void)
{
	static const char *const eperm_flags[] = { "--memory.reserve=64M", NULL };
	static const char *const enosys_flags[] = { "--memory.reserve=64M", NULL };
	static const struct setting eperm = { .flags = eperm_flags };
	static const struct setting enosys = { .flags = enosys_flags };
	struct fixture *f;

	if (!getenv("MMB_BROKERD"))
		SKIP("MMB_BROKERD doesn't name the daemon");
	refuse_uring(EPERM, &eperm);
	turned_bits_are_bus_errors();
	f = begin_with_an_area();
	EXPECT(fixture_log_says(f, "through threads; io_uring is refused: "
				   "Operation not permitted"));
	take_away_last(f, area_a);
	stage_end();
	allow_uring();
	refuse_uring(ENOSYS, &enosys);
	f = begin_with_an_area();
	EXPECT(fixture_log_says(f, strerror(ENOSYS)));
	take_away_last(f, area_a);
	stage_end();
	allow_uring();
	remove_areas();
}

static void play_with_an_area(const struct role *role)
{
	struct fixture *f = begin_with_an_area();

	stage_cast(role, 1);
	EXPECT(stage_ended(0));
	take_away_last(f, area_a);
	stage_end();
	remove_areas();
}

/* ---- 2 MiB pages ---- */

enum { HUGE_PAGES = 16, HUGE_LIMIT = 8 * MIB, SMALL_PAGES = HUGE_PAGES * HUGE_PAGE / PAGE };

/* Four times the limit: each sweep finds what the last one wrote. */
static void sweep_huge(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region = NULL;
	char *at;

	act_open(a);
	act_pool(a, HUGE_LIMIT);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, (size_t)HUGE_PAGES * HUGE_PAGE, &options,
					   &region), 0);
	at = act_at(region);
	for (uint64_t round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < SMALL_PAGES; i++) {
			char *page = at + i * PAGE;

			if (round)
				CLIENT_EXPECT(is_stamped(page, PAGE,
							 i + (round - 1) * SMALL_PAGES));
			stamp(page, PAGE, i + round * SMALL_PAGES);
		}
		CLIENT_EXPECT(act_stat(region).resident <= HUGE_LIMIT);
	}
	CLIENT_EXPECT(act_stat(region).swapped > 0);
	CLIENT_EXPECT(act_stat(region).refaults > 0);
	mmb_region_close(region);
}

static void large_pages_go_and_come_back(void)
{
	struct fixture *f;

	f = begin_with_an_area();
	CAST(ROLE(sweep_huge), ROLE(sweep_huge));
	EXPECT(stage_ended(0));
	EXPECT(stage_ended(1));
	take_away_last(f, area_a);
	stage_end();
	remove_areas();
}

/* As the kernel counts: 512 for one of 2 MiB. */
static void count_huge(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	const uint64_t bytes = 4 * (uint64_t)HUGE_PAGE;
	int64_t in, refaults;
	struct mmb_region *region;

	act_open(a);
	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, bytes, &options, &region), 0);
	for (uint64_t i = 0; i < bytes / PAGE; i++)
		stamp(act_at(region) + i * PAGE, PAGE, i);
	in = line_number(mmbctl(a->socket, "vmstat"), "pswpin");
	refaults = line_number(mmbctl(a->socket, "vmstat"), "workingset_refault_anon");
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, bytes, MMB_ADVISE_PAGEOUT), 0);
	for (uint64_t i = 0; i < bytes / PAGE; i++)
		CLIENT_EXPECT(is_stamped(act_at(region) + i * PAGE, PAGE, i));
	in = line_number(mmbctl(a->socket, "vmstat"), "pswpin") - in;
	refaults = line_number(mmbctl(a->socket, "vmstat"), "workingset_refault_anon") - refaults;
	CLIENT_EXPECT_EQ(in, (int64_t)(bytes / PAGE));
	CLIENT_EXPECT_EQ(refaults, in);
	mmb_region_close(region);
}

static void large_pages_count_for_all_they_have(void)
{
	play_with_an_area(&(const struct role)ROLE(count_huge));
}

/* ---- who comes back soon ---- */

enum { SMALL_LIMIT = 4 * MIB, SWEEPS = 4 };

/* Page after page, several times; what vmstat says of it. */
static void sweep(struct actor *a, size_t bytes, int64_t *refaults, int64_t *activated)
{
	static const char *const names[] = { "workingset_refault_anon",
					     "workingset_activate_anon" };
	int64_t before[2];
	struct mmb_region *region;
	char *at;

	for (int i = 0; i < 2; i++)
		before[i] = line_number(mmbctl(a->socket, "vmstat"), names[i]);
	region = act_region(a, bytes, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, bytes, MMB_ADVISE_RANDOM), 0);
	at = act_at(region);
	for (uint64_t round = 0; round < SWEEPS; round++)
		for (uint64_t i = 0; i < bytes / PAGE; i++) {
			if (round)
				CLIENT_EXPECT(is_stamped(at + i * PAGE, PAGE, i));
			else
				stamp(at + i * PAGE, PAGE, i);
		}
	*refaults = line_number(mmbctl(a->socket, "vmstat"), names[0]) - before[0];
	*activated = line_number(mmbctl(a->socket, "vmstat"), names[1]) - before[1];
	CLIENT_EXPECT_EQ((uint64_t)*refaults, act_stat(region).refaults);
	mmb_region_close(region);
}

/* A set just beyond the limit comes back soon, and becomes active; one of four times the limit is
 * away for too long, and displaces nobody. */
static void sweep_near_and_far(struct actor *a)
{
	int64_t refaults, near, far;

	act_open(a);
	act_pool(a, SMALL_LIMIT);
	sweep(a, SMALL_LIMIT + SMALL_LIMIT / 8, &refaults, &near);
	CLIENT_EXPECT(refaults > 0);
	CLIENT_EXPECT(near > 0);
	sweep(a, 4 * SMALL_LIMIT, &refaults, &far);
	CLIENT_EXPECT(refaults >= (SWEEPS - 1) * (int64_t)(4 * SMALL_LIMIT / PAGE) / 2);
	CLIENT_EXPECT(far <= refaults / 4);
}

static void refault_distance_decides(void)
{
	play_with_an_area(&(const struct role)ROLE(sweep_near_and_far));
}

static const struct test_case cases[] = {
	{ "areas change under load and nothing is lost", areas_change_under_load },
	{ "turned bits on the disk are bus errors of their pages", turned_bits_are_bus_errors },
	{ "who wants threads instead of io_uring gets them", who_wants_threads_gets_them },
	{ "the same where a container or the kernel refuses io_uring",
	  the_same_where_io_uring_is_refused },
	{ "who comes back soon becomes active, and who was away for long doesn't",
	  refault_distance_decides },
	{ "pages of 2 MiB, four times the limit, hold what was written",
	  large_pages_go_and_come_back },
	{ "a page of 2 MiB counts for 512 in vmstat", large_pages_count_for_all_they_have },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	if (getenv(refusal_key))
		become_daemon_without_uring(argv);
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
