/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hold - reserve_mode=hold: the memory is really taken, moves to clients and comes back
 *
 * Purpose     held + present never exceed the reserve, at no moment that anybody can see; what
 *             clients give back is held again; what the broker says it holds, the kernel says too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/raw_client.h"
#include "system/stage.h"

enum {
	BASE_BYTES = 96 * MIB,
	HUGE_BYTES = 48 * MIB,
	HUGE_STOCK_PAGES = HUGE_BYTES / HUGE_PAGE,
	SLACK_BYTES = 16 * MIB, /* at least all but this is held when nobody has anything */
	WAIT_SECONDS = 20,
	STOCKS_MAX = 2,
};

static const char *const flags[] = { "--memory.reserve=96M", "--memory.reserve_mode=hold", NULL };
static const char *const huge_flags[] = { "--memory.reserve=96M", "--memory.reserve_huge=48M",
					  "--memory.reserve_mode=hold", NULL };
static const struct setting setting = { .flags = flags };
static const struct setting huge_setting = { .flags = huge_flags };

/* ---- what the broker and the kernel say ---- */

struct stocks {
	unsigned int nr;
	uint64_t reserve[STOCKS_MAX], held[STOCKS_MAX], present[STOCKS_MAX];
};

static struct stocks read_stocks(struct fixture *f)
{
	const Mmb__Wire__StatusReply *status;
	struct stocks s = { 0 };

	EXPECT_EQ(raw_call(f->control, MMB_METHOD_STATUS, NULL), 0);
	status = f->control->body;
	EXPECT(status->n_stocks >= 1 && status->n_stocks <= STOCKS_MAX);
	EXPECT(!strcmp(status->reserve_mode, "hold"));
	s.nr = (unsigned int)status->n_stocks;
	for (unsigned int i = 0; i < s.nr; i++) {
		s.reserve[i] = status->stocks[i]->reserve;
		s.held[i] = status->stocks[i]->held;
		s.present[i] = status->stocks[i]->present;
	}
	return s;
}

/* The invariant, at this moment. */
static bool is_within_reserve(const struct stocks *s)
{
	for (unsigned int i = 0; i < s->nr; i++)
		if (s->held[i] + s->present[i] > s->reserve[i]) {
			printf("  stock %u: %llu held and %llu present of %llu\n", i,
			       (unsigned long long)s->held[i], (unsigned long long)s->present[i],
			       (unsigned long long)s->reserve[i]);
			return false;
		}
	return true;
}

static bool is_all_held(void *fixture)
{
	struct stocks s = read_stocks(fixture);

	for (unsigned int i = 0; i < s.nr; i++)
		if (s.held[i] + SLACK_BYTES < s.reserve[i])
			return false;
	return true;
}

/* Bytes that the kernel counts in the daemon's memfds; 0: it can't be asked. */
static uint64_t kernel_says(const struct fixture *f, bool hugetlb)
{
	char path[300];
	struct stat st;
	uint64_t bytes = 0;
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", f->pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%.200s", f->pid, entry->d_name);
		if (!stat(path, &st) && S_ISREG(st.st_mode) && !st.st_nlink &&
		    (st.st_blksize == HUGE_PAGE) == hugetlb)
			bytes += (uint64_t)st.st_blocks * 512;
	}
	if (folder)
		closedir(folder);
	return bytes;
}

static void expect_really_held(struct fixture *f)
{
	struct stocks s = read_stocks(f);

	EXPECT(s.held[0] >= BASE_BYTES - SLACK_BYTES);
	EXPECT(host_memory("Shmem") * 1024 >= (int64_t)s.held[0]);
	if (!geteuid())
		EXPECT(kernel_says(f, false) >= s.held[0]);
	if (s.nr < 2)
		return;
	EXPECT(s.held[1] >= HUGE_BYTES - SLACK_BYTES);
	EXPECT((host_memory("HugePages_Total") - host_memory("HugePages_Free")) * HUGE_PAGE >=
	       (int64_t)s.held[1]);
	if (!geteuid())
		EXPECT(kernel_says(f, true) >= s.held[1]);
}

/* ---- clients that take and give back ---- */

enum { ROUNDS = 60, HANDS = 4 };

/* One of many things in a client's hands. */
struct thing {
	struct mmb_region *region;
	char *run;
};

static void drop_thing(struct actor *a, struct thing *t)
{
	if (t->region)
		mmb_region_close(t->region);
	if (t->run)
		mmb_free_pages(a->pool, t->run, 9);
	*t = (struct thing){ 0 };
}

static void take_thing(struct actor *a, struct thing *t, uint64_t *state)
{
	struct mmb_region_options options = { .size = sizeof(options) };
	size_t bytes = (1 + test_below(state, 4)) * HUGE_PAGE;

	options.page_size = test_below(state, 2) ? HUGE_PAGE : PAGE;
	if (test_below(state, 2)) {
		t->run = mmb_alloc_pages(a->pool, 9, 0);
		if (t->run)
			stamp(t->run, HUGE_PAGE, bytes);
		CLIENT_EXPECT(!t->run || is_stamped(t->run, HUGE_PAGE, bytes));
		return;
	}
	/* Refused for a moment while memory is on its way back: that is no failure. */
	if (mmb_region_create(a->pool, bytes, &options, &t->region)) {
		CLIENT_EXPECT(strstr(mmb_error(), "granted"));
		return;
	}
	stamp(act_at(t->region), bytes, bytes);
	CLIENT_EXPECT(is_stamped(act_at(t->region), bytes, bytes));
	if (test_below(state, 2))
		CLIENT_EXPECT_EQ(mmb_region_advise(t->region, 0, HUGE_PAGE, MMB_ADVISE_DONTNEED),
				 0);
}

