/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_clone_trees - a random tree of clones beside plain arrays
 *
 * For each seed: a region, clones of it and clones of clones, held by several processes that read
 * and write them at once, in turns of one order a process. The model is an array of generations a
 * member; every page read is compared with it word by word. Members are closed in any order,
 * processes are killed and stopped, pages are pushed out and dropped. Each seed is printed when it
 * fails; MMB_SEED begins with it, MMB_LONG plays thousands. One in five has few pages, of 2 MiB.
 *
 * Invariants  M1  within a turn no page of a member is written by two processes, and no member is
 *                 written while it is cloned: so the model always knows.
 *             M2  what a killed process was writing is unknown (a mixture of old and new) until it
 *                 is written again, there and in clones made of it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench/lib/pattern.h"
#include "system/swap_scene.h"

enum {
	WORKERS = 3,
	MEMBERS = 12,
	PAGES_MAX = 1200, /* two 2 MiB blocks and a part of a third */
	RUN_MAX = 80,
	HUGE_PAGES_MAX = 6,
	HUGE_ONE_IN = 5,
	RESERVE_HUGE_MIB = 48, /* less than what clones of them are promised */
	TURNS = 60,
	RESERVE_MIB = 192,
	SWAP_MIB = 96,
	SECONDS = 6,
	SEEDS_LONG = 3000,
	UNKNOWN = 0xffffff,
	DIED = -1000,
};

enum op {
	OP_CREATE,
	OP_CLONE,
	OP_OPEN,
	OP_WRITE,
	OP_CHECK,
	OP_DROP,
	OP_OUT,
	OP_CLOSE,
	OP_UNLINK,
	OP_ROLLBACK, /* of member to source */
};

/* What one process does in one turn. */
struct order {
	enum op  op;
	uint32_t member, source, pages, first, nr;
	uint32_t generation; /* of the first page written; the others count on */
	bool     named;
	bool     huge; /* as the play */
	uint64_t seed;
	uint32_t expected[PAGES_MAX]; /* CHECK: by page from `first` */
};

struct reply {
	int      error;
	uint32_t page; /* that was wrong */
	uint64_t word;
};

struct member {
	bool     exists, named, unlinked;
	uint32_t holders; /* a bit a worker */
	uint32_t pages;
	uint32_t generation[PAGES_MAX]; /* 0: zero, UNKNOWN: M2 */
};

struct play {
	uint64_t      seed, random;
	uint32_t      generation; /* the last one given out */
	uint32_t      pages;
	bool          huge;       /* pages of 2 MiB */
	struct member members[MEMBERS];
	struct order  orders[WORKERS];
	bool          busy[WORKERS];    /* has an order in this turn */
	bool          stopped[WORKERS];
};

static struct client_process workers[WORKERS];
static struct fixture *broker;
static struct play play;
static bool have_huge;
static const char *const with_huge[] = { "--memory.reserve_huge=48M", NULL };

/* ---- a worker ---- */

struct hands {
	struct actor a;
	struct mmb_region *regions[MEMBERS];
};

static uint64_t key_of(uint64_t seed, uint32_t page)
{
	return pattern_key(seed, page);
}

static void name_of(const struct order *o, uint32_t member, char name[48])
{
	snprintf(name, 48, "m-%llx-%u", (unsigned long long)o->seed, member);
}

static size_t page_bytes(const struct order *o)
{
	return o->huge ? HUGE_PAGE : PAGE;
}

static int do_create(struct hands *h, const struct order *o)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = (unsigned int)page_bytes(o) };
	size_t bytes = o->pages * page_bytes(o);
	char name[48];

	name_of(o, o->member, name);
	return o->named ? mmb_region_open(h->a.pool, name, bytes,
					  MMB_REGION_CREATE | MMB_REGION_EXCL, &options,
					  &h->regions[o->member]) :
			  mmb_region_create(h->a.pool, bytes, &options, &h->regions[o->member]);
}

