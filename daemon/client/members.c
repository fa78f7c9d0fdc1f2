/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members - a circle of numbers, and a walk that sends
 *
 * Walk        a place-holder in the list marks how far a sender has come, so that the lock is
 *             dropped for every few upcalls.
 */
#include "client/members.h"

#include <errno.h>
#include <string.h>

#include "base/heartbeat.h"
#include "client/session.h"
#include "client/survivor.h"
#include "mm/obj/slab.h"

enum { WORD_BITS = 64, WORDS_MIN = 4, TOLD_AT_ONCE = 32, TOLD_A_TICK = 1024 };

/* Of ended members, 256 a tick are told to 64 others, fewer to more. */
enum { FEW = 64, UPCALLS_A_TICK = FEW * 256, PUT_BY_MAX = 256 };

/* B3. No page number of an address is as large: what an older daemon left there means nothing. */
#define HANDLE_ENDED    (1ull << 38 | 1)
#define HANDLE_OUTLIVED (1ull << 38 | 2) /* and its process, cut, was alive */

static struct kmem_cache *member_cache; /* fixed after init */

static void free_told(struct members *members, struct member *m)
{
	record_free(RECORD_HANDLE, m->record);
	member_free(members, m);
}

static void end_outlived(struct members *members, struct member *m)
{
	if (m->of)
		session_put(m->of);
	survivor_put(m->survivor);
	if (m->is_put_by) {
		mutex_lock(&members->lock);
		members->nr_put_by--;
		mutex_unlock(&members->lock);
	}
	free_told(members, m);
}

void members_global_init(void)
{
	member_cache = KMEM_CACHE(member, 0);
	survivors_init();
}

void members_init(struct members *members)
{
	mutex_init(&members->lock, RANK_LEASES, "members");
	list_init(&members->list);
	list_init(&members->outlived);
	list_init(&members->missing);
}

void members_fini(struct members *members)
{
	struct member *m;

	while (!list_empty(&members->outlived)) {
		m = list_first_entry(&members->outlived, struct member, link);
		list_del(&m->link);
		end_outlived(members, m);
	}
	CHECK(!members->nr && list_empty(&members->list));
	kfree(members->bits);
	mutex_fini(&members->lock);
}

/* ---- numbers ---- */

static bool bit_is_set(const struct members *members, uint32_t number)
{
	return members->bits[number / WORD_BITS] >> number % WORD_BITS & 1;
}

static int grow_locked(struct members *members)
{
	uint32_t nr = members->nr_words ? members->nr_words * 2 : WORDS_MIN;
	uint64_t *bits = krealloc_array(members->bits, nr, sizeof(bits[0]), GFP_KERNEL);

	if (!bits)
		return -ENOMEM;
	memset(bits + members->nr_words, 0, (nr - members->nr_words) * sizeof(bits[0]));
	members->bits = bits;
	members->nr_words = nr;
	bits[0] |= 1; /* 0 is no number */
	return 0;
}

/* The next free one after the last that was given; 0: none, or no memory. */
static uint32_t take_number_locked(struct members *members)
{
	uint32_t number = members->last, tries;

	for (tries = 0; tries <= MEMBERS_MAX; tries++) {
		number = number < MEMBERS_MAX ? number + 1 : 1;
		if (number / WORD_BITS >= members->nr_words && grow_locked(members))
			return 0;
		if (!bit_is_set(members, number))
			break;
	}
	if (tries > MEMBERS_MAX)
		return 0;
	members->bits[number / WORD_BITS] |= 1ull << number % WORD_BITS;
	members->last = number;
	members->nr++;
	return number;
}

static void put_number_locked(struct members *members, uint32_t number)
{
	CHECK(bit_is_set(members, number));
	members->bits[number / WORD_BITS] &= ~(1ull << number % WORD_BITS);
	members->nr--;
}

