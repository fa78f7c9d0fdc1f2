/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wire - framing: agreement with protobuf-c, bounds, descriptors
 */
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/descriptors.h"
#include "lib/test.h"

enum { PACKETS = 3000, MUTATIONS = 20000, SMALL = 512 };

/* Numbers of every length, the ends of their ranges among them. */
static uint64_t any_number(uint64_t *random)
{
	uint64_t r = test_random(random);

	return r % 8 == 0 ? UINT64_MAX : test_random(random) >> (r % 64);
}

/* ---- the header ---- */

static void encoder_writes_what_protobuf_c_writes(void)
{
	uint64_t seed = test_seed();

	for (int i = 0; i < PACKETS; i++) {
		Mmb__Wire__Packet            theirs = MMB__WIRE__PACKET__INIT;
		Mmb__Wire__PagesAllocRequest body = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;
		uint8_t                      ours_bytes[SMALL], theirs_bytes[SMALL], packed[64];
		char                         error[] = "what was wrong";
		struct wire_packet           ours = { .method = (uint32_t)any_number(&seed),
						      .id = any_number(&seed),
						      .code = (int32_t)any_number(&seed) };
		ssize_t                      nr;

		body.pool = (uint32_t)any_number(&seed);
		body.count = (uint32_t)any_number(&seed);
		theirs.method = ours.method;
		theirs.id = ours.id;
		theirs.code = ours.code;
		if (i % 2) {
			ours.error = theirs.error = error;
			ours.error_bytes = strlen(error);
		}
		if (i % 3) {
			theirs.body.data = packed;
			theirs.body.len = protobuf_c_message_pack(&body.base, packed);
		}
		nr = wire_encode(&ours, i % 3 ? &body.base : NULL, ours_bytes, sizeof(ours_bytes));
		EXPECT_EQ(nr, mmb__wire__packet__pack(&theirs, theirs_bytes));
		EXPECT(memcmp(ours_bytes, theirs_bytes, (size_t)nr) == 0);
	}
}

static void expect_same(const struct wire_packet *ours, const Mmb__Wire__Packet *theirs)
{
	EXPECT_EQ(ours->method, theirs->method);
	EXPECT_EQ(ours->id, theirs->id);
	EXPECT_EQ(ours->code, theirs->code);
	if (ours->error_bytes)
		EXPECT(!memcmp(ours->error, theirs->error, ours->error_bytes));
	EXPECT_EQ(ours->body_bytes, theirs->body.len);
	if (ours->body_bytes)
		EXPECT(!memcmp(ours->body, theirs->body.data, ours->body_bytes));
}

static size_t some_packet(uint64_t *seed, uint8_t *out, size_t room)
{
	Mmb__Wire__PoolOpenRequest body = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	Mmb__Wire__NodePolicy      nodes = MMB__WIRE__NODE_POLICY__INIT;
	struct wire_packet         head = { .method = (uint32_t)any_number(seed),
					    .id = any_number(seed),
					    .code = (int32_t)any_number(seed),
					    .error = "sentence",
					    .error_bytes = test_random(seed) % 9 };

	body.name = (char[]){ "a name" };
	body.max = any_number(seed);
	nodes.mask = any_number(seed);
	body.nodes = &nodes;
	return (size_t)wire_encode(&head, test_random(seed) % 4 ? &body.base : NULL, out, room);
}

/* Flips, overwrites, inserts, removes or cuts. */
static size_t mutate(uint64_t *seed, uint8_t *bytes, size_t nr, size_t room)
{
	size_t at = test_random(seed) % (nr + 1);

	switch (test_random(seed) % 5) {
	case 0:
		if (at < nr)
			bytes[at] ^= (uint8_t)(1 << test_random(seed) % 8);
		return nr;
	case 1:
		if (at < nr)
			bytes[at] = (uint8_t)test_random(seed);
		return nr;
	case 2:
		if (nr == room)
			return nr;
		memmove(&bytes[at + 1], &bytes[at], nr - at);
		bytes[at] = (uint8_t)test_random(seed);
		return nr + 1;
	case 3:
		if (at == nr)
			return nr;
		memmove(&bytes[at], &bytes[at + 1], nr - at - 1);
		return nr - 1;
	default:
		return at;
	}
}

