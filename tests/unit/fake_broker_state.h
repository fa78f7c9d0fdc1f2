/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_broker_state - what the fake broker knows of its clients and of its memory
 *
 * Invariants  see fake_broker.c.
 * Locking     fake_broker.lock.
 * Not here    What tests see of it (fake_broker.h).
 */
#ifndef MMB_TESTS_UNIT_FAKE_BROKER_STATE_H
#define MMB_TESTS_UNIT_FAKE_BROKER_STATE_H

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "fake_broker.h"
#include "proto/fault_log.h"
#include "proto/slab_map.h"

enum {
	PEERS_MAX = 64,
	HELD_MAX = 128,
	FRAMES = BROKER_ARENA_BYTES / 4096,
	UNIT_FRAMES = SLAB_UNIT_BYTES / 4096,
	UNITS = BROKER_ARENA_BYTES / SLAB_UNIT_BYTES,
	CACHES_MAX = 16,
	REGION_PAGE = 4096,
	WAIT_SECONDS = 10,
};

struct peer {
	struct fake_broker   *broker;
	pthread_t             thread;
	int                   sock, upcall;
	uint64_t              last_id; /* (l) of a request */
	struct mmb_fault_log *log;
};

struct held {
	struct peer *peer;
	uint32_t     method;
	size_t       length;
	uint8_t     *bytes;
};

struct fake_cache {
	char     name[64];
	uint32_t object, align, nr_opens;
};

/* l: lock */
struct fake_broker {
	char            directory[64], path[96];
	int             listener, arena, slab_map;
	uint64_t        arena_address, region_address;
	pthread_t       thread;
	pthread_mutex_t lock;
	pthread_cond_t  changed;                /* with lock */
	struct peer     peers[PEERS_MAX];       /* (l) */
	uint32_t        nr_peers;               /* (l) */
	bool            hold[BROKER_METHODS];   /* (l) */
	uint32_t        count[BROKER_METHODS];  /* (l) */
	int             code[BROKER_METHODS];   /* (l) */
	char            words[BROKER_METHODS][160]; /* (l) */
	struct held     held[HELD_MAX];         /* (l) */
	uint32_t        nr_held;                /* (l) */
	uint8_t         frames[FRAMES];         /* (l) B2 */
	bool            busy[FRAMES];           /* (l) B2 */
	bool            leased[UNITS];          /* (l) B2 */
	uint32_t        units_limit;            /* (l) 0: none */
	struct fake_cache caches[CACHES_MAX];   /* (l) */
	uint32_t        nr_caches;              /* (l) */
	uint32_t        frames_out, handles, units_out; /* (l) */
	char            client[64];             /* (l) the last one's name */
	uint64_t        window;                 /* (l) */
	bool            confused;               /* (l) */
	uint64_t        stretched;              /* (l) bytes a slab map is said to be of; 0 */
	uint32_t        scattered;              /* (l) windows of the arena; 0: one */
	bool            deaf;                   /* (l) */
	bool            disorder;               /* (l) ids that didn't grow */
	uint32_t        exaggerated;            /* (l) 0: leases are what was asked for */
	bool            swap;                   /* (l) */
	enum broker_offer offer;                /* (l) */
	enum broker_clone clone;                /* (l) */
	enum broker_short shorter;              /* (l) */
};

/* For what a test's own broker can't do without. */
static inline void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

#endif
