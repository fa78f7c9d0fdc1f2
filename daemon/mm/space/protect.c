/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protect - halves of halves, and how many of them a client may cost
 */
#include "mm/space/protect.h"

#include <errno.h>
#include <time.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "os/os.h"

enum {
	PROTECT_TRIES = 2000,
	READ_SPINS = 64, /* while a lane deals with what it has read */
	READ_TRIES = 16,
	MOVES_TRIES = 5000, /* of a millisecond each */
};
static const uint64_t vain_ns = 1000000000ull / PROTECT_VAIN_PER_S;
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };
static const struct timespec reading_pause = { .tv_nsec = 20 * 1000 };

/* One call of protect(). */
struct descent {
	struct mm *mm;
	uint64_t granule; /* what is mapped whole or not at all */
	uint64_t nr_vain; /* granules that aren't registered */
	uint64_t nr_most;
};

static int try_protect(const struct descent *d, uint64_t address, uint64_t length)
{
	heartbeat_touch();
	return os->uffd_protect(d->mm->uffd, address, length);
}

static bool is_vain(int error)
{
	return error == -ENOENT || error == -EINVAL;
}

/* T2 */
static bool is_given_up(struct descent *d, uint64_t address, uint64_t length)
{
	if (d->nr_vain < d->nr_most || length > PROTECT_PIECE_BYTES)
		return false;
	return is_vain(try_protect(d, address, d->granule)) &&
	       is_vain(try_protect(d, address + length - d->granule, d->granule));
}

static int protect_part(struct descent *d, uint64_t address, uint64_t length);

/* The whole of it was vain. */
static int protect_halves(struct descent *d, uint64_t address, uint64_t length)
{
	uint64_t half = round_up(length / 2, d->granule);
	int r;

	if (length <= d->granule) {
		d->nr_vain++;
		return 0;
	}
	if (is_given_up(d, address, length))
		return 0;
	r = protect_part(d, address, half);
	return r ? r : protect_part(d, address + half, length - half);
}

static int protect_part(struct descent *d, uint64_t address, uint64_t length)
{
	int r = try_protect(d, address, length);

	return is_vain(r) ? protect_halves(d, address, length) : r;
}

/* What was vain is paid by the time that passes. */
static uint64_t vain_left(const struct mm *mm, uint64_t now_ns)
{
	uint64_t until_ns = atomic_load_explicit(&mm->vain_until_ns, memory_order_relaxed);
	uint64_t owed = until_ns > now_ns ? (until_ns - now_ns) / vain_ns : 0;

	return owed < PROTECT_VAIN_MAX ? PROTECT_VAIN_MAX - owed : 0;
}

/* Several at once may lose some of it. */
static void pay_vain(struct mm *mm, uint64_t now_ns, uint64_t nr)
{
	uint64_t until_ns = atomic_load_explicit(&mm->vain_until_ns, memory_order_relaxed);

	atomic_store_explicit(&mm->vain_until_ns, max_t(uint64_t, until_ns, now_ns) + nr * vain_ns,
			      memory_order_relaxed);
}

int mm_protect(struct mm *mm, const struct region *region, uint64_t address, uint64_t length)
{
	struct descent d = { .mm = mm };
	uint64_t now_ns;
	int r = try_protect(&d, address, length);

	if (is_vain(r)) {
		now_ns = os->now_ns();
		d.granule = region_is_hugetlb(region) ? PAGEBLOCK_SIZE : PAGE_SIZE;
		d.nr_most = vain_left(mm, now_ns);
		r = protect_halves(&d, address, length);
		pay_vain(mm, now_ns, d.nr_vain);
	}
	return r == -ESRCH ? 0 : r;
}

/* ---- of a region ---- */

struct protection {
	const struct region *region;
	int error;
};

static void protect_mapping(struct mm *mm, uint64_t address, uint64_t length, void *arg)
{
	struct protection *p = arg;

	if (!p->error)
		p->error = mm_protect(mm, p->region, address, length);
}

/* A client whose map is changing is asked again, and not under the lock that those wait for who
 * handle the changes. */
int region_protect(struct region *region, struct page_range range)
{
	struct protection p = { region, -EAGAIN };

	for (unsigned int i = 0; range.nr && p.error == -EAGAIN && i < PROTECT_TRIES; i++) {
		if (i)
			heartbeat_sleep(&busy_pause);
		p.error = 0;
		region_for_each_mapping(region, range, protect_mapping, &p);
	}
	return range.nr ? p.error : 0;
}

/* A lane holds the lock from before it reads until it has dealt with what it has read. */
bool mm_moves_known(struct mm *mm)
{
	for (int i = 0; i < READ_SPINS; i++) {
		if (mutex_trylock(&mm->events_lock)) {
			mutex_unlock(&mm->events_lock);
			return true;
		}
		cpu_relax();
	}
	return false;
}

static void look_for_reader(struct mm *mm, uint64_t address, uint64_t length, void *arg)
{
	bool *known = arg;

	(void)address;
	(void)length;
	*known = *known && mm_moves_known(mm);
}

/* A lane may need the region's lock for it, so that nobody waits under that. */
bool region_moves_known(struct region *region, struct page_range range)
{
	bool known = false;

	for (unsigned int i = 0; !known && i < READ_TRIES; i++) {
		if (i)
			heartbeat_sleep(&reading_pause);
		known = true;
		region_for_each_mapping(region, range, look_for_reader, &known);
	}
	return known;
}

int region_await_moves(struct region *region, struct page_range range)
{
	for (unsigned int i = 0; !region_moves_known(region, range); i++)
		if (i == MOVES_TRIES)
			return -EAGAIN;
	return 0;
}
