/* SPDX-License-Identifier: Apache-2.0 */
/*
 * player - a process that has memory and does with it what it is told, for the swap suite
 *
 * Purpose     One process for each contestant keeps its memory from case to case, so that a case
 *             costs its own time and not that of filling gigabytes. Orders go through shared
 *             memory and a pipe; between them the process sleeps.
 * Invariants  P1  it ends when its starter does.
 *             P2  an order that isn't done in time kills it and fails the case.
 * Not here    Whose memory it is: memory_kernel.c, memory_ours.c.
 */
#ifndef MMB_BENCH_SWAP_PLAYER_H
#define MMB_BENCH_SWAP_PLAYER_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/bench.h"
#include "swap/workload.h"

/* What is measured, and what of a sample it fills in. */
enum order_kind {
	ORDER_RUN,       /* FIGURE_RATE */
	ORDER_RECOVER,   /* FIGURE_MS */
	ORDER_OUT,       /* all pages written anew, then to the disk: FIGURE_RATE, FIGURE_CPU */
	ORDER_REFAULT,   /* all on the disk; some come back in random order: FIGURE_P50 .. */
	ORDER_SWEEP,     /* all on the disk; all come back in order: FIGURE_RATE */
	ORDER_TAKE_BACK, /* cold, but still there, touched in random order: FIGURE_P50 .. */
	ORDER_SAME,      /* pages of one repeated word, out and back: FIGURE_IO */
	NR_ORDERS
};

/* pages/s, or accesses/s; ms; ns of CPU a page; ns; ns; pages written to the disk */
enum { FIGURE_RATE, FIGURE_MS, FIGURE_CPU, FIGURE_P50, FIGURE_P99, FIGURE_IO };

struct order {
	enum order_kind kind;
	enum pattern    pattern;
	unsigned int    threads, place, writes, warm_ms, ms;
	uint32_t        touches, pause_us; /* REFAULT, TAKE_BACK */
	uint64_t        word;    /* SAME */
	uint64_t        seed;
};

struct player;

/* Whose memory it is. All but stop() run in the player's process. */
struct player_memory {
	/* p->base of p->bytes. */
	int (*take)(struct player *p);
	/* All of it to the disk; returns when it is there. */
	int (*out)(struct player *p);
	/* The same, and no frame of it is left. */
	int (*empty)(struct player *p);
	/* All of it out of the page tables, as far as one can ask for that, or BENCH_SKIP. */
	int (*cold)(struct player *p);
	/* CPU time so far of everybody who works for it. */
	uint64_t (*cpu_ns)(struct player *p);
	/* Pages written to the swap area so far by anybody. */
	int (*written)(struct player *p, uint64_t *pages);
};
extern const struct player_memory memory_kernel, memory_ours;

struct player_exchange;

/* Fixed by its starter before the first order. */
struct player {
	const char                 *name;
	const struct player_memory *memory;
	const struct cgroup        *group;  /* kernel */
	const char                 *socket, *pool; /* ours */
	pid_t                       daemon; /* ours; 0: not known */
	uint64_t                    bytes, limit;
	uint32_t                    page; /* 4096 or 2 MiB */
	/* Its own. */
	char                       *base;
	void                       *private;
	pid_t                       pid; /* 0: not started */
	int                         tell, hear;
	struct player_exchange     *exchange; /* shared by both sides */
	enum pattern                last;     /* what it ran last: it is warm for that */
	bool                        ran;
	unsigned int                runs; /* each makes other accesses */
};

/* Begins it, starting the player first if it isn't there; and waits until it is done. */
int player_tell(struct player *p, const struct order *order);
int player_await(struct player *p, struct sample *out);
/* Both. */
int player_do(struct player *p, const struct order *order, struct sample *out);
/* Ends it; harmless if it never began. */
void player_stop(struct player *p);

#endif
