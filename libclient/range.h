/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range - objects above 4 MiB: regions of 2 MiB pages, private to the process
 */
#ifndef MMB_LIBCLIENT_RANGE_H
#define MMB_LIBCLIENT_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RANGE_ALIGN_MAX = 2 << 20 };

struct mmb_pool;

uint64_t range_alloc(struct mmb_pool *pool, size_t size);
bool range_free(uint64_t object);
bool range_is(const void *p);
size_t range_length(uint64_t object);

#endif
