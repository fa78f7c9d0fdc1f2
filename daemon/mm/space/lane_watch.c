/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane_watch - epoll sets of the lanes, changed as sessions and threads come and move
 *
 * Locking     watch.lock (leaf); epoll_ctl is the only call under it.
 */
#include "mm/space/lane_watch.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "mm/space/fault.h"
#include "mm/space/lane.h"
#include "os/os.h"

enum { SLOW_LEVEL_MAX = 6, SLOW_EVENTS = 3 };
static const uint64_t slow_time_ns = 1000ull * 1000 * 1000; /* doubled at each level */

/* l: lock, but fixed once sessions come */
static struct {
	struct mutex lock;
	unsigned int nr;     /* (l) */
	uint64_t fast, slow; /* (l) masks of lanes */
	struct {
		int epoll_fd, cpu; /* (l) */
	} lanes[LANES_MAX + NR_SLOW_LANES]; /* (l) */
} watch;

void lane_watch_init(void)
{
	mutex_init(&watch.lock, RANK_LEAF, "lanes");
	watch.nr = 0;
	watch.fast = watch.slow = 0;
}

void lane_watch_fini(void)
{
	mutex_fini(&watch.lock);
}

void lane_register(int epoll_fd, int cpu, bool slow)
{
	mutex_lock(&watch.lock);
	watch.lanes[watch.nr].epoll_fd = epoll_fd;
	watch.lanes[watch.nr].cpu = cpu;
	*(slow ? &watch.slow : &watch.fast) |= 1ull << watch.nr;
	watch.nr++;
	mutex_unlock(&watch.lock);
}

static uint64_t tag_of(const struct mm *mm)
{
	return (uint64_t)mm->slot << 48 | (mm->generation & 0xffffffffffffull);
}

struct mm *lane_mm_of_tag(uint64_t tag)
{
	return mm_get_slot((uint32_t)(tag >> 48), tag & 0xffffffffffffull);
}

/* Makes `lanes` the ones that poll the mm; watch.lock is held. What can't be added is left out, as
 * long as one lane is there. */
static int set_lanes(struct mm *mm, uint64_t lanes)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = tag_of(mm) };
	uint64_t now = atomic_load(&mm->lanes);
	int error = 0;

	for (unsigned int i = 0; i < watch.nr; i++) {
		uint64_t bit = 1ull << i;

		if (lanes & bit && !(now & bit)) {
			if (!epoll_ctl(watch.lanes[i].epoll_fd, EPOLL_CTL_ADD, mm->uffd, &event))
				now |= bit;
			else
				error = -errno;
		}
	}
	for (unsigned int i = 0; i < watch.nr && (now & lanes); i++) {
		uint64_t bit = 1ull << i;

		if (now & bit && !(lanes & bit) &&
		    !epoll_ctl(watch.lanes[i].epoll_fd, EPOLL_CTL_DEL, mm->uffd, &event))
			now &= ~bit;
	}
	atomic_store(&mm->lanes, now);
	return now & lanes ? 0 : error;
}

int lanes_add(struct mm *mm)
{
	int r;

	mutex_lock(&watch.lock);
	memset(mm->seen, 0, sizeof(mm->seen)); /* of who had the slot before */
	atomic_store(&mm->lanes, 0);
	r = set_lanes(mm, watch.fast);
	mutex_unlock(&watch.lock);
	return r;
}

void lanes_del(struct mm *mm)
{
	struct epoll_event unused = { 0 };
	uint64_t now;

	mutex_lock(&watch.lock);
	now = atomic_exchange(&mm->lanes, 0);
	for (unsigned int i = 0; i < watch.nr; i++)
		if (now >> i & 1)
			epoll_ctl(watch.lanes[i].epoll_fd, EPOLL_CTL_DEL, mm->uffd, &unused);
	mm->ended = true;
	mutex_unlock(&watch.lock);
}

/* ---- slow sessions ---- */

