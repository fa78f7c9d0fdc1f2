/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offer - made, claimed, withdrawn, and who is expected to want one
 *
 * Crash       see offer.h.
 * Locking     see offer.h. What is expected are atomic hints.
 */
#include "client/offer.h"

#include <errno.h>
#include <stddef.h>

#include "base/lock.h"
#include "client/account.h"
#include "client/arena_ahead.h"
#include "client/session.h"
#include "mm/phys/node.h"
#include "mmbroker.h"
#include "os/os.h"

enum { EXPECTED = 4096 };
static const uint64_t offer_ns = 1000000000ull;

/* l: lock   a: atomic */
static struct {
	struct mutex lock;
	struct list_head list;              /* (l) sessions, by offer.link */
	uint32_t nr;                        /* (l) */
	_Atomic uint8_t expected[EXPECTED]; /* (a) by user and name; others' may share one */
} offers;

void offers_init(void)
{
	mutex_init(&offers.lock, RANK_LEAF, "offers");
	list_init(&offers.list);
	for (uint32_t i = 0; i < EXPECTED; i++)
		atomic_store(&offers.expected[i], 0);
}

void offers_fini(void)
{
	CHECK(!offers.nr);
	mutex_fini(&offers.lock);
}

uint32_t offers_open(void)
{
	uint32_t nr;

	mutex_lock(&offers.lock);
	nr = offers.nr;
	mutex_unlock(&offers.lock);
	return nr;
}

void offer_init(struct offer *offer)
{
	list_init(&offer->link);
}

/* ---- who is expected to want one ---- */

