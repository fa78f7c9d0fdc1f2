/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region - first touch of a broker's region, as a client process does it
 *
 * Purpose     Our side of the fault suite: a child connects, makes a region in a private or
 *             named pool, touches it as struct touch says, and goes.
 */
#ifndef MMB_BENCH_REGION_H
#define MMB_BENCH_REGION_H

#include "lib/touch.h"

enum region_state {
	REGION_FRESH,     /* no page exists */
	REGION_POPULATED, /* every page is resident, none is mapped in the toucher */
};

struct region_args {
	enum region_state state;
	struct touch      touch; /* base is set here */
};

/* Keeps what the library says, and gives the error. */
int region_complain(int error, const char *what);

/* A side: arg is a struct region_args, the figures are those of touch_run(). */
int region_side(struct bench *b, const void *arg, struct sample *out);

#endif
