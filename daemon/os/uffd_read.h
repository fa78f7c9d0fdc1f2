/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd_read - events of a client's userfaultfd, decoded
 *
 * Purpose     os_linux.uffd_read: one read(2), plain structs out. A client chooses the features of
 *             its userfaultfd, so every event kind may come, wanted or not.
 */
#ifndef MMB_OS_UFFD_READ_H
#define MMB_OS_UFFD_READ_H

#include "os/os.h"

int linux_uffd_read(int uffd, struct os_uffd_event *events, int most);

#endif
