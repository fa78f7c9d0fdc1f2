/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu - the table of slots
 *
 * Locking     a slot is taken and left by compare-and-swap of its owner word; node is written by
 *             the owner before its first use of the slot is visible to others.
 */
#include "base/cpu.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/types.h"

__thread unsigned int cpu_index_self;

enum { SLOT_FREE, SLOT_TAKEN, SLOT_ONLINE };

/* a: atomic */
static struct {
	_Atomic int state[NR_CPU_SLOTS]; /* (a) SLOT_* */
	_Atomic int node[NR_CPU_SLOTS];  /* (a) */
	_Atomic int nr_used;             /* (a) highest slot ever taken, plus 1 */
} slots;

static void raise_used(int used)
{
	int seen = atomic_load(&slots.nr_used);

	while (seen < used && !atomic_compare_exchange_weak(&slots.nr_used, &seen, used))
		;
}

int cpu_slot_register(int node)
{
	CHECK(this_cpu() == CPU_SLOT_NONE);
	for (int i = 0; i < NR_CPU_SLOTS; i++) {
		int expected = SLOT_FREE;

		if (!atomic_compare_exchange_strong(&slots.state[i], &expected, SLOT_TAKEN))
			continue;
		atomic_store(&slots.node[i], node);
		raise_used(i + 1);
		atomic_store(&slots.state[i], SLOT_ONLINE);
		cpu_index_self = (unsigned int)i + 1;
		return 0;
	}
	return -EAGAIN;
}

void cpu_slot_unregister(void)
{
	int slot = this_cpu();

	if (slot == CPU_SLOT_NONE)
		return;
	cpu_index_self = 0;
	atomic_store(&slots.state[slot], SLOT_FREE);
}

int cpu_slot_node(int slot)
{
	DCHECK(slot >= 0 && slot < NR_CPU_SLOTS);
	return atomic_load_explicit(&slots.node[slot], memory_order_relaxed);
}

int cpu_slot_online(int slot)
{
	DCHECK(slot >= 0 && slot < NR_CPU_SLOTS);
	return atomic_load(&slots.state[slot]) == SLOT_ONLINE;
}

int cpu_slots_used(void)
{
	return atomic_load(&slots.nr_used);
}
