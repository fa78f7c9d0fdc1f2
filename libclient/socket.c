/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket - finding the broker's socket
 *
 * Invariants  S1  A path that was named, by argument or environment, is the only one tried: falling
 *                 through to another broker would be a surprise.
 *             S2  Of the places that are tried without a name, one where nobody answers, or where
 *                 we may not look (another user's runtime folder, as su leaves it), is passed
 *                 over.
 */
#include "socket.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "error.h"

enum { RETRY_MS = 20, CANDIDATES_MAX = 2 };
#define SYSTEM_SOCKET "/run/mmbroker/mmbroker.sock"

struct candidates {
	struct sockaddr_un address[CANDIDATES_MAX];
	unsigned int       nr;
};

static int add(struct candidates *c, const char *directory, const char *rest)
{
	struct sockaddr_un *a = &c->address[c->nr];
	size_t first = strlen(directory);

	a->sun_family = AF_UNIX;
	if (first + strlen(rest) >= sizeof(a->sun_path))
		return fail(-ENAMETOOLONG, "socket path %s%s is longer than %zu bytes", directory,
			    rest, sizeof(a->sun_path) - 1);
	strcpy(a->sun_path, directory);
	strcpy(a->sun_path + first, rest);
	c->nr++;
	return 0;
}

static int collect(struct candidates *c, const char *path)
{
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	int error = 0;

	if (!path)
		path = secure_getenv("MMB_SOCKET");
	if (path && path[0])
		return add(c, path, "");
	if (path)
		return fail(-EINVAL, "the socket path is empty; name one or unset MMB_SOCKET");
	if (runtime && runtime[0])
		error = add(c, runtime, "/mmbroker/mmbroker.sock");
	return error ? error : add(c, SYSTEM_SOCKET, "");
}

static void limit_sending(int fd, uint64_t ms)
{
	struct timeval timeout = {
		.tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000),
	};

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

/* With a limit to the wait for a place in the listen queue connect(2) isn't restarted by the kernel
 * after a signal. */
static int connect_in_time(int fd, const struct sockaddr_un *address, uint64_t timeout_ms)
{
	uint64_t deadline = call_deadline(timeout_ms);

	limit_sending(fd, timeout_ms);
	while (connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
		int left = call_left_ms(deadline);

		if (errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (!left)
			return -ETIMEDOUT;
		limit_sending(fd, (uint64_t)left);
	}
	limit_sending(fd, timeout_ms);
	return 0;
}

static int try_one(const struct sockaddr_un *address, uint64_t timeout_ms)
{
	int error, fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	error = connect_in_time(fd, address, timeout_ms);
	if (!error)
		return fd;
	close(fd);
	return error;
}

/* What the places gave that were tried. */
struct outcome {
	int          fd;      /* connected, or a negative errno: of the place to complain about */
	unsigned int at;      /* that place */
	bool         is_late; /* some broker wasn't there yet */
};

static bool is_absent(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED;
}

static bool is_denied(int error)
{
	return error == -EACCES || error == -EPERM;
}

/* S2. A denial says more than an absence. */
static void try_all(const struct candidates *c, uint64_t timeout_ms, struct outcome *out)
{
	*out = (struct outcome){ .fd = -ENOENT };
	for (unsigned int i = 0; i < c->nr; i++) {
		int fd = try_one(&c->address[i], timeout_ms);

		out->is_late |= is_absent(fd);
		if (!is_absent(fd) || !is_denied(out->fd))
			*out = (struct outcome){ fd, i, out->is_late };
		if (!is_absent(fd) && !is_denied(fd))
			return;
	}
}

static int explain(const struct candidates *c, const struct outcome *out)
{
	const char *path = c->address[out->at].sun_path;
	int         error = out->fd;

	if (is_absent(error))
		return fail(error, "no broker answers at %s%s%s; start mmbrokerd, or name its "
			    "socket in MMB_SOCKET", c->address[0].sun_path,
			    out->at ? " or " : "", out->at ? path : "");
	if (is_denied(error))
		return fail(error, "not permitted to connect to the broker at %s; look at the "
			    "socket's mode and group%s", path,
			    out->is_late ? ", or name another broker's in MMB_SOCKET" : "");
	if (error == -EPROTOTYPE)
		return fail(error, "%s is a socket of another kind, not a broker's", path);
	return fail(error, "can't connect to the broker at %s: %s", path, strerror(-error));
}

int socket_connect(const struct socket_search *search)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000L };
	struct candidates c = { .nr = 0 };
	uint64_t deadline = call_deadline(search->wait_absent_ms);
	struct outcome out;
	int error = collect(&c, search->path);

	if (error)
		return error;
	for (;;) {
		try_all(&c, search->timeout_ms, &out);
		if (out.fd >= 0 || !out.is_late || !search->wait_absent_ms ||
		    !call_left_ms(deadline))
			break;
		nanosleep(&pause, NULL);
	}
	return out.fd < 0 ? explain(&c, &out) : out.fd;
}
