/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_server - the socket's appearance, clients' deaths, limits and the planned stop
 */
#include "ipc/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/descriptors.h"
#include "lib/ipc_fixture.h"
#include "lib/test.h"
#include "os/topology.h"

enum { ONE_HOUR_MS = 3600000 };

static const struct wire_fds none;

/* ---- the socket ---- */

static void socket_has_its_mode_and_goes_with_the_server(void)
{
	char               error[SERVER_ERROR_BYTES];
	struct ipc_fixture f;
	struct wire_client c;
	struct stat        st;

	ipc_fixture_init(&f);
	f.options.mode = 0620;
	EXPECT_EQ(server_probe(f.path, error), 0);
	f.options.gid = getegid();
	ipc_fixture_start(&f);
	EXPECT_EQ(lstat(f.path, &st), 0);
	EXPECT(S_ISSOCK(st.st_mode));
	EXPECT_EQ(st.st_mode & 07777, 0620);
	EXPECT_EQ(st.st_gid, getegid());
	EXPECT_EQ(wire_client_connect(&c, f.path), 0);
	EXPECT_EQ(wire_client_hello(&c, "test", false), 0);
	wire_client_fini(&c);
	EXPECT_EQ(server_probe("/nobody/serves/this", error), 0);
	/* The fixture's folder must be empty at the end: socket and lock file are gone. */
	ipc_fixture_fini(&f);
}

static int start_second(const struct ipc_fixture *f, char error[SERVER_ERROR_BYTES])
{
	struct server *second;
	int            code = server_start(&f->options, &second, error);

	if (!code)
		server_stop(second, "the test is over", 0);
	return code;
}

