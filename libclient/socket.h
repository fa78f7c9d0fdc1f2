/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket - finding the broker's socket
 *
 * Purpose     A given path, else $MMB_SOCKET, else the user's socket, else the system's.
 */
#ifndef MMB_LIBCLIENT_SOCKET_H
#define MMB_LIBCLIENT_SOCKET_H

#include <stdint.h>

struct socket_search {
	const char *path;            /* NULL: search */
	uint64_t    timeout_ms;      /* for a daemon that is there and doesn't accept */
	uint64_t    wait_absent_ms;  /* for a daemon that isn't there yet; 0: don't wait */
};

/* A connected descriptor, or a negative errno with its sentence. */
int socket_connect(const struct socket_search *search);

#endif
