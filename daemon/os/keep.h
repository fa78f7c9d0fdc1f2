/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep - descriptors that outlive this process
 *
 * Purpose     What a restarted daemon needs as a descriptor is given to a keeper (the daemon's own
 *             supervisor, or the service manager's store) under a number, before the record that
 *             needs it exists; the next process takes it from there by that number.
 * Invariants  K1  a number means at most one descriptor: keeping another one replaces it.
 *             K2  without a keeper nothing is kept, nothing fails, and nothing is resumed.
 *             K3  no more are kept than the keeper has room for: what a service manager has no room
 *                 for it throws away without a word. Sections leave the part that is for the rest.
 * Locking     atomics here; the keeper has its own. keep_give() and keep_take() are for one
 *             thread, at the start.
 * Not here    Who the keeper is (app/fdstore.h), what a number's thing is (the metadata's records).
 */
#ifndef MMB_OS_KEEP_H
#define MMB_OS_KEEP_H

#include <stdbool.h>
#include <stdint.h>

/* 18 bits: three characters of base64 in the service manager's store. */
enum {
	KEEP_SECTIONS = 0, /* + id, which is never 0 */
	KEEP_SESSIONS = 1 << 16, /* + slot * KEEP_SESSION_FDS + enum keep_session */
	KEEP_META = 1 << 17,
	KEEP_LISTENER,
	KEEP_PROGRAM, /* of the daemon that served last */
	KEEP_CONFIG, /* what that one went by */
	KEEP_CONFIG_REFUSED, /* a start failed since, with another */
	KEEP_SWAP = KEEP_META + 8, /* + area */
	KEEP_KEYS = 1 << 18,
	KEEP_ONCE = 16, /* at most so many beside sections and sessions */
};

enum keep_session {
	KEEP_SOCKET,
	KEEP_UFFD,
	KEEP_UPCALLS,
	KEEP_FAULT_LOG,
	KEEP_SESSION_FDS
};

static inline uint32_t keep_session_key(uint32_t slot, enum keep_session what)
{
	return KEEP_SESSIONS + slot * KEEP_SESSION_FDS + what;
}

struct keep_ops {
	int (*keep)(uint32_t key, int fd);
	void (*drop)(uint32_t key);
	int (*barrier)(int fd);
};

/* NULL: no keeper. */
void keep_set(const struct keep_ops *ops);
bool keep_is_on(void);
/* How many the keeper takes; before anything is kept or given. */
void keep_set_room(uint32_t nr);
uint32_t keep_room(void);
/* So much of it is for sessions and what there is once: sections may have what is beside it. Any
 * time; what is kept already stays. */
void keep_set_reserved(uint32_t nr);
/* How many sections have room; UINT32_MAX: nobody counts. */
uint32_t keep_room_for_sections(void);
/* The descriptor stays the caller's too. -EMFILE: the keeper has no room for more. */
int keep_fd(uint32_t key, int fd);
void keep_drop(uint32_t key);
/* The keeper closes its copy of the descriptor when it has done all that it was told before. Or a
 * negative errno: it can't be told just now. */
int keep_barrier(int fd);

/* What the predecessor had kept; this process's from now on. -ENOMEM. */
int keep_give(uint32_t key, int fd);
bool keep_has(uint32_t key);
/* The caller's from then on; -1: nothing was kept under it. It stays kept. */
int keep_take(uint32_t key);
/* Tells the keeper of what nobody took, and closes it. */
void keep_settle(void);

#endif
