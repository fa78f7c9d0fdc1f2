/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/space/lane.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/log.h"
#include "mm/space/fault.h"
#include "os/os.h"

enum {
	SPIN_NS = 50 * 1000,           /* after the last event, while L2 allows it */
	RECENT_NS = 200 * 1000,        /* another lane's service this long ago counts as a burst */
	SLOW_NS = 2 * 1000 * 1000,     /* an event that takes longer has met a busy mmap lock */
	SLOW_LEVEL_MAX = 6,
	EPOLL_EVENTS = 8,
	DRAIN_ROUNDS = 8,              /* reads of one session before the others get their turn */
};
static const uint64_t slow_time_ns = 1000ull * 1000 * 1000; /* doubled at each level */
static const uint64_t stop_tag = ~0ull;

/* c: fixed after start   o: own thread   a: read by other lanes */
struct lane {
	pthread_t        thread;
	int              epoll_fd; /* (c) */
	int              cpu;      /* (c) -1: anywhere */
	bool             slow;     /* (c) */
	_Atomic uint64_t served_ns; /* (a) when it last served a fault */
	_Atomic uint64_t served_tid; /* (a) whose */
	struct mm       *spin_mm;  /* (o) where the last event came from */
};

static struct lane lanes[LANES_MAX + NR_SLOW_LANES];
static unsigned int nr_fast, nr_lanes;
static int stop_fd = -1;
static struct mutex lanes_lock;

static uint64_t tag_of(const struct mm *mm)
{
	return (uint64_t)mm->slot << 48 | (mm->generation & 0xffffffffffffull);
}

static struct mm *mm_of_tag(uint64_t tag)
{
	return mm_get_slot((uint32_t)(tag >> 48), tag & 0xffffffffffffull);
}

static int watch(const struct mm *mm, bool slow)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = tag_of(mm) };

	for (unsigned int i = 0; i < nr_lanes; i++) {
		if (lanes[i].slow == slow &&
		    epoll_ctl(lanes[i].epoll_fd, EPOLL_CTL_ADD, mm->uffd, &event) &&
		    errno != EEXIST)
			return -errno;
	}
	return 0;
}

static void unwatch(const struct mm *mm, bool slow)
{
	struct epoll_event unused = { 0 };

	for (unsigned int i = 0; i < nr_lanes; i++)
		if (lanes[i].slow == slow)
			epoll_ctl(lanes[i].epoll_fd, EPOLL_CTL_DEL, mm->uffd, &unused);
}

int lanes_add(struct mm *mm)
{
	int r;

	mutex_lock(&lanes_lock);
	r = watch(mm, false);
	if (r)
		unwatch(mm, false);
	mutex_unlock(&lanes_lock);
	return r;
}

void lanes_del(struct mm *mm)
{
	mutex_lock(&lanes_lock);
	unwatch(mm, false);
	unwatch(mm, true);
	mutex_unlock(&lanes_lock);
}

/* The session goes to the slow lanes, longer each time. */
static void banish(struct mm *mm, uint64_t now_ns)
{
	uint32_t level;

	mutex_lock(&lanes_lock);
	level = atomic_load(&mm->slow_level);
	if (!atomic_load(&mm->slow_until_ns)) {
		atomic_store(&mm->slow_until_ns, now_ns + (slow_time_ns << level));
		if (level < SLOW_LEVEL_MAX)
			atomic_store(&mm->slow_level, level + 1);
		log_emit_limited(LOG_NOTICE, "session_slow",
				 "pid %d keeps its memory map busy; its faults go to the spare threads",
				 mm->pid);
		unwatch(mm, false);
		watch(mm, true);
	}
	mutex_unlock(&lanes_lock);
}

static void forgive(struct mm *mm, void *now)
{
	uint64_t until = atomic_load(&mm->slow_until_ns);

	if (!until || until > *(uint64_t *)now)
		return;
	mutex_lock(&lanes_lock);
	atomic_store(&mm->slow_until_ns, 0);
	unwatch(mm, true);
	watch(mm, false);
	mutex_unlock(&lanes_lock);
}

void lanes_tick(void)
{
	uint64_t now = os->now_ns();

	mm_for_each(forgive, &now);
}

static bool others_serve_another_thread(const struct lane *lane, uint64_t now_ns)
{
	uint64_t own = atomic_load_explicit(&lane->served_tid, memory_order_relaxed);

	for (unsigned int i = 0; i < nr_fast; i++) {
		const struct lane *other = &lanes[i];

		if (other != lane &&
		    now_ns - atomic_load_explicit(&other->served_ns, memory_order_relaxed) < RECENT_NS &&
		    atomic_load_explicit(&other->served_tid, memory_order_relaxed) != own)
			return true;
	}
	return false;
}

