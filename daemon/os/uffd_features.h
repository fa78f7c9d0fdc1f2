/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd_features - what the running kernel's userfaultfd can do, and whether that is enough
 *
 * Purpose     Probed once at start with a throw-away descriptor; the rest of the daemon asks the
 *             struct. Also opens the device that clients get, and checks descriptors that clients
 *             send.
 * Not here    The ioctls that serve faults (os/uffd.c), constants newer than the distribution's
 *             headers (proto/uffd_compat.h).
 */
#ifndef MMB_OS_UFFD_FEATURES_H
#define MMB_OS_UFFD_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uffd_features {
	uint64_t bits;           /* UFFD_FEATURE_* the kernel offers */
	bool     minor_shmem;    /* 5.14 */
	bool     minor_hugetlb;  /* 5.13 */
	bool     exact_address;  /* 5.18 */
	bool     wp_shmem;       /* 5.19: write-protection on shmem and hugetlb */
	bool     device;         /* 6.1: /dev/userfaultfd exists and opens */
	bool     wp_unpopulated; /* 6.4 */
	bool     poison;         /* 6.6 */
	bool     continue_wp;    /* 6.6: CONTINUE that maps write-protected */
	bool     wp_async;       /* 6.7 */
	bool     kernel_faults;  /* this process may create one that handles faults in syscalls */
};

/* What the daemon hides of its kernel: 0, but in daemons built for tests. Before it starts. */
extern uint64_t uffd_hidden;
/* hide: UFFD_FEATURE_* bits to pretend absent (a test plays an older kernel); 0 in production.
 * -ENOSYS: no userfaultfd at all, or another negative errno. */
int uffd_features_probe(uint64_t hide, struct uffd_features *out);
/* What os_linux goes by from now on, instead of a probe of its own; f must stay. */
void uffd_use_features(const struct uffd_features *f);
/* True if regions can be served. Otherwise `missing` names what isn't there, comma-separated. */
bool uffd_features_sufficient(const struct uffd_features *f, char *missing, size_t size);

/* Opens /dev/userfaultfd: the descriptor a client calls USERFAULTFD_IOC_NEW on. */
int uffd_device_open(void);

/* Is fd, received from a client, an initialised userfaultfd? Makes it non-blocking (a blocking
 * one polls as an error) and reads its enabled features from the kernel rather than from the
 * client's word. -EINVAL: something else; -EPROTO: UFFDIO_API wasn't called on it. */
int uffd_accept(int fd, uint64_t *features);

#endif