bool members_are_behind(struct members *members)
{
	bool behind;

	mutex_lock(&members->lock);
	behind = members->nr_put_by >= PUT_BY_MAX;
	mutex_unlock(&members->lock);
	return behind;
}

struct member *member_new(struct members *members)
{
	struct member *m = kmem_cache_zalloc(member_cache, GFP_KERNEL);

	if (!m)
		return NULL;
	mutex_lock(&members->lock);
	m->number = take_number_locked(members);
	mutex_unlock(&members->lock);
	if (m->number)
		return m;
	kmem_cache_free(member_cache, m);
	return NULL;
}

static bool take_this_locked(struct members *members, uint32_t number)
{
	if (!number || number > MEMBERS_MAX)
		return false;
	while (number / WORD_BITS >= members->nr_words)
		if (grow_locked(members))
			return false;
	if (bit_is_set(members, number))
		return false;
	members->bits[number / WORD_BITS] |= 1ull << number % WORD_BITS;
	members->last = max_t(uint32_t, members->last, number);
	members->nr++;
	return true;
}

struct member *member_restore(struct members *members, uint32_t number)
{
	struct member *m = kmem_cache_zalloc(member_cache, GFP_KERNEL);
	bool taken;

	if (!m)
		return NULL;
	mutex_lock(&members->lock);
	taken = take_this_locked(members, number);
	mutex_unlock(&members->lock);
	m->number = number;
	if (taken)
		return m;
	kmem_cache_free(member_cache, m);
	return NULL;
}

uint32_t member_find_request(struct pool_handle *ph, uint64_t request)
{
	struct members *members = &ph->pool->members;
	uint32_t handle = 0;
	struct member *m;

	mutex_lock(&members->lock);
	list_for_each_entry(m, &ph->members, of_ph)
		if (m->record && m->record->request == request)
			handle = m->handle;
	mutex_unlock(&members->lock);
	return handle;
}

void member_free(struct members *members, struct member *m)
{
	mutex_lock(&members->lock);
	put_number_locked(members, m->number);
	mutex_unlock(&members->lock);
	kmem_cache_free(member_cache, m);
}

void member_commit(struct member *m, const struct pool_handle *ph, uint64_t request)
{
	struct handle_record *record = m->record;

	if (!record)
		return;
	record->object = ph->pool->id;
	record->share = ph->id;
	record->request = request;
	record->session = record_slot(RECORD_SESSION, ph->session);
	record->handle = m->handle;
	record->what = HANDLE_OF_POOL;
	record->member = m->number;
	record_word_set(&record->start, 0);
	record_commit(RECORD_HANDLE, record);
}

void member_list(struct member *m, struct session *s, struct pool_handle *ph, uint32_t handle)
{
	struct members *members = &ph->pool->members;

	m->handle = handle;
	m->orphans = s->upcalls.orphans;
	m->context = s->upcall_context;
	mutex_lock(&members->lock);
	list_add_tail(&m->link, &members->list);
	members->nr_listed++;
	list_add(&m->of_ph, &ph->members);
	mutex_unlock(&members->lock);
}

uint32_t member_number(struct pool_handle *ph, uint32_t handle)
{
	struct members *members = &ph->pool->members;
	uint32_t number = 0;
	struct member *m;

	mutex_lock(&members->lock);
	list_for_each_entry(m, &ph->members, of_ph)
		if (m->handle == handle)
			number = m->number;
	mutex_unlock(&members->lock);
	return number;
}

/* ---- telling ---- */

struct message {
	struct member to; /* a copy: it may end meanwhile */
	bool told;
};

/* The next few that can be told, behind the place-holder, which moves on. */
static uint32_t next_few_locked(struct members *members, struct member *place, struct message *out)
{
	uint32_t nr = 0;

	while (nr < TOLD_AT_ONCE && place->link.next != &members->list) {
		struct member *m = list_entry(place->link.next, struct member, link);

		if (m->handle && m->orphans)
			out[nr++].to = (struct member){ .number = m->number,
							.handle = m->handle,
							.orphans = m->orphans,
							.context = m->context };
		list_del(&place->link);
		list_add(&place->link, &m->link);
	}
	return nr;
}

