/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdstore - messages on the socket pair; names of three characters for the service manager
 *
 * Locking     none.
 */
#include "app/fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "app/notify.h"
#include "base/log.h"
#include "client/resume.h"
#include "os/keep.h"

enum { NAME_BYTES = 3, BITS_A_BYTE = 6, FULL_PAUSE_NS = 1000 * 1000 };
static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int supervisor = -1; /* fixed after init */

/* ---- messages ---- */

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int) * FDSTORE_FDS)];
};

int fdstore_send(int sock, const struct fdstore_message *m, const int *fds)
{
	uint32_t nr_fds = m->op == FDSTORE_KEEP ? m->nr : 0;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m,
			     .iov_len = offsetof(struct fdstore_message, keys[m->nr]) };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr_fds) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS,
						   .cmsg_len = CMSG_LEN(sizeof(int) * nr_fds) };
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * nr_fds);
	}
	while (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0) {
		/* Too many are on their way: the other end is about to take them. */
		if (errno == ETOOMANYREFS || errno == ENOBUFS)
			nanosleep(&(struct timespec){ .tv_nsec = FULL_PAUSE_NS }, NULL);
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int fdstore_receive(int sock, struct fdstore_message *m, int *fds, int flags)
{
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	union control control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	ssize_t got;
	uint32_t nr = 0;

	do {
		got = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got ? -errno : 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		nr = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), nr * sizeof(int));
	}
	if (m->nr <= FDSTORE_FDS && (m->op != FDSTORE_KEEP || nr == m->nr) &&
	    !(msg.msg_flags & MSG_CTRUNC))
		return 1;
	while (nr)
		close(fds[--nr]);
	return -EPROTO;
}

/* ---- the supervisor ---- */

static int supervisor_keep(uint32_t key, int fd)
{
	struct fdstore_message m = { .op = FDSTORE_KEEP, .nr = 1, .keys = { key } };

	return fdstore_send(supervisor, &m, &fd);
}

static void supervisor_drop(uint32_t key)
{
	struct fdstore_message m = { .op = FDSTORE_DROP, .nr = 1, .keys = { key } };

	fdstore_send(supervisor, &m, NULL);
}

static int take_from_supervisor(void)
{
	struct fdstore_message m;
	int fds[FDSTORE_FDS], r;

	while ((r = fdstore_receive(supervisor, &m, fds, 0)) == 1 && m.op != FDSTORE_END)
		for (uint32_t i = 0; i < m.nr; i++)
			if (keep_give(m.keys[i], fds[i]))
				return -ENOMEM;
	return r == 1 ? 0 : r ? r : -EPIPE;
}

/* ---- the service manager ---- */

static void name_of(uint32_t key, char name[NAME_BYTES + 1])
{
	for (int i = NAME_BYTES; i-- > 0; key >>= BITS_A_BYTE)
		name[i] = digits[key & ((1 << BITS_A_BYTE) - 1)];
	name[NAME_BYTES] = '\0';
}

static bool key_of(const char *name, uint32_t *key)
{
	*key = 0;
	if (strlen(name) != NAME_BYTES)
		return false;
	for (int i = 0; i < NAME_BYTES; i++) {
		const char *digit = strchr(digits, name[i]);

		if (!digit)
			return false;
		*key = *key << BITS_A_BYTE | (uint32_t)(digit - digits);
	}
	return true;
}

