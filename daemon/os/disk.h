/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk - reads and writes of a disk, several at a time
 *
 * Purpose     One queue a thread that does I/O. Through io_uring where the kernel lets us, through
 *             a few threads that call pread and pwrite where it doesn't; a lone request is made
 *             by its caller, which is as quick as either.
 * Invariants  D1  each request added comes back from disk_wait() exactly once.
 *             D2  memory of a request is the daemon's own: no frame is ever registered or pinned.
 * Locking     a queue belongs to one thread; what the threads hand it has a leaf mutex.
 * Not here    What is in the blocks (balance/swap_io.h), files and devices (disk_file.h).
 */
#ifndef MMB_OS_DISK_H
#define MMB_OS_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/workqueue.h"

enum disk_engine { DISK_URING, DISK_THREADS };

struct disk_queue;

struct disk_io {
	int      fd;
	bool     write;
	void    *memory;
	uint32_t bytes;
	uint64_t offset;
	int64_t  result; /* bytes done, fewer than asked for are possible; or negative errno */
	struct list_head   link; /* these are the queue's until it is done */
	struct work        work;
	struct disk_queue *queue;
};

/* Whether io_uring can be had; why not as negative errno (-ENOSYS, -EPERM: switched off). */
int disk_uring_probe(void);
/* DISK_URING becomes DISK_THREADS when the kernel refuses. depth: most requests at a time. */
int disk_queue_new(enum disk_engine engine, uint32_t depth, struct disk_queue **out);
/* For a thread that waits for other things, too: a ring made at once, by the thread that will use
 * it, whose descriptor *fd polls readable while something is done. Negative errno: none. */
int disk_queue_new_polled(uint32_t depth, struct disk_queue **out, int *fd);
/* Nothing is under way. */
void disk_queue_free(struct disk_queue *queue);
enum disk_engine disk_queue_engine(const struct disk_queue *queue);

/* Takes up a request; it begins with disk_start() or disk_wait(). */
void disk_add(struct disk_queue *queue, struct disk_io *io);
/* Begins what was added, for a caller who has other things to do. */
void disk_start(struct disk_queue *queue);
/* One request that is done; NULL: none is under way. */
struct disk_io *disk_wait(struct disk_queue *queue);
/* One request that is done, of a queue that has a ring; NULL: none is yet. */
struct disk_io *disk_poll(struct disk_queue *queue);
/* The host was short of something: the disk isn't at fault, and it may be done the next time. */
bool disk_is_passing(int error);
/* One request, here and now; after such errors again, some twenty times. */
void disk_run(struct disk_io *io);

#endif
