/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_log - what a reader of stderr sees
 *
 * Each case runs in a child of its own, because the kind of stderr is looked at once a process.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/test.h"

static char said[65536];

static void collect(int fd)
{
	size_t  length = 0;
	ssize_t got;

	while ((got = read(fd, said + length, sizeof(said) - 1 - length)) > 0)
		length += (size_t)got;
	said[length] = '\0';
	close(fd);
}

/* What act wrote to stderr, which is fds[1]. Returns the child's exit status. */
static int capture(void (*act)(void), int fds[2])
{
	pid_t child = fork();
	int   status;

	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		act();
		_exit(0);
	}
	close(fds[1]);
	collect(fds[0]);
	waitpid(child, &status, 0);
	return status;
}

static void capture_pipe(void (*act)(void))
{
	int fds[2];

	EXPECT_EQ(pipe(fds), 0);
	EXPECT_EQ(capture(act, fds), 0);
}

static void say_levels(void)
{
	log_emit(LOG_WARNING, "thing_happened", "number %d", 7);
	log_emit(LOG_DEBUG, "hidden", "not at this level");
	log_set_level(LOG_DEBUG);
	log_emit(LOG_DEBUG, "shown", "now");
	log_set_level(LOG_ERR);
	log_emit(LOG_WARNING, "hidden", "no more");
	log_emit(LOG_CRIT, "crash", "still");
}

static void levels_choose(void)
{
	unsetenv("JOURNAL_STREAM");
	capture_pipe(say_levels);
	EXPECT(!strcmp(said, "warning: thing_happened: number 7\ndebug: shown: now\n"
			     "critical: crash: still\n"));
}

static void say_as_journal(void)
{
	struct stat st;
	char        stream[64];

	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof(stream), "%lu:%lu", (unsigned long)st.st_dev,
		 (unsigned long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_emit(LOG_ERR, "bad", "thing");
}

/* Without a journal behind the native socket, stderr itself has to do. */
static void journal_gets_numbers(void)
{
	int fds[2];

	setenv("MMB_JOURNAL_SOCKET", "/nonexistent/journal", 1);

	capture_pipe(say_as_journal);
	EXPECT(!strcmp(said, "<3>bad: thing\n"));
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	EXPECT_EQ(capture(say_as_journal, fds), 0);
	EXPECT(!strcmp(said, "<3>bad: thing\n"));
}

/* A journal's socket of our own, and one datagram of it in `said`. */
static int fake_journal(char folder[32])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int                sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(folder, "/tmp/mmb-log-XXXXXX");
	EXPECT(mkdtemp(folder));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
	EXPECT_EQ(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("MMB_JOURNAL_SOCKET", address.sun_path, 1);
	return sock;
}

static void fake_journal_end(int sock, const char *folder)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/socket", folder);
	unlink(path);
	rmdir(folder);
	close(sock);
	unsetenv("MMB_JOURNAL_SOCKET");
}

static bool next_datagram(int sock)
{
	ssize_t got = recv(sock, said, sizeof(said) - 1, MSG_DONTWAIT);

	said[got > 0 ? got : 0] = '\0';
	return got > 0;
}

static void say_about(void)
{
	struct log_subject about = { .session = 12, .pid = 345, .uid = 1000 };

	say_as_journal();
	log_emit_about(&about, LOG_NOTICE, "session_cut", "%s", "it\nlied");
}

static void journal_gets_fields(void)
{
	char folder[32];
	int  sock = fake_journal(folder), fds[2];

	EXPECT_EQ(pipe(fds), 0);
	EXPECT_EQ(capture(say_about, fds), 0);
	EXPECT(!strcmp(said, ""));
	EXPECT(next_datagram(sock));
	EXPECT(!strcmp(said, "PRIORITY=3\nSYSLOG_IDENTIFIER=mmbrokerd\nMMB_EVENT=bad\n"
			     "MESSAGE=bad: thing\n"));
	EXPECT(next_datagram(sock));
	EXPECT(strstr(said, "\nMMB_EVENT=session_cut\nMESSAGE_ID="));
	EXPECT(strstr(said, "\nMMB_SESSION=12\nMMB_CLIENT_PID=345\nMMB_CLIENT_UID=1000\n"
			    "MESSAGE=session_cut: it\\x0alied\n"));
	EXPECT(!next_datagram(sock));
	fake_journal_end(sock, folder);
}

static void say_much_as_journal(void)
{
	struct timespec start, end;

	say_as_journal();
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < 5000; i++)
		log_emit(LOG_ERR, "flood", "%0700d", i);
	clock_gettime(CLOCK_MONOTONIC, &end);
	_exit(end.tv_sec - start.tv_sec > 5 || !log_nr_lost());
}

/* Nobody reads while the child writes; then somebody does, and is told. */
static void full_journal_never_blocks(void)
{
	char         folder[32];
	unsigned int nr = 0;
	int          sock = fake_journal(folder), fds[2];

	EXPECT_EQ(pipe(fds), 0);
	EXPECT_EQ(capture(say_much_as_journal, fds), 0);
	while (next_datagram(sock))
		nr++;
	EXPECT(nr > 0 && nr < 5000);
	EXPECT(!strcmp(said, "") && nr < 5000);
	fake_journal_end(sock, folder);
}

