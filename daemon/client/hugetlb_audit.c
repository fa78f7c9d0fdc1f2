/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugetlb_audit - from a count that is too high to the process behind it
 *
 * Cost        one small file a second; the clients' smaps only while the count is too high, and by
 *             a thread of its own: the kernel reads them under the client's mmap lock, which the
 *             client may keep for as long as it likes.
 * Locking     baseline is the searching thread's while there is one, else the keeper's.
 */
#include "client/hugetlb_audit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/session.h"
#include "os/hugepages.h"
#include "os/os.h"

enum { STOP_PAUSES = 100 };

static uint64_t baseline; /* reserved by others, as last seen without a culprit of ours */
static _Atomic bool searching;

void hugetlb_audit_init(void)
{
	struct hugepages pages;

	baseline = hugepages_read(OS_NODE_ANY, &pages) ? 0 : pages.resv;
}

/* A mapping of one of our files ("/memfd:mmb-..." or a region's) whose VmFlags lack "nr". Section
 * files of the broker are the only hugetlb memfds it passes out, all named by it. */
static bool reserves(FILE *smaps)
{
	char line[512];
	bool ours = false;

	while (fgets(line, sizeof(line), smaps)) {
		if (strstr(line, "memfd:" SECTION_FILE_PREFIX))
			ours = true;
		else if (!strncmp(line, "VmFlags:", 8)) {
			if (ours && strstr(line, " ht") && !strstr(line, " nr"))
				return true;
			ours = false;
		}
	}
	return false;
}

struct search {
	bool found;
};

static void check_session(struct session *s, void *arg)
{
	struct search *search = arg;
	char path[64];
	FILE *smaps;

	snprintf(path, sizeof(path), "/proc/%d/smaps", s->peer.pid);
	smaps = fopen(path, "re");
	if (!smaps)
		return;
	if (reserves(smaps)) {
		search->found = true;
		session_end_client(s,
				   "it mapped a hugepage file of the broker so that hugepages of "
				   "the whole host were reserved");
	}
	fclose(smaps);
}

static void *search_all(void *resv)
{
	struct search search = { 0 };

	pthread_setname_np(pthread_self(), "mmb-audit");
	session_for_each(check_session, &search);
	if (!search.found)
		baseline = (uintptr_t)resv;
	atomic_store(&searching, false);
	return NULL;
}

static void begin_search(uint64_t resv)
{
	pthread_t thread;

	atomic_store(&searching, true);
	if (pthread_create(&thread, NULL, search_all, (void *)(uintptr_t)resv))
		atomic_store(&searching, false); /* the next tick tries again */
	else
		pthread_detach(thread);
}

void hugetlb_audit(void)
{
	struct hugepages pages;

	if (atomic_load(&searching) || hugepages_read(OS_NODE_ANY, &pages))
		return;
	if (pages.resv < baseline)
		baseline = pages.resv;
	else if (pages.resv > baseline)
		begin_search(pages.resv);
}

void hugetlb_audit_stop(void)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

	for (int i = 0; i < STOP_PAUSES && atomic_load(&searching); i++)
		nanosleep(&pause, NULL);
}
