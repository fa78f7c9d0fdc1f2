/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carried - the ring of notes in a session's record
 */
#include "client/carried.h"

#include "base/lock.h"

/* Of an id, which is counted from 1. */
static uint64_t low(uint64_t id)
{
	return id & ((1ull << RECORD_WORD_BITS) - 1);
}

static struct carried_note *find_locked(struct carried *c, uint64_t request)
{
	uint64_t noted;

	for (uint32_t i = 0; c->notes && i < CARRIED_MAX; i++)
		if (record_word_get(&c->notes[i].request, &noted) && noted &&
		    noted == low(request))
			return &c->notes[i];
	return NULL;
}

/* The place after the youngest note. */
static uint32_t next_place(const struct carried_note *notes)
{
	uint64_t request, youngest = 0;
	uint32_t next = 0;

	for (uint32_t i = 0; i < CARRIED_MAX; i++) {
		if (!record_word_get(&notes[i].request, &request) || request <= youngest)
			continue;
		youngest = request;
		next = (i + 1) % CARRIED_MAX;
	}
	return next;
}

void carried_init(struct carried *c, struct session_record *record)
{
	mutex_init(&c->lock, RANK_LEAF, "carried");
	c->notes = record ? record->carried : NULL;
	c->next = c->notes ? next_place(c->notes) : 0;
}

void carried_end(struct carried *c)
{
	mutex_lock(&c->lock);
	c->notes = NULL;
	mutex_unlock(&c->lock);
}

void carried_fini(struct carried *c)
{
	mutex_fini(&c->lock);
}

void carried_note(struct carried *c, const struct request_past *past, uint64_t region)
{
	struct carried_note *note;

	mutex_lock(&c->lock);
	note = find_locked(c, past->id);
	if (!note && c->notes) {
		note = &c->notes[c->next];
		c->next = (c->next + 1) % CARRIED_MAX;
	}
	if (note) {
		record_word_set(&note->request, 0);
		record_word_set(&note->region, low(region));
		record_word_set(&note->request, low(past->id));
	}
	mutex_unlock(&c->lock);
}

bool carried_before(struct carried *c, const struct request_past *past, uint64_t region)
{
	struct carried_note *note;
	uint64_t noted = 0;
	bool was = false;

	if (!past->again)
		return false;
	mutex_lock(&c->lock);
	note = find_locked(c, past->id);
	if (note)
		was = record_word_get(&note->region, &noted) && noted != low(region);
	mutex_unlock(&c->lock);
	return was;
}
