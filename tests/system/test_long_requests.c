/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_long_requests - many clients with the longest requests there are, and one that wants little
 *
 * Purpose     Whoever asks for long work in as many connections as it likes has so many of the
 *             daemon's threads that some are left: a client that connects, makes a region, touches
 *             it and gets its first slab doesn't stand in line behind long requests, and a client
 *             of another user not with long ones of its own.
 * Invariants  L1  what is judged is how many of the others' long requests ended while the guest
 *                 waited, not a time: whoever stands in line sees most of them end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/lib/clock.h"
#include "system/swap_scene.h"

enum {
	RESERVE_MIB = 640,
	SWAP_MIB = 512,
	HOSTS = 6,
	HOST_MIB = 96,
	ROUNDS = 20,
	SHORT_BYTES = MIB,
	LONG_BYTES = 8 * MIB, /* more than is short work for the daemon */
	FEW = 2, /* ends that a visit may see by chance; in line before it are HOSTS - 2 */
};

/* On the board. */
enum { WAITING, BEGUN, ENDED, OVER };
/* Cues. */
enum { READY = 1, GO };

static uint64_t board_get(int what)
{
	return atomic_load(&board->number[what]);
}

/* ---- those with the long requests ---- */

struct host {
	struct mmb_region *region;
	bool counted; /* among those that have begun */
};

/* Until all have made what they need. */
static void host_waits(void)
{
	if (atomic_fetch_add(&board->number[WAITING], 1) + 1 == HOSTS)
		cue(READY);
	await(GO);
}

/* Around each long request. */
static void host_begins(struct host *h)
{
	if (!h->counted)
		atomic_fetch_add(&board->number[BEGUN], 1);
	h->counted = true;
}

static void host_ends(void)
{
	atomic_fetch_add(&board->number[ENDED], 1);
}

static struct host host_open(struct actor *a)
{
	act_pool(a, 0);
	return (struct host){ .region = act_region(a, (size_t)HOST_MIB * MIB, 0) };
}

static int host_advise(struct host *h, int advice)
{
	int r;

	host_begins(h);
	r = mmb_region_advise(h->region, 0, (size_t)HOST_MIB * MIB, advice);
	host_ends();
	return r;
}

static void populates(struct actor *a)
{
	struct host h = host_open(a);

	host_waits();
	while (!board_get(OVER)) {
		CLIENT_EXPECT_EQ(host_advise(&h, MMB_ADVISE_WILLNEED), 0);
		CLIENT_EXPECT_EQ(mmb_region_advise(h.region, 0, (size_t)HOST_MIB * MIB,
						   MMB_ADVISE_DONTNEED), 0);
	}
}

static void goes_in_and_out(struct actor *a)
{
	struct host h = host_open(a);

	stamp(act_at(h.region), (size_t)HOST_MIB * MIB, a->place + 1);
	host_waits();
	while (!board_get(OVER)) {
		CLIENT_EXPECT_EQ(host_advise(&h, MMB_ADVISE_PAGEOUT), 0);
		CLIENT_EXPECT_EQ(host_advise(&h, MMB_ADVISE_WILLNEED), 0);
	}
	CLIENT_EXPECT(is_stamped(act_at(h.region), (size_t)HOST_MIB * MIB, a->place + 1));
}

/* Whoever owns a pool takes its memory away by its limit, again and again. */
static void is_limited(struct actor *a)
{
	struct mmb_pool_options options = { .size = sizeof(options),
					    .max = (uint64_t)RESERVE_MIB * MIB };
	char name[32], lower[64], raise[64];
	struct host h = { 0 };

	snprintf(name, sizeof(name), "limited%u", a->place);
	snprintf(lower, sizeof(lower), "pool set %s max=4M", name);
	snprintf(raise, sizeof(raise), "pool set %s max=%dM", name, RESERVE_MIB);
	act_open(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, name, MMB_POOL_CREATE, &options, &a->pool), 0);
	h.region = act_region(a, (size_t)HOST_MIB * MIB, 0);
	stamp(act_at(h.region), (size_t)HOST_MIB * MIB, a->place + 1);
	host_waits();
	while (!board_get(OVER)) {
		host_begins(&h);
		CLIENT_EXPECT(mmbctl(a->socket, lower));
		host_ends();
		CLIENT_EXPECT(mmbctl(a->socket, raise));
		CLIENT_EXPECT_EQ(host_advise(&h, MMB_ADVISE_WILLNEED), 0);
	}
	CLIENT_EXPECT(is_stamped(act_at(h.region), (size_t)HOST_MIB * MIB, a->place + 1));
}

