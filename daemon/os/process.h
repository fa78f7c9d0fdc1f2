/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process - on which node a process runs, since when, and what a thread of it is at, from /proc;
 * whether it has ended, from a pidfd; whether it has left a socket
 *
 * Purpose     A pid may be reused: an answer about the wrong process costs placement, nothing else.
 *             A pidfd names one process for as long as the daemon lives; a mark does so over its
 *             death, but that two may look like one.
 */
#ifndef MMB_OS_PROCESS_H
#define MMB_OS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Index of the node whose CPU its main thread last ran on; 0 if unknown. */
int process_node(pid_t pid);
/* Fields of a line of /proc/PID/stat, counted as in proc(5). */
enum process_stat {
	STAT_STATE = 3,
	STAT_FLAGS = 9,
	STAT_START = 22,
	STAT_PROCESSOR = 39,
	STAT_EXIT = 52,
};
uint64_t process_stat_number(const char *line, enum process_stat field);
/* The beginning of a file of /proc about this process, ended by 0; "": nothing of it. Of others'
 * see os/bounded.h. */
void process_read_own(const char *path, char *text, size_t bytes);
/* As /proc/PID/stat has it: 'D', 'Z' ...; '\0': no such thread, or /proc doesn't tell. */
char thread_state(pid_t pid, pid_t tid);
/* As wait(2) will have it, of a process whose main thread has ended. */
int process_exit_status(pid_t pid);
/* Of the clock of sysconf(_SC_CLK_TCK), since the host was booted; 0: it has ended, or /proc
 * doesn't tell. */
uint64_t process_start_ticks(pid_t pid);
/* Nothing of it runs any more. */
bool process_has_ended(int pidfd);
/* Of the living process behind a pidfd: another daemon finds it by that. Its pid, and when it was
 * started as far as there is room: whoever has the pid later differs, or is taken for it. 0: it has
 * ended, or /proc doesn't tell. */
enum { PROCESS_MARK_BITS = 40 };
uint64_t process_mark(pid_t pid, int pidfd);
/* A pidfd of it. -ESRCH: it has ended; or another error: nobody can say. */
int process_find(uint64_t mark);
/* Both ends of a connected socket have been shut down, or the other one has been closed. */
bool socket_is_shut(int sock);
/* By SIGKILL; or, of another user's where this process has not CAP_KILL but CAP_SYS_PTRACE, by the
 * end of its tracer. */
bool process_kill(pid_t pid, int pidfd);
/* The soft limit becomes the hard one; nothing where that can't be. */
void process_raise_limit(unsigned int resource);
/* Which node a CPU belongs to; set once at start. */
void process_set_cpu_nodes(const int8_t *cpu_node, unsigned int nr);

#endif
