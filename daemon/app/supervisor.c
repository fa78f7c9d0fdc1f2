/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor - one loop over the child's socket and the signals
 *
 * Locking     one thread.
 */
#include "app/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/fdstore.h"
#include "base/log.h"
#include "base/types.h"
#include "os/keep.h"
#include "os/os.h"
#include "os/process.h"

enum {
	TRIES = 10, /* children in a row that die before they serve */
	PAUSE_MS = 10, /* before the second of them; doubled for each */
	PAUSE_DOUBLED_MAX = 9, /* 5 s */
	DEATHS_FAST = 10, /* of daemons that served, within so many seconds: then the host gets */
	DEATHS_FAST_S = 60,
	LOOP_MS = 640, /* so much between one and the next */
	RESTART_STATUS = EX_TEMPFAIL, /* of a child that hands over to the next */
	WATCHDOG_MS = 10000, /* unless $WATCHDOG_USEC says otherwise */
	LOOKS_PER_PERIOD = 4,
	SILENT_LOOKS_MAX = LOOKS_PER_PERIOD + 1, /* one more: a look may come just before it */
	START_MS = 15 * 60 * 1000, /* taking a large reserve clears it first */
};

static struct {
	char program[PATH_MAX];
	char **argv;
	int kept[KEEP_KEYS]; /* by key: descriptor + 1 */
	int sock;            /* to the child; -1: none */
	int signals;
	pid_t child;   /* 0: none */
	uint64_t noticed_ns; /* the last one's end */
	bool ready;    /* this child serves */
	bool alive;    /* it has said so since the last look */
	bool give_back; /* the program that is kept runs, and not the one of that name */
	bool was_ready; /* one of them did */
	bool ending;   /* a signal has asked for the end */
	unsigned int tries;
	uint64_t deaths_ns[DEATHS_FAST]; /* the last ones, in a ring */
	unsigned int nr_deaths;
	bool in_loop;  /* they come so fast */
	uint64_t look_ms;    /* between looks at the child; 0: it isn't watched */
	uint64_t next_look_ms;
	uint64_t silent;     /* looks in a row that found nothing said */
} s = { .sock = -1 };

static sigset_t wanted_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	return set;
}

/* Whoever watches this process sets WATCHDOG_USEC, or 0: a debugger. It is for the child alone. */
static void read_watchdog(void)
{
	const char *given = getenv("WATCHDOG_USEC");
	uint64_t ms = given ? strtoull(given, NULL, 10) / 1000 : WATCHDOG_MS;
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)ms * 1000);
	unsetenv("WATCHDOG_PID");
	s.look_ms = ms / LOOKS_PER_PERIOD;
	if (!ms || setenv("WATCHDOG_USEC", text, 1)) {
		unsetenv("WATCHDOG_USEC");
		s.look_ms = 0;
	}
}

static int prepare(int argc, char **argv)
{
	sigset_t set = wanted_signals();
	ssize_t nr = readlink("/proc/self/exe", s.program, sizeof(s.program) - 1);
	int at = 0;

	if (nr <= 0)
		return -errno;
	s.argv = calloc((size_t)argc + 1, sizeof(char *));
	if (!s.argv)
		return -ENOMEM;
	for (int i = 0; i < argc; i++)
		if (i == 0 || strcmp(argv[i], "--supervise") != 0)
			s.argv[at++] = argv[i];
	process_raise_limit(RLIMIT_NOFILE);
	prctl(PR_SET_DUMPABLE, 0);
	read_watchdog();
	sigprocmask(SIG_BLOCK, &set, NULL);
	s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s.signals < 0 ? -errno : 0;
}

/* ---- what is kept ---- */

static void drop(uint32_t key)
{
	if (key >= KEEP_KEYS || !s.kept[key])
		return;
	close(s.kept[key] - 1);
	s.kept[key] = 0;
}

static void keep(uint32_t key, int fd)
{
	if (key >= KEEP_KEYS) {
		close(fd);
		return;
	}
	drop(key);
	s.kept[key] = fd + 1;
}

/* False: nothing is left in the socket. */
static bool take_message(void)
{
	struct fdstore_message m;
	int fd;

	if (fdstore_receive(s.sock, &m, &fd) != 1)
		return false;
	if (m.op == FDSTORE_KEEP) {
		keep(m.key, fd);
	} else if (m.op == FDSTORE_DROP) {
		drop(m.key);
	} else if (m.op == FDSTORE_BARRIER) {
		close(fd);
	} else if (m.op == FDSTORE_READY) {
		s.ready = s.was_ready = true;
		s.tries = 0;
	}
	s.alive |= m.op == FDSTORE_READY || m.op == FDSTORE_ALIVE;
	return true;
}

/* ---- the child ---- */

static int flush_entries(int table, const struct fdstore_entry *entries, size_t nr)
{
	size_t bytes = nr * sizeof(*entries);

	return write(table, entries, bytes) == (ssize_t)bytes ? 0 : -EIO;
}

