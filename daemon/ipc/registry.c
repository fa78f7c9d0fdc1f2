/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry - a table of slots with generations
 *
 * Purpose     See registry.h. Walks are linear: connections are thousands at most, and walks are
 *             made when one comes or the daemon goes.
 * Locking     registry_lock guards all of it.
 */
#include "ipc/registry.h"

#include <errno.h>

#include "base/lock.h"
#include "mm/obj/slab.h"

/* A key is the slot it stands in, and above that the slot's generation. */
enum { KEY_SLOT_BITS = 20, KEY_SLOTS_MAX = 1 << KEY_SLOT_BITS };

struct slot {
	struct connection *connection; /* NULL: free */
	uint64_t           generation;
};

/* Plain pthread: it exists before any server. All guarded by it. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot    *slots;
static uint32_t        nr_slots;
/* Generations go on over a table that was freed, so that old keys stay dead. */
static uint64_t last_generation;
static uint32_t nr_used;

static struct slot *free_slot_locked(void)
{
	uint32_t     grown = nr_slots ? nr_slots * 2 : 64;
	struct slot *table;

	for (uint32_t i = 0; i < nr_slots; i++) {
		if (!slots[i].connection)
			return &slots[i];
	}
	if (grown > KEY_SLOTS_MAX)
		return NULL;
	table = krealloc_array(slots, grown, sizeof(*table), GFP_KERNEL);
	if (!table)
		return NULL;
	for (uint32_t i = nr_slots; i < grown; i++)
		table[i] = (struct slot){ 0 };
	slots = table;
	table += nr_slots;
	nr_slots = grown;
	return table;
}

static uint64_t slot_key(const struct slot *s)
{
	return s->generation << KEY_SLOT_BITS | (uint64_t)(s - slots);
}

int registry_add(struct connection *c)
{
	struct slot *s;

	pthread_mutex_lock(&registry_lock);
	s = free_slot_locked();
	if (s) {
		s->connection = c;
		s->generation = ++last_generation;
		c->key = slot_key(s);
		nr_used++;
	}
	pthread_mutex_unlock(&registry_lock);
	return s ? 0 : -ENOMEM;
}

void registry_del(struct connection *c)
{
	pthread_mutex_lock(&registry_lock);
	slots[c->key & (KEY_SLOTS_MAX - 1)].connection = NULL;
	if (--nr_used == 0) {
		kfree(slots);
		slots = NULL;
		nr_slots = 0;
	}
	pthread_mutex_unlock(&registry_lock);
}

struct connection *registry_get(uint64_t key)
{
	uint32_t           i = key & (KEY_SLOTS_MAX - 1);
	struct connection *c = NULL;

	pthread_mutex_lock(&registry_lock);
	if (i < nr_slots && slots[i].connection && slot_key(&slots[i]) == key) {
		c = slots[i].connection;
		connection_get(c);
	}
	pthread_mutex_unlock(&registry_lock);
	return c;
}

struct connection *registry_next(const struct server *server, uint64_t after)
{
	struct connection *found = NULL;

	pthread_mutex_lock(&registry_lock);
	for (uint32_t i = 0; i < nr_slots; i++) {
		struct connection *c = slots[i].connection;

		if (c && c->server == server && c->key > after && (!found || c->key < found->key))
			found = c;
	}
	if (found)
		connection_get(found);
	pthread_mutex_unlock(&registry_lock);
	return found;
}

void registry_count(const struct server *server, uid_t uid, struct registry_count *out)
{
	*out = (struct registry_count){ 0 };
	pthread_mutex_lock(&registry_lock);
	for (uint32_t i = 0; i < nr_slots; i++) {
		struct connection *c = slots[i].connection;

		if (!c || c->server != server)
			continue;
		out->connections++;
		out->of_uid += c->peer.uid == uid;
		out->sessions += atomic_load_explicit(&c->has_memory, memory_order_relaxed);
	}
	pthread_mutex_unlock(&registry_lock);
}
