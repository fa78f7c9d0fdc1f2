/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane - fault threads: wait, read, handle, and spin while it pays
 *
 * Why         measured on a virtual machine with two CPUs: one pinned thread that faults is served
 *             in 8 us by a lane on its CPU and in 45 us by one on the other; spinning on the other
 *             CPU costs 27 us. Two threads that fault on both CPUs gain a third of throughput by
 *             spinning lanes (docs/decisions/fault-lanes.md).
 */
#include "mm/space/lane.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/memalloc.h"
#include "mm/space/fault.h"
#include "mm/space/lane_watch.h"
#include "mm/space/reader.h"
#include "os/os.h"

enum {
	SPIN_NS = 50 * 1000,        /* after the last event, while L2 allows it */
	SPIN_ROUNDS = 64,           /* before the other sessions are looked at */
	CROWD_NS = 30 * 1000,       /* somebody else had the CPU for longer than a fault takes */
	CROWD_PAUSE_NS = 1000 * 1000,
	RECENT_NS = 200 * 1000,     /* faults of two threads this close are a burst of both */
	SLOW_NS = 15 * 1000 * 1000, /* longer than that, it has met a busy lock of the client */
	EPOLL_EVENTS = 8,
	DRAIN_ROUNDS = 8, /* reads of one session before the others get their turn */
	READ_TRIES = 64,  /* pauses while another lane reads the same session's events */
};
static const uint64_t stop_tag = ~0ull, read_tag = ~1ull;

/* c: fixed after start   o: own thread */
struct lane {
	pthread_t thread;
	int epoll_fd;       /* (c) */
	int cpu;            /* (c) -1: anywhere */
	bool slow;          /* (c) */
	uint64_t served_ns; /* (o) when it last served a fault */
	uint64_t crowded_ns; /* (o) when somebody else last had the CPU for a while */
	struct mm *spin_mm; /* (o) whose event woke it last, referenced; NULL: none */
};

static struct lane lanes[LANES_MAX + NR_SLOW_LANES];
static unsigned int nr_lanes;
static int stop_fd = -1;
static _Atomic uint64_t last_thread, change_ns; /* of the last fault; when it last changed */

/* L2: faults of different threads follow each other closely. */
static void note_thread(const struct mm *mm, uint32_t tid, uint64_t now_ns)
{
	uint64_t who = (uint64_t)mm->slot << 32 | tid;

	if (atomic_exchange_explicit(&last_thread, who, memory_order_relaxed) != who)
		atomic_store_explicit(&change_ns, now_ns, memory_order_relaxed);
}

/* Another lane may have said so after now_ns was read. */
static bool several_threads_fault(uint64_t now_ns)
{
	uint64_t change = atomic_load_explicit(&change_ns, memory_order_relaxed);

	return now_ns < change + RECENT_NS;
}

/* Who waits for a page at the old address is found by no window any more: it faults again. */
static void handle_change(struct mm *mm, const struct os_uffd_event *event)
{
	if (event->kind == OS_EVENT_REMAP &&
	    mm_remap_done(mm, event->address, event->to, event->length))
		os->uffd_wake(mm->uffd, event->to, event->length);
	else if (event->kind == OS_EVENT_REMAP)
		mm_move_range(mm, event->address, event->to, event->length);
	else
		mm_remove_range(mm, event->address, event->length);
	os->uffd_wake(mm->uffd, event->address, event->length);
}

static void handle_fault(struct lane *lane, struct mm *mm, const struct os_uffd_event *event)
{
	uint64_t start = os->now_ns();
	uint64_t end;

	heartbeat_touch();
	fault_handle(mm, event, start);
	lane_note_thread(mm, event->tid);
	if (lane->slow)
		return;
	end = os->now_ns();
	lane->served_ns = end;
	if (end - start > SLOW_NS)
		lane_banish(mm, end);
	note_thread(mm, event->tid, end);
}

/* Another lane reads for a microsecond at most, unless it has met a change of the map: then the
 * events are left to it, and what it leaves is reported again. */
static bool lock_to_read(struct mm *mm)
{
	for (int i = 0; i < READ_TRIES; i++) {
		if (mutex_trylock(&mm->events_lock))
			return true;
		cpu_relax();
	}
	return false;
}

/* L3. The client goes on as soon as its event is read, and may move the same range again.
 * L4. Two threads that fault at once are served at once, and rarely on the other's CPU. */
static int read_events(struct mm *mm, struct os_uffd_event *events)
{
	uint64_t sharers = atomic_load_explicit(&mm->lanes, memory_order_relaxed);
	int nr;

	if (!lock_to_read(mm))
		return 0;
	nr = os->uffd_read(mm->uffd, events, sharers & (sharers - 1) ? 1 : OS_UFFD_EVENTS);
	for (int i = 0; i < nr; i++)
		if (events[i].kind == OS_EVENT_REMAP || events[i].kind == OS_EVENT_UNMAP) {
			INJECT_TURN(CHANGE_READ);
			handle_change(mm, &events[i]);
		}
	mutex_unlock(&mm->events_lock);
	return nr;
}

void mm_await_changes(struct mm *mm)
{
	mutex_lock(&mm->events_lock);
	mutex_unlock(&mm->events_lock);
}

/* Reads and handles what waits, up to a bound; false if there was nothing for this lane. */
static bool drain_some(struct lane *lane, struct mm *mm)
{
	struct os_uffd_event events[OS_UFFD_EVENTS];

	for (int round = 0; round < DRAIN_ROUNDS; round++) {
		int nr = read_events(mm, events);

		for (int i = 0; i < nr; i++)
			if (events[i].kind == OS_EVENT_FAULT)
				handle_fault(lane, mm, &events[i]);
		if (nr < OS_UFFD_EVENTS)
			return round > 0 || nr > 0;
	}
	return true;
}