static void second_daemon_on_a_path_is_refused(void)
{
	char               error[SERVER_ERROR_BYTES];
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	EXPECT_EQ(start_second(&f, error), -EADDRINUSE);
	EXPECT(strstr(error, f.path) != NULL);
	EXPECT(strstr(error, "another daemon (process ") != NULL);
	EXPECT_EQ(server_probe(f.path, error), -EADDRINUSE);
	EXPECT(strstr(error, "another daemon (process ") != NULL);
	/* And the first serves on. */
	EXPECT_EQ(wire_client_connect(&c, f.path), 0);
	EXPECT_EQ(wire_client_hello(&c, "test", false), 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static int bound_socket(const char *path, bool listens)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int                sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	EXPECT_EQ(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	if (listens)
		EXPECT_EQ(listen(sock, 1), 0);
	return sock;
}

static void leftovers_of_a_crash_are_replaced(void)
{
	char               path[128];
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	close(bound_socket(f.path, true));
	snprintf(path, sizeof(path), "%s.new", f.path);
	close(bound_socket(path, false));
	snprintf(path, sizeof(path), "%s.lock", f.path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	ipc_fixture_start(&f);
	EXPECT_EQ(wire_client_connect(&c, f.path), 0);
	EXPECT_EQ(wire_client_hello(&c, "test", false), 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void what_is_not_ours_is_left_alone(void)
{
	char               error[SERVER_ERROR_BYTES];
	struct ipc_fixture f;
	struct stat        st;
	int                sock;

	ipc_fixture_init(&f);
	close(open(f.path, O_CREAT | O_WRONLY, 0600));
	EXPECT_EQ(start_second(&f, error), -EEXIST);
	EXPECT(strstr(error, "not a socket") != NULL);
	EXPECT_EQ(lstat(f.path, &st), 0);
	EXPECT_EQ(unlink(f.path), 0);
	/* A program that serves it without our lock file. */
	sock = bound_socket(f.path, true);
	EXPECT_EQ(start_second(&f, error), -EADDRINUSE);
	EXPECT_EQ(lstat(f.path, &st), 0);
	close(sock);
	EXPECT_EQ(unlink(f.path), 0);
	ipc_fixture_fini(&f);
}

static void wrong_paths_are_told(void)
{
	char               error[SERVER_ERROR_BYTES], path[200];
	struct ipc_fixture f;

	ipc_fixture_init(&f);
	f.options.path = "";
	EXPECT_EQ(start_second(&f, error), -ENAMETOOLONG);
	memset(path, 'x', sizeof(path));
	path[104] = '\0';
	f.options.path = path;
	EXPECT_EQ(start_second(&f, error), -ENAMETOOLONG);
	f.options.path = "/nonexistent/a/b";
	EXPECT_EQ(start_second(&f, error), -ENOENT);
	EXPECT(strstr(error, "/nonexistent/a/b") != NULL);
	ipc_fixture_fini(&f);
}

static void inherited_socket_is_served_and_left(void)
{
	char               error[SERVER_ERROR_BYTES];
	struct ipc_fixture f;
	struct wire_client c;
	struct stat        st;

	ipc_fixture_init(&f);
	f.options.listen_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(start_second(&f, error), -EINVAL);
	EXPECT(strstr(error, "ListenSequentialPacket") != NULL);
	close(f.options.listen_fd);
	f.options.listen_fd = bound_socket(f.path, true);
	ipc_fixture_start(&f);
	EXPECT_EQ(wire_client_connect(&c, f.path), 0);
	EXPECT_EQ(wire_client_hello(&c, "test", false), 0);
	wire_client_fini(&c);
	server_stop(f.server, "the test is over", 0);
	f.server = NULL;
	EXPECT_EQ(lstat(f.path, &st), 0);
	EXPECT_EQ(unlink(f.path), 0);
	ipc_fixture_fini(&f);
}

/* ---- deaths ---- */

/* Connects, leaves the socket to a child of its own, and waits to be killed. */
static int child_with_child(const char *path, int ready)
{
	static struct wire_client c;

	if (wire_client_connect(&c, path) || wire_client_hello(&c, "mother", false))
		return 1;
	if (fork() == 0) {
		/* Ends when the parent of all closes its end. */
		struct pollfd p = { .fd = ready, .events = 0 };

		poll(&p, 1, 20000);
		return 0;
	}
	if (write(ready, "r", 1) != 1)
		return 1;
	pause();
	return 0;
}

static void session_ends_with_its_process_though_a_child_holds_the_socket(void)
{
	struct ipc_fixture f;
	int                pair[2];
	pid_t              child;
	char               byte;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	child = fork();
	if (child == 0) {
		close(pair[0]);
		_exit(child_with_child(f.path, pair[1]));
	}
	close(pair[1]);
	EXPECT_EQ(read(pair[0], &byte, 1), 1);
	EXPECT_EQ(fake_counts.sessions_new, 1);
	kill(child, SIGKILL);
	/* Its child keeps the socket open until the end of this test. */
	EXPECT(ipc_wait_count(&fake_counts.sessions_ended, 1));
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	close(pair[0]);
	ipc_fixture_fini(&f);
}

static void closed_socket_ends_its_session(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	wire_client_fini(&c);
	EXPECT(ipc_wait_count(&fake_counts.sessions_ended, 1));
	ipc_fixture_fini(&f);
}

/* On a busy host its HELLO may come too late, too. */
static void begin_in_time(struct ipc_fixture *f, struct wire_client *c)
{
	int tries = 100;

	for (ipc_fixture_connect(f, c); wire_client_hello(c, "test", false); tries--) {
		EXPECT(tries > 0);
		wire_client_fini(c);
		ipc_fixture_connect(f, c);
	}
}

static void silent_connection_is_closed_at_the_deadline(void)
{
	struct ipc_fixture f;
	struct wire_client silent, session;

	ipc_fixture_init(&f);
	f.options.limits.hello_deadline_ms = 50;
	ipc_fixture_start(&f);
	begin_in_time(&f, &session);
	ipc_fixture_connect(&f, &silent);
	EXPECT(wire_client_is_closed(&silent));
	/* Who has said HELLO may be silent from then on. */
	EXPECT_EQ(wire_client_recv(&session, 100), -ETIMEDOUT);
	EXPECT_EQ(wire_client_call(&session, MMB_METHOD_PING, NULL), 0);
	wire_client_fini(&silent);
	wire_client_fini(&session);
	ipc_fixture_fini(&f);
}

static uint64_t cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* While sessions begin, workers don't sleep: those that stay silent must not keep them awake. */
static void sessions_that_have_begun_let_the_workers_sleep(void)
{
	static struct topology two_cpus = { .nr_nodes = 1, .nr_cpus = 2 };
	enum { SESSIONS = 8, IDLE_MS = 400 };
	struct wire_client c[SESSIONS];
	struct ipc_fixture f;
	uint64_t           before;

	ipc_fixture_init(&f);
	f.options.topology = &two_cpus;
	ipc_fixture_start(&f);
	for (int i = 0; i < SESSIONS; i++) {
		ipc_fixture_session(&f, &c[i]);
		for (int nr = 0; nr < i; nr++)
			EXPECT_EQ(wire_client_call(&c[i], MMB_METHOD_PING, NULL), 0);
	}
	before = cpu_ms();
	nanosleep(&(struct timespec){ .tv_nsec = IDLE_MS * 1000000L }, NULL);
	EXPECT(cpu_ms() - before < IDLE_MS / 2);
	for (int i = 0; i < SESSIONS; i++)
		wire_client_fini(&c[i]);
	/* And the server stops though one has just begun. */
	ipc_fixture_session(&f, &c[0]);
	wire_client_fini(&c[0]);
	ipc_fixture_fini(&f);
}

/* ---- clients that don't read ---- */

static unsigned int send_until_full(struct wire_client *c)
{
	Mmb__Wire__ListRequest m = MMB__WIRE__LIST_REQUEST__INIT;
	unsigned int           nr = 0, refused = 0;

	/* Full twice with a pause between: it isn't only the daemon being slow. */
	while (refused < 20 && nr < 20000) {
		if (wire_client_send(c, MMB_METHOD_REGIONS, &m.base, none)) {
			nr++;
			refused = 0;
		} else {
			refused++;
			nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		}
	}
	return nr;
}

static void unread_replies_stop_the_reading_and_none_is_lost(void)
{
	struct ipc_fixture f;
	struct wire_client c;
	unsigned int       nr;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	nr = send_until_full(&c);
	EXPECT(nr > 256 && nr < 20000);
	for (unsigned int i = 0; i < nr; i++) {
		EXPECT_EQ(wire_client_recv(&c, WIRE_CLIENT_WAIT_MS), 1);
		EXPECT_EQ(c.packet.id, i + 2);
		EXPECT_EQ(c.packet.code, 0);
	}
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PING, NULL), 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void client_that_never_reads_is_let_go(void)
{
	struct ipc_fixture f;
	struct wire_client c, bystander;

	ipc_fixture_init(&f);
	f.options.limits.unread_deadline_ms = 300;
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &bystander);
	ipc_fixture_session(&f, &c);
	EXPECT(send_until_full(&c) > 256);
	EXPECT(ipc_wait_count(&fake_counts.sessions_ended, 1));
	EXPECT_EQ(wire_client_call(&bystander, MMB_METHOD_PING, NULL), 0);
	wire_client_fini(&c);
	wire_client_fini(&bystander);
	ipc_fixture_fini(&f);
}

/* ---- limits ---- */

static void connections_of_a_uid_are_limited_with_a_sentence(void)
{
	struct ipc_fixture f;
	struct wire_client extra;
	int                socks[32];
	unsigned int       nr = 0;

	ipc_fixture_init(&f);
	f.options.limits.sessions_per_uid = 2;
	ipc_fixture_start(&f);
	for (; nr < 18; nr++) {
		EXPECT_EQ(wire_client_connect(&extra, f.path), 0);
		EXPECT_EQ(wire_client_hello(&extra, "test", true), 0);
		socks[nr] = extra.sock;
	}
	EXPECT_EQ(wire_client_connect(&extra, f.path), 0);
	EXPECT_EQ(wire_client_recv(&extra, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(extra.packet.id, 0);
	EXPECT_EQ(extra.packet.code, -EUSERS);
	EXPECT(memmem(extra.packet.error, extra.packet.error_bytes, "sessions_per_uid", 16));
	EXPECT(wire_client_is_closed(&extra));
	wire_client_fini(&extra);
	while (nr)
		close(socks[--nr]);
	ipc_fixture_fini(&f);
}

static void sessions_are_limited_but_tools_get_in(void)
{
	struct ipc_fixture f;
	struct wire_client c[2], late, tool;

	ipc_fixture_init(&f);
	f.options.limits.sessions = 2;
	ipc_fixture_start(&f);
	for (int i = 0; i < 2; i++)
		ipc_fixture_session(&f, &c[i]);
	ipc_fixture_connect(&f, &late);
	EXPECT_EQ(wire_client_hello(&late, "late", false), -EUSERS);
	ipc_fixture_connect(&f, &tool);
	EXPECT_EQ(wire_client_hello(&tool, "mmbctl", true), 0);
	wire_client_fini(&late);
	wire_client_fini(&tool);
	wire_client_fini(&c[0]);
	wire_client_fini(&c[1]);
	ipc_fixture_fini(&f);
}

static void out_of_descriptors_turns_away_and_recovers(void)
{
	struct rlimit      before, low;
	struct ipc_fixture f;
	struct wire_client turned, later;
	int                fill[256], nr = 0;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = open_descriptors() + 20;
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (nr < 200 && (fill[nr] = dup(0)) >= 0)
		nr++;
	EXPECT(nr > 2);
	close(fill[--nr]);
	EXPECT_EQ(wire_client_connect(&turned, f.path), 0);
	EXPECT(wire_client_is_closed(&turned));
	wire_client_fini(&turned);
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	while (nr)
		close(fill[--nr]);
	EXPECT_EQ(wire_client_connect(&later, f.path), 0);
	EXPECT_EQ(wire_client_hello(&later, "test", false), 0);
	wire_client_fini(&later);
	ipc_fixture_fini(&f);
}

/* ---- the stop ---- */

static void stop_says_goodbye_and_ends_what_is_left(void)
{
	struct ipc_fixture  f;
	struct wire_client  c, told;
	Mmb__Wire__GoodbyeRequest *goodbye;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	fake_gate(true);
	EXPECT(wire_client_send(&c, MMB_METHOD_REGION_ADVISE, NULL, none) > 0);
	EXPECT(ipc_wait_count(&fake_counts.slow, 1));
	fake_gate(false);
	server_stop(f.server, "an upgrade", 50);
	f.server = NULL;
	EXPECT_EQ(fake_counts.sessions_ended, 1);
	wire_client_init(&told, dup(c.upcalls));
	EXPECT_EQ(wire_client_recv(&told, 1000), 1);
	EXPECT_EQ(told.packet.method, MMB_UPCALL_GOODBYE);
	goodbye = mmb__wire__goodbye_request__unpack(NULL, told.packet.body_bytes,
						     told.packet.body);
	EXPECT(strcmp(goodbye->reason, "an upgrade") == 0);
	mmb__wire__goodbye_request__free_unpacked(goodbye, NULL);
	EXPECT(wire_client_is_closed(&c));
	wire_client_fini(&told);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void stop_waits_no_longer_than_its_clients(void)
{
	struct ipc_fixture f;
	struct wire_client tool;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &tool);
	EXPECT_EQ(wire_client_hello(&tool, "mmbctl", true), 0);
	/* A tool holds nothing that had to be waited for; the runner doesn't wait so long. */
	server_stop(f.server, "a stop", ONE_HOUR_MS);
	f.server = NULL;
	EXPECT(wire_client_is_closed(&tool));
	wire_client_fini(&tool);
	ipc_fixture_fini(&f);
}

static void stats_count_requests_and_their_time(void)
{
	struct server_stats stats;
	struct ipc_fixture  f;
	struct wire_client  c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PING, NULL), 0);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_REGION_ADVISE, NULL), -EINVAL);
	server_stats(f.server, &stats);
	EXPECT_EQ(stats.connections, 1);
	EXPECT_EQ(stats.sessions, 1);
	EXPECT_EQ(stats.accepted, 1);
	/* The last ones' time may be taken just after their reply. */
	EXPECT(stats.requests >= 100 && stats.requests <= 102);
	EXPECT(stats.request_p50_ns > 0 && stats.request_p50_ns <= stats.request_p99_ns);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static const struct test_case cases[] = {
	{ "the socket has its mode and goes with the server",
	  socket_has_its_mode_and_goes_with_the_server },
	{ "a second daemon on a path is refused", second_daemon_on_a_path_is_refused },
	{ "leftovers of a crash are replaced", leftovers_of_a_crash_are_replaced },
	{ "what is not ours is left alone", what_is_not_ours_is_left_alone },
	{ "wrong paths are told", wrong_paths_are_told },
	{ "an inherited socket is served and left", inherited_socket_is_served_and_left },
	{ "a session ends with its process though a child holds the socket",
	  session_ends_with_its_process_though_a_child_holds_the_socket },
	{ "a closed socket ends its session", closed_socket_ends_its_session },
	{ "a silent connection is closed at the deadline",
	  silent_connection_is_closed_at_the_deadline },
	{ "sessions that have begun let the workers sleep",
	  sessions_that_have_begun_let_the_workers_sleep },
	{ "unread replies stop the reading and none is lost",
	  unread_replies_stop_the_reading_and_none_is_lost },
	{ "a client that never reads is let go", client_that_never_reads_is_let_go },
	{ "connections of a uid are limited, with a sentence",
	  connections_of_a_uid_are_limited_with_a_sentence },
	{ "sessions are limited, but tools get in", sessions_are_limited_but_tools_get_in },
	{ "out of descriptors, a client is turned away, and later ones get in",
	  out_of_descriptors_turns_away_and_recovers },
	{ "a stop says goodbye and ends what is left", stop_says_goodbye_and_ends_what_is_left },
	{ "a stop waits no longer than its clients", stop_waits_no_longer_than_its_clients },
	{ "stats count requests and their time", stats_count_requests_and_their_time },
};

TEST_MAIN(cases)
