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
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "absence.h"
#include "cancel.h"
#include "connection.h"
#include "method.h"
#include "pool_heap.h"
#include "proto/wire.h"
#include "remapper.h"
#include "small_thread.h"

/* What a handler returns that has handed the upcall on. */
enum { ACKNOWLEDGED_LATER = 1 };

/* Many kicks in a row aren't one that means now. */
#define KICK_NOW (1ull << 32)

enum {
	TICK_MS = 125,
	LEAVE_REST_MS = 5,
	GOODBYE_SCRATCH_BYTES = 1024,
};

/* One upcall as received; lives on the pager's stack. */
struct upcall {
	struct wire_packet      packet;
	struct wire_scratch     scratch;
	const ProtobufCMessage *request;
	uint8_t bytes[MMB_PACKET_MAX] __attribute__((aligned(16)));
	uint8_t memory[WIRE_SCRATCH_BYTES] __attribute__((aligned(16)));
};
static_assert(sizeof(struct upcall) < SMALL_THREAD_STACK / 2, "fits the pager's stack");

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

static int remap(struct mmb *mmb, const struct upcall *up)
{
	const Mmb__Wire__RemapRequest *request = (const void *)up->request;
	const struct remap_want want = {
		.handle = request->region,
		.address = request->address,
		.offset = request->offset,
		.length = request->length,
		.id = up->packet.id,
	};
	int error = remapper_add(mmb, &want);

	return error ? error : ACKNOWLEDGED_LATER;
}

/* P6 */
static bool is_told_of_end(struct pager *pager)
{
	bool told;

	pthread_mutex_lock(&pager->lock);
	told = pager->goodbye[0];
	pthread_mutex_unlock(&pager->lock);
	return told;
}

/* The pool with the daemon's number, referenced; NULL: closed meanwhile, or P6. */
static struct mmb_pool *get_pool(struct mmb *mmb, uint32_t handle)
{
	struct mmb_pool *pool;

	if (is_told_of_end(&mmb->pager))
		return NULL;
	pthread_mutex_lock(&mmb->lock);
	LIST_FOREACH(pool, &mmb->pools, link)
		if (pool->handle == handle)
			break;
	if (pool)
		pool_get(pool);
	pthread_mutex_unlock(&mmb->lock);
	return pool;
}

static int pressure(struct mmb *mmb, const struct upcall *up)
{
	const Mmb__Wire__PressureRequest *request = (const void *)up->request;
	struct mmb_pool *pool = get_pool(mmb, request->pool);

	if (!pool)
		return 0;
	shrink_ask(pool, request->wanted);
	pool_heap_trim_all(pool);
	pool_put(pool);
	return 0;
}

static int orphans(struct mmb *mmb, const struct upcall *up)
{
	const Mmb__Wire__OrphansRequest *request = (const void *)up->request;
	struct mmb_pool *pool = get_pool(mmb, request->pool);

	if (!pool)
		return 0;
	pool_heap_orphans(pool, request->member);
	pool_put(pool);
	return 0;
}

static void remember_locked(struct pager *pager, const ProtobufCMessage *goodbye)
{
	const Mmb__Wire__GoodbyeRequest *request = (const void *)goodbye;

	snprintf(pager->goodbye, sizeof(pager->goodbye), "%s", request->reason);
}

static int goodbye(struct mmb *mmb, const struct upcall *up)
{
	pthread_mutex_lock(&mmb->pager.lock);
	remember_locked(&mmb->pager, up->request);
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
	{ MMB_UPCALL_ORPHANS, orphans },
	{ MMB_UPCALL_REMAP, remap },
};

/* ---- the socket ---- */

/* Receives and unpacks. 0: an upcall is in; -EAGAIN: none there; else the socket is useless. */
static int receive_upcall(int sock, struct upcall *up)
{
	struct wire_message message = { .bytes = up->bytes, .capacity = sizeof(up->bytes) };
	const ProtobufCMessageDescriptor *is;
	ProtobufCMessage *request;
	ssize_t got = wire_recv(sock, &message, MSG_DONTWAIT);

	if (got <= 0)
		return got ? (int)got : -ENOTCONN;
	wire_discard_fds(&message);
	if (wire_decode(up->bytes, message.length, &up->packet))
		return -EPROTO;
	up->request = NULL;
	is = method_upcall(up->packet.method);
	wire_scratch_init(&up->scratch, up->memory, sizeof(up->memory));
	if (!is || wire_unpack(&up->packet, is, &up->scratch, &request))
		return 0;
	up->request = request;
	return 0;
}

void pager_acknowledge(struct pager *pager, uint32_t method, uint64_t id, int code)
{
	struct wire_packet head = {
		.method = method,
		.id = id,
		.code = code,
	};
	uint8_t bytes[128];
	ssize_t length = wire_encode(&head, NULL, bytes, sizeof(bytes));

	/* The daemon doesn't read: it goes by its own deadline then. */
	if (length > 0)
		wire_send(pager->sock, bytes, (size_t)length, (struct wire_fds){ .nr = 0 },
			  MSG_DONTWAIT);
}

