/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handles - numbers by which a session names its pools and regions
 *
 * Purpose     A handle is an index and a serial number, so that a stale or invented one is refused
 *             instead of meaning something else.
 * Invariants  H1  handle 0 is never valid.
 * Locking     the session's lock.
 */
#ifndef MMB_CLIENT_HANDLES_H
#define MMB_CLIENT_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

enum { HANDLE_INDEX_BITS = 18, HANDLE_MAX = 1 << HANDLE_INDEX_BITS };

struct handle_slot {
	void *object; /* NULL: free */
	uint32_t serial;
	uint32_t next_free;
};

struct handles {
	struct handle_slot *slots;
	uint32_t nr_slots, nr_used, first_free;
};

void handles_init(struct handles *h);
void handles_fini(struct handles *h);
/* The new handle, or 0: no memory. */
uint32_t handles_add(struct handles *h, void *object);
/* A handle as it was given before; handles_restored() after the last of them. -ENOMEM, -EEXIST. */
int handles_restore(struct handles *h, uint32_t handle, void *object);
/* Whether that handle's place is free. */
bool handles_has_place(const struct handles *h, uint32_t handle);
/* The others are free, with serial numbers from `first_serial` on. */
void handles_restored(struct handles *h, uint32_t first_serial);
/* NULL for a handle that is not valid. */
void *handles_get(const struct handles *h, uint32_t handle);
void *handles_del(struct handles *h, uint32_t handle);
/* The next used slot at or after *cursor; NULL at the end. */
void *handles_next(const struct handles *h, uint32_t *cursor, uint32_t *handle);

#endif