static void say_to_full_disk(void)
{
	for (int i = 0; i < 100; i++)
		log_emit(LOG_ERR, "flood", "%d", i);
	_exit(log_nr_lost() != 100);
}

static void full_disk_is_survived(void)
{
	int fds[2], full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	EXPECT(full >= 0);
	EXPECT_EQ(pipe(fds), 0);
	close(fds[1]);
	fds[1] = full;
	EXPECT_EQ(capture(say_to_full_disk, fds), 0);
}

static void say_as_other_stream(void)
{
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_emit(LOG_ERR, "bad", "thing");
}

static void another_stream_gets_names(void)
{
	capture_pipe(say_as_other_stream);
	EXPECT(!strcmp(said, "error: bad: thing\n"));
}

static void say_hostile(void)
{
	char long_name[3000];

	log_emit(LOG_ERR, "name", "%s", "a\nerror: forged: \x1b[2J\xff");
	memset(long_name, '\n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	log_emit(LOG_ERR, "name", "%s", long_name);
}

static void bytes_are_escaped(void)
{
	char *second;

	unsetenv("JOURNAL_STREAM");
	capture_pipe(say_hostile);
	EXPECT(!strncmp(said, "error: name: a\\x0aerror: forged: \\x1b[2J\\xff\n", 45));
	second = strchr(said, '\n') + 1;
	EXPECT(strchr(second, '\n') == said + strlen(said) - 1);
	EXPECT(strlen(second) < 4096);
}

static void flood(void)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < 100; i++)
		log_emit(LOG_ERR, "flood", "%0700d", i);
	clock_gettime(CLOCK_MONOTONIC, &end);
	_exit(end.tv_sec - start.tv_sec > 3);
}

static void full_pipe_never_blocks(void)
{
	int   fds[2], status;
	pid_t child;

	EXPECT_EQ(pipe(fds), 0);
	EXPECT(fcntl(fds[0], F_SETPIPE_SZ, 4096) > 0);
	child = fork();
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		flood();
	}
	waitpid(child, &status, 0); /* nobody has read so far */
	EXPECT_EQ(status, 0);
	close(fds[1]);
	collect(fds[0]);
	EXPECT(strlen(said) > 0 && strlen(said) <= 4096);
}

/* As one that was stopped with ^S. */
static void unread_terminal_never_blocks(void)
{
	int   terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), end, status;
	pid_t child;

	EXPECT(terminal >= 0);
	EXPECT_EQ(grantpt(terminal), 0);
	EXPECT_EQ(unlockpt(terminal), 0);
	end = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
	EXPECT(end >= 0);
	child = fork();
	if (child == 0) {
		alarm(20);
		dup2(end, STDERR_FILENO);
		flood();
	}
	waitpid(child, &status, 0);
	EXPECT_EQ(status, 0);
	close(end);
	close(terminal);
}

static void say_limited(void)
{
	for (int i = 0; i < 50; i++)
		log_emit_limited(LOG_ERR, "often", "again");
}

static void repeated_lines_are_limited(void)
{
	unsigned int nr = 0;

	capture_pipe(say_limited);
	for (const char *c = said; *c; c++)
		nr += *c == '\n';
	EXPECT(nr >= 5 && nr <= 11); /* a second may begin meanwhile */
}

static void names_parse(void)
{
	enum log_level level = LOG_CRIT;

	EXPECT_EQ(log_level_parse("info", &level), 0);
	EXPECT_EQ(level, LOG_INFO);
	EXPECT_EQ(log_level_parse("loud", &level), -EINVAL);
	EXPECT_EQ(level, LOG_INFO);
	EXPECT(!strcmp(log_level_name(LOG_WARNING), "warning"));
	log_set_level(LOG_DEBUG);
	EXPECT_EQ(log_get_level(), LOG_DEBUG);
	log_set_level(LOG_INFO);
}

static const struct test_case cases[] = {
	{ "the level chooses which lines are written", levels_choose },
	{ "a journal's stderr gets <N> prefixes", journal_gets_numbers },
	{ "the journal itself gets an event's name, id and subject as fields",
	  journal_gets_fields },
	{ "a journal that doesn't read delays nobody, and what is lost is counted",
	  full_journal_never_blocks },
	{ "a full disk under stderr is survived, and what is lost is counted",
	  full_disk_is_survived },
	{ "a stderr that isn't the journal's gets level names", another_stream_gets_names },
	{ "control bytes and long sentences can't forge or mix lines", bytes_are_escaped },
	{ "a full pipe delays nobody", full_pipe_never_blocks },
	{ "a terminal that isn't read delays nobody", unread_terminal_never_blocks },
	{ "one call site writes few lines a second", repeated_lines_are_limited },
	{ "level names parse", names_parse },
};
TEST_MAIN(cases)
