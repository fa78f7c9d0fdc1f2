/* SPDX-License-Identifier: Apache-2.0 */
/* memory - see memory.h */
#include "malloc/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/clock.h"

enum { STATUS_BYTES = 4096, STEP_MS = 2 };

bool run_touches_pages;

static pthread_t      watcher;
static _Atomic bool   leave;
static uint64_t       highest; /* the watcher's, until it has ended */

/* A line of /proc/self/status in bytes; 0: it isn't there. */
static uint64_t status_value(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at != NULL ? strtoull(at + strlen(key), NULL, 10) << 10 : 0;
}

/* Without stdio, which allocates. */
static void read_status(char *out)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t nr = fd >= 0 ? read(fd, out, STATUS_BYTES - 1) : 0;

	out[nr > 0 ? nr : 0] = 0;
	if (fd >= 0)
		close(fd);
}

uint64_t memory_now(const struct run *r)
{
	char status[STATUS_BYTES];
	uint64_t own, shared, charged = r->charged != NULL ? r->charged() : 0;

	read_status(status);
	own = status_value(status, "\nRssAnon:") + status_value(status, "\nRssFile:");
	shared = status_value(status, "\nRssShmem:") + status_value(status, "\nHugetlbPages:");
	return own + (shared > charged ? shared : charged) - r->scratch;
}

static void *watch_main(void *arg)
{
	while (!leave) {
		uint64_t now = memory_now(arg);

		highest = now > highest ? now : highest;
		clock_sleep_ms(STEP_MS);
	}
	return NULL;
}

int memory_watch(const struct run *r)
{
	leave = false;
	highest = 0;
	run_touches_pages = true;
	if (pthread_create(&watcher, NULL, watch_main, (void *)r) != 0)
		return bench_because(-EAGAIN, "can't start a thread");
	return 0;
}

uint64_t memory_peak(void)
{
	leave = true;
	pthread_join(watcher, NULL);
	return highest;
}
