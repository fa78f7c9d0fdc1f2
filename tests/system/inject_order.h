/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject_order - how a signal's value tells mmbrokerd-inject at which pass of which point to die
 */
#ifndef MMB_TESTS_SYSTEM_INJECT_ORDER_H
#define MMB_TESTS_SYSTEM_INJECT_ORDER_H

#include "base/inject.h"

enum { INJECT_NTH_BITS = 8 };

static inline int inject_order(enum inject_point point, unsigned int nth)
{
	return (int)((unsigned int)point << INJECT_NTH_BITS | nth);
}

#endif
