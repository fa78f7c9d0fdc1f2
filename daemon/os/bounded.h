/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounded - calls that may wait in the kernel for ever, made so that they can be given up
 *
 * Purpose     /proc and kcmp wait for a process that is being executed, and a file system of a
 *             client's can make that last for ever. No signal but SIGKILL ends that wait, and it
 *             ends all threads of a process: so such calls are made by a process of their own,
 *             which has this one's memory and descriptors, and which a timer kills.
 * Invariants  B1  the calling thread is suspended until it has ended, so that it may use the
 *                 thread's variables, such as errno.
 *             B2  the work allocates nothing, takes no lock, and opens descriptors with
 *                 bounded_open() alone: wherever it is killed, nothing is left behind.
 *             B3  it doesn't outlive this process.
 * Locking     a leaf mutex: one at a time.
 */
#ifndef MMB_OS_BOUNDED_H
#define MMB_OS_BOUNDED_H

#include <stdbool.h>
#include <stddef.h>

/* 0; -ETIMEDOUT: it was given up after so many milliseconds; another error: it wasn't begun. */
int bounded_run(void (*work)(void *argument), void *argument, unsigned int ms);

/* ---- in the work ---- */

/* It has as many milliseconds again, from now. */
void bounded_prolong(void);
/* For reading, a file of another process by its real name in /proc; -errno. */
int bounded_open(const char *path);
void bounded_close(int fd);
/* The beginning of a file, ended by 0. False: nothing of it. */
bool bounded_read(const char *path, char *text, size_t bytes);

#endif
