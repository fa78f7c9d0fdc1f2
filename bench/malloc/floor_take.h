/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor_take - memory of another process, by the fewest steps
 *
 * Purpose     The library of start_floor: a socket, one packet there and one back, one descriptor,
 *             one mapping.
 */
#ifndef MMB_BENCH_MALLOC_FLOOR_TAKE_H
#define MMB_BENCH_MALLOC_FLOOR_TAKE_H

enum { FLOOR_BYTES = 64 << 10, FLOOR_PACKET = 24 };

/* FLOOR_BYTES that the process behind the socket $MMB_FLOOR has given; NULL: it didn't. */
void *floor_take(void);

#endif
