/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_log - why a page was poisoned, readable by the client without a system call
 *
 * Purpose     One page-sized memfd per session, written by the daemon, mapped read-only by the
 *             client: a ring of records for mmb_fault_info(), which runs in signal handlers.
 * Invariants  L1  seq is odd while a record is being written; a reader takes a record whose seq
 *                 was even and the same before and after.
 *             L2  The daemon never reads it: a client of the daemon's own uid could write it.
 */
#ifndef MMB_PROTO_FAULT_LOG_H
#define MMB_PROTO_FAULT_LOG_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

enum { MMB_FAULT_RECORDS = 16, MMB_FAULT_LOG_BYTES = 4096 };

struct mmb_fault_record {
	_Atomic uint32_t seq;
	int32_t          error; /* negative errno */
	uint64_t         address; /* page-aligned, in the client's address space */
	uint64_t         length;
	uint64_t         offset; /* of address in the region */
	char             region[64];
	char             cause[96];
};

struct mmb_fault_log {
	_Atomic uint64_t        head; /* records written so far; slot is head % MMB_FAULT_RECORDS */
	uint64_t                reserved[7];
	struct mmb_fault_record records[MMB_FAULT_RECORDS];
};

static_assert(sizeof(struct mmb_fault_log) <= MMB_FAULT_LOG_BYTES, "fits the memfd");

#endif
