/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency - how long faults, reads from swap and writes to it have taken, as operators read it
 */
#ifndef MMB_CLIENT_LATENCY_H
#define MMB_CLIENT_LATENCY_H

#include "client/verbs.h"

/* A table of count, mean and percentiles in nanoseconds; with `buckets` then a line for each bucket
 * that isn't empty: name, upper end, values in it. The caller frees *out. */
int report_latency(bool buckets, char **out, struct refusal *why);

#endif
