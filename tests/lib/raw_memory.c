/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_memory - pools, regions and page runs by hand, and touching them
 *
 * Locking     none; the SIGBUS handler serves the thread that touches.
 */
#include "lib/raw_client.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/uffd_compat.h"

int raw_pool(struct raw *r, const char *name, uint64_t max)
{
	Mmb__Wire__PoolOpenRequest    request = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	const Mmb__Wire__PoolOpenReply *reply;
	int                           error;

	request.name = (char *)(uintptr_t)(name ? name : "");
	request.flags = name ? MMB_POOL_CREATE : MMB_POOL_PRIVATE;
	request.max = max;
	error = raw_call(r, MMB_METHOD_POOL_OPEN, &request);
	if (error)
		return error;
	reply = r->body;
	r->pool = reply->pool;
	r->member = reply->member;
	return 0;
}

/* ---- regions ---- */

int raw_region_ask(struct raw *r, const struct raw_region_want *want, struct raw_region *out)
{
	Mmb__Wire__RegionOpenRequest      request = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	const Mmb__Wire__RegionOpenReply *reply;
	int                               error;

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	request.pool = r->pool;
	request.name = (char *)(uintptr_t)(want->name ? want->name : "");
	request.length = want->length;
	request.address = want->address;
	request.page_size = want->page_size;
	request.flags = want->flags;
	request.mode = want->mode;
	error = raw_call(r, want->name ? MMB_METHOD_REGION_OPEN : MMB_METHOD_REGION_CREATE,
			 &request);
	if (error)
		return error;
	if (r->nr_fds != 1)
		return -EBADMSG;
	reply = r->body;
	out->handle = reply->region;
	out->page_size = reply->page_size;
	out->flags = reply->flags;
	out->length = reply->length;
	out->hugetlb = reply->hugetlb;
	out->created = reply->created;
	out->at = (char *)(uintptr_t)reply->address;
	out->fd = r->fds[0];
	r->nr_fds = 0;
	return 0;
}

static int watch(const struct raw *r, const char *at, uint64_t length, uint64_t mode)
{
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)at, .len = length },
		.mode = mode,
	};

	return ioctl(r->uffd, UFFDIO_REGISTER, &range) ? -errno : 0;
}

int raw_region_open(struct raw *r, const struct raw_region_want *want, struct raw_region *out)
{
	int   error = raw_region_ask(r, want, out);
	bool  readonly = out->flags & MMB_REGION_READONLY;
	char *place = out->at;

	if (error)
		return error;
	out->at = mmap(place, out->length, PROT_READ | (readonly ? 0 : PROT_WRITE),
		       (readonly ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
		       out->fd, 0);
	if (out->at == MAP_FAILED) {
		out->at = NULL;
		return -errno;
	}
	/* A child would read zeros without an event. */
	if (madvise(out->at, out->length, MADV_DONTFORK))
		return -errno;
	return watch(r, out->at, out->length,
		     UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
			     UFFDIO_REGISTER_MODE_WP);
}

int raw_region(struct raw *r, uint64_t length, struct raw_region *out)
{
	const struct raw_region_want want = { .length = length };

	return raw_region_open(r, &want, out);
}

int raw_region_close(struct raw *r, struct raw_region *region)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;

	if (region->at)
		munmap(region->at, region->length);
	if (region->fd >= 0)
		close(region->fd);
	region->at = NULL;
	region->fd = -1;
	request.region = region->handle;
	return raw_call(r, MMB_METHOD_REGION_CLOSE, &request);
}

int raw_advise(struct raw *r, const struct raw_region *region, uint64_t offset, uint64_t length,
	       uint32_t advice)
{
	Mmb__Wire__RegionRangeRequest request = MMB__WIRE__REGION_RANGE_REQUEST__INIT;

	request.region = region->handle;
	request.offset = offset;
	request.length = length;
	request.advice = advice;
	return raw_call(r, MMB_METHOD_REGION_ADVISE, &request);
}

