/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_kills - four times as much memory as the limit, and nothing of it is ever lost
 *
 * Writers stamp pages with generations, four times what their pool may hold, and check them; a
 * reader maps what they share. Writers are killed and stopped at random, the limit moves up and
 * down, ranges are advised, locked and passed through system calls meanwhile. Each writer clones
 * its region now and then, and goes on with both. No byte may be wrong and no page unexpectedly
 * zero. Seconds, or minutes with MMB_LONG.
 *
 * A word of a page holds the last generation that was written completely (done), or the one that
 * was being written when its writer died (intent), and nothing else.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/lib/clock.h"
#include "bench/lib/pattern.h"
#include "system/swap_scene.h"

enum {
	WRITERS = 4,
	PAGES = 2048,
	WORDS = PAGE / 8,
	LIMIT_MIB = WRITERS * PAGES / 256 / 4,
	RESERVE_MIB = 128,
	SWAP_MIB = 192,
	RUN_MAX = 48,
	ADVISED_MAX = 512,
	SECONDS = 6,
	SECONDS_LONG = 150,
	TICK_MS = 40,
	STOP_MS = 300,
	IN_CLONE = 0x800000, /* generations that only a clone has */
};

/* Shared by all processes. Of a writer's page: see the head. */
struct table {
	_Atomic uint32_t done[WRITERS][PAGES], intent[WRITERS][PAGES];
	_Atomic uint64_t steps[WRITERS + 1], clones;
	_Atomic uint32_t life[WRITERS];
	atomic_bool      finish;
};
static struct table *table;
static struct client_process people[WRITERS + 2]; /* the last ones: the reader, the keeper */
static struct fixture *broker;

/* Even ones share their region by name, odd ones have their own. */
static bool is_named(unsigned int place)
{
	return place % 2 == 0;
}

static void name_of(unsigned int place, char name[32])
{
	snprintf(name, 32, "book-%u", place);
}

/* ---- a writer ---- */

struct writer {
	struct actor a;
	unsigned int place;
	uint64_t random, object;
	struct mmb_region *region;
	char *at;
	int pipe[2];
	struct mmb_region *clone; /* NULL: none now */
	char *clone_at;
	uint32_t clone_done[PAGES], clone_intent[PAGES]; /* a clone doesn't outlive its writer */
};

static uint64_t key_of(uint64_t object, uint64_t page)
{
	return pattern_key(object, page);
}

/* The page holds this generation or that, word by word. */
static bool holds(const char *at, uint64_t key, uint32_t a, uint32_t b)
{
	for (unsigned int i = 0; i < WORDS; i++) {
		const char *word = at + i * 8;

		if (pattern_check(word, 8, key + i, a) >= 0 &&
		    pattern_check(word, 8, key + i, b) >= 0)
			return false;
	}
	return true;
}

static void complain(const char *who, unsigned int place, uint32_t page, const char *at)
{
	const uint64_t *words = (const uint64_t *)(const void *)at;

	printf("  %s of writer %u, page %u: %#llx %#llx ... %#llx, and it should be %u or %u\n",
	       who, place, page, (unsigned long long)words[0], (unsigned long long)words[1],
	       (unsigned long long)words[WORDS - 1], table->done[place][page],
	       table->intent[place][page]);
}

static bool is_right(const char *at, uint64_t key, uint32_t done, uint32_t intent)
{
	return done == intent ? pattern_check(at, PAGE, key, done) < 0 :
				holds(at, key, done, intent);
}

static void check_page(struct writer *w, uint32_t page, const char *at)
{
	bool right = is_right(at, key_of(w->object, page), table->done[w->place][page],
			      table->intent[w->place][page]);

	if (!right)
		complain("check", w->place, page, at);
	CLIENT_EXPECT(right);
}

static void write_page(struct writer *w, uint32_t page)
{
	uint32_t next = table->intent[w->place][page] + 1;

	table->intent[w->place][page] = next;
	pattern_fill(w->at + (size_t)page * PAGE, PAGE, key_of(w->object, page), next);
	table->done[w->place][page] = next;
}

struct run {
	uint32_t first, nr;
};

static struct run any_run(struct writer *w, uint32_t longest)
{
	struct run r = { .first = (uint32_t)test_below(&w->random, PAGES) };

	r.nr = 1 + (uint32_t)test_below(&w->random, longest);
	if (r.nr > PAGES - r.first)
		r.nr = PAGES - r.first;
	return r;
}

