/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error - the sentence behind mmb_error()
 *
 * Invariants  E1  The buffer is always a terminated string, so mmb_error() is never NULL.
 * Not here    Choice of code and words: at the place that knows what was expected.
 */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "export.h"
#include "mmbroker.h"

static _Thread_local char sentence[ERROR_BYTES];
static _Thread_local int last_code;

int fail(int code, const char *format, ...)
{
	/* An argument may point into the old sentence: format beside it first. */
	char next[ERROR_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(next, sizeof(next), format, args);
	va_end(args);
	snprintf(sentence, sizeof(sentence), "%s", next);
	last_code = code;
	return code;
}

int fail_code(void)
{
	return last_code;
}

void *fail_null(int code)
{
	errno = -code;
	return NULL;
}

void die(const char *format, ...)
{
	char text[ERROR_BYTES];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	if (length > (int)sizeof(text) - 2)
		length = sizeof(text) - 2;
	text[length] = '\n';
	if (write(STDERR_FILENO, text, (size_t)length + 1) < 0)
		abort();
	abort();
}

PUBLIC const char *mmb_error(void)
{
	return sentence;
}

PUBLIC const char *mmb_version(void)
{
	return MMB_VERSION;
}
