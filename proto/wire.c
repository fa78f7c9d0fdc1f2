/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire - method tables, bounded unpacking, Packet by hand, sockets
 *
 * Invariants  see wire.h. The hand-written header accepts exactly what protobuf-c accepts for
 *             Packet, and writes the bytes that protobuf-c writes.
 * Locking     none.
 */
#include "proto/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- memory for unpacked bodies ---- */

enum { SCRATCH_ALIGN = 16 };

void *wire_scratch_alloc(struct wire_scratch *scratch, size_t bytes)
{
	size_t   room = (size_t)(scratch->end - scratch->next);
	uint8_t *out = scratch->next;

	if (bytes > room || room - bytes < SCRATCH_ALIGN) {
		scratch->exhausted = true;
		return NULL;
	}
	scratch->next += (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
	return out;
}

static void *scratch_allocate(void *data, size_t bytes)
{
	return wire_scratch_alloc(data, bytes);
}

static void scratch_free(void *data, void *pointer)
{
	/* Everything is freed at once, by the next wire_scratch_init. */
	(void)data;
	(void)pointer;
}

void wire_scratch_init(struct wire_scratch *scratch, void *buffer, size_t bytes)
{
	scratch->allocator.alloc = scratch_allocate;
	scratch->allocator.free = scratch_free;
	scratch->allocator.allocator_data = scratch;
	scratch->next = buffer;
	scratch->end = scratch->next + bytes;
	scratch->exhausted = false;
}

/* ---- packets: field numbers and wire types of message Packet ---- */

enum { TYPE_VARINT = 0, TYPE_64BIT = 1, TYPE_BYTES = 2, TYPE_32BIT = 5 };
enum { FIELD_METHOD = 1, FIELD_ID = 2, FIELD_CODE = 3, FIELD_ERROR = 4, FIELD_BODY = 5,
       FIELD_AGAIN = 6 };

#define TAG(field, type) ((uint8_t)((field) << 3 | (type)))

enum {
	VARINT_BYTES_MAX = 10,
	TAG_BYTES_MAX = 5,
	/* method 1+5, id 1+10, code 1+10, error 1+10, body 1+10, again 1+10 */
	HEAD_BYTES_MAX = 6 + 11 + 11 + 11 + 11 + 11,
};

struct reader {
	const uint8_t *at, *end;
};

/* At most `longest` bytes; bits above the 64th are dropped, as protobuf-c does. */
static int read_varint(struct reader *r, unsigned int longest, uint64_t *out)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < longest && r->at < r->end; i++) {
		uint8_t byte = *r->at++;

		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80)) {
			*out = value;
			return 0;
		}
	}
	return -EPROTO;
}

static int read_bytes(struct reader *r, const uint8_t **out, size_t *nr)
{
	uint64_t length;

	/* Five bytes of length are more than any packet has. */
	if (read_varint(r, TAG_BYTES_MAX, &length) || length > (uint64_t)(r->end - r->at))
		return -EPROTO;
	*out = r->at;
	*nr = (size_t)length;
	r->at += length;
	return 0;
}

/* A field of a newer peer. Groups have no place in proto3. */
static int skip_field(struct reader *r, unsigned int type)
{
	const uint8_t *bytes;
	uint64_t       value;
	size_t         nr;

	switch (type) {
	case TYPE_VARINT:
		return read_varint(r, VARINT_BYTES_MAX, &value);
	case TYPE_BYTES:
		return read_bytes(r, &bytes, &nr);
	case TYPE_64BIT:
		nr = 8;
		break;
	case TYPE_32BIT:
		nr = 4;
		break;
	default:
		return -EPROTO;
	}
	if ((size_t)(r->end - r->at) < nr)
		return -EPROTO;
	r->at += nr;
	return 0;
}

