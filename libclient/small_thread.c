/* SPDX-License-Identifier: Apache-2.0 */
/*
 * small_thread - what is thread-local is added to the stack
 *
 * Once        what is loaded later has its thread-local memory elsewhere; and the first thread is
 *             started by one of the application's, which may wait for the loader's lock.
 */
#include "small_thread.h"

#include <link.h>
#include <stdatomic.h>

static int add_thread_local(struct dl_phdr_info *object, size_t size, void *sum)
{
	size_t *bytes = sum;

	(void)size;
	for (unsigned int i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_TLS)
			*bytes += object->dlpi_phdr[i].p_memsz + object->dlpi_phdr[i].p_align;
	return 0;
}

static size_t thread_local_bytes(void)
{
	static _Atomic size_t known; /* and one more; 0: not yet */
	size_t bytes = atomic_load(&known);

	if (bytes == 0) {
		bytes = 1;
		dl_iterate_phdr(add_thread_local, &bytes);
		atomic_store(&known, bytes);
	}
	return bytes - 1;
}

int small_thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, SMALL_THREAD_STACK + thread_local_bytes());
	error = -pthread_create(thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return error;
}
