/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server - assembly: options, limits, workers, start and stop
 *
 * Invariants  see server.h. What start has made is undone by server_free in the opposite order,
 *             from any point.
 * Locking     see server_state.h.
 */
#include "ipc/server.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/inject.h"
#include "base/log.h"
#include "ipc/closer.h"
#include "ipc/connection.h"
#include "ipc/registry.h"
#include "ipc/server_state.h"
#include "os/os.h"

enum {
	/* Connections beyond the sessions, so that tools still get in when they are all taken. */
	SPARE_CONNECTIONS = 64,
	SPARE_CONNECTIONS_PER_UID = 16,
	UNREAD_DEADLINE_MS = 5000,
	POLL_MS = 2,
	TURN_S = 1, /* a worker shows at least so often that it lives */
	SETTLE_MS = 250, /* between walks over all connections */
	WORKER_SLACK = 4, /* connections that a worker may have more than another */
	/* A client that has been woken asks within so long. */
	ATTEND_NS = 100 * 1000,
};

void server_options_init(struct server_options *options)
{
	*options = (struct server_options){
		.listen_fd = -1,
		.mode = 0660,
		.gid = GID_NONE,
		.admin_gid = GID_NONE,
		.nr_workers = 2,
		.nr_work_threads = 12,
		.limits = {
			.sessions = 1024,
			.sessions_per_uid = 256,
			.requests_in_flight = 64,
			.upcall_deadline_ms = 5000,
			.hello_deadline_ms = 5000,
			.unread_deadline_ms = UNREAD_DEADLINE_MS,
		},
		.pass_userfaultfd = PASS_GROUP,
		.features = MMB_FEATURE_UPCALLS | MMB_FEATURE_FAULT_LOG,
		.operation_timeout_ms = 30000,
	};
}

/* ---- connections ---- */

_Thread_local struct worker *this_worker;

static struct worker *least_loaded(struct server *server)
{
	struct worker *best = &server->workers[0];

	for (uint32_t i = 1; i < server->nr_workers; i++) {
		if (atomic_load_explicit(&server->workers[i].nr_connections, memory_order_relaxed) <
		    atomic_load_explicit(&best->nr_connections, memory_order_relaxed))
			best = &server->workers[i];
	}
	return best;
}

/* Handing a connection to another thread costs more than all that a connecting client asks for, so
 * who accepts it keeps it, as long as that isn't too uneven. */
static struct worker *choose_worker(struct server *server)
{
	struct worker *least = least_loaded(server), *own = this_worker;

	if (!own || own->server != server)
		return least;
	return atomic_load_explicit(&own->nr_connections, memory_order_relaxed) <=
			       atomic_load_explicit(&least->nr_connections, memory_order_relaxed) +
				       WORKER_SLACK
		       ? own
		       : least;
}

/* Says why, with an id no request has, before the connection is closed. */
static void turn_away(int sock, int code, const char *sentence)
{
	struct wire_packet head = {
		.method = MMB_METHOD_HELLO,
		.code = code,
		.error = sentence,
		.error_bytes = strlen(sentence),
	};
	uint8_t packet[512];
	ssize_t nr = wire_encode(&head, NULL, packet, sizeof(packet));

	if (nr > 0 && wire_send(sock, packet, (size_t)nr, (struct wire_fds){ 0 }, MSG_DONTWAIT))
		log_emit(LOG_DEBUG, "turned_away", "the reason could not be sent: %s", sentence);
}

