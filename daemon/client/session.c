/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session - life, handles, fault log and end of a session
 *
 * End         bookkeeping on the caller's thread: lanes, windows, handles. Page runs go back on a
 *             work thread, regions' memory on another.
 */
#include "client/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/log.h"
#include "client/account.h"
#include "client/gate.h"
#include "client/stop.h"
#include "client/suspect.h"
#include "mm/obj/slab.h"
#include "mm/phys/node.h"
#include "mm/phys/section_file.h"
#include "mm/space/lane.h"
#include "os/holdup.h"
#include "os/keep.h"
#include "os/last_close.h"
#include "os/os.h"
#include "os/process.h"
#include "os/uffd_features.h"
#include "proto/uffd_compat.h"

enum { RUNS_AT_ONCE = 512, LOOK_NS = 200 * 1000 * 1000 };

static struct mutex sessions_lock;
static struct list_head sessions = LIST_HEAD_INIT(sessions); /* sessions_lock */
static uint64_t nr_sessions, next_id = 1;                    /* sessions_lock */
/* Fixed after init. */
static struct kmem_cache *session_cache, *pool_handle_cache, *region_handle_cache, *ending_cache;
static struct workqueue end_queue;
static struct work refill_work; /* after a session has ended: for the next one */
static _Atomic bool stopping;

/* Page runs of a session that has ended, on their way back. */
struct ending {
	struct work work;
	struct pool_handle *ph;
	uint32_t handle;
	struct session *s; /* counted */
};

static void refill(struct work *work)
{
	fault_logs_refill();
	section_files_refill();
}

int sessions_init(void)
{
	suspects_init();
	mutex_init(&sessions_lock, RANK_SESSIONS, "sessions");
	session_cache = KMEM_CACHE(session, 0);
	pool_handle_cache = KMEM_CACHE(pool_handle, 0);
	region_handle_cache = KMEM_CACHE(region_handle, 0);
	ending_cache = KMEM_CACHE(ending, 0);
	fault_logs_init();
	offers_init();
	work_init(&refill_work, refill);
	return workqueue_init(&end_queue, "mmb-end", 1);
}

void sessions_fini(void)
{
	workqueue_fini(&end_queue);
	fault_logs_fini();
	offers_fini();
	mutex_fini(&sessions_lock);
}

void sessions_stopping(void)
{
	atomic_store(&stopping, true);
}

uint64_t session_count(void)
{
	uint64_t nr;

	mutex_lock(&sessions_lock);
	nr = nr_sessions;
	mutex_unlock(&sessions_lock);
	return nr;
}

/* ---- life ---- */

static uint32_t slot_of(const struct session *s)
{
	return record_slot(RECORD_SESSION, s->record);
}

static void init_session(struct session *s, const struct peer *peer)
{
	s->peer = *peer;
	s->life = (struct member_life){ false, -1, -1 };
	atomic_store(&s->refs, 2); /* the caller's, and one that session_end() drops */
	mutex_init(&s->lock, RANK_SESSION, "session");
	mutex_init(&s->fault_log_lock, RANK_LEAF, "fault log");
	handles_init(&s->pools);
	handles_init(&s->regions);
	list_init(&s->resume_link);
	offer_init(&s->offer);
}

static enum account_kind session_account(const struct peer *peer)
{
	return peer->control ? ACCOUNT_TOOLS : ACCOUNT_SESSIONS;
}

static void free_object(struct session *s)
{
	mutex_fini(&s->lock);
	mutex_fini(&s->fault_log_lock);
	kmem_cache_free(session_cache, s);
}

