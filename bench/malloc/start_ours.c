/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start_ours - a program that links the library and allocates once
 *
 * Purpose     The broker is the one $MMB_SOCKET names.
 */
#include <stdio.h>
#include <string.h>

#include "mmbroker.h"

int main(void)
{
	struct mmb_pool *pool;
	struct mmb *mmb;
	char *at;

	if (mmb_open(NULL, NULL, &mmb) ||
	    mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool) ||
	    (at = mmb_malloc(pool, 64)) == NULL) {
		fprintf(stderr, "start_ours: %s\n", mmb_error());
		return 1;
	}
	memset(at, 1, 64);
	return 0;
}
