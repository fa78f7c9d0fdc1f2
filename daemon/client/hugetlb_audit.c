/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugetlb_audit - from a count that is too high to the process behind it
 *
 * Cost        one small file a second; the clients' smaps only while the count is too high.
 */
#include "client/hugetlb_audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/session.h"
#include "os/hugepages.h"
#include "os/os.h"

static uint64_t baseline; /* reserved by others, as last seen without a culprit of ours */

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

void hugetlb_audit(void)
{
	struct search search = { 0 };
	struct hugepages pages;

	if (hugepages_read(OS_NODE_ANY, &pages) || pages.resv <= baseline) {
		if (pages.resv < baseline)
			baseline = pages.resv;
		return;
	}
	session_for_each(check_session, &search);
	if (!search.found)
		baseline = pages.resv;
}
