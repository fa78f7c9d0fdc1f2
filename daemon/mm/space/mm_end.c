/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mm_end - clients that are to end for what they make others pay
 *
 * Purpose     Who finds out holds locks as a rule, and ends nobody under them: the reason is left
 *             in the mm, and whoever retries parked faults ends the client.
 * Locking     atomics.
 */
#include "mm/space/mm.h"

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
