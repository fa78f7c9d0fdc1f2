/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_messages - bytes that are no message, or not quite
 *
 * Purpose     Short, long, truncated and mutated packets over the real socket. Each gets an error
 *             or ends its session; nothing else changes (hostile.h).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { "--limits.sessions_per_uid=1000", NULL };

/* ---- bytes that are no packet ---- */

static void send_junk(struct attack *a, const void *bytes, size_t nr)
{
	attack_greet(a);
	CLIENT_EXPECT_EQ(raw_send(&a->r, bytes, nr), 0);
	attack_ended(&a->r);
	raw_close(&a->r);
}

ATTACK(one_byte)
{
	for (int byte = 0; byte < 256; byte++) {
		char junk = (char)byte;

		send_junk(a, &junk, 1);
	}
}

/* A zero-byte message looks like the end of the connection: it is one. */
ATTACK(no_byte)
{
	send_junk(a, "", 0);
}

ATTACK(too_long)
{
	static uint8_t junk[4 * MMB_PACKET_MAX];

	send_junk(a, junk, MMB_PACKET_MAX + 1);
	send_junk(a, junk, sizeof(junk));
}

ATTACK(longest_of_junk)
{
	static uint8_t junk[MMB_PACKET_MAX];

	send_junk(a, junk, sizeof(junk));
	memset(junk, 0xff, sizeof(junk));
	send_junk(a, junk, sizeof(junk));
	memset(junk, 0x08, sizeof(junk)); /* a field's tag, over and over */
	attack_greet(a);
	CLIENT_EXPECT_EQ(raw_send(&a->r, junk, sizeof(junk)), 0);
	raw_recv(&a->r);
}

/* A valid packet followed by bytes up to one more than a packet may have. */
ATTACK(padded_beyond_limit)
{
	uint8_t packet[MMB_PACKET_MAX + 1] = { 0 };
	ssize_t nr;

	attack_greet(a);
	nr = raw_encode(&a->r, MMB_METHOD_PING, NULL);
	CLIENT_EXPECT(nr > 0);
	memcpy(packet, a->r.out, (size_t)nr);
	CLIENT_EXPECT_EQ(raw_send(&a->r, packet, sizeof(packet)), 0);
	attack_ended(&a->r);
}

ATTACK(random_bytes)
{
	uint64_t state = a->seed;
	uint8_t  junk[512];

	for (int i = 0; i < 300; i++) {
		size_t nr = 1 + test_random(&state) % sizeof(junk);

		for (size_t at = 0; at < nr; at++)
			junk[at] = (uint8_t)test_random(&state);
		attack_greet(a);
		CLIENT_EXPECT_EQ(raw_send(&a->r, junk, nr), 0);
		raw_close(&a->r);
	}
}

/* ---- valid messages, cut and mutated ---- */

enum { NR_SAMPLES = 7 };

struct sample {
	uint32_t    method;
	const void *body;
	bool        attached; /* sent in a session with memory */
};

/* Valid requests; `sample` must be less than NR_SAMPLES. */
static struct sample make_sample(struct attack *a, int sample)
{
	static Mmb__Wire__HelloRequest       hello = MMB__WIRE__HELLO_REQUEST__INIT;
	static Mmb__Wire__PoolOpenRequest    pool = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	static Mmb__Wire__RegionOpenRequest  region = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	static Mmb__Wire__NodePolicy         nodes = MMB__WIRE__NODE_POLICY__INIT;
	static Mmb__Wire__PagesAllocRequest  alloc = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;
	static Mmb__Wire__PagesFreeRequest   dealloc = MMB__WIRE__PAGES_FREE_REQUEST__INIT;
	static Mmb__Wire__RegionRangeRequest range = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	static Mmb__Wire__WindowRequest      window = MMB__WIRE__WINDOW_REQUEST__INIT;
	static uint64_t                      addresses[4] = { PAGE, 2 * PAGE, 1ull << 46, ~0ull };
	const struct sample                  samples[NR_SAMPLES] = {
		{ MMB_METHOD_HELLO, &hello, false },
		{ MMB_METHOD_POOL_OPEN, &pool, true },
		{ MMB_METHOD_REGION_CREATE, &region, true },
		{ MMB_METHOD_PAGES_ALLOC, &alloc, true },
		{ MMB_METHOD_PAGES_FREE, &dealloc, true },
		{ MMB_METHOD_REGION_ADVISE, &range, true },
		{ MMB_METHOD_WINDOW, &window, true },
	};