void lane_banish(struct mm *mm, uint64_t now_ns)
{
	uint32_t level;

	mutex_lock(&watch.lock);
	level = atomic_load(&mm->slow_level);
	/* Once or twice may be the host's fault. */
	if (++mm->nr_slow_events >= SLOW_EVENTS && !atomic_load(&mm->slow_until_ns) && !mm->ended) {
		atomic_store(&mm->slow_until_ns, now_ns + (slow_time_ns << level));
		if (level < SLOW_LEVEL_MAX)
			atomic_store(&mm->slow_level, level + 1);
		log_emit_limited(
			LOG_NOTICE, "session_slow",
			"pid %d keeps its memory map busy; its faults go to the spare threads",
			mm->pid);
		set_lanes(mm, watch.slow);
	}
	mutex_unlock(&watch.lock);
}

/* ---- threads and their CPUs ---- */

/* The lanes on whose CPUs the thread may run; all of them if that is more than one CPU. */
static uint64_t lanes_of_thread(uint32_t tid)
{
	cpu_set_t set;

	if (!tid || sched_getaffinity((pid_t)tid, sizeof(set), &set) || CPU_COUNT(&set) != 1)
		return watch.fast;
	for (unsigned int i = 0; i < watch.nr; i++)
		if (watch.fast >> i & 1 && watch.lanes[i].cpu >= 0 &&
		    CPU_ISSET(watch.lanes[i].cpu, &set))
			return 1ull << i;
	return watch.fast;
}

/* Threads of a process have ids in a row, mostly: then each has a bit of its own. */
static void count_thread(struct mm *mm, uint32_t tid)
{
	uint64_t *word = &mm->seen[tid / 64 % MM_SEEN_WORDS], bit = 1ull << tid % 64;

	mm->nr_threads += !(*word & bit);
	*word |= bit;
}

void lane_note_thread(struct mm *mm, uint32_t tid)
{
	uint64_t lanes;
	uint32_t at;

	for (int i = 0; i < MM_THREADS; i++)
		if (atomic_load_explicit(&mm->threads[i], memory_order_relaxed) == tid)
			return;
	mutex_lock(&watch.lock);
	count_thread(mm, tid);
	at = mm->next_thread++ % MM_THREADS;
	atomic_store_explicit(&mm->threads[at], tid, memory_order_relaxed);
	lanes = lanes_of_thread(tid);
	mm->lanes_wanted |= lanes;
	/* Narrowed at once for the first thread, later by the tick; widened at once. */
	if (!mm->ended && !atomic_load(&mm->slow_until_ns))
		set_lanes(mm, mm->lanes_wanted);
	mutex_unlock(&watch.lock);
}

/* Forgets the threads, and with the next fault of each learns where they are now. */
static void tick_mm(struct mm *mm, void *now_ns)
{
	uint64_t until = atomic_load(&mm->slow_until_ns);

	mutex_lock(&watch.lock);
	if (until && until <= *(uint64_t *)now_ns && !mm->ended) {
		atomic_store(&mm->slow_until_ns, 0);
		set_lanes(mm, watch.fast);
	}
	for (int i = 0; i < MM_THREADS; i++)
		atomic_store_explicit(&mm->threads[i], 0, memory_order_relaxed);
	atomic_store(&mm->nr_tasks, mm->nr_threads);
	mm->nr_threads = 0;
	memset(mm->seen, 0, sizeof(mm->seen));
	mm->nr_slow_events = 0;
	atomic_store_explicit(&mm->nr_circles, 0, memory_order_relaxed);
	mm->lanes_wanted = 0;
	mutex_unlock(&watch.lock);
}

/* Who has waited since the tick before has faulted earlier, and isn't less of a thread for that. */
void lanes_tick(void)
{
	static uint64_t before_ns; /* the keeper's own */
	uint64_t now = os->now_ns();

	mm_for_each(tick_mm, &now);
	fault_count_waiting(before_ns);
	before_ns = now;
}
