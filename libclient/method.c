/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method - what the library has to know of the methods that it calls
 *
 * Purpose     See method.h.
 */
#include "method.h"

#include <stddef.h>

#include "proto/methods.h"
#include "proto/mmbroker.pb-c.h"

#define ROW(number, name_, reply_)                                                            \
	[number] = { .name = #name_, .reply = &mmb__wire__##reply_##__descriptor },
#define ROW_FIRST(number, name, reply)   ROW(number, name, reply)
#define ROW_SESSION(number, name, reply) ROW(number, name, reply)
#define ROW_READ(number, name, reply)
#define ROW_ADMIN(number, name, reply)
#define X(number, name, request, reply, fds, access) ROW_##access(number, name, reply)
static const struct method methods[] = { MMB_METHODS(X) ROW(MMB_METHOD_PING, PING, empty) };
#undef X

enum { FIRST_UPCALL = MMB_UPCALL_ZAP };

#define X(number, name, request)                                                              \
	[number - FIRST_UPCALL] = &mmb__wire__##request##__descriptor,
static const ProtobufCMessageDescriptor *const upcalls[] = { MMB_UPCALLS(X) };
#undef X

const struct method *method_of(uint32_t number)
{
	return &methods[number];
}

const ProtobufCMessageDescriptor *method_upcall(uint32_t number)
{
	if (number - FIRST_UPCALL >= sizeof(upcalls) / sizeof(upcalls[0]))
		return NULL;
	return upcalls[number - FIRST_UPCALL];
}
