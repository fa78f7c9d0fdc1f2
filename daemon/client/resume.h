/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume - from a dead daemon's records to pools, regions and sessions
 *
 * Order       resume_memory(): sections and records, before the daemon has memory of its own;
 *             resume_objects(): pools, arenas, regions; then for each session that still has a
 *             client resume_session(); resume_handles(): what those sessions have; resume_serve()
 *             of each; resume_end(): what nobody has any more goes.
 * Crash       Q1  a crash at any point of it leaves records that the next resume understands: a
 *                 record goes before what it stands for, and nothing new is made but what has no
 *                 record.
 *             Before resume_handles() nobody knows where pages are mapped or what is leased: until
 *             it is over nothing is evicted, however long it takes.
 * Invariants  Q2  a record that can't be believed, or belongs to nothing, is freed and counted.
 * Locking     one thread; nobody is served before resume_serve().
 * Not here    Sockets (ipc/adopt.h), who kept the descriptors (app/fdstore.h).
 */
#ifndef MMB_CLIENT_RESUME_H
#define MMB_CLIENT_RESUME_H

#include "client/verbs.h"

struct meta_request;

/* What a resume's time went for, in this order; each is marked when it is over. */
enum resume_phase {
	RESUME_NOTICED, /* the last daemon's death was, by the supervisor */
	RESUME_EXECUTED,
	RESUME_GIVEN, /* descriptors */
	RESUME_MAPPED,
	RESUME_REBUILT,
	RESUME_SERVED,
	RESUME_PHASES
};
/* at_ns: of the monotonic clock; 0: now. */
void resume_mark(enum resume_phase phase, uint64_t at_ns);
/* A predecessor has left its metadata with the keeper. */
bool resume_is_due(void);
/* Instead of meta_init() and section_init(). */
int resume_memory(const struct meta_request *meta, struct refusal *why);
int resume_objects(struct refusal *why);

/* Calls fn for the slot of each session that was left. */
void resume_for_each_session(void (*fn)(uint32_t slot, void *arg), void *arg);
/* peer: as identified now, with name filled in here. One reference is the caller's, as after
 * session_new(). NULL: no memory. */
struct session *resume_session(uint32_t slot, struct peer *peer);
/* Its last upcall had at most this id. */
uint64_t resume_last_upcall(const struct session *s);
struct pool_handle;
/* A session's share of a pool is there. */
void resume_add_share(struct pool_handle *ph);
/* All sessions that have a client are there, with their upcalls set. */
int resume_handles(struct refusal *why);
/* Its faults are served from now on, unless daemons died by them. */
int resume_serve(struct session *s);
/* Then its client ends. Before its connection is served. */
void resume_condemn(struct session *s);
/* Everybody is served. */
void resume_end(void);
/* Until then nobody else looks for what belongs to nobody, or tells anybody of it. */
bool resume_is_under_way(void);

#endif
