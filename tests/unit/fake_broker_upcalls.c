/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_broker_upcalls - what the fake broker says unasked, to the newest connection
 *
 * Locking     fake_broker.lock to find it; its sockets are one test's.
 */
#include "fake_broker_state.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/wire.h"

static struct peer *newest(struct fake_broker *b)
{
	struct peer *peer;

	pthread_mutex_lock(&b->lock);
	must(b->nr_peers > 0, "a connection");
	peer = &b->peers[b->nr_peers - 1];
	pthread_mutex_unlock(&b->lock);
	return peer;
}

static void send_upcall_as(int sock, struct wire_packet head, const ProtobufCMessage *body)
{
	uint8_t bytes[1024];
	ssize_t length = wire_encode(&head, body, bytes, sizeof(bytes));

	must(length > 0, "encode");
	must(!wire_send(sock, bytes, (size_t)length, (struct wire_fds){ .nr = 0 }, 0), "upcall");
}

static void send_upcall(int sock, uint32_t method, const ProtobufCMessage *body)
{
	send_upcall_as(sock, (struct wire_packet){ .method = method, .id = 5 }, body);
}

static bool acknowledged(int sock, uint32_t method, int code)
{
	uint8_t bytes[MMB_PACKET_MAX];
	struct wire_message message = { .bytes = bytes, .capacity = sizeof(bytes) };
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct wire_packet packet;

	if (poll(&p, 1, WAIT_SECONDS * 1000) != 1 || wire_recv(sock, &message, 0) <= 0)
		return false;
	return !wire_decode(bytes, message.length, &packet) && packet.method == method &&
	       packet.id == 5 && packet.code == code;
}

bool broker_pressure(struct fake_broker *b, int code)
{
	Mmb__Wire__PressureRequest request = MMB__WIRE__PRESSURE_REQUEST__INIT;
	int sock = newest(b)->upcall;

	request.wanted = 4096;
	request.pool = b->handles;
	send_upcall(sock, MMB_UPCALL_PRESSURE, &request.base);
	return acknowledged(sock, MMB_UPCALL_PRESSURE, code);
}

bool broker_zap(struct fake_broker *b, uint64_t address, uint64_t length, int code)
{
	Mmb__Wire__ZapRequest request = MMB__WIRE__ZAP_REQUEST__INIT;
	Mmb__Wire__ZapRequest__Range range = MMB__WIRE__ZAP_REQUEST__RANGE__INIT;
	Mmb__Wire__ZapRequest__Range *ranges[] = { &range };
	int sock = newest(b)->upcall;

	range.address = address;
	range.length = length;
	request.ranges = ranges;
	request.n_ranges = 1;
	send_upcall(sock, MMB_UPCALL_ZAP, &request.base);
	return acknowledged(sock, MMB_UPCALL_ZAP, code);
}

void broker_goodbye(struct fake_broker *b, const char *reason)
{
	Mmb__Wire__GoodbyeRequest request = MMB__WIRE__GOODBYE_REQUEST__INIT;
	struct peer *peer = newest(b);

	request.reason = (char *)(uintptr_t)reason;
	if (peer->upcall >= 0)
		send_upcall(peer->upcall, MMB_UPCALL_GOODBYE, &request.base);
	else
		send_upcall_as(peer->sock, (struct wire_packet){ .method = MMB_UPCALL_GOODBYE },
			       &request.base);
}

void broker_log_fault(struct fake_broker *b, uint64_t address, const char *cause)
{
	struct mmb_fault_log *log = newest(b)->log;
	uint64_t head = atomic_load(&log->head);
	struct mmb_fault_record *r = &log->records[head % MMB_FAULT_RECORDS];

	atomic_fetch_add(&r->seq, 1);
	r->error = -EIO;
	r->address = address;
	r->length = 4096;
	r->offset = 8192;
	strcpy(r->region, "faulty");
	snprintf(r->cause, sizeof(r->cause), "%s", cause);
	atomic_fetch_add(&r->seq, 1);
	atomic_store(&log->head, head + 1);
}

void broker_deafen(struct fake_broker *b, bool deaf)
{
	pthread_mutex_lock(&b->lock);
	b->deaf = deaf;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

void broker_shorten(struct fake_broker *b, enum broker_short what)
{
	pthread_mutex_lock(&b->lock);
	b->shorter = what;
	pthread_mutex_unlock(&b->lock);
}

void broker_stretch(struct fake_broker *b, uint64_t bytes)
{
	pthread_mutex_lock(&b->lock);
	b->stretched = bytes;
	pthread_mutex_unlock(&b->lock);
}

void broker_scatter(struct fake_broker *b, uint32_t windows)
{
	pthread_mutex_lock(&b->lock);
	b->scattered = windows;
	pthread_mutex_unlock(&b->lock);
}

void broker_client_name(struct fake_broker *b, char name[64])
{
	pthread_mutex_lock(&b->lock);
	strcpy(name, b->client);
	pthread_mutex_unlock(&b->lock);
}

void broker_restart(struct fake_broker *b)
{
	struct peer *peer = newest(b);

	pthread_mutex_lock(&b->lock);
	memset(b->hold, 0, sizeof(b->hold));
	while (b->nr_held)
		free(b->held[--b->nr_held].bytes);
	pthread_mutex_unlock(&b->lock);
	send_upcall_as(peer->sock, (struct wire_packet){ .method = MMB_UPCALL_RESUMED }, NULL);
}

void broker_hang_up(struct fake_broker *b)
{
	shutdown(newest(b)->sock, SHUT_RDWR);
}
