/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process - what the library keeps once a process: its generation, its connections, one lock
 *
 * Purpose     Tells a forked child from its parent, and lists the open connections for those who
 *             may take no lock: the fork handler and mmb_fault_info() in a signal handler.
 * Invariants  G1  A handle carries the generation of the process that made it. A child has another
 *                 one, so a handle inherited by fork matches nothing there.
 *             G2  The generation lies on a page that the kernel wipes in a forked child: a child
 *                 made without fork handlers (_Fork, a raw clone) finds 0 and starts afresh.
 *             G3  Entries are reused, never freed: a list walk needs no lock.
 *             G4  A descriptor is taken out of its entry before it is closed.
 * Locking     process_lock() guards the arena windows and the thread caches of the process. Order:
 *             process lock, struct mmb's lock, depot lock, channel lock. No request to the daemon
 *             is made under any of them.
 */
#ifndef MMB_LIBCLIENT_PROCESS_H
#define MMB_LIBCLIENT_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/fault_log.h"

enum {
	PROCESS_SOCKET, PROCESS_UPCALLS, PROCESS_UFFD, PROCESS_KICK, PROCESS_LOG,
	PROCESS_ARENA, PROCESS_SLAB_MAP, /* of an offer */
	PROCESS_FDS
};

/* a: atomic   p: fixed once published */
struct process_entry {
	struct process_entry          *next;             /* (p) */
	atomic_bool                    taken;            /* (a) by a connection */
	_Atomic int                    fds[PROCESS_FDS]; /* (a) -1: none */
	_Atomic(struct mmb_fault_log *) log;             /* (a) NULL: not mapped yet */
	_Atomic uint32_t               readers;          /* (a) in log right now */
};

extern _Atomic uint32_t *process_generation_page;

/* Before anything else in mmb_open(); idempotent. */
int process_init(void);
uint32_t process_generation(void);
/* The check of every public function; costs two loads. */
static inline bool process_owns(uint32_t generation)
{
	return atomic_load_explicit(process_generation_page, memory_order_relaxed) == generation;
}
/* The sentence and the code for a handle that process_owns() disowned. */
int process_disowned(void);

void process_lock(void);
void process_unlock(void);

struct process_entry *process_add(const int fds[PROCESS_FDS]);
/* A descriptor that came, or changed, after process_add(). */
void process_set_fd(struct process_entry *entry, unsigned int which, int fd);
/* Afterwards no signal handler reads the log and no child closes the descriptors. Returns the log
 * if it was mapped: the caller's to unmap. */
struct mmb_fault_log *process_del(struct process_entry *entry);
struct process_entry *process_first(void);

#endif
