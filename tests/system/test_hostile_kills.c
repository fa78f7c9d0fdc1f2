/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_kills - lives of hostile clients while their daemon dies again and again
 *
 * Purpose     What it had begun for them is ended or undone by the next one: nothing of theirs is
 *             left, the bystander's memory is as it was. MMB_LONG=1: for a hundred times as long.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/lib/worker.h"
#include "system/players.h"

const char *const hostile_flags[] = { "--supervise", "--memory.fault_deadline=2s",
				      "--limits.upcall_deadline=100ms", players_swap,
				      "--swap.size=64M", "--limits.sessions_per_uid=1000", NULL };

enum { PLAYERS = 4, LIVES = 16, LONG = 100, SPAN_US = 150000, CONTROL_SECONDS = 10 };

static uint64_t       turn;
static struct attack *attacker;

static bool control_serves(void *unused)
{
	raw_close(&attacker->r);
	return !raw_connect(&attacker->r, attacker->socket) && !raw_hello_control(&attacker->r);
}

static void live_under_kills(struct attack *a)
{
	int      lives = LIVES, under_way = 0, deaths = 0;
	uint64_t state = a->seed + turn;
	pid_t    worker;

	while (lives || under_way) {
		for (; lives && under_way < PLAYERS; lives--, under_way++)
			CLIENT_EXPECT(player_begin(a, &state) > 0);
		usleep((useconds_t)(test_random(&state) % SPAN_US));
		worker = worker_of(a->broker);
		deaths += worker > 0 && !kill(worker, SIGKILL);
		while (under_way && waitpid(-1, NULL, WNOHANG) > 0)
			under_way--;
	}
	CLIENT_EXPECT(deaths > 0);
	attacker = a;
	CLIENT_EXPECT(test_wait(control_serves, NULL, CONTROL_SECONDS));
	players_end_names(a);
}

static void lives_under_kills(void)
{
	struct fixture *f;
	int             status;

	for (turn = 0; turn < (getenv("MMB_LONG") ? LONG : 1); turn++) {
		f = hostile_begin();
		status = hostile_attack(live_under_kills);
		fixture_reconnect(f);
		hostile_check();
		EXPECT_EQ(status, 0);
	}
}

static const struct test_case cases[] = {
	{ "lives by lot leave nothing behind, nor do daemons that die", lives_under_kills },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
