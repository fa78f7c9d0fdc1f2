/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pressure - stalled time of the broker, its pools and its sessions, as operators read it
 *
 * Purpose     Once a second tells each pool how many threads could stall, and brings averages up
 *             to date; makes the text of a pressure file.
 * Locking     the lists' locks and sessions' while walking.
 * Not here    Who stalls (mm/map/memcg.h: memstall_enter), the averages (mm/map/psi.h).
 */
#ifndef MMB_CLIENT_PRESSURE_H
#define MMB_CLIENT_PRESSURE_H

#include "client/verbs.h"

/* Of the keeper, once a second, before lanes forget which threads have faulted. */
void pressure_tick(void);
/* Of a pool if the name isn't "", of a session if the number isn't 0, else of all. The caller frees
 * *out. -ENOENT. */
int report_pressure(const char *pool, uint64_t session, char **out, struct refusal *why);

#endif
