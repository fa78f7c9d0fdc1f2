/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pressure_json - a pressure file's two lines, and the table of latencies, as JSON objects
 *
 * Not here    What some and full mean (mmbctl(1)).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/json.h"
#include "tools/text_json.h"

int pressure_json(char *text)
{
	static const char *const names[] = { "avg10", "avg60", "avg300" };
	char                    *line;

	while ((line = text_line(&text)) != NULL) {
		unsigned long long total;
		double             averages[3];
		char               kind[8];
		struct json        j;

		if (sscanf(line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%llu", kind,
			   &averages[0], &averages[1], &averages[2], &total) != 5)
			return -EPROTO;
		json_begin(&j, stdout);
		json_string(&j, "kind", kind);
		for (int i = 0; i < 3; i++)
			json_percent(&j, names[i], averages[i]);
		json_number(&j, "total_us", total);
		json_end(&j);
	}
	return 0;
}

#define NUMBER " %" SCNu64

static int latency_row(const char *line)
{
	static const char *const names[] = { "count",  "mean_ns", "p50_ns",
					     "p90_ns", "p99_ns",  "p99_9_ns" };
	uint64_t                 v[6];
	char                     name[16];
	struct json              j;

	if (sscanf(line, "%15s" NUMBER NUMBER NUMBER NUMBER NUMBER NUMBER, name, &v[0], &v[1],
		   &v[2], &v[3], &v[4], &v[5]) != 7)
		return -EPROTO;
	json_begin(&j, stdout);
	json_string(&j, "operation", name);
	for (int i = 0; i < 6; i++)
		json_number(&j, names[i], v[i]);
	json_end(&j);
	return 0;
}

static int latency_bucket(const char *line)
{
	uint64_t    last, nr;
	char        name[16];
	struct json j;

	if (sscanf(line, "%15s %" SCNu64 " %" SCNu64, name, &last, &nr) != 3)
		return -EPROTO;
	json_begin(&j, stdout);
	json_string(&j, "operation", name);
	json_number(&j, "at_most_ns", last);
	json_number(&j, "values", nr);
	json_end(&j);
	return 0;
}

int latency_json(char *text)
{
	char *line = text_line(&text);
	int   r = line && strncmp(line, "operation ", 10) == 0 ? 0 : -EPROTO;

	while (!r && (line = text_line(&text)) != NULL)
		r = latency_row(line) ? latency_bucket(line) : 0;
	return r;
}
