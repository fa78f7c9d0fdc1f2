/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject_order - how a signal's value, or a file, tells mmbrokerd-inject where to die: at which
 *                pass of which point
 */
#ifndef MMB_TESTS_SYSTEM_INJECT_ORDER_H
#define MMB_TESTS_SYSTEM_INJECT_ORDER_H

#include "base/inject.h"

enum { INJECT_NTH_BITS = 16 };

/* What the file holds that $MMB_ORDERS names. */
struct inject_orders {
	int order; /* of the next daemon that starts, from its start on; 0: none */
	int taker; /* its pid */
};

static inline int inject_order(enum inject_point point, unsigned int nth)
{
	return (int)((unsigned int)point << INJECT_NTH_BITS | nth);
}

#endif