static int read_field(struct reader *r, struct wire_packet *out)
{
	const uint8_t *bytes;
	uint64_t       tag, value;

	/* Like protobuf-c, too: field number 0 passes if it is written longer than need be. */
	if (!(*r->at & 0xf8) || read_varint(r, TAG_BYTES_MAX, &tag))
		return -EPROTO;
	/* Like protobuf-c: field numbers end with the 32nd bit. */
	tag = (uint32_t)tag;
	switch (tag) {
	case TAG(FIELD_METHOD, TYPE_VARINT):
		if (read_varint(r, VARINT_BYTES_MAX, &value))
			return -EPROTO;
		out->method = (uint32_t)value;
		return 0;
	case TAG(FIELD_ID, TYPE_VARINT):
		return read_varint(r, VARINT_BYTES_MAX, &out->id);
	case TAG(FIELD_CODE, TYPE_VARINT):
		if (read_varint(r, VARINT_BYTES_MAX, &value))
			return -EPROTO;
		out->code = (int32_t)(uint32_t)value;
		return 0;
	case TAG(FIELD_ERROR, TYPE_BYTES):
		if (read_bytes(r, &bytes, &out->error_bytes))
			return -EPROTO;
		out->error = (const char *)bytes;
		return 0;
	case TAG(FIELD_BODY, TYPE_BYTES):
		return read_bytes(r, &out->body, &out->body_bytes);
	case TAG(FIELD_AGAIN, TYPE_VARINT):
		return read_varint(r, VARINT_BYTES_MAX, &out->again);
	default:
		break;
	}
	/* A known number with another type is a lie. */
	if (tag >> 3 && tag >> 3 <= FIELD_AGAIN)
		return -EPROTO;
	return skip_field(r, tag & 7);
}

int wire_decode(const uint8_t *bytes, size_t nr, struct wire_packet *out)
{
	struct reader r = { .at = bytes, .end = bytes + nr };

	*out = (struct wire_packet){ .error = "" };
	while (r.at < r.end) {
		if (read_field(&r, out))
			return -EPROTO;
	}
	return 0;
}

static uint8_t *write_varint(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static uint8_t *write_number(uint8_t *at, uint8_t tag, uint64_t value)
{
	if (value == 0)
		return at;
	*at++ = tag;
	return write_varint(at, value);
}

static uint8_t *write_length(uint8_t *at, uint8_t tag, size_t length)
{
	*at++ = tag;
	return write_varint(at, length);
}

ssize_t wire_encode(const struct wire_packet *head, const ProtobufCMessage *body, uint8_t *out,
		    size_t capacity)
{
	size_t   packed = body ? protobuf_c_message_get_packed_size(body) : head->body_bytes;
	uint8_t *at = out;

	if (capacity < HEAD_BYTES_MAX || packed > capacity - HEAD_BYTES_MAX ||
	    head->error_bytes > capacity - HEAD_BYTES_MAX - packed)
		return -EMSGSIZE;
	at = write_number(at, TAG(FIELD_METHOD, TYPE_VARINT), head->method);
	at = write_number(at, TAG(FIELD_ID, TYPE_VARINT), head->id);
	/* A negative int32 is ten bytes long: protobuf sign-extends it to 64 bits. */
	at = write_number(at, TAG(FIELD_CODE, TYPE_VARINT), (uint64_t)(int64_t)head->code);
	if (head->error_bytes) {
		at = write_length(at, TAG(FIELD_ERROR, TYPE_BYTES), head->error_bytes);
		memcpy(at, head->error, head->error_bytes);
		at += head->error_bytes;
	}
	if (packed) {
		at = write_length(at, TAG(FIELD_BODY, TYPE_BYTES), packed);
		if (body)
			protobuf_c_message_pack(body, at);
		else
			memcpy(at, head->body, packed);
		at += packed;
	}
	at = write_number(at, TAG(FIELD_AGAIN, TYPE_VARINT), head->again);
	return at - out;
}

/* protobuf-c's strings end at the first NUL: one inside would cut the name short unseen. Strings
 * are top-level fields in all our messages that come from clients. */
static bool has_cut_string(const struct wire_packet *packet,
			   const ProtobufCMessageDescriptor *descriptor)
{
	struct reader r = { packet->body, packet->body + packet->body_bytes };

	while (r.at < r.end) {
		const ProtobufCFieldDescriptor *field;
		const uint8_t                  *bytes;
		uint64_t                        tag;
		size_t                          nr;

		if (read_varint(&r, TAG_BYTES_MAX, &tag))
			return false; /* protobuf-c will refuse it */
		if ((tag & 7) != TYPE_BYTES) {
			if (skip_field(&r, tag & 7))
				return false;
			continue;
		}
		if (read_bytes(&r, &bytes, &nr))
			return false;
		field = protobuf_c_message_descriptor_get_field(descriptor,
								(unsigned int)(uint32_t)tag >> 3);
		if (field && field->type == PROTOBUF_C_TYPE_STRING && memchr(bytes, 0, nr))
			return true;
	}
	return false;
}

int wire_unpack(const struct wire_packet *packet, const ProtobufCMessageDescriptor *descriptor,
		struct wire_scratch *scratch, ProtobufCMessage **out)
{
	if (packet->body_bytes) {
		if (has_cut_string(packet, descriptor))
			return -EPROTO;
		*out = protobuf_c_message_unpack(descriptor, &scratch->allocator,
						 packet->body_bytes, packet->body);
		if (*out)
			return 0;
		return scratch->exhausted ? -ENOBUFS : -EPROTO;
	}
	*out = wire_scratch_alloc(scratch, descriptor->sizeof_message);
	if (!*out)
		return -ENOBUFS;
	descriptor->message_init(*out);
	return 0;
}

/* ---- sockets ---- */

/* Room for the descriptors and not for one more: a fifth sets MSG_CTRUNC. */
union control {
	struct cmsghdr header;
	char           space[CMSG_SPACE(sizeof(int) * MMB_PACKET_FDS)];
};

static_assert(CMSG_SPACE(sizeof(int) * MMB_PACKET_FDS) <
		      CMSG_LEN(sizeof(int) * (MMB_PACKET_FDS + 1)),
	      "padding would let one descriptor too many in");

static void put_fds(struct msghdr *msg, union control *control, struct wire_fds fds)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->space;
	msg->msg_controllen = CMSG_SPACE(sizeof(int) * fds.nr);
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * fds.nr);
	memcpy(CMSG_DATA(c), fds.fds, sizeof(int) * fds.nr);
}

