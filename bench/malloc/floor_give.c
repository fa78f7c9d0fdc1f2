/* SPDX-License-Identifier: Apache-2.0 */
/* floor_give - see floor_give.h */
#include "malloc/floor_give.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "malloc/floor_take.h"

enum { CHILD_MS = 5000 };

struct giver {
	int epoll, listener;
	int ready; /* a memfd with its memory, for who comes next */
};

static bool watch(const struct giver *g, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool wait_for(const struct giver *g, int fd)
{
	struct epoll_event event;

	return epoll_wait(g->epoll, &event, 1, -1) == 1 && event.data.fd == fd;
}

static bool make_ready(struct giver *g)
{
	g->ready = memfd_create("floor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return g->ready >= 0 && ftruncate(g->ready, FLOOR_BYTES) == 0 &&
	       fallocate(g->ready, 0, 0, FLOOR_BYTES) == 0 &&
	       fcntl(g->ready, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

static bool answer(const struct giver *g, int sock)
{
	char packet[FLOOR_PACKET] = { 0 };
	struct iovec vector = { .iov_base = packet, .iov_len = sizeof(packet) };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr header = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &g->ready, sizeof(int));
	return sendmsg(sock, &header, MSG_NOSIGNAL) == sizeof(packet);
}

/* What has come is mostly there when the connection is. */
static ssize_t take(const struct giver *g, int sock, char *packet)
{
	ssize_t got = recv(sock, packet, FLOOR_PACKET, MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN && wait_for(g, sock))
		got = recv(sock, packet, FLOOR_PACKET, 0);
	return got;
}

static bool serve(struct giver *g)
{
	char packet[FLOOR_PACKET];
	socklen_t bytes = sizeof(struct ucred);
	struct ucred who;
	bool served;
	int sock;

	if (!wait_for(g, g->listener))
		return false;
	sock = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC);
	served = sock >= 0 && getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &bytes) == 0 &&
		 watch(g, sock) && take(g, sock, packet) == FLOOR_PACKET && answer(g, sock);
	if (served)
		take(g, sock, packet); /* its end */
	if (sock >= 0)
		close(sock);
	close(g->ready);
	return served && make_ready(g);
}

static int run(void *arg, struct sample *out)
{
	const struct floor_giver *from = arg;
	struct giver g = { .listener = from->listener };

	g.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (g.epoll < 0 || !watch(&g, g.listener) || !make_ready(&g))
		return bench_because(-errno, "no memory to give: %s", strerror(errno));
	while (serve(&g))
		;
	(void)out;
	return 0;
}

int floor_giver_start(struct floor_giver *g)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int error;

	snprintf(g->path, sizeof(g->path), "/tmp/mmb-bench-floor-%d", getpid());
	strcpy(address.sun_path, g->path);
	unlink(g->path);
	g->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (g->listener < 0 ||
	    bind(g->listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(g->listener, 8) != 0)
		return bench_because(-errno, "%s: %s", g->path, strerror(errno));
	setenv("MMB_FLOOR", g->path, 1);
	error = child_start(&g->child, run, g);
	if (error != 0) {
		close(g->listener);
		unlink(g->path);
	}
	return error;
}

void floor_giver_stop(struct floor_giver *g)
{
	struct sample ignored;

	kill(g->child.pid, SIGKILL);
	child_finish(&g->child, CHILD_MS, &ignored);
	close(g->listener);
	unlink(g->path);
}