	hello.version_min = hello.version_max = MMB_PROTOCOL_VERSION;
	hello.features = 7;
	hello.name = (char *)(uintptr_t)"sample";
	pool.name = (char *)(uintptr_t)"sample";
	pool.flags = MMB_POOL_CREATE;
	pool.max = 64 * PAGE;
	region.pool = alloc.pool = dealloc.pool = a->r.pool;
	region.length = 16 * PAGE;
	region.mode = 0600;
	region.nodes = &nodes;
	alloc.order = 1;
	alloc.count = 3;
	dealloc.order = 1;
	dealloc.addresses = addresses;
	dealloc.n_addresses = 4;
	range.length = 2 * PAGE;
	range.advice = MMB_ADVISE_WILLNEED;
	window.address = 1ull << 45;
	return samples[sample];
}

/* The packet of a sample in `out`, in a fresh session that is ready for it; 0: no more samples. */
static size_t prepare(struct attack *a, int sample, uint8_t *out)
{
	struct sample s = make_sample(a, sample);
	ssize_t       nr;

	raw_close(&a->r);
	if (s.attached)
		attack_pool(a);
	else
		attack_connect(a);
	s = make_sample(a, sample);
	nr = raw_encode(&a->r, s.method, s.body);
	CLIENT_EXPECT(nr > 0);
	memcpy(out, a->r.out, (size_t)nr);
	return (size_t)nr;
}

/* An answer, or the end; never silence. */
static void answered_or_ended(struct attack *a)
{
	int error = raw_recv(&a->r);

	CLIENT_EXPECT(error == 0 || error == -ECONNRESET);
}

static void cut_everywhere(struct attack *a, int sample)
{
	uint8_t packet[MMB_PACKET_MAX];
	size_t  nr = prepare(a, sample, packet);

	for (size_t cut = 1; cut < nr; cut++) {
		prepare(a, sample, packet);
		CLIENT_EXPECT_EQ(raw_send(&a->r, packet, cut), 0);
		answered_or_ended(a);
	}
}

static void flip_everywhere(struct attack *a, int sample)
{
	static const uint8_t masks[] = { 0xff, 0x80, 0x01, 0x07 };
	uint8_t              packet[MMB_PACKET_MAX];
	size_t               nr = prepare(a, sample, packet);

	for (size_t at = 0; at < nr; at++) {
		for (size_t m = 0; m < sizeof(masks); m++) {
			prepare(a, sample, packet);
			packet[at] ^= masks[m];
			CLIENT_EXPECT_EQ(raw_send(&a->r, packet, nr), 0);
			answered_or_ended(a);
		}
	}
}

ATTACK(truncated_hello)
{
	cut_everywhere(a, 0);
}

ATTACK(truncated_requests)
{
	for (int sample = 1; sample < NR_SAMPLES; sample++)
		cut_everywhere(a, sample);
}

ATTACK(flipped_hello)
{
	flip_everywhere(a, 0);
}

ATTACK(flipped_pool_open)
{
	flip_everywhere(a, 1);
}

ATTACK(flipped_region_create)
{
	flip_everywhere(a, 2);
}

ATTACK(flipped_pages)
{
	flip_everywhere(a, 3);
	flip_everywhere(a, 4);
}

ATTACK(flipped_ranges)
{
	flip_everywhere(a, 5);
	flip_everywhere(a, 6);
}

/* What root may well ask for, and ends all sessions. */
static bool is_drain(const uint8_t *packet, size_t nr)
{
	struct wire_packet head;

	return !wire_decode(packet, nr, &head) && head.method == MMB_METHOD_DRAIN;
}

