/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_scene - one array of waits, shared with the clients
 *
 * Locking     none: a client writes its own row; the number of kills only grows.
 */
#include "system/kill_scene.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench/lib/clock.h"

enum { REST_US = 20000, REST_MORE_US = 200000, NUMBER_MS = 60000, DEATH_MS = 60000,
       ORDER_SECONDS = 60, EARLY_ONE_IN = 4, POINT_CLIENTS = 3, POINT_TIMES_LONG = 10,
       LONG_US = 400000, LONG_MAX = 40 };

/* The names are literals: at one address in all who were forked. */
struct long_wait {
	const char *what;
	unsigned int place;
	uint32_t us, kills; /* how many came meanwhile */
};

static struct waits {
	_Atomic uint32_t kills;
	_Atomic uint64_t kill_ns[KILLS_MAX + 1];
	struct long_wait longs[LONG_MAX];
	_Atomic uint32_t nr_longs;
	_Atomic uint64_t done[KILL_CLIENTS]; /* touches and calls */
	_Atomic uint32_t us[KILL_CLIENTS][KILLS_MAX + 1];
} *waits;

void rest_us(unsigned int us)
{
	nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 },
		  NULL);
}

void wait_for_number(unsigned int which, uint64_t at_least)
{
	for (int i = 0; i < NUMBER_MS && atomic_load(&board->number[which]) < at_least; i++) {
		if (stage_failed())
			break;
		rest_us(1000);
	}
	EXPECT(atomic_load(&board->number[which]) >= at_least);
}

static void note_kill(void)
{
	uint32_t nr = atomic_load(&waits->kills) + 1;

	if (nr > KILLS_MAX)
		return;
	atomic_store(&waits->kill_ns[nr], clock_ns());
	atomic_store(&waits->kills, nr);
}

bool worker_dies(pid_t supervisor, pid_t worker)
{
	for (int i = 0; i < DEATH_MS && !stage_failed(); i++) {
		if (worker_of(supervisor) != worker) {
			if (waits)
				note_kill();
			return true;
		}
		rest_us(1000);
	}
	return false;
}

