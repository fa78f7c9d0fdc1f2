/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker - boot order and the facts that hold from then on
 *
 * Purpose     Brings up physical memory as a kernel does: nodes, metadata, sections, stocks,
 *             memblock for the daemon's own memory, hand-over to the buddy, then the tables and
 *             threads above. Nothing is served before broker_start() returns.
 * Not here    The socket (ipc), where the figures come from (app/config.h).
 */
#ifndef MMB_CLIENT_BROKER_H
#define MMB_CLIENT_BROKER_H

#include "client/account.h"
#include "client/verbs.h"
#include "mm/phys/stock.h"
#include "os/topology.h"
#include "os/uffd_features.h"

struct broker_config {
	uint64_t reserve, reserve_huge; /* bytes over all nodes */
	bool hold;
	uint64_t fault_deadline_ms;
	uint32_t fault_threads; /* 0: one a CPU */
	struct limits limits;
	const char *slub_debug; /* see struct slab_setup */
	const char *swap_path;  /* NULL: none */
	uint64_t swap_bytes;
	bool swap_by_threads; /* without io_uring */
	bool (*is_unwanted)(void); /* asked while the reserve is taken; NULL: never */
};

/* c: fixed after broker_start */
struct broker {
	struct topology topology;      /* (c) */
	struct uffd_features features; /* (c) */
	bool hold;                     /* (c) */
	bool resumes;                  /* (c) a predecessor's sessions are to be taken over */
	uint64_t started_ns;           /* (c) */
	uint32_t nr_cpus;              /* (c) that the daemon may run on */
};
extern struct broker broker;

/* What a first start would find wrong with the reserves, without taking anything: of what the host
 * has at all, or also of what is free at this moment. One thing at a time: kind STOCK_BASE is
 * memory.reserve, STOCK_HUGE memory.reserve_huge. 0, or a negative errno with the sentence. */
int broker_check_reserve(const struct broker_config *config, enum stock_kind kind, bool now,
			 struct refusal *why);
/* 0, or a negative errno with what to do about it; -EINTR: it isn't wanted any more. */
int broker_start(const struct broker_config *config, struct refusal *why);
/* Before the socket is closed: sessions that end from now on end for good. */
void broker_stopping(void);
/* All sessions have ended. */
void broker_stop(void);
/* Bytes of the daemon's own memory under the arena and the tables. */
uint64_t broker_metadata_bytes(void);

#endif
