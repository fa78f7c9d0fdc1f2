/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_fixture - starting, asking and stopping a private daemon
 *
 * Locking     none.
 */
#include "lib/broker_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/raw_client.h"
#include "lib/test.h"

enum { FLAGS_MAX = 40, START_SECONDS = 30, STOP_SECONDS = 20, BASELINE_SECONDS = 60 };

/* ---- the process ---- */

static const char *daemon_path(void)
{
	const char *path = getenv("MMB_BROKERD");

	if (!path || access(path, X_OK))
		SKIP("MMB_BROKERD doesn't name the daemon; run it by meson test");
	return path;
}

static void append_flags(const char **argv, unsigned int *nr, const char *const *flags)
{
	for (; flags && *flags && *nr < FLAGS_MAX; flags++)
		argv[(*nr)++] = *flags;
	argv[*nr] = NULL;
}

/* Its output goes to `out`. */
static pid_t spawn(const char *const *argv, int out)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(127);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static int make_folder(struct fixture *f)
{
	const char *parent = getenv("TMPDIR");

	snprintf(f->folder, sizeof(f->folder), "%.24s/mmb-test-XXXXXX", parent ? parent : "/tmp");
	if (!mkdtemp(f->folder) || chmod(f->folder, 0755))
		return -errno;
	snprintf(f->socket, sizeof(f->socket), "%s/mmbroker.sock", f->folder);
	snprintf(f->log, sizeof(f->log), "%s/log", f->folder);
	return 0;
}

/* A killed daemon leaves its socket, its lock file, or the socket that wasn't published yet. */
static void remove_folder(struct fixture *f)
{
	static const char *const suffixes[] = { "", ".lock", ".new" };
	char                     path[sizeof(f->socket) + 8];

	if (!f->folder[0])
		return;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", f->socket, suffixes[i]);
		unlink(path);
	}
	unlink(f->log);
	rmdir(f->folder);
	f->folder[0] = '\0';
}

