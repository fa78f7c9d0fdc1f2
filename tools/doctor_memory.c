/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_memory - hugepages, shared memory's huge pages, and the limits that bite
 *
 * Purpose     Reads /proc and /sys; with a running broker its limits and capabilities, without
 *             one the caller's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tools/doctor.h"

/* ---- memory ---- */

static void hugepages(struct doctor *d)
{
	static const char base[] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	char              path[96];
	uint64_t          total, free = 0, reserved = 0;

	snprintf(path, sizeof(path), "%s/nr_hugepages", base);
	if (!doctor_read_number(path, &total)) {
		finding_add(d, "hugepages", FINDING_WARN,
			    "This host has no 2 MiB hugepages: arenas come from the base stock, "
			    "without "
			    "the TLB gain.");
		finding_fix(d, "zgrep HUGETLBFS /proc/config.gz /boot/config-*");
		return;
	}
	snprintf(path, sizeof(path), "%s/free_hugepages", base);
	doctor_read_number(path, &free);
	snprintf(path, sizeof(path), "%s/resv_hugepages", base);
	doctor_read_number(path, &reserved);
	if (total) {
		finding_add(d, "hugepages", FINDING_OK,
			    "%" PRIu64 " hugepages of 2 MiB, %" PRIu64 " free, %" PRIu64
			    " reserved.",
			    total, free, reserved);
		return;
	}
	finding_add(d, "hugepages", FINDING_WARN,
		    "No 2 MiB hugepages are configured: reserve_huge has nothing to draw on, and "
		    "arenas come from the base stock.");
	finding_fix(d, "sysctl -w vm.nr_hugepages=512");
}

/* The chosen word of "always [never] advise". */
static void chosen(const char *line, char out[32])
{
	const char *open = strchr(line, '[');

	if (!open || sscanf(open, "[%31[^]]", out) != 1)
		strcpy(out, "unknown");
}

static void shmem_enabled(struct doctor *d)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	char              line[128], now[32];

	if (!doctor_read(path, line, sizeof(line))) {
		finding_add(
			d, "shmem_enabled", FINDING_WARN,
			"This kernel has no transparent huge pages: regions are backed by 4 KiB "
			"pages.");
		finding_fix(d, "zgrep TRANSPARENT_HUGEPAGE /proc/config.gz /boot/config-*");
		return;
	}
	chosen(line, now);
	if (strcmp(now, "advise") == 0) {
		finding_add(d, "shmem_enabled", FINDING_OK,
			    "Shared memory takes huge pages on advice.");
	} else if (strcmp(now, "never") == 0 || strcmp(now, "deny") == 0) {
		finding_add(
			d, "shmem_enabled", FINDING_WARN,
			"Shared memory takes no huge pages (%s): the base stock costs more to fill "
			"and to map.",
			now);
		finding_fix(d, "echo advise > %s", path);
	} else if (doctor_kernel_release() < 6004) {
		finding_add(d, "shmem_enabled", FINDING_WARN,
			    "Shared memory always takes huge pages (%s): before Linux 6.4 that may "
			    "fill "
			    "absent pages behind the broker's back.",
			    now);
		finding_fix(d, "echo advise > %s", path);
	} else {
		finding_add(d, "shmem_enabled", FINDING_OK, "Shared memory takes huge pages (%s).",
			    now);
	}
}

static void overcommit(struct doctor *d)
{
	uint64_t mode = 0;

	doctor_read_number("/proc/sys/vm/overcommit_memory", &mode);
	if (mode != 2) {
		finding_add(d, "overcommit", FINDING_OK, "vm.overcommit_memory is %" PRIu64 ".",
			    mode);
		return;
	}
	finding_add(
		d, "overcommit", FINDING_WARN,
		"vm.overcommit_memory is 2: the host's own commit limit may refuse what the broker "
		"has reserved.");
	finding_fix(d, "sysctl -w vm.overcommit_memory=0");
}

