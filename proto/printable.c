/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printable - what the name of a client or of anything that it makes may consist of
 *
 * Purpose     See printable.h.
 */
#include "proto/printable.h"

#include <stdint.h>

size_t printable_length(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	static const uint32_t least[] = { 0, 0x20, 0xa0, 0x800, 0x10000 };
	uint32_t              code;
	size_t                nr;

	if (s[0] < 0x80)
		nr = 1, code = s[0];
	else if (s[0] >> 5 == 6)
		nr = 2, code = s[0] & 0x1f;
	else if (s[0] >> 4 == 14)
		nr = 3, code = s[0] & 0x0f;
	else if (s[0] >> 3 == 30)
		nr = 4, code = s[0] & 0x07;
	else
		return 0;
	for (size_t i = 1; i < nr; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (code < least[nr] || code == 0x7f || code > 0x10ffff || code >> 11 == 0x1b)
		return 0;
	return nr;
}
