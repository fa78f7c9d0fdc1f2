/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe - places where a tracer may look in: USDT probes of provider mmbroker
 *
 * Purpose     A probe is one nop and a note in the file; perf, bpftrace and systemtap find it by
 *             name. Only behind misses. Built without <sys/sdt.h> there are none.
 *               refill         bin, owner           a bin's free list is used up
 *               lease          units, spans         units are asked for
 *               return         units, spans         units go back
 *               adopt          address, owner       a slab of somebody who has gone
 *               run            address, units       an object above 256 KiB
 *               foreign_flush  address, objects     freed objects go to another's slab
 */
#ifndef MMB_LIBCLIENT_PROBE_H
#define MMB_LIBCLIENT_PROBE_H

#ifdef MMB_HAVE_SDT
#include <sys/sdt.h>
#define PROBE(name, a, b) DTRACE_PROBE2(mmbroker, name, a, b)
#else
#define PROBE(name, a, b) ((void)(a), (void)(b))
#endif

#endif
