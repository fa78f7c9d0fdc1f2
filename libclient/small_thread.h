/* SPDX-License-Identifier: Apache-2.0 */
/*
 * small_thread - threads of the library's own
 *
 * Purpose     They need little stack, but the C library puts each program's thread-local variables
 *             on it first, which may be many times as much.
 * Invariants  Y1  SMALL_THREAD_STACK bytes are the thread's own, whatever the program and its
 *                 libraries have in thread-local memory.
 * Locking     none.
 */
#ifndef MMB_LIBCLIENT_SMALL_THREAD_H
#define MMB_LIBCLIENT_SMALL_THREAD_H

#include <pthread.h>

enum { SMALL_THREAD_STACK = 256 * 1024 };

/* 0 or a negative errno. The signal mask is the caller's. */
int small_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
