/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export - what libmmbroker.so shows to programs
 *
 * Purpose     The library is built with hidden visibility. A public function carries PUBLIC here
 *             and a line in libmmbroker.map; nothing else is visible. One that is called very often
 *             is HOT.
 */
#ifndef MMB_LIBCLIENT_EXPORT_H
#define MMB_LIBCLIENT_EXPORT_H

#define PUBLIC __attribute__((visibility("default")))
/* From the beginning of a cache line on: where the linker puts it otherwise, a pair of an
 * allocation and a free takes two cycles of twenty more in one build than in the next. */
#define HOT __attribute__((aligned(64)))

#endif
