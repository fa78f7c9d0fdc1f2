/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd - the session's userfaultfd
 *
 * Purpose     Creates it with as much service as this process may have, and enables every feature
 *             the broker can use and the kernel has.
 * Invariants  U1  The library keeps its own descriptor until mmb_close(): when the last descriptor
 *                 of a userfaultfd closes, the kernel lets blocked threads read zeros. With ours
 *                 open, a dead daemon makes faults wait instead.
 *             U2  O_NONBLOCK always: poll(2) on a blocking one only gives POLLERR.
 */
#ifndef MMB_LIBCLIENT_UFFD_H
#define MMB_LIBCLIENT_UFFD_H

#include <stdbool.h>
#include <stdint.h>

struct uffd {
	int      fd;
	uint64_t features;       /* as enabled */
	bool     user_mode_only; /* faults inside system calls fail with EFAULT */
};

/* With full service and no help of the daemon's; no sentence on failure. */
int uffd_open_own(struct uffd *out);
/* device: /dev/userfaultfd as passed by the daemon, or -1; stays the caller's. */
int uffd_open(int device, struct uffd *out);

enum uffd_watch { UFFD_WATCH_REGION, UFFD_WATCH_ARENA };
/* Regions: every page table entry becomes the daemon's decision. Arenas: only holes are events. */
int uffd_register(const struct uffd *uffd, uint64_t address, uint64_t length,
		  enum uffd_watch watch);
/* What isn't mapped of the range raises SIGBUS from now on; whoever waits there gets it. `page`:
 * bytes of a page. Before Linux 6.6: -EINVAL, nothing. -EAGAIN: a mapping is being moved, and
 * whoever reads events has to read of that first. */
int  uffd_poison(const struct uffd *uffd, uint64_t address, uint64_t length, uint64_t page);
/* Who waits for a page of the range looks again. */
void uffd_wake(const struct uffd *uffd, uint64_t address, uint64_t length);
/* Reads what nobody else does, so that who has changed mappings goes on; who waits for pages looks
 * again. */
void uffd_drain(const struct uffd *uffd);
int uffd_unregister(const struct uffd *uffd, uint64_t address, uint64_t length);

#endif