static void serve(struct mmb *mmb, const struct upcall *up)
{
	int code = -EOPNOTSUPP;
	size_t i;

	for (i = 0; up->request && i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].method == up->packet.method)
			code = handlers[i].run(mmb, up);
	if (code != ACKNOWLEDGED_LATER)
		pager_acknowledge(&mmb->pager, up->packet.method, up->packet.id, code);
}

/* When the heaps want their next tick: in milliseconds, -1: not before they say so. */
static int next_tick_ms(struct mmb *mmb, uint64_t *due)
{
	if (*due && is_told_of_end(&mmb->pager))
		*due = 0;
	if (!*due || call_left_ms(*due))
		return *due ? call_left_ms(*due) : -1;
	*due = connection_each_pool(mmb, pool_heap_tick, NULL) ? call_now_ms() + TICK_MS : 0;
	return *due ? TICK_MS : -1;
}

/* ---- the end of the session ---- */

static bool is_inside(struct mmb_pool *pool, void *arg)
{
	return !pool_heap_leave(pool);
}

bool pager_tell(struct mmb *mmb)
{
	if (connection_each_pool(mmb, is_inside, NULL))
		return false;
	channel_release(&mmb->channel);
	shutdown(mmb->pager.sock, SHUT_RDWR);
	return true;
}

/* mmb_close() tells it itself. */
static void leave(struct mmb *mmb)
{
	const struct timespec rest = { .tv_nsec = LEAVE_REST_MS * 1000 * 1000 };

	while (!pager_is_stopped(&mmb->pager) && !pager_tell(mmb))
		nanosleep(&rest, NULL);
}

/* ---- the thread ---- */

bool pager_is_stopped(struct pager *pager)
{
	bool stopped;

	pthread_mutex_lock(&pager->lock);
	stopped = pager->stopped;
	pthread_mutex_unlock(&pager->lock);
	return stopped;
}

/* When the pager wakes up without being woken: in milliseconds, -1: never. */
static int rest_ms(struct mmb *mmb, uint64_t *tick_due, uint64_t look_due)
{
	int tick = next_tick_ms(mmb, tick_due), look = look_due ? call_left_ms(look_due) : -1;

	return tick < 0 || (look >= 0 && look < tick) ? look : tick;
}

/* False: there is no broker any more. */
static bool look_for_broker(struct mmb *mmb, uint64_t *due)
{
	enum absence is;

	if (!*due || call_left_ms(*due))
		return true;
	is = absence_ask(mmb);
	*due = is == ABSENCE_NOT ? call_now_ms() + absence_look_ms(mmb) : 0;
	return is != ABSENCE_SILENT;
}

static void take_kicks(struct mmb *mmb, uint64_t *due)
{
	uint64_t kicks;
	bool now;

	if (read(mmb->pager.kick, &kicks, sizeof(kicks)) <= 0)
		return;
	now = kicks >= KICK_NOW;
	if (!*due || now)
		*due = call_now_ms() + (now ? 0 : TICK_MS);
}

static void *pager_main(void *arg)
{
	struct mmb *mmb = arg;
	struct pollfd p[] = { { .fd = mmb->pager.sock, .events = POLLIN },
			      { .fd = mmb->pager.kick, .events = POLLIN } };
	uint64_t look = absence_look_ms(mmb), tick_due = 0;
	uint64_t look_due = look ? call_now_ms() + look : 0;
	struct upcall up;

	pthread_setname_np(pthread_self(), "mmb-pager");
	for (;;) {
		int error;

		if (poll(p, 2, rest_ms(mmb, &tick_due, look_due)) < 0)
			continue;
		if (p[1].revents)
			take_kicks(mmb, &tick_due);
		if (channel_is_broken(&mmb->channel))
			leave(mmb);
		error = receive_upcall(p[0].fd, &up);
		if (!error)
			serve(mmb, &up);
		if (error && error != -EAGAIN) {
			leave(mmb);
			remapper_end(mmb);
			/* Nobody keeps the socket for another broker, or mmb_close() is here. */
			if (absence_wait(mmb))
				absence_end(mmb);
			return NULL;
		}
		if (!look_for_broker(mmb, &look_due)) {
			remapper_end(mmb);
			absence_end(mmb);
			return NULL;
		}
	}
}

void pager_kick(struct mmb *mmb, bool now)
{
	UNCANCELLED;
	const uint64_t kicks = now ? KICK_NOW : 1;
	int fd = atomic_load_explicit(&mmb->pager.kick, memory_order_relaxed);
	ssize_t written = fd < 0 ? 0 : write(fd, &kicks, sizeof(kicks));

	/* A full counter has kicked already. */
	(void)written;
}

/* ---- the connection's own socket ---- */

