/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptors - counts the entries of /proc/self/fd, its own among them
 *
 * Locking     none.
 */
#include "lib/descriptors.h"

#include <dirent.h>
#include <stddef.h>

#include "lib/test.h"

unsigned int open_descriptors(void)
{
	DIR         *d = opendir("/proc/self/fd");
	unsigned int nr = 0;

	EXPECT(d != NULL);
	while (readdir(d))
		nr++;
	closedir(d);
	return nr;
}
