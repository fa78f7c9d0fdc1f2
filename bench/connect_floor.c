/* SPDX-License-Identifier: Apache-2.0 */
/* connect_floor - see connect_floor.h */
#include "connect_floor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/clock.h"
#include "lib/fds.h"
#include "lib/place.h"
#include "lib/stats.h"
#include "proto/uffd_compat.h"

enum { CHILD_MS = 20000, REGION = 64 << 10, SECTION = 2 << 20, PACKET = 24 };

struct server {
	int listener, place;
	int epoll;
};

/* ---- the broker's part ---- */

/* Waits for one packet, as a server of many does. */
static ssize_t take(const struct server *s, int sock)
{
	struct epoll_event event;
	char packet[PACKET];

	if (epoll_wait(s->epoll, &event, 1, -1) != 1)
		return -1;
	return recv(sock, packet, sizeof(packet), 0);
}

static bool answer(int sock)
{
	char packet[PACKET] = { 0 };

	return send(sock, packet, sizeof(packet), MSG_NOSIGNAL) == sizeof(packet);
}

static bool watch(const struct server *s, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool hand_out_region(int sock)
{
	int fd = memfd_create("floor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	bool done = fd >= 0 && ftruncate(fd, SECTION) == 0 && fchmod(fd, 0400) == 0 &&
		    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0 &&
		    fds_send(sock, fd) == 0;

	if (fd >= 0)
		close(fd);
	return done;
}

/* False: the client that has come is the last one, or nothing works. */
static bool serve(const struct server *s)
{
	struct epoll_event event;
	struct ucred who;
	socklen_t bytes = sizeof(who);
	int sock, uffd = -1;
	bool served;

	if (epoll_wait(s->epoll, &event, 1, -1) != 1)
		return false;
	sock = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	served = sock >= 0 && getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &bytes) == 0 &&
		 watch(s, sock) && take(s, sock) > 0 && answer(sock);
	if (served)
		uffd = fds_receive(sock);
	served = served && uffd >= 0 && watch(s, uffd) && take(s, sock) > 0 && answer(sock) &&
		 take(s, sock) > 0 && hand_out_region(sock);
	if (served)
		take(s, sock); /* its end */
	if (uffd >= 0)
		close(uffd);
	if (sock >= 0)
		close(sock);
	return served;
}

static int server_child(void *arg, struct sample *out)
{
	struct server *s = arg;

	place_self(s->place);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0 || !watch(s, s->listener))
		return bench_because(-errno, "epoll: %s", strerror(errno));
	while (serve(s))
		;
	return 0;
}

/* ---- the client's part ---- */

static int open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return bench_because(BENCH_SKIP, "userfaultfd: %s", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	close(fd);
	return bench_because(-errno, "UFFDIO_API: %s", strerror(errno));
}

static bool ask(int sock)
{
	char packet[PACKET] = { 0 };

	return answer(sock) && recv(sock, packet, sizeof(packet), 0) > 0;
}

static void *open_window(int uffd, int memfd)
{
	void *at = mmap(NULL, REGION, PROT_NONE, MAP_SHARED | MAP_NORESERVE, memfd, 0);
	struct uffdio_register range = {
		.range = { (uintptr_t)at, REGION },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	};

	if (at == MAP_FAILED || madvise(at, REGION, MADV_DONTFORK) != 0 ||
	    ioctl(uffd, UFFDIO_REGISTER, &range) != 0 ||
	    mprotect(at, REGION, PROT_READ | PROT_WRITE) != 0)
		return MAP_FAILED;
	return at;
}

/* From the socket to memory that may be touched. */
static int first_region(const struct sockaddr_un *address, socklen_t bytes, uint64_t *ns)
{
	uint64_t before = clock_ns();
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int uffd = -1, memfd = -1;
	void *at = MAP_FAILED;
	bool hello;

	if (sock < 0 || connect(sock, (const struct sockaddr *)address, bytes) != 0)
		return bench_because(-errno, "connect: %s", strerror(errno));
	uffd = open_uffd();
	if (uffd < 0 || uffd == BENCH_SKIP) {
		close(sock);
		return uffd;
	}
	hello = answer(sock) && fds_send(sock, uffd) == 0 &&
		recv(sock, (char[PACKET]){ 0 }, PACKET, 0) > 0;
	if (hello && ask(sock) && answer(sock))
		memfd = fds_receive(sock);
	if (memfd >= 0) {
		at = open_window(uffd, memfd);
		close(memfd);
	}
	*ns = clock_ns() - before;
	if (at != MAP_FAILED)
		munmap(at, REGION);
	close(sock);
	close(uffd);
	return at != MAP_FAILED ? 0 : bench_because(-EIO, "no window: %s", strerror(errno));
}

static int listen_anywhere(struct sockaddr_un *address, socklen_t *bytes)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*bytes = sizeof(*address);
	if (sock < 0 || bind(sock, (struct sockaddr *)address, sizeof(sa_family_t)) != 0 ||
	    listen(sock, 1) != 0 || getsockname(sock, (struct sockaddr *)address, bytes) != 0)
		return bench_because(-errno, "no socket: %s", strerror(errno));
	return sock;
}

static int run_rounds(const struct connect_floor_args *args, struct server *s, uint64_t *ns)
{
	struct sockaddr_un address;
	struct sample ignored;
	struct child child;
	socklen_t bytes;
	int error, last;

	s->listener = listen_anywhere(&address, &bytes);
	if (s->listener < 0)
		return s->listener;
	error = child_start(&child, server_child, s);
	if (error != 0)
		return error;
	place_self(args->place);
	for (unsigned int i = 0; error == 0 && i < args->rounds; i++)
		error = first_region(&address, bytes, &ns[i]);
	place_self(PLACE_ANYWHERE);
	/* One that says nothing ends the server. */
	last = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(last, (struct sockaddr *)&address, bytes) == 0)
		shutdown(last, SHUT_RDWR);
	child_finish(&child, CHILD_MS, &ignored);
	close(last);
	return error;
}

int connect_floor_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct connect_floor_args *args = arg;
	struct server s = { .listener = -1, .place = args->peer_place };
	uint64_t *ns = calloc(args->rounds, sizeof(*ns));
	int error = ns ? run_rounds(args, &s, ns) : bench_because(-ENOMEM, "memory");

	if (error == 0) {
		stats_sort(ns, args->rounds);
		out->v[CONNECT_FLOOR_P50] = (double)stats_permille(ns, args->rounds, 500);
	}
	if (s.listener >= 0)
		close(s.listener);
	free(ns);
	return error;
}
