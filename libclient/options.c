/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options - structs that can grow: what the caller was compiled with against what we know
 *
 * Invariants  O1  Never a byte beyond the size the caller stated is read or written.
 * Locking     none: the caller's struct is the caller's.
 */
#include "options.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "error.h"

/* No struct of this interface will ever be longer: a larger size is an uninitialised one. */
enum { STRUCT_BYTES_MAX = 4096 };

static size_t stated_size(const void *given)
{
	size_t size;

	memcpy(&size, given, sizeof(size));
	return size;
}

static int check_size(const void *given, const char *what)
{
	size_t size = stated_size(given);

	if (size < sizeof(size_t) || size > STRUCT_BYTES_MAX)
		return fail(-EINVAL, "%s.size is %zu; set it to sizeof(struct %s)", what, size,
			    what);
	return 0;
}

int options_read(void *known, size_t known_size, const void *given, const char *what)
{
	const uint8_t *bytes = given;
	size_t size, i;
	int error;

	memset(known, 0, known_size);
	if (!given) {
		memcpy(known, &known_size, sizeof(known_size));
		return 0;
	}
	error = check_size(given, what);
	if (error)
		return error;
	size = stated_size(given);
	for (i = known_size; i < size; i++)
		if (bytes[i])
			return fail(-EINVAL,
				    "%s has a field at byte %zu that this library (%s) does not "
				    "know; leave it zero or use a newer libmmbroker",
				    what, i, MMB_VERSION);
	memcpy(known, given, size < known_size ? size : known_size);
	return 0;
}

int result_check(const void *given, const char *what)
{
	if (!given)
		return fail(-EINVAL, "%s is NULL; pass a struct to fill", what);
	return check_size(given, what);
}

void result_write(void *given, const void *known, size_t known_size)
{
	size_t size = stated_size(given);
	size_t both = size < known_size ? size : known_size;

	memcpy((uint8_t *)given + sizeof(size_t), (const uint8_t *)known + sizeof(size_t),
	       both - sizeof(size_t));
	if (size > known_size)
		memset((uint8_t *)given + known_size, 0, size - known_size);
}