static void decoder_agrees_with_protobuf_c_on_mutated_packets(void)
{
	uint64_t     seed = test_seed();
	unsigned int accepted = 0;

	for (int i = 0; i < MUTATIONS; i++) {
		uint8_t            buffer[SMALL], *bytes;
		size_t             nr = some_packet(&seed, buffer, sizeof(buffer));
		struct wire_packet ours;
		Mmb__Wire__Packet *theirs;
		int                error;

		for (uint64_t n = test_random(&seed) % 4; n; n--)
			nr = mutate(&seed, buffer, nr, sizeof(buffer));
		/* At its own end of memory, so that reading on is seen by the sanitizer. */
		bytes = malloc(nr + !nr);
		memcpy(bytes, buffer, nr);
		error = wire_decode(bytes, nr, &ours);
		theirs = mmb__wire__packet__unpack(NULL, nr, bytes);
		EXPECT_EQ(error, theirs ? 0 : -EPROTO);
		if (theirs) {
			accepted++;
			expect_same(&ours, theirs);
			mmb__wire__packet__free_unpacked(theirs, NULL);
		}
		free(bytes);
	}
	EXPECT(accepted > MUTATIONS / 10);
	EXPECT(accepted < MUTATIONS);
}

static void field_of_a_newer_peer_is_skipped(void)
{
	/* field 15: varint; 16: two bytes of length, 64 bit; method 2 */
	static const uint8_t bytes[] = { 0x78, 0x96, 0x01, 0x82, 0x01, 0x02, 'h', 'i', 0x89, 0x01,
					 1,    2,    3,    4,    5,    6,    7,   8,   0x08, 0x02 };
	struct wire_packet   packet;

	EXPECT_EQ(wire_decode(bytes, sizeof(bytes), &packet), 0);
	EXPECT_EQ(packet.method, MMB_METHOD_PING);
}

static void packet_larger_than_the_buffer_is_refused(void)
{
	static char        long_text[MMB_PACKET_MAX + 1];
	uint8_t            out[MMB_PACKET_MAX];
	struct wire_packet head = { .error = long_text, .error_bytes = MMB_PACKET_MAX };
	Mmb__Wire__TextReply body = MMB__WIRE__TEXT_REPLY__INIT;

	EXPECT_EQ(wire_encode(&head, NULL, out, sizeof(out)), -EMSGSIZE);
	memset(long_text, 'x', MMB_PACKET_MAX - 40);
	body.text = long_text;
	head.error_bytes = 0;
	EXPECT_EQ(wire_encode(&head, &body.base, out, sizeof(out)), -EMSGSIZE);
	long_text[MMB_PACKET_MAX - 256] = '\0';
	EXPECT(wire_encode(&head, &body.base, out, sizeof(out)) > 0);
}

/* ---- bodies ---- */

static void every_method_has_messages(void)
{
	unsigned int nr = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		const struct wire_method *m = wire_method(i);

		if (!m)
			continue;
		nr++;
		EXPECT(m->request->sizeof_message && m->reply->sizeof_message);
		EXPECT(m->nr_fds <= MMB_PACKET_FDS);
	}
	EXPECT(nr >= 28);
	EXPECT_EQ(wire_method(MMB_METHOD_ATTACH)->nr_fds, 1);
	EXPECT_EQ(wire_method(MMB_METHOD_VERIFY)->access, WIRE_ADMIN);
	EXPECT(wire_method(UINT32_MAX) == NULL);
	EXPECT(wire_upcall(MMB_UPCALL_ZAP) != NULL);
	EXPECT(wire_upcall(MMB_METHOD_HELLO) == NULL);
}

static void unpacking_never_leaves_its_buffer(void)
{
	static alignas(16) uint8_t buffer[WIRE_SCRATCH_BYTES];
	uint8_t                    body[MMB_PACKET_MAX];
	struct wire_packet         packet = { .body = body, .body_bytes = sizeof(body) };
	struct wire_scratch        scratch;
	ProtobufCMessage          *message;

	/* Thousands of empty ranges, two bytes each, are half a megabyte unpacked. */
	for (size_t i = 0; i < sizeof(body); i += 2) {
		body[i] = 1 << 3 | 2;
		body[i + 1] = 0;
	}
	for (size_t room = 16; room <= sizeof(buffer); room *= 2) {
		wire_scratch_init(&scratch, buffer, room);
		EXPECT_EQ(wire_unpack(&packet, &mmb__wire__zap_request__descriptor, &scratch,
				      &message), -ENOBUFS);
		EXPECT(scratch.next <= scratch.end);
	}
	packet.body_bytes = 200;
	wire_scratch_init(&scratch, buffer, sizeof(buffer));
	EXPECT_EQ(wire_unpack(&packet, &mmb__wire__zap_request__descriptor, &scratch, &message), 0);
	EXPECT_EQ(((Mmb__Wire__ZapRequest *)message)->n_ranges, 100);
}

