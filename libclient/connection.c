/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection - opening and closing a session with the broker
 *
 * Purpose     mmb_open: socket, HELLO, userfaultfd, and ATTACH, which is not waited for: right
 *             behind HELLO where the process makes its userfaultfd itself, else when HELLO has
 *             brought the device. So a session costs one round trip.
 *             mmb_close: takes everything away in an order in which no thread can read what isn't
 *             there.
 * Invariants  See connection.h.
 */
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "cache.h"
#include "cancel.h"
#include "conf.h"
#include "error.h"
#include "export.h"
#include "faultlog.h"
#include "options.h"
#include "pool_heap.h"
#include "procmap.h"
#include "proto/printable.h"
#include "socket.h"

enum { OPERATION_TIMEOUT_MS = 30000, ATTACH_BYTES = 128, OPEN_TRIES = 10 };
static const struct timespec open_pause = { .tv_nsec = 20 * 1000 * 1000 };

/* ---- life ---- */

int connection_check(const struct mmb *mmb, const char *function)
{
	if (!mmb)
		return fail(-EINVAL, "%s: the connection is NULL; mmb_open() makes one", function);
	return process_owns(mmb->generation) ? 0 : process_disowned();
}

void connection_get(struct mmb *mmb)
{
	atomic_fetch_add(&mmb->refs, 1);
}

void connection_enter(struct mmb *mmb)
{
	connection_get(mmb);
	atomic_fetch_add(&mmb->users, 1);
}

void connection_leave(struct mmb *mmb)
{
	int kick;

	if (atomic_fetch_sub(&mmb->users, 1) == 1) {
		close(mmb->channel.sock);
		if (mmb->pager.sock >= 0)
			close(mmb->pager.sock);
		if (mmb->uffd.fd >= 0)
			close(mmb->uffd.fd);
		kick = atomic_exchange(&mmb->pager.kick, -1);
		if (kick >= 0)
			close(kick);
		if (mmb->log >= 0)
			close(mmb->log);
		procmap_release();
		channel_trim(&mmb->channel);
	}
	connection_put(mmb);
}

void connection_put(struct mmb *mmb)
{
	if (atomic_fetch_sub(&mmb->refs, 1) != 1)
		return;
	channel_fini(&mmb->channel);
	pager_fini(&mmb->pager);
	remapper_fini(&mmb->remapper);
	shrink_fini(&mmb->shrinkers);
	pthread_mutex_destroy(&mmb->lock);
	free(mmb);
}

bool connection_add_window(struct mmb *mmb, struct window *w)
{
	bool open;

	pthread_mutex_lock(&mmb->lock);
	open = !mmb->closed;
	if (open)
		LIST_INSERT_HEAD(&mmb->windows, w, link);
	pthread_mutex_unlock(&mmb->lock);
	return open;
}

bool connection_del_window(struct mmb *mmb, struct window *w)
{
	bool open;

	pthread_mutex_lock(&mmb->lock);
	open = !mmb->closed;
	if (open)
		LIST_REMOVE(w, link);
	remapper_wait(mmb, w);
	pthread_mutex_unlock(&mmb->lock);
	return open;
}

void connection_wake_window(struct mmb *mmb, const struct window *w)
{
	pthread_mutex_lock(&mmb->lock);
	/* M2: its descriptors are open while it is. */
	if (!mmb->closed)
		uffd_wake(&mmb->uffd, w->address, w->length);
	pthread_mutex_unlock(&mmb->lock);
}

/* ---- opening ---- */

/* C7 of call.h. True: it is on its way already, in front of whatever is sent from now on. */
static bool send_attach(struct mmb *mmb, const uint8_t *packet, size_t length, uint64_t missed_by,
			int *error)
{
	struct channel *ch = &mmb->channel;
	bool sent;

	pthread_mutex_lock(&ch->lock);
	sent = missed_by && missed_by < ch->attach_id;
	*error = sent ? 0
		      : wire_send(ch->sock, packet, length,
				  (struct wire_fds){ .fds = &mmb->uffd.fd, .nr = 1 }, MSG_DONTWAIT);
	if (!*error)
		ch->attach_id = ch->next_id;
	pthread_mutex_unlock(&ch->lock);
	return *error != -EAGAIN;
}

/* Nobody waits for it: with id 0 it is answered only if it is refused, and whoever reads that ends
 * the connection with the broker's words (reply.c). It can't be sent to a broker that has gone,
 * which the next call says, after what the broker said before. */
