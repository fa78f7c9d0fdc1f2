/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile - the frame of the attacks
 *
 * Locking     none.
 */
#include "system/hostile.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BYSTANDER_PAGES = 64, BYSTANDER_RUNS = 8, BYSTANDER_ORDER = 1, SHRINK_TRIES = 600 };

static struct fixture        broker;
static struct client_process bystander, attacker;
static bool                  checked; /* H1: else the next case begins afresh */

/* ---- pattern ---- */

static uint64_t pattern_word(uint64_t seed, uint64_t index)
{
	uint64_t state = seed ^ (index * 0xd1342543de82ef95u);

	return test_random(&state);
}

void pattern_fill(void *at, uint64_t bytes, uint64_t seed)
{
	uint64_t *words = at;

	for (uint64_t i = 0; i < bytes / sizeof(*words); i++)
		words[i] = pattern_word(seed, i);
}

bool pattern_holds(const void *at, uint64_t bytes, uint64_t seed)
{
	const uint64_t *words = at;

	for (uint64_t i = 0; i < bytes / sizeof(*words); i++)
		if (words[i] != pattern_word(seed, i))
			return false;
	return true;
}

/* ---- the bystander: a well-behaved client with memory of every kind ---- */

struct belongings {
	struct raw        r;
	struct raw_region small, huge;
	uint64_t          runs[BYSTANDER_RUNS];
};

static void settle_in(struct belongings *b, const char *socket)
{
	const struct raw_region_want huge = { .length = HUGE_PAGE, .page_size = HUGE_PAGE };

	CLIENT_EXPECT_EQ(raw_session(&b->r, socket, "bystander"), 0);
	CLIENT_EXPECT_EQ(raw_pool(&b->r, NULL, 0), 0);
	CLIENT_EXPECT_EQ(raw_region(&b->r, BYSTANDER_PAGES * PAGE, &b->small), 0);
	CLIENT_EXPECT_EQ(raw_region_open(&b->r, &huge, &b->huge), 0);
	CLIENT_EXPECT_EQ(raw_arena(&b->r, NULL), 0);
	CLIENT_EXPECT_EQ(raw_pages(&b->r, BYSTANDER_ORDER, 0, BYSTANDER_RUNS, b->runs),
			 BYSTANDER_RUNS);
	pattern_fill(b->small.at, BYSTANDER_PAGES * PAGE, 1);
	pattern_fill(b->huge.at, HUGE_PAGE, 2);
	for (uint64_t i = 0; i < BYSTANDER_RUNS; i++)
		pattern_fill((void *)(uintptr_t)b->runs[i], PAGE << BYSTANDER_ORDER, 3 + i);
}