int session_new(const struct peer *peer, struct session **out, struct refusal *why)
{
	struct session *s;
	void *record = NULL;
	uint32_t limit;
	int r = INJECT(SESSION_NEW);

	if (r)
		return refuse(why, r, "no memory for another session");
	r = account_charge(peer->uid, session_account(peer), &limit);
	if (r)
		return refuse(why, r,
			      "the limit of %u sessions is reached; close some, or raise "
			      "limits.sessions or limits.sessions_per_uid",
			      limit);
	s = kmem_cache_zalloc(session_cache, GFP_KERNEL);
	if (!s) {
		account_uncharge(peer->uid, session_account(peer));
		return refuse(why, -ENOMEM, "no memory for another session");
	}
	init_session(s, peer);
	r = peer->control ? 0 : record_new(RECORD_SESSION, &record);
	if (r) {
		account_uncharge(peer->uid, session_account(peer));
		free_object(s);
		return refuse(why, r, "no memory for another session");
	}
	s->record = record;
	atomic_store(&s->suspect, s->record ? &s->record->suspect : NULL);
	carried_init(&s->carried, s->record);
	mutex_lock(&sessions_lock);
	s->id = next_id++;
	list_add_tail(&s->link, &sessions);
	nr_sessions++;
	mutex_unlock(&sessions_lock);
	*out = s;
	return 0;
}

int session_keep(struct session *s, int sock)
{
	int r;

	if (!s->record)
		return 0;
	s->record->id = s->id;
	memcpy(s->record->name, s->peer.name, sizeof(s->record->name));
	r = keep_fd(keep_session_key(slot_of(s), KEEP_SOCKET), sock);
	if (!r && s->fault_log.map)
		r = keep_fd(keep_session_key(slot_of(s), KEEP_FAULT_LOG), s->fault_log.fd);
	if (!r)
		record_commit(RECORD_SESSION, s->record);
	return r;
}

int session_keep_upcalls(struct session *s, int sock)
{
	return s->record ? keep_fd(keep_session_key(slot_of(s), KEEP_UPCALLS), sock) : 0;
}

void session_count_upcall(struct session *s, uint64_t id)
{
	if (s->record)
		record_word_set(&s->record->last_upcall, id);
}

/* It has ended: the slot may be another session's. */
static void free_record(struct session *s)
{
	for (int what = 0; s->record && what < KEEP_SESSION_FDS; what++)
		keep_drop(keep_session_key(slot_of(s), (enum keep_session)what));
	atomic_store(&s->suspect, NULL);
	carried_end(&s->carried);
	record_free(RECORD_SESSION, s->record);
	s->record = NULL;
}

/* The list is by id; slots are not. */
static struct list_head *place_by_id(uint64_t id)
{
	struct list_head *at = sessions.prev;

	while (at != &sessions && list_entry(at, struct session, link)->id > id)
		at = at->prev;
	return at;
}

struct session *session_resume(struct session_record *record, const struct peer *peer)
{
	struct session *s = kmem_cache_zalloc(session_cache, GFP_KERNEL);

	if (!s)
		return NULL;
	init_session(s, peer);
	s->record = record;
	atomic_store(&s->suspect, &record->suspect);
	carried_init(&s->carried, record);
	s->id = record->id;
	if (account_recharge(peer->uid, ACCOUNT_SESSIONS) || session_resume_parts(s))
		return NULL; /* the daemon doesn't start */
	mutex_lock(&sessions_lock);
	list_add(&s->link, place_by_id(s->id));
	nr_sessions++;
	next_id = max_t(uint64_t, next_id, s->id + 1);
	mutex_unlock(&sessions_lock);
	return s;
}

