/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_broker - a scripted broker for tests of libclient
 *
 * Purpose     Speaks the protocol on a unix socket from threads of the test program: one pool arena
 *             in a memfd with its slab map, which all pools share, named caches, regions in memfds
 *             that nobody serves. Requests can be held back,
 *             refused, and are counted.
 * Locking     broker.lock for everything but the sockets' own.
 */
#ifndef MMB_TESTS_UNIT_FAKE_BROKER_H
#define MMB_TESTS_UNIT_FAKE_BROKER_H

#include <stdbool.h>
#include <stdint.h>

enum { BROKER_ARENA_BYTES = 32 << 20, BROKER_METHODS = 64, BROKER_CLONE_BYTES = 1 << 20 };

struct fake_broker;

/* What comes with HELLO: a pool as it should be, or something that no broker should say. */
enum broker_offer {
	OFFER_NONE,
	OFFER_GOOD,
	OFFER_WITHDRAWN, /* before it could be claimed */
	OFFER_OUTSIDE,   /* its unit lies in no window */
	OFFER_NO_ARENA,
	OFFER_NO_HANDLE,
	OFFER_FEW_FDS,
};

/* What a clone's reply tells of how to map it. */
enum broker_clone {
	CLONE_TOLD,
	CLONE_UNTOLD,  /* as an older broker does */
	CLONE_FOREIGN, /* of a region that isn't the clone */
	CLONE_NO_FD,
};

/* What comes with a descriptor of an empty file instead of its own. */
enum broker_short {
	SHORT_NOTHING,
	SHORT_FAULT_LOG,
	SHORT_ARENA,
	SHORT_SLAB_MAP,
	SHORT_REGION,
};

struct fake_broker *broker_start(void);
/* Ends every connection and joins every thread. */
void                broker_stop(struct fake_broker *b);
/* Nobody can connect any more, and no file is left; who is connected stays so. */
void                broker_hide(struct fake_broker *b);
const char         *broker_path(const struct fake_broker *b);
uint64_t            broker_arena_address(const struct fake_broker *b);
uint64_t            broker_region_address(const struct fake_broker *b);

/* Requests of this method wait; broker_release answers those held and lets later ones pass. */
void broker_hold(struct fake_broker *b, uint32_t method);
void broker_release(struct fake_broker *b, uint32_t method);
/* Until at least nr requests of the method have come in; false after 10 seconds. */
bool broker_wait_count(struct fake_broker *b, uint32_t method, uint32_t nr);
/* Answered with this code and sentence; code 0: as usual again. */
void broker_refuse(struct fake_broker *b, uint32_t method, int code, const char *words);
/* From now on there is swap. */
void broker_swap(struct fake_broker *b);
/* Nothing is read any more behind the next packet, until it is undone. */
void broker_deafen(struct fake_broker *b, bool deaf);
/* The next reply carries an id nobody asked with. */
void broker_confuse(struct fake_broker *b);
/* The next lease comes with so many addresses, whatever was asked for. */
void broker_exaggerate(struct fake_broker *b, uint32_t nr);
void broker_offer(struct fake_broker *b, enum broker_offer how);
void broker_clone(struct fake_broker *b, enum broker_clone how);
void broker_shorten(struct fake_broker *b, enum broker_short what);
/* Slab maps are said to be of so many bytes, and are as long as that takes; 0: of the arena. */
void broker_stretch(struct fake_broker *b, uint64_t bytes);
/* The arena is said to consist of so many windows. */
void broker_scatter(struct fake_broker *b, uint32_t windows);
/* Where the next regions are said to belong. */
void broker_place_regions(struct fake_broker *b, uint64_t address);

/* Each connection's requests came with ids that grow. */
bool     broker_in_order(struct fake_broker *b);
uint32_t broker_count(struct fake_broker *b, uint32_t method);
/* Frames granted and not freed. */
uint32_t broker_frames_out(struct fake_broker *b);
/* Units leased and not returned; a private pool's go with its handle, so they may stay. */
uint32_t broker_units_out(struct fake_broker *b);
/* At most so many are leased; 0: no limit but the arena. */
void broker_limit_units(struct fake_broker *b, uint32_t units);
/* What the last client called itself. */
void     broker_client_name(struct fake_broker *b, char name[64]);
/* The address in the last WINDOW request; 0: none yet. */
uint64_t broker_last_window(struct fake_broker *b);

/* Upcalls to the newest connection; true: acknowledged with this code within 10 seconds. */
bool broker_pressure(struct fake_broker *b, int code);
bool broker_zap(struct fake_broker *b, uint64_t address, uint64_t length, int code);
void broker_goodbye(struct fake_broker *b, const char *reason);
/* Writes a fault record into the newest connection's log. */
void broker_log_fault(struct fake_broker *b, uint64_t address, const char *cause);
/* As if another one had taken the newest connection over: requests that were held are lost, and
 * nothing is held any more. */
void broker_restart(struct fake_broker *b);
/* Closes the newest connection. */
void broker_hang_up(struct fake_broker *b);

#endif
