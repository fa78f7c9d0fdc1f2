/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage - a private daemon, and clients of libmmbroker that play a scene on it together
 *
 * Purpose     Each case is a scene: its actors run in processes of their own and keep step by
 *             cues. After the scene the daemon must be alive as the same process, all counters as
 *             before, and VERIFY clean.
 * Invariants  S1  a scene that goes wrong fails its own case only: the next one gets a new daemon,
 *                 and actors left over are killed.
 *             S2  an actor says with CLIENT_EXPECT what it must see.
 *             S3  a wait is for a condition, with a deadline.
 * Locking     none; the board is shared by all processes and atomic.
 * Not here    Hostile clients (hostile.h), the daemon's start and stop (lib/broker_fixture.h).
 */
#ifndef MMB_TESTS_SYSTEM_STAGE_H
#define MMB_TESTS_SYSTEM_STAGE_H

#include <stdatomic.h>

#include "lib/broker_fixture.h"
#include "lib/test.h"
#include "mmbroker.h"

enum {
	PAGE = 4096,
	HUGE_PAGE = 2 << 20,
	MIB = 1 << 20,
	ACTORS_MAX = 32,
	BOARD_NUMBERS = 64,
};

/* What actors and the test tell each other. */
struct board {
	_Atomic uint32_t reached; /* the highest cue given */
	_Atomic uint64_t number[BOARD_NUMBERS];
};
extern struct board *board;

/* One client, in its own process. */
struct actor {
	const char *socket;
	unsigned int place; /* in the cast */
	struct mmb *mmb;    /* closed after the scene, if it is still open */
	struct mmb_pool *pool;
};
typedef void (*act_fn)(struct actor *a);

struct role {
	act_fn act;
	int status;  /* how the process must end: exit status, or -signal */
	bool nobody; /* uid and gid 65534 */
};

/* ---- in the test process ---- */

/* Which daemon the scenes that follow are played on: flags and environment ("NAME=VALUE"), both
 * NULL-terminated or NULL, compared by address. Before the first scene. */
struct setting {
	const char *const *flags;
	const char *const *environment;
};
void stage_set(const struct setting *setting);

/* Starts the daemon if need be, clears the board, takes the baseline. */
struct fixture *stage_begin(void);
/* Lets the actors begin. */
void stage_cast(const struct role *roles, unsigned int nr);
pid_t stage_pid(unsigned int place);
void stage_kill(unsigned int place, int signal_number);
/* Waits for an actor's end: as its role says? */
bool stage_ended(unsigned int place);
/* Has an actor ended otherwise than its role says? */
bool stage_failed(void);
/* Waits for the actors' ends; then what must hold after a scene. */
void stage_end(void);
/* All of it. */
void stage_play(const struct role *roles, unsigned int nr);
#define ROLE(fn, ...)                      \
	{                                  \
		.act = (fn), ##__VA_ARGS__ \
	}
#define PLAY(...)                                        \
	stage_play((const struct role[]){ __VA_ARGS__ }, \
		   sizeof((const struct role[]){ __VA_ARGS__ }) / sizeof(struct role))
#define CAST(...)                                        \
	stage_cast((const struct role[]){ __VA_ARGS__ }, \
		   sizeof((const struct role[]){ __VA_ARGS__ }) / sizeof(struct role))
/* The daemon has been killed or stopped: the actors' ends as their roles say, and no more. The
 * next scene gets a new daemon. */
void stage_end_without_daemon(void);
/* The last case of each program. */
void stage_stops(void);
#define STAGE_STOPS                                                          \
	{                                                                    \
		"after all of it the daemon ends with status 0", stage_stops \
	}

/* The daemon's answer to a command line of mmbctl; NULL and printed: it failed. Freed by the next
 * call. May be called by actors too. */
const char *mmbctl(const char *socket, const char *arguments);
/* mmbctl maps of the session of this process. */
const char *mmbctl_maps(const char *socket, pid_t pid);
/* How often a text stands in another. */
unsigned int occurrences(const char *text, const char *part);
/* The number after "key": in the object where `mark` stands first, -1: none. */
int64_t json_number(const char *json, const char *mark, const char *key);
/* The number of the line that begins with `name` in a text of /proc's kind; -1: none. */
int64_t line_number(const char *text, const char *name);
/* A value of /proc/meminfo as printed there. */
int64_t host_memory(const char *name);
/* At least so many free 2 MiB pages on this host, raised by root if need be and put back at the
 * program's end. */
bool hugepages_get(unsigned int nr);
/* SIGSTOP, and every thread of it stands still. */
bool stop_process(pid_t pid);
/* Skips the case unless this is root. */
void need_root(const char *what_for);

/* ---- in an actor, and in the test ---- */

void cue(uint32_t step);
/* Waits for a cue; an actor ends if it doesn't come. */
void await(uint32_t step);
bool cue_comes(uint32_t step);

/* ---- in an actor; each expects to succeed ---- */

void act_open(struct actor *a);
/* The same, without a broker for so long at most. */
void act_open_for(struct actor *a, uint64_t daemon_timeout_ms);
/* A private pool; max 0: no limit. */
void act_pool(struct actor *a, uint64_t max);
/* fork() while no other thread of the library's is likely to be at work. */
pid_t act_fork(void);
/* The scene's common pool, which anybody may use. */
void act_common_pool(struct actor *a);
struct mmb_region *act_region(struct actor *a, size_t bytes, uint32_t flags);
/* Named, in the actor's pool, made if it isn't there; for everybody. */
struct mmb_region *act_named(struct actor *a, const char *name, size_t bytes);
struct mmb_region *act_clone(struct mmb_region *region, const char *name, uint32_t flags);
/* Slabs that its heap has taken over from others. */
unsigned long act_adopted(struct mmb_pool *pool);
struct mmb_region_stat act_stat(struct mmb_region *region);
char *act_at(struct mmb_region *region);
void act_on_cpu(int cpu);

/* What a touch does: 0, SIGBUS or SIGSEGV. */
int touch_read(const void *at, char *value);
int touch_write(void *at, char value);

/* Words that tell (seed, index) and no other, and are never 0. */
void stamp(void *at, size_t bytes, uint64_t seed);
bool is_stamped(const void *at, size_t bytes, uint64_t seed);
bool is_zero(const void *at, size_t bytes);

#endif
