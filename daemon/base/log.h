/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log - one line an event, on stderr, with a level the service manager understands
 *
 * Purpose     log_emit(level, event, sentence): event is a stable lower-case name to search for.
 *             Lines begin with <N> when stderr is the journal, with the level's name otherwise.
 *             Never blocks on a full pipe for long and never fails; rate-limited per event by
 *             log_emit_limited. Bytes from clients are escaped.
 */
#ifndef MMB_BASE_LOG_H
#define MMB_BASE_LOG_H

enum log_level {
	LOG_CRIT = 2,
	LOG_ERR = 3,
	LOG_WARNING = 4,
	LOG_NOTICE = 5,
	LOG_INFO = 6,
	LOG_DEBUG = 7
};

void log_set_level(enum log_level level);
/* -EINVAL for a name that is no level. */
int log_level_parse(const char *name, enum log_level *out);
void log_emit(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* At most 5 lines of one call site in a second; the next line tells how many were left out. */
#define log_emit_limited(level, event, ...)                                    \
	do {                                                                   \
		static struct log_limit limit_;                                \
		if (log_limit_pass(&limit_, event))                            \
			log_emit(level, event, __VA_ARGS__);                   \
	} while (0)

struct log_limit {
	_Atomic unsigned long long window; /* second the count belongs to */
	_Atomic unsigned int       nr;
};
int log_limit_pass(struct log_limit *limit, const char *event);

#endif