static int do_clone(struct hands *h, const struct order *o)
{
	char name[48];
	const struct mmb_clone_options options = { .size = sizeof(options),
						   .name = o->named ? name : NULL };

	name_of(o, o->member, name);
	return mmb_region_clone(h->regions[o->source], &options, &h->regions[o->member]);
}

static int do_open(struct hands *h, const struct order *o)
{
	char name[48];

	name_of(o, o->member, name);
	return mmb_region_open(h->a.pool, name, 0, 0, NULL, &h->regions[o->member]);
}

static char *page_at(const struct hands *h, const struct order *o, uint32_t page)
{
	return (char *)mmb_region_address(h->regions[o->member]) + page * page_bytes(o);
}

static int do_write(struct hands *h, const struct order *o)
{
	for (uint32_t i = 0; i < o->nr; i++)
		pattern_fill(page_at(h, o, o->first + i), page_bytes(o),
			     key_of(o->seed, o->first + i), o->generation + i);
	return 0;
}

static int do_check(struct hands *h, const struct order *o, struct reply *reply)
{
	for (uint32_t i = 0; i < o->nr; i++) {
		const char *at = page_at(h, o, o->first + i);
		ptrdiff_t wrong;

		if (o->expected[i] == UNKNOWN)
			continue;
		wrong = pattern_check(at, page_bytes(o), key_of(o->seed, o->first + i),
				      o->expected[i]);
		if (wrong < 0)
			continue;
		reply->page = o->first + i;
		reply->word = *(const uint64_t *)(const void *)(at + wrong);
		return -EILSEQ;
	}
	return 0;
}

static int do_advise(struct hands *h, const struct order *o)
{
	return mmb_region_advise(h->regions[o->member], o->first * page_bytes(o),
				 o->nr * page_bytes(o),
				 o->op == OP_DROP ? MMB_ADVISE_DONTNEED : MMB_ADVISE_PAGEOUT);
}

static int do_order(struct hands *h, const struct order *o, struct reply *reply)
{
	char name[48];

	switch (o->op) {
	case OP_CREATE:
		return do_create(h, o);
	case OP_CLONE:
		return do_clone(h, o);
	case OP_OPEN:
		return do_open(h, o);
	case OP_WRITE:
		return do_write(h, o);
	case OP_CHECK:
		return do_check(h, o, reply);
	case OP_DROP:
	case OP_OUT:
		return do_advise(h, o);
	case OP_ROLLBACK:
		return mmb_region_rollback(h->regions[o->member], h->regions[o->source]);
	case OP_CLOSE:
		mmb_region_close(h->regions[o->member]);
		return 0;
	case OP_UNLINK:
	default:
		name_of(o, o->member, name);
		return mmb_region_unlink(h->a.pool, name);
	}
}

static void work(struct client_process *self, void *arg)
{
	static struct hands h;
	static struct order order;

	h.a.socket = broker->socket;
	act_common_pool(&h.a);
	while (client_hear(self, &order, sizeof(order))) {
		struct reply reply = { 0 };

		reply.error = do_order(&h, &order, &reply);
		if (reply.error && reply.error != -EILSEQ)
			printf("  %s\n", mmb_error());
		client_tell(self, &reply, sizeof(reply));
	}
}

/* ---- the model ---- */

static uint32_t below(uint32_t bound)
{
	return (uint32_t)test_below(&play.random, bound);
}

static bool holds(unsigned int worker, const struct member *m)
{
	return m->exists && (m->holders >> worker & 1);
}

/* A member that this worker has open; MEMBERS: none. */
static uint32_t any_held(unsigned int worker)
{
	uint32_t start = below(MEMBERS);

	for (uint32_t i = 0; i < MEMBERS; i++) {
		uint32_t m = (start + i) % MEMBERS;

		if (holds(worker, &play.members[m]))
			return m;
	}
	return MEMBERS;
}

static uint32_t any_free(void)
{
	for (uint32_t m = 0; m < MEMBERS; m++)
		if (!play.members[m].exists)
			return m;
	return MEMBERS;
}

