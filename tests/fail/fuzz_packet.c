/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_packet - any bytes and descriptors a client may send, against decoder and dispatcher
 *
 * Purpose     One input is one client's life: a first byte that says whether it introduces
 *             itself, then packets of the form length (two bytes), number of descriptors, bytes.
 *             The decoder gets each packet too, for every method. Compiled for libFuzzer
 *             (MMB_LIBFUZZER) or by itself: then arguments are corpus files, and after them a
 *             mutator of its own runs $MMB_FUZZ_RUNS inputs made from valid packets.
 * Invariants  Z1  after each input its session has ended and the server answers.
 *             Z2  at the end no descriptor and no session is left.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "lib/ipc_fixture.h"
#include "lib/test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nr);

enum { HEAD_BYTES = 3, INPUT_BYTES_MAX = 4096, PACKETS_MAX = 16 };
enum introduction { AS_STRANGER, AS_SESSION, AS_TOOL, NR_INTRODUCTIONS };

static struct ipc_fixture fixture;
static int                some_fds[6]; /* of several kinds */

static void start_server(void)
{
	static bool started;

	if (started)
		return;
	started = true;
	ipc_fixture_init(&fixture);
	for (int i = 0; i < 6; i += 2) {
		some_fds[i] = memfd_create("fuzz", MFD_CLOEXEC);
		some_fds[i + 1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	fixture.options.limits.requests_in_flight = 4;
	ipc_fixture_start(&fixture);
}

static void decode(const uint8_t *bytes, size_t nr)
{
	static alignas(16) uint8_t buffer[WIRE_SCRATCH_BYTES];
	struct wire_packet         packet;

	if (wire_decode(bytes, nr, &packet))
		return;
	for (uint32_t number = 0; number < 64; number++) {
		const struct wire_method *m = wire_method(number);
		struct wire_scratch       scratch;
		ProtobufCMessage         *message;

		if (!m)
			continue;
		wire_scratch_init(&scratch, buffer, sizeof(buffer));
		if (!wire_unpack(&packet, m->request, &scratch, &message))
			CHECK(protobuf_c_message_check(message));
	}
}

/* More descriptors than are allowed can't go through wire_send. */
static void send_packet(int sock, const uint8_t *bytes, size_t nr, unsigned int nr_fds)
{
	char            control[CMSG_SPACE(sizeof(some_fds))] = { 0 };
	struct iovec    iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = nr };
	struct msghdr   msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (nr_fds) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(c), some_fds, nr_fds * sizeof(int));
	}
	/* The daemon may have hung up already: that is its right. */
	if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		CHECK(errno == EPIPE || errno == ECONNRESET || errno == EAGAIN);
}

