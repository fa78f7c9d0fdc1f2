/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample - a few objects alone on a page between guards (MMB_CONF=sample=N)
 *
 * Purpose     See sample.h.
 */
#include "sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "conf.h"
#include "error.h"
#include "mmbroker.h"
#include "pool.h"
#include "process.h"

enum {
	SAMPLE_PAGES = 2 * SAMPLE_SLOTS + 1, /* guards before, between and behind */
	SAMPLE_PATTERN = 0xa5,
};

enum slot_state { SLOT_FREE, SLOT_TAKEN /* coming or going */, SLOT_LIVE };

/* p: process lock */
struct sample_slot {
	uint8_t  state;  /* (p) */
	uint16_t bin;    /* (p) */
	uint16_t size;   /* (p) */
	uint16_t offset; /* (p) of the object in its page */
};

/* c: fixed when is_open is   p: process lock */
struct sampler {
	LIST_ENTRY(sampler) link;       /* (p) */
	struct mmb_pool    *pool;       /* (c) */
	uint32_t            generation; /* (c) of the process */
	bool                is_open;    /* (p) before: being made, or it couldn't be */
	bool                is_closed;  /* (p) */
	struct mmb_region  *region;     /* (c) */
	uint64_t            base;       /* (c) */
	uint32_t            head, nr;   /* (p) of queue */
	uint16_t            queue[SAMPLE_SLOTS]; /* (p) a ring of the slots that are free */
	struct sample_slot  slots[SAMPLE_SLOTS]; /* (p) */
};
static LIST_HEAD(, sampler) samplers = LIST_HEAD_INITIALIZER(samplers);

/* ---- whose turn it is ---- */

