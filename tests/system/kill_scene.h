/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_scene - a supervised daemon that is killed, and how long its clients waited
 *
 * Purpose     Finds the supervisor's child, kills it at random moments or waits until it has died
 *             by itself; and keeps, for each kill and each client, the longest wait of any touch
 *             or call that ended between that kill and the next one.
 * Not here    The stage itself (stage.h), what clients do.
 */
#ifndef MMB_TESTS_SYSTEM_KILL_SCENE_H
#define MMB_TESTS_SYSTEM_KILL_SCENE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/lib/worker.h"
#include "system/inject_order.h"
#include "system/stage.h"

enum { KILL_CLIENTS = 12, KILLS_MAX = 4096 };

void rest_us(unsigned int us);
/* Until board->number[which] is at least that; expects it. */
void wait_for_number(unsigned int which, uint64_t at_least);
/* The worker has been told to die at its point: has it? */
bool worker_dies(pid_t supervisor, pid_t worker);

/* Before clients are cast: waits are kept from now on, of none yet. */
void waits_begin(void);
/* SIGKILL `kills` times: a quarter of them 20 to 220 ms after the last one, whether the next daemon
 * serves or not, the others so long after all clients have got on again, and is_well(arg), unless
 * it is NULL, has found nothing. How many were sent. */
unsigned int kill_often(pid_t supervisor, unsigned int kills, bool (*is_well)(void *arg),
			void *arg);
/* In a client: what began then is over. */
void waited(unsigned int place, const char *what, uint64_t began_ns);
/* Prints the 99th percentile and the longest of all waits, and each that was long, with what it was
 * for; *p99 and *worst in microseconds. */
void waits_print(unsigned int clients, uint64_t *p99, uint64_t *worst);

/* It dies at that pass of the point from now on; false: there is none that could be told. */
bool arm_worker(pid_t worker, enum inject_point point, unsigned int nth);

/* A stage whose $MMB_INJECT names the point. */
struct kill_point {
	const char *name;
	const struct setting *setting;
};
struct kill_points {
	const struct kill_point *at;
	size_t nr;
	uint32_t over; /* the cue for the actors to end */
};
/* For each: three actors, each of which has added 1 to board->number[0], and a daemon that dies
 * there, once or, with MMB_LONG, ten times. */
void die_at_each(const struct kill_points *points, act_fn act);

#endif