/* ---- the guest ---- */

struct series {
	uint64_t ns[ROUNDS];
	unsigned int nr, in_line; /* visits; those that saw more than FEW ends */
};

struct visit {
	uint64_t began, ended_before;
};

static struct visit visit_begin(void)
{
	return (struct visit){ .began = clock_ns(), .ended_before = board_get(ENDED) };
}

static void visit_end(struct series *s, const struct visit *v)
{
	s->ns[s->nr++] = clock_ns() - v->began;
	s->in_line += board_get(ENDED) - v->ended_before > FEW;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void show(const char *what, struct series *s)
{
	qsort(s->ns, s->nr, sizeof(s->ns[0]), by_size);
	printf("  %-30s %7.2f ms half, %7.2f ms worst, %u of %u in line\n", what,
	       (double)s->ns[s->nr / 2] / 1e6, (double)s->ns[s->nr - 1] / 1e6, s->in_line, s->nr);
	fflush(stdout);
}

/* All that is short: a connection, a pool, a region and its first page, a slab, a range. */
static void visit_shortly(struct actor *a, struct series *s)
{
	struct visit v = visit_begin();
	struct mmb_region *region;
	void *object;

	act_pool(a, 0);
	region = act_region(a, SHORT_BYTES, 0);
	*act_at(region) = 1;
	object = mmb_malloc(a->pool, 64);
	CLIENT_EXPECT(object);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, SHORT_BYTES, MMB_ADVISE_WILLNEED), 0);
	visit_end(s, &v);
	mmb_free(object);
	mmb_close(a->mmb);
	a->mmb = NULL;
}

static void visit_at_length(struct actor *a, struct series *s)
{
	struct mmb_region *region;
	struct visit v;

	if (!a->mmb)
		act_pool(a, 0);
	region = act_region(a, LONG_BYTES, 0);
	v = visit_begin();
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, LONG_BYTES, MMB_ADVISE_WILLNEED), 0);
	visit_end(s, &v);
	mmb_region_close(region);
}

typedef void (*visit_fn)(struct actor *a, struct series *s);

static void guest(struct actor *a, visit_fn visit)
{
	struct series alone = { 0 }, beside = { 0 };

	await(READY); /* by then the hosts have memory, and wait */
	while (alone.nr < ROUNDS)
		visit(a, &alone);
	show("alone", &alone);
	cue(GO);
	while (board_get(BEGUN) < HOSTS)
		clock_sleep_ms(1);
	while (beside.nr < ROUNDS)
		visit(a, &beside);
	show("beside long requests", &beside);
	atomic_store(&board->number[OVER], 1);
	CLIENT_EXPECT(beside.in_line * 2 <= ROUNDS);
}

static void guest_shortly(struct actor *a)
{
	guest(a, visit_shortly);
}

static void guest_at_length(struct actor *a)
{
	guest(a, visit_at_length);
}

/* ---- the cases ---- */

static void play(const act_fn *hosts, unsigned int nr_kinds, const struct role *visitor)
{
	struct role roles[HOSTS + 1];

	stage_begin();
	for (unsigned int i = 0; i < HOSTS; i++)
		roles[i] = (struct role)ROLE(hosts[i % nr_kinds]);
	roles[HOSTS] = *visitor;
	stage_cast(roles, HOSTS + 1);
	stage_end();
}

static void short_ones_of_the_same_user(void)
{
	play((const act_fn[]){ populates }, 1, &(struct role)ROLE(guest_shortly));
}

static void short_ones_beside_disk_and_limits(void)
{
	play((const act_fn[]){ goes_in_and_out, is_limited }, 2, &(struct role)ROLE(guest_shortly));
}

static void long_ones_of_the_same_user(void)
{
	play((const act_fn[]){ populates }, 1, &(struct role)ROLE(guest_at_length));
}

static void long_ones_of_another_user(void)
{
	need_root("to be another user");
	play((const act_fn[]){ populates }, 1,
	     &(struct role)ROLE(guest_at_length, .nobody = true));
}

static const struct test_case cases[] = {
	{ "a user's long requests keep nobody's short ones in line", short_ones_of_the_same_user },
	{ "nor do those that wait for a disk, or for a pool's limit",
	  short_ones_beside_disk_and_limits },
	{ "nor that user's own that are long, but less so", long_ones_of_the_same_user },
	{ "nor other users' long ones", long_ones_of_another_user },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