bool fixture_alive(struct fixture *f)
{
	int status;

	if (!f->pid)
		return false;
	if (waitpid(f->pid, &status, WNOHANG) != f->pid)
		return true;
	printf("  the daemon ended: %s %d\n", WIFSIGNALED(status) ? "signal" : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	f->pid = 0;
	return false;
}

static bool control_connects(void *arg)
{
	struct fixture *f = arg;

	if (!fixture_alive(f))
		return true;
	if (raw_connect(f->control, f->socket))
		return false;
	if (!raw_hello_control(f->control))
		return true;
	raw_close(f->control);
	return false;
}

static bool has_flag(const char *const *flags, const char *flag)
{
	while (flags && *flags && strcmp(*flags, flag))
		flags++;
	return flags && *flags;
}

void fixture_restart(struct fixture *f, const char *const *flags)
{
	const char        *argv[FLAGS_MAX + 1] = { daemon_path(), "--socket", f->socket };
	const char *const  own[] = { "--socket.mode=0666", "--memory.reserve=256M",
				     "--memory.reserve_mode=account", NULL };
	unsigned int       nr = 3;
	int                log = open(f->log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	EXPECT(log >= 0);
	append_flags(argv, &nr, own);
	append_flags(argv, &nr, flags);
	f->supervised = has_flag(flags, "--supervise");
	raw_close(f->control);
	f->pid = spawn(argv, log);
	close(log);
	if (!test_wait(control_connects, f, START_SECONDS) || !f->pid) {
		fixture_show_log(f);
		fixture_cleanup(f);
		EXPECT(!"the daemon serves");
	}
}

void fixture_reconnect(struct fixture *f)
{
	raw_close(f->control);
	raw_init(f->control);
	EXPECT(test_wait(control_connects, f, START_SECONDS));
}

void fixture_start(struct fixture *f, const char *const *flags)
{
	memset(f, 0, sizeof(*f));
	EXPECT_EQ(make_folder(f), 0);
	f->control = calloc(1, sizeof(*f->control));
	EXPECT(f->control);
	raw_init(f->control);
	fixture_restart(f, flags);
}

/* Exit status or -signal; -ETIMEDOUT after a kill. */
static int reap(pid_t pid)
{
	siginfo_t info = { 0 };
	int       status;
	bool      ended = false;

	for (int i = 0; i < STOP_SECONDS * 1000 && !ended; i++) {
		ended = !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
			info.si_pid;
		if (!ended)
			usleep(1000);
	}
	if (!ended)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (!ended)
		return -ETIMEDOUT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void fixture_stop(struct fixture *f)
{
	int status = -ESRCH;

	raw_close(f->control);
	if (fixture_alive(f)) {
		kill(f->pid, SIGTERM);
		status = reap(f->pid);
	}
	f->pid = 0;
	if (status)
		fixture_show_log(f);
	fixture_cleanup(f);
	EXPECT_EQ(status, 0);
}

void fixture_cleanup(struct fixture *f)
{
	if (f->control)
		raw_close(f->control);
	if (f->pid) {
		kill(f->pid, SIGKILL);
		waitpid(f->pid, NULL, 0);
	}
	f->pid = 0;
	remove_folder(f);
	free(f->control);
	f->control = NULL;
}

void fixture_run_daemon(const char *const *flags, struct daemon_exit *out)
{
	const char  *argv[FLAGS_MAX + 1] = { daemon_path() };
	unsigned int nr = 1;
	FILE        *output = tmpfile();
	size_t       got;
	pid_t        pid;

	EXPECT(output);
	append_flags(argv, &nr, flags);
	pid = spawn(argv, fileno(output));
	out->status = reap(pid);
	rewind(output);
	got = fread(out->output, 1, sizeof(out->output) - 1, output);
	out->output[got] = '\0';
	fclose(output);
}

/* ---- its log ---- */

static char *read_log(const struct fixture *f, long from_end)
{
	FILE *log = fopen(f->log, "re");
	char *text = NULL;
	long  size = 0;

	if (!log)
		return NULL;
	if (!fseek(log, 0, SEEK_END))
		size = ftell(log);
	if (from_end && size > from_end && !fseek(log, -from_end, SEEK_END))
		size = from_end;
	else
		rewind(log);
	text = calloc(1, (size_t)size + 1);
	if (text && fread(text, 1, (size_t)size, log) != (size_t)size)
		text[0] = '\0';
	fclose(log);
	return text;
}

void fixture_show_log(const struct fixture *f)
{
	char *text = read_log(f, 4000);

	printf("  the end of the daemon's log:\n%s\n", text ? text : "(none)");
	free(text);
}

unsigned int fixture_log_count(const struct fixture *f, const char *text)
{
	char        *log = read_log(f, 0), *at = log;
	unsigned int nr = 0;

	while (at && (at = strstr(at, text))) {
		nr++;
		at += strlen(text);
	}
	free(log);
	return nr;
}

bool fixture_log_says(const struct fixture *f, const char *text)
{
	return fixture_log_count(f, text) > 0;
}

/* ---- its counters ---- */

/* A file of the smallest region that never had a page. */
static bool is_fresh_file(int folder, const char *name)
{
	struct stat st;

	return !fstatat(folder, name, &st, 0) && st.st_size == 2 << 20 && !st.st_blocks;
}

/* Fault logs, arenas and files of regions are made ahead, some time after others were taken; each
 * thread makes its ring when it swaps for the first time, and keeps it. */
static bool is_kept(int folder, const char *name)
{
	char target[64] = "";

	return readlinkat(folder, name, target, sizeof(target) - 1) > 0 &&
	       (strstr(target, "mmb-fault-log") || strstr(target, "[io_uring]") ||
		strstr(target, "-ahead-") ||
		(strstr(target, "mmb-region") && is_fresh_file(folder, name)));
}

static bool is_counted(int folder, const char *name)
{
	return !is_kept(folder, name);
}

/* What the daemon serves by (daemon/app/config_kept.c): kept last. */
static bool is_config(int folder, const char *name)
{
	char target[64] = "";

	return readlinkat(folder, name, target, sizeof(target) - 1) > 0 &&
	       strstr(target, "memfd:config");
}

static uint64_t count_fds(pid_t pid, bool (*counts)(int folder, const char *name))
{
	char           path[32];
	uint64_t       nr = 0;
	DIR           *folder;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	folder = opendir(path);
	if (!folder)
		return 0;
	while ((entry = readdir(folder)))
		nr += counts(dirfd(folder), entry->d_name);
	closedir(folder);
	return nr;
}

static bool read_status(struct raw *r, struct broker_counters *out)
{
	const Mmb__Wire__StatusReply *s;

	if (raw_call(r, MMB_METHOD_STATUS, NULL))
		return false;
	s = r->body;
	for (size_t i = 0; i < s->n_stocks; i++) {
		out->present += s->stocks[i]->present;
		out->committed += s->stocks[i]->committed;
	}
	out->present -= s->metadata;
	out->committed -= s->metadata;
	out->pools = s->pools;
	out->sessions = s->sessions;
	out->regions = s->regions;
	return true;
}

static bool read_pools(struct raw *r, struct broker_counters *out)
{
	Mmb__Wire__ListRequest request = MMB__WIRE__LIST_REQUEST__INIT;

	do {
		const Mmb__Wire__ListReply *reply;

		if (raw_call(r, MMB_METHOD_POOLS, &request))
			return false;
		reply = r->body;
		for (size_t i = 0; i < reply->n_pools; i++) {
			out->pool_committed += reply->pools[i]->stat->committed;
			out->pool_resident += reply->pools[i]->stat->resident;
			out->pool_arena += reply->pools[i]->stat->arena;
		}
		request.after = reply->next;
	} while (request.after);
	return true;
}

bool fixture_read(struct fixture *f, struct broker_counters *out)
{
	*out = (struct broker_counters){ .fds = count_fds(f->pid, is_counted) };
	return read_status(f->control, out) && read_pools(f->control, out);
}

static bool same(const struct broker_counters *a, const struct broker_counters *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* A supervisor takes what the daemon has it keep when it comes to that. Who may not look counts
 * none. */
static bool supervisor_keeps(const struct fixture *f)
{
	return count_fds(f->pid, is_config) || !count_fds(f->pid, is_counted);
}

/* Twice the same, 50 ms apart. */
static bool stands_still(void *arg)
{
	struct fixture        *f = arg;
	struct broker_counters later;

	if ((f->supervised && !supervisor_keeps(f)) || !fixture_read(f, &f->baseline))
		return false;
	usleep(50000);
	return fixture_read(f, &later) && same(&f->baseline, &later);
}

/* The end of a session has the broker fill up what it keeps ready for the next ones. */
static void fill_up(struct fixture *f)
{
	struct raw *r = calloc(1, sizeof(*r));

	EXPECT(r);
	raw_init(r);
	EXPECT_EQ(raw_connect(r, f->socket), 0);
	EXPECT_EQ(raw_hello(r, "baseline"), 0);
	raw_close(r);
	free(r);
}

void fixture_baseline(struct fixture *f)
{
	fill_up(f);
	EXPECT(test_wait(stands_still, f, BASELINE_SECONDS));
}

static bool back_at_baseline(void *arg)
{
	struct fixture        *f = arg;
	struct broker_counters now;

	if (!fixture_read(f, &now))
		return false;
	/* Some may have been open for something else when the baseline was taken. */
	now.fds = now.fds < f->baseline.fds ? f->baseline.fds : now.fds;
	return same(&now, &f->baseline);
}

static void show_counters(const char *when, const struct broker_counters *c)
{
	printf("  %s: present %llu, committed %llu, pools: committed %llu, resident %llu, arena "
	       "%llu; %llu pools, %llu sessions, %llu regions, %llu descriptors\n", when,
	       (unsigned long long)c->present, (unsigned long long)c->committed,
	       (unsigned long long)c->pool_committed, (unsigned long long)c->pool_resident,
	       (unsigned long long)c->pool_arena, (unsigned long long)c->pools,
	       (unsigned long long)c->sessions, (unsigned long long)c->regions,
	       (unsigned long long)c->fds);
}

void fixture_expect_baseline(struct fixture *f)
{
	struct broker_counters now = { 0 };
	bool                   back = test_wait(back_at_baseline, f, BASELINE_SECONDS);

	if (!back) {
		fixture_read(f, &now);
		show_counters("before", &f->baseline);
		show_counters("now   ", &now);
		fixture_show_log(f);
	}
	EXPECT(back);
	fixture_expect_verified(f);
}

void fixture_expect_verified(struct fixture *f)
{
	const Mmb__Wire__VerifyReply *reply;

	EXPECT_EQ(raw_call(f->control, MMB_METHOD_VERIFY, NULL), 0);
	reply = f->control->body;
	for (size_t i = 0; i < reply->n_reports; i++)
		printf("  verify: %s\n", reply->reports[i]);
	EXPECT(reply->checked > 0);
	EXPECT_EQ(reply->differences, 0);
}
