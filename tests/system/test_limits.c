/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_limits - how much at once, what is refused beyond, and how the daemon starts and stops
 *
 * Purpose     Hundreds of sessions and thousands of regions; each limit is refused with a sentence
 *             and frees its place again; descriptors run out and come back; wrong flags, two
 *             daemons on one socket, no permission; the end with clients attached.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/broker_fixture.h"
#include "lib/raw_client.h"
#include "lib/test.h"

enum { PAGE = 4096, CLIENTS_MAX = 256, REGIONS = 10000, DESCRIPTORS = REGIONS + 2000 };

static struct fixture        broker;
static struct client_process clients[CLIENTS_MAX];

static void clean_up(void)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		client_signal(&clients[i], SIGKILL);
	fixture_cleanup(&broker);
}

/* A daemon with these flags, and what its counters are with nobody there. */
static void begin(const char *const *flags)
{
	static bool registered;

	clean_up();
	if (!registered)
		atexit(clean_up);
	registered = true;
	fixture_start(&broker, flags);
	fixture_baseline(&broker);
}

/* Everybody gone: all as it was, and a clean end. */
static void end(void)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		client_signal(&clients[i], SIGKILL);
	fixture_expect_baseline(&broker);
	fixture_stop(&broker);
}

/* ---- many ---- */

static int regions_each;

static void hold_regions(struct client_process *self, void *socket)
{
	static struct raw r;
	struct raw_region region;
	char              step;
	char            **at = calloc((size_t)regions_each, sizeof(*at));

	CLIENT_EXPECT(at);
	CLIENT_EXPECT_EQ(raw_session(&r, socket, "crowd"), 0);
	CLIENT_EXPECT_EQ(raw_pool(&r, NULL, 0), 0);
	for (int i = 0; i < regions_each; i++) {
		CLIENT_EXPECT_EQ(raw_region(&r, 2 * PAGE, &region), 0);
		CLIENT_EXPECT_EQ(raw_write_byte(region.at, (char)(i % 100 + 1)), 0);
		at[i] = region.at;
		close(region.fd);
	}
	CLIENT_EXPECT(client_tell_step(self, 'h'));
	while (read(self->in, &step, 1) == 1) {
		for (int i = 0; i < regions_each; i++) {
			CLIENT_EXPECT(at[i][0] == (char)(i % 100 + 1));
			CLIENT_EXPECT(at[i][PAGE] == 0);
		}
		CLIENT_EXPECT(client_tell_step(self, 'h'));
	}
}

static void many_sessions_and_regions(void)
{
	static const char *const flags[] = { "--limits.sessions_per_uid=300",
					     "--limits.regions_per_uid=20000",
					     "--log.level=notice", NULL };
	struct rlimit            limit;
	struct broker_counters   now;

	EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < DESCRIPTORS)
		SKIP("a region takes a descriptor: a hard RLIMIT_NOFILE of 12000 is needed");
	begin(flags);
	regions_each = REGIONS / CLIENTS_MAX + 1;
	for (int i = 0; i < CLIENTS_MAX; i++)
		client_fork(&clients[i], hold_regions, broker.socket);
	for (int i = 0; i < CLIENTS_MAX; i++)
		EXPECT(client_hear_step(&clients[i], 'h'));
	EXPECT(fixture_read(&broker, &now));
	EXPECT_EQ(now.sessions, broker.baseline.sessions + CLIENTS_MAX);
	EXPECT(now.regions >= REGIONS);
	for (int i = 0; i < CLIENTS_MAX; i++)
		EXPECT(client_tell_step(&clients[i], 'c'));
	for (int i = 0; i < CLIENTS_MAX; i++)
		EXPECT(client_hear_step(&clients[i], 'h'));
	fixture_expect_verified(&broker);
	printf("  %d sessions with %llu regions at once\n", CLIENTS_MAX,
	       (unsigned long long)now.regions);
	end();
}

/* ---- limits ---- */

/* Sessions until one is refused; returns how many came. */
static int fill_with_sessions(struct raw *sessions, int most)
{
	for (int i = 0; i < most; i++) {
		int error = raw_connect(&sessions[i], broker.socket);

		EXPECT_EQ(error, 0);
		error = raw_hello(&sessions[i], "one more");
		if (!error)
			continue;
		EXPECT(raw_refused(&sessions[i], error));
		EXPECT(strstr(sessions[i].error, "limits.sessions"));
		EXPECT(raw_ends(&sessions[i]));
		raw_close(&sessions[i]);
		return i;
	}
	return most;
}

