/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_io - the queue's buffer, its chunks, and the two ways through it
 *
 * Purpose     See swap_io.h. A chunk is one disk request: adjoining slots of consecutive pages of
 *             the batch. Chunks lie in the buffer as in a ring: they are given back in the order
 *             in which they were taken, whenever they finish.
 * Errors      A request that fails, or falls short, is made again slot by slot, so that what is
 *             wrong is known exactly. What fails because the host is short of something is tried
 *             for some milliseconds, but for a page that a thread reads by itself.
 */
#include "mm/balance/swap_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "base/check.h"
#include "mm/balance/swap_area.h"
#include "mm/balance/swap_frame.h"
#include "mm/phys/stock.h"
#include "os/os.h"

enum { CHUNKS = 32, BUFFER_MIN = 64 << 10, BUFFER_MAX = 16 << 20, REQUESTS_WISHED = 8,
       STEP_SLOTS = 16,
       START_BYTES = 64 << 10 /* what is worth a system call of its own */ };

/* Slots [sub, sub + nr) counted from the first slot of pages[page] on through the pages behind. */
struct span {
	uint32_t page, sub, nr;
	char    *memory;
};

struct chunk {
	struct disk_io     io;
	struct swap_batch *batch;
	struct span        span;
	uint32_t           at, bytes; /* in the buffer */
	bool               done;
	uint64_t           begun_ns;
};

struct swap_queue {
	struct disk_queue *disk;
	char              *buffer;
	uint32_t           bytes;
	uint32_t           unit; /* largest request */
	bool               charged;
	struct chunk       chunks[CHUNKS];
	uint32_t           first, nr; /* the oldest, and how many; a ring */
};

/* A part of a span that belongs to one page. */
struct piece {
	struct swap_page *page;
	uint32_t          sub, nr; /* slots of the page */
	char             *memory;
};

struct swap_io_stat swap_io_stat;

static _Atomic int engine = DISK_URING;

void swap_io_set_engine(enum disk_engine wanted)
{
	atomic_store(&engine, (int)wanted);
}

enum disk_engine swap_io_engine(void)
{
	return (enum disk_engine)atomic_load(&engine);
}

/* ---- the queue ---- */

int swap_queue_new(uint64_t bytes, struct swap_queue **out)
{
	struct swap_queue *queue = calloc(1, sizeof(*queue));
	int                r = -ENOMEM;

	CHECK(bytes >= BUFFER_MIN && bytes <= BUFFER_MAX && is_aligned(bytes, PAGE_SIZE));
	if (!queue)
		return r;
	queue->bytes = (uint32_t)bytes;
	queue->unit = (uint32_t)round_down(bytes / REQUESTS_WISHED, PAGE_SIZE);
	queue->unit = min_t(uint32_t, queue->unit, SWAP_IO_BYTES_MAX);
	queue->buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
	if (queue->buffer == MAP_FAILED)
		goto out_queue;
	if (bytes >= PAGEBLOCK_SIZE)
		madvise(queue->buffer, bytes, MADV_HUGEPAGE); /* a wish */
	r = disk_queue_new(swap_io_engine(), CHUNKS, &queue->disk);
	if (r)
		goto out_buffer;
	queue->charged = stock_charge_buffers(bytes >> PAGE_SHIFT);
	*out = queue;
	return 0;
out_buffer:
	munmap(queue->buffer, bytes);
out_queue:
	free(queue);
	return r;
}

void swap_queue_free(struct swap_queue *queue)
{
	CHECK(!queue->nr);
	disk_queue_free(queue->disk);
	munmap(queue->buffer, queue->bytes);
	if (queue->charged)
		stock_uncharge_buffers(queue->bytes >> PAGE_SHIFT);
	free(queue);
}

static struct chunk *nth_chunk(struct swap_queue *queue, uint32_t i)
{
	return &queue->chunks[(queue->first + i) % CHUNKS];
}

/* Where `bytes` would lie behind the youngest chunk; -1: not now. One byte always stays free, so
 * that a full ring isn't an empty one. */
static int64_t find_space(struct swap_queue *queue, uint32_t bytes)
{
	const struct chunk *last;
	uint32_t            head, tail;

	if (!queue->nr)
		return 0;
	if (queue->nr == CHUNKS)
		return -1;
	last = nth_chunk(queue, queue->nr - 1);
	head = last->at + last->bytes;
	tail = nth_chunk(queue, 0)->at;
	if (last->at >= tail) {
		if (head + bytes <= queue->bytes)
			return head;
		return bytes < tail ? 0 : -1;
	}
	return head + bytes < tail ? (int64_t)head : -1;
}

