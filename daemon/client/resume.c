/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume - an index of what has come back, and who holds it until the end
 *
 * Locking     see resume.h.
 */
#include "client/resume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/inject.h"
#include "base/log.h"
#include "client/arena_resume.h"
#include "client/session.h"
#include "client/suspect.h"
#include "mm/balance/swap_area.h"
#include "mm/map/swap.h"
#include "mm/space/clone.h"
#include "mm/space/evict.h"
#include "mm/space/lane.h"
#include "mm/space/lineage.h"
#include "mm/space/takeout.h"
#include "os/keep.h"
#include "os/os.h"

enum { SHARE_BUCKETS = 4096 };

static uint64_t marks[RESUME_PHASES];
static _Atomic bool under_way;

/* Until resume_end(). */
static struct {
	struct pool_region **regions; /* by id */
	uint32_t nr_regions;
	struct session **sessions; /* by slot */
	uint32_t nr_sessions, nr_gone;
	struct pool_handle *shares[SHARE_BUCKETS]; /* by id */
	uint64_t nr_lost; /* records that were freed (Q2) */
	int error;
} found;

void resume_mark(enum resume_phase phase, uint64_t at_ns)
{
	marks[phase] = at_ns ? at_ns : os->now_ns();
}

/* Microseconds since the phase before it. */
static unsigned long long took(enum resume_phase phase)
{
	return marks[phase - 1] ? (marks[phase] - marks[phase - 1]) / 1000 : 0;
}

bool resume_is_due(void)
{
	return keep_has(KEEP_META);
}

/* ---- memory ---- */

static int refuse_meta(struct refusal *why, int r)
{
	if (r == -EPROTONOSUPPORT)
		return refuse(why, r,
			      "the state that the last daemon left is of another version; start "
			      "that version again, or end all clients and start afresh");
	return refuse(why, r, "the state that the last daemon left can't be read: %s",
		      strerror(-r));
}

int resume_memory(const struct meta_request *meta, struct refusal *why)
{
	int r;

	memset(&found, 0, sizeof(found));
	atomic_store(&under_way, true);
	evict_rest(true);
	r = meta_resume(meta, keep_take(KEEP_META));
	if (r)
		return refuse_meta(why, r);
	section_init();
	r = sections_resume(&found.nr_lost);
	if (r)
		return refuse(why, r, "the sections can't be mapped again: %s", strerror(-r));
	found.nr_lost += records_resume();
	meta_settle();
	resume_mark(RESUME_MAPPED, 0);
	return 0;
}

/* ---- pools and regions ---- */

static void lose(enum record_kind kind, void *record)
{
	record_free(kind, record);
	found.nr_lost++;
}

static void resume_pool_record(void *record, void *unused)
{
	int r = pool_resume(record);

	(void)unused;
	found.error = found.error ? found.error : r;
}

static void resume_region_record(void *record, void *unused)
{
	struct pool_region *pr;
	int r = pool_region_resume(record, &pr);

	(void)unused;
	if (!r)
		found.regions[found.nr_regions++] = pr;
	else if (r == -EUCLEAN)
		lose(RECORD_REGION, record);
	else
		found.error = found.error ? found.error : r;
}

static void resume_cache(void *r, void *unused)
{
	struct cache_record *record = r;
	struct pool *pool = pool_by_id(record->pool);
	int error = pool ? pool_caches_resume(&pool->caches, record) : -EUCLEAN;

	(void)unused;
	if (error == -EUCLEAN)
		lose(RECORD_CACHE, record);
	else if (error)
		found.error = error;
}

/* Areas accept at once, since what their slots hold was promised with them. What is to be written
 * there waits until the dead daemon's writes have ended (swap_area_settle()). */