static void sessions_limited(const char *const *flags)
{
	static struct raw sessions[16];
	struct raw        control;
	int               nr;

	begin(flags);
	nr = fill_with_sessions(sessions, 16);
	EXPECT(nr > 0 && nr <= 8);
	/* Those that are there are served, whoever looks after the broker gets in, */
	for (int i = 0; i < nr; i++)
		EXPECT_EQ(raw_call(&sessions[i], MMB_METHOD_PING, NULL), 0);
	EXPECT_EQ(raw_connect(&control, broker.socket), 0);
	EXPECT_EQ(raw_hello_control(&control), 0);
	EXPECT_EQ(raw_call(&control, MMB_METHOD_STATUS, NULL), 0);
	raw_close(&control);
	/* and a place that becomes free is a place. */
	raw_close(&sessions[0]);
	for (int i = 0, error = -1; error && i < 1000; i++) {
		EXPECT_EQ(raw_connect(&sessions[0], broker.socket), 0);
		error = raw_hello(&sessions[0], "next");
		if (error)
			raw_close(&sessions[0]);
		usleep(error ? 1000 : 0);
	}
	EXPECT(sessions[0].sock >= 0);
	for (int i = 0; i < nr; i++)
		raw_close(&sessions[i]);
	end();
}

static void sessions_per_uid(void)
{
	static const char *const flags[] = { "--limits.sessions_per_uid=8", NULL };

	sessions_limited(flags);
}

static void sessions_in_all(void)
{
	static const char *const flags[] = { "--limits.sessions=8", NULL };

	sessions_limited(flags);
}

/* Regions until one is refused because of `key`. */
static int fill_with_regions(struct raw *r, struct raw_region *regions, int most, const char *key)
{
	const struct raw_region_want want = { .length = PAGE };

	for (int i = 0; i < most; i++) {
		int error = raw_region_ask(r, &want, &regions[i]);

		if (!error)
			continue;
		EXPECT(raw_refused(r, error));
		EXPECT(error == -EDQUOT);
		EXPECT(strstr(r->error, key));
		return i;
	}
	return most;
}

static void close_regions(struct raw *r, struct raw_region *regions, int nr)
{
	for (int i = 0; i < nr; i++) {
		regions[i].at = NULL; /* never mapped */
		EXPECT_EQ(raw_region_close(r, &regions[i]), 0);
	}
}

static void open_session(struct raw *r)
{
	EXPECT_EQ(raw_session(r, broker.socket, "regions"), 0);
	EXPECT_EQ(raw_pool(r, NULL, 0), 0);
}

static void regions_per_session(void)
{
	static const char *const flags[] = { "--limits.regions_per_session=20", NULL };
	static struct raw        r;
	static struct raw_region regions[32];

	begin(flags);
	open_session(&r);
	EXPECT_EQ(fill_with_regions(&r, regions, 32, "limits.regions_per_session"), 20);
	close_regions(&r, regions, 5);
	EXPECT_EQ(fill_with_regions(&r, regions, 32, "limits.regions_per_session"), 5);
	raw_close(&r);
	end();
}

static bool room_for(void *arg)
{
	struct broker_counters now;

	return fixture_read(&broker, &now) && now.regions <= *(uint64_t *)arg;
}

static void regions_per_uid(void)
{
	static const char *const flags[] = { "--limits.regions_per_uid=40", NULL };
	static struct raw        first, second;
	static struct raw_region regions[64], more[64];
	uint64_t                 left = 10;

	begin(flags);
	open_session(&first);
	open_session(&second);
	EXPECT_EQ(fill_with_regions(&first, regions, 30, ""), 30);
	EXPECT_EQ(fill_with_regions(&second, more, 64, "limits.regions_per_uid"), 10);
	/* A session's end makes room for the other one. */
	raw_close(&first);
	EXPECT(test_wait(room_for, &left, 10));
	for (int i = 0; i < 30; i++)
		close(regions[i].fd);
	EXPECT(fill_with_regions(&second, regions, 64, "limits.regions_per_uid") >= 29);
	raw_close(&second);
	end();
}

