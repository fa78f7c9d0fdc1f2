/* SPDX-License-Identifier: Apache-2.0 */
/* floor_take - see floor_take.h */
#include "malloc/floor_take.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/clock.h"

enum { SPIN_NS = 100 * 1000 };

/* Without sleeping at first, as the library does. */
static ssize_t receive(int sock, struct msghdr *header)
{
	uint64_t until = clock_ns() + SPIN_NS;
	ssize_t got;

	while ((got = recvmsg(sock, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0 &&
	       errno == EAGAIN && clock_ns() < until)
		sched_yield();
	return got < 0 && errno == EAGAIN ? recvmsg(sock, header, MSG_CMSG_CLOEXEC) : got;
}

static int receive_fd(int sock)
{
	char packet[FLOOR_PACKET];
	struct iovec vector = { .iov_base = packet, .iov_len = sizeof(packet) };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct msghdr header = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof(control) };
	const struct cmsghdr *c;
	int fd = -1;

	if (receive(sock, &header) != sizeof(packet))
		return -1;
	c = CMSG_FIRSTHDR(&header);
	if (c != NULL && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

void *floor_take(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char packet[FLOOR_PACKET] = { 0 }, *path = getenv("MMB_FLOOR");
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd = -1;
	void *at = MAP_FAILED;

	if (path == NULL || strlen(path) >= sizeof(address.sun_path))
		return NULL;
	strcpy(address.sun_path, path);
	if (sock >= 0 && connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    send(sock, packet, sizeof(packet), MSG_NOSIGNAL) == sizeof(packet))
		fd = receive_fd(sock);
	if (fd >= 0)
		at = mmap(NULL, FLOOR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return at == MAP_FAILED ? NULL : at;
}
