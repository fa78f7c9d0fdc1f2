/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process - facts about a client's process, from /proc
 *
 * Purpose     A pid alone may be reused; with its start time it names one process.
 */
#ifndef MMB_OS_PROCESS_H
#define MMB_OS_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* Clock ticks after boot; 0: no such process. */
uint64_t process_start_time(pid_t pid);
/* Index of the node whose CPU its main thread last ran on; 0 if unknown. */
int process_node(pid_t pid);
/* Which node a CPU belongs to; set once at start. */
void process_set_cpu_nodes(const int8_t *cpu_node, unsigned int nr);
/* SIGKILL, if pid is still the process that started then. */
void process_kill(pid_t pid, uint64_t start_time);

#endif
