/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start_floor - a program that takes memory of another process and touches it
 *
 * Purpose     What no broker's client can do without; see floor_give.h.
 */
#include <stddef.h>
#include <string.h>

#include "malloc/floor_take.h"

int main(void)
{
	char *at = floor_take();

	if (at == NULL)
		return 1;
	memset(at, 1, 64);
	return 0;
}