/* It stands shortly before the place-holder, if it hasn't ended. */
static void miss_locked(struct members *members, const struct member *place, uint32_t number,
			uint32_t ended)
{
	struct list_head *at = place->link.prev;
	struct member *m = NULL;

	for (int i = 0; i < TOLD_AT_ONCE && at != &members->list && !m; i++, at = at->prev)
		if (list_entry(at, struct member, link)->number == number)
			m = list_entry(at, struct member, link);
	if (!m || !m->handle || m->nr_missed == MEMBER_MISSED_MAX)
		return;
	if (!m->nr_missed) {
		list_add_tail(&m->of_missing, &members->missing);
		members->nr_missing++;
	}
	m->missed[m->nr_missed++] = ended;
}

static void miss_no_more_locked(struct members *members, struct member *m)
{
	if (!m->nr_missed)
		return;
	list_del(&m->of_missing);
	members->nr_missing--;
	m->nr_missed = 0;
}

static void tell_others(struct members *members, uint32_t ended)
{
	struct message few[TOLD_AT_ONCE];
	struct member place = { 0 };
	uint32_t nr;

	mutex_lock(&members->lock);
	list_add(&place.link, &members->list);
	do {
		nr = next_few_locked(members, &place, few);
		mutex_unlock(&members->lock);
		heartbeat_touch();
		for (uint32_t i = 0; i < nr; i++)
			few[i].told = few[i].to.orphans(few[i].to.context, few[i].to.handle, ended);
		mutex_lock(&members->lock);
		for (uint32_t i = 0; i < nr; i++)
			if (!few[i].told)
				miss_locked(members, &place, few[i].to.number, ended);
	} while (nr == TOLD_AT_ONCE);
	list_del(&place.link);
	mutex_unlock(&members->lock);
}

static struct member *find_locked(struct pool_handle *ph, uint32_t handle)
{
	struct member *m;

	list_for_each_entry(m, &ph->members, of_ph)
		if (m->handle == handle)
			return m;
	return NULL;
}

/* ---- ends ---- */

void member_mark_end(struct pool_handle *ph, uint32_t handle, const struct member_end_mark *mark)
{
	struct members *members = &ph->pool->members;
	struct member *m;

	mutex_lock(&members->lock);
	m = find_locked(ph, handle);
	CHECK(m);
	if (m->record) {
		record_word_set(&m->record->process, mark->process);
		record_word_set(&m->record->start, mark->alive ? HANDLE_OUTLIVED : HANDLE_ENDED);
	}
	mutex_unlock(&members->lock);
}

static uint64_t mark_of(const struct handle_record *record)
{
	uint64_t mark;

	if (!record_word_get(&record->start, &mark))
		return 0;
	return mark == HANDLE_ENDED || mark == HANDLE_OUTLIVED ? mark : 0;
}

bool member_is_marked(const struct handle_record *record)
{
	return mark_of(record) != 0;
}

int member_resume_ended(struct pool *pool, struct handle_record *record)
{
	struct members *members = &pool->members;
	uint64_t process;
	struct member *m;

	if (pool->is_private)
		return -EUCLEAN;
	m = member_restore(members, record->member);
	if (!m)
		return -EUCLEAN;
	m->record = record;
	pool_handle_skip(record->share);
	m->is_out = mark_of(record) != HANDLE_OUTLIVED;
	if (m->is_out) /* B3: its session's slot will be another's */
		record_word_set(&record->start, HANDLE_ENDED);
	if (!m->is_out && record_word_get(&record->process, &process))
		m->survivor = survivor_get(process);
	mutex_lock(&members->lock);
	list_add_tail(&m->link, &members->outlived);
	mutex_unlock(&members->lock);
	return 0;
}