/* Everything as it was written, and still served: requests and faults. */
static void look_around(struct belongings *b)
{
	CLIENT_EXPECT(pattern_holds(b->small.at, BYSTANDER_PAGES * PAGE, 1));
	CLIENT_EXPECT(pattern_holds(b->huge.at, HUGE_PAGE, 2));
	for (uint64_t i = 0; i < BYSTANDER_RUNS; i++)
		CLIENT_EXPECT(pattern_holds((void *)(uintptr_t)b->runs[i], PAGE << BYSTANDER_ORDER,
					    3 + i));
	CLIENT_EXPECT_EQ(raw_advise(&b->r, &b->small, 0, 2 * PAGE, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(b->small.at[0] == 0);
	CLIENT_EXPECT(b->small.at[2 * PAGE - 1] == 0);
	pattern_fill(b->small.at, 2 * PAGE, 1);
}

static void be_bystander(struct client_process *self, void *socket)
{
	static struct belongings b;
	char                     step;

	settle_in(&b, socket);
	CLIENT_EXPECT(client_tell_step(self, 'r'));
	while (read(self->in, &step, 1) == 1) {
		look_around(&b);
		CLIENT_EXPECT(client_tell_step(self, 'k'));
	}
}

void hostile_expect_bystander(void)
{
	bool answers = client_tell_step(&bystander, 'c') && client_hear_step(&bystander, 'k');

	if (!answers)
		printf("  the bystander is no longer well\n");
	EXPECT(answers);
}

/* ---- the frame ---- */

static void clean_up(void)
{
	client_signal(&attacker, SIGKILL);
	client_signal(&bystander, SIGKILL);
	fixture_cleanup(&broker);
}

static void start_broker(void)
{
	static bool registered;

	clean_up();
	if (!registered)
		atexit(clean_up);
	registered = true;
	fixture_start(&broker, hostile_flags);
	client_fork(&bystander, be_bystander, broker.socket);
	EXPECT(client_hear_step(&bystander, 'r'));
}

struct fixture *hostile_begin(void)
{
	client_signal(&attacker, SIGKILL);
	if (!checked || !fixture_alive(&broker))
		start_broker();
	checked = false;
	fixture_baseline(&broker);
	return &broker;
}

void hostile_check(void)
{
	if (!fixture_alive(&broker))
		fixture_show_log(&broker);
	EXPECT(fixture_alive(&broker));
	hostile_expect_bystander();
	fixture_expect_baseline(&broker);
	checked = true;
}

static void be_attacker(struct client_process *self, void *attack)
{
	static struct attack a;

	raw_init(&a.r);
	a.socket = broker.socket;
	a.broker = broker.pid;
	a.self = self;
	a.seed = test_seed();
	(*(attack_fn *)attack)(&a);
}

int hostile_attack(attack_fn attack)
{
	int status;

	client_fork(&attacker, be_attacker, &attack);
	status = client_wait(&attacker);
	if (status)
		fixture_show_log(&broker);
	return status;
}

void hostile_run(attack_fn attack)
{
	int status;

	hostile_begin();
	status = hostile_attack(attack);
	hostile_check();
	EXPECT_EQ(status, 0);
}

void hostile_stops(void)
{
	hostile_begin();
	client_signal(&bystander, SIGKILL);
	fixture_stop(&broker);
}

/* ---- in the attacking process ---- */

void attack_connect(struct attack *a)
{
	CLIENT_EXPECT_EQ(raw_connect(&a->r, a->socket), 0);
}

void attack_greet(struct attack *a)
{
	attack_connect(a);
	CLIENT_EXPECT_EQ(raw_hello(&a->r, "attacker"), 0);
}

void attack_attach(struct attack *a)
{
	attack_greet(a);
	CLIENT_EXPECT_EQ(raw_attach(&a->r), 0);
}

void attack_pool(struct attack *a)
{
	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
}

struct raw_region attack_region(struct attack *a, uint64_t pages)
{
	struct raw_region region;

	CLIENT_EXPECT_EQ(raw_region(&a->r, pages * PAGE, &region), 0);
	return region;
}

static const char *method_name(uint32_t method)
{
	return wire_method(method) ? wire_method(method)->name : "(no method)";
}

void attack_serves(struct raw *r)
{
	CLIENT_EXPECT_EQ(raw_call(r, MMB_METHOD_PING, NULL), 0);
}

void attack_refused(struct raw *r, uint32_t method, const void *body, int code)
{
	int got = raw_call(r, method, body);

	if ((code != ANY_CODE && got != code) || !raw_refused(r, got)) {
		printf("  %s: wanted a refusal with %d, got %d '%s'\n", method_name(method), code,
		       got, r->error);
		CLIENT_EXPECT(!"refused");
	}
	attack_serves(r);
}

void attack_ended(struct raw *r)
{
	CLIENT_EXPECT(raw_ends(r));
}

void attack_cut(struct raw *r, uint32_t method, const void *body)
{
	int got = raw_call(r, method, body);

	if (got != -ECONNRESET && !raw_refused(r, got)) {
		printf("  %s: wanted the end of the session, got %d '%s'\n", method_name(method),
		       got, r->error);
		CLIENT_EXPECT(!"cut");
	}
	if (got != -ECONNRESET)
		attack_ended(r);
}

void attack_file_shrinks(int fd, uint64_t bytes)
{
	struct stat st = { 0 };

	for (int i = 0; i < SHRINK_TRIES; i++) {
		CLIENT_EXPECT_EQ(fstat(fd, &st), 0);
		if ((uint64_t)st.st_blocks * 512 <= bytes)
			return;
		usleep(10000);
	}
	printf("  the file holds %llu bytes, %llu are expected\n",
	       (unsigned long long)st.st_blocks * 512, (unsigned long long)bytes);
	CLIENT_EXPECT(!"shrunk");
}