bool pager_hear(struct pager *pager, const struct wire_packet *packet)
{
	uint8_t memory[GOODBYE_SCRATCH_BYTES] __attribute__((aligned(16)));
	struct wire_scratch scratch;
	ProtobufCMessage *request;

	if (packet->id || packet->method != MMB_UPCALL_GOODBYE)
		return false;
	wire_scratch_init(&scratch, memory, sizeof(memory));
	if (wire_unpack(packet, method_upcall(MMB_UPCALL_GOODBYE), &scratch, &request))
		return false;
	pthread_mutex_lock(&pager->lock);
	remember_locked(pager, request);
	pthread_mutex_unlock(&pager->lock);
	return true;
}

/* ---- start and end ---- */

void pager_init(struct pager *pager)
{
	pager->sock = -1;
	pager->kick = -1;
	pthread_mutex_init(&pager->starting, NULL);
	pthread_mutex_init(&pager->lock, NULL);
}

static int ask_for_socket(struct mmb *mmb, struct call **asked)
{
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	error = call_begin(mmb, c, MMB_METHOD_UPCALLS, NULL);
	if (error)
		call_put(mmb, c);
	else
		*asked = c;
	return error;
}

/* A broker without upcalls has none to miss. */
static int take_socket(struct mmb *mmb, struct call *asked, int *sock)
{
	int error = call_wait(mmb, asked);

	if (!error)
		error = call_take_fds(mmb, asked, 1, sock);
	call_put(mmb, asked);
	return error == -EOPNOTSUPP ? 0 : error;
}

static int start_locked(struct mmb *mmb)
{
	struct pager *pager = &mmb->pager;
	sigset_t all, before;
	int error;

	/* There is one if the thread couldn't be started last time. */
	if (pager->kick < 0)
		pager->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pager->kick < 0)
		return fail(-errno, "can't make an eventfd (errno %d); look at RLIMIT_NOFILE",
			    errno);
	process_set_fd(mmb->entry, PROCESS_UPCALLS, pager->sock);
	process_set_fd(mmb->entry, PROCESS_KICK, pager->kick);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = small_thread_start(&pager->thread, pager_main, mmb);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return fail(error, "can't start the pager thread (errno %d); look at RLIMIT_NPROC "
			    "and RLIMIT_AS", -error);
	pager->started = true;
	channel_hold(&mmb->channel);
	return 0;
}

static int start_with(struct mmb *mmb, int sock)
{
	struct pager *pager = &mmb->pager;
	int error = 0;

	pthread_mutex_lock(&pager->lock);
	if (pager->sock < 0 && !pager->stopped) {
		pager->sock = sock;
		sock = -1;
	}
	if (pager->sock >= 0 && !pager->stopped)
		error = start_locked(mmb);
	pthread_mutex_unlock(&pager->lock);
	if (sock >= 0)
		close(sock);
	return error;
}

int pager_start_begin(struct mmb *mmb, struct pager_start *start)
{
	struct pager *pager = &mmb->pager;
	bool has_socket;
	int error = 0;

	pthread_mutex_lock(&pager->starting);
	pthread_mutex_lock(&pager->lock);
	start->under_way = !pager->started && !pager->stopped;
	has_socket = pager->sock >= 0;
	pthread_mutex_unlock(&pager->lock);
	start->asked = NULL;
	if (start->under_way && !has_socket)
		error = ask_for_socket(mmb, &start->asked);
	if (!start->under_way || error)
		pthread_mutex_unlock(&pager->starting);
	return error;
}

int pager_start_end(struct mmb *mmb, const struct pager_start *start)
{
	int sock = -1, error = 0;

	if (!start->under_way)
		return 0;
	if (start->asked)
		error = take_socket(mmb, start->asked, &sock);
	if (!error)
		error = start_with(mmb, sock);
	pthread_mutex_unlock(&mmb->pager.starting);
	return error;
}

int pager_start(struct mmb *mmb)
{
	UNCANCELLED;
	struct pager_start start;
	int error = pager_start_begin(mmb, &start);

	return error ? error : pager_start_end(mmb, &start);
}

void pager_stop(struct pager *pager)
{
	bool started;

	pthread_mutex_lock(&pager->lock);
	started = pager->started;
	pager->started = false;
	pager->stopped = true;
	if (pager->sock >= 0)
		shutdown(pager->sock, SHUT_RDWR);
	pthread_mutex_unlock(&pager->lock);
	if (started)
		pthread_join(pager->thread, NULL);
}

void pager_fini(struct pager *pager)
{
	pthread_mutex_destroy(&pager->lock);
	pthread_mutex_destroy(&pager->starting);
}

void pager_last_words(struct pager *pager, char *out, size_t bytes)
{
	/* On the caller's thread, whose stack may be small. */
	struct upcall *up = malloc(sizeof(*up));

	pthread_mutex_lock(&pager->lock);
	while (up && !pager->goodbye[0] && pager->sock >= 0 && !receive_upcall(pager->sock, up)) {
		if (up->request && up->packet.method == MMB_UPCALL_GOODBYE)
			remember_locked(pager, up->request);
	}
	snprintf(out, bytes, "%s", pager->goodbye);
	pthread_mutex_unlock(&pager->lock);
	free(up);
}
