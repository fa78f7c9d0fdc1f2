/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate - a reader-writer lock that prefers the writer, so that a verify isn't starved
 */
#include "client/gate.h"

#include <pthread.h>

static pthread_rwlock_t gate = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

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
	pthread_rwlock_wrlock(&gate);
}

void gate_open(void)
{
	pthread_rwlock_unlock(&gate);
}
