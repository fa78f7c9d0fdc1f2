/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap - tells by the address whose an object is
 *
 * Purpose     See heap.h: what a heap gives lies in the direct map, what libc gives doesn't.
 */
#include "mm/phys/heap.h"

#include <stdlib.h>
#include <string.h>

#include "mm/phys/meta.h"

static struct phys_heap heap; /* c: fixed but for set */

void phys_heap_set(const struct phys_heap *request)
{
	heap = request ? *request : (struct phys_heap){ 0 };
}

void *phys_alloc(size_t bytes)
{
	size_t rounded = round_up(bytes, PHYS_HEAP_ALIGN);
	void  *object;

	if (heap.alloc)
		return heap.alloc(rounded);
	object = aligned_alloc(PHYS_HEAP_ALIGN, rounded);
	if (object)
		memset(object, 0, rounded);
	return object;
}

void phys_free(void *object)
{
	if ((uint64_t)((char *)object - direct_map) < meta_span_frames << PAGE_SHIFT) {
		CHECK(heap.free);
		heap.free(object);
	} else {
		free(object);
	}
}
