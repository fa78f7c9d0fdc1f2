/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pitfalls - what the kernel's userfaultfd, memfds and hugetlb are known to do to programs
 *
 * Purpose     One case a pitfall, named after it: nothing hangs, nothing reads zeros that weren't
 *             there, nobody else notices.
 * Elsewhere   resumed daemons: a later matter. Events that block, fork, mremap, moving windows:
 *             test_remap. Faults in system calls: test_unprivileged. Racing punches:
 *             test_advise. Seals, conjured and punched pages, blocking descriptors, busy memory
 *             maps, descriptors in messages, memory policies: test_hostile_*. Feature probes, no
 *             POISON, hugetlb sizes, partial EAGAIN of each ioctl: tests/unit. Planned stops:
 *             test_limits. Deaths: test_death. Limits of a client's process, pinned pages:
 *             test_host_limits. Not producible in a test: broken memory, nodes and blocks going
 *             offline, io_uring of the daemon (it has none yet).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 4 * MIB, PAGES = BYTES / PAGE, HUGE_STOCK_PAGES = 16 };

static const char *const flags[] = { "--memory.reserve=96M", NULL };
static const char *const huge_flags[] = { "--memory.reserve=96M", "--memory.reserve_huge=32M",
					  NULL };
static const struct setting setting = { .flags = flags };
static const struct setting huge_setting = { .flags = huge_flags };

/* ---- EEXIST: present isn't woken ---- */

enum { THREADS = 6, RACE_ROUNDS = 25, RACE_PAGES = 256 };

struct racer {
	pthread_t thread;
	char *at;
	size_t page_size, nr_pages;
	pthread_barrier_t *start;
	bool right;
};

/* All at the same pages, in the same order, at the same time. */
static void *touch_same_pages(void *argument)
{
	struct racer *r = argument;

	r->right = true;
	pthread_barrier_wait(r->start);
	for (size_t i = 0; i < r->nr_pages; i++)
		r->right &= r->at[i * r->page_size] == 0;
	return NULL;
}

static void race(char *at, size_t page_size, size_t nr_pages)
{
	struct racer racers[THREADS];
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){
			.at = at, .page_size = page_size, .nr_pages = nr_pages, .start = &start
		};
		CLIENT_EXPECT_EQ(
			pthread_create(&racers[i].thread, NULL, touch_same_pages, &racers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(racers[i].thread, NULL);
		CLIENT_EXPECT(racers[i].right);
	}
	pthread_barrier_destroy(&start);
}

static void race_in_sessions(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = act_named(a, "race", RACE_PAGES * PAGE);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, RACE_PAGES * PAGE, MMB_ADVISE_RANDOM), 0);
	for (int i = 0; i < RACE_ROUNDS; i++) {
		race(act_at(region), PAGE, RACE_PAGES);
		CLIENT_EXPECT_EQ(
			mmb_region_advise(region, 0, RACE_PAGES * PAGE, MMB_ADVISE_DONTNEED), 0);
	}
	atomic_fetch_add(&board->number[0], 1);
	while (a->place == 0 && atomic_load(&board->number[0]) < 2)
		usleep(1000);
	if (a->place == 0)
		CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "race"), 0);
}

static void eexist_means_present_not_woken(void)
{
	PLAY(ROLE(race_in_sessions), ROLE(race_in_sessions));
}

static bool nothing_more_is_reserved(void *before)
{
	return host_memory("HugePages_Rsvd") <= *(int64_t *)before;
}

static void race_for_hugepages(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region;
	int64_t reserved = host_memory("HugePages_Rsvd");

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 8 * HUGE_PAGE, &options, &region), 0);
	/* A window that reserved would take pages from the whole host. Others may, for a moment. */
	CLIENT_EXPECT(test_wait(nothing_more_is_reserved, &reserved, 20));
	for (int i = 0; i < 5; i++) {
		race(act_at(region), HUGE_PAGE, 8);
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, 8 * HUGE_PAGE, MMB_ADVISE_DONTNEED),
				 0);
	}
}

