/* SPDX-License-Identifier: Apache-2.0 */
/*
 * huge_copy - through scratch mappings, watched by the daemon's own userfaultfd
 *
 * Locking     none.
 */
#include "os/huge_copy.h"

#include <errno.h>
#include <stddef.h>

#include "os/present.h"
#include "proto/uffd_compat.h"

static int watch(int uffd, void *at, uint64_t length)
{
	struct uffdio_register arg = { .range = { (uintptr_t)at, length },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(uffd, UFFDIO_REGISTER, &arg) ? -errno : 0;
}

/* The source's entries first: where the kernel finds none it copies twice. */
static int fill(int uffd, void *to, void *from, uint64_t length)
{
	struct uffdio_copy arg = { .dst = (uintptr_t)to,
				   .src = (uintptr_t)from,
				   .len = length,
				   .mode = UFFDIO_COPY_MODE_DONTWAKE };
	int error = watch(uffd, from, length);

	if (!error)
		error = watch(uffd, to, length);
	if (!error && madvise(from, length, MADV_POPULATE_READ))
		error = -errno;
	if (!error && ioctl(uffd, UFFDIO_COPY, &arg))
		error = -errno;
	return error;
}

int huge_copy(const struct os_copy *c)
{
	int   uffd = scratch_uffd(), error = uffd < 0 ? -ENOSYS : -ENOMEM;
	void *source, *target;

	if (uffd < 0)
		return error;
	source = mmap(NULL, c->length, PROT_READ, MAP_SHARED | MAP_NORESERVE, c->from,
		      (off_t)c->from_offset);
	target = mmap(NULL, c->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, c->to,
		      (off_t)c->offset);
	if (source != MAP_FAILED && target != MAP_FAILED)
		error = fill(uffd, target, source, c->length);
	if (source != MAP_FAILED)
		munmap(source, c->length);
	if (target != MAP_FAILED)
		munmap(target, c->length);
	return error;
}
