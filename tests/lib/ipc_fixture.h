/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc_fixture - a server over the fake verbs, in a folder of its own
 *
 * Purpose     Each case starts one, and ends with the check that every session that was made has
 *             ended, that all of them are freed, and that no descriptor is left open.
 * Locking     one case at a time.
 */
#ifndef MMB_TESTS_LIB_IPC_FIXTURE_H
#define MMB_TESTS_LIB_IPC_FIXTURE_H

#include "ipc/server.h"
#include "lib/fake_verbs.h"
#include "lib/wire_client.h"

struct ipc_fixture {
	struct server_options options; /* change between init and start */
	struct server        *server;
	char                  folder[64], path[96];
	unsigned int          nr_descriptors; /* open before */
};

void ipc_fixture_init(struct ipc_fixture *f);
void ipc_fixture_start(struct ipc_fixture *f);
/* Stops the server, if it runs still, and makes the checks. */
void ipc_fixture_fini(struct ipc_fixture *f);

/* A connected client over a socketpair that the server adopted. */
void ipc_fixture_connect(struct ipc_fixture *f, struct wire_client *c);
/* The same after HELLO, with memory. */
void ipc_fixture_session(struct ipc_fixture *f, struct wire_client *c);

/* Waits until a counter has reached at least `value`. */
bool ipc_wait_count(const atomic_uint *counter, unsigned int value);

#endif