/* Does an order of this turn touch the member in a way that excludes `op` there (M1)? */
static bool excluded(uint32_t member, enum op op, uint32_t first, uint32_t nr)
{
	for (unsigned int w = 0; w < WORKERS; w++) {
		const struct order *o = &play.orders[w];
		bool changes = o->op == OP_WRITE || o->op == OP_DROP;
		bool meets = o->first < first + nr && first < o->first + o->nr;

		if (!play.busy[w])
			continue;
		if ((o->op == OP_CLONE || o->op == OP_ROLLBACK) &&
		    (o->source == member || o->member == member))
			return true;
		if (o->member != member)
			continue;
		if (o->op == OP_CREATE || o->op == OP_CLOSE || o->op == OP_UNLINK ||
		    o->op == OP_OPEN)
			return true;
		if (op == OP_CLOSE || (op == OP_CLONE && changes))
			return true;
		if (meets && (changes || op == OP_WRITE || op == OP_DROP))
			return true;
	}
	return false;
}

static bool plan_range(struct order *o, unsigned int worker, enum op op)
{
	uint32_t longest = op == OP_CHECK ? PAGES_MAX : RUN_MAX;
	struct member *m;

	o->op = op;
	o->member = any_held(worker);
	if (o->member == MEMBERS)
		return false;
	m = &play.members[o->member];
	o->first = below(m->pages);
	o->nr = 1 + below(below(2) ? longest : 3);
	if (o->nr > m->pages - o->first)
		o->nr = m->pages - o->first;
	if (excluded(o->member, op, o->first, o->nr))
		return false;
	if (op == OP_CHECK)
		memcpy(o->expected, m->generation + o->first, o->nr * sizeof(o->expected[0]));
	if (op == OP_WRITE) {
		o->generation = play.generation + 1;
		play.generation += o->nr;
	}
	return true;
}

static bool plan_clone(struct order *o, unsigned int worker)
{
	uint32_t source = any_held(worker), member = any_free();

	if (source == MEMBERS || member == MEMBERS ||
	    excluded(source, OP_CLONE, 0, PAGES_MAX) || excluded(member, OP_CLOSE, 0, PAGES_MAX))
		return false;
	*o = (struct order){ .op = OP_CLONE, .source = source, .member = member,
			     .named = below(2) };
	return true;
}

static bool plan_create(struct order *o)
{
	uint32_t member = any_free();

	if (member == MEMBERS || excluded(member, OP_CLOSE, 0, PAGES_MAX))
		return false;
	*o = (struct order){ .op = OP_CREATE, .member = member, .pages = play.pages,
			     .named = below(4) != 0 };
	return true;
}

static bool plan_name(struct order *o, unsigned int worker, enum op op)
{
	uint32_t m = below(MEMBERS);
	const struct member *member = &play.members[m];

	*o = (struct order){ .op = op, .member = m };
	if (!member->exists || !member->named || member->unlinked ||
	    excluded(m, OP_CLOSE, 0, PAGES_MAX))
		return false;
	return op == OP_UNLINK || !holds(worker, member);
}

static bool plan_close(struct order *o, unsigned int worker)
{
	*o = (struct order){ .op = OP_CLOSE, .member = any_held(worker) };
	return o->member != MEMBERS && !excluded(o->member, OP_CLOSE, 0, PAGES_MAX);
}

static bool plan_rollback(struct order *o, unsigned int worker)
{
	*o = (struct order){ .op = OP_ROLLBACK, .member = any_held(worker),
			     .source = any_held(worker) };
	return o->member != MEMBERS && o->member != o->source &&
	       play.members[o->member].pages == play.members[o->source].pages &&
	       !excluded(o->member, OP_CLOSE, 0, PAGES_MAX) &&
	       !excluded(o->source, OP_CLONE, 0, PAGES_MAX);
}

static bool plan(struct order *o, unsigned int worker)
{
	uint32_t what = below(100);

	o->op = OP_CHECK;
	if (what < 35)
		return plan_range(o, worker, OP_WRITE);
	if (what < 65)
		return plan_range(o, worker, OP_CHECK);
	if (what < 78)
		return plan_clone(o, worker);
	if (what < 80)
		return plan_create(o);
	if (what < 86)
		return plan_name(o, worker, OP_OPEN);
	if (what < 88)
		return plan_name(o, worker, OP_UNLINK);
	if (what < 93)
		return plan_close(o, worker);
	if (what < 95)
		return plan_range(o, worker, OP_DROP);
	if (what < 97)
		return plan_rollback(o, worker);
	return plan_range(o, worker, OP_OUT);
}

