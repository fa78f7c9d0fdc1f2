/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_format - the kernel's own text formats, byte for byte, over a snapshot
 *
 * Purpose     What /proc/meminfo, buddyinfo, zoneinfo, pagetypeinfo, vmstat and PID/smaps would
 *             print for these numbers, so that their parsers parse these.
 * Errors      none here: a stream that fails is noticed by the caller (ferror, fclose).
 * Not here    Broker-only figures: those go into mmbctl status, never into these texts.
 */
#ifndef MMB_CLIENT_TEXT_FORMAT_H
#define MMB_CLIENT_TEXT_FORMAT_H

#include <stdio.h>

#include "client/text_snapshot.h"

void text_meminfo(FILE *out, const struct text_snapshot *s);
void text_buddyinfo(FILE *out, const struct text_snapshot *s);
void text_zoneinfo(FILE *out, const struct text_snapshot *s);
void text_pagetypeinfo(FILE *out, const struct text_snapshot *s);
void text_vmstat(FILE *out, const struct text_snapshot *s);
/* Header line and the lines below it, for one window. */
void text_smaps(FILE *out, const struct text_window *w);

#endif
