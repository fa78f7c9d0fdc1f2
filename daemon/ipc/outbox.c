/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox - a list of packets with duplicates of their descriptors
 *
 * Locking     the connection's lock.
 */
#include "ipc/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mm/obj/slab.h"

struct out_packet {
	struct list_head link;
	size_t           nr;
	int              fds[MMB_PACKET_FDS];
	uint32_t         nr_fds;
	uint8_t          bytes[];
};

static void out_packet_free(struct out_packet *p)
{
	for (uint32_t i = 0; i < p->nr_fds; i++)
		close(p->fds[i]);
	kfree(p);
}

static void outbox_del(struct outbox *box, struct out_packet *p)
{
	list_del(&p->link);
	box->nr_packets--;
	box->nr_bytes -= p->nr;
	out_packet_free(p);
}

void outbox_init(struct outbox *box)
{
	list_init(&box->packets);
	box->nr_packets = 0;
	box->nr_bytes = 0;
}

void outbox_fini(struct outbox *box)
{
	while (!list_empty(&box->packets))
		outbox_del(box, list_first_entry(&box->packets, struct out_packet, link));
}

int outbox_push(struct outbox *box, const void *bytes, size_t nr, struct wire_fds fds)
{
	struct out_packet *p = kmalloc(sizeof(*p) + nr, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	p->nr = nr;
	p->nr_fds = 0;
	usercopy_in(p->bytes, bytes, nr);
	while (p->nr_fds < fds.nr) {
		int fd = fcntl(fds.fds[p->nr_fds], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			int error = -errno;

			out_packet_free(p);
			return error;
		}
		p->fds[p->nr_fds++] = fd;
	}
	list_add_tail(&p->link, &box->packets);
	box->nr_packets++;
	box->nr_bytes += nr;
	return 0;
}

int outbox_flush(struct outbox *box, int sock)
{
	while (!list_empty(&box->packets)) {
		struct out_packet *p = list_first_entry(&box->packets, struct out_packet, link);
		struct wire_fds    fds = { p->fds, p->nr_fds };
		int                error = wire_send(sock, p->bytes, p->nr, fds, MSG_DONTWAIT);

		if (error)
			return error;
		outbox_del(box, p);
	}
	return 0;
}
