/* SPDX-License-Identifier: Apache-2.0 */
/* child - see child.h */
#include "lib/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int child_start(struct child *c, child_fn run, void *arg)
{
	pid_t parent = getpid();

	c->sample = mmap(NULL, sizeof(*c->sample), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->sample == MAP_FAILED)
		return bench_because(-errno, "no memory for a child's result");
	c->pid = fork();
	if (c->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			_exit(-run(arg, c->sample) & 0xff);
		_exit(1);
	}
	if (c->pid < 0) {
		munmap(c->sample, sizeof(*c->sample));
		return bench_because(-errno, "fork: %s", strerror(errno));
	}
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	return 0;
}

int child_finish(struct child *c, unsigned int timeout_ms, struct sample *out)
{
	struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
	int status = 0, error = 0;

	if (poll(&p, 1, (int)timeout_ms) == 0) {
		kill(c->pid, SIGKILL);
		error = bench_because(-ETIMEDOUT, "not done after %u s: killed",
				      timeout_ms / 1000);
	}
	if (waitpid(c->pid, &status, 0) < 0)
		error = bench_because(-errno, "waitpid: %s", strerror(errno));
	else if (error == 0 && WIFSIGNALED(status))
		error = bench_because(-ECHILD, "died by signal %d", WTERMSIG(status));
	else if (error == 0 && WEXITSTATUS(status) != 0)
		error = WEXITSTATUS(status) == (-BENCH_SKIP & 0xff) ? BENCH_SKIP :
								      -WEXITSTATUS(status);
	close(c->pidfd);
	*out = *c->sample;
	munmap(c->sample, sizeof(*c->sample));
	return error;
}

int child_run(child_fn run, void *arg, unsigned int timeout_ms, struct sample *out)
{
	struct child c;
	int error = child_start(&c, run, arg);

	return error != 0 ? error : child_finish(&c, timeout_ms, out);
}