/* ---- batches, chunks, pieces ---- */

static uint64_t slot_offset(uint32_t slot)
{
	return (uint64_t)slot_index(slot) << PAGE_SHIFT;
}

/* How many slots adjoin from the batch's place on, at most `most`. */
static uint32_t adjoining(const struct swap_batch *batch, uint32_t most)
{
	const struct swap_page *page = &batch->pages[batch->page];
	uint32_t                nr = page->nr - batch->sub;

	while (nr < most && page + 1 < batch->pages + batch->nr &&
	       page[1].slot == page->slot + page->nr &&
	       slot_area(page[1].slot) == slot_area(page->slot)) {
		page++;
		nr += page->nr;
	}
	return min_t(uint32_t, nr, most);
}

static void advance(struct swap_batch *batch, uint32_t nr)
{
	while (nr) {
		uint32_t rest = batch->pages[batch->page].nr - batch->sub;
		uint32_t step = min_t(uint32_t, rest, nr);

		batch->sub += step;
		nr -= step;
		if (batch->sub == batch->pages[batch->page].nr) {
			batch->page++;
			batch->sub = 0;
		}
	}
}

/* Cuts the first page's part off the span. */
static bool next_piece(const struct swap_batch *batch, struct span *rest, struct piece *piece)
{
	struct swap_batch at = { .pages = batch->pages, .page = rest->page, .sub = rest->sub };

	if (!rest->nr)
		return false;
	piece->page = &batch->pages[rest->page];
	piece->sub = rest->sub;
	piece->nr = min_t(uint32_t, rest->nr, piece->page->nr - rest->sub);
	piece->memory = rest->memory;
	advance(&at, piece->nr);
	*rest = (struct span){ at.page, at.sub, rest->nr - piece->nr,
			       rest->memory + ((uint64_t)piece->nr << PAGE_SHIFT) };
	return true;
}

static void for_each_piece(const struct swap_batch *batch, struct span span,
			   void (*fn)(const struct piece *piece))
{
	struct piece piece;

	while (next_piece(batch, &span, &piece))
		fn(&piece);
}

static uint64_t frame_offset(const struct piece *piece)
{
	return piece->page->offset + ((uint64_t)piece->sub << PAGE_SHIFT);
}

/* Cuts off what lies together in one section's file too, so that one call copies it. */
static bool next_run(const struct swap_batch *batch, struct span *rest, struct span *run)
{
	struct piece first, piece;
	struct span  after;
	uint64_t     end;

	*run = *rest;
	if (!next_piece(batch, rest, &first))
		return false;
	run->nr = first.nr;
	end = frame_offset(&first) + ((uint64_t)first.nr << PAGE_SHIFT);
	for (after = *rest; next_piece(batch, &after, &piece); *rest = after) {
		if (piece.page->section != first.page->section || frame_offset(&piece) != end ||
		    piece.page->error != first.page->error)
			break;
		run->nr += piece.nr;
		end += (uint64_t)piece.nr << PAGE_SHIFT;
	}
	return true;
}

/* The first; but what passes says nothing where something else is wrong, too. */
static void set_error(struct swap_page *page, int error)
{
	if (!page->error || (disk_is_passing(page->error) && !disk_is_passing(error)))
		page->error = error;
}

/* ---- checksums ---- */

struct identity {
	uint64_t family, page, generation;
};

static uint64_t checksum(const struct swap_page *page, uint32_t sub, const void *bytes)
{
	struct identity who = { page->family, page->page + sub,
				swap_record(page->slot + sub)->generation };

	return XXH3_64bits_withSeed(bytes, PAGE_SIZE, XXH3_64bits(&who, sizeof(who)));
}

static void record_sums(const struct piece *piece)
{
	for (uint32_t i = 0; i < piece->nr; i++) {
		struct slot_record *record = swap_record(piece->page->slot + piece->sub + i);
		uint64_t            sum;

		record->generation++;
		sum = checksum(piece->page, piece->sub + i,
			       piece->memory + ((uint64_t)i << PAGE_SHIFT));
		record->sum[0] = (uint32_t)sum;
		record->sum[1] = (uint32_t)(sum >> 32);
	}
}

