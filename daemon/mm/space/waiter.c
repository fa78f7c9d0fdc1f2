/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiter - one queue a CPU, a few threads on each
 *
 * Fair        A CPU's queue is NR_FLOWS lists, and a pool's faults go to one of them. Threads take
 *             from the lists in turns, and one thread is left to the other lists (W3).
 */
#include "mm/space/waiter.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/memalloc.h"
#include "mm/obj/slab.h"
#include "mm/space/swapper.h"
#include "os/os.h"

enum { NR_FLOWS = 16 };

/* c: fixed while running   l: lock */
struct waiter_cpu {
	struct mutex lock;
	pthread_cond_t wanted;
	struct list_head flows[NR_FLOWS]; /* (l) faults by pool */
	uint32_t nr_serving[NR_FLOWS];    /* (l) threads at work for each */
	uint32_t next_flow;               /* (l) whose turn it is */
	int cpu;                 /* (c) */
	uint32_t nr_threads;     /* (c) */
	pthread_t threads[WAITERS_PER_CPU]; /* (c) */
	bool stopping;           /* (l) */
};

static struct waiter_cpu cpus[WAITER_CPUS_MAX];
static uint32_t nr_cpus_used;
static _Atomic bool running;
static void (*handle)(const struct waiting_fault *fault);

static uint32_t flow_of(const struct waiting_fault *fault)
{
	return (uint32_t)(fault->target.region->memcg->id % NR_FLOWS);
}

/* The flow that is next, of those that have work and aren't served by all that may; -1: none. At
 * the end there is nobody left to be kept waiting. */
static int ready_flow(const struct waiter_cpu *w)
{
	uint32_t most = w->stopping ? WAITERS_PER_CPU : WAITERS_PER_CPU - 1;

	for (uint32_t i = 0; i < NR_FLOWS; i++) {
		uint32_t flow = (w->next_flow + i) % NR_FLOWS;

		if (!list_empty(&w->flows[flow]) && w->nr_serving[flow] < most)
			return (int)flow;
	}
	return -1;
}

static struct waiting_fault *next_fault(struct waiter_cpu *w)
{
	struct waiting_fault *fault = NULL;
	int flow;

	mutex_lock(&w->lock);
	while ((flow = ready_flow(w)) < 0 && !w->stopping)
		swapper_rest(&w->lock, &w->wanted);
	heartbeat_touch();
	if (flow >= 0) {
		fault = list_first_entry(&w->flows[flow], struct waiting_fault, link);
		list_del(&fault->link);
		w->nr_serving[flow]++;
		w->next_flow = (uint32_t)flow + 1;
	}
	mutex_unlock(&w->lock);
	return fault;
}

/* Whoever ends looks for the next one itself: nobody need be told that there is room again. */
static void end_service(struct waiter_cpu *w, uint32_t flow)
{
	mutex_lock(&w->lock);
	w->nr_serving[flow]--;
	mutex_unlock(&w->lock);
}

static void drop(struct waiting_fault *fault)
{
	memstall_leave(fault->target.region->memcg, &fault->mm->psi);
	atomic_fetch_sub(&fault->mm->nr_waiting, 1);
	region_put(fault->target.region);
	mm_put(fault->mm);
	kfree(fault);
}

static void *waiter_main(void *argument)
{
	struct waiter_cpu *w = argument;
	struct waiting_fault *fault;
	struct heartbeat hb;
	cpu_set_t set;

	cpu_slot_register(0);
	heartbeat_register(&hb, "waiter");
	memalloc_set(true);
	CPU_ZERO(&set);
	CPU_SET((unsigned int)w->cpu, &set);
	/* Elsewhere it works as well, only slower. */
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		w->cpu = -1;
	swapper_keep(true);
	while ((fault = next_fault(w))) {
		uint32_t flow = flow_of(fault);

		heartbeat_work(fault->mm->owner, 0); /* a fault's; see client/suspect.h */
		INJECT_TURN(WAITER_TURN);
		handle(fault);
		heartbeat_work(NULL, 0);
		drop(fault);
		end_service(w, flow);
	}
	swapper_keep(false);
	heartbeat_unregister(&hb);
	cpu_slot_unregister();
	return NULL;
}

static int start_cpu(int cpu)
{
	struct waiter_cpu *w = &cpus[nr_cpus_used];
	char name[16];

	*w = (struct waiter_cpu){ .cpu = cpu };
	mutex_init(&w->lock, RANK_LEAF, "waiters");
	condition_init(&w->wanted);
	for (int i = 0; i < NR_FLOWS; i++)
		list_init(&w->flows[i]);
	nr_cpus_used++;
	snprintf(name, sizeof(name), "mmb-wait/%d", cpu);
	for (int i = 0; i < WAITERS_PER_CPU; i++) {
		if (pthread_create(&w->threads[i], NULL, waiter_main, w))
			return -EAGAIN;
		pthread_setname_np(w->threads[i], name);
		w->nr_threads++;
	}
	return 0;
}

int waiters_start(void (*fn)(const struct waiting_fault *fault))
{
	cpu_set_t allowed;
	int r = 0;

	handle = fn;
	nr_cpus_used = 0;
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return -errno;
	for (int cpu = 0; cpu < CPU_SETSIZE && nr_cpus_used < WAITER_CPUS_MAX && !r; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			r = start_cpu(cpu);
	atomic_store(&running, !r);
	if (r)
		waiters_stop();
	return r;
}

void waiters_stop(void)
{
	atomic_store(&running, false);
	for (uint32_t i = 0; i < nr_cpus_used; i++) {
		struct waiter_cpu *w = &cpus[i];

		mutex_lock(&w->lock);
		w->stopping = true;
		pthread_cond_broadcast(&w->wanted);
		mutex_unlock(&w->lock);
		for (uint32_t k = 0; k < w->nr_threads; k++)
			pthread_join(w->threads[k], NULL);
		pthread_cond_destroy(&w->wanted);
		mutex_fini(&w->lock);
	}
	nr_cpus_used = 0;
}

static struct waiter_cpu *nearest(void)
{
	int cpu = sched_getcpu();

	for (uint32_t i = 0; i < nr_cpus_used; i++)
		if (cpus[i].cpu == cpu)
			return &cpus[i];
	return &cpus[(uint32_t)(cpu < 0 ? 0 : cpu) % nr_cpus_used];
}

bool waiters_running(void)
{
	return atomic_load(&running);
}

bool waiters_add(const struct waiting_fault *model)
{
	struct mm *mm = model->mm;
	struct waiting_fault *fault;
	struct waiter_cpu *w;

	if (!waiters_running())
		return false;
	if (atomic_fetch_add(&mm->nr_waiting, 1) >= WAITING_MAX || !mm_get(mm)) {
		atomic_fetch_sub(&mm->nr_waiting, 1);
		return false;
	}
	fault = kmalloc(sizeof(*fault), GFP_KERNEL);
	if (!fault) {
		atomic_fetch_sub(&mm->nr_waiting, 1);
		mm_put(mm);
		return false;
	}
	*fault = *model;
	memstall_enter(fault->target.region->memcg, &mm->psi);
	w = nearest();
	mutex_lock(&w->lock);
	list_add_tail(&fault->link, &w->flows[flow_of(fault)]);
	pthread_cond_signal(&w->wanted);
	mutex_unlock(&w->lock);
	return true;
}
