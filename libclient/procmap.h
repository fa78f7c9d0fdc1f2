/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procmap - what is mapped at an address of this process right now
 *
 * Purpose     Before the library unmaps or drops a window it asks the kernel whose mapping is
 *             there: the application may have unmapped or moved the window and something else may
 *             have taken its place.
 */
#ifndef MMB_LIBCLIENT_PROCMAP_H
#define MMB_LIBCLIENT_PROCMAP_H

#include <stdint.h>
#include <sys/types.h>

struct procmap_vma {
	uint64_t start, end;
	dev_t    dev; /* of the mapped file; 0 0: none */
	ino_t    ino;
};

/* A way to ask; closed by procmap_close(). -errno where /proc isn't there. */
int  procmap_open(void);
void procmap_close(int fd);
/* The mapping that covers the address, else the next one above. -ENOENT: none. */
int procmap_find(int fd, uint64_t address, struct procmap_vma *out);

#endif
