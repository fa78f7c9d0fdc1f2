/* SPDX-License-Identifier: Apache-2.0 */
/* raw - see raw.h */
#include "lib/raw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/clock.h"

enum { REPLY_SECONDS = 60, SETTLE_MS = 5000, SETTLE_STEP_MS = 5 };

struct raw {
	int                 sock;
	uint64_t            id;
	struct wire_scratch scratch;
	uint8_t             packet[MMB_PACKET_MAX];
	_Alignas(16) uint8_t memory[WIRE_SCRATCH_BYTES];
};

/* A reply of another request would mean that the daemon mixed them up. */
static int check_reply(struct raw *r, uint32_t method, const struct wire_packet *reply)
{
	if (reply->method != method || reply->id != r->id)
		return bench_because(-EPROTO, "the reply to request %llu answers another one",
				     (unsigned long long)r->id);
	if (reply->code != 0)
		return bench_because(reply->code, "%s refused: %.*s", wire_method(method)->name,
				     (int)reply->error_bytes,
				     reply->error ? reply->error : "");
	return 0;
}

static int receive(struct raw *r, struct wire_packet *packet)
{
	struct wire_message message = { .bytes = r->packet, .capacity = sizeof(r->packet) };
	ssize_t bytes = wire_recv(r->sock, &message, 0);

	if (bytes == 0)
		return bench_because(-ECONNRESET, "the daemon closed the connection");
	if (bytes < 0)
		return bench_because((int)bytes, "no reply: %s", strerror((int)-bytes));
	wire_discard_fds(&message);
	return wire_decode(r->packet, (size_t)bytes, packet);
}

int raw_call(struct raw *r, uint32_t method, const ProtobufCMessage *request,
	     ProtobufCMessage **reply)
{
	struct wire_packet head = { .method = method, .id = ++r->id };
	ssize_t bytes = wire_encode(&head, request, r->packet, sizeof(r->packet));
	int error;

	if (bytes < 0)
		return bench_because((int)bytes, "request too long");
	error = wire_send(r->sock, r->packet, (size_t)bytes, (struct wire_fds){ 0 }, 0);
	if (error != 0)
		return bench_because(error, "sending: %s", strerror(-error));
	error = receive(r, &head);
	if (error == 0)
		error = check_reply(r, method, &head);
	if (error != 0 || reply == NULL)
		return error;
	wire_scratch_init(&r->scratch, r->memory, sizeof(r->memory));
	return wire_unpack(&head, wire_method(method)->reply, &r->scratch, reply);
}

int raw_ping(struct raw *r)
{
	return raw_call(r, MMB_METHOD_PING, NULL, NULL);
}

static int say_hello(struct raw *r)
{
	Mmb__Wire__HelloRequest hello = MMB__WIRE__HELLO_REQUEST__INIT;

	hello.version_min = MMB_PROTOCOL_VERSION;
	hello.version_max = MMB_PROTOCOL_VERSION;
	hello.name = (char *)"mmb-bench";
	hello.control = 1;
	return raw_call(r, MMB_METHOD_HELLO, &hello.base, NULL);
}

static int connect_to(struct raw *r, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = REPLY_SECONDS };

	if (strlen(path) >= sizeof(address.sun_path))
		return bench_because(-ENAMETOOLONG, "socket path too long: %s", path);
	strcpy(address.sun_path, path);
	r->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (r->sock < 0 ||
	    setsockopt(r->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
	    connect(r->sock, (struct sockaddr *)&address, sizeof(address)) != 0)
		return bench_because(-errno, "connect to %s: %s", path, strerror(errno));
	return 0;
}

int raw_open(const char *socket, struct raw **out)
{
	struct raw *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int error;

	*out = NULL;
	if (r == MAP_FAILED)
		return bench_because(-ENOMEM, "no memory");
	r->sock = -1;
	error = connect_to(r, socket);
	if (error == 0)
		error = say_hello(r);
	if (error == 0)
		*out = r;
	else
		raw_close(r);
	return error;
}

void raw_close(struct raw *r)
{
	if (r == NULL)
		return;
	if (r->sock >= 0)
		close(r->sock);
	munmap(r, sizeof(*r));
}

size_t raw_memory(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (sizeof(struct raw) + page - 1) / page * page;
}

int raw_status(struct raw *r, struct raw_status *out)
{
	ProtobufCMessage *message;
	Mmb__Wire__StatusReply *s;
	int error = raw_call(r, MMB_METHOD_STATUS, NULL, &message);

	if (error != 0)
		return error;
	s = (Mmb__Wire__StatusReply *)message;
	*out = (struct raw_status){ .pid = s->pid, .pools = s->pools, .sessions = s->sessions,
				    .regions = s->regions, .metadata = s->metadata,
				    .spanned = s->spanned, .faults = s->faults,
				    .poisoned = s->poisoned, .bad_messages = s->bad_messages };
	for (size_t i = 0; i < s->n_stocks; i++) {
		const Mmb__Wire__StockStatus *stock = s->stocks[i];

		out->reserve += stock->reserve;
		if (strcmp(stock->stock, "huge") == 0)
			out->reserve_huge += stock->reserve;
		out->held += stock->held;
		out->present += stock->present;
		out->committed += stock->committed;
	}
	out->present -= out->metadata;
	out->committed -= out->metadata;
	return 0;
}

int raw_settle(struct raw *r, uint64_t present)
{
	struct raw_status status;
	int error = raw_status(r, &status);

	for (int ms = 0; error == 0 && status.present > present; ms += SETTLE_STEP_MS) {
		if (ms >= SETTLE_MS)
			return bench_because(-ETIMEDOUT, "%llu KiB not back after %d s",
					     (unsigned long long)(status.present - present) >> 10,
					     SETTLE_MS / 1000);
		clock_sleep_ms(SETTLE_STEP_MS);
		error = raw_status(r, &status);
	}
	return error;
}

int raw_child_run(const char *socket, child_fn run, void *arg, unsigned int timeout_ms,
		  struct sample *out)
{
	struct raw_status before;
	struct raw *raw;
	int error = raw_open(socket, &raw);

	if (error == 0)
		error = raw_status(raw, &before);
	if (error == 0)
		error = child_run(run, arg, timeout_ms, out);
	if (error == 0)
		error = raw_settle(raw, before.present);
	raw_close(raw);
	return error;
}

int raw_verify(struct raw *r, uint64_t *differences, char *report, size_t bytes)
{
	ProtobufCMessage *message;
	Mmb__Wire__VerifyReply *v;
	int error = raw_call(r, MMB_METHOD_VERIFY, NULL, &message);

	if (error != 0)
		return error;
	v = (Mmb__Wire__VerifyReply *)message;
	*differences = v->differences;
	snprintf(report, bytes, "%s", v->n_reports ? v->reports[0] : "");
	return 0;
}
