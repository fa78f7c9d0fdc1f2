/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify - one connected datagram socket
 *
 * Why not     sd_notify(3) waits as long as the manager doesn't read.
 */
#include "app/notify.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/heartbeat.h"
#include "base/log.h"
#include "os/os.h"
#include "proto/wire.h"

enum { WAIT_MS = 1000, PAUSE_MS = 5 };

static int manager = -1;        /* fixed after init */
/* It has read nothing for WAIT_MS. */
static struct notify_stall stall = { .id = "manager_stalled", .who = "service manager" };
static _Atomic bool owes_ready; /* N1 */

int notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	size_t length = path ? strlen(path) : 0;
	int sock;

	if (!length)
		return 0;
	if (length >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	memcpy(at.sun_path, path, length);
	if (path[0] == '@')
		at.sun_path[0] = '\0';
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0)
		return -errno;
	if (connect(sock, (struct sockaddr *)&at,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length))) {
		int error = errno;

		close(sock);
		return -error;
	}
	manager = sock;
	return 0;
}

bool notify_is_on(void)
{
	return manager >= 0;
}

int notify_send_once(int sock, const void *bytes, size_t nr, int fd)
{
	const struct wire_fds fds = { &fd, fd >= 0 };
	int r = wire_send(sock, bytes, nr, fds, MSG_DONTWAIT);

	return r == -ENOBUFS ? -EAGAIN : r;
}

static int send_once(const char *state, int fd)
{
	return notify_send_once(manager, state, strlen(state), fd);
}

bool notify_show(const char *state)
{
	return manager >= 0 && !send_once(state, -1);
}

/* ETOOMANYREFS: too many descriptors of this user's are on their way. */
bool notify_may_pass(int error)
{
	return error == -EAGAIN || error == -ETOOMANYREFS;
}

/* Room may be there and gone again: others send, too. */
static int send_waiting(const char *state, int fd)
{
	struct pollfd room = { .fd = manager, .events = POLLOUT };
	uint64_t until = os->now_ns() + WAIT_MS * 1000000ull;
	int r;

	while (notify_may_pass(r = send_once(state, fd)) && os->now_ns() < until) {
		if (poll(&room, 1, PAUSE_MS) > 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		heartbeat_touch();
	}
	return r;
}

void notify_note_stall(struct notify_stall *of, bool was, int r)
{
	if (!notify_may_pass(r) || was || atomic_exchange(&of->is_on, true))
		return;
	if (r == -EAGAIN)
		log_emit(LOG_WARNING, of->id,
			 "the %s reads nothing: until it does nobody new is served", of->who);
	else
		log_emit(LOG_ERR, "descriptors_in_flight",
			 "no descriptor can be kept: other processes of this user have sent more "
			 "that nobody takes than LimitNOFILE= allows; until that ends nobody new "
			 "is served");
}

int notify_send(const char *state, int fd)
{
	bool was = atomic_load(&stall.is_on);
	int r;

	if (manager < 0)
		return 0;
	r = was ? send_once(state, fd) : send_waiting(state, fd);
	notify_note_stall(&stall, was, r);
	if (!r && was && fd >= 0) /* a text goes through when no descriptor does */
		atomic_store(&stall.is_on, false);
	return r;
}

void notify_look(void)
{
	if (atomic_exchange(&owes_ready, false) && !notify_show("READY=1") && manager >= 0)
		atomic_store(&owes_ready, true);
}

void notify_ready(void)
{
	atomic_store(&owes_ready, true);
	notify_look();
}
