/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_journal - one event as a datagram to the journal, with fields
 *
 * Why         libsystemd's sd_journal_send waits while the journal is busy. A fault thread may not
 *             wait for a log: here a datagram that isn't taken at once is given up.
 * Fields      MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, MMB_EVENT, MESSAGE_ID (log_ids.h), and
 *             MMB_SESSION, MMB_CLIENT_PID, MMB_CLIENT_UID of events about a session.
 * Locking     opened once; sending from any thread.
 */
#ifndef MMB_BASE_LOG_JOURNAL_H
#define MMB_BASE_LOG_JOURNAL_H

#include "base/log.h"

/* An event ready to be sent: no byte of it needs escaping any more. */
struct log_entry {
	enum log_level            level;
	const char               *event, *message;
	const struct log_subject *about; /* or NULL */
};

/* path NULL: the system's journal. 0 or a negative errno. */
int log_journal_open(const char *path);
/* 0; -EAGAIN: the journal doesn't keep up; another negative errno: it isn't there. */
int log_journal_send(const struct log_entry *entry);

#endif
