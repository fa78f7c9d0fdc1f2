/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_json - zoneinfo as one JSON object a zone
 *
 * Purpose     zoneinfo's lines mean something by what stood above them; this walks them with the
 *             section that is open, and closes it when another begins.
 * Invariants  Z1  at most one section is open, and an item only inside "pagesets".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json.h"
#include "tools/text_json.h"

struct zone_json {
	struct json j;
	bool        started, item;
	char        section; /* bracket of the open section, 0: none */
};

static void section_close(struct zone_json *z)
{
	if (z->item)
		json_close(&z->j, '}');
	if (z->section)
		json_close(&z->j, z->section == '{' ? '}' : ']');
	z->item = false;
	z->section = 0;
}

static void section_open(struct zone_json *z, const char *name, char bracket)
{
	section_close(z);
	json_open(&z->j, name, bracket);
	z->section = bracket;
}

static void zone_end(struct zone_json *z)
{
	section_close(z);
	if (z->started)
		json_end(&z->j);
	z->started = false;
}

static int zone_begin(struct zone_json *z, const char *line)
{
	char     name[ZONE_NAME_BYTES];
	uint32_t node;

	zone_end(z);
	if (sscanf(line, "Node %" SCNu32 ", zone %31s", &node, name) != 2)
		return -EPROTO;
	z->started = true;
	json_begin(&z->j, stdout);
	json_number(&z->j, "node", node);
	json_string(&z->j, "zone", name);
	return 0;
}

/* "protection: (0, 0)" ends the page counts; what follows are the zone's own statistics. */
static void protection(struct zone_json *z, const char *at)
{
	section_open(z, "protection", '[');
	for (at = strpbrk(at, "0123456789"); at; at = strpbrk(at, "0123456789")) {
		char *end;

		json_number(&z->j, NULL, strtoull(at, &end, 10));
		at = end;
	}
	section_open(z, "stats", '{');
}

/* "name value" or "name: value" inside the open section. */
static int row(struct zone_json *z, const char *line)
{
	char     name[ZONE_NAME_BYTES + 1];
	uint64_t value;
	size_t   length;

	if (!z->section || sscanf(line, " %32s %" SCNu64, name, &value) != 2)
		return -EPROTO;
	length = strlen(name);
	if (name[length - 1] == ':')
		name[length - 1] = '\0';
	json_number(&z->j, name, value);
	return 0;
}

static void pageset(struct zone_json *z, const char *at)
{
	if (z->item)
		json_close(&z->j, '}');
	json_open(&z->j, NULL, '{');
	z->item = true;
	json_number(&z->j, "cpu", strtoull(at, NULL, 10));
}

/* What follows `with` at the beginning of the line, NULL if it doesn't begin so. */
static const char *after(const char *line, const char *with)
{
	size_t length = strlen(with);

	return strncmp(line, with, length) == 0 ? line + length : NULL;
}

/* Lines of two blanks' depth, and "cpu", begin something; false for all others. */
static bool section_line(struct zone_json *z, const char *line)
{
	const char *at;

	if (after(line, "  per-node stats")) {
		section_open(z, "node_stats", '{');
	} else if ((at = after(line, "        protection:")) != NULL) {
		protection(z, at);
	} else if (after(line, "  pagesets")) {
		section_open(z, "pagesets", '[');
	} else if ((at = after(line, "    cpu: ")) != NULL) {
		pageset(z, at);
	} else if ((at = after(line, "  vm stats threshold: ")) != NULL) {
		json_number(&z->j, "vm_stats_threshold", strtoull(at, NULL, 10));
	} else if ((at = after(line, "  node_unreclaimable:")) != NULL) {
		section_close(z);
		json_number(&z->j, "node_unreclaimable", strtoull(at, NULL, 10));
	} else if ((at = after(line, "  start_pfn:")) != NULL) {
		section_close(z);
		json_number(&z->j, "start_pfn", strtoull(at, NULL, 10));
	} else {
		return false;
	}
	return true;
}

static int zone_line(struct zone_json *z, const char *line)
{
	const char *at = after(line, "  pages ");

	if (after(line, "Node "))
		return zone_begin(z, line);
	if (!z->started)
		return -EPROTO;
	if (at)
		section_open(z, "pages", '{');
	else if (section_line(z, line))
		return 0;
	return row(z, at ? at : line);
}

int zoneinfo_json(char *text)
{
	struct zone_json z = { 0 };
	char            *line;
	int              error = 0;

	while (!error && (line = text_line(&text)) != NULL)
		error = zone_line(&z, line);
	zone_end(&z);
	return error;
}