static void compare_sums(const struct piece *piece)
{
	for (uint32_t i = 0; i < piece->nr && !piece->page->error; i++) {
		uint32_t                  slot = piece->page->slot + piece->sub + i;
		const struct slot_record *record = swap_record(slot);
		uint64_t sum = checksum(piece->page, piece->sub + i,
					piece->memory + ((uint64_t)i << PAGE_SHIFT));

		if (sum == ((uint64_t)record->sum[1] << 32 | record->sum[0]))
			continue;
		set_error(piece->page, -EILSEQ);
		atomic_fetch_add(&swap_io_stat.checksum_errors, 1);
		swap_area_fault(slot_area(slot), SWAP_CHECKSUM_WRONG, -EILSEQ);
	}
}

/* ---- frames ---- */

/* A hole reads as zeros, which must not become the page. Whether a huge page is there takes ten
 * calls of the kernel: it is asked for when the last of it has been read. */
static bool has_gone(const struct section *section, uint64_t offset, uint64_t bytes)
{
	uint64_t step = section->kind == STOCK_HUGE ? PAGEBLOCK_SIZE : PAGE_SIZE;
	uint64_t start = round_down(offset, step), end = round_down(offset + bytes, step);

	return start < end && os->has_hole(section->fd, start, end - start);
}

static void find_gone(const struct piece *piece)
{
	if (has_gone(piece->page->section, frame_offset(piece), (uint64_t)piece->nr << PAGE_SHIFT))
		set_error(piece->page, -EFAULT);
}

static void set_gone(const struct piece *piece)
{
	set_error(piece->page, -EFAULT);
}

static void copy_in(const struct swap_batch *batch, const struct span *run)
{
	const struct swap_page *page = &batch->pages[run->page];
	uint64_t offset = page->offset + ((uint64_t)run->sub << PAGE_SHIFT);
	uint64_t bytes = (uint64_t)run->nr << PAGE_SHIFT;

	if (os->read(page->section->fd, offset, run->memory, bytes))
		for_each_piece(batch, *run, set_gone);
	else if (has_gone(page->section, offset, bytes))
		for_each_piece(batch, *run, find_gone);
}

static void copy_out(const struct swap_batch *batch, const struct span *run)
{
	const struct swap_page *page = &batch->pages[run->page];
	struct span             rest = *run;
	struct piece            piece;
	int                     r;

	if (page->error)
		return;
	r = swap_frame_write(page->section, page->offset + ((uint64_t)run->sub << PAGE_SHIFT),
			     run->memory, (uint64_t)run->nr << PAGE_SHIFT);
	while (r && next_piece(batch, &rest, &piece))
		set_error(piece.page, r);
}

static void for_each_run(const struct swap_batch *batch, struct span span,
			 void (*fn)(const struct swap_batch *batch, const struct span *run))
{
	struct span run;

	while (next_run(batch, &span, &run))
		fn(batch, &run);
}

/* ---- one request ---- */

bool swap_repeats(const void *bytes, uint64_t nr, uint32_t *value)
{
	const uint64_t *words = bytes;

	if (words[0] >> 32 != (words[0] & UINT32_MAX))
		return false;
	for (uint64_t i = 1; i < nr / sizeof(*words); i++)
		if (words[i] != words[0])
			return false;
	*value = (uint32_t)words[0];
	return true;
}

/* How many of the span's slots, from the first on, have or haven't pages that repeat one value. */
static uint32_t leading(const struct swap_batch *batch, struct span span, bool same)
{
	struct piece piece;
	uint32_t     nr = 0;

	while (next_piece(batch, &span, &piece)) {
		struct swap_page *page = piece.page;

		page->same = page->nr == 1 && !page->error &&
			     swap_repeats(piece.memory, PAGE_SIZE, &page->value);
		if (page->same != same)
			break;
		nr += piece.nr;
	}
	return nr;
}

/* In steps: a page is looked at and summed while the cache still has it. Returns how many slots
 * from the span's first on are to be written; 0: the pages there needn't be, and the batch goes on
 * behind them. Where pages of both kinds alternate the steps are short: little is copied twice. */