/* FNV-1a */
static _Atomic uint8_t *expectation(const struct peer *peer)
{
	uint32_t hash = (2166136261u ^ peer->uid) * 16777619u;

	for (const char *at = peer->name; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 16777619u;
	return &offers.expected[(hash ^ hash >> 16) % EXPECTED];
}

static bool is_plain(const struct pool_open_args *args)
{
	const struct pool_limits *l = &args->limits;

	return args->flags == MMB_POOL_PRIVATE && !args->name[0] && !args->mode &&
	       !(l->min | l->low | l->high | l->max | l->swap_max) && !args->nodes.policy &&
	       !args->nodes.mask;
}

void offer_note_open(struct session *s, const struct pool_open_args *args, uint32_t handle)
{
	mutex_lock(&s->lock);
	if (!s->offer.has_opened && is_plain(args))
		s->offer.first_plain = handle;
	s->offer.has_opened = true;
	mutex_unlock(&s->lock);
}

void offer_note_lease(struct session *s, uint32_t handle)
{
	bool first;

	mutex_lock(&s->lock);
	first = s->offer.first_plain == handle;
	mutex_unlock(&s->lock);
	if (first)
		atomic_store(expectation(&s->peer), 1);
}

/* ---- the list ---- */

/* False: there are enough. */
static bool add(struct session *s)
{
	bool room;

	mutex_lock(&offers.lock);
	room = offers.nr < OFFERS_MAX;
	if (room) {
		list_add_tail(&s->offer.link, &offers.list);
		offers.nr++;
	}
	mutex_unlock(&offers.lock);
	return room;
}

static void del(struct session *s)
{
	mutex_lock(&offers.lock);
	if (!list_empty(&s->offer.link)) {
		list_del(&s->offer.link);
		list_init(&s->offer.link);
		offers.nr--;
	}
	mutex_unlock(&offers.lock);
}

/* Who made its offer last is last; counted. NULL: nobody else's is that old. */
static struct session *next_before(uint64_t until_ns)
{
	struct session *s = NULL;

	mutex_lock(&offers.lock);
	if (!list_empty(&offers.list)) {
		s = list_first_entry(&offers.list, struct session, offer.link);
		if (s->offer.since_ns > until_ns)
			s = NULL;
		else
			session_get(s);
	}
	mutex_unlock(&offers.lock);
	return s;
}

/* ---- the end of an offer ---- */

void offer_use_locked(struct session *s, uint32_t handle)
{
	if (!handle || s->offer.handle != handle)
		return;
	s->offer.handle = 0;
	del(s);
}

/* The pool, if the session's offer is open; counted. */
static struct pool_handle *get_open(struct session *s, uint32_t *handle, uint64_t *place)
{
	struct pool_handle *ph = NULL;

	mutex_lock(&s->lock);
	*handle = s->offer.handle;
	*place = s->offer.place;
	if (*handle)
		ph = handles_get(&s->pools, *handle);
	if (ph)
		atomic_fetch_add(&ph->refs, 1);
	mutex_unlock(&s->lock);
	return ph;
}

/* What can't be read is nobody's any more. */
static bool is_claimed(const struct pool_handle *ph, uint64_t place)
{
	uint32_t claimed = 0;

	return !os->read(ph->pool->leases.maps[0]->section->fd,
			 place + offsetof(struct slab_header, claimed), &claimed,
			 sizeof(claimed)) &&
	       claimed;
}

/* O3. True: the client had it before. */
static bool take_back(const struct pool_handle *ph, uint64_t place)
{
	const uint32_t no = 0;

	if (os->write(ph->pool->leases.maps[0]->section->fd,
		      place + offsetof(struct slab_header, offered), &no, sizeof(no)))
		return true;
	atomic_thread_fence(memory_order_seq_cst);
	return is_claimed(ph, place);
}

/* It is open no more. False: it wasn't, meanwhile. */
static bool settle(struct session *s, uint32_t handle, bool claimed)
{
	bool was_open;

	mutex_lock(&s->lock);
	was_open = s->offer.handle == handle;
	if (was_open)
		s->offer.handle = 0;
	mutex_unlock(&s->lock);
	if (was_open)
		atomic_store(expectation(&s->peer), claimed);
	return was_open;
}

void offer_end(struct session *s, uint32_t handle)
{
	struct pool_handle *ph;
	uint32_t open;
	uint64_t place;

	ph = get_open(s, &open, &place);
	if (ph && (!handle || handle == open))
		settle(s, open, is_claimed(ph, place));
	if (ph)
		pool_handle_put(ph);
	if (!handle || handle == open)
		del(s);
}

static void withdraw(struct session *s)
{
	struct pool_handle *ph;
	struct refusal why;
	uint32_t handle;
	uint64_t place;
	bool claimed;

	ph = get_open(s, &handle, &place);
	if (ph) {
		claimed = take_back(ph, place);
		if (settle(s, handle, claimed) && !claimed)
			verb_pool_close(s, handle, &why);
		pool_handle_put(ph);
		del(s);
		return;
	}
	/* Still being made: it won't be open any more. Unless it has just become so. */
	mutex_lock(&s->lock);
	if (s->offer.handle == handle)
		del(s);
	mutex_unlock(&s->lock);
}

/* If the client has it. */
static bool settle_oldest(void)
{
	struct session *s = next_before(UINT64_MAX);
	struct pool_handle *ph;
	uint32_t handle;
	uint64_t place;
	bool claimed;

	if (!s)
		return false;
	ph = get_open(s, &handle, &place);
	claimed = ph && is_claimed(ph, place);
	if (claimed)
		settle(s, handle, true);
	if (ph)
		pool_handle_put(ph);
	if (claimed)
		del(s);
	session_put(s);
	return claimed;
}

void offers_tick(void)
{
	uint64_t now_ns = os->now_ns();
	struct session *s;

	while (now_ns > offer_ns && (s = next_before(now_ns - offer_ns))) {
		withdraw(s);
		session_put(s);
	}
}

/* ---- making ---- */

static const struct pool_open_args plain = { .name = "", .flags = MMB_POOL_PRIVATE };

static int lease_unit(struct session *s, const struct request_past *past, struct offered *out)
{
	struct lease_args args = {
		.pool = out->opened.handle,
		.units = 1,
		.nr = 1,
		.addresses = &out->unit,
		.since_ns = os->now_ns(),
		.at_once = true,
		.past = *past,
	};
	struct refusal why;
	uint32_t got = 0;

	return verb_slab_lease(s, &args, &got, &why);
}

/* Its descriptors are the caller's. */
static int get_windows(struct session *s, struct offered *out)
{
	struct arena_opened arena;
	struct slab_mapped maps;
	struct refusal why;
	int r = verb_arena_open(s, out->opened.handle, 0, &arena, &why);

	if (r)
		return r;
	r = verb_slab_map(s, out->opened.handle, 0, &maps, &why);
	if (r) {
		os->close(arena.windows[0].fd);
		return r;
	}
	out->arena = arena.windows[0];
	out->map_fd = maps.windows[0].fd;
	return 0;
}

/* O2: it may have been withdrawn while it was made. */
static int open_offer(struct session *s, uint32_t handle, uint64_t place)
{
	bool listed;

	mutex_lock(&s->lock);
	mutex_lock(&offers.lock);
	listed = !list_empty(&s->offer.link);
	mutex_unlock(&offers.lock);
	if (listed) {
		s->offer.handle = s->offer.first_plain = handle;
		s->offer.has_opened = true;
		s->offer.place = place;
	}
	mutex_unlock(&s->lock);
	return listed ? 0 : -EAGAIN;
}

/* From now on it is open. */
static int publish(struct session *s, struct offered *out)
{
	uint64_t unit = (out->unit - out->arena.address) >> SLAB_UNIT_SHIFT;
	uint64_t place = unit << SLAB_HEADER_SHIFT;
	const uint32_t yes = 1;
	int r = os->write(out->map_fd, place + offsetof(struct slab_header, offered), &yes,
			  sizeof(yes));

	return r ? r : open_offer(s, out->opened.handle, place);
}

static int make(struct session *s, const struct request_past *past, struct offered *out)
{
	struct pool_open_args args = plain;
	struct refusal why;
	int r;

	args.request = past->id;
	r = verb_pool_open(s, &args, &out->opened, &why);
	if (r)
		return r;
	r = get_windows(s, out);
	if (!r) {
		r = lease_unit(s, past, out);
		if (!r)
			r = publish(s, out);
		if (r) {
			os->close(out->arena.fd);
			os->close(out->map_fd);
		}
	}
	if (r)
		verb_pool_close(s, out->opened.handle, &why);
	return r;
}

int verb_pool_offer(struct session *s, const struct request_past *past, struct offered *out)
{
	int r;

	if (nr_nodes != 1 || frames_at_rest() || !atomic_load(expectation(&s->peer)) ||
	    !arena_ahead_is_ready(0) || !account_is_at_ease(s->peer.uid))
		return -EAGAIN;
	s->offer.since_ns = os->now_ns();
	if (!add(s) && !(settle_oldest() && add(s)))
		return -EAGAIN;
	r = make(s, past, out);
	if (r)
		del(s);
	return r;
}
