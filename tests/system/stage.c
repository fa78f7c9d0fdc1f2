/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage - the frame of the scenes
 *
 * Locking     none.
 */
#include "system/stage.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CUE_SECONDS = 40, SCENE_SECONDS = 60 };

struct board *board;

static struct fixture broker;
static struct setting wanted, running;
static struct client_process actors[ACTORS_MAX];
static struct role cast[ACTORS_MAX];
static unsigned int nr_actors;
static bool told[ACTORS_MAX]; /* that it has failed */
static bool checked; /* S1 */

/* ---- the daemon ---- */

void stage_set(const struct setting *setting)
{
	wanted = *setting;
}

static void clear_stage(void)
{
	for (unsigned int i = 0; i < nr_actors; i++)
		client_signal(&actors[i], SIGKILL);
	nr_actors = 0;
}

static void clean_up(void)
{
	clear_stage();
	fixture_cleanup(&broker);
}

/* An actor ends without its exit handlers: this runs in the test process only. */
static void prepare(void)
{
	if (board)
		return;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	EXPECT(board != MAP_FAILED);
	atexit(clean_up);
}

static void change_environment(const char *const *variables, bool set)
{
	for (; variables && *variables; variables++) {
		char name[64];
		char *equals;

		snprintf(name, sizeof(name), "%s", *variables);
		equals = strchr(name, '=');
		EXPECT(equals);
		*equals = '\0';
		if (set)
			setenv(name, strchr(*variables, '=') + 1, 1);
		else
			unsetenv(name);
	}
}

static void start_broker(void)
{
	clean_up();
	running = wanted;
	change_environment(running.environment, true);
	fixture_start(&broker, running.flags);
	change_environment(running.environment, false);
}

struct fixture *stage_begin(void)
{
	bool same = wanted.flags == running.flags && wanted.environment == running.environment;

	prepare();
	clear_stage();
	if (checked && !same && fixture_alive(&broker))
		fixture_stop(&broker);
	if (!checked || !same || !fixture_alive(&broker))
		start_broker();
	checked = false;
	memset(board, 0, sizeof(*board));
	fixture_baseline(&broker);
	return &broker;
}

void stage_stops(void)
{
	if (!checked || !fixture_alive(&broker))
		SKIP("no daemon is left from the cases before");
	checked = false;
	fixture_stop(&broker);
}

/* ---- the actors ---- */

static void act(struct client_process *self, void *arg)
{
	const struct role *role = arg;
	struct actor a = { .socket = broker.socket, .place = (unsigned int)(role - cast) };

	if (role->nobody)
		CLIENT_EXPECT_EQ(client_become_nobody(), 0);
	role->act(&a);
	if (a.mmb)
		mmb_close(a.mmb);
}

void stage_cast(const struct role *roles, unsigned int nr)
{
	EXPECT(nr_actors + nr <= ACTORS_MAX);
	memset(told, 0, sizeof(told));
	for (unsigned int i = 0; i < nr; i++, nr_actors++) {
		cast[nr_actors] = roles[i];
		client_fork(&actors[nr_actors], act, &cast[nr_actors]);
		EXPECT(actors[nr_actors].pid);
	}
}

pid_t stage_pid(unsigned int place)
{
	return actors[place].pid;
}

void stage_kill(unsigned int place, int signal_number)
{
	kill(actors[place].pid, signal_number);
}

/* Ended, with something else than it must; *still: it plays on. */
static bool has_failed(unsigned int place, bool *still)
{
	siginfo_t info = { 0 };
	int status;

	if (waitid(P_PID, (id_t)actors[place].pid, &info, WEXITED | WNOHANG | WNOWAIT))
		return true;
	if (!info.si_pid) {
		*still = true;
		return false;
	}
	status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
	if (status != cast[place].status && !told[place]) /* whatever the test makes of it */
		printf("  actor %u has ended with %d, not %d\n", place, status, cast[place].status);
	told[place] |= status != cast[place].status;
	return status != cast[place].status;
}

static bool has_ended(void *place)
{
	bool still = false;

	return has_failed(*(unsigned int *)place, &still) || !still;
}

bool stage_ended(unsigned int place)
{
	bool still = false;

	return test_wait(has_ended, &place, CUE_SECONDS) && !has_failed(place, &still);
}

bool stage_failed(void)
{
	bool failed = false, still = false;

	for (unsigned int i = 0; i < nr_actors; i++)
		failed |= has_failed(i, &still);
	return failed;
}

/* The others would wait for the cues of one that has failed. */
static bool scene_is_over(void *unused)
{
	bool failed = stage_failed(), still = false;

	for (unsigned int i = 0; i < nr_actors; i++)
		if (!has_failed(i, &still) && failed)
			kill(actors[i].pid, SIGKILL);
	return failed || !still;
}

static bool actors_end(void)
{
	bool all_right = true;

	test_wait(scene_is_over, NULL, SCENE_SECONDS);
	for (unsigned int i = 0; i < nr_actors; i++) {
		int status = client_wait(&actors[i]);

		if (status != cast[i].status)
			printf("  actor %u ended with %d, not %d\n", i, status, cast[i].status);
		all_right &= status == cast[i].status;
	}
	nr_actors = 0;
	return all_right;
}