void session_get(struct session *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

static void end_life(struct session *s)
{
	if (s->life.pidfd >= 0)
		os->close(s->life.pidfd);
	if (s->life.upcalls >= 0)
		os->close(s->life.upcalls);
	if (s->life.alive)
		account_uncharge(s->peer.uid, session_account(&s->peer));
}

void session_put(struct session *s)
{
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	CHECK(s->ended);
	end_life(s);
	if (s->fault_log.map)
		fault_log_close(&s->fault_log);
	handles_fini(&s->pools);
	handles_fini(&s->regions);
	carried_fini(&s->carried);
	free_object(s);
}

uint64_t session_id(const struct session *s)
{
	return s->id;
}

void session_work(struct session *s, uint64_t request)
{
	heartbeat_work(s, request);
}

uint32_t session_request_deaths(const struct session *s, uint64_t request)
{
	const struct record_word *word = atomic_load(&s->suspect);

	return word ? suspect_deaths(word, request) : 0;
}

void session_count_request(struct session *s)
{
	atomic_fetch_add_explicit(&s->nr_requests, 1, memory_order_relaxed);
}

void session_set_upcalls(struct session *s, const struct upcall_ops *ops, void *context)
{
	mutex_lock(&s->lock);
	s->upcalls = *ops;
	s->upcall_context = context;
	mutex_unlock(&s->lock);
}

void session_for_each(void (*fn)(struct session *s, void *arg), void *arg)
{
	uint64_t after = 0;
	struct session *s, *found;

	do {
		found = NULL;
		mutex_lock(&sessions_lock);
		list_for_each_entry(s, &sessions, link) {
			if (s->id > after) {
				found = s;
				session_get(s);
				break;
			}
		}
		mutex_unlock(&sessions_lock);
		if (found) {
			after = found->id;
			fn(found, arg);
			session_put(found);
		}
	} while (found);
}

/* ---- fault log ---- */

int session_fault_log_fd(struct session *s)
{
	int r = s->fault_log.map ? 0 : fault_log_open(&s->fault_log);

	return r ? r : os->dup(s->fault_log.fd);
}

bool session_drop_entries(void *session, const struct mapped_range *ranges, uint32_t nr)
{
	struct session *s = session;

	return !s->upcalls.zap || s->upcalls.zap(s->upcall_context, ranges, nr);
}

void session_log_fault(void *session, const struct fault_record *record)
{
	struct session *s = session;
	struct mmb_fault_record *slot;
	uint32_t seq;

	if (!s || !s->fault_log.map)
		return;
	mutex_lock(&s->fault_log_lock);
	slot = &s->fault_log.map->records[s->nr_fault_records % MMB_FAULT_RECORDS];
	seq = (uint32_t)(s->nr_fault_records / MMB_FAULT_RECORDS) * 2;
	atomic_store_explicit(&slot->seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	slot->error = record->error;
	slot->address = record->address;
	slot->length = record->length;
	slot->offset = record->offset;
	snprintf(slot->region, sizeof(slot->region), "%s", record->region);
	snprintf(slot->cause, sizeof(slot->cause), "%s", record->cause);
	atomic_store_explicit(&slot->seq, seq + 2, memory_order_release);
	s->nr_fault_records++;
	atomic_store_explicit(&s->fault_log.map->head, s->nr_fault_records, memory_order_release);
	mutex_unlock(&s->fault_log_lock);
}

static struct log_subject subject(const struct session *s)
{
	return (struct log_subject){ s->id, s->peer.pid, s->peer.uid };
}

void session_end_client(void *session, const char *reason)
{
	struct session *s = session;
	struct log_subject about = subject(s);

	log_emit_about(&about, LOG_ERR, "client_killed", "pid %d (session %llu): %s", s->peer.pid,
		       (unsigned long long)s->id, reason);
	if (s->upcalls.kill)
		s->upcalls.kill(s->upcall_context, reason);
}

void session_ask_remap(void *session, const struct remap *remap)
{
	struct session *s = session;
	struct remap_part part = {
		.region = remap->handle,
		.address = remap->address,
		.length = remap->length,
		.offset = remap->offset,
	};

	if (s->upcalls.remap)
		s->upcalls.remap(s->upcall_context, &part);
}

bool session_is_late(void *session)
{
	struct session *s = session;

	return s->upcalls.is_late && s->upcalls.is_late(s->upcall_context);
}

/* ---- attach ---- */

static const uint64_t features_to_remap =
	UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
static const uint64_t features_needed = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;

/* A fault thread may still be at work for a session that has ended: its mm keeps it. */
void session_mm_released(void *owner)
{
	session_put(owner);
}

/* The client may have closed its own by now, and keep the lock of its map. */
static void close_uffd(int uffd)
{
	if (!last_close(uffd))
		os->close(uffd);
}

int session_attach(struct session *s, const struct attach_args *args, struct refusal *why)
{
	struct mm_request want = { .uffd = args->uffd, .pid = s->peer.pid, .owner = s,
				   .released = session_mm_released,
				   .session = s->record ? slot_of(s) + 1 : 0 };
	struct mm *mm;
	uint64_t features = 0;
	int r = uffd_accept(args->uffd, &features);

	if (r == -EINVAL) /* closing a stranger's file may take long */
		return refuse(why, -EPROTO, "the descriptor of ATTACH is no userfaultfd");
	holdup_set_owner(args->uffd, s->peer.pid, s->peer.uid);
	if (!r && (features & features_needed) != features_needed)
		r = -EPROTO;
	if (r) {
		close_uffd(args->uffd);
		return refuse(why, -EINVAL,
			      "the userfaultfd has not MISSING and MINOR faults of shared "
			      "memory enabled");
	}
	r = mm_new(&want, &mm);
	if (r) {
		close_uffd(args->uffd);
		return refuse(why, r, "the limit of %d sessions with memory is reached", NR_MM_MAX);
	}
	session_get(s);
	mutex_lock(&s->lock);
	if (s->ended)
		r = refuse(why, -ENOTCONN, "the session has ended");
	else if (s->mm)
		r = refuse(why, -EEXIST, "a userfaultfd is attached already");
	else if (s->record &&
		 (r = keep_fd(keep_session_key(slot_of(s), KEEP_UFFD), args->uffd)))
		refuse(why, r, "the userfaultfd can't be kept: %s", strerror(-r));
	else if ((r = lanes_add(mm)))
		refuse(why, r, "no fault thread can watch the userfaultfd: %s", strerror(-r));
	if (!r) {
		s->mm = mm;
		s->user_mode_only = args->user_mode_only;
		s->can_remap = args->hears_remap &&
			       (features & features_to_remap) == features_to_remap;
		s->can_remap_huge = s->can_remap && args->remaps_huge;
		if (s->record)
			record_word_set(&s->record->attached,
					1 | (args->user_mode_only ? 2 : 0) |
						(s->can_remap ? 4 : 0) |
						(s->can_remap_huge ? 8 : 0));
	}
	mutex_unlock(&s->lock);
	if (r)
		mm_put(mm);
	return r;
}

bool session_is_attached(struct session *s)
{
	bool attached;

	mutex_lock(&s->lock);
	attached = s->mm != NULL;
	mutex_unlock(&s->lock);
	return attached;
}

int session_home_node(const struct session *s)
{
	return nr_nodes > 1 ? process_node(s->peer.pid) : 0;
}

/* ---- handles ---- */

static _Atomic uint64_t last_share;

void pool_handle_skip(uint64_t id)
{
	if (id > atomic_load(&last_share)) /* one thread resumes; others only count up */
		atomic_store(&last_share, id);
}

struct pool_handle *pool_handle_resume(struct pool *pool, struct session_record *session,
				       uint64_t id)
{
	struct pool_handle *ph = kmem_cache_zalloc(pool_handle_cache, GFP_KERNEL);

	if (!ph)
		return NULL;
	ph->pool = pool;
	ph->session = session;
	ph->id = id;
	pool_handle_skip(id);
	atomic_store(&ph->refs, 1);
	mutex_init(&ph->lock, RANK_ARENA, "page runs");
	list_init(&ph->runs);
	list_init(&ph->members);
	return ph;
}

struct pool_handle *pool_handle_new(struct pool *pool, struct session_record *session)
{
	return pool_handle_resume(pool, session, atomic_fetch_add(&last_share, 1) + 1);
}

/* Behind the gate, but not for long at a time. */
static void free_some_runs(struct list_head *runs)
{
	gate_enter();
	for (int i = 0; i < RUNS_AT_ONCE && !list_empty(runs); i++) {
		struct page *page = list_first_entry(runs, struct page, lru);

		list_del(&page->lru);
		free_pages(page, pg_order(page));
	}
	gate_leave();
}

uint64_t pool_handle_free_runs(struct pool_handle *ph)
{
	struct list_head all = LIST_HEAD_INIT(all);
	uint64_t frames;

	mutex_lock(&ph->lock);
	ph->closed = true;
	list_splice_tail(&ph->runs, &all);
	frames = ph->nr_frames;
	ph->nr_frames = 0;
	mutex_unlock(&ph->lock);
	while (!list_empty(&all))
		free_some_runs(&all);
	return frames;
}

void pool_handle_put(struct pool_handle *ph)
{
	if (atomic_fetch_sub_explicit(&ph->refs, 1, memory_order_acq_rel) != 1)
		return;
	pool_handle_free_runs(ph);
	pool_caches_close_all(ph);
	kfree(ph->cache_opens);
	pool_close(ph->pool);
	mutex_fini(&ph->lock);
	kmem_cache_free(pool_handle_cache, ph);
}

struct region_handle *region_handle_new(struct pool_region *pr, bool readonly)
{
	struct region_handle *rh = kmem_cache_zalloc(region_handle_cache, GFP_KERNEL);

	if (!rh)
		return NULL;
	rh->pr = pr;
	rh->readonly = readonly;
	rh->base_fd = -1;
	atomic_store(&rh->refs, 1);
	atomic_store(&rh->start, pr->start);
	return rh;
}

void region_handle_commit(struct region_handle *rh, const struct session *s, uint32_t handle,
			  const struct region_open_args *args)
{
	struct handle_record *record = rh->record;

	if (!record)
		return;
	record->object = rh->pr->id;
	record->request = args->request;
	record->member = args->place;
	record->session = slot_of(s);
	record->handle = handle;
	record->what = HANDLE_OF_REGION | (rh->readonly ? HANDLE_READONLY : 0) |
		       (rh->made ? HANDLE_MADE : 0);
	record_word_set(&record->start, atomic_load(&rh->start) >> PAGE_SHIFT);
	record_commit(RECORD_HANDLE, record);
}

void region_handle_put(struct region_handle *rh)
{
	if (atomic_fetch_sub_explicit(&rh->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (atomic_load(&rh->base_fd) >= 0)
		os->close(rh->base_fd);
	record_free(RECORD_HANDLE, rh->record);
	pool_region_close(rh->pr);
	kmem_cache_free(region_handle_cache, rh);
}

static struct pool_handle *pool_of_locked(struct session *s, uint32_t handle)
{
	struct pool_handle *ph = s->ended ? NULL : handles_get(&s->pools, handle);

	if (ph)
		atomic_fetch_add(&ph->refs, 1);
	return ph;
}

struct pool_handle *session_pool_unused(struct session *s, uint32_t handle)
{
	struct pool_handle *ph;

	mutex_lock(&s->lock);
	ph = pool_of_locked(s, handle);
	mutex_unlock(&s->lock);
	return ph;
}

struct pool_handle *session_pool(struct session *s, uint32_t handle, struct refusal *why)
{
	struct pool_handle *ph;

	mutex_lock(&s->lock);
	ph = pool_of_locked(s, handle);
	offer_use_locked(s, handle);
	mutex_unlock(&s->lock);
	if (!ph)
		refuse(why, -EBADF, "%#x is no pool handle of this session", handle);
	return ph;
}

struct pool_handle *session_next_share(struct session *s, uint32_t *cursor)
{
	struct pool_handle *ph;
	uint32_t handle;

	while ((ph = handles_next(&s->pools, cursor, &handle))) {
		if (++ph->nr_seen < ph->nr_opens)
			continue;
		ph->nr_seen = 0;
		return ph;
	}
	return NULL;
}

struct region_handle *session_region(struct session *s, uint32_t handle, struct refusal *why)
{
	struct region_handle *rh;

	mutex_lock(&s->lock);
	rh = s->ended ? NULL : handles_get(&s->regions, handle);
	if (rh)
		atomic_fetch_add(&rh->refs, 1);
	mutex_unlock(&s->lock);
	if (!rh)
		refuse(why, -EBADF, "%#x is no region handle of this session", handle);
	return rh;
}

struct mm *session_mm(struct session *s)
{
	struct mm *mm = NULL;

	mutex_lock(&s->lock);
	if (!s->ended && s->mm && mm_get(s->mm))
		mm = s->mm;
	mutex_unlock(&s->lock);
	return mm;
}

/* ---- the end ---- */

static void finish_pool_handle(struct session *s, struct pool_handle *ph, uint32_t handle)
{
	pool_handle_free_runs(ph);
	member_end(ph, handle, s);
	pool_handle_put(ph);
}

static void run_ending(struct work *work)
{
	struct ending *e = container_of(work, struct ending, work);

	finish_pool_handle(e->s, e->ph, e->handle);
	session_put(e->s);
	kmem_cache_free(ending_cache, e);
}

/* A request at work may keep it for long, and its session's slot be another's by then. */
static void end_region_handle(struct region_handle *rh)
{
	if (rh->record)
		record_end(rh->record);
	region_handle_put(rh);
}

static void mark_pool_handles(struct session *s)
{
	struct member_end_mark mark = { .alive = s->life.alive };
	struct pool_handle *ph;
	uint32_t cursor = 0, handle;

	if (s->life.pidfd >= 0 && mark.alive)
		mark.process = process_mark(s->peer.pid, s->life.pidfd);
	while ((ph = handles_next(&s->pools, &cursor, &handle)))
		member_mark_end(ph, handle, &mark);
}

/* Millions of runs may have to go back: not on the caller's time. */
static void end_pool_handle(struct session *s, struct pool_handle *ph, uint32_t handle)
{
	struct ending *e = kmem_cache_zalloc(ending_cache, GFP_KERNEL);

	if (!e) {
		finish_pool_handle(s, ph, handle);
		return;
	}
	session_get(s);
	e->s = s;
	e->ph = ph;
	e->handle = handle;
	work_init(&e->work, run_ending);
	workqueue_add(&end_queue, &e->work);
}

bool session_is_out(struct session *s)
{
	struct member_life *life = &s->life;
	uint64_t now_ns = os->now_ns();

	if (!life->alive || atomic_load(&s->is_out))
		return true;
	/* Each of its handles asks. */
	if (atomic_load(&s->looked_ns) && now_ns - atomic_load(&s->looked_ns) < LOOK_NS)
		return false;
	atomic_store(&s->looked_ns, now_ns);
	if ((life->pidfd >= 0 && process_has_ended(life->pidfd)) ||
	    (life->upcalls >= 0 && socket_is_shut(life->upcalls)))
		atomic_store(&s->is_out, true);
	return atomic_load(&s->is_out);
}

void session_cut(struct session *s, int pidfd, int upcalls)
{
	s->life = (struct member_life){ true, pidfd < 0 ? -1 : os->dup(pidfd), upcalls };
}

void session_end(struct session *s, const char *reason)
{
	struct log_subject about;
	struct mm *mm;
	uint32_t cursor = 0, handle;
	bool was_ended;

	mutex_lock(&s->lock);
	was_ended = s->ended;
	s->ended = true;
	mm = s->mm;
	mutex_unlock(&s->lock);
	if (was_ended)
		return;
	offer_end(s, 0);
	mark_pool_handles(s);
	/* Crash: from here on the session has ended, and resume ends what is left of it. */
	if (s->record)
		record_end(s->record);
	about = subject(s);
	log_emit_about_limited(&about, LOG_INFO, "session_end", "session %llu (pid %d): %s",
			       (unsigned long long)s->id, s->peer.pid, reason);
	if (mm) {
		lanes_del(mm);
		if (atomic_load(&stopping))
			session_poison(s, mm);
		mm_remove_all(mm);
	}
	while (handles_next(&s->regions, &cursor, &handle))
		end_region_handle(handles_del(&s->regions, handle));
	cursor = 0;
	while (handles_next(&s->pools, &cursor, &handle))
		end_pool_handle(s, handles_del(&s->pools, handle), handle);
	free_record(s);
	if (!s->life.alive)
		account_uncharge(s->peer.uid, session_account(&s->peer));
	mutex_lock(&sessions_lock);
	list_del(&s->link);
	nr_sessions--;
	mutex_unlock(&sessions_lock);
	if (s->fault_log.map)
		workqueue_add(&end_queue, &refill_work);
	if (mm)
		mm_put(mm);
	session_put(s);
}
