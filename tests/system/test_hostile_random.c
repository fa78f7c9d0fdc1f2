/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_random - whole lives of hostile clients, drawn by lot
 *
 * Purpose     Nothing of theirs is left (hostile.h). MMB_LONG=1: for a hundred times as long.
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "system/players.h"

const char *const hostile_flags[] = { "--memory.fault_deadline=2s",
				      "--limits.upcall_deadline=100ms", players_swap,
				      "--swap.size=64M", "--limits.sessions_per_uid=1000", NULL };

enum { PLAYERS = 4, LIVES = 24, LONG = 100 };

static uint64_t turn;

static void live_by_lot(struct attack *a)
{
	int      lives = LIVES, under_way = 0;
	uint64_t state = a->seed + turn;

	while (lives || under_way) {
		if (lives && under_way < PLAYERS) {
			CLIENT_EXPECT(player_begin(a, &state) > 0);
			lives--;
			under_way++;
			continue;
		}
		CLIENT_EXPECT(wait(NULL) > 0);
		under_way--;
	}
	players_end_names(a);
}

static void lives_by_lot(void)
{
	for (turn = 0; turn < (getenv("MMB_LONG") ? LONG : 1); turn++)
		hostile_run(live_by_lot);
}

static const struct test_case cases[] = {
	{ "whole lives by lot leave nothing behind", lives_by_lot },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
