/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method - what the library has to know of the methods that it calls
 *
 * Purpose     The messages of others (reports, administration) aren't in it: each one is a table of
 *             addresses that the dynamic linker adjusts in every program that links the library.
 */
#ifndef MMB_LIBCLIENT_METHOD_H
#define MMB_LIBCLIENT_METHOD_H

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct method {
	const char                       *name;
	const ProtobufCMessageDescriptor *reply;
};

/* Of one that the library calls. */
const struct method *method_of(uint32_t number);
/* An upcall's request; NULL: this library doesn't know it. */
const ProtobufCMessageDescriptor *method_upcall(uint32_t number);

#endif
