/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handles - an array of slots with serial numbers and a free list
 *
 * Invariants  a slot's serial changes when it is freed, and is never 0, so that no handle is 0.
 */
#include "client/handles.h"

#include <errno.h>

#include "mm/obj/slab.h"

enum {
	SERIALS = 1 << (32 - HANDLE_INDEX_BITS),
	FIRST_SLOTS = 16,
	NO_SLOT = HANDLE_MAX,
};

void handles_init(struct handles *h)
{
	*h = (struct handles){ .first_free = NO_SLOT };
}

void handles_fini(struct handles *h)
{
	kfree(h->slots);
	handles_init(h);
}

static int grow(struct handles *h)
{
	uint32_t nr = h->nr_slots ? h->nr_slots * 2 : FIRST_SLOTS;
	struct handle_slot *slots;

	if (nr > HANDLE_MAX)
		return -1;
	slots = krealloc_array(h->slots, nr, sizeof(*slots), GFP_KERNEL);
	if (!slots)
		return -1;
	h->slots = slots;
	for (uint32_t i = nr; i-- > h->nr_slots;) {
		slots[i] = (struct handle_slot){ .serial = 1, .next_free = h->first_free };
		h->first_free = i;
	}
	h->nr_slots = nr;
	return 0;
}

uint32_t handles_add(struct handles *h, void *object)
{
	struct handle_slot *slot;
	uint32_t index;

	if (h->first_free == NO_SLOT && grow(h))
		return 0;
	index = h->first_free;
	slot = &h->slots[index];
	h->first_free = slot->next_free;
	slot->object = object;
	h->nr_used++;
	return slot->serial << HANDLE_INDEX_BITS | index;
}

int handles_restore(struct handles *h, uint32_t handle, void *object)
{
	uint32_t index = handle & (HANDLE_MAX - 1);

	while (index >= h->nr_slots)
		if (grow(h))
			return -ENOMEM;
	if (h->slots[index].object)
		return -EEXIST;
	h->slots[index].object = object;
	h->slots[index].serial = handle >> HANDLE_INDEX_BITS;
	h->nr_used++;
	return 0;
}

bool handles_has_place(const struct handles *h, uint32_t handle)
{
	uint32_t index = handle & (HANDLE_MAX - 1);

	return index >= h->nr_slots || !h->slots[index].object;
}

void handles_restored(struct handles *h, uint32_t first_serial)
{
	h->first_free = NO_SLOT;
	for (uint32_t i = h->nr_slots; i-- > 0;) {
		if (h->slots[i].object)
			continue;
		h->slots[i].serial = 1 + first_serial % (SERIALS - 1);
		h->slots[i].next_free = h->first_free;
		h->first_free = i;
	}
}

static struct handle_slot *slot_of(const struct handles *h, uint32_t handle)
{
	uint32_t index = handle & (HANDLE_MAX - 1);

	if (index >= h->nr_slots || !h->slots[index].object ||
	    h->slots[index].serial != handle >> HANDLE_INDEX_BITS)
		return NULL;
	return &h->slots[index];
}

void *handles_get(const struct handles *h, uint32_t handle)
{
	struct handle_slot *slot = slot_of(h, handle);

	return slot ? slot->object : NULL;
}

void *handles_del(struct handles *h, uint32_t handle)
{
	struct handle_slot *slot = slot_of(h, handle);
	void *object;

	if (!slot)
		return NULL;
	object = slot->object;
	slot->object = NULL;
	slot->serial = slot->serial + 1 < SERIALS ? slot->serial + 1 : 1;
	slot->next_free = h->first_free;
	h->first_free = (uint32_t)(slot - h->slots);
	h->nr_used--;
	return object;
}

void *handles_next(const struct handles *h, uint32_t *cursor, uint32_t *handle)
{
	for (; *cursor < h->nr_slots; (*cursor)++) {
		struct handle_slot *slot = &h->slots[*cursor];

		if (!slot->object)
			continue;
		*handle = slot->serial << HANDLE_INDEX_BITS | *cursor;
		(*cursor)++;
		return slot->object;
	}
	return NULL;
}
