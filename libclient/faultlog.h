/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faultlog - the reading side of proto/fault_log.h
 *
 * Purpose     Finds the newest record that covers an address. Async-signal-safe: loads only, and
 *             one mmap(2) the first time that a process asks.
 */
#ifndef MMB_LIBCLIENT_FAULTLOG_H
#define MMB_LIBCLIENT_FAULTLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "mmbroker.h"
#include "process.h"
#include "proto/fault_log.h"

/* Fills everything but info->size; false: no record covers the address. */
bool faultlog_find(const struct mmb_fault_log *log, uint64_t address, struct mmb_fault_info *info);
bool faultlog_is_empty(const struct mmb_fault_log *log);
/* The log of a connection, mapped now if nobody has asked yet; most processes never do. NULL: none.
 * The caller counts among e->readers, or keeps the connection open. */
struct mmb_fault_log *faultlog_get(struct process_entry *e);
void faultlog_unmap(struct mmb_fault_log *log);

#endif
