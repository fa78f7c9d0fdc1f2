/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps_json - one client's windows as one JSON object a window
 *
 * Purpose     A window begins with its address line, which begins with a lower-case hexadecimal
 *             digit; the lines below it begin with a capital letter.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json.h"
#include "tools/text_json.h"

static int window_begin(struct json *j, const char *line)
{
	uint64_t start, end, offset, id;
	char     perms[8];
	int      at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*x:%*x %" SCNu64 "%n", &start,
		   &end, perms, &offset, &id, &at) != 5 ||
	    !at)
		return -EPROTO;
	json_begin(j, stdout);
	json_number(j, "start", start);
	json_number(j, "end", end);
	json_string(j, "perms", perms);
	json_number(j, "offset", offset);
	json_number(j, "id", id);
	json_string(j, "name", line + at + strspn(line + at, " "));
	return 0;
}

static int window_row(struct json *j, char *line)
{
	char    *colon = strchr(line, ':'), *unit;
	uint64_t value;

	if (!colon)
		return -EPROTO;
	*colon = '\0';
	colon += 1 + strspn(colon + 1, " ");
	value = strtoull(colon, &unit, 10);
	if (unit == colon)
		json_string(j, line, colon);
	else
		json_number(j, line, strcmp(unit, " kB") == 0 ? value << 10 : value);
	return 0;
}

int maps_json(char *text)
{
	struct json j;
	bool        started = false;
	char       *line;
	int         error = 0;

	while (!error && (line = text_line(&text)) != NULL) {
		if (isupper((unsigned char)line[0])) {
			error = started ? window_row(&j, line) : -EPROTO;
			continue;
		}
		if (started)
			json_end(&j);
		error = window_begin(&j, line);
		started = error == 0;
	}
	if (started)
		json_end(&j);
	return error;
}
