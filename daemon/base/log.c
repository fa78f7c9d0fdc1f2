/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log - formatting, escaping and a write that doesn't wait for a slow reader
 *
 * Invariants  L1  one event is one write of at most PIPE_BUF bytes, so lines never mix.
 *             L2  a line that stderr doesn't take within LOG_WAIT_MS is dropped and counted; the
 *                 next one that is taken says how many.
 * Locking     `out` orders writers. It is held for LOG_WAIT_MS at most, and calls nothing of ours.
 */
#include "base/log.h"

#include <errno.h>
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
	pthread_mutex_t out;
	pthread_once_t  once;
	bool            journal; /* (c) */
	bool            socket;  /* (c) */
	_Atomic int     level;   /* (a) */
	uint64_t        nr_lost; /* (o) L2 */
} logger = {
	.out = PTHREAD_MUTEX_INITIALIZER,
	.once = PTHREAD_ONCE_INIT,
	.level = LOG_INFO,
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&logger.level, level, memory_order_relaxed);
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

	if (fstat(STDERR_FILENO, &st))
		return;
	logger.socket = S_ISSOCK(st.st_mode);
	logger.journal = stream && sscanf(stream, "%lu:%lu", &device, &inode) == 2 &&
			 device == st.st_dev && inode == st.st_ino;
}

static bool write_line(const char *line, size_t length)
{
	struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t       written;

	if (poll(&ready, 1, LOG_WAIT_MS) <= 0 || !(ready.revents & POLLOUT))
		return false;
	/* A pipe that polls writable has room for PIPE_BUF bytes, a socket may not. */
	if (logger.socket)
		written = send(STDERR_FILENO, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		written = write(STDERR_FILENO, line, length);
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

static bool report_lost(void)
{
	char line[128];
	int  n = put_prefix(line, sizeof(line), LOG_WARNING);

	n += snprintf(line + n, sizeof(line) - (size_t)n,
		      "log_lost: %llu lines were dropped because stderr was not being read\n",
		      (unsigned long long)logger.nr_lost);
	return write_line(line, (size_t)n);
}

void log_emit(enum log_level level, const char *event, const char *format, ...)
{
	char    sentence[LOG_SENTENCE_BYTES], line[LOG_LINE_BYTES], *end;
	int     saved = errno;
	va_list args;

	if ((int)level > atomic_load_explicit(&logger.level, memory_order_relaxed))
		return;
	pthread_once(&logger.once, inspect_stderr);
	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	end = line + put_prefix(line, sizeof(line), level);
	end += snprintf(end, 96, "%.64s: ", event);
	end = put_escaped(end, sentence);
	*end++ = '\n';

	pthread_mutex_lock(&logger.out);
	if (logger.nr_lost && report_lost())
		logger.nr_lost = 0;
	if (!write_line(line, (size_t)(end - line)))
		logger.nr_lost++;
	pthread_mutex_unlock(&logger.out);
	errno = saved;
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