static bool drain(struct lane *lane, struct mm *mm)
{
	bool some;

	heartbeat_work(mm->owner, 0); /* a fault's; see client/suspect.h */
	some = drain_some(lane, mm);
	heartbeat_work(NULL, 0);
	return some;
}

/* L2 */
static bool spins(const struct lane *lane)
{
	uint64_t now = os->now_ns();

	if (lane->slow)
		return false;
	return (now - lane->crowded_ns > CROWD_PAUSE_NS && reader_spins(now)) ||
	       (now - lane->served_ns < SPIN_NS && several_threads_fault(now));
}

static void remember(struct lane *lane, struct mm *mm)
{
	if (lane->spin_mm)
		mm_put(lane->spin_mm);
	lane->spin_mm = mm;
}

/* Who spins for a read on a CPU that others want waits for its turn when the read is there, and
 * one who sleeps gets it at once; nor does such a CPU halt. */
static void yield_cpu(struct lane *lane)
{
	uint64_t before = os->now_ns();
	uint64_t after;

	sched_yield();
	after = os->now_ns();
	if (after - before > CROWD_NS) {
		lane->crowded_ns = after;
		reader_disturbed();
	}
}

/* Reading one userfaultfd costs half of asking the epoll set. */
static void spin(struct lane *lane)
{
	for (int i = 0; i < SPIN_ROUNDS && lane->spin_mm && spins(lane); i++)
		if (!reader_reap() && !drain(lane, lane->spin_mm))
			yield_cpu(lane);
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		log_emit(LOG_NOTICE, "lane_unpinned", "a fault thread can't be pinned to CPU %d",
			 cpu);
}

static int wait_ms(const struct lane *lane)
{
	uint64_t next_ns;

	if (!lane->slow)
		return spins(lane) ? 0 : -1;
	next_ns = fault_retry_parked(os->now_ns());
	return next_ns ? (int)(next_ns / 1000000) : 20;
}

/* A lane that sleeps keeps nobody's session alive. */
static int wait_for_events(struct lane *lane, struct epoll_event *events)
{
	int timeout = wait_ms(lane);
	int nr;

	if (timeout) {
		reader_sleeps(os->now_ns());
		remember(lane, NULL);
		heartbeat_idle();
	}
	nr = epoll_wait(lane->epoll_fd, events, EPOLL_EVENTS, timeout);
	heartbeat_touch();
	INJECT_TURN(LANE_TURN);
	return nr;
}

static void *lane_main(void *argument)
{
	struct lane *lane = argument;
	struct epoll_event events[EPOLL_EVENTS];
	struct heartbeat hb;

	heartbeat_register(&hb, lane->slow ? "slow fault thread" : "fault thread");
	memalloc_set(true);
	cpu_slot_register(0);
	if (lane->cpu >= 0)
		pin_to(lane->cpu);
	if (!lane->slow)
		reader_begin(&(struct reader_config){ lane->epoll_fd, read_tag, fault_resume,
						      fault_show_ahead });
	for (;;) {
		int nr = wait_for_events(lane, events);

		for (int i = 0; i < nr; i++) {
			struct mm *mm;

			if (events[i].data.u64 == stop_tag)
				goto out;
			if (events[i].data.u64 == read_tag)
				continue;
			mm = lane_mm_of_tag(events[i].data.u64);
			if (!mm)
				continue;
			drain(lane, mm);
			remember(lane, mm); /* L5 */
		}
		reader_reap();
		spin(lane);
	}
out:
	reader_end();
	remember(lane, NULL);
	cpu_slot_unregister();
	heartbeat_unregister(&hb);
	return NULL;
}

static int start_lane(struct lane *lane, int cpu, bool slow)
{
	struct epoll_event stop = { .events = EPOLLIN, .data.u64 = stop_tag };
	char name[16];

	*lane = (struct lane){ .cpu = cpu, .slow = slow };
	lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (lane->epoll_fd < 0)
		return -errno;
	if (epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, stop_fd, &stop) ||
	    pthread_create(&lane->thread, NULL, lane_main, lane)) {
		close(lane->epoll_fd);
		return -EAGAIN;
	}
	lane_register(lane->epoll_fd, cpu, slow);
	snprintf(name, sizeof(name), slow ? "mmb-slow" : "mmb-fault/%d", cpu);
	pthread_setname_np(lane->thread, name);
	return 0;
}

int lanes_start(const struct lanes_request *request)
{
	unsigned int wanted = request->nr_fast ? request->nr_fast : LANES_MAX;
	unsigned int nr_fast = 0;
	cpu_set_t allowed;
	int r = 0;

	lane_watch_init();
	stop_fd = eventfd(0, EFD_CLOEXEC);
	if (stop_fd < 0 || sched_getaffinity(0, sizeof(allowed), &allowed))
		return -errno;
	nr_lanes = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && nr_fast < wanted && nr_fast < LANES_MAX; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		r = start_lane(&lanes[nr_lanes], request->pin ? cpu : -1, false);
		if (r)
			return r;
		nr_fast++;
		nr_lanes++;
	}
	for (int i = 0; i < NR_SLOW_LANES && !r; i++) {
		r = start_lane(&lanes[nr_lanes], -1, true);
		nr_lanes += !r;
	}
	return r;
}

void lanes_stop(void)
{
	uint64_t one = 1;

	if (stop_fd < 0 || write(stop_fd, &one, sizeof(one)) != sizeof(one))
		return;
	for (unsigned int i = 0; i < nr_lanes; i++) {
		pthread_join(lanes[i].thread, NULL);
		close(lanes[i].epoll_fd);
	}
	nr_lanes = 0;
	close(stop_fd);
	stop_fd = -1;
	lane_watch_fini();
}
