/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep - passes on to the keeper; what was left is in an array by number
 *
 * Locking     atomics: a key is kept and dropped by one thread at a time, whose thing it is.
 */
#include "os/keep.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "os/last_close.h"

static const struct keep_ops *keeper; /* fixed while others run */
static int *left;                     /* by key: descriptor + 1; NULL: nothing was left */
static uint32_t room = UINT32_MAX;    /* fixed while others run */
static _Atomic uint32_t reserved;
static _Atomic uint32_t nr_kept, nr_sections; /* all, and of them sections */
static _Atomic uint64_t kept[KEEP_KEYS / 64]; /* a bit a key */

void keep_set(const struct keep_ops *ops)
{
	keeper = ops;
}

bool keep_is_on(void)
{
	return keeper != NULL;
}

void keep_set_room(uint32_t nr)
{
	room = nr;
}

uint32_t keep_room(void)
{
	return room;
}

void keep_set_reserved(uint32_t nr)
{
	atomic_store(&reserved, nr);
}

uint32_t keep_room_for_sections(void)
{
	uint32_t kept_back = atomic_load(&reserved);

	if (room == UINT32_MAX)
		return room;
	return room > kept_back ? room - kept_back : 0;
}

/* Whether the key was marked. */
static bool mark(uint32_t key, bool on)
{
	uint64_t bit = 1ull << key % 64, was;

	CHECK(key < KEEP_KEYS);
	was = on ? atomic_fetch_or(&kept[key / 64], bit) : atomic_fetch_and(&kept[key / 64], ~bit);
	return was & bit;
}

static bool is_section(uint32_t key)
{
	return key < KEEP_SESSIONS;
}

static void unmark(uint32_t key)
{
	if (!mark(key, false))
		return;
	atomic_fetch_sub(&nr_kept, 1);
	atomic_fetch_sub(&nr_sections, is_section(key));
}

/* K3 */
static int mark_kept(uint32_t key)
{
	bool fits;

	if (mark(key, true))
		return 0;
	fits = atomic_fetch_add(&nr_kept, 1) < room;
	if (is_section(key) && atomic_fetch_add(&nr_sections, 1) >= keep_room_for_sections())
		fits = false;
	if (fits)
		return 0;
	unmark(key);
	return -EMFILE;
}

int keep_fd(uint32_t key, int fd)
{
	int r;

	if (!keeper)
		return 0;
	r = mark_kept(key);
	if (r)
		return r;
	r = keeper->keep(key, fd);
	if (r)
		unmark(key);
	return r;
}

void keep_drop(uint32_t key)
{
	if (!keeper)
		return;
	keeper->drop(key);
	unmark(key);
}

int keep_barrier(int fd)
{
	return keeper ? keeper->barrier(fd) : 0;
}

int keep_give(uint32_t key, int fd)
{
	if (!left)
		left = calloc(KEEP_KEYS, sizeof(*left));
	if (!left)
		return -ENOMEM;
	if (!mark(key, true)) {
		atomic_fetch_add(&nr_kept, 1);
		atomic_fetch_add(&nr_sections, is_section(key));
	}
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
		keep_drop(key);
		if (!last_close(left[key] - 1))
			close(left[key] - 1);
	}
	free(left);
	left = NULL;
}