/* In the child, which has inherited all of them: that can't fail for what others have sent and not
 * taken, and waits for nobody. Returns the file that says which is which. */
static int write_table(void)
{
	struct fdstore_entry entries[256];
	int table = memfd_create("kept", 0);
	size_t nr = 0;

	for (uint32_t key = 0; key < KEEP_KEYS && table >= 0; key++) {
		if (!s.kept[key])
			continue;
		entries[nr++] = (struct fdstore_entry){ key, s.kept[key] - 1 };
		if (fcntl(s.kept[key] - 1, F_SETFD, 0))
			return -errno;
		if (nr == sizeof(entries) / sizeof(entries[0])) {
			if (flush_entries(table, entries, nr))
				return -EIO;
			nr = 0;
		}
	}
	return table < 0 ? -errno : flush_entries(table, entries, nr) ? -EIO : table;
}

static void run_program(void)
{
	if (!s.give_back)
		execv(s.program, s.argv);
	else if (!setenv(FDSTORE_GIVEN_BACK, "1", 1))
		fexecve(s.kept[KEEP_PROGRAM] - 1, s.argv, environ);
}

static void become_child(int sock, pid_t parent)
{
	char number[16], table[16], noticed[24];
	sigset_t none;
	int kept;

	/* Without its supervisor it ends as planned: nobody would restart it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EX_OK);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(number, sizeof(number), "%d", sock);
	snprintf(noticed, sizeof(noticed), "%llu", (unsigned long long)s.noticed_ns);
	if (s.noticed_ns && setenv(FDSTORE_NOTICED, noticed, 1))
		_exit(EX_OSERR);
	kept = write_table();
	snprintf(table, sizeof(table), "%d", kept);
	if (kept >= 0 && !setenv(FDSTORE_TABLE, table, 1) &&
	    !setenv(FDSTORE_VARIABLE, number, 1) && fcntl(sock, F_SETFD, 0) == 0)
		run_program();
	_exit(EX_OSERR);
}

static int fork_child(void)
{
	int pair[2];
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	s.ready = false;
	s.child = fork();
	if (s.child == 0)
		become_child(pair[1], parent);
	close(pair[1]);
	if (s.child < 0) {
		s.child = 0;
		close(pair[0]);
		return -errno;
	}
	s.sock = pair[0];
	s.alive = false;
	s.silent = 0;
	s.next_look_ms = os->now_ns() / 1000000 + s.look_ms;
	return 0;
}

/* Milliseconds before the next child. */
static int pause_ms(void)
{
	if (!s.tries)
		return s.in_loop ? LOOP_MS : 0;
	return PAUSE_MS << min_t(unsigned int, s.tries, PAUSE_DOUBLED_MAX);
}

static void note_try(void)
{
	s.tries++;
	log_emit(LOG_WARNING, "start_again", "clients wait; another try in %d ms", pause_ms());
}

/* W4, too: the host may have no descriptor or process to spare at the moment. */
static int start_child(void)
{
	int r = fork_child();

	if (!r || !s.was_ready)
		return r;
	log_emit(LOG_ERR, "not_started", "the next daemon can't be started: %s", strerror(-r));
	note_try();
	return 0;
}

/* Of one that served (W5). */
static void note_death(void)
{
	uint64_t *oldest = &s.deaths_ns[s.nr_deaths++ % DEATHS_FAST];
	uint64_t before_ns = *oldest;

	*oldest = s.noticed_ns;
	s.in_loop = s.nr_deaths > DEATHS_FAST &&
		    s.noticed_ns - before_ns < DEATHS_FAST_S * 1000000000ull;
	if (s.in_loop)
		log_emit_limited(LOG_ERR, "death_loop",
				 "%d daemons died within a minute; the next one starts in %d ms",
				 DEATHS_FAST + 1, LOOP_MS);
}

/* What the child's end means: the supervisor's exit status, or -1: start another. */
static int judge(int status)
{
	bool exited = WIFEXITED(status);
	int code = exited ? WEXITSTATUS(status) : EX_SOFTWARE;

	if (s.ending && !exited && WTERMSIG(status) != SIGKILL)
		return EX_OK; /* the signal that asks for the end came before it was blocked */
	if (s.ending || (exited && (code == EX_OK || !s.was_ready)))
		return code == RESTART_STATUS ? EX_OK : code;
	if (exited && code == FDSTORE_REFUSED && s.kept[KEEP_PROGRAM] && !s.give_back) {
		s.give_back = true;
		return -1;
	}
	if (exited && code == RESTART_STATUS) {
		s.give_back = false;
		log_emit(LOG_NOTICE, "handed_over", "the daemon hands over to another one");
		return -1;
	}
	log_emit(LOG_ERR, "daemon_died", "the daemon %s %d%s",
		 exited ? "ended with status" : "was ended by signal",
		 exited ? code : WTERMSIG(status),
		 s.ready ? "; starting another" : " before it served");
	/* SIGKILL comes from outside and says nothing about the daemon; it only slows us down. */
	if (!s.ready && s.was_ready && !exited && WTERMSIG(status) == SIGKILL) {
		s.tries += !s.tries;
		return -1;
	}
	s.in_loop = false;
	if (s.ready && (exited || WTERMSIG(status) != SIGKILL))
		note_death();
	/* W4 */
	if (!s.ready && exited) {
		note_try();
		return -1;
	}
	if (!s.ready && (!s.was_ready || ++s.tries >= TRIES)) {
		log_emit(LOG_ERR, "given_up", "it doesn't start; giving up");
		return code;
	}
	return -1;
}

static int end_child(int status)
{
	s.noticed_ns = os->now_ns();
	while (take_message()) /* W1 */
		;
	close(s.sock);
	s.sock = -1;
	s.child = 0;
	return judge(status);
}

/* Also those that closers had kept. */
static int reap(void)
{
	int status, of_child = 0;
	bool ended = false;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != s.child)
			continue;
		ended = true;
		of_child = status;
	}
	return ended ? end_child(of_child) : -1;
}

