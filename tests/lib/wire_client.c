/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_client - requests and replies, one at a time, with a deadline
 *
 * Locking     one thread a client.
 */
#include "lib/wire_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void wire_client_init(struct wire_client *c, int sock)
{
	memset(c, 0, sizeof(*c));
	c->sock = sock;
	c->upcalls = -1;
	c->message.bytes = c->rx;
	c->message.capacity = sizeof(c->rx);
}

int wire_client_connect(struct wire_client *c, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int                sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return -errno;
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (connect(sock, (struct sockaddr *)&address, sizeof(address))) {
		int error = -errno;

		close(sock);
		return error;
	}
	wire_client_init(c, sock);
	return 0;
}

void wire_client_fini(struct wire_client *c)
{
	wire_discard_fds(&c->message);
	if (c->upcalls >= 0)
		close(c->upcalls);
	close(c->sock);
}

uint64_t wire_client_send(struct wire_client *c, uint32_t method, const ProtobufCMessage *body,
			  struct wire_fds fds)
{
	struct wire_packet head = { .method = method, .id = ++c->last_id };
	uint8_t            tx[MMB_PACKET_MAX];
	ssize_t            nr = wire_encode(&head, body, tx, sizeof(tx));

	if (nr < 0 || wire_send(c->sock, tx, (size_t)nr, fds, MSG_DONTWAIT)) {
		c->last_id--;
		return 0;
	}
	return head.id;
}

int wire_client_recv(struct wire_client *c, int wait_ms)
{
	struct pollfd p = { .fd = c->sock, .events = POLLIN };
	ssize_t       got;

	wire_discard_fds(&c->message);
	if (poll(&p, 1, wait_ms) <= 0)
		return -ETIMEDOUT;
	got = wire_recv(c->sock, &c->message, MSG_DONTWAIT);
	if (got <= 0)
		return got == -EPROTO ? -EPROTO : 0;
	return wire_decode(c->rx, c->message.length, &c->packet) ? -EPROTO : 1;
}

int wire_client_call(struct wire_client *c, uint32_t method, const ProtobufCMessage *body)
{
	uint64_t id = wire_client_send(c, method, body, (struct wire_fds){ 0 });
	int      got;

	if (!id)
		return -ECONNRESET;
	got = wire_client_recv(c, WIRE_CLIENT_WAIT_MS);
	if (got <= 0)
		return got ? got : -ECONNRESET;
	return c->packet.id == id && c->packet.method == method ? c->packet.code : -EBADMSG;
}

const void *wire_client_reply(struct wire_client *c)
{
	const struct wire_method *m = wire_method(c->packet.method);
	ProtobufCMessage         *reply;

	wire_scratch_init(&c->scratch, c->scratch_bytes, sizeof(c->scratch_bytes));
	if (!m || wire_unpack(&c->packet, m->reply, &c->scratch, &reply))
		return NULL;
	return reply;
}

int wire_client_hello(struct wire_client *c, const char *name, bool control)
{
	Mmb__Wire__HelloRequest      m = MMB__WIRE__HELLO_REQUEST__INIT;
	const Mmb__Wire__HelloReply *reply;
	uint32_t                     at;
	int                          code;

	m.version_min = m.version_max = MMB_PROTOCOL_VERSION;
	m.features = UINT64_MAX;
	m.name = (char *)(uintptr_t)name;
	m.control = control;
	code = wire_client_call(c, MMB_METHOD_HELLO, &m.base);
	if (code)
		return code;
	reply = wire_client_reply(c);
	if (reply->has_upcall) {
		at = reply->has_fault_log;
		c->upcalls = c->message.fds[at];
		memmove(&c->message.fds[at], &c->message.fds[at + 1],
			(--c->message.nr_fds - at) * sizeof(int));
	}
	wire_discard_fds(&c->message);
	return 0;
}

int wire_client_is_closed(struct wire_client *c)
{
	int got;

	do {
		got = wire_client_recv(c, WIRE_CLIENT_WAIT_MS);
	} while (got == 1);
	return got == 0;
}