static int check_room(struct server *server, uid_t uid, struct refusal *why)
{
	const struct server_limits *limits = &server->options.limits;
	struct registry_count       count;
	struct unread_count         unread;

	unread_look(&server->unread);
	registry_count(server, uid, &count);
	unread_count(&server->unread, uid, &unread);
	count.connections += unread.lingering;
	count.of_uid += unread.lingering_of_uid;
	if (count.connections >= (uint64_t)limits->sessions + SPARE_CONNECTIONS)
		return refuse(why, -EUSERS, "%llu connections exist: limits.sessions",
			      (unsigned long long)count.connections);
	if (count.of_uid >= (uint64_t)limits->sessions_per_uid + SPARE_CONNECTIONS_PER_UID)
		return refuse(why, -EUSERS, "%llu connections of uid %u exist: "
			      "limits.sessions_per_uid", (unsigned long long)count.of_uid, uid);
	if (closer_is_full(uid))
		return refuse(why, -EUSERS, "%d or more descriptors of uid %u can't be closed",
			      CLOSER_QUEUE_MAX, uid);
	return 0;
}

int server_take_socket(struct server *server, int sock)
{
	struct peer_rules    rules = { server->options.gid, server->options.admin_gid };
	struct peer_identity who;
	struct refusal       why;
	int                  error = peer_identify(sock, &rules, &who);

	if (error) {
		refuse(&why, error, "the peer can't be identified: %s", strerror(-error));
		who.pidfd = -1;
	} else {
		error = check_room(server, who.peer.uid, &why);
	}
	if (!error) {
		error = connection_new(choose_worker(server), sock, &who);
		if (error)
			refuse(&why, error, "no connection: %s", strerror(-error));
	}
	if (!error) {
		atomic_fetch_add_explicit(&server->nr_accepted, 1, memory_order_relaxed);
		return 0;
	}
	atomic_fetch_add_explicit(&server->nr_refused, 1, memory_order_relaxed);
	log_emit_limited(LOG_WARNING, "connection_refused", "%s", why.text);
	turn_away(sock, error, why.text);
	if (who.pidfd >= 0)
		close(who.pidfd);
	close(sock);
	return error;
}

bool server_settle_unread(struct server *server)
{
	uint64_t           now = os->now_ns(), last = atomic_load(&server->unread_settled_ns);
	struct connection *c;

	if (last && now - last < SETTLE_MS * 1000000ull)
		return false;
	if (!atomic_compare_exchange_strong(&server->unread_settled_ns, &last, now))
		return false;
	for (uint64_t key = 0; (c = registry_next(server, key));) {
		key = c->key;
		connection_settle_unread(c);
		connection_put(c);
	}
	unread_look(&server->unread);
	return true;
}

int server_adopt(struct server *server, int sock)
{
	return server_take_socket(server, sock);
}

/* ---- workers ---- */

/* Where there is another CPU, this one would fall asleep while a client is woken there, and a
 * wake-up costs more than all that is asked. Other threads and clients have their turn as ever. */
static void attend(struct worker *w)
{
	while (!w->stopped && os->now_ns() < w->attends_until_ns) {
		event_base_loop(w->base, EVLOOP_NONBLOCK | EVLOOP_NO_EXIT_ON_EMPTY);
		sched_yield();
	}
}

void worker_attend(struct worker *w)
{
	const struct topology *topology = w->server->options.topology;

	if (!topology || topology->nr_cpus < 2)
		return;
	w->attends_until_ns = os->now_ns() + ATTEND_NS;
	event_base_loopbreak(w->base);
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	char           name[16];

	this_worker = w;
	snprintf(name, sizeof(name), "mmb-control%u", w->index);
	heartbeat_register(&w->heartbeat, name);
	lane_thread_enter(name, w->server->options.topology);
	while (!w->stopped) {
		event_base_loop(w->base, EVLOOP_NO_EXIT_ON_EMPTY);
		attend(w);
	}
	lane_thread_leave();
	heartbeat_unregister(&w->heartbeat);
	return NULL;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	const struct worker *w = arg;

	(void)fd;
	(void)what;
	heartbeat_touch();
	if (w->index == 0)
		unread_look(&w->server->unread);
	INJECT_TURN(CONTROL_TURN);
}

