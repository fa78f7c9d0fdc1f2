/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faultlog - the reading side of proto/fault_log.h, and mmb_fault_info()
 *
 * Purpose     Tells a SIGBUS handler why the page was poisoned.
 * Invariants  F1  Only loads, no lock, no allocation, no call into libc but memcpy, memset and the
 *                 bare fstat, mmap and munmap of faultlog_get(): it runs in signal handlers. Hence
 *                 no sentence for mmb_error() either.
 *             F2  A record is taken only if its seq was even and the same before and after (L1 of
 *                 proto/fault_log.h). The copy between is made of acquire loads, which keep the
 *                 second look at seq behind them.
 */
#include "faultlog.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "export.h"
#include "options.h"
#include "process.h"
#include "window.h"

/* One record as its words: what is copied under the seqlock. */
union record_copy {
	struct mmb_fault_record record;
	uint64_t                words[sizeof(struct mmb_fault_record) / sizeof(uint64_t)];
};
static_assert(sizeof(struct mmb_fault_record) % sizeof(uint64_t) == 0, "copied by words");
enum { COPY_TRIES = 8 };

static bool copy_record(const struct mmb_fault_record *from, union record_copy *to)
{
	const uint64_t *words = (const uint64_t *)from;
	size_t i;
	int tries;

	for (tries = 0; tries < COPY_TRIES; tries++) {
		uint32_t seq = atomic_load_explicit(&from->seq, memory_order_acquire);

		if (seq & 1)
			continue;
		for (i = 0; i < sizeof(to->words) / sizeof(to->words[0]); i++)
			to->words[i] = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE);
		if (atomic_load_explicit(&from->seq, memory_order_relaxed) == seq)
			return true;
	}
	return false;
}

bool faultlog_find(const struct mmb_fault_log *log, uint64_t address, struct mmb_fault_info *info)
{
	uint64_t head = atomic_load_explicit(&log->head, memory_order_acquire);
	uint64_t back, nr = head < MMB_FAULT_RECORDS ? head : MMB_FAULT_RECORDS;
	union record_copy copy;

	for (back = 1; back <= nr; back++) {
		const struct mmb_fault_record *r = &copy.record;

		if (!copy_record(&log->records[(head - back) % MMB_FAULT_RECORDS], &copy))
			continue;
		if (address - r->address >= r->length)
			continue;
		memcpy(info->region, r->region, sizeof(info->region));
		info->region[sizeof(info->region) - 1] = 0;
		memcpy(info->cause, r->cause, sizeof(info->cause));
		info->cause[sizeof(info->cause) - 1] = 0;
		info->offset = r->offset + (address - r->address);
		info->error = r->error;
		return true;
	}
	return false;
}

bool faultlog_is_empty(const struct mmb_fault_log *log)
{
	return !atomic_load_explicit(&log->head, memory_order_acquire);
}

struct mmb_fault_log *faultlog_get(struct process_entry *e)
{
	struct mmb_fault_log *log = atomic_load(&e->log);
	int fd = log ? -1 : atomic_load(&e->fds[PROCESS_LOG]);
	int error = errno;
	void *map;

	if (fd < 0)
		return log;
	map = MAP_FAILED;
	if (window_fits(fd, MMB_FAULT_LOG_BYTES))
		map = mmap(NULL, MMB_FAULT_LOG_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	errno = error; /* of the program that a signal interrupted */
	if (map == MAP_FAILED)
		return NULL;
	if (atomic_compare_exchange_strong(&e->log, &log, map))
		return map;
	munmap(map, MMB_FAULT_LOG_BYTES);
	return log;
}

void faultlog_unmap(struct mmb_fault_log *log)
{
	if (log)
		munmap(log, MMB_FAULT_LOG_BYTES);
}

PUBLIC int mmb_fault_info(const void *address, struct mmb_fault_info *info)
{
	struct mmb_fault_info found = { .size = sizeof(found) };
	struct process_entry *e;
	bool hit = false;

	if (!info || info->size < sizeof(info->size))
		return -EINVAL;
	for (e = process_first(); e && !hit; e = e->next) {
		struct mmb_fault_log *log;

		atomic_fetch_add(&e->readers, 1);
		log = faultlog_get(e);
		if (log)
			hit = faultlog_find(log, (uintptr_t)address, &found);
		atomic_fetch_sub(&e->readers, 1);
	}
	if (!hit)
		return -ENOENT;
	result_write(info, &found, sizeof(found));
	return 0;
}