/* The end of a region with much in it takes a while; who has closed it needn't wait for that. */
static void regions_in_turn(void)
{
	enum { NR = 4, TURNS = 40, LENGTH = 32 << 20 };
	static const char *const flags[] = { "--limits.regions_per_uid=4", "--memory.reserve=1G",
					     NULL };
	static struct raw        r;
	static struct raw_region regions[NR];
	struct raw_region_want   want = { .length = LENGTH, .flags = MMB_REGION_POPULATE };

	begin(flags);
	open_session(&r);
	for (int i = 0; i < NR + TURNS; i++) {
		struct raw_region *region = &regions[i % NR];

		if (i >= NR)
			EXPECT_EQ(raw_region_close(&r, region), 0);
		EXPECT_EQ(raw_region_open(&r, &want, region), 0);
	}
	for (int i = 0; i < NR; i++)
		EXPECT_EQ(raw_region_close(&r, &regions[i]), 0);
	raw_close(&r);
	end();
}

static void pools_in_turn(void)
{
	enum { SESSIONS = 4, EACH = 256, NR = SESSIONS * EACH, TURNS = 40 };
	static const char *const flags[] = { "--memory.reserve=1G", NULL };
	static struct raw        sessions[SESSIONS];
	static uint32_t          pools[NR];

	begin(flags);
	for (int i = 0; i < SESSIONS; i++)
		EXPECT_EQ(raw_session(&sessions[i], broker.socket, "pools"), 0);
	for (int i = 0; i < NR + TURNS; i++) {
		struct raw *r = &sessions[i % NR / EACH];

		r->pool = pools[i % NR];
		if (i >= NR)
			EXPECT_EQ(raw_pool_close(r), 0);
		EXPECT_EQ(raw_pool(r, NULL, 0), 0);
		if (i % NR < TURNS)
			EXPECT_EQ(raw_pages(r, 0, 0, 1, &(uint64_t){ 0 }), 1);
		pools[i % NR] = r->pool;
	}
	for (int i = 0; i < SESSIONS; i++)
		raw_close(&sessions[i]);
	end();
}

/* ---- out of descriptors ---- */

