/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_json - slabinfo with statistics as JSON objects
 *
 * Purpose     See text_json.h: one object a cache, counters in an object of their own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/json.h"
#include "tools/text_json.h"

enum { CACHE_NAME_BYTES = 160, FACTS = 3 };

/* "name value name value ...": the first three are the cache's, the rest what it has counted. */
static int pairs_json(struct json *j, const char *at)
{
	char     name[CACHE_NAME_BYTES];
	uint64_t value;
	int      used, nr = 0;

	while (sscanf(at, "%159s %" SCNu64 "%n", name, &value, &used) == 2) {
		if (nr++ == FACTS)
			json_open(j, "statistics", '{');
		json_number(j, name, value);
		at += used;
	}
	if (nr > FACTS)
		json_close(j, '}');
	return at[strspn(at, " ")] == '\0' ? 0 : -EPROTO;
}

static int row_json(const char *line)
{
	static const char *const names[] = {
		"active_objs", "num_objs", "objsize", "objperslab", "pagesperslab",
		"active_slabs", "num_slabs", "sharedavail",
	};
	uint64_t    v[8];
	char        name[CACHE_NAME_BYTES];
	int         at = 0, error;
	struct json j;

	if (sscanf(line,
		   "%159s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " : tunables %*u %*u %*u : slabdata %" SCNu64 " %" SCNu64 " %" SCNu64
		   " : statistics %n",
		   name, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &at) != 9 ||
	    !at)
		return -EPROTO;
	json_begin(&j, stdout);
	json_string(&j, "name", name);
	for (int i = 0; i < 8; i++)
		json_number(&j, names[i], v[i]);
	error = pairs_json(&j, line + at);
	json_end(&j);
	return error;
}

int slabinfo_json(char *text)
{
	char *line = text_line(&text);
	int   error = 0;

	if (!line || strncmp(line, "slabinfo - version: 2.1", 23) != 0)
		return -EPROTO;
	while (!error && (line = text_line(&text)) != NULL)
		if (line[0] != '#')
			error = row_json(line);
	return error;
}