static void advise(struct writer *w)
{
	static const int advices[] = { MMB_ADVISE_PAGEOUT, MMB_ADVISE_PAGEOUT, MMB_ADVISE_COLD,
				       MMB_ADVISE_WILLNEED };
	struct run r = any_run(w, ADVISED_MAX);
	int advice = advices[test_below(&w->random, 4)];
	int error = mmb_region_advise(w->region, (size_t)r.first * PAGE, (size_t)r.nr * PAGE,
				      advice);

	if (error)
		printf("  advise %d: %s\n", advice, mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
}

/* Only where nobody else looks: the reader expects generations that grow. */
static void forget_run(struct writer *w)
{
	struct run r = any_run(w, RUN_MAX);
	int error;

	if (is_named(w->place))
		return;
	error = mmb_region_advise(w->region, (size_t)r.first * PAGE, (size_t)r.nr * PAGE,
				  MMB_ADVISE_DONTNEED);
	if (error)
		printf("  forget: %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	for (uint32_t i = r.first; i < r.first + r.nr; i++)
		table->done[w->place][i] = table->intent[w->place][i] = 0;
}

/* Locked pages are resident and right; at the limit there may be no room for them. */
static void lock_run(struct writer *w)
{
	struct run r = any_run(w, RUN_MAX);
	int error = mmb_region_lock(w->region, (size_t)r.first * PAGE, (size_t)r.nr * PAGE);

	if (error == -ENOMEM)
		return;
	CLIENT_EXPECT_EQ(error, 0);
	for (uint32_t i = r.first; i < r.first + r.nr; i++)
		check_page(w, i, w->at + (size_t)i * PAGE);
	CLIENT_EXPECT_EQ(mmb_region_unlock(w->region, (size_t)r.first * PAGE, (size_t)r.nr * PAGE),
			 0);
}

/* A page that isn't there is read by write(2). */
static void through_pipe(struct writer *w)
{
	uint32_t page = (uint32_t)test_below(&w->random, PAGES);
	char copy[PAGE];

	CLIENT_EXPECT_EQ(write(w->pipe[1], w->at + (size_t)page * PAGE, PAGE), PAGE);
	CLIENT_EXPECT_EQ(read(w->pipe[0], copy, PAGE), PAGE);
	check_page(w, page, copy);
}

/* ---- its clone ---- */

static void make_clone(struct writer *w)
{
	int error = mmb_region_clone(w->region, NULL, &w->clone);

	if (error)
		printf("  clone: %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	w->clone_at = act_at(w->clone);
	for (uint32_t i = 0; i < PAGES; i++) {
		w->clone_done[i] = table->done[w->place][i];
		w->clone_intent[i] = table->intent[w->place][i];
	}
	atomic_fetch_add(&table->clones, 1);
}

static void write_clone(struct writer *w, uint32_t page)
{
	uint32_t next = (w->clone_intent[page] | IN_CLONE) + 1;

	pattern_fill(w->clone_at + (size_t)page * PAGE, PAGE, key_of(w->object, page), next);
	w->clone_done[page] = w->clone_intent[page] = next;
}

static void check_clone(struct writer *w, uint32_t page)
{
	const char *at = w->clone_at + (size_t)page * PAGE;
	bool right = is_right(at, key_of(w->object, page), w->clone_done[page],
			      w->clone_intent[page]);

	if (!right)
		complain("clone", w->place, page, at);
	CLIENT_EXPECT(right);
}

static void check_whole_clone(struct writer *w)
{
	for (uint32_t i = 0; i < PAGES; i++)
		check_clone(w, i);
	mmb_region_close(w->clone);
	w->clone = NULL;
}

static void clone_step(struct writer *w, struct run r)
{
	uint64_t what = test_below(&w->random, 100);

	if (!w->clone) {
		make_clone(w);
	} else if (what < 60) {
		for (uint32_t i = r.first; i < r.first + r.nr; i++)
			check_clone(w, i);
	} else if (what < 85) {
		for (uint32_t i = r.first; i < r.first + r.nr; i++)
			write_clone(w, i);
	} else if (what < 97) {
		CLIENT_EXPECT_EQ(mmb_region_advise(w->clone, (size_t)r.first * PAGE,
						   (size_t)r.nr * PAGE, MMB_ADVISE_PAGEOUT),
				 0);
	} else {
		check_whole_clone(w);
	}
}

/* ---- what it does ---- */

static void step(struct writer *w)
{
	uint64_t what = test_below(&w->random, 110);
	struct run r = any_run(w, RUN_MAX);

	if (what < 45) {
		for (uint32_t i = r.first; i < r.first + r.nr; i++)
			write_page(w, i);
	} else if (what < 90) {
		for (uint32_t i = r.first; i < r.first + r.nr; i++)
			check_page(w, i, w->at + (size_t)i * PAGE);
	} else if (what < 95) {
		advise(w);
	} else if (what < 97) {
		through_pipe(w);
	} else if (what < 98) {
		forget_run(w);
	} else if (what < 100) {
		lock_run(w);
	} else {
		clone_step(w, r);
	}
}

static void open_region(struct writer *w)
{
	char name[32];

	w->object = test_seed() + w->place;
	if (is_named(w->place)) {
		name_of(w->place, name);
		w->region = act_named(&w->a, name, (size_t)PAGES * PAGE);
	} else {
		w->region = act_region(&w->a, (size_t)PAGES * PAGE, 0);
		memset(table->done[w->place], 0, sizeof(table->done[0]));
		memset(table->intent[w->place], 0, sizeof(table->intent[0]));
	}
	w->at = act_at(w->region);
}

static void write_and_check(struct client_process *self, void *arg)
{
	static struct writer w;

	w.place = (unsigned int)((struct client_process *)arg - people);
	w.a.socket = broker->socket;
	w.random = test_seed() + ((uint64_t)w.place << 32) + atomic_load(&table->life[w.place]);
	CLIENT_EXPECT_EQ(pipe(w.pipe), 0);
	act_common_pool(&w.a);
	open_region(&w);
	while (!atomic_load(&table->finish)) {
		step(&w);
		atomic_fetch_add(&table->steps[w.place], 1);
	}
	for (uint32_t i = 0; i < PAGES; i++)
		check_page(&w, i, w.at + (size_t)i * PAGE);
	if (w.clone)
		check_whole_clone(&w);
	mmb_close(w.a.mmb);
}

/* ---- a reader of what is shared ---- */

/* A word of generation g was written after `before` was done and before `after` was begun. */
static bool between(const char *at, uint64_t key, uint32_t before, uint32_t after)
{
	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t word = *(const volatile uint64_t *)(const void *)(at + i * 8);
		uint32_t g = (uint32_t)(word & 0xffffff);

		if (pattern_check(&word, 8, key + i, g) >= 0 || g < before || g > after)
			return false;
	}
	return true;
}

static void read_shared(struct client_process *self, void *arg)
{
	static struct actor a;
	uint64_t random = test_seed() ^ 0x5eed;
	const char *at[WRITERS] = { NULL };

	a.socket = broker->socket;
	act_common_pool(&a);
	for (unsigned int place = 0; place < WRITERS; place += 2) {
		char name[32];

		name_of(place, name);
		at[place] = act_at(act_named(&a, name, (size_t)PAGES * PAGE));
	}
	while (!atomic_load(&table->finish)) {
		unsigned int place = (unsigned int)test_below(&random, WRITERS / 2) * 2;
		uint32_t page = (uint32_t)test_below(&random, PAGES);
		uint32_t before = table->done[place][page];
		const char *there = at[place] + (size_t)page * PAGE;
		char copy[PAGE];

		memcpy(copy, there, PAGE);
		if (!between(copy, key_of(test_seed() + place, page), before,
			     table->intent[place][page])) {
			complain("read", place, page, copy);
			CLIENT_EXPECT(!"a shared page is right");
		}
		atomic_fetch_add(&table->steps[WRITERS], 1);
	}
	mmb_close(a.mmb);
}

/* Holds the pool and makes the names; unlinks them at the end. */
static void keep(struct client_process *self, void *arg)
{
	static struct actor a;
	char name[32];

	a.socket = broker->socket;
	act_common_pool(&a);
	for (unsigned int place = 0; place < WRITERS; place += 2) {
		name_of(place, name);
		act_named(&a, name, (size_t)PAGES * PAGE);
	}
	client_tell_step(self, 1);
	CLIENT_EXPECT(client_hear_step(self, 2));
	for (unsigned int place = 0; place < WRITERS; place += 2) {
		name_of(place, name);
		CLIENT_EXPECT_EQ(mmb_region_unlink(a.pool, name), 0);
	}
	mmb_close(a.mmb);
}

/* ---- the test ---- */

static void hire(unsigned int i)
{
	client_fork(&people[i], i < WRITERS ? write_and_check : i == WRITERS ? read_shared : keep,
		    &people[i]);
	EXPECT(people[i].pid);
}

static void limit(uint64_t *random)
{
	static const unsigned int parts[] = { 1, 2, 3, 4, 6 };
	char command[96];

	snprintf(command, sizeof(command), "pool set common max=%uK",
		 LIMIT_MIB * 1024 / 3 * parts[test_below(random, 5)]);
	EXPECT(mmbctl(broker->socket, command));
}

static void nobody_ended(void)
{
	for (unsigned int i = 0; i < WRITERS + 2; i++) {
		if (!client_has_ended(&people[i]))
			continue;
		printf("  process %u\n", i);
		EXPECT_EQ(client_wait(&people[i]), -ECHILD);
	}
}

struct disturbance {
	uint64_t random, kills, stops, limits, trims;
	bool     kill;
};

static void disturb(struct disturbance *d)
{
	unsigned int i = (unsigned int)test_below(&d->random, WRITERS);
	uint64_t what = test_below(&d->random, 8);

	if (what < 3 && d->kill) {
		client_signal(&people[i], SIGKILL);
		atomic_fetch_add(&table->life[i], 1);
		hire(i);
		d->kills++;
	} else if (what < 5) {
		client_signal(&people[i], SIGSTOP);
		clock_sleep_ms(test_below(&d->random, STOP_MS));
		client_signal(&people[i], SIGCONT);
		d->stops++;
	} else if (what < 7) {
		limit(&d->random);
		d->limits++;
	} else {
		EXPECT(mmbctl(broker->socket, "trim common 4M"));
		d->trims++;
	}
}

static void begin(void)
{
	if (!table)
		table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(table != MAP_FAILED);
	memset(table, 0, sizeof(*table));
	broker = stage_begin();
	hire(WRITERS + 1);
	EXPECT(client_hear_step(&people[WRITERS + 1], 1));
	for (unsigned int i = 0; i <= WRITERS; i++)
		hire(i);
}

static void end(void)
{
	struct client_process *keeper = &people[WRITERS + 1];

	atomic_store(&table->finish, true);
	for (unsigned int i = 0; i <= WRITERS; i++)
		EXPECT_EQ(client_wait(&people[i]), 0);
	EXPECT(swap_scene_count(broker->socket, "pswpout") > 0);
	EXPECT(swap_scene_count(broker->socket, "pswpin") > 0);
	EXPECT(client_tell_step(keeper, 2));
	EXPECT_EQ(client_wait(keeper), 0);
	swap_scene_intact(broker->socket, 0);
	stage_end();
}

static void verify(struct disturbance d)
{
	time_t until = time(NULL) + (getenv("MMB_LONG") ? SECONDS_LONG : SECONDS);
	uint64_t steps = 0;
	bool moving = d.random != 0;

	d.random = test_seed();
	begin();
	limit(&d.random);
	while (time(NULL) < until) {
		clock_sleep_ms(test_below(&d.random, TICK_MS));
		nobody_ended();
		if (moving)
			disturb(&d);
	}
	for (unsigned int i = 0; i <= WRITERS; i++)
		steps += atomic_load(&table->steps[i]);
	printf("  %llu steps, %llu clones, %llu kills, %llu stops, %llu limits, %llu trims\n",
	       (unsigned long long)steps, (unsigned long long)atomic_load(&table->clones),
	       (unsigned long long)d.kills,
	       (unsigned long long)d.stops, (unsigned long long)d.limits,
	       (unsigned long long)d.trims);
	end();
}

static void in_peace(void)
{
	verify((struct disturbance){ 0 });
}

static void disturbed(void)
{
	verify((struct disturbance){ .random = 1, .kill = true });
}

static void swap_stage(void)
{
	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	EXPECT(swap_scene_path()[0]);
}

static const struct test_case cases[] = {
	{ "a daemon with a swap file can be asked for", swap_stage },
	{ "four times the limit: no byte is wrong and no page is lost", in_peace },
	{ "nor when writers are killed and stopped, the pool is trimmed and its limit moves",
	  disturbed },
	STAGE_STOPS,
};
TEST_MAIN(cases)
