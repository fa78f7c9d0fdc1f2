/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pager - the thread that acts on the daemon's upcalls
 *
 * Purpose     See pager.h. The upcall socket is read only here.
 */
#include "pager.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "pages.h"
#include "proto/wire.h"

enum { PAGER_STACK_BYTES = 256 * 1024 };

/* One upcall as received; lives on the pager's stack. */
struct upcall {
	struct wire_packet      packet;
	struct wire_scratch     scratch;
	const ProtobufCMessage *request;
	uint8_t bytes[MMB_PACKET_MAX] __attribute__((aligned(16)));
	uint8_t memory[WIRE_SCRATCH_BYTES] __attribute__((aligned(16)));
};
static_assert(sizeof(struct upcall) < PAGER_STACK_BYTES / 2, "fits the pager's stack");

/* ---- what the upcalls do ---- */

static int zap_range(struct mmb *mmb, uint64_t address, uint64_t length)
{
	struct window *w;
	/* A window that was closed meanwhile has no entries left: harmless. */
	int error = -ENOENT;

	pthread_mutex_lock(&mmb->lock);
	LIST_FOREACH(w, &mmb->windows, link) {
		if (window_contains(w, address, length)) {
			error = window_drop(w, address - w->address, length);
			break;
		}
	}
	pthread_mutex_unlock(&mmb->lock);
	return error;
}

static int zap(struct mmb *mmb, const struct upcall *up)
{
	const Mmb__Wire__ZapRequest *request = (const void *)up->request;
	int error = 0;
	size_t i;

	for (i = 0; i < request->n_ranges; i++) {
		int one = zap_range(mmb, request->ranges[i]->address, request->ranges[i]->length);

		if (one && !error)
			error = one;
	}
	return error;
}

static int pressure(struct mmb *mmb, const struct upcall *up)
{
	struct mmb_pool *pool, *next;

	pthread_mutex_lock(&mmb->lock);
	pool = LIST_FIRST(&mmb->pools);
	if (pool)
		pool_get(pool);
	pthread_mutex_unlock(&mmb->lock);
	while (pool) {
		pages_drain(pool);
		pthread_mutex_lock(&mmb->lock);
		next = pool->listed ? LIST_NEXT(pool, link) : NULL;
		if (next)
			pool_get(next);
		pthread_mutex_unlock(&mmb->lock);
		pool_put(pool);
		pool = next;
	}
	return 0;
}

static int goodbye(struct mmb *mmb, const struct upcall *up)
{
	const Mmb__Wire__GoodbyeRequest *request = (const void *)up->request;

	pthread_mutex_lock(&mmb->pager.lock);
	snprintf(mmb->pager.goodbye, sizeof(mmb->pager.goodbye), "%s", request->reason);
	pthread_mutex_unlock(&mmb->pager.lock);
	return 0;
}

static const struct upcall_handler {
	uint32_t method;
	int (*run)(struct mmb *mmb, const struct upcall *up);
} handlers[] = {
	{ MMB_UPCALL_ZAP, zap },
	{ MMB_UPCALL_PRESSURE, pressure },
	{ MMB_UPCALL_GOODBYE, goodbye },
};

/* ---- the socket ---- */

/* Receives and unpacks. 0: an upcall is in; -EAGAIN: none there; else the socket is useless. */
static int receive_upcall(int sock, struct upcall *up)
{
	struct wire_message message = { .bytes = up->bytes, .capacity = sizeof(up->bytes) };
	const struct wire_method *method;
	ProtobufCMessage *request;
	ssize_t got = wire_recv(sock, &message, MSG_DONTWAIT);

	if (got <= 0)
		return got ? (int)got : -ENOTCONN;
	wire_discard_fds(&message);
	if (wire_decode(up->bytes, message.length, &up->packet))
		return -EPROTO;
	up->request = NULL;
	method = wire_upcall(up->packet.method);
	wire_scratch_init(&up->scratch, up->memory, sizeof(up->memory));
	if (!method || wire_unpack(&up->packet, method->request, &up->scratch, &request))
		return 0;
	up->request = request;
	return 0;
}

static void acknowledge(int sock, const struct upcall *up, int code)
{
	struct wire_packet head = {
		.method = up->packet.method,
		.id = up->packet.id,
		.code = code,
	};
	uint8_t bytes[128];
	ssize_t length = wire_encode(&head, NULL, bytes, sizeof(bytes));

	/* The daemon doesn't read: it goes by its own deadline then. */
	if (length > 0)
		wire_send(sock, bytes, (size_t)length, (struct wire_fds){ .nr = 0 }, MSG_DONTWAIT);
}

static void serve(struct mmb *mmb, const struct upcall *up)
{
	int code = -EOPNOTSUPP;
	size_t i;

	for (i = 0; up->request && i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].method == up->packet.method)
			code = handlers[i].run(mmb, up);
	acknowledge(mmb->pager.sock, up, code);
}

static void *pager_main(void *arg)
{
	struct mmb *mmb = arg;
	struct pollfd p = { .fd = mmb->pager.sock, .events = POLLIN };
	struct upcall up;

	pthread_setname_np(pthread_self(), "mmb-pager");
	for (;;) {
		int error;

		if (poll(&p, 1, -1) < 0)
			continue;
		error = receive_upcall(p.fd, &up);
		if (error && error != -EAGAIN)
			return NULL;
		if (!error)
			serve(mmb, &up);
	}
}

/* ---- start and end ---- */

void pager_init(struct pager *pager)
{
	pager->sock = -1;
	pthread_mutex_init(&pager->lock, NULL);
}

static int start_locked(struct mmb *mmb)
{
	struct pager *pager = &mmb->pager;
	sigset_t all, before;
	pthread_attr_t attr;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PAGER_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = -pthread_create(&pager->thread, &attr, pager_main, mmb);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (error)
		return fail(error, "can't start the pager thread (errno %d); look at RLIMIT_NPROC",
			    -error);
	pager->started = true;
	return 0;
}

int pager_start(struct mmb *mmb)
{
	struct pager *pager = &mmb->pager;
	int error = 0;

	if (pager->sock < 0)
		return 0;
	pthread_mutex_lock(&pager->lock);
	if (!pager->started && !pager->stopped)
		error = start_locked(mmb);
	pthread_mutex_unlock(&pager->lock);
	return error;
}

void pager_stop(struct pager *pager)
{
	bool started;

	if (pager->sock < 0)
		return;
	pthread_mutex_lock(&pager->lock);
	started = pager->started;
	pager->started = false;
	pager->stopped = true;
	pthread_mutex_unlock(&pager->lock);
	shutdown(pager->sock, SHUT_RDWR);
	if (started)
		pthread_join(pager->thread, NULL);
}

void pager_fini(struct pager *pager)
{
	pthread_mutex_destroy(&pager->lock);
}

void pager_last_words(struct pager *pager, char *out, size_t bytes)
{
	/* On the caller's thread, whose stack may be small. */
	struct upcall *up = malloc(sizeof(*up));

	pthread_mutex_lock(&pager->lock);
	while (up && !pager->goodbye[0] && pager->sock >= 0 && !receive_upcall(pager->sock, up)) {
		const Mmb__Wire__GoodbyeRequest *request = (const void *)up->request;

		if (request && up->packet.method == MMB_UPCALL_GOODBYE)
			snprintf(pager->goodbye, sizeof(pager->goodbye), "%s", request->reason);
	}
	snprintf(out, bytes, "%s", pager->goodbye);
	pthread_mutex_unlock(&pager->lock);
	free(up);
}
