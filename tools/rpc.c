/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc - one control session with the broker, one request at a time
 *
 * Purpose     See rpc.h. The socket is non-blocking; every wait goes through one poll with a
 *             deadline.
 */
#include "tools/rpc.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char system_socket[] = "/run/mmbroker/mmbroker.sock";

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int code_of_errno(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return CTL_DENIED;
	case ETIMEDOUT:
		return CTL_TIMED_OUT;
	case EPROTONOSUPPORT:
		return CTL_VERSION;
	default:
		return CTL_FAILED;
	}
}

/* Writes "sentence (ENAME)" and gives the session up. */
static int __attribute__((format(printf, 3, 4)))
give_up(struct rpc *r, int error, const char *format, ...)
{
	const char *name = strerrorname_np(error);
	va_list     args;
	int         length;

	va_start(args, format);
	length = vsnprintf(r->error, sizeof(r->error), format, args);
	va_end(args);
	if (length >= 0 && (size_t)length < sizeof(r->error))
		snprintf(r->error + length, sizeof(r->error) - (size_t)length, " (%s)",
			 name ? name : "unknown error");
	rpc_close(r);
	return code_of_errno(error);
}

void rpc_close(struct rpc *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* The named socket, or nothing: then the user's comes first, if there may be one. */
static int socket_path(struct rpc *r, const struct invocation *in, bool *named)
{
	const char *asked = in->socket ? in->socket : getenv("MMB_SOCKET");
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	size_t      room = sizeof(r->path);

	*named = asked && asked[0] != '\0';
	if (*named) {
		if ((size_t)snprintf(r->path, room, "%s", asked) < room)
			return CTL_DONE;
		give_up(r, ENAMETOOLONG, "%s: longer than the %zu bytes of a socket's name", asked,
			room - 1);
		return CTL_USAGE;
	}
	if (!runtime || runtime[0] == '\0' ||
	    (size_t)snprintf(r->path, room, "%s/mmbroker/mmbroker.sock", runtime) >= room)
		r->path[0] = '\0';
	return CTL_DONE;
}

static bool is_absent(int error)
{
	return error == ENOENT || error == ECONNREFUSED;
}

static bool is_denied(int error)
{
	return error == EACCES || error == EPERM;
}

/* user: where nobody answered before. */
static int connect_failed(struct rpc *r, const char *user, int error)
{
	if (is_absent(error)) {
		give_up(r, error,
			"the broker isn't running at %s%s%s: start mmbrokerd, or name its "
			"socket with --socket or $MMB_SOCKET",
			user, user[0] != '\0' ? " or " : "", r->path);
		return CTL_NOT_RUNNING;
	}
	if (is_denied(error))
		return give_up(r, error,
			       "%s: you may not connect; the broker's [socket] mode and "
			       "group say who may",
			       r->path);
	if (error == EAGAIN)
		return give_up(r, ETIMEDOUT, "%s: the broker doesn't take new connections now",
			       r->path);
	return give_up(r, error, "%s: %s", r->path, strerror(error));
}

static int try_connect(struct rpc *r)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, r->path, strlen(r->path) + 1);
	r->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->fd >= 0 && connect(r->fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	return errno;
}

/* As the library does: the user's broker, or, where none answers, the system's. */
static int find_broker(struct rpc *r, bool named)
{
	char user[sizeof(r->path)] = "";
	int  first = r->path[0] != '\0' ? try_connect(r) : ENOENT, error;

	if (first == 0)
		return CTL_DONE;
	if (named || (!is_absent(first) && !is_denied(first)))
		return connect_failed(r, user, first);
	memcpy(user, r->path, sizeof(user));
	rpc_close(r);
	snprintf(r->path, sizeof(r->path), "%s", system_socket);
	error = try_connect(r);
	if (error != 0 && is_denied(first)) { /* that is what there is to be told */
		memcpy(r->path, user, sizeof(user));
		error = first;
	}
	return error ? connect_failed(r, user, error) : CTL_DONE;
}

static int hello(struct rpc *r)
{
	Mmb__Wire__HelloRequest request = MMB__WIRE__HELLO_REQUEST__INIT;
	const ProtobufCMessage *reply;
	uint32_t                version;
	int                     code;

	request.version_min = MMB_PROTOCOL_VERSION;
	request.version_max = MMB_PROTOCOL_VERSION;
	request.name = (char *)"mmbctl";
	request.control = true;
	code = rpc_call(r, MMB_METHOD_HELLO, &request.base, &reply);
	if (code != CTL_DONE)
		return code;
	version = ((const Mmb__Wire__HelloReply *)reply)->version;
	if (version != MMB_PROTOCOL_VERSION)
		return give_up(r, EPROTONOSUPPORT,
			       "the broker speaks protocol %u, this mmbctl %d: install the mmbctl "
			       "that belongs to it",
			       version, MMB_PROTOCOL_VERSION);
	return CTL_DONE;
}

int rpc_open(struct rpc *r, const struct invocation *in)
{
	bool named;
	int  code;

	r->fd = -1;
	r->last_id = 0;
	r->timeout_ms = in->timeout_ms;
	r->error[0] = '\0';
	code = socket_path(r, in, &named);
	if (code == CTL_DONE)
		code = find_broker(r, named);
	return code == CTL_DONE ? hello(r) : code;
}

