/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swapper - made at need, freed when it isn't used any more
 */
#include "mm/space/swapper.h"

#include "base/heartbeat.h"
#include "mm/obj/slab.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "os/os.h"

enum { IDLE_NS = 500 * 1000 * 1000 };
/* Of buffers; of a small reserve no more than that part. */
enum { LEAST_BYTES = 256 << 10 };
static const uint64_t most_bytes[NR_SWAPPER_KINDS] = {
	[SWAPPER_READER] = 1 << 20,
	[SWAPPER_WRITER] = 4 << 20,
};
static const uint64_t part_of_reserve[NR_SWAPPER_KINDS] = {
	[SWAPPER_READER] = 1024,
	[SWAPPER_WRITER] = 256,
};

static _Thread_local struct swapper *mine[NR_SWAPPER_KINDS];
static _Thread_local bool keeps;

static void swapper_free(struct swapper *s)
{
	swap_cursor_put(&s->cursor);
	swap_queue_free(s->queue);
	kfree(s);
}

void swapper_keep(bool keep)
{
	keeps = keep;
	for (int kind = 0; kind < NR_SWAPPER_KINDS && !keep; kind++) {
		if (mine[kind])
			swapper_free(mine[kind]);
		mine[kind] = NULL;
	}
}

struct timespec swapper_keep_until(void)
{
	uint64_t until_ns = os->now_ns() + IDLE_NS;

	return (struct timespec){ .tv_sec = (time_t)(until_ns / 1000000000),
				  .tv_nsec = (long)(until_ns % 1000000000) };
}

/* Whether something came in time. */
static bool wait_for_a_while(struct mutex *lock, pthread_cond_t *wanted)
{
	struct timespec until = swapper_keep_until();

	return !mutex_timedwait(lock, wanted, &until);
}

void swapper_rest(struct mutex *lock, pthread_cond_t *wanted)
{
	heartbeat_idle();
	if (!mine[SWAPPER_READER] && !mine[SWAPPER_WRITER]) {
		mutex_wait(lock, wanted);
	} else if (!wait_for_a_while(lock, wanted)) {
		mutex_unlock(lock);
		swapper_keep(false);
		swapper_keep(true);
		mutex_lock(lock);
	}
	heartbeat_touch();
}

static uint64_t queue_bytes(enum swapper_kind kind)
{
	uint64_t frames = 0, bytes = most_bytes[kind];

	for (int node = 0; node < nr_nodes; node++)
		frames += stock_limit(node, STOCK_BASE) + stock_limit(node, STOCK_HUGE);
	while (bytes > LEAST_BYTES && bytes > (frames << PAGE_SHIFT) / part_of_reserve[kind])
		bytes /= 2;
	return bytes;
}

static struct swapper *swapper_new(enum swapper_kind kind)
{
	struct swapper *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	if (swap_queue_new(queue_bytes(kind), &s->queue)) {
		kfree(s);
		return NULL;
	}
	s->kind = kind;
	s->w = &s->works[0];
	return s;
}

struct swapper *swapper_get(enum swapper_kind kind)
{
	struct swapper *s;

	if (!mine[kind])
		mine[kind] = swapper_new(kind);
	s = mine[kind];
	if (!s)
		return NULL;
	CHECK(!s->in_use);
	s->in_use = true;
	s->needed = false;
	return s;
}

struct swapper *swapper_try_get(enum swapper_kind kind)
{
	return mine[kind] && mine[kind]->in_use ? NULL : swapper_get(kind);
}

struct swap_page swapper_page(const struct region *region, const struct swap_item *item)
{
	uint64_t frames = region_frames_per_page(region);

	return (struct swap_page){
		.section = region->section,
		.offset = item->page << region->page_shift,
		.slot = item->value,
		.nr = (uint32_t)frames,
		.family = region->family,
		.page = item->page * frames,
	};
}

void swapper_put(struct swapper *s)
{
	s->in_use = false;
	if (keeps)
		return;
	mine[s->kind] = NULL;
	swapper_free(s);
}