static void send_all(int sock, const uint8_t *data, size_t nr)
{
	for (int i = 0; i < PACKETS_MAX && nr > HEAD_BYTES; i++) {
		size_t length = data[0] | (size_t)data[1] << 8;

		if (length > nr - HEAD_BYTES)
			length = nr - HEAD_BYTES;
		decode(data + HEAD_BYTES, length);
		send_packet(sock, data + HEAD_BYTES, length, data[2] % 7);
		data += HEAD_BYTES + length;
		nr -= HEAD_BYTES + length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nr)
{
	static struct wire_client c;
	unsigned int              before;

	start_server();
	if (!nr)
		return 0;
	before = fake_counts.sessions_ended;
	ipc_fixture_connect(&fixture, &c);
	if (data[0] % NR_INTRODUCTIONS != AS_STRANGER)
		CHECK(!wire_client_hello(&c, "fuzz", data[0] % NR_INTRODUCTIONS == AS_TOOL));
	send_all(c.sock, data + 1, nr - 1);
	shutdown(c.sock, SHUT_WR);
	CHECK(wire_client_is_closed(&c));
	CHECK(fake_counts.sessions_ended == fake_counts.sessions_new);
	CHECK(fake_counts.sessions_ended - before <= 1);
	wire_client_fini(&c);
	return 0;
}

#ifndef MMB_LIBFUZZER

static void run_file(const char *path)
{
	static uint8_t bytes[64 << 10];
	FILE          *file = fopen(path, "re");
	size_t         nr;

	EXPECT(file != NULL);
	nr = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	LLVMFuzzerTestOneInput(bytes, nr);
}

/* ---- the mutator ---- */

/* A valid packet of a random method, with its head; its length. */
static size_t valid_packet(uint64_t *random, uint8_t *out, size_t room)
{
	static const uint8_t some_body[] = { 0x08, 7, 0x12, 1, 'r', 0x18, 0x80, 0x20,
					     0x20, 1, 0x28, 1, 0x30, 0x10 };
	uint32_t             number = (uint32_t)(test_random(random) % 44);
	const struct wire_method *m = wire_method(number);
	uint8_t             *at = out + HEAD_BYTES;
	/* Field 1 alone fits every message; what follows fits some. */
	size_t               body = test_random(random) % 4 ? 2 : sizeof(some_body);

	CHECK(room >= HEAD_BYTES + 6 + sizeof(some_body));
	*at++ = 0x08;
	*at++ = (uint8_t)number;
	*at++ = 0x10;
	*at++ = (uint8_t)(1 + test_random(random) % 100);
	*at++ = 0x2a;
	*at++ = (uint8_t)body;
	memcpy(at, some_body, body);
	at += body;
	out[0] = (uint8_t)(at - out - HEAD_BYTES);
	out[1] = 0;
	out[2] = m ? m->nr_fds : 0;
	return (size_t)(at - out);
}

static size_t make_input(uint64_t *random, uint8_t *out)
{
	size_t   nr = 1;
	uint64_t packets = 1 + test_random(random) % 6, flips;

	out[0] = (uint8_t)(test_random(random) % NR_INTRODUCTIONS);
	while (packets--)
		nr += valid_packet(random, out + nr, INPUT_BYTES_MAX - nr);
	for (flips = test_random(random) % 4; flips; flips--) {
		size_t at = 1 + test_random(random) % (nr - 1);

		if (test_random(random) % 2)
			out[at] = (uint8_t)test_random(random);
		else
			out[at] ^= (uint8_t)(1 << test_random(random) % 8);
	}
	/* Cut, or with something behind it. */
	if (test_random(random) % 4 == 0)
		nr = 1 + test_random(random) % nr;
	if (test_random(random) % 8 == 0)
		while (nr < INPUT_BYTES_MAX)
			out[nr++] = (uint8_t)test_random(random);
	return nr;
}

static int    corpus_nr;
static char **corpus;

static void corpus_is_survived(void)
{
	start_server();
	for (int i = 0; i < corpus_nr; i++)
		run_file(corpus[i]);
	EXPECT_EQ(fake_counts.sessions_ended, fake_counts.sessions_new);
}

static void mutated_packets_are_survived(void)
{
	const char *given = getenv("MMB_FUZZ_RUNS");
	uint64_t    runs = given ? strtoull(given, NULL, 0) : 4000;
	uint64_t    random = test_seed();
	uint8_t     input[INPUT_BYTES_MAX];

	for (uint64_t i = 0; i < runs; i++)
		LLVMFuzzerTestOneInput(input, make_input(&random, input));
	EXPECT(fake_counts.sessions_new > runs / 2);
	/* About a quarter gets as far as a handler: mutated strings often hold a NUL. */
	EXPECT(fake_counts.requests > runs / 8);
}

static void nothing_is_left(void)
{
	for (int i = 0; i < 6; i++)
		close(some_fds[i]);
	ipc_fixture_fini(&fixture);
}

static const struct test_case cases[] = {
	{ "the corpus is survived", corpus_is_survived },
	{ "mutated packets are survived", mutated_packets_are_survived },
	{ "nothing is left", nothing_is_left },
};

int main(int argc, char **argv)
{
	corpus_nr = argc - 1;
	corpus = argv + 1;
	return test_main(1, argv, cases, ARRAY_SIZE(cases));
}

#endif