static int wait_for(struct rpc *r, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = r->fd, .events = events };
	uint64_t      now;
	int           ready;

	do {
		now = now_ms();
		ready = poll(&p, 1, deadline > now ? (int)(deadline - now) : 0);
	} while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return give_up(r, errno, "poll: %s", strerror(errno));
	if (ready == 0)
		return give_up(r, ETIMEDOUT,
			       "no answer from %s within %u ms; --timeout gives it more", r->path,
			       r->timeout_ms);
	return CTL_DONE;
}

static int send_request(struct rpc *r, uint32_t method, const ProtobufCMessage *request,
			uint64_t deadline)
{
	struct wire_packet head = { .method = method, .id = ++r->last_id };
	ssize_t            length = wire_encode(&head, request, r->packet, sizeof(r->packet));
	int                error, code;

	if (length < 0)
		return give_up(r, (int)-length, "the request doesn't fit into one packet");
	while ((error = wire_send(r->fd, r->packet, (size_t)length, (struct wire_fds){ 0 }, 0)) ==
	       -EAGAIN) {
		code = wait_for(r, POLLOUT, deadline);
		if (code != CTL_DONE)
			return code;
	}
	/* A broker that hung up may have said why: whoever receives learns it. */
	if (error && error != -EPIPE && error != -ECONNRESET)
		return give_up(r, -error, "%s: %s", r->path, strerror(-error));
	return CTL_DONE;
}

static int not_a_broker(struct rpc *r)
{
	return give_up(r, EPROTO, "what listens at %s doesn't speak mmbroker's protocol", r->path);
}

/* One packet, or why there is none. */
static int receive_packet(struct rpc *r, struct wire_packet *head, uint64_t deadline)
{
	struct wire_message message = { .bytes = r->packet, .capacity = sizeof(r->packet) };
	ssize_t             length;
	int                 code;

	while ((length = wire_recv(r->fd, &message, 0)) == -EAGAIN) {
		code = wait_for(r, POLLIN, deadline);
		if (code != CTL_DONE)
			return code;
	}
	/* Closed with requests unread. What it had said before is still there. */
	if (length == -ECONNRESET)
		length = wire_recv(r->fd, &message, 0);
	wire_discard_fds(&message);
	if (length == 0 || length == -ECONNRESET || length == -EAGAIN)
		return give_up(r, ECONNRESET,
			       "the broker at %s ended the session; its log says why", r->path);
	if (length < 0)
		return give_up(r, (int)-length, "%s: %s", r->path, strerror((int)-length));
	return wire_decode(r->packet, (size_t)length, head) ? not_a_broker(r) : CTL_DONE;
}

/* The answer to what was sent last. An id of 0 is of what nobody asked for: that this connection
 * isn't wanted, or that there is another daemon now. */
static int receive_reply(struct rpc *r, struct wire_packet *head, uint64_t deadline)
{
	int code = receive_packet(r, head, deadline);

	if (code != CTL_DONE || head->id == r->last_id || (head->id == 0 && head->code < 0))
		return code;
	if (head->id == 0 && head->method == MMB_UPCALL_RESUMED)
		return give_up(r, ECONNRESET,
			       "the broker at %s was restarted before it answered, and may have "
			       "done it or not: look, and ask again", r->path);
	return not_a_broker(r);
}

int rpc_call(struct rpc *r, uint32_t method, const ProtobufCMessage *request,
	     const ProtobufCMessage **reply)
{
	const struct wire_method *row = wire_method(method);
	uint64_t                  deadline = now_ms() + r->timeout_ms;
	struct wire_packet        head;
	ProtobufCMessage         *body;
	int                       error, code = send_request(r, method, request, deadline);

	if (code == CTL_DONE)
		code = receive_reply(r, &head, deadline);
	if (code != CTL_DONE)
		return code;
	if (head.code != 0) {
		int known = head.code < 0 ? -head.code : head.code;

		return give_up(r, known, "%.*s", (int)head.error_bytes,
			       head.error_bytes ? head.error : "");
	}
	wire_scratch_init(&r->scratch, r->memory, sizeof(r->memory));
	error = wire_unpack(&head, row->reply, &r->scratch, &body);
	if (error)
		return give_up(r, -error, "the broker's answer to %s can't be read", row->name);
	*reply = body;
	return CTL_DONE;
}

int rpc_fail(const struct rpc *r, const struct invocation *in, int code)
{
	fprintf(stderr, "mmbctl: %s: ", in->verb->name);
	for (const unsigned char *c = (const unsigned char *)r->error; *c != '\0'; c++)
		fputc(*c < ' ' || *c == 0x7f ? '?' : *c, stderr);
	fputc('\n', stderr);
	return code;
}

int rpc_ask(struct rpc *r, const struct invocation *in, const ProtobufCMessage *request,
	    const ProtobufCMessage **reply)
{
	int code = rpc_open(r, in);

	if (code == CTL_DONE)
		code = rpc_call(r, in->verb->method, request, reply);
	if (code != CTL_DONE)
		return rpc_fail(r, in, code);
	rpc_close(r);
	return CTL_DONE;
}

int rpc_order(const struct invocation *in, uint32_t method, const ProtobufCMessage *m)
{
	const ProtobufCMessage *reply;
	struct rpc              r;
	int                     code = rpc_open(&r, in);

	if (code == CTL_DONE)
		code = rpc_call(&r, method, m, &reply);
	if (code != CTL_DONE)
		rpc_fail(&r, in, code);
	rpc_close(&r);
	return code;
}