/* Its number stays taken until the session is out; NULL: until the next tick. */
static void outlive(struct members *members, struct member *m, struct session *cut)
{
	if (cut)
		session_get(cut);
	mutex_lock(&members->lock);
	m->of = cut;
	m->is_out = !cut;
	m->is_put_by = !cut;
	members->nr_put_by += !cut;
	list_add_tail(&m->link, &members->outlived);
	mutex_unlock(&members->lock);
}

void member_end(struct pool_handle *ph, uint32_t handle, struct session *cut)
{
	struct pool *pool = ph->pool;
	struct members *members = &pool->members;
	struct member *m;
	bool waits = cut && !session_is_out(cut), many;

	mutex_lock(&members->lock);
	m = find_locked(ph, handle);
	CHECK(m);
	list_del(&m->link);
	list_del(&m->of_ph);
	miss_no_more_locked(members, m);
	many = --members->nr_listed > FEW;
	mutex_unlock(&members->lock);
	if (!pool->is_private && leases_bytes(&pool->leases)) {
		if (waits || many) {
			outlive(members, m, waits ? cut : NULL);
			return;
		}
		tell_others(members, m->number);
	}
	free_told(members, m);
}

static bool is_out(struct member *m)
{
	return m->is_out || (m->of && session_is_out(m->of)) ||
	       (m->survivor && survivor_has_ended(m->survivor));
}

static void take_ended(struct members *members, struct list_head *ended)
{
	struct member *m, *next;
	uint32_t nr = 0, most;

	mutex_lock(&members->lock);
	most = UPCALLS_A_TICK / max_t(uint32_t, members->nr_listed, FEW);
	most = max_t(uint32_t, most, 1);
	list_for_each_entry_safe(m, next, &members->outlived, link) {
		if (nr == most)
			break;
		if (!is_out(m))
			continue;
		list_del(&m->link);
		list_add_tail(&m->link, ended);
		nr++;
	}
	mutex_unlock(&members->lock);
}

static void tick_outlived(struct members *members)
{
	struct member *m, *next;
	struct list_head ended;

	list_init(&ended);
	take_ended(members, &ended);
	list_for_each_entry_safe(m, next, &ended, link) {
		tell_others(members, m->number);
		end_outlived(members, m);
	}
}

/* Near the end of the list, if it hasn't ended; else it is told once more. */
static struct member *find_missing_locked(struct members *members, const struct member *copy)
{
	struct list_head *at = members->missing.prev;

	for (int i = 0; i < TOLD_AT_ONCE && at != &members->missing; i++, at = at->prev) {
		struct member *m = list_entry(at, struct member, of_missing);

		if (m->number == copy->number && m->context == copy->context)
			return m;
	}
	return NULL;
}

static void drop_missed_locked(struct members *members, struct member *m, uint32_t nr)
{
	if (nr >= m->nr_missed) {
		miss_no_more_locked(members, m);
		return;
	}
	m->nr_missed -= nr;
	memmove(m->missed, m->missed + nr, m->nr_missed * sizeof(m->missed[0]));
}

/* The first one moves to the end of the list. */
static void tell_first_again_locked(struct members *members)
{
	struct member *first = list_first_entry(&members->missing, struct member, of_missing);
	struct member m = *first;
	uint32_t told = 0;

	list_del(&first->of_missing);
	list_add_tail(&first->of_missing, &members->missing);
	mutex_unlock(&members->lock);
	while (told < m.nr_missed && m.orphans(m.context, m.handle, m.missed[told]))
		told++;
	heartbeat_touch();
	mutex_lock(&members->lock);
	first = find_missing_locked(members, &m);
	if (first)
		drop_missed_locked(members, first, told);
}

void members_tick(struct members *members)
{
	uint32_t left;

	tick_outlived(members);
	mutex_lock(&members->lock);
	left = min_t(uint32_t, members->nr_missing, TOLD_A_TICK);
	for (; left && !list_empty(&members->missing); left--)
		tell_first_again_locked(members);
	mutex_unlock(&members->lock);
}