static double cpu_seconds(pid_t pid)
{
	char               path[40], text[512];
	unsigned long long user = 0, system = 0;
	FILE              *stat;
	const char        *after;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	stat = fopen(path, "re");
	if (!stat)
		return 0;
	if (fgets(text, sizeof(text), stat) && (after = strrchr(text, ')')) &&
	    sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
		   &system) != 2)
		user = system = 0;
	fclose(stat);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void out_of_descriptors(void)
{
	enum { MORE = 6, CONNECTS = 60 };
	static struct raw      sessions[CONNECTS], r;
	struct rlimit          old, few;
	double                 before;
	struct broker_counters now;

	begin(NULL);
	open_session(&r);
	EXPECT(fixture_read(&broker, &now));
	if (!now.fds)
		SKIP("the daemon's descriptors can't be counted by this user");
	EXPECT_EQ(prlimit(broker.pid, RLIMIT_NOFILE, NULL, &old), 0);
	few = old;
	few.rlim_cur = now.fds + MORE;
	EXPECT_EQ(prlimit(broker.pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (int i = 0; i < CONNECTS; i++)
		raw_connect(&sessions[i], broker.socket);
	before = cpu_seconds(broker.pid);
	/* A second in which it must not spin, and must serve who is there. */
	for (int i = 0; i < 100; i++) {
		EXPECT_EQ(raw_call(&r, MMB_METHOD_PING, NULL), 0);
		usleep(10000);
	}
	EXPECT(cpu_seconds(broker.pid) - before < 0.3);
	EXPECT_EQ(prlimit(broker.pid, RLIMIT_NOFILE, &old, NULL), 0);
	for (int i = 0; i < CONNECTS; i++)
		raw_close(&sessions[i]);
	open_session(&sessions[0]);
	raw_close(&sessions[0]);
	raw_close(&r);
	end();
}

/* ---- starting ---- */

static void two_daemons(void)
{
	struct daemon_exit second;

	begin(NULL);
	fixture_run_daemon((const char *const[]){ "--socket", broker.socket,
						  "--memory.reserve=64M", NULL }, &second);
	EXPECT(second.status > 0);
	EXPECT(strstr(second.output, broker.socket));
	EXPECT(strstr(second.output, "another daemon (process "));
	EXPECT(!strstr(second.output, "stock: ")); /* and has taken no reserve for that */
	/* Whoever looks at the configuration of a broker that runs hears nothing of it. */
	fixture_run_daemon((const char *const[]){ "--socket", broker.socket, "--check-config",
						  "--memory.reserve=64M", NULL }, &second);
	EXPECT_EQ(second.status, 0);
	EXPECT(!second.output[0]);
	EXPECT(fixture_alive(&broker));
	end();
}

static void connect_as_nobody(struct client_process *self, void *socket)
{
	static struct raw r;

	CLIENT_EXPECT_EQ(client_become_nobody(), 0);
	CLIENT_EXPECT_EQ(raw_connect(&r, socket), -EACCES);
}

static void no_permission(void)
{
	static const char *const flags[] = { "--socket.mode=0600", NULL };

	if (getuid())
		SKIP("two users are needed, and becoming another one needs root");
	begin(flags);
	client_fork(&clients[0], connect_as_nobody, broker.socket);
	EXPECT_EQ(client_wait(&clients[0]), 0);
	end();
}

/* What stands in the way of the socket. */
static void path_taken(void)
{
	char               path[100];
	struct daemon_exit out;
	int                fd;

	begin(NULL);
	snprintf(path, sizeof(path), "%s/taken", broker.folder);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	EXPECT(fd >= 0);
	close(fd);
	fixture_run_daemon((const char *const[]){ "--socket", path, "--memory.reserve=64M", NULL },
			   &out);
	EXPECT(out.status > 0);
	EXPECT(strstr(out.output, path));
	EXPECT_EQ(access(path, F_OK), 0);
	unlink(path);
	end();
}

/* The socket of a daemon that was killed is in nobody's way. */
static void leftover_socket(void)
{
	begin(NULL);
	EXPECT_EQ(kill(broker.pid, SIGKILL), 0);
	EXPECT_EQ(waitpid(broker.pid, NULL, 0), broker.pid);
	broker.pid = 0;
	EXPECT_EQ(access(broker.socket, F_OK), 0);
	fixture_restart(&broker, NULL);
	end();
}

struct mistake {
	const char *flags[3];
	int         status; /* 0: any but success */
	const char *says;
};

static const struct mistake mistakes[] = {
	{ { "--no.such_key=1" }, 0, "no.such_key" },
	{ { "--nonsense" }, EX_USAGE, "nonsense" },
	{ { "--memory.reserve" }, 0, "memory.reserve" },
	{ { "--memory.reserve=" }, 0, "memory.reserve" },
	{ { "--memory.reserve=lots" }, 0, "memory.reserve" },
	{ { "--memory.reserve=-1" }, 0, "memory.reserve" },
	{ { "--memory.reserve=99999999999999999999" }, 0, "memory.reserve" },
	{ { "--memory.reserve=101%" }, 0, "memory.reserve" },
	{ { "--memory.reserve=64Q" }, 0, "memory.reserve" },
	{ { "--memory.reserve=16T" }, 0, "memory.reserve" },
	{ { "--memory.reserve=1M" }, 0, "memory.reserve gives node 0" },
	{ { "--memory.reserve=0" }, 0, "memory.reserve gives node 0" },
	{ { "--memory.reserve=0%" }, 0, "memory.reserve gives node 0" },
	{ { "--memory.reserve=99T" }, 0, "memory.reserve wants" },
	{ { "--memory.reserve=99T", "--memory.reserve_mode=hold" }, 0, "memory.reserve wants" },
	{ { "--memory.reserve_huge=1M" }, 0, "memory.reserve_huge gives node 0" },
	{ { "--memory.reserve_huge=8T" }, 0, "memory.reserve_huge" },
	{ { "--memory.reserve_mode=maybe" }, 0, "memory.reserve_mode" },
	{ { "--memory.fault_deadline=1h" }, 0, "memory.fault_deadline" },
	{ { "--socket.mode=0999" }, 0, "socket.mode" },
	{ { "--socket.mode=0440" }, 0, "socket.mode 0440 lets nobody connect" },
	{ { "--socket.group=nobody-has-this-group" }, 0, "socket.group" },
	{ { "--log.level=loud" }, 0, "log.level" },
	{ { "--limits.sessions=0" }, 0, "limits.sessions" },
	{ { "--limits.sessions=1000000000000" }, 0, "limits.sessions" },
	{ { "--control.workers=two" }, 0, "control.workers" },
	{ { "--config", "/nonexistent/mmbrokerd.conf" }, 0, "/nonexistent/mmbrokerd.conf" },
	{ { "--socket", "/nonexistent/folder/of/a/socket" }, 0, "/nonexistent/folder" },
	{ { "--socket", "/dev/null" }, 0, "/dev/null exists and is not a socket" },
	{ { "--socket", "/dev/null/socket" }, 0, "/dev/null" },
};

/* What a start says --check-config says, too. */
static void expect_mistake(const struct mistake *m, const char *path, const char *more)
{
	const char        *flags[8] = { "--socket", path };
	struct daemon_exit out;
	unsigned int       nr = 2;

	for (size_t i = 0; i < sizeof(m->flags) / sizeof(m->flags[0]) && m->flags[i]; i++)
		flags[nr++] = m->flags[i];
	flags[nr] = more;
	fixture_run_daemon(flags, &out);
	if (out.status <= 0 || (m->status && out.status != m->status) ||
	    !strstr(out.output, m->says))
		printf("  %s %s %s: status %d, output: %s\n", m->flags[0],
		       m->flags[1] ? m->flags[1] : "", more ? more : "", out.status, out.output);
	EXPECT(out.status >= EX__BASE && out.status <= EX__MAX);
	EXPECT(!m->status || out.status == m->status);
	EXPECT(strstr(out.output, m->says));
	EXPECT(access(path, F_OK));
}

static void wrong_flags(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/mmb-limits-%d.sock", getpid());
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		expect_mistake(&mistakes[i], path, NULL);
		expect_mistake(&mistakes[i], path, "--check-config");
	}
}

static void socket_path_too_long(void)
{
	char               path[200] = "/tmp/";
	struct daemon_exit out;

	memset(path + 5, 'x', sizeof(path) - 6);
	fixture_run_daemon((const char *const[]){ "--socket", path, "--memory.reserve=64M", NULL },
			   &out);
	EXPECT(out.status >= EX__BASE && out.status <= EX__MAX);
	EXPECT(strstr(out.output, "socket.path"));
}

/* A mistake in a file is told with file and line. */
static void wrong_file(void)
{
	static const char  text[] = "[memory]\nreserve = 64M\nreserve_mode = hodl\n";
	char               path[] = "/tmp/mmb-limits-XXXXXX", place[64];
	struct daemon_exit out;
	int                fd = mkstemp(path);

	EXPECT(fd >= 0);
	EXPECT(write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
	close(fd);
	fixture_run_daemon((const char *const[]){ "--config", path, "--check-config", NULL }, &out);
	unlink(path);
	snprintf(place, sizeof(place), "%s:3", path);
	EXPECT(out.status >= EX__BASE && out.status <= EX__MAX);
	EXPECT(strstr(out.output, place));
	EXPECT(strstr(out.output, "account"));
	EXPECT(strstr(out.output, "hold"));
}

/* ---- stopping ---- */

/* Requests and faults without end; after the daemon's: errors and SIGBUS, no hang and no zeros. */
static void work_until_the_end(struct client_process *self, void *socket)
{
	enum { PAGES = 4096 };
	static struct raw r;
	struct raw_region region;
	char              value;
	int               error = 0;

	CLIENT_EXPECT_EQ(raw_session(&r, socket, "worker"), 0);
	CLIENT_EXPECT_EQ(raw_pool(&r, NULL, 0), 0);
	CLIENT_EXPECT_EQ(raw_region(&r, PAGES * PAGE, &region), 0);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 42), 0);
	CLIENT_EXPECT(client_tell_step(self, 'w'));
	while (!error) {
		for (int i = 1; i < 64; i++)
			if (raw_write_byte(region.at + i * PAGE, 1))
				break;
		error = raw_advise(&r, &region, PAGE, 63 * PAGE, MMB_ADVISE_DONTNEED);
	}
	CLIENT_EXPECT(error == -ECONNRESET || error == -EPIPE || error == -ESHUTDOWN ||
		      error == -ENOTCONN);
	CLIENT_EXPECT(client_hear_step(self, 'g'));
	/* The daemon is gone. A page that was there may say what it said; one that was never there
	 * must not read as zero, nor may it hang. */
	if (!raw_read_byte(region.at, &value))
		CLIENT_EXPECT(value == 42);
	CLIENT_EXPECT_EQ(raw_read_byte(region.at + 2000 * PAGE, &value), -EFAULT);
}

