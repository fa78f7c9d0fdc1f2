/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay - free objects on their way from threads that free to threads that allocate
 *
 * Purpose     A thread that frees what others have allocated hands on what overflows its magazines,
 *             a batch at a time, to whoever finds an empty magazine of that bin: pointers in an
 *             array, so that nobody walks a list through objects whose memory another CPU has.
 * Invariants  J1  Of private pools only. An object in a batch is what one in a magazine is: it
 *                 counts as used in its slab, and its first word is its mark (M1, M2 of
 *                 magazine.h).
 *             J2  A batch is EMPTY, FULL, or the one's who made it BUSY.
 *             J3  What nobody has put or taken of a bin since the last visit goes to the slabs.
 * Locking     none between threads (J2); visits hold heap_pool.lock.
 */
#ifndef MMB_LIBCLIENT_HEAP_RELAY_H
#define MMB_LIBCLIENT_HEAP_RELAY_H

#include <stdbool.h>
#include <stdint.h>

struct heap_magazine;
struct heap_pool;

/* Puts the upper part of a magazine that is full. False: nothing done, there is no room. */
bool relay_put(struct heap_pool *hp, unsigned int bin, struct heap_magazine *m);
/* Whether there is room for a batch. */
bool relay_has_room(struct heap_pool *hp, unsigned int bin);
/* Whether there is a batch. */
bool relay_has_any(struct heap_pool *hp, unsigned int bin);
/* Moves a batch to an empty magazine, or what it has room for. False: there is none. */
bool relay_take(struct heap_pool *hp, unsigned int bin, struct heap_magazine *m);
/* A visit: J3, or with `all` everything. True: there is something left. */
bool relay_tidy_locked(struct heap_pool *hp, bool all);
/* J1; the number of differences; with everything quiet. */
uint32_t relay_validate(const struct heap_pool *hp);
/* What is in it is forgotten. */
void relay_fini(struct heap_pool *hp);

#endif
