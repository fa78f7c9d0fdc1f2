/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_log - a small stock of logs that nobody has had yet
 *
 * Locking     stock.lock; logs are made and closed without it.
 */
#include "client/fault_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/lock.h"
#include "base/types.h"
#include "os/os.h"

/* l: lock */
static struct {
	struct mutex     lock;
	uint32_t         kept; /* (l) */
	uint32_t         nr;   /* (l) */
	struct fault_log ready[FAULT_LOGS_READY_MAX]; /* (l) */
} stock;

void fault_logs_init(void)
{
	mutex_init(&stock.lock, RANK_LEAF, "fault logs");
	stock.kept = stock.nr = 0;
}

void fault_logs_fini(void)
{
	while (stock.nr)
		fault_log_close(&stock.ready[--stock.nr]);
	mutex_fini(&stock.lock);
}

/* The descriptor that can write isn't needed again: the mapping is. */
static int make(struct fault_log *log)
{
	int fd = os->memfd_new("mmb-fault-log", MMB_FAULT_LOG_BYTES, 0);
	void *map;
	int r;

	if (fd < 0)
		return fd;
	log->fd = -1;
	r = os->populate(fd, 0, MMB_FAULT_LOG_BYTES, OS_NODE_ANY);
	if (!r)
		log->fd = os->reopen_readonly(fd);
	if (!r && log->fd < 0)
		r = log->fd;
	map = r ? MAP_FAILED
		: mmap(NULL, MMB_FAULT_LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	os->close(fd);
	if (map != MAP_FAILED) {
		log->map = map;
		return 0;
	}
	if (log->fd >= 0)
		os->close(log->fd);
	return r ? r : -ENOMEM;
}

static bool put_ready(const struct fault_log *log)
{
	bool room;

	mutex_lock(&stock.lock);
	room = stock.nr < stock.kept;
	if (room)
		stock.ready[stock.nr++] = *log;
	mutex_unlock(&stock.lock);
	return room;
}

static bool take_ready(struct fault_log *out)
{
	bool found;

	mutex_lock(&stock.lock);
	found = stock.nr > 0;
	if (found)
		*out = stock.ready[--stock.nr];
	mutex_unlock(&stock.lock);
	return found;
}

void fault_logs_keep(uint32_t nr)
{
	mutex_lock(&stock.lock);
	stock.kept = min_t(uint32_t, nr, FAULT_LOGS_READY_MAX);
	mutex_unlock(&stock.lock);
	fault_logs_refill();
}

static bool is_full(void)
{
	bool full;

	mutex_lock(&stock.lock);
	full = stock.nr >= stock.kept;
	mutex_unlock(&stock.lock);
	return full;
}

void fault_logs_refill(void)
{
	struct fault_log fresh;

	while (!is_full()) {
		if (make(&fresh))
			return; /* who wants one will try it again, and be told */
		if (!put_ready(&fresh))
			fault_log_close(&fresh);
	}
}

/* The descriptor is read-only, and the file of mode 0400: only its owner, or root, can write it. */
int fault_log_resume(int fd, struct fault_log *out)
{
	char path[32];
	void *map = MAP_FAILED;
	int writable;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fchmod(fd, 0600))
		return -errno;
	writable = open(path, O_RDWR | O_CLOEXEC);
	if (fchmod(fd, 0400) || writable < 0)
		return -errno;
	map = mmap(NULL, MMB_FAULT_LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0);
	os->close(writable);
	if (map == MAP_FAILED)
		return -ENOMEM;
	*out = (struct fault_log){ .map = map, .fd = fd };
	return 0;
}

int fault_log_open(struct fault_log *out)
{
	return take_ready(out) ? 0 : make(out);
}

void fault_log_close(struct fault_log *log)
{
	munmap(log->map, MMB_FAULT_LOG_BYTES);
	os->close(log->fd);
	*log = (struct fault_log){ .fd = -1 };
}
