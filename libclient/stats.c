/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats - mmb_stats_print(): what a pool's objects take, as text
 *
 * Purpose     Two tables: the bins of the pool, of all its clients, as the slab map tells; and what
 *             this process keeps and has done.
 * Locking     pool.map_lock for the names of caches.
 * Not here    Counting (heap/figures.c); the daemon's view (mmbctl slabinfo).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cancel.h"
#include "error.h"
#include "export.h"
#include "heap/figures.h"
#include "mmbroker.h"
#include "pool_heap.h"
#include "typed.h"

struct printer {
	mmb_write_fn write;
	void        *arg;
};

static void to_stderr(void *arg, const char *text)
{
	/* Nobody is there to be told that stderr is gone. */
	ssize_t ignored = write(STDERR_FILENO, text, strlen(text));

	(void)ignored;
}

static __attribute__((format(printf, 2, 3))) void print(const struct printer *p,
							 const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	p->write(p->arg, line);
}

static void name_bin(struct mmb_pool *pool, unsigned int bin, char *out, size_t bytes)
{
	struct mmb_cache *cache;

	if (bin < SLAB_SIZE_CLASSES) {
		snprintf(out, bytes, "size-%u", size_of_bin(bin));
		return;
	}
	snprintf(out, bytes, "cache %u", bin - SLAB_SIZE_CLASSES + 1);
	pthread_mutex_lock(&pool->map_lock);
	LIST_FOREACH(cache, &pool->typed, link)
		if (cache->bin == bin)
			snprintf(out, bytes, "%s", cache->name);
	pthread_mutex_unlock(&pool->map_lock);
}

static void print_pool(const struct printer *p, struct mmb_pool *pool,
		       const struct heap_figures *f)
{
	struct heap_bin_figures sum = { 0 };
	char name[MMB_NAME_MAX + 1];

	print(p, "objects of the pool, of all clients\n");
	print(p, "%-24s %8s %12s %12s %8s %14s\n", "bin", "size", "objects", "room", "slabs",
	      "bytes");
	for (unsigned int bin = 0; bin < SLAB_BINS; bin++) {
		const struct heap_bin_figures *b = &f->bins[bin];

		if (!b->slabs)
			continue;
		name_bin(pool, bin, name, sizeof(name));
		print(p, "%-24s %8u %12llu %12llu %8llu %14llu\n", name, b->size,
		      (unsigned long long)b->objects, (unsigned long long)b->capacity,
		      (unsigned long long)b->slabs, (unsigned long long)b->bytes);
		sum.objects += b->objects;
		sum.capacity += b->capacity;
		sum.slabs += b->slabs;
		sum.bytes += b->bytes;
	}
	print(p, "%-24s %8s %12llu %12llu %8s %14llu\n", "runs", "-", (unsigned long long)f->runs,
	      (unsigned long long)f->runs, "-", (unsigned long long)f->run_bytes);
	print(p, "%-24s %8s %12llu %12llu %8llu %14llu\n", "sum", "-",
	      (unsigned long long)(sum.objects + f->runs),
	      (unsigned long long)(sum.capacity + f->runs), (unsigned long long)sum.slabs,
	      (unsigned long long)(sum.bytes + f->run_bytes));
}

static void print_process(const struct printer *p, const struct heap_figures *f)
{
	const struct {
		const char *name;
		uint64_t    value;
	} rows[] = {
		{ "threads", f->heaps },
		{ "stock bytes", f->stock_bytes },
		{ "slabs on the shelf", f->shelf },
		{ "leases", f->leases },
		{ "returns", f->gives },
		{ "refills", f->counts.refills },
		{ "carved", f->counts.carved },
		{ "collected", f->counts.collected },
		{ "adopted slabs", f->counts.adopted },
		{ "foreign frees", f->counts.foreign },
		{ "foreign batches", f->counts.flushed },
		{ "runs", f->counts.runs },
		{ "runs cached", f->counts.runs_cached },
	};

	print(p, "this process\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		print(p, "%-24s %20llu\n", rows[i].name, (unsigned long long)rows[i].value);
}

PUBLIC int mmb_stats_print(struct mmb_pool *pool, mmb_write_fn write_text, void *arg)
{
	UNCANCELLED;
	const struct printer p = { write_text ? write_text : to_stderr, arg };
	struct heap_figures *f;
	int error = pool_check(pool);

	if (!error)
		error = pool_heap_make(pool);
	if (error)
		return error;
	f = malloc(sizeof(*f));
	if (!f)
		return fail(-ENOMEM, "mmb_stats_print: no memory to count in");
	heap_pool_figures(atomic_load_explicit(&pool->heap, memory_order_acquire), f);
	print_pool(&p, pool, f);
	print_process(&p, f);
	free(f);
	return 0;
}