void stage_end(void)
{
	bool all_right = actors_end();

	if (!all_right || !fixture_alive(&broker))
		fixture_show_log(&broker);
	EXPECT(fixture_alive(&broker));
	EXPECT(all_right);
	fixture_expect_baseline(&broker);
	checked = true;
}

void stage_end_without_daemon(void)
{
	bool all_right = actors_end();

	checked = false;
	EXPECT(all_right);
}

void stage_play(const struct role *roles, unsigned int nr)
{
	stage_begin();
	stage_cast(roles, nr);
	stage_end();
}

/* ---- cues ---- */

void cue(uint32_t step)
{
	uint32_t reached = atomic_load(&board->reached);

	while (reached < step && !atomic_compare_exchange_weak(&board->reached, &reached, step))
		;
}

static bool is_reached(void *step)
{
	return atomic_load(&board->reached) >= *(uint32_t *)step;
}

bool cue_comes(uint32_t step)
{
	return test_wait(is_reached, &step, CUE_SECONDS);
}

void await(uint32_t step)
{
	CLIENT_EXPECT(cue_comes(step));
}

/* ---- what an actor does ---- */

void act_open_for(struct actor *a, uint64_t daemon_timeout_ms)
{
	const struct mmb_open_options options = { .size = sizeof(options),
						  .daemon_timeout_ms = daemon_timeout_ms };

	if (a->mmb)
		return;
	if (mmb_open(a->socket, daemon_timeout_ms ? &options : NULL, &a->mmb))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(a->mmb);
}

/* gcc's AddressSanitizer takes none of its locks for fork(): what the pager has at that moment the
 * child waits for in vain. */
pid_t act_fork(void)
{
#ifdef __SANITIZE_ADDRESS__
	const struct timespec rest = { .tv_nsec = 200 * 1000 * 1000 };

	nanosleep(&rest, NULL);
#endif
	return fork();
}

void act_open(struct actor *a)
{
	act_open_for(a, 0);
}

static void open_pool(struct actor *a, const char *name, unsigned int flags,
		      const struct mmb_pool_options *options)
{
	act_open(a);
	if (mmb_pool_open(a->mmb, name, flags, options, &a->pool))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(a->pool);
}

void act_pool(struct actor *a, uint64_t max)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .max = max };

	open_pool(a, NULL, MMB_POOL_PRIVATE, &options);
}

void act_common_pool(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .mode = 0666 };

	open_pool(a, "common", MMB_POOL_CREATE, &options);
}

struct mmb_region *act_region(struct actor *a, size_t bytes, uint32_t flags)
{
	const struct mmb_region_options options = { .size = sizeof(options), .flags = flags };
	struct mmb_region *region = NULL;

	if (mmb_region_create(a->pool, bytes, &options, &region))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(region);
	return region;
}

struct mmb_region *act_named(struct actor *a, const char *name, size_t bytes)
{
	const struct mmb_region_options options = { .size = sizeof(options), .mode = 0666 };
	struct mmb_region *region = NULL;

	if (mmb_region_open(a->pool, name, bytes, bytes ? MMB_REGION_CREATE : 0, &options, &region))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(region);
	return region;
}

struct mmb_region *act_clone(struct mmb_region *region, const char *name, uint32_t flags)
{
	const struct mmb_clone_options options = { .size = sizeof(options),
						   .name = name,
						   .flags = flags };
	struct mmb_region *clone = NULL;
	int error = mmb_region_clone(region, &options, &clone);

	if (error)
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	return clone;
}

static void read_adopted(void *adopted, const char *text)
{
	sscanf(text, "adopted slabs %lu", (unsigned long *)adopted);
}

unsigned long act_adopted(struct mmb_pool *pool)
{
	unsigned long adopted = 0;

	mmb_stats_print(pool, read_adopted, &adopted);
	return adopted;
}

struct mmb_region_stat act_stat(struct mmb_region *region)
{
	struct mmb_region_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT_EQ(mmb_region_stat(region, &stat), 0);
	return stat;
}

char *act_at(struct mmb_region *region)
{
	char *at = mmb_region_address(region);

	CLIENT_EXPECT(at);
	return at;
}

/* ---- contents ---- */

static uint64_t stamp_word(uint64_t seed, uint64_t index)
{
	return (seed * 0x9e3779b97f4a7c15 + index) * 0xd1342543de82ef95 | 1;
}

void stamp(void *at, size_t bytes, uint64_t seed)
{
	uint64_t *words = at;

	for (uint64_t i = 0; i < bytes / sizeof(*words); i++)
		words[i] = stamp_word(seed, i);
}

bool is_stamped(const void *at, size_t bytes, uint64_t seed)
{
	const uint64_t *words = at;

	for (uint64_t i = 0; i < bytes / sizeof(*words); i++)
		if (words[i] != stamp_word(seed, i))
			return false;
	return true;
}

bool is_zero(const void *at, size_t bytes)
{
	const uint64_t *words = at;

	for (uint64_t i = 0; i < bytes / sizeof(*words); i++)
		if (words[i])
			return false;
	return true;
}
