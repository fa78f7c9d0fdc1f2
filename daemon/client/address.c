/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address - three ranges of client addresses, first fit
 *
 * Why         Which addresses are free in every process stands above the table.
 */
#include "client/address.h"

#include <errno.h>

#include "base/lock.h"

/*
 * x86-64 address space below 2^47, with what others claim in it:
 *   ASan keeps its shadow in 0x7fff8000 .. 0x10007fff8000; above is free.
 *   TSan lets programs use only 0x0 .. 0x8000000000, 0x550000000000 .. 0x568000000000 and
 *   0x7e8000000000 .. 0x800000000000.
 *   The kernel places executables from 0x555555554000 up and mmaps from the top downwards, below
 *   a random offset of at most 1 TiB.
 *   libmmbroker lays the chunks of large objects in 0x500000000000 .. 0x550000000000.
 * The first two ranges are legal under both sanitizers; the third is large and legal under ASan.
 */
static const uint64_t bounds[][2] = {
	{ 0x7e8000000000ull, 0x7ef000000000ull }, /* 448 GiB */
	{ 0x550000000000ull, 0x555000000000ull }, /* 320 GiB */
	{ 0x200000000000ull, 0x4e0000000000ull }, /* 46 TiB */
};
enum { NR_BOUNDS = ARRAY_SIZE(bounds), EARLY_STEPS = 512 };

const uint64_t address_private_bounds[2] = { 0x4e0000000000ull, 0x500000000000ull };

static struct mutex lock;
static struct range_alloc table[NR_BOUNDS]; /* lock */

void addresses_init(void)
{
	mutex_init(&lock, RANK_LEAF, "addresses");
	for (int i = 0; i < NR_BOUNDS; i++)
		range_alloc_init(&table[i], bounds[i][0], bounds[i][1]);
}

int address_alloc(struct range *r, uint64_t length, uint64_t align)
{
	int error = -EADDRNOTAVAIL;

	mutex_lock(&lock);
	for (int i = 0; i < NR_BOUNDS && error; i++)
		error = range_alloc(&table[i], r, length, align);
	mutex_unlock(&lock);
	return error ? -EADDRNOTAVAIL : 0;
}

/* First fit; each step is past a range that is in the way. */
static int alloc_early_locked(struct range_alloc *ra, struct range *r, uint64_t length,
			      uint64_t lead)
{
	uint64_t start = round_up(ra->start + lead, ADDRESS_SPAN) - lead;

	for (int i = 0; i < EARLY_STEPS && start + length <= ra->end; i++) {
		const struct range *busy = range_find_from(ra, start);

		if (!busy || busy->start >= start + length)
			return range_alloc_at(ra, r, start, length);
		start = round_up(busy->start + busy->length + lead, ADDRESS_SPAN) - lead;
	}
	return -ENOSPC;
}

int address_alloc_early(struct range *r, uint64_t length, uint64_t align, uint64_t lead)
{
	int error = -EADDRNOTAVAIL;

	mutex_lock(&lock);
	for (int i = 0; i < NR_BOUNDS && error; i++) {
		error = alloc_early_locked(&table[i], r, length, lead);
		/* Rather than where fewer processes can have it. */
		if (error)
			error = range_alloc(&table[i], r, length, align);
	}
	mutex_unlock(&lock);
	return error ? -EADDRNOTAVAIL : 0;
}

int address_take(struct range *r, uint64_t start, uint64_t length)
{
	int error = -EADDRNOTAVAIL;

	mutex_lock(&lock);
	for (int i = 0; i < NR_BOUNDS && error; i++)
		if (start >= bounds[i][0] && start < bounds[i][1])
			error = range_alloc_at(&table[i], r, start, length);
	mutex_unlock(&lock);
	return error ? -EADDRNOTAVAIL : 0;
}

static struct range_alloc *table_of(uint64_t start)
{
	int i = 0;

	while (start < bounds[i][0] || start >= bounds[i][1])
		i++;
	return &table[i];
}

void address_move(struct range *to, struct range *from)
{
	uint64_t start = from->start, length = from->length;
	int error;

	mutex_lock(&lock);
	range_free(table_of(start), from);
	error = range_alloc_at(table_of(start), to, start, length);
	mutex_unlock(&lock);
	CHECK(!error);
}

void address_free(struct range *r)
{
	if (!r->length)
		return;
	mutex_lock(&lock);
	range_free(table_of(r->start), r);
	mutex_unlock(&lock);
}

bool address_is_legal(uint64_t address, uint64_t length)
{
	uint64_t end;

	return address >= 0x10000 && !__builtin_add_overflow(address, length, &end) &&
	       end <= 1ull << 47;
}

void addresses_validate(struct validation *v)
{
	mutex_lock(&lock);
	for (int i = 0; i < NR_BOUNDS; i++)
		range_alloc_validate(&table[i], v);
	mutex_unlock(&lock);
}
