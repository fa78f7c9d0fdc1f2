/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_map - what the clients of a pool write about the units they have leased
 *
 * Purpose     A unit is 64 KiB of a pool's arena, the grain of SLAB_LEASE and SLAB_RETURN. Each
 *             has a header in the slab map of its arena window: unit i of the window has header
 *             i. The headers of a pageblock fill one page of the map.
 * Invariants  M1  The map is the clients' memory: any of them can write anything there. The
 *                 daemon reads it for reports, a checked copy at a time, and to learn whether a
 *                 unit that came with HELLO is wanted (docs/protocol.md), or that another client
 *                 leased was being returned when a daemon died. It writes there the
 *                 headers of units that it leases, so that survivors find those whose lease a
 *                 dead client never saw, and whether it still offers such a unit.
 *             M2  Addresses in it are arena addresses, equal in every client.
 * Not here    How slabs work (libclient/slab.h); which units are leased (the daemon).
 */
#ifndef MMB_PROTO_SLAB_MAP_H
#define MMB_PROTO_SLAB_MAP_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
	SLAB_UNIT_SHIFT = 16,
	SLAB_UNIT_BYTES = 1 << SLAB_UNIT_SHIFT,
	SLAB_HEADER_SHIFT = 7,
	SLAB_HEADER_BYTES = 1 << SLAB_HEADER_SHIFT,
	SLAB_UNITS_MAX = 64, /* contiguous ones in one lease: 4 MiB */
	/* Bins: the size classes, then the caches of the pool, whose ids begin with 1. */
	SLAB_SIZE_CLASSES = 97,
	SLAB_CACHES_MAX = 927,
	SLAB_BINS = SLAB_SIZE_CLASSES + SLAB_CACHES_MAX,
	/* An owner is a member's number << this | the number of a heap of it; 0: its shelf. */
	SLAB_MEMBER_SHIFT = 14,
};

static inline uint64_t slab_unit_bytes(uint32_t units)
{
	return (uint64_t)units * SLAB_UNIT_BYTES;
}

enum slab_kind {
	SLAB_NONE,    /* not in use by a heap */
	SLAB_OBJECTS, /* first unit of a slab */
	SLAB_TAIL,    /* a further unit of a slab or run; `back` leads to the first */
	SLAB_RUN,     /* first unit of one large object */
};

/*
 * shared: owner << 32 | head << 16 | count. owner is the heap that works in the slab, 0: none.
 * head and count tell of the list of objects that others have freed: head is the first one's
 * index in the slab, plus 1.
 */
/* The first cache line is read by everybody who frees, the second is the owner's: what it writes
 * with each object must not take the line away from the others. */
/* a: atomic   o: the owner   c: fixed while kind is */
struct slab_header {
	_Atomic uint64_t shared;  /* (a) */
	uint32_t         size;    /* (c) bytes of an object */
	uint32_t         total;   /* (c) objects in the slab */
	uint32_t         back;    /* (c) TAIL: units to the first */
	uint32_t         units;   /* (c) of the slab or run */
	uint16_t         bin;     /* (c) size class, or SLAB_SIZE_CLASSES - 1 + cache id */
	_Atomic uint8_t  kind;    /* (a) enum slab_kind */
	uint8_t          reserved0[5];
	uint64_t         bytes;   /* RUN: as asked for */
	uint32_t         first;   /* (c) the object that is handed out first, by index */
	_Atomic uint32_t offered; /* (a) the unit came with HELLO and the offer stands */
	_Atomic uint32_t claimed; /* (a) the client has said that it uses it */
	_Atomic uint32_t given;   /* (a) in a shared pool: the owner that has begun to return it */
	uint32_t         reserved1[2];

	uint64_t         free;    /* (o) first free object or an end; the next is encoded there */
	uint32_t         left;    /* (o) frees until the owner has more to do; with slow_at, how
				   *     many objects are handed out or wait in shared */
	uint32_t         slow_at; /* (o) */
	uint64_t         fresh;   /* (o) so many bytes of objects behind the start, counted from the
				   *     first one on and around, were handed out once */
	uint64_t         next;    /* (o) neighbours in a list, pointers of the owner's process */
	uint64_t         prev;    /* (o) */
	uint8_t          state;   /* (o) which list of the owner has it */
	uint8_t          reserved2[23];
};
static_assert(sizeof(struct slab_header) == SLAB_HEADER_BYTES, "found by a shift");
static_assert(SLAB_UNIT_BYTES / 8 < 1 << 16, "an index fits its 16 bits");

#endif
