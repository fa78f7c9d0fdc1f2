/* SPDX-License-Identifier: Apache-2.0 */
/*
 * section_file - a small stock of files that nobody has had yet
 *
 * Locking     ready.lock; what is too many is closed under it, which nobody waits for.
 */
#include "mm/phys/section_file.h"

#include <string.h>

#include "base/lock.h"
#include "os/os.h"

/* l: lock */
static struct {
	struct mutex lock;
	uint32_t     kept; /* (l) */
	uint32_t     nr;   /* (l) */
	int          fds[SECTION_FILES_READY_MAX]; /* (l) */
} ready;

void section_files_init(void)
{
	mutex_init(&ready.lock, RANK_LEAF, "section files");
	ready.kept = ready.nr = 0;
}

void section_files_fini(void)
{
	while (ready.nr)
		os->close(ready.fds[--ready.nr]);
	mutex_fini(&ready.lock);
}

static bool put_ready(int fd)
{
	bool room;

	mutex_lock(&ready.lock);
	room = ready.nr < ready.kept;
	if (room)
		ready.fds[ready.nr++] = fd;
	mutex_unlock(&ready.lock);
	return room;
}

static int take_ready(void)
{
	int fd = -1;

	mutex_lock(&ready.lock);
	if (ready.nr)
		fd = ready.fds[--ready.nr];
	mutex_unlock(&ready.lock);
	return fd;
}

static bool is_full(void)
{
	bool full;

	mutex_lock(&ready.lock);
	full = ready.nr >= ready.kept;
	mutex_unlock(&ready.lock);
	return full;
}

void section_files_keep(uint32_t nr)
{
	mutex_lock(&ready.lock);
	ready.kept = min_t(uint32_t, nr, SECTION_FILES_READY_MAX);
	while (ready.nr > ready.kept)
		os->close(ready.fds[--ready.nr]);
	mutex_unlock(&ready.lock);
	section_files_refill();
}

void section_files_refill(void)
{
	while (!is_full()) {
		int fd = os->memfd_new(SECTION_FILE_UNNAMED, PAGEBLOCK_SIZE, 0);

		if (fd < 0)
			return; /* who wants one will try it again, and be told */
		if (!put_ready(fd))
			os->close(fd);
	}
}

int section_file_new(const char *name, uint64_t bytes, enum stock_kind kind)
{
	int fd = -1;

	if (kind == STOCK_BASE && bytes == PAGEBLOCK_SIZE && !strcmp(name, SECTION_FILE_UNNAMED))
		fd = take_ready();
	return fd >= 0 ? fd : os->memfd_new(name, bytes, kind == STOCK_HUGE ? OS_HUGETLB : 0);
}
