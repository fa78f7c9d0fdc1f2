/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker - who serves under a supervisor
 *
 * Locking     none.
 */
#ifndef MMB_BENCH_LIB_WORKER_H
#define MMB_BENCH_LIB_WORKER_H

#include <stdio.h>
#include <sys/types.h>

/* The supervisor's child; 0: none at the moment. */
static inline pid_t worker_of(pid_t supervisor)
{
	char  path[64];
	FILE *file;
	int   pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", supervisor, supervisor);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}

#endif