static void largest_request_fits_the_scratch(void)
{
	static alignas(16) uint8_t  buffer[WIRE_SCRATCH_BYTES];
	uint64_t                    addresses[MMB_PAGES_BATCH];
	Mmb__Wire__PagesFreeRequest request = MMB__WIRE__PAGES_FREE_REQUEST__INIT;
	uint8_t                     bytes[MMB_PACKET_MAX];
	struct wire_packet          packet = { .method = MMB_METHOD_PAGES_FREE };
	struct wire_scratch         scratch;
	ProtobufCMessage           *message;
	ssize_t                     nr;

	memset(addresses, 0xff, sizeof(addresses));
	request.n_addresses = MMB_PAGES_BATCH;
	request.addresses = addresses;
	nr = wire_encode(&packet, &request.base, bytes, sizeof(bytes));
	EXPECT(nr > 0);
	EXPECT_EQ(wire_decode(bytes, (size_t)nr, &packet), 0);
	wire_scratch_init(&scratch, buffer, sizeof(buffer));
	EXPECT_EQ(wire_unpack(&packet, request.base.descriptor, &scratch, &message), 0);
	EXPECT_EQ(((Mmb__Wire__PagesFreeRequest *)message)->n_addresses, MMB_PAGES_BATCH);
	EXPECT_EQ(((Mmb__Wire__PagesFreeRequest *)message)->addresses[511], UINT64_MAX);
}

static void mutated_bodies_give_an_error_or_a_message(void)
{
	static alignas(16) uint8_t buffer[WIRE_SCRATCH_BYTES];
	uint64_t                   seed = test_seed();
	unsigned int               refused = 0;

	for (int i = 0; i < MUTATIONS; i++) {
		uint8_t             bytes[SMALL];
		uint32_t            number = 1 + test_random(&seed) % 42;
		size_t              nr = test_random(&seed) % 64;
		struct wire_packet  packet = { .body = bytes, .body_bytes = nr };
		struct wire_scratch scratch;
		ProtobufCMessage   *message;
		int                 error;

		for (size_t j = 0; j < nr; j++)
			bytes[j] = (uint8_t)(test_random(&seed) % (j % 2 ? 256 : 0x50));
		if (!wire_method(number))
			continue;
		wire_scratch_init(&scratch, buffer, sizeof(buffer));
		error = wire_unpack(&packet, wire_method(number)->request, &scratch, &message);
		if (!error)
			EXPECT(protobuf_c_message_check(message));
		else
			EXPECT(error == -EPROTO || error == -ENOBUFS);
		refused += error != 0;
	}
	EXPECT(refused > 0);
}

/* ---- sockets and descriptors ---- */

struct link {
	int                 a, b;
	uint8_t             rx[MMB_PACKET_MAX];
	struct wire_message message;
};

static void link_open(struct link *l)
{
	int pair[2];

	EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	l->a = pair[0];
	l->b = pair[1];
	l->message = (struct wire_message){ .bytes = l->rx, .capacity = sizeof(l->rx) };
}

static void link_close(struct link *l)
{
	close(l->a);
	close(l->b);
}

static void four_descriptors_arrive_close_on_exec(void)
{
	struct link     l;
	int             null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int             fds[MMB_PACKET_FDS] = { null, null, null, null };
	unsigned int    before = open_descriptors();

	link_open(&l);
	for (uint32_t nr = 0; nr <= MMB_PACKET_FDS; nr++) {
		EXPECT_EQ(wire_send(l.a, "hello", 5, (struct wire_fds){ fds, nr }, 0), 0);
		EXPECT_EQ(wire_recv(l.b, &l.message, 0), 5);
		EXPECT_EQ(l.message.nr_fds, nr);
		for (uint32_t i = 0; i < nr; i++)
			EXPECT(fcntl(l.message.fds[i], F_GETFD) & FD_CLOEXEC);
		wire_discard_fds(&l.message);
	}
	EXPECT_EQ(wire_send(l.a, "x", 1, (struct wire_fds){ fds, 5 }, 0), -EINVAL);
	link_close(&l);
	EXPECT_EQ(open_descriptors(), before);
	close(null);
}

