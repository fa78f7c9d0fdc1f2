/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_swap - see kernel_swap.h */
#include "swap/kernel_swap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/clock.h"

enum {
	PAGE = 4096,
	PRIORITY = 32767, /* before any other area, so that the disk is the one measured */
	OFF_TRIES = 200,
	OFF_MS = 20,
};

/* The head of a swap area, version 1, as the kernel reads it. */
struct swap_header {
	char     boot[1024];
	uint32_t version, last_page, nr_badpages;
	char     rest[PAGE - 1024 - 12 - 10];
	char     magic[10];
};
_Static_assert(sizeof(struct swap_header) == PAGE, "it fills the first page");

/* What keeper and bench share: the groups, and how it went. */
struct keeper_report {
	int           error;
	struct cgroup groups[KERNEL_SWAP_GROUPS];
};

static int make_file(const char *path, uint64_t bytes)
{
	struct swap_header header = { .version = 1, .last_page = (uint32_t)(bytes / PAGE) - 1 };
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), error;

	memcpy(header.magic, "SWAPSPACE2", sizeof(header.magic));
	if (fd < 0)
		return bench_because(-errno, "%s: %s", path, strerror(errno));
	error = -posix_fallocate(fd, 0, (off_t)bytes);
	if (error == 0 && pwrite(fd, &header, sizeof(header), 0) != sizeof(header))
		error = -EIO;
	if (error == 0 && fsync(fd) != 0)
		error = -errno;
	close(fd);
	if (error != 0)
		bench_because(error == -ENOSPC || error == -EOPNOTSUPP ? BENCH_SKIP : error,
			      "%llu MiB in %s: %s", (unsigned long long)bytes >> 20, path,
			      strerror(-error));
	return error == -ENOSPC || error == -EOPNOTSUPP ? BENCH_SKIP : error;
}

static int make_groups(struct cgroup *groups)
{
	int error = 0;

	for (unsigned int i = 0; i < KERNEL_SWAP_GROUPS && error == 0; i++) {
		char name[64];

		snprintf(name, sizeof(name), "mmb-bench-%d-%u", (int)getpid(), i);
		error = cgroup_create(&groups[i], name);
	}
	return error;
}

static void swap_off(const char *path)
{
	for (int i = 0; i < OFF_TRIES && swapoff(path) != 0 && errno != EINVAL; i++)
		clock_sleep_ms(OFF_MS);
}

static void ignore_terminal(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };

	setsid();
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
}

static void say(int pipe, const struct keeper_report *report)
{
	if (write(pipe, report, sizeof(*report)) != sizeof(*report))
		_exit(1);
}

static int set_up(struct keeper_report *report, const char *path, uint64_t bytes, bool *on)
{
	int error = make_file(path, bytes);

	if (error != 0)
		return error;
	*on = swapon(path, SWAP_FLAG_PREFER | PRIORITY) == 0;
	if (!*on)
		return bench_because(BENCH_SKIP, "swapon of %s: %s", path, strerror(errno));
	return make_groups(report->groups);
}

/* K1. The groups go first: swapoff of what a dead process has left costs nothing. */
static _Noreturn void keep(const struct kernel_swap *k, uint64_t bytes, const int *in,
			   const int *out)
{
	struct keeper_report report = { 0 };
	char path[KERNEL_SWAP_PATH + 8], byte;
	bool on = false;

	ignore_terminal();
	close(in[1]);
	close(out[0]);
	snprintf(path, sizeof(path), "%s/kernel", k->folder);
	if (mkdir(k->folder, 0700) == 0)
		report.error = set_up(&report, path, bytes, &on);
	else
		report.error = bench_because(-errno, "%s: %s", k->folder, strerror(errno));
	say(out[1], &report);
	while (report.error == 0 && read(in[0], &byte, 1) < 0 && errno == EINTR)
		;
	for (int i = KERNEL_SWAP_GROUPS - 1; i >= 0; i--)
		cgroup_remove(&report.groups[i]);
	if (on)
		swap_off(path);
	unlink(path);
	unlink(k->broker);
	rmdir(k->folder);
	_exit(0);
}

static int hear(struct kernel_swap *k, int pipe)
{
	struct keeper_report report;

	if (read(pipe, &report, sizeof(report)) != sizeof(report))
		return bench_because(-EPIPE, "the keeper of the kernel's swap died");
	memcpy(k->groups, report.groups, sizeof(k->groups));
	return report.error;
}

int kernel_swap_start(struct kernel_swap *k, const char *disk, uint64_t bytes)
{
	int in[2], out[2], error;

	*k = (struct kernel_swap){ .pipe = -1 };
	if (geteuid() != 0)
		return bench_because(BENCH_SKIP, "the kernel's swap and memory cgroups as peers"
						 " need root");
	snprintf(k->folder, sizeof(k->folder), "%.150s/mmb-bench-swap-%d", disk, (int)getpid());
	snprintf(k->broker, sizeof(k->broker), "%.180s/broker", k->folder);
	if (pipe2(in, O_CLOEXEC) != 0)
		return bench_because(-errno, "pipe: %s", strerror(errno));
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(in[0]);
		close(in[1]);
		return bench_because(-errno, "pipe: %s", strerror(errno));
	}
	k->keeper = fork();
	if (k->keeper == 0)
		keep(k, bytes, in, out);
	close(in[0]);
	close(out[1]);
	k->pipe = in[1];
	error = k->keeper > 0 ? hear(k, out[0]) : bench_because(-EAGAIN, "fork failed");
	close(out[0]);
	if (error != 0) {
		char why[200];

		snprintf(why, sizeof(why), "%s", bench_reason());
		kernel_swap_stop(k);
		bench_because(error, "%s", why);
	}
	return error;
}

void kernel_swap_stop(struct kernel_swap *k)
{
	if (k->pipe >= 0)
		close(k->pipe);
	if (k->keeper > 0)
		waitpid(k->keeper, NULL, 0);
	*k = (struct kernel_swap){ .pipe = -1 };
}
