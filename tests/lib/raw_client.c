/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_client - packets by hand, HELLO, ATTACH
 *
 * Locking     none.
 * Not here    Regions, page runs and touching them (raw_memory.c).
 */
#include "lib/raw_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/uffd_compat.h"

enum { FDS_MAX = 253 };

static const uint64_t useful_features =
	UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_SHMEM |
	UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
	UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_POISON |
	UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EVENT_REMAP;

/* ---- the socket ---- */

void raw_init(struct raw *r)
{
	memset(r, 0, sizeof(*r));
	r->sock = r->log_fd = r->upcall = r->device = r->uffd = -1;
}

int raw_connect(struct raw *r, const char *path)
{
	struct sockaddr_un   address = { .sun_family = AF_UNIX };
	const struct timeval patience = { .tv_sec = RAW_PATIENCE_S };

	raw_init(r);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	r->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (r->sock < 0 ||
	    setsockopt(r->sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(r->sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
	    connect(r->sock, (struct sockaddr *)&address, sizeof(address))) {
		int error = -errno;

		raw_close(r);
		return error;
	}
	return 0;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void raw_close(struct raw *r)
{
	for (uint32_t i = 0; i < r->nr_fds; i++)
		close_one(&r->fds[i]);
	r->nr_fds = 0;
	if (r->log)
		munmap(r->log, MMB_FAULT_LOG_BYTES);
	r->log = NULL;
	close_one(&r->log_fd);
	close_one(&r->upcall);
	close_one(&r->device);
	close_one(&r->uffd);
	close_one(&r->sock);
}

int raw_send_fds(struct raw *r, const void *bytes, size_t nr, const int *fds, uint32_t nr_fds)
{
	struct iovec  iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = nr };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union {
		struct cmsghdr head;
		char           space[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;

	if (nr_fds) {
		memset(&control, 0, sizeof(control));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, nr_fds * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
	}
	return sendmsg(r->sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int raw_send(struct raw *r, const void *bytes, size_t nr)
{
	return raw_send_fds(r, bytes, nr, NULL, 0);
}

ssize_t raw_encode(struct raw *r, uint32_t method, const void *body)
{
	const struct wire_packet head = { .method = method, .id = ++r->next_id };

	return wire_encode(&head, body, r->out, sizeof(r->out));
}

int raw_request_fds(struct raw *r, uint32_t method, const void *body, const int *fds,
		    uint32_t nr_fds)
{
	ssize_t nr = raw_encode(r, method, body);

	return nr < 0 ? (int)nr : raw_send_fds(r, r->out, (size_t)nr, fds, nr_fds);
}

int raw_request(struct raw *r, uint32_t method, const void *body)
{
	return raw_request_fds(r, method, body, NULL, 0);
}

static int unpack_reply(struct raw *r)
{
	const struct wire_method *method = wire_method(r->reply.method);
	ProtobufCMessage         *body;
	int                       error;

	if (r->reply.code || !method)
		return 0;
	wire_scratch_init(&r->scratch, r->memory, sizeof(r->memory));
	error = wire_unpack(&r->reply, method->reply, &r->scratch, &body);
	if (!error)
		r->body = body;
	return error;
}

int raw_recv(struct raw *r)
{
	struct wire_message m = { .bytes = r->bytes, .capacity = sizeof(r->bytes) };
	ssize_t             got = wire_recv(r->sock, &m, 0);
	size_t              nr;

	r->body = NULL;
	r->error[0] = '\0';
	if (got <= 0)
		return got == 0 || got == -ECONNRESET || got == -EPIPE ? -ECONNRESET
		       : got == -EAGAIN                                ? -ETIMEDOUT
								       : (int)got;
	for (uint32_t i = 0; i < r->nr_fds; i++)
		close_one(&r->fds[i]);
	memcpy(r->fds, m.fds, sizeof(r->fds));
	r->nr_fds = m.nr_fds;
	if (wire_decode(r->bytes, m.length, &r->reply))
		return -EBADMSG;
	nr = r->reply.error_bytes;
	if (nr > RAW_ERROR_BYTES - 1)
		nr = RAW_ERROR_BYTES - 1;
	memcpy(r->error, r->reply.error, nr);
	r->error[nr] = '\0';
	return unpack_reply(r);
}

int raw_call_fds(struct raw *r, uint32_t method, const void *body, const int *fds, uint32_t nr_fds)
{
	int error = raw_request_fds(r, method, body, fds, nr_fds);

	/* A refusal of what came before may wait to be read even if this can't be sent. */
	r->reply = (struct wire_packet){ 0 };
	if (error && error != -EPIPE)
		return error;
	do {
		error = raw_recv(r);
	} while (!error && r->reply.id < r->next_id);
	return error ? error : r->reply.code;
}

int raw_call(struct raw *r, uint32_t method, const void *body)
{
	return raw_call_fds(r, method, body, NULL, 0);
}

bool raw_refused(const struct raw *r, int code)
{
	return r->reply.code == code && code < 0 && strlen(r->error) > 3;
}

bool raw_ends(struct raw *r)
{
	int error;

	do {
		error = raw_recv(r);
	} while (error == 0 || error == -EBADMSG || error == -EPROTO);
	return error == -ECONNRESET;
}

/* ---- HELLO ---- */

static void take_hello_fds(struct raw *r, const Mmb__Wire__HelloReply *reply)
{
	int *next = r->fds;

	r->log_fd = reply->has_fault_log && r->nr_fds ? *next++ : -1;
	r->upcall = reply->has_upcall && next < r->fds + r->nr_fds ? *next++ : -1;
	r->device = reply->has_userfaultfd && next < r->fds + r->nr_fds ? *next++ : -1;
	r->nr_fds = 0;
	r->session = reply->session;
	if (r->log_fd >= 0) {
		r->log = mmap(NULL, MMB_FAULT_LOG_BYTES, PROT_READ, MAP_SHARED, r->log_fd, 0);
		if (r->log == MAP_FAILED)
			r->log = NULL;
	}
}

static int say_hello(struct raw *r, const char *name, bool control)
{
	Mmb__Wire__HelloRequest hello = MMB__WIRE__HELLO_REQUEST__INIT;
	int                     error;

	hello.version_min = hello.version_max = MMB_PROTOCOL_VERSION;
	hello.features = MMB_FEATURE_UPCALLS | MMB_FEATURE_FAULT_LOG | MMB_FEATURE_POISON;
	hello.name = (char *)(uintptr_t)name;
	hello.control = control;
	error = raw_call(r, MMB_METHOD_HELLO, &hello);
	if (!error)
		take_hello_fds(r, r->body);
	return error;
}

int raw_hello(struct raw *r, const char *name)
{
	return say_hello(r, name, false);
}

int raw_hello_control(struct raw *r)
{
	return say_hello(r, "control", true);
}

/* ---- the userfaultfd ---- */

static int open_way(const struct raw *r, int way)
{
	switch (way) {
	case 0:
		return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	case 1:
		if (r->device < 0)
			return -1;
		return ioctl(r->device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	default:
		return (int)syscall(SYS_userfaultfd,
				    O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	}
}

static int handshake(int fd, uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = *features };
	int               error = ioctl(fd, UFFDIO_API, &api) ? -errno : 0;

	*features = api.features;
	return error;
}

int raw_uffd(struct raw *r)
{
	enum { WAYS = 3 };
	uint64_t known = 0;
	int      probe = -1, way, error;

	for (way = 0; way < WAYS; way++) {
		probe = open_way(r, way);
		if (probe >= 0)
			break;
	}
	if (probe < 0)
		return -EPERM;
	error = handshake(probe, &known);
	close(probe);
	if (error)
		return error;
	close_one(&r->uffd);
	r->uffd = open_way(r, way);
	r->user_mode_only = way == WAYS - 1;
	r->uffd_features = (r->uffd_features ? r->uffd_features : useful_features) & known;
	known = r->uffd_features;
	return r->uffd < 0 ? -errno : handshake(r->uffd, &known);
}

int raw_attach(struct raw *r)
{
	Mmb__Wire__AttachRequest attach = MMB__WIRE__ATTACH_REQUEST__INIT;
	int                      error = r->uffd < 0 ? raw_uffd(r) : 0;

	if (error)
		return error;
	attach.uffd_features = r->uffd_features;
	attach.user_mode_only = r->user_mode_only;
	return raw_call_fds(r, MMB_METHOD_ATTACH, &attach, &r->uffd, 1);
}

int raw_session(struct raw *r, const char *path, const char *name)
{
	int error = raw_connect(r, path);

	if (!error)
		error = raw_hello(r, name);
	if (!error)
		error = raw_attach(r);
	return error;
}
