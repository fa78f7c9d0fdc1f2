/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor - what the host lacks for the broker, and the command that cures it
 *
 * Purpose     Checks add findings; each has a level, one sentence and, unless all is well, one
 *             command. They change nothing and need no broker, but look at a running one's
 *             limits instead of the caller's.
 * Not here    The broker's own structures (mmbctl verify).
 */
#ifndef MMB_TOOLS_DOCTOR_H
#define MMB_TOOLS_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum finding_level { FINDING_OK, FINDING_WARN, FINDING_FAIL };
enum { FINDINGS_MAX = 32, SENTENCE_BYTES = 320, FIX_BYTES = 200 };

struct finding {
	const char        *check; /* a stable lower-case name */
	enum finding_level level;
	char               sentence[SENTENCE_BYTES];
	char               fix[FIX_BYTES]; /* "" with FINDING_OK */
};

struct doctor {
	pid_t          pid; /* of the running broker, 0: none */
	char           socket[108]; /* where it is looked for */
	unsigned int   nr_findings;
	struct finding findings[FINDINGS_MAX];
};

void finding_add(struct doctor *d, const char *check, enum finding_level level, const char *format,
		 ...) __attribute__((format(printf, 4, 5)));
/* The command for the finding that was added last. */
void finding_fix(struct doctor *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

void doctor_kernel(struct doctor *d);
void doctor_userfaultfd(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_limits(struct doctor *d);
void doctor_service(struct doctor *d);

/* Without it a cure must not be a command of its; */
bool doctor_has_systemd(void);
/* nor where a broker runs that it hasn't started. */
bool doctor_asks_systemd(const struct doctor *d);
/* The first line of a file, without its end; false if it can't be read. */
bool doctor_read(const char *path, char *line, unsigned int capacity);
bool doctor_read_number(const char *path, uint64_t *value);
/* major * 1000 + minor of the running kernel, 0 if it can't be told. */
unsigned int doctor_kernel_release(void);

#endif
