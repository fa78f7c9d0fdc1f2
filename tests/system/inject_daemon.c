/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject_daemon - arms an injection point of a whole daemon, or hides what its kernel can
 *
 * Purpose     Linked into mmbrokerd-inject, which is mmbrokerd otherwise, is built for tests and
 *             never installed. $MMB_INJECT is POINT:NTH:ACTION; ACTION is fail, hang, kill,
 *             abort or rest.
 *             Signal SIGRTMIN+1 arms it; $MMB_INJECT_NOW arms it at the start. With a value the
 *             signal says which pass of which point kills: the point, and in the low bits, how many
 *             INJECT_NTH_BITS says, the pass; SIGRTMIN+2 tells its sender that it is armed.
 *             $MMB_ORDERS names a file that can hold such a value for the next process that starts
 *             (inject_order.h).
 *             $MMB_HIDE=6.6 makes it do without what Linux 6.6 brought to userfaultfd: poison, and
 *             entries that are made write-protected.
 * Releases    A copy of it whose file ends with "next" is of a release whose state is of the next
 *             version.
 * Locking     none: arming is a few atomic stores.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/system/inject_order.h"
#include "mm/phys/meta.h"
#include "os/uffd_features.h"
#include "proto/uffd_compat.h"

static enum inject_point point = NR_INJECT_POINTS;
static unsigned long nth = 1;

static void arm_kill(unsigned int value)
{
	inject_act(INJECT_KILL);
	inject_arm((enum inject_point)(value >> INJECT_NTH_BITS),
		   value & ((1u << INJECT_NTH_BITS) - 1), -EIO);
}

static void arm(int unused, siginfo_t *info, void *context)
{
	unsigned int value = info && info->si_code == SI_QUEUE ? (unsigned int)info->si_int : 0;

	if (value) {
		arm_kill(value);
		sigqueue(info->si_pid, SIGRTMIN + 2, info->si_value);
	} else if (point != NR_INJECT_POINTS) {
		inject_arm(point, nth, -EIO);
	}
}

__attribute__((constructor)) static void hear(void)
{
	struct sigaction action = { .sa_sigaction = arm, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(SIGRTMIN + 1, &action, NULL);
}

static void choose_action(const char *name)
{
	inject_act(!strcmp(name, "hang")    ? INJECT_HANG
		   : !strcmp(name, "kill")  ? INJECT_KILL
		   : !strcmp(name, "abort") ? INJECT_ABORT
		   : !strcmp(name, "rest")  ? INJECT_REST
					    : INJECT_FAIL);
}

__attribute__((constructor)) static void read_release(void)
{
	char  end[4] = { 0 };
	FILE *self = fopen("/proc/self/exe", "re");

	if (self && !fseek(self, -(long)sizeof(end), SEEK_END) &&
	    fread(end, sizeof(end), 1, self) == 1 && !memcmp(end, "next", sizeof(end)))
		meta_version++;
	if (self)
		fclose(self);
}

__attribute__((constructor)) static void hide_features(void)
{
	const char *since = getenv("MMB_HIDE");

	if (since && strcmp(since, "6.6")) {
		fprintf(stderr, "MMB_HIDE: only what came with 6.6 can be hidden\n");
		exit(2);
	}
	if (since)
		uffd_hidden = UFFD_FEATURE_POISON | UFFD_FEATURE_WP_ASYNC;
}

__attribute__((constructor)) static void take_order(void)
{
	const char          *path = getenv("MMB_ORDERS");
	struct inject_orders o = { 0 };
	int                  fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	if (pread(fd, &o, sizeof(o), 0) == sizeof(o) && o.order) {
		arm_kill((unsigned int)o.order);
		o = (struct inject_orders){ .taker = getpid() };
		if (pwrite(fd, &o, sizeof(o), 0) != sizeof(o))
			exit(2);
	}
	close(fd);
}

__attribute__((constructor)) static void read_order(void)
{
	const char *order = getenv("MMB_INJECT");
	char        name[32], action[8] = "fail";

	if (!order || sscanf(order, "%31[A-Z_]:%lu:%7s", name, &nth, action) < 1)
		return;
	point = inject_find(name);
	if (point == NR_INJECT_POINTS) {
		fprintf(stderr, "MMB_INJECT: there is no point %s\n", name);
		exit(2);
	}
	choose_action(action);
	if (getenv("MMB_INJECT_NOW"))
		arm(0, NULL, NULL);
}
