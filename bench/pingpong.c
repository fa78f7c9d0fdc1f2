/* SPDX-License-Identifier: Apache-2.0 */
/* pingpong - see pingpong.h */
#include "pingpong.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/clock.h"
#include "lib/place.h"
#include "lib/stats.h"

enum {
	PACKET = 16, /* a PING and its reply are 4 to 6 bytes: the size hardly matters */
	CHILD_MS = 10000,
	CONNECT_ROUND_TRIPS = 3,
	CONNECT_EXTRA_NS = 50000,
};

struct echo {
	int sock, place;
};

static int echo_child(void *arg, struct sample *out)
{
	const struct echo *echo = arg;
	char packet[PACKET];
	ssize_t bytes;

	place_self(echo->place);
	while ((bytes = recv(echo->sock, packet, sizeof(packet), 0)) > 0) {
		if (send(echo->sock, packet, (size_t)bytes, MSG_NOSIGNAL) != bytes)
			break;
	}
	return 0;
}

static int round_trips(int sock, uint64_t *ns, unsigned int nr)
{
	char packet[PACKET] = { 0 };

	for (unsigned int i = 0; i < nr; i++) {
		uint64_t before = clock_ns();

		if (send(sock, packet, sizeof(packet), MSG_NOSIGNAL) != sizeof(packet) ||
		    recv(sock, packet, sizeof(packet), 0) != sizeof(packet))
			return bench_because(-errno, "ping-pong: %s", strerror(errno));
		ns[i] = clock_ns() - before;
	}
	return 0;
}

int pingpong_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct pingpong_args *args = arg;
	uint64_t *ns = calloc(args->rounds, sizeof(*ns));
	struct sample ignored;
	struct child child;
	int pair[2], error;

	if (ns == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		free(ns);
		return bench_because(-ENOMEM, "no socket pair: %s", strerror(errno));
	}
	error = child_start(&child, echo_child,
			    &(struct echo){ .sock = pair[1], .place = args->peer_place });
	close(pair[1]);
	if (error == 0) {
		place_self(args->place);
		error = round_trips(pair[0], ns, args->rounds);
		place_self(PLACE_ANYWHERE);
		shutdown(pair[0], SHUT_RDWR);
		child_finish(&child, CHILD_MS, &ignored);
	}
	close(pair[0]);
	if (error == 0) {
		stats_sort(ns, args->rounds);
		out->v[PINGPONG_P50] = (double)stats_permille(ns, args->rounds, 500);
		out->v[PINGPONG_P99] = (double)stats_permille(ns, args->rounds, 990);
		out->v[PINGPONG_CONNECT] = CONNECT_ROUND_TRIPS * out->v[PINGPONG_P50] +
					   CONNECT_EXTRA_NS;
	}
	free(ns);
	return error;
}
