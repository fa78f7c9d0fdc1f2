/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lane_watch - which fault threads poll which session; epoll sets without threads behind them
 */
#include "mm/space/lane_watch.h"

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/lane.h"

enum { NR_FAST = 2, NR_LANES = NR_FAST + NR_SLOW_LANES, FAST = 3, SLOW = 12, SLOW_EVENTS = 3 };
static const uint64_t second = 1000 * 1000 * 1000;

static int epolls[NR_LANES];
static struct mm *mm;
static int this_hardware_cpu; /* lane 0's; lane 1 has one that no thread is bound to */

static void begin(void)
{
	cpu_set_t allowed;

	EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	this_hardware_cpu = 0;
	while (!CPU_ISSET(this_hardware_cpu, &allowed))
		this_hardware_cpu++;
	space_begin(&(struct space_options){ 0 });
	lane_watch_init();
	for (int i = 0; i < NR_LANES; i++) {
		int cpu = i >= NR_FAST ? -1 : i == 0 ? this_hardware_cpu : CPU_SETSIZE - 1;

		epolls[i] = epoll_create1(EPOLL_CLOEXEC);
		EXPECT(epolls[i] >= 0);
		lane_register(epolls[i], cpu, i >= NR_FAST);
	}
	mm = space_mm();
	EXPECT_EQ(lanes_add(mm), 0);
}

static void end(void)
{
	lanes_del(mm);
	space_close_mm(mm);
	for (int i = 0; i < NR_LANES; i++)
		close(epolls[i]);
	lane_watch_fini();
	space_end();
}

/* The lanes that an event of the session reaches. */
static unsigned int lanes_reached(void)
{
	struct os_uffd_event event = { .kind = OS_EVENT_FAULT }, events[OS_UFFD_EVENTS];
	struct epoll_event seen;
	unsigned int reached = 0;

	fake_uffd_post(mm->uffd, &event);
	for (unsigned int i = 0; i < NR_LANES; i++) {
		struct mm *found;

		if (epoll_wait(epolls[i], &seen, 1, 0) != 1)
			continue;
		reached |= 1u << i;
		found = lane_mm_of_tag(seen.data.u64);
		EXPECT(found == mm);
		mm_put(found);
	}
	EXPECT_EQ(os->uffd_read(mm->uffd, events, OS_UFFD_EVENTS), 1);
	EXPECT_EQ(reached, atomic_load(&mm->lanes));
	return reached;
}

/* ---- threads to name ---- */

struct sleeper {
	pthread_t thread;
	uint32_t tid;
	int cpu; /* -1: not bound */
	pthread_barrier_t ready, leave;
};

static void *sleep_bound(void *arg)
{
	struct sleeper *s = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(s->cpu >= 0 ? s->cpu : 0, &set);
	if (s->cpu >= 0)
		EXPECT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
	s->tid = (uint32_t)syscall(SYS_gettid);
	pthread_barrier_wait(&s->ready);
	pthread_barrier_wait(&s->leave);
	return NULL;
}

static void start_sleeper(struct sleeper *s, int cpu)
{
	s->cpu = cpu;
	pthread_barrier_init(&s->ready, NULL, 2);
	pthread_barrier_init(&s->leave, NULL, 2);
	EXPECT_EQ(pthread_create(&s->thread, NULL, sleep_bound, s), 0);
	pthread_barrier_wait(&s->ready);
}

static void stop_sleeper(struct sleeper *s)
{
	pthread_barrier_wait(&s->leave);
	pthread_join(s->thread, NULL);
	pthread_barrier_destroy(&s->ready);
	pthread_barrier_destroy(&s->leave);
}

/* ---- cases ---- */

static void a_new_session_is_polled_by_all_fast_lanes(void)
{
	begin();
	EXPECT_EQ(lanes_reached(), FAST);
	end();
}

static void a_bound_thread_is_served_on_its_cpu(void)
{
	struct sleeper bound;

	begin();
	start_sleeper(&bound, this_hardware_cpu);
	lane_note_thread(mm, bound.tid);
	EXPECT_EQ(lanes_reached(), 1);
	lane_note_thread(mm, bound.tid);
	EXPECT_EQ(lanes_reached(), 1);
	stop_sleeper(&bound);
	end();
}

static void a_second_thread_widens_at_once(void)
{
	struct sleeper bound;

	begin();
	start_sleeper(&bound, this_hardware_cpu);
	lane_note_thread(mm, bound.tid);
	lane_note_thread(mm, UINT32_MAX >> 1); /* nobody knows where it runs */
	EXPECT_EQ(lanes_reached(), FAST);
	stop_sleeper(&bound);
	end();
}

static void a_tick_forgets_threads_and_leaves_lanes(void)
{
	struct sleeper bound;

	begin();
	start_sleeper(&bound, this_hardware_cpu);
	lane_note_thread(mm, 0);
	EXPECT_EQ(lanes_reached(), FAST);
	lanes_tick();
	EXPECT_EQ(lanes_reached(), FAST);
	lane_note_thread(mm, bound.tid); /* the only one since the tick */
	EXPECT_EQ(lanes_reached(), 1);
	lanes_tick();
	EXPECT_EQ(lanes_reached(), 1);
	stop_sleeper(&bound);
	end();
}