static void vanish_if_unheld(struct member *m)
{
	if (m->holders == 0 && (!m->named || m->unlinked))
		m->exists = false;
}

static void was_made(const struct order *o, unsigned int worker, const struct member *of)
{
	struct member *m = &play.members[o->member];

	m->exists = true;
	m->named = o->named;
	m->unlinked = false;
	m->holders = 1u << worker;
	m->pages = of ? of->pages : o->pages;
	if (of)
		memcpy(m->generation, of->generation, sizeof(m->generation));
	else
		memset(m->generation, 0, sizeof(m->generation));
}

/* What an order that was carried out has changed. */
static void apply(const struct order *o, unsigned int worker)
{
	struct member *m = &play.members[o->member];

	switch (o->op) {
	case OP_CREATE:
		was_made(o, worker, NULL);
		break;
	case OP_CLONE:
		was_made(o, worker, &play.members[o->source]);
		break;
	case OP_OPEN:
		m->holders |= 1u << worker;
		break;
	case OP_WRITE:
	case OP_DROP:
		for (uint32_t i = 0; i < o->nr; i++)
			m->generation[o->first + i] =
				o->op == OP_DROP ? 0 : o->generation + i;
		break;
	case OP_ROLLBACK:
		memcpy(m->generation, play.members[o->source].generation,
		       sizeof(m->generation));
		break;
	case OP_CLOSE:
		m->holders &= ~(1u << worker);
		vanish_if_unheld(m);
		break;
	case OP_UNLINK:
		m->unlinked = true;
		vanish_if_unheld(m);
		break;
	case OP_CHECK:
	case OP_OUT:
	default:
		break;
	}
}

/* ---- a turn ---- */

static void hire(unsigned int w)
{
	client_fork(&workers[w], work, NULL);
	EXPECT(workers[w].pid);
}

/* It may or may not have done its order. A name that it was making may be there: the model gives
 * up that place for this play, and the end of the play removes it. */
static void forget_dead(unsigned int w)
{
	const struct order *o = &play.orders[w];
	struct member *m = &play.members[o->member];

	if (play.busy[w] && o->op == OP_ROLLBACK) {
		for (uint32_t i = 0; i < m->pages; i++)
			m->generation[i] = UNKNOWN;
	}
	if (play.busy[w] && (o->op == OP_WRITE || o->op == OP_DROP)) {
		for (uint32_t i = 0; i < o->nr; i++)
			m->generation[o->first + i] = UNKNOWN;
	}
	play.busy[w] = false;
	for (uint32_t i = 0; i < MEMBERS; i++) {
		play.members[i].holders &= ~(1u << w);
		vanish_if_unheld(&play.members[i]);
	}
}

static void kill_worker(unsigned int w)
{
	client_signal(&workers[w], SIGKILL);
	forget_dead(w);
	hire(w);
}

static void give_orders(void)
{
	memset(play.busy, 0, sizeof(play.busy));
	for (unsigned int w = 0; w < WORKERS; w++) {
		struct order *o = &play.orders[w];

		if (play.stopped[w] || !plan(o, w))
			continue;
		o->seed = play.seed;
		o->huge = play.huge;
		play.busy[w] = true;
	}
	for (unsigned int w = 0; w < WORKERS; w++)
		if (play.busy[w])
			EXPECT(client_tell(&workers[w], &play.orders[w], sizeof(struct order)));
}