static void the_same_with_hugepages(void)
{
	if (!hugepages_get(HUGE_STOCK_PAGES))
		SKIP("32 MiB of free huge pages: vm.nr_hugepages is too low, and raising it "
		     "needs root");
	stage_set(&huge_setting);
	PLAY(ROLE(race_for_hugepages));
	stage_set(&setting);
}

/* ---- partial progress: holes in the range that one CONTINUE is to map ---- */

static void map_around_holes(struct actor *a)
{
	struct mmb_region *region;
	char *at;
	char value;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_SEQUENTIAL), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 8 * PAGE, PAGE, MMB_ADVISE_WILLNEED), 0);
	for (size_t i = 5; i < PAGES; i += 37)
		CLIENT_EXPECT_EQ(munmap(at + i * PAGE, PAGE), 0);
	for (size_t i = 0; i < PAGES; i++) {
		bool hole = i >= 5 && (i - 5) % 37 == 0;

		CLIENT_EXPECT_EQ(touch_write(at + i * PAGE, (char)(i | 1)), hole ? SIGSEGV : 0);
	}
	CLIENT_EXPECT_EQ(madvise(at, 5 * PAGE, MADV_DONTNEED), 0);
	for (size_t i = 0; i < 5; i++) {
		CLIENT_EXPECT_EQ(touch_read(at + i * PAGE, &value), 0);
		CLIENT_EXPECT_EQ(value, (char)(i | 1));
	}
}

/* Cuts inside a page of 2 MiB: what is left of it is served piece by piece, or poisoned so. */
static void cut_large_pages(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region;
	char *at, value;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 2 * HUGE_PAGE, &options, &region), 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mprotect(at + PAGE, PAGE, PROT_READ), 0);
	CLIENT_EXPECT_EQ(munmap(at + 5 * PAGE, PAGE), 0);
	CLIENT_EXPECT_EQ(touch_write(at, 1), 0);
	CLIENT_EXPECT_EQ(touch_read(at + PAGE, &value), 0);
	CLIENT_EXPECT_EQ(value, 0);
	CLIENT_EXPECT_EQ(touch_write(at + PAGE, 1), SIGSEGV);
	CLIENT_EXPECT_EQ(touch_read(at + 5 * PAGE, &value), SIGSEGV);
	CLIENT_EXPECT_EQ(touch_write(at + HUGE_PAGE - 1, 1), 0);
	CLIENT_EXPECT_EQ(act_stat(region).resident, HUGE_PAGE);
	CLIENT_EXPECT_EQ(madvise(at, PAGE, MADV_REMOVE), 0);
	CLIENT_EXPECT_EQ(touch_read(at, &value), SIGBUS);
	CLIENT_EXPECT_EQ(touch_read(at + 9 * PAGE, &value), SIGBUS);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, HUGE_PAGE, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(touch_read(at, &value), 0);
	CLIENT_EXPECT_EQ(value, 0);
	CLIENT_EXPECT_EQ(touch_read(at + 9 * PAGE, &value), 0);
	CLIENT_EXPECT_EQ(touch_write(at + HUGE_PAGE, 1), 0);
}

static void partial_progress(void)
{
	PLAY(ROLE(map_around_holes));
	PLAY(ROLE(cut_large_pages));
}

/* ---- ENOENT, ESRCH: the range or the client goes while it is served ---- */

struct unmapper {
	pthread_t thread;
	char *at;
	atomic_bool stop;
};

static void *touch_until_stopped(void *argument)
{
	struct unmapper *u = argument;
	uint64_t state = 1;
	char value = 0;

	while (!atomic_load(&u->stop)) {
		int number = touch_read(u->at + test_below(&state, PAGES) * PAGE, &value);

		CLIENT_EXPECT(number == 0 || number == SIGSEGV || number == SIGBUS);
		CLIENT_EXPECT(number || !value);
	}
	return NULL;
}

static void unmap_while_served(struct actor *a)
{
	struct unmapper u = { 0 };

	act_pool(a, 0);
	for (int i = 0; i < 40; i++) {
		struct mmb_region *region = act_region(a, BYTES, 0);

		u.at = act_at(region);
		atomic_store(&u.stop, false);
		CLIENT_EXPECT_EQ(pthread_create(&u.thread, NULL, touch_until_stopped, &u), 0);
		usleep((useconds_t)(i * 100));
		if (i % 2)
			CLIENT_EXPECT_EQ(munmap(act_at(region) + MIB, 2 * MIB), 0);
		mmb_region_close(region);
		atomic_store(&u.stop, true);
		pthread_join(u.thread, NULL);
	}
}