static void send_many(int sock, int fd, unsigned int nr)
{
	char           control[CMSG_SPACE(sizeof(int) * 32)] = { 0 };
	struct iovec   iov = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
	struct msghdr  msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *c;

	msg.msg_controllen = CMSG_SPACE(sizeof(int) * nr);
	c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * nr);
	for (unsigned int i = 0; i < nr; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	EXPECT_EQ(sendmsg(sock, &msg, 0), 1);
}

static void too_many_descriptors_are_refused_and_closed(void)
{
	struct link  l;
	unsigned int before = open_descriptors();

	link_open(&l);
	for (unsigned int nr = MMB_PACKET_FDS + 1; nr <= 32; nr++) {
		send_many(l.a, l.a, nr);
		EXPECT_EQ(wire_recv(l.b, &l.message, 0), -EPROTO);
		EXPECT_EQ(l.message.nr_fds, 0);
	}
	link_close(&l);
	EXPECT_EQ(open_descriptors(), before);
}

static void truncated_packet_is_refused_and_its_descriptors_closed(void)
{
	struct link  l;
	uint8_t      bytes[64] = { 0 };
	unsigned int before = open_descriptors();

	link_open(&l);
	l.message.capacity = sizeof(bytes) - 1;
	EXPECT_EQ(wire_send(l.a, bytes, sizeof(bytes), (struct wire_fds){ &l.a, 1 }, 0), 0);
	EXPECT_EQ(wire_recv(l.b, &l.message, 0), -EPROTO);
	EXPECT_EQ(wire_send(l.a, bytes, sizeof(bytes) - 1, (struct wire_fds){ 0 }, 0), 0);
	EXPECT_EQ(wire_recv(l.b, &l.message, 0), (ssize_t)sizeof(bytes) - 1);
	link_close(&l);
	EXPECT_EQ(open_descriptors(), before);
}

static void empty_packet_leaves_no_descriptor(void)
{
	struct link  l;
	unsigned int before = open_descriptors();

	link_open(&l);
	EXPECT_EQ(wire_send(l.a, "", 0, (struct wire_fds){ &l.a, 1 }, 0), 0);
	EXPECT_EQ(wire_recv(l.b, &l.message, 0), 0);
	EXPECT_EQ(l.message.nr_fds, 0);
	link_close(&l);
	EXPECT_EQ(open_descriptors(), before);
}

static void other_control_messages_are_refused(void)
{
	struct link l;
	int         on = 1;

	link_open(&l);
	EXPECT_EQ(setsockopt(l.b, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	EXPECT_EQ(wire_send(l.a, "x", 1, (struct wire_fds){ 0 }, 0), 0);
	EXPECT_EQ(wire_recv(l.b, &l.message, 0), -EPROTO);
	link_close(&l);
}

static void socket_states_have_their_codes(void)
{
	struct link l;

	link_open(&l);
	EXPECT_EQ(wire_recv(l.b, &l.message, MSG_DONTWAIT), -EAGAIN);
	close(l.a);
	EXPECT_EQ(wire_recv(l.b, &l.message, 0), 0);
	EXPECT_EQ(wire_send(l.b, "x", 1, (struct wire_fds){ 0 }, 0), -EPIPE);
	close(l.b);
	EXPECT_EQ(wire_recv(l.b, &l.message, 0), -EBADF);
}

static const struct test_case cases[] = {
	{ "the encoder writes what protobuf-c writes", encoder_writes_what_protobuf_c_writes },
	{ "the decoder agrees with protobuf-c on mutated packets",
	  decoder_agrees_with_protobuf_c_on_mutated_packets },
	{ "a field of a newer peer is skipped", field_of_a_newer_peer_is_skipped },
	{ "a packet larger than the buffer is refused", packet_larger_than_the_buffer_is_refused },
	{ "every method has messages", every_method_has_messages },
	{ "unpacking never leaves its buffer", unpacking_never_leaves_its_buffer },
	{ "the largest request fits the scratch", largest_request_fits_the_scratch },
	{ "mutated bodies give an error or a message", mutated_bodies_give_an_error_or_a_message },
	{ "four descriptors arrive close-on-exec", four_descriptors_arrive_close_on_exec },
	{ "too many descriptors are refused and closed",
	  too_many_descriptors_are_refused_and_closed },
	{ "a truncated packet is refused and its descriptors closed",
	  truncated_packet_is_refused_and_its_descriptors_closed },
	{ "an empty packet leaves no descriptor", empty_packet_leaves_no_descriptor },
	{ "other control messages are refused", other_control_messages_are_refused },
	{ "socket states have their codes", socket_states_have_their_codes },
};

TEST_MAIN(cases)
