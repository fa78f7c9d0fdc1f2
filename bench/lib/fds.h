/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fds - one descriptor from a child to its parent
 *
 * Purpose     For peers that are built without the broker's own protocol code.
 * Not here    The protocol's framing and descriptor passing (proto/wire.h).
 */
#ifndef MMB_BENCH_LIB_FDS_H
#define MMB_BENCH_LIB_FDS_H

/* 0, or a negative errno after bench_because(). */
int fds_send(int sock, int fd);
/* The descriptor, or a negative errno; nothing is said, since the sender knows better. */
int fds_receive(int sock);

#endif
