/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_journal - the journal's native protocol: lines of FIELD=value in one datagram
 *
 * Invariants  J1  no value holds a newline (log.c escapes), so the protocol's binary form is never
 *                 needed.
 */
#include "base/log_journal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log_ids.h"
#include "base/types.h"

static const char system_journal[] = "/run/systemd/journal/socket";

/* c: fixed after log_journal_open */
static struct {
	int                sock;    /* (c) */
	struct sockaddr_un address; /* (c) */
} journal = { .sock = -1 };

static const struct {
	const char *event, *id;
} ids[] = {
#define X(event, id) { #event, id },
	LOG_IDS(X)
#undef X
};

static const char *message_id(const char *event)
{
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		if (!strcmp(ids[i].event, event))
			return ids[i].id;
	return NULL;
}

int log_journal_open(const char *path)
{
	int sock;

	if (!path)
		path = system_journal;
	if (strlen(path) >= sizeof(journal.address.sun_path))
		return -ENAMETOOLONG;
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	if (journal.sock >= 0)
		close(journal.sock);
	journal.address.sun_family = AF_UNIX;
	strcpy(journal.address.sun_path, path);
	journal.sock = sock;
	return 0;
}

/* Not connected: the journal may be restarted, and then its socket is another. */
int log_journal_send(const struct log_entry *entry)
{
	char        head[512];
	const char *id = message_id(entry->event);
	int         n = snprintf(head, sizeof(head),
				 "PRIORITY=%d\nSYSLOG_IDENTIFIER=mmbrokerd\nMMB_EVENT=%.64s\n",
				 (int)entry->level, entry->event);

	if (id)
		n += snprintf(head + n, sizeof(head) - (size_t)n, "MESSAGE_ID=%s\n", id);
	if (entry->about)
		n += snprintf(head + n, sizeof(head) - (size_t)n,
			      "MMB_SESSION=%llu\nMMB_CLIENT_PID=%d\nMMB_CLIENT_UID=%u\n",
			      (unsigned long long)entry->about->session, entry->about->pid,
			      entry->about->uid);
	n += snprintf(head + n, sizeof(head) - (size_t)n, "MESSAGE=");

	struct iovec  parts[] = { { head, (size_t)n },
				  { (char *)(uintptr_t)entry->message, strlen(entry->message) },
				  { (char *)(uintptr_t)"\n", 1 } };
	struct msghdr message = { .msg_name = &journal.address,
				  .msg_namelen = sizeof(journal.address),
				  .msg_iov = parts,
				  .msg_iovlen = ARRAY_SIZE(parts) };

	if (journal.sock < 0)
		return -ENOTCONN;
	return sendmsg(journal.sock, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
