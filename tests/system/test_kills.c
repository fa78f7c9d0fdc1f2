/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kills - SIGKILL of a supervised daemon under every kind of load, verified byte by byte
 *
 * Purpose     What clients see of a daemon's death is a pause: no wrong byte, no unexpected zero,
 *             no thread that waits for ever, no call that fails; and afterwards the next daemon
 *             counts what the dead one counted. Twelve clients on a daemon with two nodes, huge
 *             pages and a swap file: one kind of load each. MMB_LONG=1: a thousand kills;
 *             MMB_KILLS=N: so many. After each resume, but those that the next kill cuts short,
 *             the loads rest for a moment and VERIFY finds no difference.
 * Waits       The 99th percentile and the longest are printed. They are judged only so far as a
 *             busy machine allows: nothing waits as if for ever.
 */
#include <stdlib.h>

#include "system/kill_load.h"
#include "system/kill_scene.h"
#include "system/swap_scene.h"

enum {
	KILLS = 30,
	KILLS_LONG = 1000,
	WAIT_LIMIT_US = 30 * 1000 * 1000,
	VERIFY_SECONDS = 60,
};

static unsigned int nr_kills(void)
{
	const char *given = getenv("MMB_KILLS");
	unsigned int nr = getenv("MMB_LONG") ? KILLS_LONG : KILLS;

	nr = given ? (unsigned int)atoi(given) : nr;
	return nr < KILLS_MAX ? nr : KILLS_MAX;
}

/* ---- the case ---- */

static bool is_verified(void *socket)
{
	return mmbctl(socket, "-t 60 verify");
}

/* A region that has been closed waits for what is just being written of it: on a slow disk that
 * lasts. What is lost stays different. */
static bool counts_are_right(void *socket)
{
	bool right = loads_rest() && test_wait(is_verified, socket, VERIFY_SECONDS);

	loads_go_on();
	return right;
}

static void kills_cost_a_pause(void)
{
	struct role roles[KILL_CLIENTS];
	unsigned int killed;
	uint64_t p99, worst;
	struct fixture *f;

	f = loads_stage();
	for (int i = 0; i < KILL_CLIENTS; i++)
		roles[i] = (struct role)ROLE(verify_under_kills);
	stage_cast(roles, KILL_CLIENTS);
	wait_for_number(LOADS_BEGUN, KILL_CLIENTS);
	killed = kill_often(f->pid, nr_kills(), counts_are_right, f->socket);
	if (killed != nr_kills() || stage_failed())
		fixture_show_log(f);
	EXPECT_EQ(killed, nr_kills());
	cue(STEP_OVER);
	for (int i = 0; i < KILL_CLIENTS; i++)
		EXPECT(stage_ended((unsigned int)i));
	waits_print(KILL_CLIENTS, &p99, &worst);
	EXPECT(worst < WAIT_LIMIT_US);
	fixture_reconnect(f);
	EXPECT(!fixture_log_says(f, "event_loop:"));
	stage_end();
	swap_scene_intact(f->socket, 0);
}

static const struct test_case cases[] = {
	{ "a daemon's deaths cost its clients pauses and nothing else", kills_cost_a_pause },
	STAGE_STOPS,
};
TEST_MAIN(cases)
