/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mm_end - clients that are to end for what they make others pay
 *
 * Purpose     Who finds out holds locks as a rule, and ends nobody under them: the reason is left
 *             in the mm, and whoever retries parked faults ends the client.
 * Locking     atomics.
 */
#include "mm/space/mm.h"
#include "os/os.h"

enum { VAIN_MAX = 32768 };
static const uint64_t vain_ns = 60000000000;

_Atomic uint64_t nr_to_end;

void mm_end_later(struct mm *mm, const char *reason)
{
	const char *none = NULL;

	if (atomic_compare_exchange_strong(&mm->ends_for, &none, reason))
		atomic_fetch_add(&nr_to_end, 1);
}

const char *mm_take_end(struct mm *mm)
{
	const char *reason = atomic_exchange(&mm->ends_for, NULL);

	if (reason)
		atomic_fetch_sub(&nr_to_end, 1);
	return reason;
}

bool mm_count_vain(struct mm *mm)
{
	uint64_t now_ns = os->now_ns();

	if (now_ns - atomic_load(&mm->vain_since_ns) > vain_ns) {
		atomic_store(&mm->vain_since_ns, now_ns);
		atomic_store(&mm->nr_vain, 0);
	}
	if (atomic_fetch_add(&mm->nr_vain, 1) < VAIN_MAX)
		return true;
	mm_end_later(mm, "nothing is registered with its userfaultfd where it has regions open, "
			 "and the daemon has looked for it there too often");
	return false;
}