static void enoent_range_gone(void)
{
	PLAY(ROLE(unmap_while_served));
}

static void fault_until_killed(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	cue(a->place + 1);
	for (;;) {
		for (size_t i = 0; i < PAGES; i++)
			act_at(region)[(i * 97 % PAGES) * PAGE] = 1;
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
	}
}

static void esrch_client_gone(void)
{
	enum { VICTIMS = 8 };
	const struct role role = ROLE(fault_until_killed, .status = -SIGKILL);
	uint64_t state = test_seed();

	stage_begin();
	for (unsigned int i = 0; i < VICTIMS; i++) {
		stage_cast(&role, 1);
		EXPECT(cue_comes(i + 1));
		usleep((useconds_t)test_below(&state, 20000));
		stage_kill(i, SIGKILL);
	}
	stage_end();
}

/* ---- a broker that is gone: waiting, never zeros ---- */

struct toucher {
	pthread_t thread;
	const char *at;
	char value;
	int number;
	atomic_bool returned;
};

static void *touch_once(void *argument)
{
	struct toucher *t = argument;

	t->number = touch_read(t->at, &t->value);
	atomic_store(&t->returned, true);
	return NULL;
}

static void touch_in_thread(struct toucher *t, const char *at)
{
	*t = (struct toucher){ .at = at };
	CLIENT_EXPECT_EQ(pthread_create(&t->thread, NULL, touch_once, t), 0);
}

static void outlive_broker(struct actor *a)
{
	struct mmb_region_stat stat = { .size = sizeof(stat) };
	static struct toucher absent, dropped;
	struct mmb_region *region;
	char *at;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_RANDOM), 0);
	stamp(at, BYTES / 2, 1);
	CLIENT_EXPECT_EQ(madvise(at, MIB, MADV_DONTNEED), 0);
	cue(1);
	await(2);
	CLIENT_EXPECT_EQ(mmb_region_stat(region, &stat), -ENOTCONN);
	CLIENT_EXPECT(at[MIB] || at[MIB + 1]);
	touch_in_thread(&absent, at + BYTES - PAGE);
	touch_in_thread(&dropped, at);
	/* There is nothing to wait for: only some time, in which neither may come back. */
	usleep(700000);
	CLIENT_EXPECT(!atomic_load(&absent.returned));
	CLIENT_EXPECT(!atomic_load(&dropped.returned));
	_exit(0);
}

/* It has said how long it waits for a broker. */
static void give_up_on_broker(struct actor *a)
{
	struct mmb_region *region;
	char *at, value;

	act_open_for(a, 2000);
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_RANDOM), 0);
	stamp(at, BYTES / 2, 1);
	cue(1);
	await(2);
	CLIENT_EXPECT_EQ(touch_read(at + BYTES - PAGE, &value), SIGBUS);
	CLIENT_EXPECT(is_stamped(at, BYTES / 2, 1));
	_exit(0);
}

static bool daemon_is_gone(void *fixture)
{
	return !fixture_alive(fixture);
}

static void lose_broker(const struct role *role)
{
	struct fixture *f = stage_begin();

	stage_cast(role, 1);
	EXPECT(cue_comes(1));
	EXPECT_EQ(kill(f->pid, SIGKILL), 0);
	EXPECT(test_wait(daemon_is_gone, f, 10));
	cue(2);
	stage_end_without_daemon();
}

static void last_close_is_not_silent_zeros(void)
{
	lose_broker(&(const struct role)ROLE(outlive_broker));
}

static void deadline_ends_the_wait(void)
{
	lose_broker(&(const struct role)ROLE(give_up_on_broker));
}

