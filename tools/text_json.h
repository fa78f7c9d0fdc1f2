/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_json - the kernel-format texts as JSON objects
 *
 * Purpose     Each function takes one whole text, which it cuts up, and prints it as JSON: one
 *             object for meminfo and vmstat, one a zone for buddyinfo and zoneinfo, one a zone and
 *             migratetype for pagetypeinfo, one a window for maps, one a cache for slabinfo, one
 *             an area for swaps. kB become bytes.
 * Errors      -EPROTO for a text that isn't in the kernel's format; what was read before the
 *             wrong line is printed.
 */
#ifndef MMB_TOOLS_TEXT_JSON_H
#define MMB_TOOLS_TEXT_JSON_H

enum { ZONE_NAME_BYTES = 32 };

int meminfo_json(char *text);
int vmstat_json(char *text);
int buddyinfo_json(char *text);
int pagetypeinfo_json(char *text);
int zoneinfo_json(char *text);
int maps_json(char *text);
int slabinfo_json(char *text); /* with statistics */
int pressure_json(char *text);
int latency_json(char *text);
int swaps_json(char *text);    /* with details */

/* The next line without its end, NULL after the last; *rest moves on. */
char *text_line(char **rest);

#endif
