/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pressure_json - a pressure file's two lines as JSON objects
 *
 * Not here    What some and full mean (mmbctl(1)).
 */
#include <errno.h>
#include <stdio.h>

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