/* The broker is stopped, a thread waits at a fault, and the window under it goes. */
static void close_under_a_fault(struct actor *a)
{
	const struct mmb_open_options options = { .size = sizeof(options),
						  .operation_timeout_ms = 2000 };
	static struct toucher region_toucher, session_toucher;
	struct mmb_region *one, *two;

	CLIENT_EXPECT_EQ(mmb_open(a->socket, &options, &a->mmb), 0);
	act_pool(a, 0);
	one = act_region(a, BYTES, 0);
	two = act_region(a, BYTES, 0);
	cue(1);
	await(2);
	touch_in_thread(&region_toucher, act_at(one));
	touch_in_thread(&session_toucher, act_at(two));
	usleep(50000);
	CLIENT_EXPECT(!atomic_load(&region_toucher.returned));
	mmb_region_close(one);
	pthread_join(region_toucher.thread, NULL);
	CLIENT_EXPECT_EQ(region_toucher.number, SIGSEGV);
	CLIENT_EXPECT(!atomic_load(&session_toucher.returned));
	mmb_close(a->mmb);
	a->mmb = NULL;
	pthread_join(session_toucher.thread, NULL);
	CLIENT_EXPECT_EQ(session_toucher.number, SIGSEGV);
	cue(3);
}

/* Between the actor's cues 1 and 3 the broker is stopped; 2 tells that it is. */
static void play_with_stopped_broker(act_fn act)
{
	struct fixture *f = stage_begin();

	CAST(ROLE(act));
	EXPECT(cue_comes(1));
	EXPECT(stop_process(f->pid));
	cue(2);
	EXPECT(cue_comes(3));
	EXPECT_EQ(kill(f->pid, SIGCONT), 0);
	stage_end();
}

static void closing_under_a_waiting_thread(void)
{
	play_with_stopped_broker(close_under_a_fault);
}

/* A broker that was away for a while: faults taken meanwhile are served then. */
static void wait_for_stopped_broker(struct actor *a)
{
	static struct toucher t;
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	cue(1);
	await(2);
	touch_in_thread(&t, act_at(region) + MIB);
	usleep(50000);
	CLIENT_EXPECT(!atomic_load(&t.returned));
	cue(3);
	pthread_join(t.thread, NULL);
	CLIENT_EXPECT_EQ(t.number, 0);
	CLIENT_EXPECT_EQ(t.value, 0);
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
}

static void faults_survive_a_stopped_broker(void)
{
	play_with_stopped_broker(wait_for_stopped_broker);
}

/* ---- POISON: SIGBUS in user code, EFAULT in a system call ---- */

static int file_of(size_t bytes, uint64_t seed)
{
	char *text = malloc(bytes);
	int fd = memfd_create("file", MFD_CLOEXEC);

	CLIENT_EXPECT(fd >= 0 && text);
	stamp(text, bytes, seed);
	CLIENT_EXPECT_EQ(pwrite(fd, text, bytes, 0), bytes);
	free(text);
	return fd;
}

static void meet_poison(struct actor *a)
{
	struct mmb_fault_info info = { .size = sizeof(info) };
	struct mmb_region *region;
	char *at, value;
	int fd = file_of(PAGE, 1);

	act_common_pool(a);
	region = act_named(a, "poisoned", BYTES);
	at = act_at(region);
	stamp(at, BYTES, 1);
	/* Punches its own file. */
	CLIENT_EXPECT_EQ(madvise(at + 3 * PAGE, 2 * PAGE, MADV_REMOVE), 0);
	CLIENT_EXPECT_EQ(touch_read(at + 3 * PAGE, &value), SIGBUS);
	CLIENT_EXPECT_EQ(mmb_fault_info(at + 3 * PAGE + 8, &info), 0);
	CLIENT_EXPECT_EQ(info.offset, 3 * PAGE + 8);
	CLIENT_EXPECT(!strcmp(info.region, "poisoned"));
	CLIENT_EXPECT(strstr(info.cause, "punched"));
	CLIENT_EXPECT(pread(fd, at + 4 * PAGE, PAGE, 0) < 0 && errno == EFAULT);
	CLIENT_EXPECT(pwrite(fd, at + 3 * PAGE, PAGE, 0) < 0 && errno == EFAULT);
	CLIENT_EXPECT(is_stamped(at, 3 * PAGE, 1));
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 3 * PAGE, 2 * PAGE, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(at + 3 * PAGE, 2 * PAGE));
	CLIENT_EXPECT_EQ(pread(fd, at + 4 * PAGE, PAGE, 0), PAGE);
	CLIENT_EXPECT(is_stamped(at + 4 * PAGE, PAGE, 1));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "poisoned"), 0);
}

