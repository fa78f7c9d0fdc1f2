/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size - digits and one letter
 */
#include "tools/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool size_parse(const char *text, uint64_t *bytes)
{
	static const char  letters[] = "KMGT";
	const char        *letter;
	unsigned long long value;
	unsigned int       shift = 0;
	char              *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end != '\0') {
		letter = strchr(letters, *end);
		if (!letter || end[1] != '\0')
			return false;
		shift = 10 * (unsigned int)(letter - letters + 1);
	}
	*bytes = value << shift;
	return !errno && *bytes >> shift == value;
}
