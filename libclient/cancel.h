/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel - no thread is cancelled inside the library
 *
 * Purpose     A thread that pthread_cancel() ended while it reads for others or holds a lock would
 *             leave a connection on which all others wait for ever. UNCANCELLED at the top of a
 *             function puts the thread's cancellation off to that function's end: the next point
 *             behind it acts on it.
 * Invariants  N1  whoever asks the broker, waits, or opens, reads or closes a descriptor does so
 *                 below a function that begins so. It may be nested.
 *             N2  hits, and misses that the process itself satisfies, have no point at which
 *                 cancellation acts, and don't pay for this.
 * Not here    Asynchronous cancellation: with that a thread may call nothing of any library. The
 *             library's own threads, whose names nobody has.
 */
#ifndef MMB_LIBCLIENT_CANCEL_H
#define MMB_LIBCLIENT_CANCEL_H

#include <pthread.h>

static inline int cancel_put_off(void)
{
	int was = PTHREAD_CANCEL_ENABLE;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	return was;
}

static inline void cancel_restore(const int *was)
{
	int unused;

	pthread_setcancelstate(*was, &unused);
}

#define UNCANCELLED \
	int uncancelled __attribute__((cleanup(cancel_restore), unused)) = cancel_put_off()

#endif