static void explain(unsigned int w, const struct reply *reply)
{
	static const char *const names[] = { "create", "clone", "open", "write", "check",
					     "drop", "page out", "close", "unlink",
					     "rollback" };
	const struct order *o = &play.orders[w];

	printf("  seed %#llx, worker %u, %s of member %u (of %u), pages %u+%u of %u: %d;"
	       " page %u holds %#llx\n",
	       (unsigned long long)play.seed, w, names[o->op], o->member, o->source, o->first,
	       o->nr, play.members[o->member].pages, reply->error, reply->page,
	       (unsigned long long)reply->word);
	if (reply->error == -EILSEQ)
		printf("  it should be generation %u: %#llx\n", o->expected[reply->page - o->first],
		       (unsigned long long)(key_of(play.seed, reply->page) << 24 |
					    o->expected[reply->page - o->first]));
}

/* No room is an answer, and changes nothing. */
static void hear_answers(void)
{
	for (unsigned int w = 0; w < WORKERS; w++) {
		struct reply reply = { 0 };

		if (!play.busy[w])
			continue;
		if (!client_hear(&workers[w], &reply, sizeof(reply)))
			reply.error = DIED;
		if (reply.error == -ENOMEM)
			continue;
		if (reply.error)
			explain(w, &reply);
		EXPECT_EQ(reply.error, 0);
		apply(&play.orders[w], w);
	}
}

/* Killed in the middle of an order that makes or ends nothing by name, or between turns. */
static void maybe_kill(void)
{
	unsigned int w = below(WORKERS);
	enum op op = play.orders[w].op;

	if (below(25) != 0 || play.stopped[w])
		return;
	if (play.busy[w] && (op == OP_CREATE || op == OP_CLONE || op == OP_UNLINK))
		return;
	kill_worker(w);
}

static void stop_or_go_on(void)
{
	unsigned int w = below(WORKERS);

	if (play.stopped[w]) {
		client_signal(&workers[w], SIGCONT);
		play.stopped[w] = false;
	} else if (below(12) == 0) {
		EXPECT(stop_process(workers[w].pid));
		play.stopped[w] = true;
	}
}

/* Everything that somebody holds, whole. */
static void check_all(void)
{
	for (uint32_t i = 0; i < MEMBERS; i++) {
		const struct member *m = &play.members[i];

		memset(play.busy, 0, sizeof(play.busy));
		for (unsigned int w = 0; w < WORKERS; w++) {
			struct order *o = &play.orders[w];

			if (!holds(w, m))
				continue;
			*o = (struct order){ .op = OP_CHECK, .member = i, .nr = m->pages,
					     .seed = play.seed, .huge = play.huge };
			memcpy(o->expected, m->generation, sizeof(o->expected));
			play.busy[w] = true;
			EXPECT(client_tell(&workers[w], o, sizeof(*o)));
		}
		hear_answers();
	}
}

static void unlink_names(void)
{
	memset(play.busy, 0, sizeof(play.busy));
	for (uint32_t i = 0; i < MEMBERS; i++) {
		struct order *o = &play.orders[0];
		struct reply reply = { 0 };

		if (!play.members[i].exists || !play.members[i].named || play.members[i].unlinked)
			continue;
		*o = (struct order){ .op = OP_UNLINK, .member = i, .seed = play.seed };
		EXPECT(client_tell(&workers[0], o, sizeof(*o)));
		EXPECT(client_hear(&workers[0], &reply, sizeof(reply)));
		EXPECT_EQ(reply.error, 0);
	}
}

/* At the end everything goes with its holders, in any order. */
static void play_seed(uint64_t seed)
{
	unsigned int first;

	memset(&play, 0, sizeof(play));
	play.seed = seed;
	play.random = seed;
	play.huge = have_huge && below(HUGE_ONE_IN) == 0;
	play.pages = play.huge	? 1 + below(HUGE_PAGES_MAX)
		     : below(3) ? 1 + below(64)
				: 1 + below(PAGES_MAX);
	play.orders[0] = (struct order){ .op = OP_CREATE, .pages = play.pages, .named = true,
					 .seed = seed, .huge = play.huge };
	play.busy[0] = true;
	EXPECT(client_tell(&workers[0], &play.orders[0], sizeof(struct order)));
	hear_answers();
	for (unsigned int turn = 0; turn < TURNS; turn++) {
		give_orders();
		maybe_kill();
		hear_answers();
		stop_or_go_on();
	}
	for (unsigned int w = 0; w < WORKERS; w++)
		client_signal(&workers[w], SIGCONT);
	memset(play.stopped, 0, sizeof(play.stopped));
	check_all();
	unlink_names();
	first = below(WORKERS);
	for (unsigned int w = 0; w < WORKERS; w++) {
		client_signal(&workers[(first + w) % WORKERS], SIGKILL);
		hire((first + w) % WORKERS);
	}
}

