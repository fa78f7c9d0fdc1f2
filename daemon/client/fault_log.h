/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_log - the memory of sessions' fault logs, some of it made before it is wanted
 *
 * Purpose     A log is a memfd of one page that the daemon writes and one client reads. To make one
 *             takes nine system calls: those that are ready cost a connecting client nothing.
 * Invariants  G1  A log has one session in its life: who had it before may still have it mapped.
 *             G2  At most `kept` logs are ready; none before fault_logs_keep().
 * Locking     a leaf mutex for what is ready.
 * Not here    Records (session.c), the layout (proto/fault_log.h).
 */
#ifndef MMB_CLIENT_FAULT_LOG_H
#define MMB_CLIENT_FAULT_LOG_H

#include <stdint.h>

#include "proto/fault_log.h"

enum { FAULT_LOGS_READY_MAX = 16 };

struct fault_log {
	struct mmb_fault_log *map; /* NULL: none */
	int                   fd;  /* read-only, for the client */
};

void fault_logs_init(void);
void fault_logs_fini(void);
/* So many shall be ready from now on. */
void fault_logs_keep(uint32_t nr);
/* Makes what is missing; takes a while. */
void fault_logs_refill(void);

/* A predecessor's, by the descriptor that its client has; taken over. */
int fault_log_resume(int fd, struct fault_log *out);
int fault_log_open(struct fault_log *out);
void fault_log_close(struct fault_log *log);

#endif