/* Several bytes at once, and pieces of one message spliced into another. */
ATTACK(random_mutations)
{
	uint64_t state = a->seed;
	uint8_t  packet[MMB_PACKET_MAX], other[MMB_PACKET_MAX];

	for (int i = 0; i < 300; i++) {
		size_t nr_other = prepare(a, (int)(test_random(&state) % NR_SAMPLES), other);
		size_t nr = prepare(a, (int)(test_random(&state) % NR_SAMPLES), packet);
		size_t from = test_random(&state) % nr_other, to = test_random(&state) % nr;

		memcpy(&packet[to], &other[from], nr_other - from);
		nr = to + nr_other - from;
		for (int n = 0; n < 3; n++)
			packet[test_random(&state) % nr] = (uint8_t)test_random(&state);
		if (is_drain(packet, nr))
			continue;
		CLIENT_EXPECT_EQ(raw_send(&a->r, packet, nr), 0);
		answered_or_ended(a);
	}
}

/* ---- packets whose parts are wrong ---- */

ATTACK(unknown_methods)
{
	static const uint32_t numbers[] = { 0,   31,  47,  49,  63,         64,         65,
					    127, 128, 255, 256, 0x7fffffff, 0x80000000, ~0u };

	attack_greet(a);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		attack_refused(&a->r, numbers[i], NULL, -ENOSYS);
}

ATTACK(unknown_method_first)
{
	attack_connect(a);
	attack_cut(&a->r, 99, NULL);
}

/* A packet by hand: method, id and a body of these bytes. */
static void send_body(struct attack *a, uint32_t method, const void *body, size_t nr)
{
	uint8_t packet[MMB_PACKET_MAX] = { 0x08, (uint8_t)method, 0x10, 1, 0x2a };
	size_t  at = 5;

	CLIENT_EXPECT(method < 128 && nr < MMB_PACKET_MAX - 8);
	packet[at++] = (uint8_t)(nr & 0x7f) | 0x80;
	packet[at++] = (uint8_t)(nr >> 7 & 0x7f) | 0x80;
	packet[at++] = (uint8_t)(nr >> 14);
	memcpy(&packet[at], body, nr);
	CLIENT_EXPECT_EQ(raw_send(&a->r, packet, at + nr), 0);
}

static void body_ends_session(struct attack *a, uint32_t method, const char *body, size_t nr)
{
	attack_pool(a);
	send_body(a, method, body, nr);
	attack_ended(&a->r);
	raw_close(&a->r);
}

