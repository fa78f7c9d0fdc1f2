/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log - formatting, escaping and a write that doesn't wait for a slow reader
 *
 * Invariants  L1  one event is one datagram, or one write of at most PIPE_BUF bytes, so lines never
 *                 mix.
 *             L2  what isn't taken is dropped and counted; the next line that is taken says how
 *                 many. Only the first of them was waited for, LOG_WAIT_MS.
 *             L3  a pipe or a terminal on stderr is written through a description of our own that
 *                 doesn't block; others who have the same one aren't changed. A file takes as long
 *                 as its file system does.
 * Locking     `out` orders writers. It is held for LOG_WAIT_MS at most, and calls nothing of ours.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log_journal.h"
#include "base/types.h"

enum {
	LOG_WAIT_MS = 10,
	LOG_SENTENCE_BYTES = 768,
	LOG_ESCAPED_BYTES = 4, /* \xNN */
	LOG_LINE_BYTES = PIPE_BUF,
	LOG_PER_SECOND = 5, /* lines of one call site, see log.h */
};

/* The sentence with every byte escaped, an event name and a prefix. */
static_assert(LOG_SENTENCE_BYTES * LOG_ESCAPED_BYTES + 128 < LOG_LINE_BYTES, "L1");

static const char *const level_names[] = {
	[LOG_CRIT] = "critical", [LOG_ERR] = "error", [LOG_WARNING] = "warning",
	[LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

/* c: fixed after the first line   o: guarded by out   a: atomic */
static struct {
	pthread_mutex_t  out;
	pthread_once_t   once;
	int              fd;      /* (c) */
	bool             journal; /* (c) */
	bool             socket;  /* (c) */
	_Atomic int      level;   /* (a) */
	uint64_t         unsaid;  /* (o) L2 */
	_Atomic uint64_t nr_lost; /* (a) */
} logger = {
	.out = PTHREAD_MUTEX_INITIALIZER,
	.once = PTHREAD_ONCE_INIT,
	.fd = STDERR_FILENO,
	.level = LOG_INFO,
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&logger.level, level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&logger.level, memory_order_relaxed);
}

uint64_t log_nr_lost(void)
{
	return atomic_load_explicit(&logger.nr_lost, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

int log_level_parse(const char *name, enum log_level *out)
{
	for (unsigned int i = LOG_CRIT; i < ARRAY_SIZE(level_names); i++)
		if (!strcmp(name, level_names[i])) {
			*out = (enum log_level)i;
			return 0;
		}
	return -EINVAL;
}

/* The journal tells its clients which device and inode their stderr has. */
static void inspect_stderr(void)
{
	const char   *stream = getenv("JOURNAL_STREAM");
	unsigned long device, inode;
	struct stat   st;
	int           fd;

	if (fstat(STDERR_FILENO, &st))
		return;
	logger.socket = S_ISSOCK(st.st_mode);
	logger.journal = stream && sscanf(stream, "%lu:%lu", &device, &inode) == 2 &&
			 device == st.st_dev && inode == st.st_ino;
	/* MMB_JOURNAL_SOCKET: another place than the system's, for a journal in a namespace. */
	if (logger.journal)
		log_journal_open(getenv("MMB_JOURNAL_SOCKET"));
	if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		logger.fd = fd;
}

/* wait_ms: for a reader that may only be slow. */
static bool write_line(const char *line, size_t length, int wait_ms)
{
	struct pollfd ready = { .fd = logger.fd, .events = POLLOUT };
	ssize_t       written;

	if (poll(&ready, 1, wait_ms) <= 0 || !(ready.revents & POLLOUT))
		return false;
	/* A pipe that polls writable has room for PIPE_BUF bytes, others may not. */
	if (logger.socket)
		written = send(logger.fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		written = write(logger.fd, line, length);
	return written == (ssize_t)length;
}

/* "<4>" or "warning: " */
static int put_prefix(char *out, size_t size, enum log_level level)
{
	return logger.journal ? snprintf(out, size, "<%d>", (int)level)
			      : snprintf(out, size, "%s: ", level_names[level]);
}

/* Copies text with everything but printable ASCII as \xNN. Returns the new end. */
static char *put_escaped(char *out, const char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c >= 0x20 && *c < 0x7f) {
			*out++ = (char)*c;
			continue;
		}
		*out++ = '\\';
		*out++ = 'x';
		*out++ = digits[*c >> 4];
		*out++ = digits[*c & 15];
	}
	return out;
}

static bool put_line(const struct log_entry *entry, int wait_ms)
{
	char line[LOG_LINE_BYTES];
	int  n = put_prefix(line, sizeof(line), entry->level);

	n += snprintf(line + n, sizeof(line) - (size_t)n, "%s\n", entry->message);
	return write_line(line, (size_t)n, wait_ms);
}

/* A journal that isn't there, since it is being restarted, still holds the other end of stderr. */
static bool put_entry(const struct log_entry *entry, int wait_ms)
{
	int error = logger.journal ? log_journal_send(entry) : -ENOTCONN;

	return !error || (error != -EAGAIN && put_line(entry, wait_ms));
}

static bool report_lost(void)
{
	char             message[128];
	struct log_entry entry = { LOG_WARNING, "log_lost", message, NULL };

	snprintf(message, sizeof(message), "log_lost: %llu lines were dropped because %s",
		 (unsigned long long)logger.unsaid,
		 logger.journal ? "the journal didn't keep up" : "stderr was not being read");
	return put_entry(&entry, 0);
}

static void put(const struct log_entry *entry)
{
	pthread_mutex_lock(&logger.out);
	if (logger.unsaid && report_lost())
		logger.unsaid = 0;
	if (!put_entry(entry, logger.unsaid ? 0 : LOG_WAIT_MS)) {
		logger.unsaid++;
		atomic_fetch_add_explicit(&logger.nr_lost, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&logger.out);
}

__attribute__((format(printf, 2, 0))) static void emit(struct log_entry *entry,
						       const char *format, va_list args)
{
	char  sentence[LOG_SENTENCE_BYTES], message[LOG_LINE_BYTES - 32], *end;
	int   saved = errno;

	pthread_once(&logger.once, inspect_stderr);
	vsnprintf(sentence, sizeof(sentence), format, args);
	end = message + snprintf(message, 96, "%.64s: ", entry->event);
	*put_escaped(end, sentence) = '\0';
	entry->message = message;
	put(entry);
	errno = saved;
}

void log_emit(enum log_level level, const char *event, const char *format, ...)
{
	struct log_entry entry = { .level = level, .event = event };
	va_list          args;

	if (level > log_get_level())
		return;
	va_start(args, format);
	emit(&entry, format, args);
	va_end(args);
}

void log_emit_about(const struct log_subject *about, enum log_level level, const char *event,
		    const char *format, ...)
{
	struct log_entry entry = { .level = level, .event = event, .about = about };
	va_list          args;

	if (level > log_get_level())
		return;
	va_start(args, format);
	emit(&entry, format, args);
	va_end(args);
}

int log_limit_pass(struct log_limit *limit, const char *event)
{
	struct timespec    now;
	unsigned long long second, window;
	unsigned int       nr;

	clock_gettime(CLOCK_MONOTONIC, &now);
	second = (unsigned long long)now.tv_sec;
	window = atomic_load_explicit(&limit->window, memory_order_relaxed);
	if (window != second &&
	    atomic_compare_exchange_strong(&limit->window, &window, second)) {
		nr = atomic_exchange(&limit->nr, 0);
		if (nr > LOG_PER_SECOND)
			log_emit(LOG_WARNING, event, "%u lines like the next were left out",
				 nr - LOG_PER_SECOND);
	}
	return atomic_fetch_add_explicit(&limit->nr, 1, memory_order_relaxed) < LOG_PER_SECOND;
}
