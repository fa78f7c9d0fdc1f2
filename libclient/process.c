/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process - what the library keeps once a process: its generation, its connections, one lock
 *
 * Purpose     See process.h.
 * Not here    What a child forgets of the arena windows (arena.c) and thread caches (cache.c).
 */
#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "error.h"
#include "pool_heap.h"
#include "procmap.h"

/* Before process_init() no handle exists; a 0 keeps process_owns() callable all the same. */
static _Atomic uint32_t no_generation;
_Atomic uint32_t *process_generation_page = &no_generation;

enum { GENERATION_BYTES = 4096 }; /* the kernel's page */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_error;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct process_entry *) entries;
/* The last generation given out; inherited by a child, which takes the next one. */
static _Atomic uint32_t last_generation;

/* In a child: the parent's connections are not ours. Closing a descriptor here leaves the
 * parent's open; nothing is sent and nothing is shut down. */
static void forget_parent(void)
{
	struct process_entry *e;
	int i;

	for (e = atomic_load(&entries); e; e = e->next) {
		for (i = 0; i < PROCESS_FDS; i++) {
			int fd = atomic_exchange(&e->fds[i], -1);

			if (fd >= 0)
				close(fd);
		}
		atomic_store(&e->log, NULL);
		atomic_store(&e->readers, 0);
		atomic_store(&e->taken, false);
	}
	arena_forget_all();
	pool_heap_forget_all();
	procmap_forget();
	atomic_store(process_generation_page, atomic_fetch_add(&last_generation, 1) + 1);
}

static void fork_in_child(void)
{
	forget_parent();
	pthread_mutex_unlock(&lock);
}

static void init(void)
{
	void *page = mmap(NULL, GENERATION_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED || madvise(page, GENERATION_BYTES, MADV_WIPEONFORK)) {
		init_error = -errno;
		return;
	}
	init_error = -pthread_atfork(process_lock, process_unlock, fork_in_child);
	if (init_error)
		return;
	process_generation_page = page;
	atomic_store(process_generation_page, atomic_fetch_add(&last_generation, 1) + 1);
}

int process_init(void)
{
	pthread_once(&once, init);
	if (init_error)
		return fail(init_error, "can't set up fork detection (errno %d); Linux 4.14 or "
			    "later is needed", -init_error);
	/* G2: a child made without fork handlers comes here first. */
	if (!atomic_load(process_generation_page))
		forget_parent();
	return 0;
}

uint32_t process_generation(void)
{
	return atomic_load_explicit(process_generation_page, memory_order_relaxed);
}

int process_disowned(void)
{
	return fail(-EOWNERDEAD, "this handle was made before fork() and belongs to the parent "
		    "process; open a connection of the child's own with mmb_open()");
}

void process_lock(void)
{
	pthread_mutex_lock(&lock);
}

void process_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

static struct process_entry *take_entry(void)
{
	struct process_entry *e;

	for (e = atomic_load(&entries); e; e = e->next)
		if (!atomic_exchange(&e->taken, true))
			return e;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	atomic_store(&e->taken, true);
	for (int i = 0; i < PROCESS_FDS; i++)
		atomic_store(&e->fds[i], -1);
	e->next = atomic_load(&entries);
	while (!atomic_compare_exchange_weak(&entries, &e->next, e))
		;
	return e;
}

struct process_entry *process_add(const int fds[PROCESS_FDS])
{
	struct process_entry *e = take_entry();

	if (!e)
		return NULL;
	for (int i = 0; i < PROCESS_FDS; i++)
		atomic_store(&e->fds[i], fds[i]);
	return e;
}

void process_set_fd(struct process_entry *entry, unsigned int which, int fd)
{
	atomic_store(&entry->fds[which], fd);
}

static void await_readers(struct process_entry *entry)
{
	while (atomic_load(&entry->readers))
		sched_yield();
}

struct mmb_fault_log *process_del(struct process_entry *entry)
{
	struct mmb_fault_log *log;

	for (int i = 0; i < PROCESS_FDS; i++)
		atomic_store(&entry->fds[i], -1);
	/* Those that may still be mapping it, then those that may still read it. */
	await_readers(entry);
	log = atomic_exchange(&entry->log, NULL);
	await_readers(entry);
	atomic_store(&entry->taken, false);
	return log;
}

struct process_entry *process_first(void)
{
	return atomic_load(&entries);
}