ATTACK(bodies_of_no_message)
{
	static const struct {
		const char *bytes;
		size_t      nr;
	} bodies[] = {
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12 }, /* an endless tag */
		{ "\x08\xff", 2 },                                 /* a varint without end */
		{ "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12 }, /* of 11 bytes */
		{ "\x0a\x7f" "ab", 4 },                           /* a length beyond the end */
		{ "\x0a\xff\xff\xff\xff\x0f", 6 },                /* of 4 GiB */
		{ "\x0b\x0c", 2 },                                 /* a group */
		{ "\x0e\x01", 2 },                                 /* wire type 6 */
		{ "\x09\x01\x02", 3 },                            /* eight bytes, five missing */
		{ "\x00\x01", 2 },                                 /* field 0 */
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		body_ends_session(a, MMB_METHOD_REGION_OPEN, bodies[i].bytes, bodies[i].nr);
}

ATTACK(body_of_another_message)
{
	static const char hello[] = "\x08\x01\x10\x01\x18\x07\x22\x03" "abc";

	/* Field 4 is a string in HELLO and a number in PAGES_ALLOC. */
	body_ends_session(a, MMB_METHOD_PAGES_ALLOC, hello, sizeof(hello) - 1);
}

ATTACK(deep_nesting)
{
	char   body[8000];
	size_t nr = 0;

	/* Field 7 of REGION_CREATE is a message: in itself, in itself, ... as unknown fields. */
	for (int level = 0; level < 2000; level++) {
		body[nr++] = 0x3a;
		body[nr++] = 0x7f;
	}
	body_ends_session(a, MMB_METHOD_REGION_CREATE, body, nr);
}

ATTACK(unknown_fields)
{
	static const char body[] = "\xc0\x3e\x01\xca\x3e\x03" "abc";

	attack_greet(a);
	send_body(a, MMB_METHOD_PING, body, sizeof(body) - 1);
	CLIENT_EXPECT_EQ(raw_recv(&a->r), 0);
	CLIENT_EXPECT_EQ(a->r.reply.code, 0);
	attack_serves(&a->r);
}

/* Many small unknown fields want more memory to unpack than any request should. */
ATTACK(body_that_swells)
{
	char   body[16000];
	size_t nr = 0;

	while (nr + 3 <= sizeof(body)) {
		body[nr++] = '\xc0';
		body[nr++] = 0x3e;
		body[nr++] = 1;
	}
	attack_pool(a);
	send_body(a, MMB_METHOD_REGION_STAT, body, nr);
	answered_or_ended(a);
	raw_close(&a->r);
	nr = 0;
	while (nr + 4 <= sizeof(body)) { /* the same string, set again and again */
		memcpy(&body[nr], "\x12\x02" "ab", 4);
		nr += 4;
	}
	attack_pool(a);
	send_body(a, MMB_METHOD_REGION_OPEN, body, nr);
	answered_or_ended(a);
}

ATTACK(too_many_addresses)
{
	static uint64_t             addresses[10000];
	Mmb__Wire__PagesFreeRequest request = MMB__WIRE__PAGES_FREE_REQUEST__INIT;

	attack_pool(a);
	request.pool = a->r.pool;
	request.addresses = addresses;
	for (size_t nr = MMB_PAGES_BATCH + 1; nr <= 10000; nr = nr * 2 + 1) {
		request.n_addresses = nr;
		attack_refused(&a->r, MMB_METHOD_PAGES_FREE, &request, -EINVAL);
	}
	request.n_addresses = 0;
	attack_refused(&a->r, MMB_METHOD_PAGES_FREE, &request, -EINVAL);
}

/* Fields of a reply in a request are no business of the daemon's. */
ATTACK(request_with_code_and_error)
{
	const struct wire_packet head = {
		.method = MMB_METHOD_PING, .id = 7, .code = -5, .error = "%s%n", .error_bytes = 4,
	};
	ssize_t nr;

	attack_greet(a);
	nr = wire_encode(&head, NULL, a->r.out, sizeof(a->r.out));
	CLIENT_EXPECT(nr > 0);
	CLIENT_EXPECT_EQ(raw_send(&a->r, a->r.out, (size_t)nr), 0);
	CLIENT_EXPECT_EQ(raw_recv(&a->r), 0);
	CLIENT_EXPECT_EQ(a->r.reply.id, 7);
	CLIENT_EXPECT_EQ(a->r.reply.code, 0);
}

ATTACK(ids_at_the_edge)
{
	static const uint64_t ids[] = { 0, 1, ~0ull, 1ull << 63, 0, 0 };

	attack_greet(a);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		a->r.next_id = ids[i] - 1;
		/* Without an id only a reply that says something is sent. */
		CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_STATUS, NULL), 0);
		CLIENT_EXPECT(a->r.reply.id == ids[i]);
	}
}

static const struct test_case cases[] = {
	{ "a message of one byte ends the session, whatever the byte", one_byte },
	{ "an empty message ends the session", no_byte },
	{ "a message longer than MMB_PACKET_MAX ends the session", too_long },
	{ "the longest message, full of junk, harms nobody", longest_of_junk },
	{ "a valid packet padded beyond the limit ends the session", padded_beyond_limit },
	{ "random bytes harm nobody", random_bytes },
	{ "HELLO cut at every byte is answered or ends the session", truncated_hello },
	{ "each request cut at every byte is answered or ends the session", truncated_requests },
	{ "HELLO with each byte flipped is answered or ends the session", flipped_hello },
	{ "POOL_OPEN with each byte flipped changes nothing", flipped_pool_open },
	{ "REGION_CREATE with each byte flipped changes nothing", flipped_region_create },
	{ "PAGES_ALLOC and PAGES_FREE with each byte flipped change nothing", flipped_pages },
	{ "ADVISE and WINDOW with each byte flipped change nothing", flipped_ranges },
	{ "spliced and mutated requests change nothing", random_mutations },
	{ "methods that don't exist are refused and the session lives", unknown_methods },
	{ "an unknown method before HELLO ends the session", unknown_method_first },
	{ "a body that is no message ends the session", bodies_of_no_message },
	{ "the body of another message ends the session", body_of_another_message },
	{ "messages nested without end end the session", deep_nesting },
	{ "unknown fields are passed over", unknown_fields },
	{ "a body that swells when unpacked is bounded", body_that_swells },
	{ "too many addresses in one request are refused", too_many_addresses },
	{ "code and error in a request mean nothing", request_with_code_and_error },
	{ "any id is answered with the same id", ids_at_the_edge },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