int connection_attach(struct mmb *mmb, uint64_t missed_by)
{
	struct pollfd p = { .fd = mmb->channel.sock, .events = POLLOUT };
	uint64_t deadline = call_deadline(mmb->timeout_ms);
	Mmb__Wire__AttachRequest request = MMB__WIRE__ATTACH_REQUEST__INIT;
	struct wire_packet head = { .method = MMB_METHOD_ATTACH };
	uint8_t packet[ATTACH_BYTES];
	ssize_t length;
	int error;

	request.uffd_features = mmb->uffd.features;
	request.user_mode_only = mmb->uffd.user_mode_only;
	request.hears_remap = window_can_remap();
	request.remaps_huge = request.hears_remap;
	length = wire_encode(&head, &request.base, packet, sizeof(packet));
	if (length < 0)
		return fail((int)length, "mmb_open: ATTACH doesn't fit its packet");
	while (!send_attach(mmb, packet, (size_t)length, missed_by, &error) &&
	       call_left_ms(deadline))
		poll(&p, 1, call_left_ms(deadline));
	if (!error || error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN)
		return 0;
	if (error == -EAGAIN)
		return fail(-ETIMEDOUT, "the broker has not taken the userfaultfd for %llu ms; it "
			    "may be stuck or overloaded: look at mmbctl status, or raise "
			    "operation_timeout_ms", (unsigned long long)mmb->timeout_ms);
	return fail(error, "the userfaultfd could not be sent to the broker (errno %d)", -error);
}

/* The program's, as much of it as there is room for, with ? for what isn't printable. */
static void write_name(char out[MMB_NAME_MAX + 1])
{
	const char *at = program_invocation_short_name;
	size_t used = 0;

	while (*at) {
		size_t nr = printable_length(at), takes = nr ? nr : 1;

		if (used + takes > MMB_NAME_MAX)
			break;
		memcpy(out + used, nr ? at : "?", takes);
		used += takes;
		at += takes;
	}
	out[used] = 0;
}

static int say_hello(struct mmb *mmb, struct call *c)
{
	Mmb__Wire__HelloRequest request = MMB__WIRE__HELLO_REQUEST__INIT;
	char name[MMB_NAME_MAX + 1];
	int error, sent = 0;

	write_name(name);
	request.version_min = MMB_PROTOCOL_VERSION;
	request.version_max = MMB_PROTOCOL_VERSION;
	/* Not the upcall socket: pager_start() asks for it, if ever. */
	request.features = MMB_FEATURE_FAULT_LOG | MMB_FEATURE_POISON |
			   MMB_FEATURE_POOL_OFFER;
	request.name = name;
	request.own_userfaultfd = mmb->uffd.fd >= 0;
	c->method = MMB_METHOD_HELLO;
	error = call_send(mmb, c, &request.base);
	if (error)
		return error;
	if (mmb->uffd.fd >= 0)
		sent = connection_attach(mmb, 0);
	/* The broker has to be woken first. */
	cache_prepare();
	c->bytes[0] = 0; /* its page is there then, when the kernel writes to it */
	error = call_wait(mmb, c);
	return error ? error : sent;
}

/* The reply's descriptors, in the order in which they come. */
struct hello_fds {
	int log, device;
};
enum { OFFER_FDS = 2 };

static int take_hello_fds(struct mmb *mmb, struct call *c, struct hello_fds *out)
{
	const Mmb__Wire__HelloReply *reply = (const void *)c->reply;
	uint32_t nr = reply->has_fault_log + reply->has_userfaultfd;
	int fds[MMB_PACKET_FDS], *next = fds;
	int error;

	nr += reply->offer ? OFFER_FDS : 0;
	error = call_take_fds(mmb, c, nr, fds);
	if (error)
		return error;
	out->log = reply->has_fault_log ? *next++ : -1;
	out->device = reply->has_userfaultfd ? *next++ : -1;
	if (!reply->offer || offer_read(&mmb->offer, reply->offer, next))
		return 0;
	while (nr)
		close(fds[--nr]);
	*out = (struct hello_fds){ -1, -1 };
	return call_protocol_error(mmb, "it offered a pool that makes no sense");
}

static int hello(struct mmb *mmb, const struct mmb_open_options *options, struct hello_fds *fds)
{
	const Mmb__Wire__HelloReply *reply;
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	error = say_hello(mmb, c);
	reply = (const void *)c->reply;
	if (!error && reply->version != MMB_PROTOCOL_VERSION)
		error = call_protocol_error(mmb, "it chose a protocol version nobody offered");
	if (!error)
		error = take_hello_fds(mmb, c, fds);
	if (!error) {
		mmb->session = reply->session;
		if (!options->operation_timeout_ms && reply->operation_timeout_ms)
			mmb->timeout_ms = reply->operation_timeout_ms;
	}
	call_put(mmb, c);
	return error;
}

