/* SPDX-License-Identifier: Apache-2.0 */
/*
 * figures - what a pool's heaps hold, counted
 *
 * Purpose     See figures.h.
 */
#include "heap/figures.h"

#include <string.h>

/* A copy of what an owner writes with plain stores (F2). */
static __attribute__((no_sanitize("thread"))) void copy_racy(void *to, const void *from,
							      size_t words)
{
	volatile uint64_t *out = to;
	const volatile uint64_t *in = from;

	for (size_t i = 0; i < words; i++)
		out[i] = in[i];
}

static void count_slab(struct heap_figures *out, const struct slab_header *s)
{
	uint64_t most = s->size ? (uint64_t)s->units * SLAB_UNIT_BYTES / s->size : 0;
	struct heap_bin_figures *f = &out->bins[s->bin % SLAB_BINS];
	uint32_t used = slab_used(s), out_of_use = shared_count(slab_shared(s));

	if (s->units > SLAB_UNITS_MAX || s->bin >= SLAB_BINS || !most)
		return; /* F1 */
	used = used > out_of_use ? used - out_of_use : 0;
	f->size = s->size;
	f->objects += used < most ? used : most;
	f->capacity += s->total < most ? s->total : most;
	f->slabs++;
	f->bytes += (uint64_t)s->units * SLAB_UNIT_BYTES;
}

static void count_unit(struct heap_figures *out, const struct slab_header *at)
{
	struct slab_header s;

	copy_racy(&s, at, sizeof(s) / sizeof(uint64_t));
	if (slab_kind(&s) == SLAB_OBJECTS) {
		count_slab(out, &s);
	} else if (slab_kind(&s) == SLAB_RUN && s.units <= SLAB_UNITS_MAX) {
		out->runs++;
		out->run_bytes += (uint64_t)s.units * SLAB_UNIT_BYTES;
	}
}

static void count_process(struct heap_pool *hp, struct heap_figures *out)
{
	struct heap_counts counts;
	struct heap *h;

	pthread_mutex_lock(&hp->lock);
	out->counts = hp->counts;
	LIST_FOREACH(h, &hp->heaps, link) {
		copy_racy(&counts, &h->counts, sizeof(counts) / sizeof(uint64_t));
		heap_add_counts(&out->counts, &counts);
		out->heaps++;
	}
	pthread_mutex_unlock(&hp->lock);
	out->shelf = atomic_load(&hp->nr_shelf);
	out->stock_bytes = atomic_load(&hp->stock.nr_units) * SLAB_UNIT_BYTES;
	out->leases = atomic_load(&hp->stock.nr_leases);
	out->gives = atomic_load(&hp->stock.nr_gives);
}

void heap_pool_figures(struct heap_pool *hp, struct heap_figures *out)
{
	uint32_t nr = atomic_load_explicit(&hp->nr_views, memory_order_acquire);

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < nr; i++) {
		const struct heap_view *view = &hp->views[i];
		uint64_t first, end = 0;

		while (heap_view_next(view, &first, &end))
			for (uint64_t unit = first; unit < end; unit++)
				count_unit(out, &view->map[unit]);
	}
	count_process(hp, out);
}
