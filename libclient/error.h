/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error - the sentence behind mmb_error()
 *
 * Purpose     Every failing path of the library passes through fail(): one sentence a thread, what
 *             was wrong, what was expected, what to do.
 * Locking     none: thread-local.
 */
#ifndef MMB_LIBCLIENT_ERROR_H
#define MMB_LIBCLIENT_ERROR_H

#include <stddef.h>

enum { ERROR_BYTES = 384 };

/* Records the sentence and returns code (a negative errno). Never allocates. */
int fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What the thread's last fail() returned: for those who only hear that there was one. */
int fail_code(void);
/* For functions that return a pointer: sets errno, returns NULL; the sentence is there already. */
void *fail_null(int code);
/* Prints the sentence to stderr and ends the process: a promise to the caller can't be kept. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