/* ---- page runs ---- */

int raw_pages(struct raw *r, uint32_t order, uint32_t gfp, uint32_t count, uint64_t *out)
{
	Mmb__Wire__PagesAllocRequest      request = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;
	const Mmb__Wire__PagesAllocReply *reply;
	int                               error;

	request.pool = r->pool;
	request.order = order;
	request.gfp = gfp;
	request.count = count;
	error = raw_call(r, MMB_METHOD_PAGES_ALLOC, &request);
	if (error)
		return error;
	reply = r->body;
	if (!reply->n_addresses || reply->n_addresses > count)
		return -EBADMSG;
	memcpy(out, reply->addresses, reply->n_addresses * sizeof(*out));
	return (int)reply->n_addresses;
}

int raw_pages_free(struct raw *r, uint32_t order, uint64_t *addresses, uint32_t nr)
{
	Mmb__Wire__PagesFreeRequest request = MMB__WIRE__PAGES_FREE_REQUEST__INIT;

	request.pool = r->pool;
	request.order = order;
	request.addresses = addresses;
	request.n_addresses = nr;
	return raw_call(r, MMB_METHOD_PAGES_FREE, &request);
}

static int map_arena_window(struct raw *r, const Mmb__Wire__ArenaWindow *w, int fd)
{
	void *at = mmap((void *)(uintptr_t)w->address, w->length, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	if (madvise(at, w->length, MADV_DONTFORK))
		return -errno;
	return watch(r, at, w->length, UFFDIO_REGISTER_MODE_MISSING);
}

int raw_arena(struct raw *r, int *fd)
{
	Mmb__Wire__ArenaOpenRequest      request = MMB__WIRE__ARENA_OPEN_REQUEST__INIT;
	const Mmb__Wire__ArenaOpenReply *reply;
	int                              error;

	request.pool = r->pool;
	error = raw_call(r, MMB_METHOD_ARENA_OPEN, &request);
	if (error)
		return error;
	reply = r->body;
	if (!r->nr_fds || reply->n_windows != r->nr_fds)
		return -EBADMSG;
	for (uint32_t i = 0; i < r->nr_fds && !error; i++)
		error = map_arena_window(r, reply->windows[i], r->fds[i]);
	for (uint32_t i = fd ? 1 : 0; i < r->nr_fds; i++)
		close(r->fds[i]);
	if (fd)
		*fd = r->fds[0];
	r->nr_fds = 0;
	return error;
}

/* ---- touching ---- */

static _Thread_local sigjmp_buf touch_leave;
static _Thread_local volatile sig_atomic_t touching;

static void on_sigbus(int number)
{
	if (touching)
		siglongjmp(touch_leave, 1);
	signal(number, SIG_DFL);
	raise(number);
}

static void catch_sigbus(void)
{
	struct sigaction action = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
}

/* Reads the byte into *read, or writes `value` if that is NULL. */
static int touch_byte(volatile char *at, char *read, char value)
{
	catch_sigbus();
	if (sigsetjmp(touch_leave, 1)) {
		touching = 0;
		return -EFAULT;
	}
	touching = 1;
	if (read)
		*read = *at;
	else
		*at = value;
	touching = 0;
	return 0;
}

int raw_read_byte(const char *at, char *value)
{
	return touch_byte((volatile char *)(uintptr_t)at, value, 0);
}

int raw_write_byte(char *at, char value)
{
	return touch_byte(at, NULL, value);
}

const struct mmb_fault_record *raw_fault_record(const struct raw *r, const char *at)
{
	uint64_t head = r->log ? r->log->head : 0;

	for (uint64_t back = 1; back <= head && back <= MMB_FAULT_RECORDS; back++) {
		const struct mmb_fault_record *record =
			&r->log->records[(head - back) % MMB_FAULT_RECORDS];

		if ((uintptr_t)at - record->address < record->length)
			return record;
	}
	return NULL;
}
