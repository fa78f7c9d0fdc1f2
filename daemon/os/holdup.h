/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdup - a process that keeps the lock of a file of ours, or of its map
 *
 * Purpose     Clients have the files of their regions and arenas open for writing, or they couldn't
 *             map them. Whoever calls write() on one, out of memory whose faults nobody answers,
 *             keeps the file's lock until then; whoever populates or punches it here waits in the
 *             kernel, where not even SIGKILL ends a thread, so that neither this daemon nor a next
 *             one goes on. So each call that takes that lock is noted, and a thread looks whether
 *             one of them is stuck: the process that keeps the lock is searched for, and ended.
 *             Requests to a client's userfaultfd wait for the lock of its map in the same way, and
 *             who reads its memory, where that doesn't come, keeps it: then the client is ended,
 *             since with it goes whoever waits to change the map, and readers get through.
 * Invariants  H1  a thread of ours that has the lock, or that only waits for its turn behind one
 *                 that works, is nobody's fault.
 *             H2  who is seen in such a call on the file goes. If nobody is, who waits for a page
 *                 in a call that may be one is suspected: which file a ring's worker writes to
 *                 isn't told, nor which one a descriptor was that is another's since. First who
 *                 has the file open, then clients' users, then anybody but root, one after the
 *                 other until the lock is free. To have it open is no evidence, nor is a plain
 *                 fault: all of a pool have both.
 *             H3  the service manager, our parent and ourselves are never ended.
 *             H4  a map may be locked for long without any ill will (a fork, an munmap): it gets
 *                 MAP_LOOKS. Whoever has the pid of the client later is left alone.
 *             H5  if its owner is gone, the map is another process's, or who waits to change it
 *                 can't be killed: of the owner's user that process goes whose map is locked, then
 *                 who serves FUSE, one after the other until the lock is free. Nobody of another
 *                 user: a client could have them ended by keeping its own map locked. Of root's,
 *                 no server of FUSE: what others need may depend on it.
 * Locking     a leaf mutex for the list of threads.
 * Not here    The search (culprit.h); closing a userfaultfd (last_close.h); what a session leaves
 *             behind when its process ends (client/session.h).
 */
#ifndef MMB_OS_HOLDUP_H
#define MMB_OS_HOLDUP_H

#include <stdbool.h>
#include <sys/types.h>

/* Around a call that takes the lock of a file, or of the map that a userfaultfd is of. */
void holdup_enter(int fd);
void holdup_leave(void);
/* Whose map a userfaultfd is of; pid 0: nobody's any more. */
void holdup_set_owner(int uffd, pid_t pid, uid_t uid);
uid_t holdup_owner_uid(int uffd);

/* Before any file is asked for; -EAGAIN if there can be no thread. */
int holdup_start(void);
void holdup_stop(void);
/* A thread is stuck: no restart would help, and this process couldn't even end. */
bool holdup_lasts(void);

#endif
