/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd - the userfaultfd entries of os_linux
 *
 * Not here    Contracts (os/os.h).
 */
#ifndef MMB_OS_UFFD_H
#define MMB_OS_UFFD_H

#include "os/os.h"

struct os_range_result linux_uffd_continue(int uffd, uint64_t address, uint64_t length);
int linux_uffd_wake(int uffd, uint64_t address, uint64_t length);
int linux_uffd_poison(int uffd, uint64_t address, uint64_t length);
int linux_uffd_poison_absent(int uffd, uint64_t address, uint64_t length);
struct os_range_result linux_uffd_continue_protected(int uffd, uint64_t address, uint64_t length);
int linux_uffd_protect(int uffd, uint64_t address, uint64_t length);
int linux_uffd_unprotect(int uffd, uint64_t address, uint64_t length);

#endif
