/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export - what libmmbroker.so shows to programs
 *
 * Purpose     The library is built with hidden visibility. A public function carries PUBLIC here
 *             and a line in libmmbroker.map; nothing else is visible.
 */
#ifndef MMB_LIBCLIENT_EXPORT_H
#define MMB_LIBCLIENT_EXPORT_H

#define PUBLIC __attribute__((visibility("default")))

#endif
