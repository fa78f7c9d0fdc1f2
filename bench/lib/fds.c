/* SPDX-License-Identifier: Apache-2.0 */
/* fds - see fds.h */
#include "lib/fds.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/bench.h"

/* A message of one byte and room for one descriptor. */
struct fd_message {
	char          byte;
	struct iovec  vector;
	struct msghdr header;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
};

static void prepare(struct fd_message *m)
{
	memset(m, 0, sizeof(*m));
	m->vector = (struct iovec){ .iov_base = &m->byte, .iov_len = 1 };
	m->header = (struct msghdr){ .msg_iov = &m->vector, .msg_iovlen = 1,
				     .msg_control = m->control,
				     .msg_controllen = sizeof(m->control) };
}

int fds_send(int sock, int fd)
{
	struct fd_message m;
	struct cmsghdr *c;

	prepare(&m);
	c = CMSG_FIRSTHDR(&m.header);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(sock, &m.header, MSG_NOSIGNAL) != 1)
		return bench_because(-errno, "passing a descriptor: %s", strerror(errno));
	return 0;
}

int fds_receive(int sock)
{
	struct fd_message m;
	struct cmsghdr *c;
	int fd;

	prepare(&m);
	if (recvmsg(sock, &m.header, MSG_CMSG_CLOEXEC) != 1)
		return -EPIPE;
	c = CMSG_FIRSTHDR(&m.header);
	if (c == NULL || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}