/* ---- what keeps a process from being gone ---- */

static bool is_closer(pid_t pid, long tid)
{
	char path[64], name[32] = "";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%d/task/%ld/comm", pid, tid);
	comm = fopen(path, "re");
	if (comm && !fgets(name, sizeof(name), comm))
		name[0] = '\0';
	if (comm)
		fclose(comm);
	return !strcmp(name, "mmb-closer\n") || !strcmp(name, "mmb-lastclose\n");
}

/* W2. Threads that a client's file system, or its map, doesn't let end. */
static bool only_closers_are_left(pid_t pid)
{
	char path[32];
	struct dirent *entry;
	unsigned int nr = 0;
	bool others = false;
	DIR *tasks;

	if (thread_state(pid, pid) != 'Z')
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && !others && (entry = readdir(tasks))) {
		long tid = strtol(entry->d_name, NULL, 10);

		if (tid <= 0 || tid == pid)
			continue;
		others = !is_closer(pid, tid);
		nr++;
	}
	if (tasks)
		closedir(tasks);
	return nr && !others;
}

/* Nobody can wait for it yet. */
static int leave_to_closers(void)
{
	log_emit(LOG_ERR, "daemon_left",
		 "process %d has ended, but for threads that close what clients have left, "
		 "which a client holds up: %s", s.child,
		 s.ending ? "nobody waits for them" : "another daemon goes on");
	return end_child(process_exit_status(s.child));
}

/* ---- the loop ---- */

static int take_signals(void)
{
	struct signalfd_siginfo info;
	int code = -1;

	while (code < 0 && read(s.signals, &info, sizeof(info)) == sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (number == SIGCHLD) {
			code = reap();
			continue;
		}
		s.ending |= number == SIGTERM || number == SIGINT;
		if (s.child)
			kill(s.child, number);
		else if (s.ending)
			code = EX_OK;
	}
	return code;
}

/* Looks are counted, and not time: this process may have been stopped as well. */
static int look(void)
{
	uint64_t most = s.ready ? SILENT_LOOKS_MAX : START_MS / s.look_ms;

	if (os->now_ns() / 1000000 < s.next_look_ms)
		return -1;
	s.next_look_ms = os->now_ns() / 1000000 + s.look_ms;
	s.silent = s.alive ? 0 : s.silent + 1;
	s.alive = false;
	if (s.silent && only_closers_are_left(s.child))
		return leave_to_closers();
	if (s.silent < most)
		return -1;
	log_emit(LOG_ERR, "daemon_hung", "the daemon hasn't said for %llu ms that it is alive",
		 (unsigned long long)(s.silent * s.look_ms));
	s.silent = 0;
	kill(s.child, SIGKILL);
	return -1;
}

static int wait_ms(void)
{
	uint64_t now = os->now_ns() / 1000000;

	if (!s.child)
		return pause_ms();
	if (!s.look_ms)
		return -1;
	return now < s.next_look_ms ? (int)(s.next_look_ms - now) : 0;
}

static int wait_for_news(void)
{
	struct pollfd p[] = { { .fd = s.signals, .events = POLLIN },
			      { .fd = s.sock, .events = POLLIN } };
	int nr = poll(p, s.child ? 2 : 1, wait_ms()), code = -1;

	if (s.child && nr > 0 && p[1].revents && !take_message())
		/* Closed: it is about to end, and the signal will say so. */
		poll(p, 1, PAUSE_MS);
	if (s.child && s.look_ms)
		code = look();
	return code < 0 ? take_signals() : code;
}

int supervisor_run(int argc, char **argv)
{
	int r = prepare(argc, argv), code = -1;

	while (!r && code < 0) {
		bool rests = !s.child && pause_ms();

		if (!s.child && !rests)
			r = start_child();
		if (!r)
			code = wait_for_news();
		if (!r && code < 0 && rests)
			r = start_child();
	}
	if (r)
		log_emit(LOG_ERR, "supervisor_failed", "the daemon can't be supervised: %s",
			 strerror(-r));
	free(s.argv);
	return r ? EX_OSERR : code;
}