static void stop_with_clients(int signal_number)
{
	enum { WORKERS = 4 };
	int status = -1;

	begin(NULL);
	for (int i = 0; i < WORKERS; i++)
		client_fork(&clients[i], work_until_the_end, broker.socket);
	for (int i = 0; i < WORKERS; i++)
		EXPECT(client_hear_step(&clients[i], 'w'));
	EXPECT_EQ(kill(broker.pid, signal_number), 0);
	for (int i = 0; i < 1000 && waitpid(broker.pid, &status, WNOHANG) != broker.pid; i++)
		usleep(10000);
	EXPECT_EQ(status, 0);
	broker.pid = 0;
	for (int i = 0; i < WORKERS; i++)
		EXPECT(client_tell_step(&clients[i], 'g'));
	for (int i = 0; i < WORKERS; i++)
		EXPECT_EQ(client_wait(&clients[i]), 0);
	EXPECT(access(broker.socket, F_OK));
	fixture_cleanup(&broker);
}

static void interrupted(void)
{
	stop_with_clients(SIGINT);
}

static void terminated(void)
{
	stop_with_clients(SIGTERM);
}

static void stop_is_told(void)
{
	static struct raw   r;
	struct wire_message m;
	struct wire_packet  packet;

	begin(NULL);
	EXPECT_EQ(raw_session(&r, broker.socket, "told"), 0);
	raw_close(broker.control);
	EXPECT_EQ(kill(broker.pid, SIGTERM), 0);
	m = (struct wire_message){ .bytes = r.bytes, .capacity = sizeof(r.bytes) };
	EXPECT(wire_recv(r.upcall, &m, 0) > 0);
	EXPECT_EQ(wire_decode(m.bytes, m.length, &packet), 0);
	EXPECT_EQ(packet.method, MMB_UPCALL_GOODBYE);
	EXPECT(raw_ends(&r));
	raw_close(&r);
	EXPECT_EQ(waitpid(broker.pid, NULL, 0), broker.pid);
	broker.pid = 0;
	fixture_cleanup(&broker);
}

