/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options - structs that can grow: what the caller was compiled with against what we know
 *
 * Purpose     Reads and writes the public structs that begin with `size_t size`, as openat2() and
 *             clone3() do: a shorter struct gets defaults for what it lacks, a longer one is
 *             accepted if what we don't know of it is zero.
 */
#ifndef MMB_LIBCLIENT_OPTIONS_H
#define MMB_LIBCLIENT_OPTIONS_H

#include <stddef.h>

/* Copies the caller's struct over `known`, which the rest of stays zero. NULL: all zero. `what`
 * names the struct in the sentence. */
int options_read(void *known, size_t known_size, const void *given, const char *what);
/* Whether a result struct can be filled at all: given, and size set. */
int result_check(const void *given, const char *what);
/* Fills the caller's struct as far as it reaches, keeps its size field, zeroes what we lack. */
void result_write(void *given, const void *known, size_t known_size);

#endif
