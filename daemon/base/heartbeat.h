/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heartbeat - whether every long-lived thread still turns
 *
 * Purpose     Each such thread registers a heartbeat, touches it once a turn of its loop and in
 *             long loops, and says when it begins to wait for work. Who feeds the service manager's
 *             watchdog looks at all of them: a thread that works and hasn't touched its heartbeat
 *             for too long hangs. And each says whose work it is at, for whoever finds that the
 *             process ends by it.
 * Invariants  H1  touching is one store of the thread's own line: no clock, no lock.
 *             H2  a look that comes late itself (a stopped process, a host that slept) blames
 *                 nobody.
 * Locking     one leaf mutex for the list and what the last look saw.
 * Not here    Who looks, and what then (app/watchdog.c).
 */
#ifndef MMB_BASE_HEARTBEAT_H
#define MMB_BASE_HEARTBEAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/list.h"

enum { HEARTBEAT_NAME_BYTES = 24 };

/* c: fixed while registered   a: atomic, written by its thread only   l: lock */
struct heartbeat {
	struct list_head link;                /* (l) */
	char name[HEARTBEAT_NAME_BYTES];      /* (c) */
	_Atomic uint64_t beats;               /* (a) odd: idle */
	uint64_t seen;                        /* (l) beats at the last look */
	uint64_t since_ns;                    /* (l) when they were first seen so */
	uint64_t slept_at, slept_ns;          /* its thread's: heartbeat_sleep() */
	_Atomic(void *) who;                  /* (a) whose work it is at; NULL: nobody's */
	_Atomic uint64_t what;                /* (a) which */
};

extern _Thread_local struct heartbeat *this_heartbeat;

/* The calling thread's; it counts as working. */
void heartbeat_register(struct heartbeat *hb, const char *name);
void heartbeat_unregister(struct heartbeat *hb);

/* One turn done; ends idleness. Any thread. */
static inline void heartbeat_touch(void)
{
	struct heartbeat *hb = this_heartbeat;
	uint64_t beats;

	if (!hb)
		return;
	beats = atomic_load_explicit(&hb->beats, memory_order_relaxed);
	atomic_store_explicit(&hb->beats, (beats | 1) + 1, memory_order_relaxed);
}

/* A short pause of somebody who waits for another thread's step, again and again: no hang, up to a
 * minute in which nothing else was done. Any thread. */
void heartbeat_sleep(const struct timespec *pause);

/* About to wait for work, for as long as it takes. Any thread. */
static inline void heartbeat_idle(void)
{
	struct heartbeat *hb = this_heartbeat;
	uint64_t beats;

	if (!hb)
		return;
	beats = atomic_load_explicit(&hb->beats, memory_order_relaxed);
	atomic_store_explicit(&hb->beats, beats | 1, memory_order_relaxed);
}

/* Whose work the calling thread is at from now on, and which; NULL: nobody's. */
static inline void heartbeat_work(void *who, uint64_t what)
{
	struct heartbeat *hb = this_heartbeat;

	if (!hb)
		return;
	atomic_store_explicit(&hb->what, what, memory_order_relaxed);
	atomic_store_explicit(&hb->who, who, memory_order_relaxed);
}

/* Before there are threads: what notes a work that the process ends by. It makes stores only. */
void heartbeat_on_blame(void (*note)(void *who, uint64_t what, bool hangs));
/* The process ends by the calling thread, in a signal's handler too; by the one that the last look
 * has found. */
void heartbeat_blame_self(void);
void heartbeat_blame_oldest(void);

/* A look: how long the thread that is worst off has worked without a touch, and its name. Looks are
 * to come more often than every late_ns (H2). */
uint64_t heartbeat_oldest(uint64_t now_ns, uint64_t late_ns, char name[HEARTBEAT_NAME_BYTES]);
unsigned int heartbeat_count(void);

#endif
