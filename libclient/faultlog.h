/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faultlog - the reading side of proto/fault_log.h
 *
 * Purpose     Finds the newest record that covers an address. Async-signal-safe: loads only.
 */
#ifndef MMB_LIBCLIENT_FAULTLOG_H
#define MMB_LIBCLIENT_FAULTLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "mmbroker.h"
#include "proto/fault_log.h"

/* Fills everything but info->size; false: no record covers the address. */
bool faultlog_find(const struct mmb_fault_log *log, uint64_t address, struct mmb_fault_info *info);
bool faultlog_is_empty(const struct mmb_fault_log *log);
/* Maps the daemon's memfd and closes it. NULL: errno. */
struct mmb_fault_log *faultlog_map(int fd);
void faultlog_unmap(struct mmb_fault_log *log);

#endif
