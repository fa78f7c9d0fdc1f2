/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log - one event, to the journal with fields, or as a line on stderr
 *
 * Purpose     log_emit(level, event, sentence): event is a stable lower-case name to search for.
 *             When stderr is the journal, the event goes there with fields (log_journal.h).
 *             Otherwise it is a line that begins with the level's name.
 *             Never blocks on a reader that is slow, never fails; rate-limited per call site by
 *             log_emit_limited. Bytes from clients are escaped.
 */
#ifndef MMB_BASE_LOG_H
#define MMB_BASE_LOG_H

#include <stdint.h>

enum log_level {
	LOG_CRIT = 2,
	LOG_ERR = 3,
	LOG_WARNING = 4,
	LOG_NOTICE = 5,
	LOG_INFO = 6,
	LOG_DEBUG = 7
};

/* The session that an event is about. */
struct log_subject {
	uint64_t     session;
	int          pid;
	unsigned int uid;
};

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* -EINVAL for a name that is no level. */
int log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);
void log_emit(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_emit_about(const struct log_subject *about, enum log_level level, const char *event,
		    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Events that nobody took, since the start. */
uint64_t log_nr_lost(void);

/* At most 5 lines of one call site in a second; the next line tells how many were left out. */
#define log_emit_limited(level, event, ...)                                    \
	do {                                                                   \
		static struct log_limit limit_;                                \
		if (log_limit_pass(&limit_, event))                            \
			log_emit(level, event, __VA_ARGS__);                   \
	} while (0)
#define log_emit_about_limited(about, level, event, ...)                       \
	do {                                                                   \
		static struct log_limit limit_;                                \
		if (log_limit_pass(&limit_, event))                            \
			log_emit_about(about, level, event, __VA_ARGS__);      \
	} while (0)

struct log_limit {
	_Atomic unsigned long long window; /* second the count belongs to */
	_Atomic unsigned int       nr;
};
int log_limit_pass(struct log_limit *limit, const char *event);

#endif
