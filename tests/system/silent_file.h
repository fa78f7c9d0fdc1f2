/* SPDX-License-Identifier: Apache-2.0 */
/*
 * silent_file - a file of FUSE whose server doesn't answer when a descriptor is closed
 *
 * Purpose     Whoever closes a descriptor of it waits until the server ends, and not even SIGKILL
 *             helps. So does execve(), which closes it on the way and lets nobody look at the
 *             process meanwhile: on some kernels neither kcmp nor /proc/PID/stat come back.
 * Invariants  The server ends with the process that has made the file.
 * Locking     none.
 */
#ifndef MMB_TESTS_SYSTEM_SILENT_FILE_H
#define MMB_TESTS_SYSTEM_SILENT_FILE_H

#include <stdbool.h>
#include <sys/types.h>

struct silent_file {
	char  path[64];
	pid_t server;
};

/* It takes root, and /dev/fuse. */
bool silent_file_is_possible(void);
void silent_file_make(struct silent_file *f);
/* Whoever waits goes on. */
void silent_file_end(struct silent_file *f);

#endif
