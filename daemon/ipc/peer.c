/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer - asks the kernel who connected
 *
 * Locking     none.
 */
#include "ipc/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.5; absent from older headers. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

struct group_list {
	gid_t *gids;
	size_t nr;
};

/* All of the peer's groups, however many; freed by the caller. */
static int read_groups(int sock, struct group_list *out)
{
	socklen_t bytes = PEER_GROUPS_MAX * sizeof(gid_t);

	*out = (struct group_list){ 0 };
	for (;;) {
		gid_t *grown = realloc(out->gids, bytes);

		if (!grown) {
			free(out->gids);
			return -ENOMEM;
		}
		out->gids = grown;
		if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, out->gids, &bytes) == 0)
			break;
		/* ERANGE has put the length needed into bytes. */
		if (errno != ERANGE) {
			int error = -errno;

			free(out->gids);
			return error;
		}
	}
	out->nr = bytes / sizeof(gid_t);
	return 0;
}

static bool is_member(const struct group_list *groups, gid_t own, int64_t gid)
{
	if (gid < 0)
		return false;
	if (own == (gid_t)gid)
		return true;
	for (size_t i = 0; i < groups->nr; i++) {
		if (groups->gids[i] == (gid_t)gid)
			return true;
	}
	return false;
}

static bool is_readable(int fd, short also)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & also;
}

static int peer_pidfd(int sock, pid_t pid, int *out)
{
	socklen_t bytes = sizeof(*out);

	*out = -1;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, out, &bytes) == 0)
		return 0;
	if (errno != ENOPROTOOPT)
		return errno == EINVAL || errno == ENODATA ? -ESRCH : -errno;
	/* Before Linux 6.5 the number is all there is, and it may have been given to another
	 * process since. As long as the socket hasn't been hung up and the process lives, it is
	 * the one that connected or the child it left the socket to. */
	if (pid <= 0)
		return 0;
	*out = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*out < 0)
		return -errno;
	if (is_readable(*out, POLLIN) || is_readable(sock, POLLHUP)) {
		close(*out);
		return -ESRCH;
	}
	return 0;
}

int peer_identify(int sock, const struct peer_rules *rules, struct peer_identity *out)
{
	struct peer      *peer = &out->peer;
	struct group_list groups;
	struct ucred      cred;
	socklen_t         bytes = sizeof(cred);
	int               error;

	memset(out, 0, sizeof(*out));
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &bytes))
		return -errno;
	error = peer_pidfd(sock, cred.pid, &out->pidfd);
	if (error)
		return error;
	error = read_groups(sock, &groups);
	if (error) {
		if (out->pidfd >= 0)
			close(out->pidfd);
		return error;
	}
	peer->pid = cred.pid;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	peer->nr_groups = min_t(uint32_t, groups.nr, PEER_GROUPS_MAX);
	memcpy(peer->groups, groups.gids, peer->nr_groups * sizeof(gid_t));
	peer->admin = cred.uid == 0 || cred.uid == geteuid() ||
		      is_member(&groups, cred.gid, rules->admin_gid);
	out->in_group = peer->admin || is_member(&groups, cred.gid, rules->socket_gid);
	free(groups.gids);
	return 0;
}
