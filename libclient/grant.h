/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grant - what PAGES_FREE and SLAB_RETURN have in common
 */
#ifndef MMB_LIBCLIENT_GRANT_H
#define MMB_LIBCLIENT_GRANT_H

#include <stdbool.h>

/* Whether a failed return says nothing about the memory: it goes back with the session. */
bool grant_is_about_connection(int error);

#endif