static uint64_t next_random(void)
{
	static _Thread_local uint64_t state;

	/* Marsaglia's xorshift; without the kernel's seed the thread's stack differs at least. */
	if (!state && (getrandom(&state, sizeof(state), GRND_NONBLOCK) < 0 || !state))
		state = (uintptr_t)&state | 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* The distance between two is 1 to 2N - 1, each as likely: N in the mean. */
static bool is_turn(void)
{
	static _Thread_local uint64_t distance;

	if (!distance)
		distance = 1 + next_random() % (2 * (uint64_t)conf.sample - 1);
	return !--distance;
}

/* ---- samplers ---- */

static struct sampler *of_pool_locked(const struct mmb_pool *pool)
{
	struct sampler *s;

	LIST_FOREACH(s, &samplers, link)
		if (s->pool == pool)
			return s;
	return NULL;
}

/* The one whose region has the address. */
static struct sampler *of_address_locked(uint64_t address)
{
	struct sampler *s;

	LIST_FOREACH(s, &samplers, link)
		if (s->is_open && !s->is_closed &&
		    address - s->base < (uint64_t)SAMPLE_PAGES * CLIENT_PAGE_SIZE)
			return s;
	return NULL;
}

static void *page_of(const struct sampler *s, uint32_t slot)
{
	return (void *)(uintptr_t)(s->base + (2 * slot + 1) * (uint64_t)CLIENT_PAGE_SIZE);
}

/* Whether the pool has one now. The first to come makes it, meanwhile and after a failure the
 * others do without. */
static bool add_sampler(struct mmb_pool *pool)
{
	struct sampler *s = calloc(1, sizeof(*s));
	bool is_first;

	if (!s)
		return false;
	s->pool = pool;
	s->generation = process_generation();
	process_lock();
	is_first = !of_pool_locked(pool);
	if (is_first)
		LIST_INSERT_HEAD(&samplers, s, link);
	process_unlock();
	if (!is_first) {
		free(s);
		return false;
	}
	if (mmb_region_create(pool, (size_t)SAMPLE_PAGES * CLIENT_PAGE_SIZE, NULL, &s->region))
		return false;
	s->base = (uintptr_t)mmb_region_address(s->region);
	if (mprotect((void *)(uintptr_t)s->base, (size_t)SAMPLE_PAGES * CLIENT_PAGE_SIZE,
		     PROT_NONE))
		return false;
	for (uint16_t i = 0; i < SAMPLE_SLOTS; i++)
		s->queue[i] = i;
	s->nr = SAMPLE_SLOTS;
	process_lock();
	s->is_open = true;
	process_unlock();
	return true;
}

void sample_close(struct mmb_pool *pool)
{
	struct sampler *s;

	process_lock();
	s = of_pool_locked(pool);
	if (s)
		s->is_closed = true;
	process_unlock();
}

void sample_end(struct mmb_pool *pool)
{
	struct sampler *s;

	process_lock();
	s = of_pool_locked(pool);
	if (s)
		LIST_REMOVE(s, link);
	process_unlock();
	if (s)
		mmb_region_close(s->region);
	free(s);
}

/* ---- slots ---- */

/* What a call works on. */
struct place {
	struct sampler *sampler;
	uint32_t        slot;
	uint64_t        object;
	uint32_t        size;
	unsigned int    bin;
};

/* A2. False: none, *is_new: not even a sampler. */
static bool take_slot(struct mmb_pool *pool, struct place *at, bool *is_new)
{
	struct sampler *s;
	bool taken;

	process_lock();
	s = of_pool_locked(pool);
	taken = s && s->is_open && !s->is_closed && s->nr;
	if (taken) {
		at->sampler = s;
		at->slot = s->queue[s->head];
		s->head = (s->head + 1) % SAMPLE_SLOTS;
		s->nr--;
		s->slots[at->slot].state = SLOT_TAKEN;
	}
	process_unlock();
	*is_new = !s;
	return taken;
}

static void return_slot(const struct place *at)
{
	struct sampler *s = at->sampler;

	process_lock();
	s->queue[(s->head + s->nr++) % SAMPLE_SLOTS] = (uint16_t)at->slot;
	s->slots[at->slot].state = SLOT_FREE;
	process_unlock();
}

static void announce(const struct place *at)
{
	struct sample_slot *slot = &at->sampler->slots[at->slot];

	process_lock();
	slot->bin = (uint16_t)at->bin;
	slot->size = (uint16_t)at->size;
	slot->offset = (uint16_t)(at->object % CLIENT_PAGE_SIZE);
	slot->state = SLOT_LIVE;
	process_unlock();
}

/* ---- allocating ---- */

/* At the end of the page, as far as its alignment allows: what pooled objects of that size have. */
static void put_at_end(struct place *at, const struct object_want *want)
{
	uint64_t least = want->size <= 8 ? 8 : 16;
	uint64_t align = want->align > least ? want->align : least;
	uint64_t end = (uintptr_t)page_of(at->sampler, at->slot) + CLIENT_PAGE_SIZE;

	at->size = want->size ? (uint32_t)want->size : 1;
	at->bin = want->bin;
	at->object = (end - at->size) & ~(align - 1);
}

static void fill_around(const struct place *at)
{
	char *page = page_of(at->sampler, at->slot), *object = (char *)(uintptr_t)at->object;

	memset(page, SAMPLE_PATTERN, (size_t)(object - page));
	memset(object + at->size, SAMPLE_PATTERN,
	       (size_t)(page + CLIENT_PAGE_SIZE - object - at->size));
}

void *sample_alloc(struct mmb_pool *pool, const struct object_want *want)
{
	struct place at;
	bool is_new;

	if (want->run || want->size > CLIENT_PAGE_SIZE || !is_turn() || pool_check(pool))
		return NULL;
	if (!take_slot(pool, &at, &is_new) &&
	    (!is_new || !add_sampler(pool) || !take_slot(pool, &at, &is_new)))
		return NULL;
	if (mprotect(page_of(at.sampler, at.slot), CLIENT_PAGE_SIZE, PROT_READ | PROT_WRITE)) {
		return_slot(&at);
		return NULL;
	}
	put_at_end(&at, want);
	fill_around(&at);
	announce(&at);
	return (void *)(uintptr_t)at.object;
}

/* ---- finding ---- */

enum sample_verdict { SAMPLE_NONE, SAMPLE_DISOWNED, SAMPLE_RIGHT, SAMPLE_WRONG, SAMPLE_FREED };

static enum sample_verdict find_locked(uint64_t object, struct place *at)
{
	struct sampler *s = of_address_locked(object);
	const struct sample_slot *slot;
	uint64_t page;

	if (!s)
		return SAMPLE_NONE;
	if (!process_owns(s->generation))
		return SAMPLE_DISOWNED;
	page = (object - s->base) / CLIENT_PAGE_SIZE;
	if (page % 2 == 0)
		return SAMPLE_WRONG;
	slot = &s->slots[page / 2];
	*at = (struct place){ s, (uint32_t)page / 2, object, slot->size, slot->bin };
	if (slot->size && object % CLIENT_PAGE_SIZE != slot->offset)
		return SAMPLE_WRONG;
	return slot->state == SLOT_LIVE ? SAMPLE_RIGHT : SAMPLE_FREED;
}

/* SAMPLE_NONE, SAMPLE_DISOWNED, or SAMPLE_RIGHT: then with `take` the slot is the caller's. */
static enum sample_verdict judge(uint64_t object, const struct object_rule *rule,
				 struct place *at, bool take)
{
	enum sample_verdict verdict;

	process_lock();
	verdict = find_locked(object, at);
	if (verdict == SAMPLE_RIGHT && take)
		at->sampler->slots[at->slot].state = SLOT_TAKEN;
	process_unlock();
	switch (verdict) {
	case SAMPLE_NONE:
		break;
	case SAMPLE_DISOWNED:
		process_disowned();
		break;
	case SAMPLE_WRONG:
		object_die(rule, object, "no object begins there: it lies beside a sampled one");
	case SAMPLE_FREED:
		object_die(rule, object, "the sampled object has been freed already (double free)");
	case SAMPLE_RIGHT:
		object_check_bin(at->bin, object, rule);
	}
	return verdict;
}

bool sample_check(uint64_t object, const struct object_rule *rule)
{
	struct place at;

	return conf.sample && judge(object, rule, &at, false) == SAMPLE_RIGHT;
}

/* Without judgement. */
static bool is_found(uint64_t object, struct place *at, enum sample_verdict verdict)
{
	bool is;

	if (!conf.sample)
		return false;
	process_lock();
	is = find_locked(object, at) == verdict;
	process_unlock();
	return is;
}

size_t sample_size(uint64_t object)
{
	struct place at;

	return is_found(object, &at, SAMPLE_RIGHT) ? at.size : 0;
}

bool sample_was_parents(uint64_t object)
{
	struct place at;

	return is_found(object, &at, SAMPLE_DISOWNED);
}

/* ---- freeing ---- */

static bool is_pattern(const char *from, const char *to)
{
	while (from < to && *from == (char)SAMPLE_PATTERN)
		from++;
	return from >= to;
}

static void check_around(const struct place *at, const struct object_rule *rule)
{
	const char *page = page_of(at->sampler, at->slot);
	const char *object = (const char *)(uintptr_t)at->object;
	char why[96];

	if (!is_pattern(page, object))
		object_die(rule, at->object, "memory before the sampled object was written");
	if (is_pattern(object + at->size, page + CLIENT_PAGE_SIZE))
		return;
	snprintf(why, sizeof(why), "memory behind the sampled object of %u bytes was written",
		 at->size);
	object_die(rule, at->object, why);
}

bool sample_free(uint64_t object, const struct object_rule *rule)
{
	enum sample_verdict verdict;
	struct place at;

	if (!conf.sample)
		return false;
	verdict = judge(object, rule, &at, true);
	if (verdict != SAMPLE_RIGHT)
		return verdict == SAMPLE_DISOWNED;
	check_around(&at, rule);
	if (conf.harden)
		memset((void *)(uintptr_t)object, 0, at.size);
	/* A page that can't be taken away isn't used again. */
	if (!mprotect(page_of(at.sampler, at.slot), CLIENT_PAGE_SIZE, PROT_NONE))
		return_slot(&at);
	return true;
}