static void map_count(struct doctor *d)
{
	enum { USUAL = 65530 };
	uint64_t count = 0;

	doctor_read_number("/proc/sys/vm/max_map_count", &count);
	if (count >= USUAL) {
		finding_add(d, "max_map_count", FINDING_OK, "vm.max_map_count is %" PRIu64 ".",
			    count);
		return;
	}
	finding_add(d, "max_map_count", FINDING_WARN,
		    "vm.max_map_count is %" PRIu64
		    ", below the usual %d: clients with many regions "
		    "run out of mappings.",
		    count, USUAL);
	finding_fix(d, "sysctl -w vm.max_map_count=262144");
}

void doctor_memory(struct doctor *d)
{
	hugepages(d);
	shmem_enabled(d);
	overcommit(d);
	map_count(d);
}

/* ---- limits of the broker's process, or of this one ---- */

/* Text after `name` in a file of "name value" lines under /proc/PID. */
static bool process_line(const struct doctor *d, const char *file, const char *name, char out[96])
{
	char  path[64], line[160];
	FILE *in;
	bool  found = false;

	if (d->pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)d->pid, file);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", file);
	in = fopen(path, "re");
	if (!in)
		return false;
	while (!found && fgets(line, sizeof(line), in))
		if (strncmp(line, name, strlen(name)) == 0) {
			snprintf(out, 96, "%s", line + strlen(name));
			found = true;
		}
	fclose(in);
	return found;
}

/* The soft limit, RLIM_INFINITY for "unlimited". */
static bool process_limit(const struct doctor *d, const char *name, uint64_t *soft)
{
	char text[96], word[32];

	if (!process_line(d, "limits", name, text) || sscanf(text, "%31s", word) != 1)
		return false;
	*soft = strcmp(word, "unlimited") == 0 ? RLIM_INFINITY : strtoull(word, NULL, 10);
	return true;
}

static bool may_lock_anyway(const struct doctor *d)
{
	enum { CAPABILITY_IPC_LOCK = 14 };
	char     text[96];
	uint64_t capabilities;

	return process_line(d, "status", "CapEff:", text) &&
	       sscanf(text, "%" SCNx64, &capabilities) == 1 &&
	       (capabilities >> CAPABILITY_IPC_LOCK & 1);
}

static void memlock(struct doctor *d)
{
	const char *who = d->pid ? "The broker" : "A broker started here";
	uint64_t    soft;

	if (!process_limit(d, "Max locked memory", &soft)) {
		finding_add(d, "memlock", FINDING_WARN, "The broker's limits can't be read.");
		finding_fix(d, "cat /proc/%d/limits", (int)d->pid);
	} else if (soft == RLIM_INFINITY || may_lock_anyway(d)) {
		finding_add(d, "memlock", FINDING_OK, "%s may lock its memory.", who);
	} else {
		finding_add(d, "memlock", FINDING_WARN,
			    "%s may lock only %" PRIu64 " KiB: the host may swap the reserve out.",
			    who, soft >> 10);
		if (d->pid)
			finding_fix(d, "prlimit --pid %d --memlock=unlimited", (int)d->pid);
		else
			finding_fix(d, "ulimit -l unlimited");
	}
}

static void nofile(struct doctor *d)
{
	/* Per session: its socket, upcall socket, userfaultfd, pidfd, fault log; per region one. */
	enum { LEAST = 256, GOOD = 4096 };
	const char *who = d->pid ? "The broker" : "A broker started here";
	uint64_t    soft;

	if (!process_limit(d, "Max open files", &soft))
		return;
	if (soft >= GOOD) {
		finding_add(d, "nofile", FINDING_OK, "%s may open %" PRIu64 " files.", who, soft);
		return;
	}
	finding_add(d, "nofile", soft < LEAST ? FINDING_FAIL : FINDING_WARN,
		    "%s may open only %" PRIu64
		    " files; every session takes five and every region one.",
		    who, soft);
	if (d->pid)
		finding_fix(d, "prlimit --pid %d --nofile=65536", (int)d->pid);
	else
		finding_fix(d, "ulimit -n 65536");
}

void doctor_limits(struct doctor *d)
{
	memlock(d);
	nofile(d);
}
