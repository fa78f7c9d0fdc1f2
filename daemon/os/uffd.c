/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd - the ioctls that answer faults
 *
 * Invariants  U1  every output field is 0 before its ioctl: the kernel may leave it untouched, and
 *                 only a positive value is progress.
 *             U2  after an EEXIST whoever sleeps on the page is woken here: "present" doesn't
 *                 mean "woken".
 *             U3  no call retries without bound: the client controls how often its map changes.
 * Not here    Reading events (uffd_read.c), features (uffd_features.c).
 */
#include "os/uffd.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/inject.h"
#include "base/types.h"
#include "os/holdup.h"
#include "os/uffd_features.h"
#include "proto/uffd_compat.h"

enum { BUSY_MAP_RETRIES = 8 };

/* The kernel takes the lock of the client's map for it. */
static int ask(int uffd, unsigned long request, void *arg)
{
	int r;

	holdup_enter(uffd);
	r = ioctl(uffd, request, arg);
	holdup_leave();
	return r;
}

/* One ioctl over [address, + length): 0 or -errno; *progress: bytes done. */
typedef int (*fill_fn)(int uffd, uint64_t address, uint64_t length, int64_t *progress);

static int fill_continue(int uffd, uint64_t address, uint64_t length, int64_t *progress)
{
	struct uffdio_continue arg = { .range = { address, length } };
	int                    error = ask(uffd, UFFDIO_CONTINUE, &arg) ? -errno : 0;

	*progress = arg.mapped;
	return error;
}

static int fill_protected(int uffd, uint64_t address, uint64_t length, int64_t *progress)
{
	struct uffdio_continue arg = { .range = { address, length },
				       .mode = UFFDIO_CONTINUE_MODE_WP };
	int                    error = ask(uffd, UFFDIO_CONTINUE, &arg) ? -errno : 0;

	*progress = arg.mapped;
	return error;
}

static int poison(int uffd, uint64_t address, uint64_t length, int64_t *progress)
{
	struct uffdio_poison arg = { .range = { address, length } };
	int                  error = ask(uffd, UFFDIO_POISON, &arg) ? -errno : 0;

	*progress = arg.updated;
	return error;
}

/*
 * A page that was punched while it was write-protected leaves a marker of that in its mappers' page
 * tables. CONTINUE goes over it, POISON calls it a page: EEXIST, and the toucher would fault for
 * ever. Lifting the protection takes a marker away, and a mapped page stays one.
 */
static int fill_poison(int uffd, uint64_t address, uint64_t length, int64_t *progress)
{
	int error = poison(uffd, address, length, progress);
	struct uffdio_writeprotect lift = { .range = { address, PAGE_SIZE } };

	if (error != -EEXIST || *progress > 0)
		return error;
	if (ask(uffd, UFFDIO_WRITEPROTECT, &lift) && is_aligned(address, PAGEBLOCK_SIZE) &&
	    length >= PAGEBLOCK_SIZE) { /* hugetlb */
		lift.range.len = PAGEBLOCK_SIZE;
		if (ask(uffd, UFFDIO_WRITEPROTECT, &lift))
			return error;
	}
	return poison(uffd, address, length, progress);
}

static int wake(int uffd, uint64_t address, uint64_t length)
{
	struct uffdio_range range = { address, length };

	return ask(uffd, UFFDIO_WAKE, &range) ? -errno : 0;
}

/*
 * Bytes of the page at address that gave EEXIST. A window over hugetlb refuses 4 KiB with EINVAL,
 * so one small call tells which kind it is.
 */
static uint64_t page_size_at(int uffd, uint64_t address, uint64_t length, fill_fn fill)
{
	int64_t progress;

	if (!is_aligned(address, PAGEBLOCK_SIZE) || !is_aligned(length, PAGEBLOCK_SIZE))
		return PAGE_SIZE;
	return fill(uffd, address, PAGE_SIZE, &progress) == -EINVAL ? PAGEBLOCK_SIZE : PAGE_SIZE;
}

/* Fills the whole range, passing over pages that are there already. */
static struct os_range_result fill_range(int uffd, uint64_t address, uint64_t length, fill_fn fill)
{
	struct os_range_result result = { 0 };
	uint64_t               page = 0;
	unsigned int           retries = 0;
	bool                   existed = false;

	while (result.done < length) {
		uint64_t at = address + result.done, left = length - result.done;
		int64_t  progress;
		int      error = fill(uffd, at, left, &progress);

		if (progress > 0) {
			result.done += (uint64_t)progress;
			retries = 0;
		} else if (error == -EEXIST) {
			page = page ? page : page_size_at(uffd, at, left, fill);
			result.done += page;
			existed = true;
		} else if (error != -EAGAIN || ++retries > BUSY_MAP_RETRIES) {
			result.error = error ? error : -EIO; /* success without progress */
			break;
		}
	}
	if (existed) /* U2 */
		wake(uffd, address, result.done);
	return result;
}

struct os_range_result linux_uffd_continue(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_CONTINUE);

	if (error)
		return (struct os_range_result){ .error = error };
	return fill_range(uffd, address, length, fill_continue);
}

int linux_uffd_wake(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_WAKE);

	return error ? error : wake(uffd, address, length);
}

static _Atomic(const struct uffd_features *) features_in_use;

void uffd_use_features(const struct uffd_features *f)
{
	atomic_store(&features_in_use, f);
}

static void probe_kernel(void)
{
	static struct uffd_features kernel;
	const struct uffd_features *nobody = NULL;

	if (uffd_features_probe(0, &kernel))
		kernel = (struct uffd_features){ 0 };
	atomic_compare_exchange_strong(&features_in_use, &nobody, &kernel);
}

static const struct uffd_features *features(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (!atomic_load(&features_in_use))
		pthread_once(&once, probe_kernel);
	return atomic_load(&features_in_use);
}

int linux_uffd_poison(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_POISON);

	if (error)
		return error;
	return features()->poison ? fill_range(uffd, address, length, fill_poison).error
				  : -EOPNOTSUPP;
}

int linux_uffd_poison_absent(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_POISON);

	if (error)
		return error;
	return features()->poison ? fill_range(uffd, address, length, poison).error : -EOPNOTSUPP;
}

struct os_range_result linux_uffd_continue_protected(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_CONTINUE);

	if (!error && !features()->continue_wp)
		error = -EOPNOTSUPP;
	if (error)
		return (struct os_range_result){ .error = error };
	return fill_range(uffd, address, length, fill_protected);
}

static int write_protect(int uffd, uint64_t address, uint64_t length, uint64_t mode)
{
	struct uffdio_writeprotect arg = { .range = { address, length }, .mode = mode };
	unsigned int               retries = 0;

	while (ask(uffd, UFFDIO_WRITEPROTECT, &arg))
		if (errno != EAGAIN || ++retries > BUSY_MAP_RETRIES)
			return -errno;
	return 0;
}

int linux_uffd_protect(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_PROTECT);

	return error ? error : write_protect(uffd, address, length, UFFDIO_WRITEPROTECT_MODE_WP);
}

int linux_uffd_unprotect(int uffd, uint64_t address, uint64_t length)
{
	int error = INJECT(UFFD_UNPROTECT);

	return error ? error : write_protect(uffd, address, length, 0);
}