static uint32_t fill(struct swap_batch *batch, struct span rest)
{
	uint32_t nr = 0;

	while (rest.nr) {
		struct swap_batch at = { batch->pages, .page = rest.page, .sub = rest.sub };
		struct span  step = rest, good = rest;

		step.nr = min_t(uint32_t, rest.nr, batch->step);
		for_each_run(batch, step, copy_in);
		good.nr = leading(batch, step, false);
		for_each_piece(batch, good, record_sums);
		nr += good.nr;
		if (!nr)
			advance(batch, leading(batch, step, true));
		batch->step = good.nr < step.nr && nr ? 1
						       : min_t(uint32_t, 2 * batch->step,
							       STEP_SLOTS);
		if (good.nr < step.nr)
			break;
		advance(&at, step.nr);
		rest = (struct span){ at.page, at.sub, rest.nr - step.nr,
				      rest.memory + ((uint64_t)step.nr << PAGE_SHIFT) };
	}
	return nr;
}

static void begin(struct swap_queue *queue, struct swap_batch *batch, uint32_t nr, uint32_t at)
{
	struct span      span = { batch->page, batch->sub, nr, queue->buffer + at };
	uint32_t         slot = batch->pages[batch->page].slot + batch->sub;
	struct chunk    *chunk;

	if (batch->write)
		span.nr = nr = fill(batch, span);
	if (!nr)
		return;
	if (batch->write)
		swap_area_settle(slot_area(slot));
	chunk = nth_chunk(queue, queue->nr++);
	*chunk = (struct chunk){
		.batch = batch,
		.span = span,
		.at = at,
		.bytes = nr << PAGE_SHIFT,
		.begun_ns = os->now_ns(),
	};
	chunk->io = (struct disk_io){
		.fd = swap_area_fd(slot_area(slot)),
		.write = batch->write,
		.memory = queue->buffer + at,
		.bytes = chunk->bytes,
		.offset = slot_offset(slot),
	};
	batch->nr_under_way++;
	disk_add(queue->disk, &chunk->io);
	if (batch->write && chunk->bytes >= START_BYTES)
		disk_start(queue->disk); /* the disk works while the next is copied */
	advance(batch, nr);
}

static int result_of(const struct disk_io *io)
{
	if (io->result < 0)
		return (int)io->result;
	return io->result == io->bytes ? 0 : -EIO;
}

static void fail_slot(struct swap_page *page, bool write, int error)
{
	set_error(page, error);
	atomic_fetch_add(write ? &swap_io_stat.write_errors : &swap_io_stat.read_errors, 1);
	swap_area_fault(slot_area(page->slot), write ? SWAP_WRITE_FAILED : SWAP_READ_FAILED,
			error);
}

/* Slot by slot, after the whole has failed; not where the host is short of something, for which
 * another has been tried for a while. Returns that error, or 0. */
static int repeat_piece(const struct piece *piece, bool write, int passing)
{
	uint32_t area = slot_area(piece->page->slot);

	for (uint32_t i = 0; i < piece->nr && !passing; i++) {
		struct disk_io io = {
			.fd = swap_area_fd(area),
			.write = write,
			.memory = piece->memory + ((uint64_t)i << PAGE_SHIFT),
			.bytes = PAGE_SIZE,
			.offset = slot_offset(piece->page->slot + piece->sub + i),
		};
		int r;

		disk_run(&io);
		r = result_of(&io);
		if (disk_is_passing(r))
			passing = r;
		else if (r)
			fail_slot(piece->page, write, r);
	}
	if (passing)
		set_error(piece->page, passing);
	return passing;
}

static void repeat(const struct swap_batch *batch, const struct chunk *chunk, int error)
{
	struct span  rest = chunk->span;
	struct piece piece;
	int          passing = 0;

	swap_area_repeat(slot_area(batch->pages[chunk->span.page].slot), batch->write,
			 chunk->bytes, error);
	while (next_piece(batch, &rest, &piece))
		passing = repeat_piece(&piece, batch->write, passing);
}

static void count_request(uint64_t begun_ns, uint32_t nr, bool write)
{
	uint64_t took = os->now_ns() - begun_ns;

	histogram_add(write ? &swap_io_stat.out_ns : &swap_io_stat.in_ns, took);
	atomic_fetch_add_explicit(write ? &swap_io_stat.requests_out : &swap_io_stat.requests_in,
				  1, memory_order_relaxed);
	atomic_fetch_add_explicit(write ? &swap_io_stat.pages_out : &swap_io_stat.pages_in, nr,
				  memory_order_relaxed);
}