static void poison_is_sigbus_and_efault(void)
{
	PLAY(ROLE(meet_poison));
}

/* ---- signals during a fault in the kernel ---- */

static atomic_uint ticks;

static void on_tick(int number)
{
	atomic_fetch_add(&ticks, 1);
}

static void read_under_signals(struct actor *a)
{
	const struct itimerval every_ms = { { 0, 1000 }, { 0, 1000 } }, never = { { 0 }, { 0 } };
	struct sigaction action = { .sa_handler = on_tick };
	struct mmb_region *region;
	int fd = file_of(BYTES, 2);

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_RANDOM), 0);
	CLIENT_EXPECT_EQ(sigaction(SIGALRM, &action, NULL), 0);
	CLIENT_EXPECT_EQ(setitimer(ITIMER_REAL, &every_ms, NULL), 0);
	for (int i = 0; i < 200 && (i < 5 || atomic_load(&ticks) < 20); i++) {
		size_t done = 0;

		while (done < BYTES) {
			ssize_t got = pread(fd, act_at(region) + done, BYTES - done, (off_t)done);

			CLIENT_EXPECT(got > 0 || (got < 0 && errno == EINTR));
			done += got > 0 ? (size_t)got : 0;
		}
		CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 2));
		while (mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED) == -EINTR)
			;
	}
	CLIENT_EXPECT_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	CLIENT_EXPECT(atomic_load(&ticks) >= 20);
}

static void signals_pending_in_a_fault(void)
{
	need_root("faults inside system calls");
	PLAY(ROLE(read_under_signals));
}

/* ---- stopped clients ---- */

static void share_and_be_stopped(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = act_named(a, "stopped", BYTES);
	cue(1);
	for (;;)
		for (size_t i = 0; i < PAGES; i++)
			act_at(region)[i * PAGE] = 1;
}

static void go_on_regardless(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	await(2);
	region = act_named(a, "stopped", 0);
	for (int i = 0; i < 20; i++) {
		stamp(act_at(region), BYTES, (uint64_t)i);
		CLIENT_EXPECT(is_stamped(act_at(region), BYTES, (uint64_t)i));
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_DONTNEED), 0);
		CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, BYTES), 0);
		CLIENT_EXPECT_EQ(mmb_region_unlock(region, 0, BYTES), 0);
	}
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "stopped"), 0);
	cue(3);
}

static void stopped_clients_delay_nobody(void)
{
	stage_begin();
	CAST(ROLE(share_and_be_stopped, .status = -SIGKILL), ROLE(go_on_regardless));
	EXPECT(cue_comes(1));
	EXPECT(stop_process(stage_pid(0)));
	cue(2);
	EXPECT(cue_comes(3));
	stage_kill(0, SIGKILL);
	stage_end();
}

static const struct test_case cases[] = {
	{ "EEXIST means present, not woken: many threads and sessions at one page, none hangs",
	  eexist_means_present_not_woken },
	{ "the same with 2 MiB pages, and no window reserves hugepages", the_same_with_hugepages },
	{ "partial progress: holes in a window hide no page around them", partial_progress },
	{ "ENOENT: windows unmapped while their faults are served", enoent_range_gone },
	{ "ESRCH: clients killed while their faults are served", esrch_client_gone },
	{ "last close: with the broker killed, absent pages block and never read zeros",
	  last_close_is_not_silent_zeros },
	{ "a client that gave a deadline gets SIGBUS when it has no broker for so long",
	  deadline_ends_the_wait },
	{ "a thread at a fault gets SIGSEGV when its window is closed, never zeros",
	  closing_under_a_waiting_thread },
	{ "faults taken while the broker is stopped are served afterwards",
	  faults_survive_a_stopped_broker },
	{ "POISON: SIGBUS with a cause, EFAULT in system calls, and DONTNEED heals",
	  poison_is_sigbus_and_efault },
	{ "signals pending during a fault in the kernel", signals_pending_in_a_fault },
	{ "a stopped client delays nobody who shares its region", stopped_clients_delay_nobody },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
