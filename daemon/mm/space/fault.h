/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault - answers one userfaultfd event of one session
 *
 * Purpose     From an address to a resident page and an installed entry: find the window, make
 *             the page (and, in a streak, its neighbours) present, CONTINUE; or poison, so that
 *             the client gets SIGBUS with a cause and never zeros or another page's data.
 * Invariants  F1  every fault event ends in exactly one of: an entry installed and woken, a
 *                 poison, a note as waiter of a busy page, a wake that makes it fault again, or
 *                 a place on the parked list (retried until the deadline).
 * Locking     mm->lock for the look-up only. No lock is held over a system call.
 */
#ifndef MMB_SPACE_FAULT_H
#define MMB_SPACE_FAULT_H

#include "mm/space/fault_count.h"
#include "mm/space/mm.h"
#include "mm/space/waiter.h"
#include "os/os.h"

struct fault_record {
	uint64_t address, length, offset;
	const char *region;
	int error; /* negative errno */
	const char *cause;
};

struct fault_config {
	_Atomic uint64_t deadline_ns; /* after which a page that can't be produced is poisoned */
	bool can_share;  /* map write-protected: else clones copy what they touch */
	bool can_poison; /* else the client is ended through its pidfd */
	/* Set by the floor above; both may be called from any fault thread. */
	void (*log_fault)(void *owner, const struct fault_record *record);
	void (*end_client)(void *owner, const char *reason);
	/* Asks the client to map a part of its window anew. */
	void (*ask_remap)(void *owner, const struct remap *remap);
	/* It doesn't acknowledge what it is asked: stopped, perhaps. */
	bool (*is_late)(void *owner);
};

void fault_init(const struct fault_config *config);
void fault_set_deadline(uint64_t deadline_ns);
/* Faults that wait to be retried aren't any more, and hold no region: no lane runs. */
void fault_drop_parked(void);
void fault_fini(void);
/* Clones may show their ancestors' memory. */
bool fault_can_share(void);
/* Asks the client of the mm for what mm_remap_begin() has noted. */
void fault_ask_remap(struct mm *mm, const struct remap *remap);

/* Handles one event; `read_ns` is when it was read. */
void fault_handle(struct mm *mm, const struct os_uffd_event *event, uint64_t read_ns);
/* Goes on with one that has to wait, on a thread that may: for waiters_start(). */
void fault_wait(const struct waiting_fault *fault);
/* Goes on with one whose page a lane has read: for reader_begin(). */
void fault_resume(const struct waiting_fault *fault);
/* Maps a page that was read although nobody waits for it, if it still can be. */
void fault_show_ahead(const struct waiting_fault *fault);
/* Threads that have waited since before that moment are counted among their sessions' tasks. */
void fault_count_waiting(uint64_t before_ns);
/* Retries what is parked and due; returns nanoseconds until the next retry, 0: none. */
uint64_t fault_retry_parked(uint64_t now_ns);

#endif
