/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_service - who runs the broker, and as whom
 *
 * Purpose     A broker that a service manager runs is started again when it ends; one that has a
 *             user of its own protects its clients from each other.
 */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/doctor.h"

bool doctor_has_systemd(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

static bool unit_is_installed(void)
{
	static const char *const places[] = {
		"/etc/systemd/system/mmbrokerd.service",
		"/usr/local/lib/systemd/system/mmbrokerd.service",
		"/usr/lib/systemd/system/mmbrokerd.service",
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], F_OK) == 0)
			return true;
	return false;
}

static bool runs_as_unit(pid_t pid)
{
	char path[32], line[512];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	return doctor_read(path, line, sizeof(line)) && strstr(line, "/mmbrokerd.service");
}

bool doctor_asks_systemd(const struct doctor *d)
{
	return doctor_has_systemd() && (!d->pid || runs_as_unit(d->pid));
}

/* The broker's parent is a broker as well: its supervisor. */
static bool runs_supervised(pid_t pid)
{
	char path[32], stat[512], own[32], other[32];
	int  parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!doctor_read(path, stat, sizeof(stat)) ||
	    sscanf(stat, "%*d (%31[^)]) %*c %d", own, &parent) != 2)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/comm", parent);
	return doctor_read(path, other, sizeof(other)) && strcmp(own, other) == 0;
}

static void manager(struct doctor *d)
{
	if (!doctor_has_systemd()) {
		finding_add(d, "service", FINDING_OK,
			    "This host has no systemd: who starts the broker has to start it "
			    "again.");
	} else if (d->pid && runs_as_unit(d->pid)) {
		finding_add(d, "service", FINDING_OK, "systemd runs the broker, and watches it.");
	} else if (d->pid && runs_supervised(d->pid)) {
		finding_add(d, "service", FINDING_OK,
			    "The broker has a supervisor of its own, which starts it again.");
	} else if (d->pid) {
		finding_add(d, "service", FINDING_WARN,
			    "The broker isn't run by systemd: nobody starts it again when it "
			    "ends.");
		finding_fix(d, unit_is_installed() ? "systemctl enable --now mmbrokerd"
						   : "ninja -C build install");
	} else if (!unit_is_installed()) {
		finding_add(d, "service", FINDING_WARN, "The unit mmbrokerd isn't installed.");
		finding_fix(d, "ninja -C build install && systemctl daemon-reload");
	} else {
		finding_add(d, "service", FINDING_OK, "The unit mmbrokerd is installed.");
	}
}

/* The border between clients is a user of the broker's own. */
static void user(struct doctor *d)
{
	char           path[32];
	struct stat    st;
	struct passwd *who;

	snprintf(path, sizeof(path), "/proc/%d", (int)d->pid);
	if (!d->pid || stat(path, &st) != 0)
		return;
	if (st.st_uid != 0 && st.st_uid != getuid()) {
		who = getpwuid(st.st_uid);
		finding_add(d, "user", FINDING_OK, "The broker runs as %s, a user of its own.",
			    who ? who->pw_name : "a user without a name");
		return;
	}
	finding_add(d, "user", FINDING_WARN,
		    st.st_uid ? "The broker runs as your own user: between processes of one user "
				"there is no border."
			      : "The broker runs as root: it needs three capabilities and a user "
				"of its own.");
	if (!doctor_has_systemd() || runs_supervised(d->pid))
		finding_fix(d, "useradd --system mmbroker; kill %d; runuser -u mmbroker -- "
			       "mmbrokerd --supervise --socket %s", (int)d->pid, d->socket);
	else
		finding_fix(d, "%ssystemctl enable --now mmbrokerd",
			    unit_is_installed() ? "" : "ninja -C build install && ");
}

void doctor_service(struct doctor *d)
{
	manager(d);
	user(d);
}
