/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workloads - all workloads of one process, by name
 *
 * Purpose     One table a file, each ended by a row without a name. They exist twice: see
 *             allocator.h.
 */
#ifndef MMB_BENCH_MALLOC_WORKLOADS_H
#define MMB_BENCH_MALLOC_WORKLOADS_H

#include "malloc/allocator.h"

extern const struct workload VARIANT(workloads_pairs)[];
extern const struct workload VARIANT(workloads_live)[];
extern const struct workload VARIANT(workloads_threads)[];
extern const struct workload VARIANT(workloads_grow)[];
extern const struct workload VARIANT(workloads_large)[];
extern const struct workload VARIANT(workloads_steady)[];
extern const struct workload VARIANT(workloads_held)[];
extern const struct workload VARIANT(workloads_caches)[];

/* NULL: there is none of that name. */
const struct workload *find_workload_process(const char *name);
const struct workload *find_workload_ours(const char *name);

#endif