static int manager_keep(uint32_t key, int fd)
{
	char name[NAME_BYTES + 1], state[64];
	int r;

	name_of(key, name);
	/* Another one of that name would stay beside it. */
	snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	r = notify_send(state, -1);
	snprintf(state, sizeof(state), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	return r ? r : notify_send(state, fd);
}

static void manager_drop(uint32_t key)
{
	char name[NAME_BYTES + 1], state[64];

	name_of(key, name);
	snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	notify_send(state, -1);
}

static int take_from_manager(void)
{
	char **names = NULL;
	int nr = sd_listen_fds_with_names(0, &names), r = 0;
	uint32_t key;

	for (int i = 0; i < nr; i++) {
		if (!r && key_of(names[i], &key))
			r = keep_give(key, SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	return nr < 0 ? nr : r;
}

/* ---- both ---- */

int fdstore_init(void)
{
	static const struct keep_ops own = { supervisor_keep, supervisor_drop };
	static const struct keep_ops manager = { manager_keep, manager_drop };
	const char *given = getenv(FDSTORE_VARIABLE), *room = getenv("FDSTORE");
	const char *noticed = getenv(FDSTORE_NOTICED);
	int r = notify_init();

	if (r)
		log_emit(LOG_ERR, "no_manager", "the service manager can't be told anything: %s",
			 strerror(-r));
	r = 0;
	if (given) {
		supervisor = atoi(given);
		unsetenv(FDSTORE_VARIABLE);
		if (noticed)
			resume_mark(RESUME_NOTICED, strtoull(noticed, NULL, 10));
		unsetenv(FDSTORE_NOTICED);
		if (fcntl(supervisor, F_SETFD, FD_CLOEXEC))
			return -errno;
		r = take_from_supervisor();
		keep_set(&own);
	} else if (notify_is_on() && room && atoi(room) > 0) {
		keep_set_room((uint32_t)atoi(room));
		r = take_from_manager();
		keep_set(&manager);
	}
	if (r)
		log_emit(LOG_ERR, "store_failed",
			 "what the last daemon has left can't be taken over: %s", strerror(-r));
	return r;
}

/* Beside the sessions: metadata, listener, program, swap areas, the daemon's own memory, and a few
 * pools and regions, without which sessions are nothing. */
enum { STORE_SPARE = 64 };

bool fdstore_holds(unsigned long long sessions, char text[FDSTORE_WHY_BYTES])
{
	unsigned long long wanted = sessions * KEEP_SESSION_FDS + STORE_SPARE;

	if (!keep_is_on() || wanted <= keep_room())
		return true;
	snprintf(text, FDSTORE_WHY_BYTES,
		 "limits.sessions: %llu sessions and what they need take %llu descriptors in the "
		 "service manager's store, which has room for %u: raise FileDescriptorStoreMax= "
		 "and FDSTORE= in the unit (at most 32000), or lower the key",
		 sessions, wanted, keep_room());
	return false;
}

uint32_t fdstore_share(uint32_t sessions, uint32_t regions)
{
	uint32_t room;

	keep_set_reserved(sessions * KEEP_SESSION_FDS + KEEP_ONCE);
	room = keep_room_for_sections();
	return room == UINT32_MAX || regions < room / 2 ? regions : room / 2;
}

bool fdstore_has_supervisor(void)
{
	return supervisor >= 0;
}

void fdstore_ready(void)
{
	struct fdstore_message m = { .op = FDSTORE_READY };

	if (supervisor >= 0)
		fdstore_send(supervisor, &m, NULL);
}

/* A supervisor that reads nothing is stopped itself, and must not stop this process. */
void fdstore_alive(void)
{
	struct fdstore_message m = { .op = FDSTORE_ALIVE };

	if (supervisor >= 0)
		send(supervisor, &m, offsetof(struct fdstore_message, keys),
		     MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- releases ---- */

int fdstore_keep_program(void)
{
	int fd = keep_is_on() ? open("/proc/self/exe", O_RDONLY | O_CLOEXEC) : -1, r;

	if (fd < 0)
		return keep_is_on() ? -errno : 0;
	r = keep_fd(KEEP_PROGRAM, fd);
	close(fd);
	return r;
}

/* As the manager passed them to this process: LISTEN_PID and the names are as they were. */
static void pass_on_descriptors(void)
{
	int nr = sd_listen_fds(0);

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + nr; fd++)
		fcntl(fd, F_SETFD, 0);
}

void fdstore_give_back(char **argv)
{
	int program = keep_take(KEEP_PROGRAM);

	if (program < 0 || getenv(FDSTORE_GIVEN_BACK))
		return;
	log_emit(LOG_ERR, "state_refused",
		 "the release that was here before goes on; nothing of its has been touched");
	if (supervisor >= 0)
		_exit(FDSTORE_REFUSED);
	pass_on_descriptors();
	setenv(FDSTORE_GIVEN_BACK, "1", 1);
	fexecve(program, argv, environ);
	log_emit(LOG_ERR, "state_refused", "it can't be executed: %s", strerror(errno));
}
