/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock - the one clock of benches and tests
 *
 * Purpose     Nanoseconds since an arbitrary start (CLOCK_MONOTONIC), nanoseconds of CPU that the
 *             calling thread has used, and a sleep that ends at a point in time.
 */
#ifndef MMB_BENCH_LIB_CLOCK_H
#define MMB_BENCH_LIB_CLOCK_H

#include <errno.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_read_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

static inline uint64_t clock_thread_cpu_ns(void)
{
	return clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline void clock_sleep_until(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000ull),
			      .tv_nsec = (long)(ns % 1000000000ull) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static inline void clock_sleep_ms(uint64_t ms)
{
	clock_sleep_until(clock_ns() + ms * 1000000ull);
}

#endif