static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base   *base = NULL;

	if (!config)
		return NULL;
	/* Timers are few and coarse: don't read the clock for every event. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
	if (!event_config_require_features(config, EV_FEATURE_EARLY_CLOSE))
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static int worker_init(struct server *server, uint32_t index)
{
	struct worker *w = &server->workers[index];

	w->server = server;
	w->index = index;
	w->base = base_new();
	w->lane = lane_new();
	if (!w->base || !w->lane)
		return -ENOMEM;
	w->turn = event_new(w->base, -1, EV_PERSIST, on_turn, w);
	return w->turn && !event_add(w->turn, &(struct timeval){ .tv_sec = TURN_S }) ? 0 : -ENOMEM;
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	w->stopped = true;
	event_base_loopbreak(w->base);
}

static void worker_fini(struct worker *w)
{
	if (w->thread) {
		/* As an event of its own: a loop that only begins would forget a plain break. */
		CHECK(!event_base_once(w->base, -1, EV_TIMEOUT, on_stop, w, NULL));
		pthread_join(w->thread, NULL);
	}
	if (w->turn)
		event_free(w->turn);
	if (w->base)
		event_base_free(w->base);
	lane_free(w->lane);
}

/* ---- start and stop ---- */

/* The connections have ended. */
static void server_free(struct server *server)
{
	listener_close(&server->listener);
	workpool_free(server->pool);
	for (uint32_t i = 0; i < SERVER_WORKERS_MAX; i++)
		worker_fini(&server->workers[i]);
	unread_fini(&server->unread);
	if (server->userfaultfd >= 0)
		close(server->userfaultfd);
	free(server);
}

static void open_userfaultfd(struct server *server)
{
	if (server->options.pass_userfaultfd == PASS_NEVER || server->userfaultfd >= 0)
		return;
	server->userfaultfd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (server->userfaultfd < 0)
		log_emit(LOG_NOTICE, "no_userfaultfd_device",
			 "/dev/userfaultfd can't be passed to clients (%s): without a privilege "
			 "of their own their system calls fail on pages that aren't mapped yet",
			 strerror(errno));
}

static int prepare_workers(struct server *server)
{
	const struct server_options *o = &server->options;
	int error = workpool_new(o->nr_work_threads, o->topology, &server->pool);

	for (uint32_t i = 0; i < server->nr_workers && !error; i++)
		error = worker_init(server, i);
	if (!error)
		error = listener_start(&server->listener, server, server->workers[0].base);
	return error;
}

static int start_workers(struct server *server)
{
	int error = 0;

	for (uint32_t i = 0; i < server->nr_workers && !error; i++) {
		struct worker *w = &server->workers[i];

		error = lane_thread_start(&w->thread, worker_run, w);
		if (error)
			w->thread = 0;
	}
	return error;
}

/* Its own way is a plain write to standard error, which may wait. */
static void on_event_log(int severity, const char *text)
{
	if (severity >= EVENT_LOG_WARN)
		log_emit_limited(LOG_WARNING, "event_loop", "libevent: %s", text);
}

static uint64_t descriptors_max(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) ? 0 : limit.rlim_cur;
}

int server_start(const struct server_options *options, struct server **out,
		 char error[SERVER_ERROR_BYTES])
{
	struct server *server = calloc(1, sizeof(*server));
	int            code;

	if (!server || evthread_use_pthreads()) {
		free(server);
		snprintf(error, SERVER_ERROR_BYTES, "out of memory");
		return -ENOMEM;
	}
	event_set_log_callback(on_event_log);
	server->options = *options;
	unread_init(&server->unread, descriptors_max());
	if (!server->options.limits.unread_deadline_ms)
		server->options.limits.unread_deadline_ms = UNREAD_DEADLINE_MS;
	server->nr_workers = min_t(uint32_t, options->nr_workers, SERVER_WORKERS_MAX);
	server->userfaultfd = -1;
	snprintf(server->path, sizeof(server->path), "%s", options->path ? options->path : "");
	code = listener_open(&server->listener, options, error);
	if (!code) {
		open_userfaultfd(server);
		code = prepare_workers(server);
		if (code)
			snprintf(error, SERVER_ERROR_BYTES, "can't start threads: %s",
				 strerror(-code));
	}
	if (!code && options->adopt) {
		struct refusal why = { "" };

		code = options->adopt(server, &why);
		if (code)
			snprintf(error, SERVER_ERROR_BYTES, "%s", why.text);
	}
	if (!code)
		code = start_workers(server);
	if (!code)
		code = listener_publish(&server->listener, error);
	/* Where sessions wait all is left as by a crash, for who tries again. */
	if (code) {
		if (!options->adopt)
			server_free(server);
		return code;
	}
	*out = server;
	return 0;
}