void waits_begin(void)
{
	if (!waits)
		waits = mmap(NULL, sizeof(*waits), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(waits != MAP_FAILED);
	memset(waits, 0, sizeof(*waits));
}

/* Each client that has begun has got on since the last kill. */
static void wait_for_clients(void)
{
	uint64_t before[KILL_CLIENTS];

	for (unsigned int i = 0; waits && i < KILL_CLIENTS; i++)
		before[i] = atomic_load(&waits->done[i]);
	for (unsigned int i = 0; waits && i < KILL_CLIENTS; i++)
		for (int ms = 0; ms < NUMBER_MS && before[i] && !stage_failed() &&
				 atomic_load(&waits->done[i]) == before[i]; ms++)
			rest_us(1000);
}

/* Some kills come before the next daemon serves; most only when all clients are served again, since
 * otherwise a slow machine would never have one that serves. */
unsigned int kill_often(pid_t supervisor, unsigned int kills, bool (*is_well)(void *arg), void *arg)
{
	uint64_t random = test_seed();
	unsigned int done = 0;

	for (unsigned int tries = 0; done < kills && tries < 20 * kills; tries++) {
		bool early = !test_below(&random, EARLY_ONE_IN);
		pid_t worker;

		if (!early)
			wait_for_clients();
		if (stage_failed() || (!early && is_well && !is_well(arg)))
			break;
		rest_us(REST_US + (unsigned int)test_below(&random, REST_MORE_US));
		worker = worker_of(supervisor);
		if (worker <= 0)
			continue;
		if (waits)
			note_kill();
		done += !kill(worker, SIGKILL);
	}
	return done;
}

static void note_long(unsigned int place, const char *what, uint64_t began_ns, uint32_t us)
{
	uint32_t at = atomic_fetch_add(&waits->nr_longs, 1);
	uint32_t last = atomic_load(&waits->kills), kills = 0;

	if (at >= LONG_MAX)
		return;
	while (kills < last && atomic_load(&waits->kill_ns[last - kills]) > began_ns)
		kills++;
	waits->longs[at] = (struct long_wait){ what, place, us, kills };
}

void waited(unsigned int place, const char *what, uint64_t began_ns)
{
	uint32_t us = (uint32_t)((clock_ns() - began_ns) / 1000);
	_Atomic uint32_t *longest = &waits->us[place][atomic_load(&waits->kills)];

	if (us > LONG_US)
		note_long(place, what, began_ns, us);
	if (us > atomic_load(longest))
		atomic_store(longest, us);
	atomic_fetch_add(&waits->done[place], 1);
}

static int by_length(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t longest_of(unsigned int place, uint32_t kills)
{
	uint32_t longest = 0;

	for (uint32_t i = 1; i <= kills; i++)
		if (atomic_load(&waits->us[place][i]) > longest)
			longest = atomic_load(&waits->us[place][i]);
	return longest;
}

/* All clients have ended. */
static void print_longs(void)
{
	uint32_t nr = atomic_load(&waits->nr_longs);

	for (uint32_t i = 0; i < nr && i < LONG_MAX; i++) {
		const struct long_wait *wait = &waits->longs[i];

		printf("# client %u waited %u ms in %s, with %u kills meanwhile\n", wait->place,
		       wait->us / 1000, wait->what, wait->kills);
	}
	if (nr > LONG_MAX)
		printf("# and %u more of that length\n", nr - LONG_MAX);
}

void waits_print(unsigned int clients, uint64_t *p99, uint64_t *worst)
{
	uint32_t kills = atomic_load(&waits->kills);
	uint64_t nr = (uint64_t)kills * clients, at = 0;
	uint32_t *all = calloc(nr, sizeof(*all));

	EXPECT(nr && all);
	for (unsigned int place = 0; place < clients; place++)
		for (uint32_t i = 1; i <= kills; i++)
			all[at++] = atomic_load(&waits->us[place][i]);
	qsort(all, nr, sizeof(*all), by_length);
	printf("# longest by client:");
	for (unsigned int place = 0; place < clients; place++)
		printf(" %u", longest_of(place, kills));
	puts(" us");
	*p99 = all[nr - 1 - nr / 100];
	*worst = all[nr - 1];
	print_longs();
	printf("# %u kills, %u clients; longest wait after a kill: half %u us, p99 %llu us, "
	       "worst %llu us\n", kills, clients, all[nr / 2], (unsigned long long)*p99,
	       (unsigned long long)*worst);
	free(all);
}

/* ---- at named points ---- */

/* Waited for, and never handled. */
static sigset_t taken;

__attribute__((constructor)) static void hold_answers(void)
{
	sigemptyset(&taken);
	sigaddset(&taken, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &taken, NULL);
}

static bool is_answered(void)
{
	return sigtimedwait(&taken, NULL, &(struct timespec){ 0 }) > 0;
}

/* Or has been carried out, before it was answered. */
static bool order_is_taken(void *worker)
{
	return is_answered() || kill(*(pid_t *)worker, 0);
}

bool arm_worker(pid_t worker, enum inject_point point, unsigned int nth)
{
	union sigval value = { .sival_int = inject_order(point, nth) };

	while (is_answered())
		; /* of one that died meanwhile */
	return worker > 0 && !sigqueue(worker, SIGRTMIN + 1, value) &&
	       test_wait(order_is_taken, &worker, ORDER_SECONDS);
}

/* How often it died there. */
static unsigned int die_at(const struct kill_point *point, act_fn act, uint32_t over)
{
	unsigned int times = getenv("MMB_LONG") ? POINT_TIMES_LONG : 1, deaths = 0;
	struct role roles[POINT_CLIENTS];
	struct fixture *f;

	stage_set(point->setting);
	f = stage_begin();
	for (int i = 0; i < POINT_CLIENTS; i++)
		roles[i] = (struct role)ROLE(act);
	stage_cast(roles, POINT_CLIENTS);
	wait_for_number(0, POINT_CLIENTS);
	while (deaths < times) {
		pid_t worker = worker_of(f->pid);

		if (worker <= 0 || kill(worker, SIGRTMIN + 1) || !worker_dies(f->pid, worker))
			break;
		deaths++;
		fixture_reconnect(f); /* it serves again */
	}
	EXPECT_EQ(deaths, times);
	cue(over);
	for (int i = 0; i < POINT_CLIENTS; i++)
		EXPECT(stage_ended((unsigned int)i));
	fixture_reconnect(f);
	stage_end();
	return deaths;
}

void die_at_each(const struct kill_points *points, act_fn act)
{
	for (size_t i = 0; i < points->nr; i++)
		printf("# %s: %u deaths\n", points->at[i].name,
		       die_at(&points->at[i], act, points->over));
}