int wire_send(int sock, const void *bytes, size_t nr, struct wire_fds fds, int flags)
{
	struct iovec  iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = nr };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t       sent;

	if (fds.nr > MMB_PACKET_FDS)
		return -EINVAL;
	if (fds.nr)
		put_fds(&msg, &control, fds);
	do {
		/* Without descriptors send(2) saves the kernel copying a msghdr. */
		sent = fds.nr ? sendmsg(sock, &msg, flags | MSG_NOSIGNAL)
			      : send(sock, bytes, nr, flags | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == nr ? 0 : -EMSGSIZE;
}

void wire_discard_fds(struct wire_message *message)
{
	for (uint32_t i = 0; i < message->nr_fds; i++) {
		if (message->discard)
			message->discard(message->fds[i], message->sender);
		else
			close(message->fds[i]);
	}
	message->nr_fds = 0;
}

/* Moves the received descriptors into the message; -EPROTO for other control messages. */
static int take_fds(struct msghdr *msg, struct wire_message *message)
{
	int error = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t nr;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
			error = -EPROTO;
			continue;
		}
		nr = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		/* The buffer holds no more than MMB_PACKET_FDS in all. */
		memcpy(&message->fds[message->nr_fds], CMSG_DATA(c), nr * sizeof(int));
		message->nr_fds += (uint32_t)nr;
	}
	return error;
}

ssize_t wire_recv(int sock, struct wire_message *message, int flags)
{
	struct iovec  iov = { .iov_base = message->bytes, .iov_len = message->capacity };
	union control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t got;
	int     error = 0;

	message->nr_fds = 0;
	message->length = 0;
	message->cut = false;
	do {
		got = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR && !message->interruptible);
	if (got < 0)
		return -errno;
	if (msg.msg_controllen)
		error = take_fds(&msg, message);
	if (msg.msg_flags & MSG_CTRUNC)
		message->cut = message->may_be_cut && message->nr_fds < MMB_PACKET_FDS;
	if (error || msg.msg_flags & MSG_TRUNC || (msg.msg_flags & MSG_CTRUNC && !message->cut)) {
		wire_discard_fds(message);
		return -EPROTO;
	}
	if (message->cut)
		wire_discard_fds(message);
	/* An empty packet can't be told from the end, but it may bring descriptors. */
	if (got == 0)
		wire_discard_fds(message);
	message->length = (size_t)got;
	return got;
}