/* A client that is stopped, or floods, doesn't keep the daemon from ending. */
static void stop_beside_a_stopped_client(struct client_process *self, void *socket)
{
	static struct raw r;

	CLIENT_EXPECT_EQ(raw_session(&r, socket, "stopped"), 0);
	CLIENT_EXPECT_EQ(fcntl(r.sock, F_SETFL, O_NONBLOCK), 0);
	while (!raw_request(&r, MMB_METHOD_STATUS, NULL))
		continue;
	CLIENT_EXPECT(client_tell_step(self, 's'));
	raise(SIGSTOP);
}

static void stop_despite_stopped(void)
{
	begin(NULL);
	client_fork(&clients[0], stop_beside_a_stopped_client, broker.socket);
	EXPECT(client_hear_step(&clients[0], 's'));
	fixture_stop(&broker);
	client_signal(&clients[0], SIGKILL);
}

static const struct test_case cases[] = {
	{ "hundreds of sessions and thousands of regions live at once", many_sessions_and_regions },
	{ "sessions of one user beyond the limit are refused with a sentence", sessions_per_uid },
	{ "sessions in all beyond the limit are refused with a sentence", sessions_in_all },
	{ "regions of one session beyond the limit are refused with a sentence",
	  regions_per_session },
	{ "regions of one user beyond the limit are refused with a sentence", regions_per_uid },
	{ "at the limit a region that has just been closed makes room for the next one",
	  regions_in_turn },
	{ "at the limit a pool that has just been closed makes room for the next one",
	  pools_in_turn },
	{ "without descriptors those that are there are served, and it recovers",
	  out_of_descriptors },
	{ "a second daemon on a socket is refused", two_daemons },
	{ "the socket's mode keeps others out", no_permission },
	{ "a file in the socket's place is left alone", path_taken },
	{ "the socket of a killed daemon is in nobody's way", leftover_socket },
	{ "each wrong flag is told, with an exit status of sysexits.h", wrong_flags },
	{ "a socket path that is too long is told", socket_path_too_long },
	{ "a wrong line of the file is told with file and line", wrong_file },
	{ "Ctrl-C with clients at work: errors and SIGBUS, no hang, no zeros", interrupted },
	{ "SIGTERM with clients at work: errors and SIGBUS, no hang, no zeros", terminated },
	{ "clients are told of the end", stop_is_told },
	{ "a stopped client doesn't keep the daemon from ending", stop_despite_stopped },
};
TEST_MAIN(cases)
