/* SPDX-License-Identifier: Apache-2.0 */
/* shared_heap - see shared_heap.h */
#include "lib/shared_heap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/bench.h"

void *shared_map(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (map != MAP_FAILED)
		return map;
	bench_because(-errno, "a shared mapping of %zu MiB: %s", bytes >> 20, strerror(errno));
	return NULL;
}

void shared_mutex_init(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

/* For heaps that are mapped already. */
int shared_attach_same(void *made, void **heap)
{
	*heap = made;
	return 0;
}
