/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_fixture - sessions, pools and regions on the fake os, for tests of the client floor
 *
 * Purpose     client_begin() brings up what the daemon brings up below its sockets, but for the
 *             fault threads and the keeper. A client is a session with a fake userfaultfd: it maps
 *             what it opens, touches addresses, drops entries on upcall. client_end() expects that
 *             nothing is left of any of them.
 */
#ifndef MMB_TESTS_LIB_CLIENT_FIXTURE_H
#define MMB_TESTS_LIB_CLIENT_FIXTURE_H

#include "client/account.h"
#include "client/session.h"
#include "lib/space_fixture.h"

struct client_options {
	struct space_options space;
	struct limits limits; /* all 0: the fixture's, below */
};

enum {
	CLIENT_SESSIONS = 24,
	CLIENT_SESSIONS_PER_UID = 16,
	CLIENT_REGIONS_PER_SESSION = 12,
	CLIENT_REGIONS_PER_UID = 16,
	CLIENT_POOLS_PER_UID = 8,
};

/* NULL: the defaults. */
void client_begin(const struct client_options *options);
void client_end(void);
/* Waits until what has ended is gone: page runs, regions, pools. */
void client_settle(void);

/* Of a process that doesn't exist, uid and gid as given, no groups. Ends with client_leave(). */
struct session *client_session(uid_t uid);
/* The same without a userfaultfd; NULL if it was refused. */
struct session *client_connect(uid_t uid, struct refusal *why, int *error);
/* A tool of root's. */
struct session *client_operator(void);
void client_leave(struct session *s);

/* As long as the session has it open. */
struct pool *client_pool_of(struct session *s, uint32_t handle);
/* Must succeed. */
uint32_t client_pool(struct session *s, const char *name, uint32_t flags);
/* As a request that nobody repeats. */
int client_unlink(struct session *s, uint32_t pool, const char *name, struct refusal *why);
/* May fail, with the sentence in client_why. */
int client_open_pool(struct session *s, const struct pool_open_args *args, uint32_t *handle);
/* Opens, and maps it where the broker says. name "": unnamed. */
struct region_opened client_region(struct session *s, uint32_t pool, const char *name,
				   uint64_t length, uint32_t flags);
/* Maps what was opened and closes the descriptor. */
void client_map(struct session *s, struct region_opened *opened);
/* Touches an address: faults until it is mapped or poisoned. */
enum client_touched { TOUCH_MAPPED, TOUCH_SIGBUS, TOUCH_WAITS };
enum client_touched client_touch(struct session *s, uint64_t address);
int client_uffd(const struct session *s);

/* What upcalls have told all clients. */
struct client_told {
	unsigned int nr_zaps, nr_kills, nr_orphans, nr_pressures;
	struct pressure_call pressure; /* the last one */
	struct session *pressed, *killed; /* last */
	uint32_t orphans_of, orphans_pool; /* member and handle of the last ORPHANS */
	bool deaf; /* set by a test: ORPHANS can't be delivered */
	struct mapped_range last_zap;
	char reason[160];
};
extern struct client_told client_told;

/* Everything that must come back. */
struct client_counts {
	uint64_t sessions, pools, regions, charged[NR_ACCOUNT_KINDS], sections, metadata;
	uint64_t committed, present; /* of all stocks */
	uint64_t files, file_bytes;
};
void client_count(struct client_counts *out);
void client_expect_counts(const struct client_counts *expected);
/* One node; sessions of the uids 1000 and 2000. */
void client_begin_two(struct session **a, struct session **b, struct client_counts *before);
/* Two sessions of that uid, and the handles that they have of a pool "p". */
void client_share_pool(uid_t uid, struct session **a, uint32_t *pool_a, struct session **b,
		       uint32_t *pool_b);
/* The end of a case with two sessions: valid, both leave, counts are `expected`, client_end(). */
void client_end_two(struct session *a, struct session *b, const struct client_counts *expected);
/* The live verify finds no difference. */
void client_expect_valid(void);

/* A verb refused with this code, and a sentence that contains `words`. */
#define EXPECT_REFUSED(call, code, words)                    \
	do {                                                 \
		client_why = (struct refusal){ "" };         \
		EXPECT_EQ(call, code);                       \
		client_expect_words(words);                  \
	} while (0)
extern struct refusal client_why;
void client_expect_words(const char *words);

#endif
