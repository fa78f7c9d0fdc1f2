/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_workpool - who gets a thread
 *
 * Purpose     Every job is held until the case lets it go on, so that the threads at work are what
 *             the rules allow, and stay so.
 * Locking     gate for what jobs are told; counters are atomic.
 */
#include "ipc/workpool.h"

#include <stdatomic.h>

#include "base/cpu.h"
#include "base/types.h"
#include "lib/ipc_fixture.h"
#include "lib/test.h"

enum { THREADS = 6, LENGTHY_MAX = 4, QUEUES = 40, USERS = 8 };

/* One of a user's connections, with one job. */
struct client {
	struct job_queue queue;
	struct job       job;
	unsigned int     user;
	bool             again; /* wants another turn */
	bool             let;   /* gate: this one may end */
};

static struct workpool *pool;
static struct client    clients[QUEUES];
static unsigned int     nr_clients;
static atomic_uint      begun[USERS], ended, nr_bare; /* bare: no lane, or no CPU slot */
static pthread_mutex_t  gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t   moved = PTHREAD_COND_INITIALIZER;
static unsigned int     let_go; /* gate: jobs that may end, whichever */

static void run_held(struct job *job, struct lane *lane)
{
	struct client *c = container_of(job, struct client, job);

	if (!lane || this_cpu() == CPU_SLOT_NONE)
		atomic_fetch_add(&nr_bare, 1);
	atomic_fetch_add(&begun[c->user], 1);
	pthread_mutex_lock(&gate);
	while (!let_go && !c->let)
		pthread_cond_wait(&moved, &gate);
	if (!c->let)
		let_go--;
	c->let = false;
	pthread_mutex_unlock(&gate);
}

static void release(struct job *job)
{
	struct client *c = container_of(job, struct client, job);

	if (c->again) {
		c->again = false;
		job->had_turn = true;
		workpool_submit(pool, &c->queue, job);
		return;
	}
	atomic_fetch_add(&ended, 1);
}

static void begin(void)
{
	nr_clients = 0;
	let_go = 0;
	atomic_store(&ended, 0);
	for (int i = 0; i < USERS; i++)
		atomic_store(&begun[i], 0);
	EXPECT_EQ(workpool_new(THREADS, NULL, &pool), 0);
}

/* So many connections of a user ask for something. */
static void ask(unsigned int user, unsigned int nr, bool lengthy)
{
	for (unsigned int i = 0; i < nr; i++, nr_clients++) {
		struct client *c = &clients[nr_clients];

		*c = (struct client){ .user = user };
		c->job.run = run_held;
		c->job.release = release;
		c->job.lengthy = lengthy;
		job_queue_init(&c->queue, 1000 + user);
		workpool_submit(pool, &c->queue, &c->job);
	}
}

static void let(unsigned int nr)
{
	pthread_mutex_lock(&gate);
	let_go += nr;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&gate);
}

static void let_client(struct client *c)
{
	pthread_mutex_lock(&gate);
	c->let = true;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&gate);
}

static void expect_count(const atomic_uint *counter, unsigned int value)
{
	EXPECT(ipc_wait_count(counter, value));
	EXPECT_EQ(atomic_load(counter), value);
}

static void end(void)
{
	let(10 * QUEUES);
	workpool_free(pool);
	EXPECT_EQ(ended, nr_clients);
	EXPECT_EQ(nr_bare, 0);
}

static void a_queue_has_one_job_at_a_time(void)
{
	static struct client more[3];

	begin();
	ask(0, 1, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(more); i++, nr_clients++) {
		more[i] = (struct client){ .job = { .run = run_held, .release = release } };
		workpool_submit(pool, &clients[0].queue, &more[i].job);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(more); i++) {
		expect_count(&begun[0], i + 1);
		ask(1, 1, false); /* a thread is free all the time */
		expect_count(&begun[1], i + 1);
		EXPECT_EQ(begun[0], i + 1);
		let_client(&clients[nr_clients - 1]);
		expect_count(&ended, 2 * i + 1);
		let_client(i ? &more[i - 1] : &clients[0]);
		expect_count(&ended, 2 * i + 2);
	}
	end();
}

