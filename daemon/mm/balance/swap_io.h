/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_io - pages to slots and back, in large pieces, verified
 *
 * Purpose     A batch is written or read as a whole: pages whose slots adjoin make one request of
 *             up to 1 MiB, several requests are under way at once. A checksum of each slot's
 *             contents, with whose they are, is recorded before it is written and compared after
 *             it is read.
 * How         Through a buffer of the queue's own. Copying a page costs less than mapping it into
 *             the daemon for direct I/O (measured: docs/decisions/swap-through-a-buffer.md), what
 *             is summed is what is written whatever a client does meanwhile, and nothing that
 *             failed its checksum ever reaches a frame.
 * Invariants  I1  a page has error 0 only if all of it was written, or read and verified.
 *             I2  a checksum that doesn't match is an error of that page and of nothing else.
 *             I3  a slot that can't be written is retired by the writer itself; what passes is no
 *                 fault of the disk's, and counts as none.
 * Locking     a queue belongs to one thread; the caller holds BUSY of what is read, and sees to it
 *             that what is written doesn't change without its knowing.
 * Not here    Which pages, their words and frames (space), areas (swap_area.h).
 */
#ifndef MMB_BALANCE_SWAP_IO_H
#define MMB_BALANCE_SWAP_IO_H

#include <errno.h>
#include <stdint.h>

#include "base/histogram.h"
#include "mm/map/swap.h"
#include "mm/phys/section.h"
#include "os/disk.h"

enum { SWAP_IO_BYTES_MAX = 1 << 20 };

struct swap_page {
	struct section *section;
	uint64_t        offset; /* in the section's file */
	uint32_t        slot;
	uint32_t        nr;     /* slots: 1, or 512 for a page of 2 MiB */
	uint64_t        family; /* whose it is: these two make a block of another page wrong */
	uint64_t        page;   /* frames from the start of the region */
	int             error;  /* out: 0 or negative errno */
	bool            same;   /* out, of one slot: it repeats `value`, and wasn't written */
	uint32_t        value;
};

struct swap_queue;

/* Pages on their way, together. Its fields are swap_io.c's. */
struct swap_batch {
	struct swap_page *pages;
	uint32_t          nr;
	bool              write;
	uint32_t          page, sub;    /* what comes next */
	uint32_t          step;         /* slots that are copied and looked at together */
	uint32_t          nr_under_way; /* requests */
};

/* io_uring unless told otherwise; for queues made from now on. */
void swap_io_set_engine(enum disk_engine engine);
enum disk_engine swap_io_engine(void);
/* bytes: of buffer, 64 KiB to 16 MiB; an eighth of it is the largest request. For writers 4 MiB is
 * enough for any disk, for a thread that reads page by page 256 KiB. The buffer is charged to the
 * stock that metadata is charged to, if there is room; it isn't refused, since it makes room. */
int swap_queue_new(uint64_t bytes, struct swap_queue **out);
void swap_queue_free(struct swap_queue *queue);

/* Each page's error: 0; -EFAULT: the frame had gone; one that passes: the host was short of
 * something; anything else: the disk failed, the slot is retired and the caller's no more. Else it
 * is as before, also of a page that repeats one value, which isn't written. Returns the number of
 * pages without error. */
uint32_t swap_write(struct swap_queue *queue, struct swap_page *pages, uint32_t nr);
/* Of what was to be written: its slot is the caller's no more. */
static inline bool swap_is_retired(const struct swap_page *page)
{
	return page->error && page->error != -EFAULT && !disk_is_passing(page->error);
}

/* The same in two steps: all has been copied when the first returns, and the second waits for the
 * disk. One more batch may be begun between them. */
void swap_write_begin(struct swap_queue *queue, struct swap_batch *batch, struct swap_page *pages,
		      uint32_t nr);
uint32_t swap_write_end(struct swap_queue *queue, struct swap_batch *batch);
/* Into frames that are present. Each page's error: 0; -EILSEQ: the checksum doesn't match; -EIO and
 * others: the disk failed, or the frame couldn't be written. Returns the number of pages read. */
uint32_t swap_read(struct swap_queue *queue, struct swap_page *pages, uint32_t nr);
/* For a caller who reads one page of 4 KiB by itself, into PAGE_SIZE bytes of aligned memory of its
 * own: the request; and what became of it, when it is done: the page's error as for swap_read(). It
 * never sleeps: an error that passes is left to who can wait.
 * Bringing the bytes into the frame is the caller's, too. */
void swap_prepare_read(const struct swap_page *page, void *memory, struct disk_io *io);
int swap_end_read(struct swap_page *page, const struct disk_io *io, uint64_t begun_ns);
/* Whether so many bytes repeat 32 bits, and which. */
bool swap_repeats(const void *bytes, uint64_t nr, uint32_t *value);
/* For poison records: a constant sentence. */
const char *swap_error_text(int error);

/* Read-ahead tells what it asked for and what of it was touched; others may adapt to that. */
void swap_ahead_count(uint64_t pages);
void swap_ahead_hit(uint64_t pages);

/* Since the start. a: atomic */
struct swap_io_stat {
	_Atomic uint64_t pages_in, pages_out;       /* (a) of 4 KiB */
	_Atomic uint64_t requests_in, requests_out; /* (a) of the disk */
	_Atomic uint64_t write_errors, read_errors, checksum_errors; /* (a) of 4 KiB */
	_Atomic uint64_t ahead, ahead_hits;         /* (a) pages */
	struct histogram in_ns, out_ns;             /* (a) of one request */
};
extern struct swap_io_stat swap_io_stat;

#endif
