/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_json - swaps with details as JSON objects
 *
 * Purpose     See text_json.h: one object an area, KiB become bytes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json.h"
#include "tools/text_json.h"

/* The kernel's \NNN back to bytes, in place. */
static void unescape(char *at)
{
	char *to = at;

	while (*at) {
		unsigned int code;

		if (sscanf(at, "\\%3o", &code) == 1) {
			*to++ = (char)code;
			at += 4;
		} else {
			*to++ = *at++;
		}
	}
	*to = '\0';
}

static int row_json(char *line)
{
	char        type[16], state[16];
	uint64_t    size, used, bad, errors[3];
	int         priority;
	size_t      path = strcspn(line, " ");
	struct json j;

	if (sscanf(line + path,
		   "%15s %" SCNu64 " %" SCNu64 " %d state %15s bad %" SCNu64
		   " write_errors %" SCNu64 " read_errors %" SCNu64 " checksum_errors %" SCNu64,
		   type, &size, &used, &priority, state, &bad, &errors[0], &errors[1],
		   &errors[2]) != 9)
		return -EPROTO;
	line[path] = '\0';
	unescape(line);
	json_begin(&j, stdout);
	json_string(&j, "filename", line);
	json_string(&j, "type", type);
	json_number(&j, "size", size << 10);
	json_number(&j, "used", used << 10);
	json_signed(&j, "priority", priority);
	json_string(&j, "state", state);
	json_number(&j, "bad", bad << 10);
	json_number(&j, "write_errors", errors[0]);
	json_number(&j, "read_errors", errors[1]);
	json_number(&j, "checksum_errors", errors[2]);
	json_end(&j);
	return 0;
}

int swaps_json(char *text)
{
	char *line = text_line(&text);
	int   error = 0;

	if (!line || strncmp(line, "Filename", 8) != 0)
		return -EPROTO;
	while (!error && (line = text_line(&text)) != NULL)
		error = row_json(line);
	return error;
}
