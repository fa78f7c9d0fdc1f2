/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service - one loop around sigtimedwait
 */
#include "app/service.h"

#include <stdlib.h>
#include <string.h>

#include "app/notify.h"
#include "app/watchdog.h"
#include "base/log.h"
#include "client/report.h"
#include "os/os.h"

enum { STATUS_MS = 2000, REPORT_BYTES = 8192 };

void service_block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR2);
	sigprocmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* beyond ulimit -f: EFBIG, with a sentence */
}

bool service_is_to_end(void)
{
	sigset_t pending;

	return !sigpending(&pending) &&
	       (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT));
}

/* ---- the status line ---- */

/* What the line was made of the last time. */
struct status_line {
	uint64_t faults, at_ns;
	char text[256];
};

static void write_status(const struct status_report *r, uint64_t rate, char text[256])
{
	uint64_t reserve = 0, used = 0;

	for (uint32_t i = 0; i < r->nr_stocks; i++) {
		reserve += r->stocks[i].reserve;
		used += r->stocks[i].present;
	}
	snprintf(text, 256,
		 "STATUS=%llu sessions, %llu regions, %llu of %llu MiB in use, %llu faults/s%s",
		 (unsigned long long)r->sessions, (unsigned long long)r->regions,
		 (unsigned long long)(used >> 20), (unsigned long long)(reserve >> 20),
		 (unsigned long long)rate, r->poisoned ? ", pages were poisoned: see the log" : "");
}

static void tell_status(struct status_line *line, uint64_t now_ns)
{
	struct status_report report = { 0 };
	uint64_t rate = 0;
	char text[256];

	report_status(&report);
	if (line->at_ns && now_ns > line->at_ns)
		rate = (uint64_t)((__uint128_t)(report.faults - line->faults) * 1000000000 /
				  (now_ns - line->at_ns));
	line->faults = report.faults;
	line->at_ns = now_ns;
	write_status(&report, rate, text);
	if (!strcmp(text, line->text))
		return;
	strcpy(line->text, text);
	notify_show(text);
}

/* ---- the loop ---- */

static void reload_and_tell(struct reload *reload)
{
	char report[REPORT_BYTES];

	reload_run(reload, report, sizeof(report)); /* the log has it all */
}

static uint64_t interval_ms(void)
{
	uint64_t watchdog = watchdog_interval_ms();

	return watchdog && watchdog < STATUS_MS ? watchdog : STATUS_MS;
}

/* The next signal, or 0 when it is time to look. Nobody listens: there is nothing to look at. */
static int next_signal(const sigset_t *set, const struct timespec *interval)
{
	int signal_number = interval ? sigtimedwait(set, NULL, interval) : sigwaitinfo(set, NULL);

	return signal_number > 0 ? signal_number : 0;
}

int service_wait(const sigset_t *set, struct reload *reload)
{
	struct timespec interval = { .tv_sec = (time_t)(interval_ms() / 1000),
				     .tv_nsec = (long)(interval_ms() % 1000) * 1000000 };
	bool listened = notify_is_on() || watchdog_interval_ms();
	struct status_line line = { 0 };

	notify_ready();
	for (;;) {
		int signal_number = next_signal(set, listened ? &interval : NULL);
		uint64_t now = os->now_ns();

		if (signal_number == SIGHUP)
			reload_and_tell(reload);
		else if (signal_number)
			return signal_number;
		watchdog_look(now);
		notify_look();
		if (listened && now - line.at_ns >= STATUS_MS * 1000000ull)
			tell_status(&line, now);
	}
}
