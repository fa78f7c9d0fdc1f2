/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_spec - letters and names
 *
 * Locking     none.
 */
#include "mm/obj/slub_spec.h"

#include <fnmatch.h>
#include <string.h>

#include "mm/obj/slab.h"

const char slub_spec_expected[] =
	"letters of FZPU and names of caches, such as \"FZ,session;P\"";

static bool parse_letters(const char *letters, size_t nr, uint32_t *flags)
{
	*flags = nr ? 0 : SLAB_DEBUG_FLAGS;
	for (size_t i = 0; i < nr; i++) {
		switch (letters[i]) {
		case 'F': *flags |= SLAB_CONSISTENCY_CHECKS; break;
		case 'Z': *flags |= SLAB_RED_ZONE; break;
		case 'P': *flags |= SLAB_POISON; break;
		case 'U': *flags |= SLAB_STORE_USER; break;
		case '-': *flags = 0; break;
		default: return false;
		}
	}
	return true;
}

bool slub_spec_ok(const char *spec)
{
	const char *block = spec;
	uint32_t    flags;

	if (strlen(spec) >= SLUB_SPEC_BYTES)
		return false;
	while (block) {
		if (!parse_letters(block, strcspn(block, ",;"), &flags))
			return false;
		block = strchr(block, ';');
		block = block ? block + 1 : NULL;
	}
	return true;
}

/* True if a block has no names or one of them fits. */
static bool block_names(char *names, const char *name)
{
	char *save = NULL;

	if (!names)
		return true;
	for (char *n = strtok_r(names, ",", &save); n; n = strtok_r(NULL, ",", &save))
		if (!fnmatch(n, name, 0))
			return true;
	return false;
}

uint32_t slub_spec_flags(const char *spec, const char *name)
{
	char     copy[SLUB_SPEC_BYTES], *save = NULL;
	uint32_t flags, found = 0;

	strcpy(copy, spec);
	for (char *b = strtok_r(copy, ";", &save); b; b = strtok_r(NULL, ";", &save)) {
		char *names = strchr(b, ',');

		if (names)
			*names++ = 0;
		if (block_names(names, name) && parse_letters(b, strlen(b), &flags))
			found = flags;
	}
	return found;
}
