/* SPDX-License-Identifier: Apache-2.0 */
/* place - see place.h */
#include "lib/place.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cpu_set_t      usable; /* fixed after the first call */

static void read_usable(void)
{
	if (sched_getaffinity(0, sizeof(usable), &usable) != 0)
		CPU_SET(0, &usable);
}

unsigned int place_nr_cpus(void)
{
	pthread_once(&once, read_usable);
	return (unsigned int)CPU_COUNT(&usable);
}

static void set_of(int index, cpu_set_t *out)
{
	unsigned int left = (unsigned int)index % place_nr_cpus();
	int cpu = 0;

	while (!CPU_ISSET(cpu, &usable) || left--)
		cpu++;
	CPU_ZERO(out);
	CPU_SET(cpu, out);
}

int place_self(int index)
{
	cpu_set_t set;

	place_nr_cpus();
	if (index == PLACE_ANYWHERE)
		set = usable;
	else
		set_of(index, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static int place_task(pid_t tid, const cpu_set_t *set, struct place_saved *saved)
{
	cpu_set_t *old = &saved->set[saved->nr];

	if (saved->nr == PLACE_TASKS_MAX)
		return -E2BIG;
	if (sched_getaffinity(tid, sizeof(*old), old) != 0)
		return -errno;
	if (CPU_COUNT(old) == 1)
		return 0;
	if (sched_setaffinity(tid, sizeof(*set), set) != 0)
		return -errno;
	saved->tid[saved->nr++] = tid;
	return 0;
}

int place_process(pid_t pid, int index, struct place_saved *saved)
{
	char path[64];
	cpu_set_t set;
	struct dirent *entry;
	int error = 0;
	DIR *tasks;

	saved->nr = 0;
	set_of(index, &set);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (tasks == NULL)
		return -errno;
	while (error == 0 && (entry = readdir(tasks)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		error = place_task((pid_t)atoi(entry->d_name), &set, saved);
	}
	closedir(tasks);
	if (error != 0)
		place_restore(saved);
	return error;
}

void place_restore(const struct place_saved *saved)
{
	for (unsigned int i = 0; i < saved->nr; i++) {
		/* ESRCH: the thread has ended. */
		if (sched_setaffinity(saved->tid[i], sizeof(saved->set[i]), &saved->set[i]) != 0 &&
		    errno != ESRCH)
			perror("mmb-bench: putting an affinity back");
	}
}
