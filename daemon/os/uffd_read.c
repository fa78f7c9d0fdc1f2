/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd_read - struct uffd_msg to struct os_uffd_event
 */
#include "os/uffd_read.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8
#endif

/* Before Linux 6.10 a userfaultfd knows only O_NONBLOCK. */
static _Atomic bool nowait_refused;

static void decode_fault(const struct uffd_msg *msg, struct os_uffd_event *event)
{
	uint64_t flags = msg->arg.pagefault.flags;

	event->kind = OS_EVENT_FAULT;
	event->address = msg->arg.pagefault.address;
	event->tid = msg->arg.pagefault.feat.ptid;
	event->flags = (flags & UFFD_PAGEFAULT_FLAG_WRITE ? OS_FAULT_WRITE : 0) |
		       (flags & UFFD_PAGEFAULT_FLAG_WP ? OS_FAULT_WP : 0) |
		       (flags & UFFD_PAGEFAULT_FLAG_MINOR ? OS_FAULT_MINOR : 0);
}

static void decode(const struct uffd_msg *msg, struct os_uffd_event *event)
{
	*event = (struct os_uffd_event){ .kind = OS_EVENT_OTHER };
	switch (msg->event) {
	case UFFD_EVENT_PAGEFAULT:
		decode_fault(msg, event);
		break;
	case UFFD_EVENT_REMAP:
		event->kind = OS_EVENT_REMAP;
		event->address = msg->arg.remap.from;
		event->to = msg->arg.remap.to;
		event->length = msg->arg.remap.len;
		break;
	case UFFD_EVENT_UNMAP:
		event->kind = OS_EVENT_UNMAP;
		event->address = msg->arg.remove.start;
		event->length = msg->arg.remove.end - msg->arg.remove.start;
		break;
	case UFFD_EVENT_FORK:
		/* The read has put the child's userfaultfd into our table. Closed, the child's
		 * windows are unregistered; the library keeps them out of children anyway. */
		close((int)msg->arg.fork.ufd);
		break;
	default:
		break;
	}
}

/* The client shares the open file and may clear O_NONBLOCK at any time; RWF_NOWAIT is ours. */
static ssize_t read_nowait(int uffd, void *buffer, size_t bytes)
{
	struct iovec iov = { .iov_base = buffer, .iov_len = bytes };
	ssize_t got;

	if (atomic_load_explicit(&nowait_refused, memory_order_relaxed))
		return read(uffd, buffer, bytes);
	got = preadv2(uffd, &iov, 1, -1, RWF_NOWAIT);
	if (got >= 0 || (errno != EOPNOTSUPP && errno != ESPIPE && errno != EINVAL))
		return got;
	atomic_store_explicit(&nowait_refused, true, memory_order_relaxed);
	return read(uffd, buffer, bytes);
}

int linux_uffd_read(int uffd, struct os_uffd_event *events, int most)
{
	struct uffd_msg msgs[OS_UFFD_EVENTS];
	ssize_t got;
	int nr;

	DCHECK(most > 0 && most <= OS_UFFD_EVENTS);
	got = read_nowait(uffd, msgs, (size_t)most * sizeof(msgs[0]));
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	nr = (int)(got / (ssize_t)sizeof(msgs[0]));
	for (int i = 0; i < nr; i++)
		decode(&msgs[i], &events[i]);
	return nr;
}