static void end(struct swap_queue *queue, struct chunk *chunk)
{
	struct swap_batch *batch = chunk->batch;
	int                error = result_of(&chunk->io);

	if (error && chunk->span.nr == 1 && !disk_is_passing(error))
		fail_slot(&batch->pages[chunk->span.page], batch->write, error);
	else if (error)
		repeat(batch, chunk, error);
	count_request(chunk->begun_ns, chunk->span.nr, batch->write);
	if (!batch->write) {
		for_each_piece(batch, chunk->span, compare_sums);
		for_each_run(batch, chunk->span, copy_out);
	}
	batch->nr_under_way--;
	chunk->done = true;
	while (queue->nr && nth_chunk(queue, 0)->done) {
		queue->first = (queue->first + 1) % CHUNKS;
		queue->nr--;
	}
}

/* ---- whole batches ---- */

/* Begins as many requests as there is room for. */
static void begin_some(struct swap_queue *queue, struct swap_batch *batch)
{
	while (batch->page < batch->nr) {
		uint32_t nr = adjoining(batch, queue->unit >> PAGE_SHIFT);
		int64_t  at = find_space(queue, nr << PAGE_SHIFT);

		if (at < 0)
			return;
		begin(queue, batch, nr, (uint32_t)at);
	}
}

/* One request of any batch. */
static void wait_for_one(struct swap_queue *queue)
{
	struct disk_io *io = disk_wait(queue->disk);

	CHECK(io);
	end(queue, container_of(io, struct chunk, io));
}

static void begin_all(struct swap_queue *queue, struct swap_batch *batch)
{
	batch->step = STEP_SLOTS;
	for (uint32_t i = 0; i < batch->nr; i++) {
		batch->pages[i].error = 0;
		batch->pages[i].same = false;
	}
	for (;;) {
		begin_some(queue, batch);
		if (batch->page == batch->nr)
			return;
		wait_for_one(queue);
	}
}

/* Returns the number of pages without error. */
static uint32_t end_all(struct swap_queue *queue, struct swap_batch *batch)
{
	uint32_t good = 0;

	while (batch->nr_under_way)
		wait_for_one(queue);
	for (uint32_t i = 0; i < batch->nr; i++)
		good += !batch->pages[i].error;
	return good;
}

void swap_write_begin(struct swap_queue *queue, struct swap_batch *batch, struct swap_page *pages,
		      uint32_t nr)
{
	*batch = (struct swap_batch){ .pages = pages, .nr = nr, .write = true };
	begin_all(queue, batch);
	disk_start(queue->disk);
}

uint32_t swap_write_end(struct swap_queue *queue, struct swap_batch *batch)
{
	uint32_t good = end_all(queue, batch);

	for (uint32_t i = 0; i < batch->nr; i++) {
		const struct swap_page *page = &batch->pages[i];

		if (swap_is_retired(page))
			swap_retire(page->slot, page->nr);
	}
	return good;
}

uint32_t swap_write(struct swap_queue *queue, struct swap_page *pages, uint32_t nr)
{
	struct swap_batch batch = { .pages = pages, .nr = nr, .write = true };

	begin_all(queue, &batch);
	return swap_write_end(queue, &batch);
}

uint32_t swap_read(struct swap_queue *queue, struct swap_page *pages, uint32_t nr)
{
	struct swap_batch batch = { .pages = pages, .nr = nr };

	begin_all(queue, &batch);
	return end_all(queue, &batch);
}

void swap_prepare_read(const struct swap_page *page, void *memory, struct disk_io *io)
{
	*io = (struct disk_io){
		.fd = swap_area_fd(slot_area(page->slot)),
		.memory = memory,
		.bytes = PAGE_SIZE,
		.offset = slot_offset(page->slot),
	};
}

int swap_end_read(struct swap_page *page, const struct disk_io *io, uint64_t begun_ns)
{
	struct piece piece = { .page = page, .nr = 1, .memory = io->memory };
	int          error = result_of(io);

	page->error = disk_is_passing(error) ? error : 0;
	if (error && !page->error)
		fail_slot(page, false, error);
	count_request(begun_ns, 1, false);
	compare_sums(&piece);
	return page->error;
}

const char *swap_error_text(int error)
{
	return error == -EILSEQ ? "what the swap area holds is not what was written there"
				: "the swap area can't be read";
}

void swap_ahead_count(uint64_t pages)
{
	atomic_fetch_add_explicit(&swap_io_stat.ahead, pages, memory_order_relaxed);
}

void swap_ahead_hit(uint64_t pages)
{
	atomic_fetch_add_explicit(&swap_io_stat.ahead_hits, pages, memory_order_relaxed);
}
