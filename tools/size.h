/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size - a number of bytes as people write it
 */
#ifndef MMB_TOOLS_SIZE_H
#define MMB_TOOLS_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Digits, and K, M, G or T for powers of 1024. False: it is something else, or too large. */
bool size_parse(const char *text, uint64_t *bytes);

#endif
