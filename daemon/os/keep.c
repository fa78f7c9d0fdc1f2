/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep - passes on to the keeper; what was left is in an array by number
 */
#include "os/keep.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

static const struct keep_ops *keeper; /* fixed while others run */
static int *left;                     /* by key: descriptor + 1; NULL: nothing was left */

void keep_set(const struct keep_ops *ops)
{
	keeper = ops;
}

bool keep_is_on(void)
{
	return keeper != NULL;
}

int keep_fd(uint32_t key, int fd)
{
	CHECK(key < KEEP_KEYS);
	return keeper ? keeper->keep(key, fd) : 0;
}

void keep_drop(uint32_t key)
{
	if (keeper)
		keeper->drop(key);
}

int keep_give(uint32_t key, int fd)
{
	if (!left)
		left = calloc(KEEP_KEYS, sizeof(*left));
	if (!left)
		return -ENOMEM;
	CHECK(key < KEEP_KEYS);
	if (left[key])
		close(left[key] - 1);
	left[key] = fd + 1;
	return 0;
}

bool keep_has(uint32_t key)
{
	return left && key < KEEP_KEYS && left[key];
}

int keep_take(uint32_t key)
{
	int fd = left && key < KEEP_KEYS ? left[key] - 1 : -1;

	if (fd >= 0)
		left[key] = 0;
	return fd;
}

void keep_settle(void)
{
	for (uint32_t key = 0; left && key < KEEP_KEYS; key++) {
		if (!left[key])
			continue;
		close(left[key] - 1);
		keep_drop(key);
	}
	free(left);
	left = NULL;
}
