/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate - a reader-writer lock that prefers the writer, so that a verify isn't starved
 */
#include "client/gate.h"

#include <pthread.h>
#include <stdatomic.h>

static pthread_rwlock_t gate = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static atomic_uint nr_closers; /* walks that keep it closed, or wait until it is empty */

void gate_enter(void)
{
	pthread_rwlock_rdlock(&gate);
}

void gate_leave(void)
{
	pthread_rwlock_unlock(&gate);
}

void gate_close(void)
{
	atomic_fetch_add(&nr_closers, 1);
	pthread_rwlock_wrlock(&gate);
}

void gate_open(void)
{
	pthread_rwlock_unlock(&gate);
	atomic_fetch_sub(&nr_closers, 1);
}

bool gate_closes(void)
{
	return atomic_load_explicit(&nr_closers, memory_order_relaxed) != 0;
}
