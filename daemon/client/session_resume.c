/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_resume - a session from its record, and its handles from theirs
 *
 * Locking     one thread, nobody is served yet; locks are taken where callees expect them.
 */
#include <errno.h>
#include <string.h>

#include "client/resume.h"
#include "client/session.h"
#include "os/holdup.h"
#include "os/keep.h"
#include "os/os.h"

static uint32_t slot_of(const struct session_record *record)
{
	return record_slot(RECORD_SESSION, record);
}

static int take_fault_log(struct session *s)
{
	int fd = keep_take(keep_session_key(slot_of(s->record), KEEP_FAULT_LOG));
	int r = fd < 0 ? 0 : fault_log_resume(fd, &s->fault_log);

	if (r)
		os->close(fd); /* without one faults are only logged */
	if (s->fault_log.map)
		s->nr_fault_records = atomic_load(&s->fault_log.map->head);
	return 0;
}

static int take_uffd(struct session *s)
{
	struct mm_request want = { .pid = s->peer.pid, .owner = s, .released = session_mm_released,
				   .session = slot_of(s->record) + 1 };
	uint64_t attached;
	int r;

	record_word_get(&s->record->attached, &attached);
	want.uffd = keep_take(keep_session_key(slot_of(s->record), KEEP_UFFD));
	if (want.uffd < 0)
		return 0;
	if (!attached) { /* the client will attach it again */
		os->close(want.uffd);
		return 0;
	}
	r = mm_new(&want, &s->mm);
	if (r) {
		os->close(want.uffd);
		return r;
	}
	holdup_set_owner(want.uffd, s->peer.pid, s->peer.uid);
	session_get(s);
	s->user_mode_only = attached & 2;
	s->can_remap = attached & 4;
	s->can_remap_huge = attached & 8;
	return 0;
}

int session_resume_parts(struct session *s)
{
	int r = take_fault_log(s);

	return r ? r : take_uffd(s);
}

static struct pool_handle *find_share(struct session *s, uint64_t share)
{
	struct pool_handle *ph;
	uint32_t cursor = 0, handle;

	while ((ph = handles_next(&s->pools, &cursor, &handle)))
		if (ph->id == share)
			return ph;
	return NULL;
}

/* The session's share of the pool, with a reference for one more handle. */
static struct pool_handle *get_share(struct session *s, struct pool *pool, uint64_t share)
{
	struct pool_handle *ph = find_share(s, share);

	if (ph) {
		atomic_fetch_add(&ph->refs, 1);
		return ph;
	}
	ph = pool_handle_resume(pool, s->record, share);
	if (!ph)
		return NULL;
	ph->resumed = true;
	pool_reopen(pool);
	resume_add_share(ph);
	return ph;
}

int session_resume_pool(struct session *s, struct pool *pool, struct handle_record *record)
{
	struct pool_handle *ph;
	struct member *m;
	int r;

	if (!pool || !handles_has_place(&s->pools, record->handle))
		return -EUCLEAN;
	m = member_restore(&pool->members, record->member);
	ph = m ? get_share(s, pool, record->share) : NULL;
	if (!ph)
		return -ENOMEM;
	r = handles_restore(&s->pools, record->handle, ph);
	if (r)
		return r;
	ph->nr_opens++;
	m->record = record;
	member_list(m, s, ph, record->handle);
	return 0;
}

int session_resume_region(struct session *s, struct pool_region *pr, struct handle_record *record)
{
	struct region_handle *rh;
	uint64_t start;

	if (!handles_has_place(&s->regions, record->handle) ||
	    !record_word_get(&record->start, &start))
		return -EUCLEAN;
	rh = region_handle_new(pr, record->what & HANDLE_READONLY);
	if (!rh)
		return -ENOMEM;
	rh->made = record->what & HANDLE_MADE;
	pool_region_reopen(pr);
	atomic_store(&rh->start, start << PAGE_SHIFT);
	rh->record = record;
	return handles_restore(&s->regions, record->handle, rh);
}

void session_resumed(struct session *s, uint32_t first_serial)
{
	handles_restored(&s->pools, first_serial);
	handles_restored(&s->regions, first_serial);
}
