/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survivor - a list of processes, the one asked for last in front
 *
 * Locking     see survivor.h.
 */
#include "client/survivor.h"

#include <errno.h>

#include "base/list.h"
#include "base/lock.h"
#include "mm/obj/slab.h"
#include "os/os.h"
#include "os/process.h"

enum { LOOK_NS = 200 * 1000 * 1000 };

/* c: fixed after creation   l: lock */
struct survivor {
	struct list_head link; /* (l) */
	uint64_t mark;         /* (c) */
	uint32_t refs;         /* (l) */
	int pidfd;             /* (l) -1: it has ended */
	uint64_t looked_ns;    /* (l) when it hadn't */
};

static struct {
	struct mutex lock;
	struct list_head list; /* (l) */
} survivors;

void survivors_init(void)
{
	mutex_init(&survivors.lock, RANK_TABLE, "survivors");
	list_init(&survivors.list);
}

static struct survivor *find_locked(uint64_t mark)
{
	struct survivor *s;

	list_for_each_entry(s, &survivors.list, link)
		if (s->mark == mark)
			return s;
	return NULL;
}

static struct survivor *new_locked(uint64_t mark)
{
	int pidfd = process_find(mark);
	struct survivor *s;

	if (pidfd < 0 && pidfd != -ESRCH)
		return NULL;
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s) {
		if (pidfd >= 0)
			os->close(pidfd);
		return NULL;
	}
	s->mark = mark;
	s->pidfd = pidfd < 0 ? -1 : pidfd;
	list_add(&s->link, &survivors.list);
	return s;
}

struct survivor *survivor_get(uint64_t mark)
{
	struct survivor *s;

	if (!mark)
		return NULL;
	mutex_lock(&survivors.lock);
	s = find_locked(mark);
	if (!s)
		s = new_locked(mark);
	if (s) {
		s->refs++;
		list_del(&s->link);
		list_add(&s->link, &survivors.list);
	}
	mutex_unlock(&survivors.lock);
	return s;
}

static void end_locked(struct survivor *s)
{
	if (s->pidfd >= 0)
		os->close(s->pidfd);
	s->pidfd = -1;
}

void survivor_put(struct survivor *s)
{
	bool last;

	if (!s)
		return;
	mutex_lock(&survivors.lock);
	last = --s->refs == 0;
	if (last) {
		list_del(&s->link);
		end_locked(s);
	}
	mutex_unlock(&survivors.lock);
	if (last)
		kfree(s);
}

/* Each of its handles asks. */
bool survivor_has_ended(struct survivor *s)
{
	uint64_t now_ns = os->now_ns();
	bool ended;

	mutex_lock(&survivors.lock);
	if (s->pidfd >= 0 && (!s->looked_ns || now_ns - s->looked_ns >= LOOK_NS)) {
		s->looked_ns = now_ns;
		if (process_has_ended(s->pidfd))
			end_locked(s);
	}
	ended = s->pidfd < 0;
	mutex_unlock(&survivors.lock);
	return ended;
}
