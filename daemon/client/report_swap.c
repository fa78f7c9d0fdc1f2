/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_swap - swap areas, a row each, in the format of /proc/swaps
 *
 * Meaning     Sizes are KiB without the header, as the kernel counts them. With details a row goes
 *             on with words for state and errors, which the kernel's has not.
 * Locking     none held while a row is written.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/report.h"
#include "mm/balance/swap_area.h"
#include "mm/map/swap.h"

enum { PATH_WIDTH = 40, SHORT_KB = 10000000 };

/* What would end the name for whoever reads the row, as the kernel writes it. */
static int print_path(FILE *out, const char *path)
{
	int width = 0;

	for (; *path; path++) {
		if (strchr(" \t\n\\", *path))
			width += fprintf(out, "\\%03o", (unsigned char)*path);
		else
			width += fputc(*path, out) != EOF;
	}
	return width;
}

static void print_details(FILE *out, const struct swap_report *r)
{
	static const char *const states[] = { [SWAP_ON] = "on", [SWAP_DEGRADED] = "degraded",
					      [SWAP_DEAD] = "dead", [SWAP_LEAVING] = "leaving" };

	fprintf(out, "\tstate %s bad %" PRIu64, states[r->state], r->bad >> 10);
	fprintf(out, " write_errors %" PRIu64 " read_errors %" PRIu64 " checksum_errors %" PRIu64,
		r->write_errors, r->read_errors, r->checksum_errors);
}

static void print_area(FILE *out, const struct swap_report *r, bool details)
{
	uint64_t size = r->bytes >> 10, used = r->used >> 10;
	int      width = print_path(out, r->path);

	fprintf(out, "%*s%s\t%" PRIu64 "\t%s%" PRIu64 "\t%s%d",
		width < PATH_WIDTH ? PATH_WIDTH - width : 1, " ",
		r->is_device ? "partition" : "file\t", size, size < SHORT_KB ? "\t" : "", used,
		used < SHORT_KB ? "\t" : "", r->priority);
	if (details)
		print_details(out, r);
	fputc('\n', out);
}

int report_swaps(bool details, char **text, struct refusal *why)
{
	struct swap_report report;
	size_t             length;
	FILE              *out = open_memstream(text, &length);

	if (!out)
		return refuse(why, -ENOMEM, "no memory for the report");
	fputs("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n", out);
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++)
		if (swap_area_report(i, &report))
			print_area(out, &report, details);
	if (!fclose(out))
		return 0;
	free(*text);
	*text = NULL;
	return refuse(why, -ENOMEM, "no memory for the report");
}
