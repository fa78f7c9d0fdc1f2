/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_workqueue - every item runs, once for each time it was queued
 */
#include "base/workqueue.h"

#include <stdatomic.h>
#include <time.h>

#include "base/cpu.h"
#include "lib/test.h"

enum { ITEMS = 200 };

static struct workqueue queue;
static struct work      items[ITEMS];
static _Atomic int      nr_run, nr_without_slot;
static pthread_mutex_t  gate = PTHREAD_MUTEX_INITIALIZER;

static void count(struct work *work)
{
	if (this_cpu() == CPU_SLOT_NONE)
		atomic_fetch_add(&nr_without_slot, 1);
	atomic_fetch_add(&nr_run, 1);
}

static void count_behind_gate(struct work *work)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	count(work);
}

static void begin(unsigned int nr_threads)
{
	atomic_store(&nr_run, 0);
	atomic_store(&nr_without_slot, 0);
	EXPECT_EQ(workqueue_init(&queue, "mmb-test", nr_threads), 0);
}

static void flush_waits_for_all(void)
{
	begin(4);
	for (int i = 0; i < ITEMS; i++) {
		work_init(&items[i], count);
		EXPECT(workqueue_add(&queue, &items[i]));
	}
	workqueue_flush(&queue);
	EXPECT_EQ(nr_run, ITEMS);
	EXPECT_EQ(nr_without_slot, 0);
	EXPECT(workqueue_add(&queue, &items[0]));
	workqueue_fini(&queue);
	EXPECT_EQ(nr_run, ITEMS + 1);
}

static bool nothing_waits(void *arg)
{
	bool empty;

	mutex_lock(&queue.lock);
	empty = list_empty(&queue.items);
	mutex_unlock(&queue.lock);
	return empty;
}

static void waiting_item_is_queued_once(void)
{
	begin(1);
	work_init(&items[0], count_behind_gate);
	work_init(&items[1], count);
	pthread_mutex_lock(&gate);
	EXPECT(workqueue_add(&queue, &items[0]));
	EXPECT(test_wait(nothing_waits, NULL, 10)); /* it runs, and stands at the gate */
	EXPECT(workqueue_add(&queue, &items[1]));
	EXPECT(!workqueue_add(&queue, &items[1]));
	EXPECT(workqueue_add(&queue, &items[0])); /* a running item may be queued again */
	pthread_mutex_unlock(&gate);
	workqueue_fini(&queue);
	EXPECT_EQ(nr_run, 3);
}

/* Who flushes goes on when the thread waits again. The wake-up of what it has run by then must not
 * come later: the thread stands at the gate until it was sent. */
static void held_wakes_are_sent_at_the_end(void)
{
	const struct timespec moment = { .tv_nsec = 20 * 1000 * 1000 };

	begin(1);
	for (int i = 0; i < ITEMS; i++)
		work_init(&items[i], i ? count : count_behind_gate);
	pthread_mutex_lock(&gate);
	EXPECT(workqueue_add(&queue, &items[0]));
	pthread_mutex_unlock(&gate);
	workqueue_flush(&queue);
	workqueue_hold_wakes();
	EXPECT(workqueue_add(&queue, &items[0]));
	EXPECT(workqueue_add(&queue, &items[1]));
	nanosleep(&moment, NULL);
	EXPECT_EQ(nr_run, 1);
	workqueue_send_wakes();
	workqueue_flush(&queue);
	EXPECT_EQ(nr_run, 3);
	workqueue_hold_wakes();
	for (int i = 0; i < ITEMS; i++) /* more than are held */
		EXPECT(workqueue_add(&queue, &items[i]));
	workqueue_send_wakes();
	workqueue_flush(&queue);
	EXPECT_EQ(nr_run, 3 + ITEMS);
	workqueue_fini(&queue);
}

static _Atomic bool go_on;

static void queue_itself_again(struct work *work)
{
	count(work);
	if (atomic_load(&go_on))
		workqueue_add(&queue, work);
}

static void adders_hold_up_no_flush(void)
{
	begin(1);
	atomic_store(&go_on, true);
	work_init(&items[0], queue_itself_again);
	EXPECT(workqueue_add(&queue, &items[0]));
	for (int i = 0; i < 100; i++)
		workqueue_flush(&queue);
	EXPECT(nr_run > 0);
	atomic_store(&go_on, false);
	workqueue_fini(&queue);
}

static struct work *order[ITEMS];

static void note_order(struct work *work)
{
	order[atomic_fetch_add(&nr_run, 1)] = work;
}

static void items_run_in_order_of_arrival(void)
{
	begin(1);
	for (int i = 0; i < ITEMS; i++) {
		work_init(&items[i], note_order);
		EXPECT(workqueue_add(&queue, &items[i]));
	}
	workqueue_fini(&queue);
	EXPECT_EQ(nr_run, ITEMS);
	for (int i = 0; i < ITEMS; i++)
		EXPECT(order[i] == &items[i]);
}

static const struct test_case cases[] = {
	{ "flushing waits for every item, ending runs what is queued", flush_waits_for_all },
	{ "an item that waits isn't queued twice (Q1)", waiting_item_is_queued_once },
	{ "held wake-ups are sent at the end, for every item", held_wakes_are_sent_at_the_end },
	{ "who adds items can't hold up a flush", adders_hold_up_no_flush },
	{ "items run in order of arrival", items_run_in_order_of_arrival },
};
TEST_MAIN(cases)
