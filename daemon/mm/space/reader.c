/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader - claim, begin, reap, settle
 */
#include "mm/space/reader.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "mm/space/patience.h"
#include "mm/space/rejoin.h"
#include "os/disk.h"
#include "os/os.h"

enum { READS_MAX = 32 };

struct reading {
	struct disk_io io;
	struct swap_page page;
	struct swap_claim claim;
	struct waiting_fault fault;
	struct list_head link; /* of free or busy */
	char *memory;
	uint64_t begun_ns, patience_ns;
	bool slept; /* the thread has slept since it was begun */
};

/* o: its thread only */
struct reader {
	struct disk_queue *disk;  /* (o) */
	char *buffer;             /* (o) */
	struct list_head free;    /* (o) */
	struct list_head busy;    /* (o) the oldest first */
	struct patience patience; /* (o) */
	struct reading reads[READS_MAX]; /* (o) */
};

static _Thread_local struct reader_config config;
static _Thread_local struct reader *mine;
static _Thread_local bool refused; /* no ring, or no memory: not tried again */

void reader_begin(const struct reader_config *request)
{
	config = *request;
	refused = false;
}

static void reader_free(struct reader *r)
{
	if (r->disk)
		disk_queue_free(r->disk);
	if (r->buffer && r->buffer != MAP_FAILED)
		munmap(r->buffer, READS_MAX * PAGE_SIZE);
	free(r);
}

static bool watch(const struct reader *r, int ring_fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = config.tag };

	return r->disk && !epoll_ctl(config.epoll_fd, EPOLL_CTL_ADD, ring_fd, &event);
}

static struct reader *reader_new(void)
{
	struct reader *r = calloc(1, sizeof(*r));
	int ring_fd = -1;

	if (!r)
		return NULL;
	r->buffer = mmap(NULL, READS_MAX * PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (r->buffer == MAP_FAILED || disk_queue_new_polled(READS_MAX, &r->disk, &ring_fd))
		r->disk = NULL;
	if (!watch(r, ring_fd)) {
		reader_free(r);
		return NULL;
	}
	list_init(&r->free);
	list_init(&r->busy);
	for (int i = 0; i < READS_MAX; i++) {
		r->reads[i].memory = r->buffer + i * PAGE_SIZE;
		list_add_tail(&r->reads[i].link, &r->free);
	}
	return r;
}

static struct reader *get(void)
{
	if (!mine && config.resume && !refused && swap_io_engine() == DISK_URING) {
		mine = reader_new();
		refused = !mine;
	}
	return mine;
}

static bool take_part(struct mm *mm)
{
	if (atomic_fetch_add(&mm->nr_waiting, 1) < WAITING_MAX && mm_get(mm))
		return true;
	atomic_fetch_sub(&mm->nr_waiting, 1);
	return false;
}

/* It comes to another home, and is shown or copied from there. */
static bool is_for_ancestor(const struct waiting_fault *fault)
{
	return !(fault->event.flags & OS_FAULT_WRITE) &&
	       rejoin_has_source(fault->target.region, fault->target.page);
}

bool reader_add(const struct waiting_fault *fault)
{
	struct region *region = fault->target.region;
	struct reader *r = get();
	struct reading *reading;

	if (!r || fault->hint.around > 1 || region->page_shift != PAGE_SHIFT ||
	    list_empty(&r->free) || is_for_ancestor(fault) || !take_part(fault->mm))
		return false;
	reading = list_first_entry(&r->free, struct reading, link);
	if (region_swap_claim(region, fault->target.page, &reading->claim, &reading->page)) {
		atomic_fetch_sub(&fault->mm->nr_waiting, 1);
		mm_put(fault->mm);
		return false;
	}
	list_del(&reading->link);
	list_add_tail(&reading->link, &r->busy);
	reading->fault = *fault;
	memstall_enter(region->memcg, &fault->mm->psi);
	reading->begun_ns = os->now_ns();
	reading->patience_ns = patience_begin(&r->patience);
	reading->slept = false;
	swap_prepare_read(&reading->page, reading->memory, &reading->io);
	disk_add(r->disk, &reading->io);
	disk_start(r->disk);
	return true;
}

static void settle(struct reader *r, struct reading *reading)
{
	struct waiting_fault fault = reading->fault;
	int error = swap_end_read(&reading->page, &reading->io, reading->begun_ns);

	if (!reading->slept)
		patience_came(&r->patience, os->now_ns() - reading->begun_ns);
	region_swap_settle(&reading->claim, reading->memory, error,
			   fault.event.flags & OS_FAULT_WRITE);
	list_del(&reading->link);
	list_add(&reading->link, &r->free);
	memstall_leave(fault.target.region->memcg, &fault.mm->psi);
	config.resume(&fault);
	atomic_fetch_sub(&fault.mm->nr_waiting, 1);
	region_put(fault.target.region);
	mm_put(fault.mm);
}

bool reader_reap(void)
{
	struct disk_io *io;
	bool any = false;

	while (mine && (io = disk_poll(mine->disk))) {
		settle(mine, container_of(io, struct reading, io));
		any = true;
	}
	return any;
}

bool reader_spins(uint64_t now_ns)
{
	const struct reading *oldest;

	if (!mine || list_empty(&mine->busy))
		return false;
	oldest = list_first_entry(&mine->busy, struct reading, link);
	return !oldest->slept && now_ns - oldest->begun_ns < oldest->patience_ns;
}

void reader_sleeps(uint64_t now_ns)
{
	struct reading *reading;

	if (!mine)
		return;
	list_for_each_entry(reading, &mine->busy, link) {
		uint64_t waited = now_ns - reading->begun_ns;

		if (!reading->slept && reading->patience_ns && waited >= reading->patience_ns)
			patience_lost(&mine->patience, waited);
		reading->slept = true;
	}
}

void reader_disturbed(void)
{
	struct reading *reading;

	if (!mine)
		return;
	list_for_each_entry(reading, &mine->busy, link)
		reading->slept = true;
}

void reader_end(void)
{
	struct disk_io *io;

	while (mine && (io = disk_wait(mine->disk)))
		settle(mine, container_of(io, struct reading, io));
	if (mine)
		reader_free(mine);
	mine = NULL;
	config.resume = NULL;
}
