/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process - on which node a client's process runs, from /proc; whether it has ended, from a pidfd;
 * whether it has left a socket
 *
 * Purpose     A pid may be reused: an answer about the wrong process costs placement, nothing else.
 *             A pidfd names one process for ever.
 */
#ifndef MMB_OS_PROCESS_H
#define MMB_OS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Index of the node whose CPU its main thread last ran on; 0 if unknown. */
int process_node(pid_t pid);
/* Nothing of it runs any more. */
bool process_has_ended(int pidfd);
/* Both ends of a connected socket have been shut down, or the other one has been closed. */
bool socket_is_shut(int sock);
/* Which node a CPU belongs to; set once at start. */
void process_set_cpu_nodes(const int8_t *cpu_node, unsigned int nr);

#endif