static void more_threads_than_are_remembered_lose_no_lane(void)
{
	struct sleeper bound;

	begin();
	start_sleeper(&bound, this_hardware_cpu);
	lane_note_thread(mm, bound.tid);
	for (uint32_t tid = 1; tid < 4 * MM_THREADS; tid++)
		lane_note_thread(mm, UINT32_MAX / 2 - tid);
	lane_note_thread(mm, bound.tid);
	EXPECT_EQ(lanes_reached(), FAST);
	stop_sleeper(&bound);
	end();
}

static void each_thread_counts_once(void)
{
	enum { NR = 5 * MM_THREADS };

	begin();
	for (uint32_t i = 0; i < 3 * NR; i++)
		lane_note_thread(mm, 12345 + i % NR);
	lanes_tick();
	EXPECT_EQ(mm->nr_tasks, NR);
	for (uint32_t i = 0; i < 2 * MM_THREADS; i++)
		lane_note_thread(mm, 12345);
	lanes_tick();
	EXPECT_EQ(mm->nr_tasks, 1);
	lanes_tick();
	EXPECT_EQ(mm->nr_tasks, 0);
	end();
}

static void banish(void)
{
	for (int i = 0; i < SLOW_EVENTS; i++)
		lane_banish(mm, os->now_ns());
}

static void once_or_twice_slow_is_nothing(void)
{
	begin();
	for (int i = 0; i < 10; i++) {
		for (int slow = 1; slow < SLOW_EVENTS; slow++)
			lane_banish(mm, os->now_ns());
		lanes_tick();
	}
	EXPECT_EQ(lanes_reached(), FAST);
	EXPECT_EQ(atomic_load(&mm->slow_until_ns), 0);
	end();
}

static void a_slow_session_goes_to_the_slow_lanes_for_a_time(void)
{
	begin();
	banish();
	EXPECT_EQ(lanes_reached(), SLOW);
	lane_note_thread(mm, 5);
	EXPECT_EQ(lanes_reached(), SLOW);
	fake_os_advance_ns(second / 2);
	lanes_tick();
	EXPECT_EQ(lanes_reached(), SLOW);
	fake_os_advance_ns(second / 2);
	lanes_tick();
	EXPECT_EQ(lanes_reached(), FAST);
	end();
}

static void each_time_is_longer_up_to_a_minute(void)
{
	uint64_t longest = 0;

	begin();
	for (int i = 0; i < 12; i++) {
		uint64_t lasts;

		banish();
		lasts = atomic_load(&mm->slow_until_ns) - os->now_ns();
		EXPECT(lasts >= longest && (i > 6 || lasts > longest));
		EXPECT(lasts <= 64 * second);
		longest = lasts;
		fake_os_advance_ns(lasts);
		lanes_tick();
		EXPECT_EQ(lanes_reached(), FAST);
	}
	end();
}

static void a_session_that_has_ended_is_polled_by_nobody(void)
{
	begin();
	lanes_del(mm);
	EXPECT_EQ(lanes_reached(), 0);
	lane_note_thread(mm, 5);
	banish();
	lanes_tick();
	EXPECT_EQ(lanes_reached(), 0);
	end();
}

static void a_late_tag_is_nobody(void)
{
	struct os_uffd_event event = { .kind = OS_EVENT_FAULT };
	struct epoll_event seen;

	begin();
	fake_uffd_post(mm->uffd, &event);
	EXPECT_EQ(epoll_wait(epolls[0], &seen, 1, 0), 1);
	lanes_del(mm);
	space_close_mm(mm);
	EXPECT(lane_mm_of_tag(seen.data.u64) == NULL);
	mm = space_mm(); /* in the same slot */
	EXPECT(lane_mm_of_tag(seen.data.u64) == NULL);
	EXPECT_EQ(lanes_add(mm), 0);
	end();
}

static const struct test_case cases[] = {
	{ "a new session is polled by all fast lanes (W1)",
	  a_new_session_is_polled_by_all_fast_lanes },
	{ "a bound thread's session is polled on its CPU alone",
	  a_bound_thread_is_served_on_its_cpu },
	{ "a second thread widens at once (W2)", a_second_thread_widens_at_once },
	{ "a tick forgets threads and leaves lanes as they are",
	  a_tick_forgets_threads_and_leaves_lanes },
	{ "more threads than are remembered lose no lane (W2)",
	  more_threads_than_are_remembered_lose_no_lane },
	{ "each thread that faults counts once, however many there are",
	  each_thread_counts_once },
	{ "once or twice slow may be the host's fault", once_or_twice_slow_is_nothing },
	{ "a slow session goes to the slow lanes for a time",
	  a_slow_session_goes_to_the_slow_lanes_for_a_time },
	{ "each time is longer, up to a minute", each_time_is_longer_up_to_a_minute },
	{ "a session that has ended is polled by nobody",
	  a_session_that_has_ended_is_polled_by_nobody },
	{ "an event seen late is nobody's", a_late_tag_is_nobody },
};
TEST_MAIN(cases)