static void warn_user_mode(void)
{
	fail(0, "system calls on broker memory that is not present will fail with EFAULT in this "
		"process: it may only have a user-mode userfaultfd; let the broker pass its device "
		"(pass_userfaultfd), or set vm.unprivileged_userfaultfd=1");
	fprintf(stderr, "libmmbroker: %s\n", mmb_error());
}

/* From the descriptors of HELLO to a session that can fault. Takes the descriptors over. */
static int equip(struct mmb *mmb, const struct hello_fds *fds)
{
	int own[PROCESS_FDS] = { [PROCESS_SOCKET] = mmb->channel.sock, [PROCESS_UPCALLS] = -1,
				 [PROCESS_KICK] = -1, [PROCESS_ARENA] = -1,
				 [PROCESS_SLAB_MAP] = -1 };
	bool attached = mmb->uffd.fd >= 0;
	int error = 0;

	mmb->log = own[PROCESS_LOG] = fds->log;
	if (!attached)
		error = uffd_open(fds->device, &mmb->uffd);
	if (fds->device >= 0)
		close(fds->device);
	if (error) {
		mmb->uffd.fd = -1;
		return error;
	}
	own[PROCESS_UFFD] = mmb->uffd.fd;
	if (mmb->offer.handle) {
		own[PROCESS_ARENA] = mmb->offer.arena;
		own[PROCESS_SLAB_MAP] = mmb->offer.map;
	}
	mmb->entry = process_add(own);
	if (!mmb->entry)
		return fail(-ENOMEM, "mmb_open: no memory to record the connection");
	return attached ? 0 : connection_attach(mmb, 0);
}

static struct mmb *connection_new(int sock, uint64_t timeout_ms)
{
	struct mmb *mmb = calloc(1, sizeof(*mmb));

	if (!mmb)
		return NULL;
	mmb->generation = process_generation();
	atomic_store(&mmb->refs, 1);
	atomic_store(&mmb->users, 1);
	mmb->timeout_ms = timeout_ms ? timeout_ms : OPERATION_TIMEOUT_MS;
	mmb->uffd.fd = -1;
	mmb->log = -1;
	channel_init(&mmb->channel, sock);
	pager_init(&mmb->pager);
	remapper_init(&mmb->remapper);
	shrink_init(&mmb->shrinkers);
	pthread_mutex_init(&mmb->lock, NULL);
	procmap_keep();
	LIST_INIT(&mmb->windows);
	LIST_INIT(&mmb->pools);
	return mmb;
}

/* What can be done when the broker has been woken, is done then. */
static int open_on(int sock, const struct mmb_open_options *options, struct mmb **out)
{
	struct hello_fds fds = { -1, -1 };
	struct mmb *mmb = connection_new(sock, options->operation_timeout_ms);
	int error;

	if (!mmb) {
		close(sock);
		return fail(-ENOMEM, "mmb_open: no memory for a connection");
	}
	conf_init();
	/* One that serves user faults only is for when the broker has no better one to offer. */
	uffd_open_own(&mmb->uffd);
	error = hello(mmb, options, &fds);
	if (!error)
		error = equip(mmb, &fds);
	if (error) {
		char why[ERROR_BYTES];

		strcpy(why, mmb_error());
		mmb_close(mmb);
		return fail(error, "%s", why);
	}
	if (mmb->uffd.user_mode_only)
		warn_user_mode();
	mmb->daemon_timeout_ms = options->daemon_timeout_ms;
	*out = mmb;
	return 0;
}

/* P5 of pager.h. */
static int start_watching(struct mmb *mmb)
{
	int error = pager_start(mmb);

	if (error)
		mmb_close(mmb);
	return error;
}

PUBLIC int mmb_open(const char *socket_path, const struct mmb_open_options *options,
		    struct mmb **out)
{
	UNCANCELLED;
	struct socket_search search = { .path = socket_path };
	struct mmb_open_options o;
	int sock, error;

