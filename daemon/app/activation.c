/* SPDX-License-Identifier: Apache-2.0 */
/*
 * activation - finds the service manager's listening socket
 */
#include "app/activation.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

int activation_socket(void)
{
	int nr = sd_listen_fds(0), found = -1;

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + nr; fd++) {
		/* The descriptor store passes other things the same way. */
		if (sd_is_socket(fd, AF_UNIX, 0, 1) <= 0)
			continue;
		if (found >= 0 || sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0)
			return -EINVAL;
		found = fd;
	}
	return found;
}
