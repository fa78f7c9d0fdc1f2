/* SPDX-License-Identifier: Apache-2.0 */
/*
 * methods - the tables of methods and upcalls, for who has to know them all
 *
 * Invariants  see methods.h.
 * Locking     none.
 * Not here    What a client needs of them: the library has only that (libclient/method.c), since
 *             each message that is named costs every program that links it some work at start.
 */
#include "proto/wire.h"

#define X(number, name_, request_, reply_, fds_, access_)                                     \
	[number] = { .name = #name_,                                                          \
		     .request = &mmb__wire__##request_##__descriptor,                         \
		     .reply = &mmb__wire__##reply_##__descriptor,                             \
		     .nr_fds = fds_,                                                          \
		     .access = WIRE_##access_ },
static const struct wire_method methods[] = { MMB_METHODS(X) };
#undef X

#define X(number, name_, request_)                                                            \
	[number] = { .name = #name_,                                                          \
		     .request = &mmb__wire__##request_##__descriptor,                         \
		     .reply = &mmb__wire__empty__descriptor },
static const struct wire_method upcalls[] = { MMB_UPCALLS(X) };
#undef X

const struct wire_method *wire_method(uint32_t number)
{
	if (number >= sizeof(methods) / sizeof(methods[0]) || !methods[number].name)
		return NULL;
	return &methods[number];
}

const struct wire_method *wire_upcall(uint32_t number)
{
	if (number >= sizeof(upcalls) / sizeof(upcalls[0]) || !upcalls[number].name)
		return NULL;
	return &upcalls[number];
}