	if (!out)
		return fail(-EINVAL, "mmb_open: out is NULL; pass where the connection is to go");
	error = options_read(&o, sizeof(o), options, "mmb_open_options");
	if (!error)
		error = process_init(); /* it may close descriptors of a parent's, by number */
	if (error)
		return error;
	search.timeout_ms = o.operation_timeout_ms ? o.operation_timeout_ms
						   : OPERATION_TIMEOUT_MS;
	search.wait_absent_ms = o.daemon_timeout_ms;
	/* A broker that dies while it is greeted knows nothing of this session when it is back. */
	for (int tries = 0;; tries++) {
		sock = socket_connect(&search);
		error = sock < 0 ? sock : open_on(sock, &o, out);
		if (!error && o.daemon_timeout_ms)
			error = start_watching(*out);
		if (error != -ENOTCONN || tries == OPEN_TRIES)
			return error;
		nanosleep(&open_pause, NULL);
	}
}

/* ---- closing ---- */

/* M2. The windows go first (W3): then no thread waits at a fault that the end of the userfaultfd
 * would answer with zeros. The pools' handles stay the program's, and are in `left`. */
static void close_handles(struct mmb *mmb, struct pool_list *left)
{
	struct mmb_pool *pool;
	struct window *w;

	pthread_mutex_lock(&mmb->lock);
	mmb->closed = true;
	while ((pool = LIST_FIRST(&mmb->pools))) {
		LIST_REMOVE(pool, link);
		pool->listed = false;
		atomic_store(&pool->generation, POOL_CLOSED);
		pool_heap_close(pool);
		pool_get(pool);
		LIST_INSERT_HEAD(left, pool, link);
	}
	while ((w = LIST_FIRST(&mmb->windows))) {
		LIST_REMOVE(w, link);
		window_unmap(w);
		uffd_wake(&mmb->uffd, w->address, w->length);
	}
	pthread_mutex_unlock(&mmb->lock);
	arena_leave(mmb);
}

bool connection_each_pool(struct mmb *mmb, bool (*fn)(struct mmb_pool *pool, void *arg), void *arg)
{
	struct mmb_pool *pool, *next;
	bool any = false;

	pthread_mutex_lock(&mmb->lock);
	pool = LIST_FIRST(&mmb->pools);
	if (pool)
		pool_get(pool);
	pthread_mutex_unlock(&mmb->lock);
	while (pool) {
		any |= fn(pool, arg);
		pthread_mutex_lock(&mmb->lock);
		/* One that was closed meanwhile has no next one. Some are met twice then. */
		next = pool->listed ? LIST_NEXT(pool, link) : LIST_FIRST(&mmb->pools);
		if (next)
			pool_get(next);
		pthread_mutex_unlock(&mmb->lock);
		pool_put(pool);
		pool = next;
	}
	return any;
}

static bool stop_heap(struct mmb_pool *pool, void *arg)
{
	pool_heap_stop(pool);
	return true;
}

/* When the daemon hears that the session has ended, others adopt its slabs: by then nobody here may
 * work in them any more, the pager's ticks least of all. Without the lock while a heap is waited
 * for: who has that may be at a fault that the pager answers under it (absence.c). */
static void close_heaps(struct mmb *mmb)
{
	connection_each_pool(mmb, stop_heap, NULL);
}

/* All but the handles of pools that the program hasn't closed, as far as no other thread may still
 * be on its way into them. */
static void leave_pools(struct pool_list *left)
{
	struct mmb_pool *pool;

	LIST_FOREACH(pool, left, link)
		cache_leave_pool(pool);
	cache_end_left();
	while ((pool = LIST_FIRST(left))) {
		LIST_REMOVE(pool, link);
		pool_heap_release(pool);
		pool_put(pool);
	}
}

PUBLIC void mmb_close(struct mmb *mmb)
{
	UNCANCELLED;
	struct pool_list left = LIST_HEAD_INITIALIZER(left);

	if (!mmb)
		return;
	/* In a forked child there is nothing to close: the fork handler did. */
	if (!process_owns(mmb->generation)) {
		process_disowned();
		return;
	}
	shrink_stop(&mmb->shrinkers); /* one that runs may use its pool */
	close_heaps(mmb);
	atomic_store(&mmb->closing, true); /* before the daemon may give its addresses to others */
	channel_break(mmb, -ENOTCONN, "the connection was closed by mmb_close()");
	pager_stop(&mmb->pager);
	channel_release(&mmb->channel);
	offer_forget(mmb);
	close_handles(mmb, &left);
	leave_pools(&left);
	if (mmb->entry)
		faultlog_unmap(process_del(mmb->entry));
	mmb->entry = NULL;
	connection_leave(mmb);
}
