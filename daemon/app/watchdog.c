/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog - looks at heartbeats, tells the service manager or the daemon's own supervisor
 *
 * Why abort   The supervisor needn't be told that a thread hangs: it sees this process end. Nor
 *             does a manager that reads nothing: it will.
 */
#include "app/watchdog.h"

#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "app/fdstore.h"
#include "app/notify.h"
#include "base/heartbeat.h"
#include "base/log.h"
#include "os/holdup.h"

enum { LOOKS_PER_PERIOD = 4 };

static uint64_t period_ns; /* 0: nobody watches */

void watchdog_init(void)
{
	uint64_t usec = 0;

	period_ns = sd_watchdog_enabled(0, &usec) > 0 ? usec * 1000 : 0;
}

uint64_t watchdog_interval_ms(void)
{
	uint64_t ms = period_ns / 1000000 / LOOKS_PER_PERIOD;

	return period_ns && !ms ? 1 : ms;
}

void watchdog_look(uint64_t now_ns)
{
	char name[HEARTBEAT_NAME_BYTES];
	uint64_t age;

	if (!period_ns)
		return;
	age = heartbeat_oldest(now_ns, period_ns / 2, name);
	/* A thread that a client holds up would keep this process from ending, too. */
	if (age < period_ns / 2 || holdup_lasts()) {
		notify_show("WATCHDOG=1");
		fdstore_alive();
		return;
	}
	log_emit(LOG_CRIT, "worker_hung", "%s has not moved for %llu ms: this process is given up",
		 name, (unsigned long long)(age / 1000000));
	heartbeat_blame_oldest();
	if (!notify_show("STATUS=a thread hangs\nWATCHDOG=trigger"))
		abort();
}
