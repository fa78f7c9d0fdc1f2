/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_json - the kernel-format texts as JSON objects
 *
 * Purpose     meminfo, vmstat, buddyinfo and pagetypeinfo; see text_json.h.
 * Not here    zoneinfo and maps, whose lines depend on those before (zone_json.c, maps_json.c).
 */
#include "tools/text_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json.h"

char *text_line(char **rest)
{
	char *line = *rest, *end;

	if (*line == '\0')
		return NULL;
	end = strchr(line, '\n');
	if (end) {
		*end = '\0';
		*rest = end + 1;
	} else {
		*rest = line + strlen(line);
	}
	return line;
}

int meminfo_json(char *text)
{
	struct json j;
	char       *line;

	json_begin(&j, stdout);
	while ((line = text_line(&text)) != NULL) {
		char    *colon = strchr(line, ':'), *unit;
		uint64_t value;

		if (!colon)
			break;
		*colon = '\0';
		value = strtoull(colon + 1, &unit, 10);
		json_number(&j, line, strcmp(unit, " kB") == 0 ? value << 10 : value);
	}
	json_end(&j);
	return line ? -EPROTO : 0;
}

int vmstat_json(char *text)
{
	struct json j;
	char       *line;

	json_begin(&j, stdout);
	while ((line = text_line(&text)) != NULL) {
		char *blank = strchr(line, ' ');

		if (!blank)
			break;
		*blank = '\0';
		json_number(&j, line, strtoull(blank + 1, NULL, 10));
	}
	json_end(&j);
	return line ? -EPROTO : 0;
}

/* Every number to the end of the line. */
static void numbers_json(struct json *j, const char *name, const char *at)
{
	json_open(j, name, '[');
	while (*(at += strspn(at, " ")) != '\0') {
		char    *end;
		uint64_t value = strtoull(at, &end, 10);

		if (end == at)
			break;
		json_number(j, NULL, value);
		at = end;
	}
	json_close(j, ']');
}

int buddyinfo_json(char *text)
{
	char *line;

	while ((line = text_line(&text)) != NULL) {
		char        zone[ZONE_NAME_BYTES];
		uint32_t    node;
		int         at = 0;
		struct json j;

		if (sscanf(line, "Node %" SCNu32 ", zone %31s %n", &node, zone, &at) != 2 || !at)
			return -EPROTO;
		json_begin(&j, stdout);
		json_number(&j, "node", node);
		json_string(&j, "zone", zone);
		numbers_json(&j, "free", line + at);
		json_end(&j);
	}
	return 0;
}

/* ---- pagetypeinfo: the table of free blocks, joined with the table of pageblocks ---- */

static uint64_t nth_number(const char *at, unsigned int n)
{
	char *end;

	for (;; at = end) {
		uint64_t value = strtoull(at, &end, 10);

		if (n-- == 0 || end == at)
			return end == at ? 0 : value;
	}
}

/* Column of a migratetype in "Number of blocks type  Unmovable  Movable ...". */
static int column_of(const char *title, const char *type)
{
	char name[ZONE_NAME_BYTES];
	int  column = 0, used;

	title += strlen("Number of blocks type");
	while (sscanf(title, "%31s%n", name, &used) == 1) {
		if (strcmp(name, type) == 0)
			return column;
		column++;
		title += used;
	}
	return -1;
}

/* Pageblocks of one zone and type, from the second table at `title`. */
static uint64_t pageblocks_of(const char *title, uint32_t node, const char *zone, const char *type)
{
	int         column = column_of(title, type);
	const char *line = title;

	while (column >= 0 && (line = strchr(line, '\n')) != NULL) {
		char     other[ZONE_NAME_BYTES];
		uint32_t id;
		int      at = 0;

		line++;
		if (sscanf(line, "Node %" SCNu32 ", zone %31s %n", &id, other, &at) == 2 &&
		    id == node && strcmp(other, zone) == 0)
			return nth_number(line + at, (unsigned int)column);
	}
	return 0;
}

int pagetypeinfo_json(char *text)
{
	char *title = strstr(text, "Number of blocks type"), *line;

	if (!title)
		return -EPROTO;
	while ((line = text_line(&text)) != NULL && line < title) {
		char        zone[ZONE_NAME_BYTES], type[ZONE_NAME_BYTES];
		uint32_t    node;
		int         at = 0;
		struct json j;

		if (strncmp(line, "Node", 4) != 0)
			continue;
		if (sscanf(line, "Node %" SCNu32 ", zone %31[^,], type %31s %n", &node, zone, type,
			   &at) != 3 ||
		    !at)
			return -EPROTO;
		json_begin(&j, stdout);
		json_number(&j, "node", node);
		json_string(&j, "zone", zone);
		json_string(&j, "type", type);
		numbers_json(&j, "free", line + at);
		json_number(&j, "pageblocks", pageblocks_of(title, node, zone, type));
		json_end(&j);
	}
	return 0;
}