static void grow_and_shrink(struct actor *a)
{
	struct thing things[HANDS] = { 0 };
	uint64_t state = test_seed() + a->place;

	act_pool(a, 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct thing *t = &things[test_below(&state, HANDS)];

		drop_thing(a, t);
		take_thing(a, t, &state);
	}
	atomic_fetch_add(&board->number[0], 1);
}

enum { CLIENTS = 2 };

static void watch_clients(struct fixture *f)
{
	unsigned int nr = 0;
	bool right = true;

	while (right && atomic_load(&board->number[0]) < CLIENTS && nr < 1000000) {
		struct stocks s = read_stocks(f);

		right = is_within_reserve(&s);
		nr++;
		if (stage_failed())
			break;
	}
	printf("  %u samples\n", nr);
	EXPECT(right);
	EXPECT(nr > 20);
}

static void breathe(void)
{
	struct fixture *f = stage_begin();

	EXPECT(test_wait(is_all_held, f, WAIT_SECONDS));
	expect_really_held(f);
	fixture_baseline(f);
	CAST(ROLE(grow_and_shrink), ROLE(grow_and_shrink));
	watch_clients(f);
	stage_end();
	EXPECT(test_wait(is_all_held, f, WAIT_SECONDS));
	fixture_expect_verified(f);
	expect_really_held(f);
}

/* All that can be granted, from memory that was held until then. */
static void take_everything(struct actor *a)
{
	struct mmb_region *region = NULL;
	size_t bytes = BASE_BYTES;

	act_pool(a, 0);
	while (bytes && mmb_region_create(a->pool, bytes, NULL, &region))
		bytes -= HUGE_PAGE;
	CLIENT_EXPECT(bytes >= BASE_BYTES - SLACK_BYTES);
	stamp(act_at(region), bytes, 1);
	CLIENT_EXPECT(is_stamped(act_at(region), bytes, 1));
	CLIENT_EXPECT_EQ(act_stat(region).resident, bytes);
	cue(1);
	await(2);
}

static void everything(void)
{
	struct fixture *f = stage_begin();
	struct stocks s;

	EXPECT(test_wait(is_all_held, f, WAIT_SECONDS));
	fixture_baseline(f);
	CAST(ROLE(take_everything));
	EXPECT(cue_comes(1));
	s = read_stocks(f);
	EXPECT(is_within_reserve(&s));
	EXPECT(s.present[0] >= BASE_BYTES - SLACK_BYTES);
	EXPECT(s.held[0] <= SLACK_BYTES);
	fixture_expect_verified(f);
	cue(2);
	stage_end();
	EXPECT(test_wait(is_all_held, f, WAIT_SECONDS));
	expect_really_held(f);
}

static void breathes(void)
{
	stage_set(&setting);
	breathe();
}

static void gives_everything(void)
{
	stage_set(&setting);
	everything();
}

static void breathes_with_hugetlb(void)
{
	if (!hugepages_get(HUGE_STOCK_PAGES))
		SKIP("48 MiB of free huge pages: vm.nr_hugepages is too low, and raising it "
		     "needs root");
	stage_set(&huge_setting);
	breathe();
}

static void stops_and_starts(void)
{
	int64_t before = host_memory("MemAvailable");

	stage_set(&setting);
	for (int i = 0; i < 3; i++) {
		struct fixture *f = stage_begin();

		EXPECT(test_wait(is_all_held, f, WAIT_SECONDS));
		stage_end();
		stage_stops();
	}
	EXPECT(before > 0);
}

static void more_than_there_is(void)
{
	static const char *const too_much[] = { "--memory.reserve=60T",
						"--memory.reserve_mode=hold",
						"--socket.path=/tmp/mmb-never", NULL };
	struct daemon_exit end;

	fixture_run_daemon(too_much, &end);
	if (end.status <= 0 || !strstr(end.output, "memory.reserve"))
		printf("  status %d: %s\n", end.status, end.output);
	EXPECT(end.status > 0);
	EXPECT(strstr(end.output, "memory.reserve"));
	EXPECT(strstr(end.output, "MiB"));
}

static const struct test_case cases[] = {
	{ "held + present stay within the reserve while clients grow and shrink; then it is held "
	  "again",
	  breathes },
	{ "everything held can be granted and touched", gives_everything },
	{ "the same with a stock of hugetlb pages", breathes_with_hugetlb },
	{ "it stops and starts again, each time with all of it", stops_and_starts },
	{ "a reserve that the host hasn't is refused at start, with figures", more_than_there_is },
};

TEST_MAIN(cases)
