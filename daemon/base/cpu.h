/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu - a daemon thread's CPU slot
 *
 * Purpose     The daemon's threads are its CPUs: each that allocates registers once and owns one
 *             slot until it ends. Per-CPU data is indexed by the slot, so that the owner reaches
 *             its part without a lock or an atomic.
 * Invariants  C1  a slot has at most one living owner.
 * Not here    Hardware CPUs and NUMA nodes (os/topology.h).
 */
#ifndef MMB_BASE_CPU_H
#define MMB_BASE_CPU_H

enum { NR_CPU_SLOTS = 64, CPU_SLOT_NONE = -1 };

/* Slot + 1 of the calling thread, 0 if it has none. The daemon's code is never part of a shared
 * object: one instruction, without an offset to load first. */
extern __thread unsigned int cpu_index_self __attribute__((tls_model("local-exec")));

/* Takes a slot for the calling thread; -EAGAIN if all are taken. `node`: its NUMA node. */
int cpu_slot_register(int node);
/* Nothing for a thread without a slot. */
void cpu_slot_unregister(void);
int cpu_slot_node(int slot);
/* 1 if the slot has an owner. */
int cpu_slot_online(int slot);
/* Slots ever used: 0 .. n-1. */
int cpu_slots_used(void);

/* Index of the calling thread in arrays of NR_CPU_SLOTS + 1, whose first entry is that of threads
 * without a slot. */
static inline unsigned int cpu_index(void)
{
	return cpu_index_self;
}

/* For loops that wait for another thread for less than a system call takes. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/* The calling thread's slot, or CPU_SLOT_NONE. */
static inline int this_cpu(void)
{
	return (int)cpu_index_self - 1;
}

#endif
