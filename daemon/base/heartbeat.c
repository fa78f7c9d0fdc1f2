/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heartbeat - the list of heartbeats and the look at them
 */
#include "base/heartbeat.h"

#include <stdio.h>
#include <string.h>

#include "base/lock.h"

_Thread_local struct heartbeat *this_heartbeat;
static void (*note_blame)(void *who, uint64_t what, bool hangs); /* fixed before threads */

/* l: lock */
static struct {
	pthread_mutex_t lock;
	struct list_head all; /* (l) */
	uint64_t last_ns;     /* (l) time of the last look; 0: none yet */
	struct heartbeat *oldest; /* (l) what it found; perhaps not on the list any more */
	unsigned int nr;      /* (l) */
} hearts = { .lock = PTHREAD_MUTEX_INITIALIZER, .all = LIST_HEAD_INIT(hearts.all) };

void heartbeat_register(struct heartbeat *hb, const char *name)
{
	snprintf(hb->name, sizeof(hb->name), "%s", name);
	atomic_store_explicit(&hb->beats, 0, memory_order_relaxed);
	hb->seen = 1; /* unlike any count of a thread that works */
	hb->since_ns = 0;
	atomic_store_explicit(&hb->who, NULL, memory_order_relaxed);
	pthread_mutex_lock(&hearts.lock);
	list_add_tail(&hb->link, &hearts.all);
	hearts.nr++;
	pthread_mutex_unlock(&hearts.lock);
	this_heartbeat = hb;
}

void heartbeat_unregister(struct heartbeat *hb)
{
	this_heartbeat = NULL;
	pthread_mutex_lock(&hearts.lock);
	list_del(&hb->link);
	hearts.nr--;
	pthread_mutex_unlock(&hearts.lock);
}

unsigned int heartbeat_count(void)
{
	unsigned int nr;

	pthread_mutex_lock(&hearts.lock);
	nr = hearts.nr;
	pthread_mutex_unlock(&hearts.lock);
	return nr;
}

uint64_t heartbeat_oldest(uint64_t now_ns, uint64_t late_ns, char name[HEARTBEAT_NAME_BYTES])
{
	struct heartbeat *hb;
	uint64_t oldest = 0;
	bool late;

	name[0] = '\0';
	pthread_mutex_lock(&hearts.lock);
	hearts.oldest = NULL;
	late = now_ns - hearts.last_ns > late_ns;
	hearts.last_ns = now_ns;
	list_for_each_entry(hb, &hearts.all, link) {
		uint64_t beats = atomic_load_explicit(&hb->beats, memory_order_relaxed);

		if (late || beats != hb->seen || beats & 1) {
			hb->seen = beats;
			hb->since_ns = now_ns;
		} else if (now_ns - hb->since_ns > oldest) {
			oldest = now_ns - hb->since_ns;
			strcpy(name, hb->name);
			hearts.oldest = hb;
		}
	}
	pthread_mutex_unlock(&hearts.lock);
	return oldest;
}

void heartbeat_on_blame(void (*note)(void *who, uint64_t what, bool hangs))
{
	note_blame = note;
}

static void blame(struct heartbeat *hb, bool hangs)
{
	void *who = atomic_load_explicit(&hb->who, memory_order_relaxed);

	if (who && note_blame)
		note_blame(who, atomic_load_explicit(&hb->what, memory_order_relaxed), hangs);
}

void heartbeat_blame_self(void)
{
	if (this_heartbeat)
		blame(this_heartbeat, false);
}

void heartbeat_blame_oldest(void)
{
	struct heartbeat *hb;

	pthread_mutex_lock(&hearts.lock);
	list_for_each_entry(hb, &hearts.all, link)
		if (hb == hearts.oldest)
			blame(hb, true);
	pthread_mutex_unlock(&hearts.lock);
}

void heartbeat_sleep(const struct timespec *pause)
{
	const uint64_t patience_ns = 60ull * 1000 * 1000 * 1000;
	struct heartbeat *hb = this_heartbeat;

	nanosleep(pause, NULL);
	if (!hb)
		return;
	if (atomic_load_explicit(&hb->beats, memory_order_relaxed) != hb->slept_at)
		hb->slept_ns = 0;
	hb->slept_ns += (uint64_t)pause->tv_nsec;
	if (hb->slept_ns >= patience_ns)
		return;
	heartbeat_touch();
	hb->slept_at = atomic_load_explicit(&hb->beats, memory_order_relaxed);
}
