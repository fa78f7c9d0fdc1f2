/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start_process - a program that allocates once, with libc
 *
 * Purpose     Its start and end are what start_ours is compared with.
 */
#include <stdlib.h>
#include <string.h>

int main(void)
{
	char *volatile at = malloc(64);

	if (at == NULL)
		return 1;
	memset(at, 1, 64);
	return 0;
}