static uint64_t count_sessions(const struct server *server)
{
	struct registry_count count;

	registry_count(server, 0, &count);
	return count.sessions;
}

static void rest(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
}

uint64_t server_sessions(const struct server *server)
{
	return count_sessions(server);
}

bool server_drain(struct server *server, const char *reason)
{
	struct connection *c;

	if (atomic_exchange(&server->draining, true))
		return false;
	for (uint64_t key = 0; (c = registry_next(server, key));) {
		key = c->key;
		upcall_goodbye(c, reason);
		connection_put(c);
	}
	return true;
}

void server_end_sessions(struct server *server, const char *reason)
{
	struct connection *c;

	for (uint64_t key = 0; (c = registry_next(server, key));) {
		key = c->key;
		if (atomic_load_explicit(&c->has_memory, memory_order_relaxed))
			connection_kill(c, -ESHUTDOWN, "%s", reason);
		connection_put(c);
	}
}

void server_reconfigure(struct server *server, const struct server_options *options)
{
	struct server_limits *to = &server->options.limits;
	const struct server_limits *from = &options->limits;

	to->sessions = from->sessions;
	to->sessions_per_uid = from->sessions_per_uid;
	to->requests_in_flight = from->requests_in_flight;
	to->upcall_deadline_ms = from->upcall_deadline_ms;
	to->hello_deadline_ms = from->hello_deadline_ms;
	server->options.pass_userfaultfd = options->pass_userfaultfd;
	open_userfaultfd(server);
}

void server_stop(struct server *server, const char *reason, uint64_t drain_ms)
{
	uint64_t           until = os->now_ns() + drain_ms * 1000000;
	struct connection *c;

	atomic_store(&server->stopping, true);
	listener_close(&server->listener);
	server_drain(server, reason);
	while (count_sessions(server) && os->now_ns() < until)
		rest();
	/* Again and again: one that was just accepted may have come after the last look. */
	while (atomic_load_explicit(&server->nr_alive, memory_order_acquire)) {
		for (uint64_t key = 0; (c = registry_next(server, key));) {
			key = c->key;
			connection_kill(c, -ESHUTDOWN, "%s", reason);
			connection_put(c);
		}
		rest();
	}
	server_free(server);
}

void server_stats(const struct server *server, struct server_stats *out)
{
	struct registry_count count;
	struct histogram      latency;

	registry_count(server, 0, &count);
	histogram_init(&latency);
	for (uint32_t i = 0; i < server->nr_workers; i++)
		histogram_merge(&latency, &server->workers[i].lane->latency);
	workpool_latency(server->pool, &latency);
	*out = (struct server_stats){
		.connections = count.connections,
		.sessions = count.sessions,
		.accepted = atomic_load(&server->nr_accepted),
		.refused = atomic_load(&server->nr_refused),
		.requests = histogram_count(&latency),
		.bad_messages = atomic_load(&server->nr_bad_messages),
		.upcalls_sent = atomic_load(&server->nr_upcalls_sent),
		.upcalls_dropped = atomic_load(&server->nr_upcalls_dropped),
		.upcalls_missed = atomic_load(&server->nr_upcalls_missed),
		.request_p50_ns = histogram_percentile(&latency, 50),
		.request_p99_ns = histogram_percentile(&latency, 99),
	};
}