static void trees_of_clones(void)
{
	time_t until = time(NULL) + SECONDS;
	uint64_t state = test_seed();
	unsigned int nr = 0;

	have_huge = hugepages_get(RESERVE_HUGE_MIB / 2 + 1);
	swap_scene_set(RESERVE_MIB, SWAP_MIB, have_huge ? with_huge : NULL);
	broker = stage_begin();
	for (unsigned int w = 0; w < WORKERS; w++)
		hire(w);
	while (getenv("MMB_LONG") ? nr < SEEDS_LONG : time(NULL) < until) {
		play_seed(nr == 0 ? state : test_random(&state));
		nr++;
	}
	printf("  %u seeds\n", nr);
	for (unsigned int w = 0; w < WORKERS; w++)
		client_signal(&workers[w], SIGKILL);
	stage_end();
}

/* ---- a process that stands still ---- */

static void order_whole(unsigned int w, enum op op, uint32_t member, uint32_t generation)
{
	struct order *o = &play.orders[w];

	*o = (struct order){ .op = op, .member = member, .nr = play.pages, .pages = play.pages,
			     .generation = generation, .named = true, .seed = play.seed,
			     .huge = play.huge };
	for (uint32_t i = 0; i < play.pages && op == OP_CHECK; i++)
		o->expected[i] = generation ? generation + i : 0;
	memset(play.busy, 0, sizeof(play.busy));
	play.busy[w] = true;
	EXPECT(client_tell(&workers[w], o, sizeof(*o)));
	hear_answers();
}

/* Its clone has every page mapped; its answers to what the daemon asks don't come. */
static void play_stopped(bool huge)
{
	memset(&play, 0, sizeof(play));
	play.seed = test_seed() ^ 0x570b;
	play.pages = huge ? HUGE_PAGES_MAX : PAGES_MAX;
	play.huge = huge;
	swap_scene_set(RESERVE_MIB, SWAP_MIB, huge ? with_huge : NULL);
	broker = stage_begin();
	hire(0);
	hire(1);
	order_whole(0, OP_CREATE, 0, 0);
	order_whole(0, OP_WRITE, 0, 1);
	order_whole(0, OP_CLONE, 1, 0);
	order_whole(1, OP_OPEN, 1, 0);
	order_whole(1, OP_CHECK, 1, 1);
	EXPECT(stop_process(workers[1].pid));
	order_whole(0, OP_WRITE, 0, 5001);
	order_whole(0, OP_CHECK, 0, 5001);
	order_whole(0, OP_CHECK, 1, 1);
	order_whole(0, OP_WRITE, 1, 9001);
	order_whole(0, OP_CLOSE, 0, 0);
	client_signal(&workers[1], SIGCONT);
	order_whole(1, OP_CHECK, 1, 9001);
	unlink_names();
	client_signal(&workers[0], SIGKILL);
	client_signal(&workers[1], SIGKILL);
	stage_end();
}

static void stopped_holder(void)
{
	play_stopped(false);
}

static void stopped_holder_of_huge_pages(void)
{
	if (!hugepages_get(RESERVE_HUGE_MIB / 2 + 1))
		SKIP("no free huge pages: vm.nr_hugepages is too low");
	play_stopped(true);
}

static const struct test_case cases[] = {
	{ "a process that is stopped with a clone mapped keeps nobody waiting", stopped_holder },
	{ "the same with pages of 2 MiB", stopped_holder_of_huge_pages },
	{ "a random tree of clones shows what plain arrays show", trees_of_clones },
	STAGE_STOPS,
};
TEST_MAIN(cases)
