/* SPDX-License-Identifier: Apache-2.0 */
/* bare - see bare.h: what both directions need */
#include "swap/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/fds.h"
#include "swap/workload.h"

#define BLOCK (1ull << 20)

enum { CHILD_MS = 60000 };

struct holder {
	struct bare              *m;
	const struct bare_parts *parts;
};

/* ---- the child ---- */

static int register_window(const struct bare *m, const struct bare_parts *parts)
{
	struct uffdio_api api = { .api = UFFD_API, .features = parts->features };
	struct uffdio_register range = { .range = { (uintptr_t)m->window, m->args->bytes },
					 .mode = parts->mode };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		return bench_because(BENCH_SKIP, "userfaultfd: %s", strerror(errno));
	if (ioctl(uffd, UFFDIO_API, &api) != 0 || ioctl(uffd, UFFDIO_REGISTER, &range) != 0)
		return bench_because(-errno, "userfaultfd: %s", strerror(errno));
	return fds_send(m->sock, uffd);
}

static int child_main(void *arg, struct sample *out)
{
	const struct holder *h = arg;
	const struct bare *m = h->m;
	int error;
	char go;

	close(m->other);
	if (mmap(m->window, m->args->bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, m->memfd, 0) == MAP_FAILED)
		return bench_because(-errno, "window: %s", strerror(errno));
	if (h->parts->filled)
		workload_fill(m->window, m->args->bytes / WORKLOAD_PAGE);
	error = register_window(m, h->parts);
	if (error != 0)
		return error;
	if (read(m->sock, &go, 1) != 1)
		return bench_because(-EPIPE, "nobody is left who answers");
	return h->parts->child ? h->parts->child(m, out) : 0;
}

/* ---- this process ---- */

static int run(struct holder *h, struct sample *out)
{
	struct bare *m = h->m;
	struct sample of_child = { 0 };
	struct child child;
	int pair[2], error, ended;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return bench_because(-errno, "socketpair: %s", strerror(errno));
	m->sock = pair[1];
	m->other = pair[0];
	error = child_start(&child, child_main, h);
	close(pair[1]);
	m->sock = pair[0];
	if (error != 0) {
		close(pair[0]);
		return error;
	}
	m->uffd = fds_receive(m->sock);
	if (m->uffd >= 0)
		error = h->parts->work(m, out);
	close(m->sock); /* a child that still waits to begin ends */
	ended = child_finish(&child, CHILD_MS, &of_child);
	if (h->parts->child)
		*out = of_child;
	return error != 0 ? error : ended;
}

/* ---- set-up ---- */

/* Written once, so that the file system has nothing left to decide. */
static int make_file(struct bare *m)
{
	static char block[BLOCK] __attribute__((aligned(WORKLOAD_PAGE)));
	char path[256];
	int error;

	snprintf(path, sizeof(path), "%.200s/bare", m->args->folder);
	m->file = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	if (m->file < 0)
		return bench_because(errno == EINVAL ? BENCH_SKIP : -errno, "%s, O_DIRECT: %s",
				     path, strerror(errno));
	unlink(path);
	error = -posix_fallocate(m->file, 0, (off_t)m->args->bytes);
	memset(block, 0x5a, sizeof(block));
	for (uint64_t at = 0; at < m->args->bytes && error == 0; at += BLOCK)
		if (pwrite(m->file, block, BLOCK, (off_t)at) != (ssize_t)BLOCK)
			error = errno ? -errno : -EIO;
	return error ? bench_because(error, "%s: %s", path, strerror(-error)) : 0;
}

static int make_memory(struct bare *m)
{
	m->memfd = memfd_create("bare", MFD_CLOEXEC);
	if (m->memfd < 0 || ftruncate(m->memfd, (off_t)m->args->bytes) != 0)
		return bench_because(BENCH_SKIP, "memfd: %s", strerror(errno));
	m->window = mmap(NULL, m->args->bytes, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return m->window != MAP_FAILED ? 0 : bench_because(-errno, "mmap: %s", strerror(errno));
}

static void end(struct bare *m)
{
	if (m->window != MAP_FAILED)
		munmap(m->window, m->args->bytes);
	if (m->memfd >= 0)
		close(m->memfd);
	if (m->file >= 0)
		close(m->file);
	if (m->uffd >= 0)
		close(m->uffd);
}

int bare_run(const struct bare_args *args, const struct bare_parts *parts, struct sample *out)
{
	struct bare m = { .args = args, .memfd = -1, .file = -1, .uffd = -1,
			  .window = MAP_FAILED };
	struct holder holder = { &m, parts };
	int error = make_file(&m);

	if (error == 0)
		error = make_memory(&m);
	if (error == 0)
		error = run(&holder, out);
	end(&m);
	return error;
}