static void lengthy_jobs_leave_threads_for_short_ones(void)
{
	begin();
	ask(0, 5, true);
	expect_count(&begun[0], 2); /* of one user, at one CPU */
	ask(1, 5, true);
	ask(2, 5, true);
	ask(3, 5, true);
	expect_count(&begun[1], 1);
	expect_count(&begun[2], 1);
	EXPECT_EQ(begun[3], 0);
	ask(4, 1, false);
	expect_count(&begun[4], 1);
	EXPECT_EQ(begun[0] + begun[1] + begun[2] + begun[3], LENGTHY_MAX);
	end();
}

static void short_jobs_that_dont_end_leave_threads_for_others(void)
{
	begin();
	ask(0, THREADS, false);
	expect_count(&begun[0], THREADS / 2);
	ask(1, THREADS, false);
	expect_count(&begun[1], 2);
	ask(2, 1, false);
	expect_count(&begun[2], 1);
	EXPECT_EQ(begun[0], THREADS / 2);
	end();
}

/* The first in line may not begin; who stands behind it may. */
static void what_may_not_begin_holds_up_nobody(void)
{
	begin();
	ask(0, 5, true);
	expect_count(&begun[0], 2);
	ask(0, 1, false);
	expect_count(&begun[0], 3);
	ask(1, 1, true);
	expect_count(&begun[1], 1);
	EXPECT_EQ(begun[0], 3);
	end();
}

static void an_end_lets_the_next_begin(void)
{
	begin();
	ask(0, 5, true);
	for (unsigned int nr = 2; nr <= 5; nr++) {
		expect_count(&begun[0], nr);
		let(1);
		expect_count(&ended, nr - 1);
	}
	end();
}

static void who_wants_another_turn_stands_behind_the_others(void)
{
	begin();
	ask(0, 4, true);
	expect_count(&begun[0], 2);
	clients[0].again = true;
	let_client(&clients[0]);
	expect_count(&begun[0], 3);
	let_client(&clients[1]);
	expect_count(&ended, 1);
	expect_count(&begun[0], 4); /* the fourth client, not the first one's second turn */
	let_client(&clients[2]);
	expect_count(&ended, 2);
	expect_count(&begun[0], 5);
	let_client(&clients[0]);
	expect_count(&ended, 3);
	end();
}

/* O5: neither kind waits for ever. */
static void old_and_new_begin_in_turn(void)
{
	begin();
	for (unsigned int user = 0; user < LENGTHY_MAX + 2; user++)
		ask(user, 1, true); /* the last two wait */
	for (unsigned int user = 0; user < LENGTHY_MAX; user++)
		expect_count(&begun[user], 1);
	clients[0].again = true;
	clients[1].again = true;
	let_client(&clients[0]);
	expect_count(&begun[4], 1); /* nobody has had a turn when this is decided */
	let_client(&clients[1]);
	expect_count(&begun[0], 2);
	let_client(&clients[2]);
	expect_count(&begun[5], 1);
	let_client(&clients[3]);
	expect_count(&begun[1], 2);
	end();
}

static const struct test_case cases[] = {
	{ "a queue has one job at a time", a_queue_has_one_job_at_a_time },
	{ "lengthy jobs leave threads for short ones", lengthy_jobs_leave_threads_for_short_ones },
	{ "short jobs that don't end leave threads for others",
	  short_jobs_that_dont_end_leave_threads_for_others },
	{ "what may not begin holds up nobody", what_may_not_begin_holds_up_nobody },
	{ "an end lets the next begin", an_end_lets_the_next_begin },
	{ "who wants another turn stands behind the others",
	  who_wants_another_turn_stands_behind_the_others },
	{ "old and new ones begin in turn", old_and_new_begin_in_turn },
};

TEST_MAIN(cases)
