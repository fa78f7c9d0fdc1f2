/* SPDX-License-Identifier: Apache-2.0 */
/*
 * psi - stalled time and its averages
 *
 * Averages    as the kernel's: every 2 s each average moves towards the period's share of stalled
 *             time by 1 - exp(-2 s / window). Periods in which nobody looked count as one with what
 *             that they had together, as far as one period can hold it, after the others with 0.
 */
#include "mm/map/psi.h"

#include <stdio.h>

#include "base/check.h"
#include "base/types.h"

enum { ONE_SHIFT = 24, ONE = 1 << ONE_SHIFT };
static const uint64_t period_length_ns = 2ull * 1000 * 1000 * 1000;

/* exp(-2/10), exp(-2/60), exp(-2/300) */
static const uint32_t decay[NR_PSI_WINDOWS] = {
	[PSI_10S] = (uint32_t)(0.818730753 * ONE),
	[PSI_60S] = (uint32_t)(0.967216100 * ONE),
	[PSI_300S] = (uint32_t)(0.993355506 * ONE),
};

void psi_init(struct psi *psi, uint64_t now_ns)
{
	*psi = (struct psi){ .nr_tasks = 1, .counted_ns = now_ns, .period_ns = now_ns };
	mutex_init(&psi->lock, RANK_LEAF, "psi");
}

void psi_fini(struct psi *psi)
{
	mutex_fini(&psi->lock);
}

/* Callers' clocks were read before they had the lock: one may be a little behind. */
static void count_locked(struct psi *psi, uint64_t now_ns)
{
	uint64_t passed;

	mutex_assert_held(&psi->lock);
	if (now_ns <= psi->counted_ns)
		return;
	passed = now_ns - psi->counted_ns;
	psi->counted_ns = now_ns;
	if (psi->nr_stalled)
		psi->total_ns[PSI_SOME] += passed;
	if (psi->nr_stalled && psi->nr_stalled >= psi->nr_tasks)
		psi->total_ns[PSI_FULL] += passed;
}

void psi_enter(struct psi *psi, uint64_t now_ns)
{
	mutex_lock(&psi->lock);
	count_locked(psi, now_ns);
	psi->nr_stalled++;
	mutex_unlock(&psi->lock);
}

void psi_leave(struct psi *psi, uint64_t now_ns)
{
	mutex_lock(&psi->lock);
	count_locked(psi, now_ns);
	CHECK(psi->nr_stalled);
	psi->nr_stalled--;
	mutex_unlock(&psi->lock);
}

void psi_set_tasks(struct psi *psi, uint32_t nr, uint64_t now_ns)
{
	mutex_lock(&psi->lock);
	count_locked(psi, now_ns);
	psi->nr_tasks = max_t(uint32_t, nr, 1);
	mutex_unlock(&psi->lock);
}

static uint32_t towards(uint32_t average, uint32_t share, uint32_t factor)
{
	uint64_t kept = (uint64_t)average * factor;
	uint64_t added = (uint64_t)share * (ONE - factor);

	/* Rounded up while it rises, so that it can reach the share. */
	return (uint32_t)((kept + added + (share >= average ? ONE - 1 : 0)) >> ONE_SHIFT);
}

static uint32_t decayed(uint32_t average, uint32_t factor, uint64_t periods)
{
	while (periods-- && average)
		average = towards(average, 0, factor);
	return average;
}

static void average_locked(struct psi *psi)
{
	uint64_t since = psi->counted_ns - psi->period_ns;
	uint64_t periods = since / period_length_ns;

	if (!periods)
		return;
	for (int kind = 0; kind < NR_PSI_KINDS; kind++) {
		uint64_t stalled = psi->total_ns[kind] - psi->before_ns[kind];
		uint64_t span = since - (periods - 1) * period_length_ns;
		uint32_t share = (uint32_t)(((unsigned __int128)min_t(uint64_t, stalled, span)
					     << ONE_SHIFT) / span);

		psi->before_ns[kind] = psi->total_ns[kind];
		for (int w = 0; w < NR_PSI_WINDOWS; w++) {
			uint32_t *average = &psi->average[kind][w];

			*average = decayed(*average, decay[w], periods - 1);
			*average = towards(*average, share, decay[w]);
		}
	}
	psi->period_ns = psi->counted_ns;
}

void psi_snapshot(struct psi *psi, uint64_t now_ns, struct psi_snapshot *out)
{
	mutex_lock(&psi->lock);
	count_locked(psi, now_ns);
	average_locked(psi);
	for (int kind = 0; kind < NR_PSI_KINDS; kind++) {
		out->total_us[kind] = psi->total_ns[kind] / 1000;
		for (int w = 0; w < NR_PSI_WINDOWS; w++)
			out->average[kind][w] = (uint32_t)(
				((uint64_t)psi->average[kind][w] * 10000 + ONE / 2) >> ONE_SHIFT);
	}
	mutex_unlock(&psi->lock);
}

static const char *const kind_names[NR_PSI_KINDS] = {
	[PSI_SOME] = "some",
	[PSI_FULL] = "full",
};

void psi_format(const struct psi_snapshot *s, char out[PSI_TEXT_BYTES])
{
	size_t at = 0;

	for (int kind = 0; kind < NR_PSI_KINDS; kind++) {
		const uint32_t *a = s->average[kind];

		at += (size_t)snprintf(
			out + at, PSI_TEXT_BYTES - at,
			"%s avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u total=%llu\n",
			kind_names[kind], a[PSI_10S] / 100, a[PSI_10S] % 100, a[PSI_60S] / 100,
			a[PSI_60S] % 100, a[PSI_300S] / 100, a[PSI_300S] % 100,
			(unsigned long long)s->total_us[kind]);
	}
}