static int resume_swap(struct refusal *why)
{
	struct swap_report report;
	char text[SWAP_WHY_BYTES];

	for (uint32_t area = 0; area < SWAP_AREAS_MAX; area++) {
		int fd = keep_take(KEEP_SWAP + area);
		int r = swap_on_resumed(area, fd, text);

		if (r == -ENOENT)
			swap_forget(area);
		else if (r)
			return refuse(why, r, "%s", text);
		else if (swap_area_report(area, &report) && report.state != SWAP_DEAD)
			swap_area_accept(area, true);
	}
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct pool_region *x = *(struct pool_region *const *)a;
	const struct pool_region *y = *(struct pool_region *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static struct pool_region *find_region(uint64_t id)
{
	uint32_t low = 0, high = found.nr_regions;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (found.regions[middle]->id == id)
			return found.regions[middle];
		if (found.regions[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Older ones first: parents are there before their clones. */
static void resume_families(void)
{
	for (uint32_t i = 0; i < found.nr_regions && !found.error; i++) {
		struct pool_region *pr = found.regions[i];
		uint64_t id = atomic_load(&pr->parent);
		struct pool_region *parent = id ? find_region(id) : NULL;

		found.error = clone_resume(pr->region, parent ? parent->region : NULL);
	}
	for (uint32_t i = 0; i < found.nr_regions; i++)
		region_resume_alone(found.regions[i]->region);
}

int resume_objects(struct refusal *why)
{
	int r = 0;

	found.regions = calloc(record_count(RECORD_REGION) + 1, sizeof(found.regions[0]));
	found.sessions = calloc(record_most(RECORD_SESSION), sizeof(found.sessions[0]));
	if (!found.regions || !found.sessions)
		return refuse(why, -ENOMEM, "no memory to resume with");
	r = resume_swap(why);
	if (r)
		return r;
	record_for_each(RECORD_POOL, resume_pool_record, NULL);
	r = found.error ? 0 : resume_arenas(why);
	if (r)
		return r;
	record_for_each(RECORD_CACHE, resume_cache, NULL);
	takeouts_resume();
	if (!found.error)
		record_for_each(RECORD_REGION, resume_region_record, NULL);
	if (found.error)
		return refuse(why, found.error,
			      "what the last daemon left doesn't fit any more (%s); give "
			      "memory.reserve what it had", strerror(-found.error));
	qsort(found.regions, found.nr_regions, sizeof(found.regions[0]), by_id);
	resume_families();
	resume_mark(RESUME_REBUILT, 0);
	return found.error ? refuse(why, found.error, "no memory to resume with") : 0;
}

/* ---- sessions ---- */

struct each_session {
	void (*fn)(uint32_t slot, void *arg);
	void *arg;
};

static void call_slot(void *record, void *arg)
{
	const struct each_session *each = arg;

	each->fn(record_slot(RECORD_SESSION, record), each->arg);
}

void resume_for_each_session(void (*fn)(uint32_t slot, void *arg), void *arg)
{
	struct each_session each = { fn, arg };

	record_for_each(RECORD_SESSION, call_slot, &each);
}

struct session *resume_session(uint32_t slot, struct peer *peer)
{
	struct session_record *record = record_at(RECORD_SESSION, slot);
	struct session *s;

	memcpy(peer->name, record->name, sizeof(peer->name));
	peer->name[NAME_MAX_BYTES] = '\0';
	s = session_resume(record, peer);
	found.sessions[slot] = s;
	found.nr_sessions += s != NULL;
	return s;
}

uint64_t resume_last_upcall(const struct session *s)
{
	uint64_t id;

	record_word_get(&s->record->last_upcall, &id);
	return id;
}

void resume_add_share(struct pool_handle *ph)
{
	struct pool_handle **bucket = &found.shares[ph->id % SHARE_BUCKETS];

	ph->resume_next = *bucket;
	*bucket = ph;
}

static struct pool_handle *find_share(uint64_t id)
{
	struct pool_handle *ph = found.shares[id % SHARE_BUCKETS];

	while (ph && ph->id != id)
		ph = ph->resume_next;
	return ph;
}

static struct session *session_of_slot(uint32_t slot)
{
	return slot < record_most(RECORD_SESSION) ? found.sessions[slot] : NULL;
}

static int resume_pool_handle(struct session *s, struct handle_record *record)
{
	struct pool *pool = pool_by_id(record->object);

	if (!pool)
		return -EUCLEAN;
	return s && !member_is_marked(record) ? session_resume_pool(s, pool, record)
					      : member_resume_ended(pool, record);
}

static void resume_handle(void *r, void *unused)
{
	struct handle_record *record = r;
	struct session *s = session_of_slot(record->session);
	struct pool_region *pr;
	int error = -EUCLEAN;

	(void)unused;
	if ((record->what & 0xff) == HANDLE_OF_POOL)
		error = resume_pool_handle(s, record);
	pr = s && (record->what & 0xff) == HANDLE_OF_REGION ? find_region(record->object) : NULL;
	if (pr)
		error = session_resume_region(s, pr, record);
	if (error == -EUCLEAN)
		record_free(RECORD_HANDLE, record); /* mostly of a client that has gone */
	else if (error)
		found.error = error;
}

static void resume_window(void *r, void *unused)
{
	struct window_record *record = r;
	struct session *s = session_of_slot(record->session);
	struct pool_region *pr = s ? find_region(record->region) : NULL;

	(void)unused;
	if (!pr || !s->mm || !handles_get(&s->regions, record->handle))
		record_free(RECORD_WINDOW, record);
	else if ((mm_resume_shows(record) && lineage_resume_alone(pr->region)) ||
		 mm_resume_window(s->mm, pr->region, record))
		found.error = -ENOMEM;
	if (pr && region_kin(pr->region) && region_is_hugetlb(pr->region))
		clone_prepare_huge(pr->region); /* else memory is asked for when it is needed */
}

int resume_handles(struct refusal *why)
{
	INJECT_TURN(RESUMING);
	record_for_each(RECORD_HANDLE, resume_handle, NULL);
	record_for_each(RECORD_WINDOW, resume_window, NULL);
	if (!found.error)
		found.error = resume_grants(find_share);
	for (uint32_t i = 0; i < record_most(RECORD_SESSION); i++)
		if (found.sessions[i])
			session_resumed(found.sessions[i], (uint32_t)meta_header->nr_resumed * 64);
	if (found.error)
		return refuse(why, found.error, "no memory to resume with");
	evict_rest(false);
	return 0;
}

static bool is_condemned(const struct session *s)
{
	return session_request_deaths(s, SUSPECT_FAULT) >= REQUEST_DEATHS_MAX;
}

int resume_serve(struct session *s)
{
	int r;

	if (is_condemned(s))
		return 0;
	r = s->mm ? lanes_add(s->mm) : 0;
	if (!r && s->mm)
		mm_wake_all(s->mm);
	return r;
}

void resume_condemn(struct session *s)
{
	if (is_condemned(s))
		session_end_client(s, "the broker has died again and again while it served its "
				      "faults");
}

/* ---- the end ---- */

/* Of clients that died while there was no daemon. */
static void free_session(uint32_t slot, void *unused)
{
	(void)unused;
	if (found.sessions[slot])
		return;
	found.nr_gone++;
	for (int what = 0; what < KEEP_SESSION_FDS; what++)
		keep_drop(keep_session_key(slot, (enum keep_session)what));
	record_free(RECORD_SESSION, record_at(RECORD_SESSION, slot));
}

void resume_end(void)
{
	uint64_t orphans;

	resume_mark(RESUME_SERVED, 0);
	resume_for_each_session(free_session, NULL);
	for (uint32_t i = 0; i < found.nr_regions; i++)
		pool_region_close(found.regions[i]);
	pools_resumed();
	takeouts_settle();
	orphans = sections_settle();
	keep_settle();
	log_emit(LOG_NOTICE, "resumed",
		 "took over from a daemon that died: %u sessions, %u regions, %u clients gone "
		 "meanwhile, %llu sections and %llu records given up; microseconds: %llu until "
		 "this program began, %llu descriptors, %llu memory, %llu objects, %llu sessions",
		 found.nr_sessions, found.nr_regions, found.nr_gone, (unsigned long long)orphans,
		 (unsigned long long)found.nr_lost, took(RESUME_EXECUTED), took(RESUME_GIVEN),
		 took(RESUME_MAPPED), took(RESUME_REBUILT), took(RESUME_SERVED));
	free(found.regions);
	free(found.sessions);
	found.regions = NULL;
	found.sessions = NULL;
	atomic_store(&under_way, false);
}

bool resume_is_under_way(void)
{
	return atomic_load(&under_way);
}
