/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json - one JSON object a line
 *
 * Purpose     Writes objects with "schema":1 first, nested objects and arrays, and strings that
 *             are always valid: a byte that isn't UTF-8 becomes U+FFFD.
 * Names       name is NULL for an element of an array.
 * Not here    Units: callers give bytes, nanoseconds and counts, never kB or ms.
 */
#ifndef MMB_TOOLS_JSON_H
#define MMB_TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_SCHEMA = 1 };

struct json {
	FILE *out;
	bool  comma; /* something stands before in the innermost object or array */
};

void json_begin(struct json *j, FILE *out);
void json_end(struct json *j);
void json_string(struct json *j, const char *name, const char *value);
void json_number(struct json *j, const char *name, uint64_t value);
/* Two digits behind the point. */
void json_percent(struct json *j, const char *name, double value);
void json_signed(struct json *j, const char *name, int64_t value);
void json_bool(struct json *j, const char *name, bool value);
/* bracket is '{' or '['; json_close takes the matching one. */
void json_open(struct json *j, const char *name, char bracket);
void json_close(struct json *j, char bracket);

#endif
