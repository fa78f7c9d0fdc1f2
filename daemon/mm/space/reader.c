/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader - claim, begin, reap, settle
 */
#include "mm/space/reader.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "mm/space/crowd.h"
#include "mm/space/patience.h"
#include "mm/space/rejoin.h"
#include "os/disk.h"
#include "os/os.h"

enum {
	READS_MAX = 64,
	READS_KEPT = 16,          /* for faults: no neighbours come then, */
	MARGIN = 4 * CROWD_READS, /* nor where frames will be short */
};

struct reading {
	struct disk_io io;
	struct swap_page page;
	struct swap_claim claim;
	struct waiting_fault fault;
	struct list_head link; /* of free or busy */
	char *memory;
	uint64_t begun_ns, patience_ns;
	bool ahead; /* nobody waits for it */
	bool slept; /* the thread has slept since it was begun */
};

/* o: its thread only */
struct reader {
	struct disk_queue *disk;  /* (o) */
	char *buffer;             /* (o) */
	struct list_head free;    /* (o) */
	struct list_head busy;    /* (o) the oldest first */
	uint32_t nr_busy;         /* (o) */
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

/* The caller has a reference to the region for it. */
enum why { FOR_FAULT, AHEAD, AHEAD_WATCHED };
static bool begin(struct reader *r, const struct waiting_fault *fault, enum why why)
{
	struct region *region = fault->target.region;
	struct reading *reading;

	if (list_empty(&r->free) || !take_part(fault->mm))
		return false;
	reading = list_first_entry(&r->free, struct reading, link);
	if (region_swap_claim(region, fault->target.page, &reading->claim, &reading->page)) {
		atomic_fetch_sub(&fault->mm->nr_waiting, 1);
		mm_put(fault->mm);
		return false;
	}
	list_del(&reading->link);
	list_add_tail(&reading->link, &r->busy);
	r->nr_busy++;
	reading->fault = *fault;
	reading->ahead = why != FOR_FAULT;
	reading->claim.item.ahead = reading->ahead;
	reading->claim.item.watched = why == AHEAD_WATCHED;
	if (!reading->ahead)
		memstall_enter(region->memcg, &fault->mm->psi);
	reading->begun_ns = os->now_ns();
	reading->patience_ns = reading->ahead ? 0 : patience_begin(&r->patience);
	reading->slept = reading->ahead;
	swap_prepare_read(&reading->page, reading->memory, &reading->io);
	disk_add(r->disk, &reading->io);
	return true;
}

/* What is in use around the page comes by the same call of the kernel. */
static void begin_neighbours(struct reader *r, const struct waiting_fault *fault)
{
	const struct memcg *memcg = fault->target.region->memcg;
	struct crowd crowd;

	crowd_fault(&fault->target, &crowd);
	if (fault->hint.alone || r->nr_busy > READS_MAX - READS_KEPT - CROWD_READS ||
	    memcg_excess(memcg) || memcg_margin(memcg) < MARGIN)
		return;
	for (uint32_t i = 0; i < crowd.nr; i++) {
		struct waiting_fault neighbour = *fault;
		bool watched = fault->event.flags & OS_FAULT_WRITE || i % CROWD_UNMAPPED == 0;

		neighbour.target.page = crowd.pages[i];
		neighbour.event.flags = 0;
		region_get(neighbour.target.region);
		if (!begin(r, &neighbour, watched ? AHEAD_WATCHED : AHEAD)) {
			region_put(neighbour.target.region);
			return;
		}
		swap_ahead_count(1);
	}
}

bool reader_add(const struct waiting_fault *fault)
{
	struct reader *r = get();

	if (!r || fault->hint.around > 1 || fault->target.region->page_shift != PAGE_SHIFT ||
	    is_for_ancestor(fault) || !begin(r, fault, FOR_FAULT))
		return false;
	begin_neighbours(r, fault);
	disk_start(r->disk);
	return true;
}

/* Who waits for it, or nobody, goes on. */
static void go_on(const struct reading *reading, int error)
{
	const struct waiting_fault *fault = &reading->fault;
	int lost = region_swap_settle(&reading->claim, reading->memory, error,
				      fault->event.flags & OS_FAULT_WRITE);
	if (reading->ahead) {
		if (!lost && !reading->claim.item.watched)
			config.show(fault);
		return;
	}
	memstall_leave(fault->target.region->memcg, &fault->mm->psi);
	config.resume(fault);
}

static void settle(struct reader *r, struct reading *reading)
{
	struct waiting_fault fault = reading->fault;
	int error = swap_end_read(&reading->page, &reading->io, reading->begun_ns);

	if (!reading->slept)
		patience_came(&r->patience, os->now_ns() - reading->begun_ns);
	go_on(reading, error);
	list_del(&reading->link);
	list_add(&reading->link, &r->free);
	r->nr_busy--;
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

/* For the oldest that anybody waits for. */
bool reader_spins(uint64_t now_ns)
{
	const struct reading *reading;

	if (!mine)
		return false;
	list_for_each_entry(reading, &mine->busy, link)
		if (!reading->ahead)
			return !reading->slept &&
			       now_ns - reading->begun_ns < reading->patience_ns;
	return false;
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
