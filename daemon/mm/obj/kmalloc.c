/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kmalloc - objects by size: thirteen caches, and blocks of frames above
 *
 * Purpose     See slab.h. A large object is a block of pool 0 whose first frame says so.
 * Locking     caches[] is fixed after kmalloc_init.
 * Not here    Freeing an object of a cache (slub.c).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mm/obj/own.h"
#include "mm/obj/slub_cache.h"

#define LARGE_MARK 0x7c4c4152474500ull /* no slab_word: its count of objects would be too high */

static struct kmem_cache *caches[NR_KMALLOC_CACHES]; /* c: fixed */
static const struct {
	uint32_t    size;
	const char *name;
} sizes[NR_KMALLOC_CACHES] = {
	{ 8, "kmalloc-8" },     { 16, "kmalloc-16" },   { 32, "kmalloc-32" },
	{ 64, "kmalloc-64" },   { 96, "kmalloc-96" },   { 128, "kmalloc-128" },
	{ 192, "kmalloc-192" }, { 256, "kmalloc-256" }, { 512, "kmalloc-512" },
	{ 1024, "kmalloc-1k" }, { 2048, "kmalloc-2k" }, { 4096, "kmalloc-4k" },
	{ 8192, "kmalloc-8k" },
};

/* For bytes 1 .. 192, by (bytes - 1) / 8. */
static const uint8_t small_index[] = {
	0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6,
};
static_assert(ARRAY_SIZE(small_index) == 192 / 8, "one entry for each 8 bytes");

int kmalloc_init(void)
{
	for (int i = 0; i < NR_KMALLOC_CACHES; i++) {
		uint32_t size = sizes[i].size;
		struct kmem_cache_args args = {
			.object_size = size,
			.align = size & (size - 1) ? 0 : min_t(uint32_t, size, PAGE_SIZE),
			.usersize = size,
		};

		caches[i] = kmem_cache_create(sizes[i].name, &args);
		if (!caches[i])
			return -ENOMEM;
	}
	return 0;
}

void kmalloc_fini(void)
{
	memset(caches, 0, sizeof(caches));
}

static int index_of(size_t bytes)
{
	if (bytes <= 192)
		return small_index[(bytes - 1) / 8];
	/* 256 is number 7, and each power of two after it one more. */
	return 7 + max_t(int, 0, 56 - __builtin_clzll(bytes - 1));
}

static unsigned int large_order(size_t bytes)
{
	unsigned int order = 0;

	while ((size_t)PAGE_SIZE << order < bytes)
		order++;
	return order;
}

static void *alloc_large(size_t bytes, uint32_t gfp)
{
	int          from, node = this_cpu() < 0 ? 0 : cpu_slot_node(this_cpu());
	unsigned int order;
	struct page *page;

	if (bytes > KMALLOC_MAX_SIZE || INJECT(SLAB))
		return NULL;
	order = large_order(bytes);
	page = own_alloc(node, order, gfp, &from);
	if (!page)
		return NULL;
	atomic_store_explicit(&page->slab_word, LARGE_MARK, memory_order_relaxed);
	slab_count_frames(1ll << order);
	return page_to_virt(page);
}

/* The first frame of a large object; NULL: the address is no such object's start. */
static struct page *large_page(const void *object)
{
	uint64_t     offset = (uint64_t)((const char *)object - direct_map);
	struct page *page;

	if (!is_aligned(offset, PAGE_SIZE) || !own_has_pfn(offset >> PAGE_SHIFT))
		return NULL;
	page = pfn_to_page((uint32_t)(offset >> PAGE_SHIFT));
	if (atomic_load_explicit(&page->slab_word, memory_order_relaxed) != LARGE_MARK)
		return NULL;
	return page;
}

void kfree_large(void *object)
{
	struct page *page = large_page(object);
	unsigned int order;

	CHECK(page && pg_state(page) == PG_ALLOCATED);
	order = pg_order(page);
	atomic_store_explicit(&page->slab_word, 0, memory_order_relaxed);
	slab_count_frames(-(1ll << order));
	own_free(page, order);
}

void *kmalloc(size_t bytes, uint32_t gfp)
{
	if (unlikely(!bytes))
		return ZERO_SIZE_PTR;
	if (unlikely(bytes > KMALLOC_MAX_CACHE_SIZE))
		return alloc_large(bytes, gfp);
	return kmem_cache_alloc(caches[index_of(bytes)], gfp);
}

void *kzalloc(size_t bytes, uint32_t gfp)
{
	return kmalloc(bytes, gfp | GFP_ZERO);
}

void *kmalloc_array(size_t nr, size_t bytes, uint32_t gfp)
{
	size_t all;

	return __builtin_mul_overflow(nr, bytes, &all) ? NULL : kmalloc(all, gfp);
}

void *kcalloc(size_t nr, size_t bytes, uint32_t gfp)
{
	return kmalloc_array(nr, bytes, gfp | GFP_ZERO);
}

size_t ksize(const void *object)
{
	struct page *page;

	if (!object || object == ZERO_SIZE_PTR)
		return 0;
	page = virt_to_slab(object);
	if (page)
		return page->slab_cache->object_size;
	page = large_page(object);
	CHECK(page);
	return (size_t)PAGE_SIZE << pg_order(page);
}

void *krealloc(void *object, size_t bytes, uint32_t gfp)
{
	size_t old = ksize(object);
	void  *new;

	if (!bytes) {
		kfree(object);
		return ZERO_SIZE_PTR;
	}
	if (old >= bytes)
		return object;
	new = kmalloc(bytes, gfp);
	if (!new)
		return NULL;
	if (old)
		memcpy(new, object, old);
	kfree(object);
	return new;
}

void *krealloc_array(void *object, size_t nr, size_t bytes, uint32_t gfp)
{
	size_t all;

	return __builtin_mul_overflow(nr, bytes, &all) ? NULL : krealloc(object, all, gfp);
}

size_t kmalloc_size_roundup(size_t bytes)
{
	if (!bytes || bytes > KMALLOC_MAX_SIZE)
		return 0;
	if (bytes > KMALLOC_MAX_CACHE_SIZE)
		return (size_t)PAGE_SIZE << large_order(bytes);
	return sizes[index_of(bytes)].size;
}
