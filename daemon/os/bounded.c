/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounded - a process with this one's memory, and an alarm
 *
 * Why SIGALRM A signal whose default is to end the process ends waits that SIGKILL does.
 */
#include "os/bounded.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024, OPEN_MAX = 4, NAME_BYTES = 64, LINK_BYTES = 128 };

/* l: lock   w: the work's, while it runs */
static struct {
	pthread_mutex_t lock;
	void (*work)(void *argument); /* (l) */
	void *argument;     /* (l) */
	char *stack;        /* (l) the work's; NULL: none yet */
	unsigned int ms;    /* (l) */
	pid_t parent;       /* (l) */
	volatile int open[OPEN_MAX];   /* (w) descriptor + 1 */
	char name[OPEN_MAX][NAME_BYTES]; /* (w) their files' */
	const char *volatile changing; /* (w) one of these: a call may have opened or closed it */
	bool done;          /* (w) */
} run = { .lock = PTHREAD_MUTEX_INITIALIZER };

void bounded_prolong(void)
{
	const struct itimerval after = { .it_value = { .tv_sec = run.ms / 1000,
						       .tv_usec = run.ms % 1000 * 1000 } };

	setitimer(ITIMER_REAL, &after, NULL);
}

/* From here to end_change() its number tells nothing: it may be another thread's by now. */
static void begin_change(const char *name)
{
	atomic_signal_fence(memory_order_seq_cst); /* its letters come first */
	run.changing = name;
}

static void end_change(void)
{
	run.changing = NULL;
}

int bounded_open(const char *path)
{
	int i = 0;

	while (i < OPEN_MAX && run.open[i])
		i++;
	if (i == OPEN_MAX)
		return -EMFILE;
	if (strlen(path) >= NAME_BYTES)
		return -ENAMETOOLONG;
	strcpy(run.name[i], path);
	begin_change(run.name[i]);
	run.open[i] = open(path, O_RDONLY | O_CLOEXEC) + 1;
	end_change();
	return run.open[i] ? run.open[i] - 1 : -errno;
}

void bounded_close(int fd)
{
	for (int i = 0; i < OPEN_MAX; i++) {
		if (run.open[i] != fd + 1)
			continue;
		begin_change(run.name[i]);
		run.open[i] = 0;
		close(fd);
		end_change();
		return;
	}
}

bool bounded_read(const char *path, char *text, size_t bytes)
{
	int fd = bounded_open(path);
	ssize_t got = fd < 0 ? -1 : read(fd, text, bytes - 1);

	if (fd >= 0)
		bounded_close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

/* Which descriptor it has is told by the name alone; nobody else opens files of these names. */
static void close_by_name(const char *path)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	char name[LINK_BYTES];

	while (folder && (entry = readdir(folder))) {
		ssize_t length = readlinkat(dirfd(folder), entry->d_name, name, sizeof(name) - 1);

		name[length > 0 ? length : 0] = '\0';
		name[strcspn(name, " ")] = '\0'; /* " (deleted)": the process has ended */
		if (!strcmp(name, path))
			close(atoi(entry->d_name));
	}
	if (folder)
		closedir(folder);
}

static void close_what_is_left(void)
{
	for (int i = 0; i < OPEN_MAX; i++) {
		if (run.open[i])
			close(run.open[i] - 1);
		run.open[i] = 0;
	}
	if (run.changing)
		close_by_name(run.changing);
	run.changing = NULL;
}

#ifdef __SANITIZE_THREAD__ /* takes the process for this thread; its tests have no such clients */

int bounded_run(void (*work)(void *argument), void *argument, unsigned int ms)
{
	(void)ms;
	pthread_mutex_lock(&run.lock);
	work(argument);
	close_what_is_left();
	pthread_mutex_unlock(&run.lock);
	return 0;
}

#else

static int begin(void *unused)
{
	sigset_t alarm;

	(void)unused;
	/* B3; its end may have come before. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != run.parent)
		_exit(1);
	signal(SIGALRM, SIG_DFL);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm, NULL);
	bounded_prolong();
	run.work(run.argument);
	run.done = true;
	_exit(0);
}

/* Kept: its pages are touched already the next time. */
static int get_stack(void)
{
	char *at;

	if (run.stack)
		return 0;
	at = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	run.stack = at;
	return 0;
}

/* B1. 0, or why there is no such process. */
static int make_and_await(void)
{
	int error = get_stack();
	pid_t pid;

	if (error)
		return error;
	/* Frames that nobody has left, as the process ended in them. */
	ASAN_UNPOISON_MEMORY_REGION(run.stack, STACK_BYTES);
	pid = clone(begin, run.stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | CLONE_FILES, NULL);
	if (pid < 0)
		return -errno;
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	return 0;
}

int bounded_run(void (*work)(void *argument), void *argument, unsigned int ms)
{
	int error;

	pthread_mutex_lock(&run.lock);
	run.work = work;
	run.argument = argument;
	run.ms = ms;
	run.parent = getpid();
	run.done = false;
	error = make_and_await();
	if (!error && !run.done)
		error = -ETIMEDOUT;
	close_what_is_left();
	pthread_mutex_unlock(&run.lock);
	return error;
}

#endif
