/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printable - what the name of a client or of anything that it makes may consist of
 *
 * Purpose     UTF-8 without control characters: names are shown on terminals and written to logs.
 */
#ifndef MMB_PROTO_PRINTABLE_H
#define MMB_PROTO_PRINTABLE_H

#include <stddef.h>

/* Bytes of the character that text begins with, or 0 when it isn't printable UTF-8. */
size_t printable_length(const char *text);

#endif
