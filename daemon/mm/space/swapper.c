/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swapper - made at a thread's first need, freed at the end
 */
#include "mm/space/swapper.h"

#include "mm/obj/slab.h"

static const uint64_t queue_bytes[NR_SWAPPER_KINDS] = {
	[SWAPPER_READER] = 1 << 20,
	[SWAPPER_WRITER] = 4 << 20,
};

static struct mutex all_lock;
static struct list_head all = LIST_HEAD_INIT(all); /* all_lock */
/* Which swappers_init() the threads' own are of: those of an earlier one are gone. */
static _Atomic uint64_t life;

static _Thread_local struct swapper *mine[NR_SWAPPER_KINDS];
static _Thread_local uint64_t life_of_mine;

void swappers_init(void)
{
	mutex_init(&all_lock, RANK_LEAF, "swappers");
	atomic_fetch_add(&life, 1);
}

void swappers_fini(void)
{
	struct swapper *s, *next;

	list_for_each_entry_safe(s, next, &all, link) {
		list_del(&s->link);
		swap_cursor_put(&s->cursor);
		swap_queue_free(s->queue);
		kfree(s);
	}
	mutex_fini(&all_lock);
}

static struct swapper *swapper_new(enum swapper_kind kind)
{
	struct swapper *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	if (swap_queue_new(queue_bytes[kind], &s->queue)) {
		kfree(s);
		return NULL;
	}
	mutex_lock(&all_lock);
	list_add(&s->link, &all);
	mutex_unlock(&all_lock);
	return s;
}

struct swapper *swapper_get(enum swapper_kind kind)
{
	struct swapper *s;

	if (life_of_mine != atomic_load_explicit(&life, memory_order_relaxed)) {
		for (int i = 0; i < NR_SWAPPER_KINDS; i++)
			mine[i] = NULL;
		life_of_mine = atomic_load(&life);
	}
	if (!mine[kind])
		mine[kind] = swapper_new(kind);
	s = mine[kind];
	if (!s)
		return NULL;
	CHECK(!s->in_use);
	s->in_use = true;
	return s;
}

void swapper_put(struct swapper *s)
{
	s->in_use = false;
}