static void handle_event(struct lane *lane, struct mm *mm, const struct os_uffd_event *event)
{
	uint64_t start = os->now_ns();
	uint64_t end;

	switch (event->kind) {
	case OS_EVENT_FAULT:
		fault_handle(mm, event, start);
		break;
	case OS_EVENT_REMAP:
		mm_move_range(mm, event->address, event->to, event->length);
		break;
	case OS_EVENT_UNMAP:
		mm_remove_range(mm, event->address, event->length);
		break;
	case OS_EVENT_OTHER:
		break;
	}
	end = os->now_ns();
	atomic_store_explicit(&lane->served_ns, end, memory_order_relaxed);
	atomic_store_explicit(&lane->served_tid, (uint64_t)mm->slot << 32 | event->tid,
			      memory_order_relaxed);
	if (!lane->slow && end - start > SLOW_NS && event->kind == OS_EVENT_FAULT)
		banish(mm, end);
}

/* Reads and handles what waits; false if nothing did. */
static bool drain(struct lane *lane, struct mm *mm)
{
	struct os_uffd_event events[OS_UFFD_EVENTS];
	int                  nr;

	for (int round = 0; round < DRAIN_ROUNDS; round++) {
		nr = os->uffd_read(mm->uffd, events);
		if (nr <= 0)
			return round > 0;
		for (int i = 0; i < nr; i++)
			handle_event(lane, mm, &events[i]);
		if (nr < OS_UFFD_EVENTS)
			return true;
	}
	return true;
}

static void forget_spin_mm(struct lane *lane)
{
	if (lane->spin_mm)
		mm_put(lane->spin_mm);
	lane->spin_mm = NULL;
}

/* Takes over the caller's reference to mm. */
static void serve(struct lane *lane, struct mm *mm)
{
	if (!drain(lane, mm)) {
		mm_put(mm);
		return;
	}
	forget_spin_mm(lane);
	lane->spin_mm = mm;
}

static void spin(struct lane *lane)
{
	uint64_t now = os->now_ns();
	uint64_t until = now + SPIN_NS;

	while (lane->spin_mm && now < until && others_serve_another_thread(lane, now)) {
		if (drain(lane, lane->spin_mm))
			until = os->now_ns() + SPIN_NS;
		else
			sched_yield();
		now = os->now_ns();
	}
	forget_spin_mm(lane);
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		log_emit(LOG_NOTICE, "lane_unpinned", "a fault thread can't be pinned to CPU %d", cpu);
}

static int wait_ms(const struct lane *lane)
{
	uint64_t next_ns;

	if (!lane->slow)
		return -1;
	next_ns = fault_retry_parked(os->now_ns());
	return next_ns ? (int)(next_ns / 1000000) : 20;
}

static void *lane_main(void *argument)
{
	struct lane       *lane = argument;
	struct epoll_event events[EPOLL_EVENTS];

	cpu_slot_register(0);
	if (lane->cpu >= 0)
		pin_to(lane->cpu);
	for (;;) {
		int nr = epoll_wait(lane->epoll_fd, events, EPOLL_EVENTS, wait_ms(lane));

		for (int i = 0; i < nr; i++) {
			struct mm *mm;

			if (events[i].data.u64 == stop_tag)
				goto out;
			mm = mm_of_tag(events[i].data.u64);
			if (mm)
				serve(lane, mm);
		}
		if (!lane->slow)
			spin(lane);
		forget_spin_mm(lane);
	}
out:
	cpu_slot_unregister();
	return NULL;
}

static int start_lane(struct lane *lane, int cpu, bool slow)
{
	struct epoll_event stop = { .events = EPOLLIN, .data.u64 = stop_tag };
	char               name[16];

	*lane = (struct lane){ .cpu = cpu, .slow = slow };
	lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (lane->epoll_fd < 0)
		return -errno;
	if (epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, stop_fd, &stop) ||
	    pthread_create(&lane->thread, NULL, lane_main, lane)) {
		close(lane->epoll_fd);
		return -EAGAIN;
	}
	snprintf(name, sizeof(name), slow ? "mmb-slow" : "mmb-fault/%d", cpu);
	pthread_setname_np(lane->thread, name);
	return 0;
}

int lanes_start(const struct lanes_request *request)
{
	unsigned int wanted = request->nr_fast ? request->nr_fast : LANES_MAX;
	cpu_set_t    allowed;
	int          r = 0;

	mutex_init(&lanes_lock, RANK_LEAF, "lanes");
	stop_fd = eventfd(0, EFD_CLOEXEC);
	if (stop_fd < 0 || sched_getaffinity(0, sizeof(allowed), &allowed))
		return -errno;
	nr_fast = nr_lanes = 0;
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
	nr_lanes = nr_fast = 0;
	close(stop_fd);
	stop_fd = -1;
	mutex_fini(&lanes_lock);
}
