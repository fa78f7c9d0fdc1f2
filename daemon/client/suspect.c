/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suspect - the word in a session's record: the request's id, and how many deaths
 */
#include "client/suspect.h"

#include "base/heartbeat.h"
#include "client/session.h"

enum { ID_BITS = 32, DEATHS_MAX = 0xff };

static uint64_t low(uint64_t request)
{
	return request & ((1ull << ID_BITS) - 1);
}

uint32_t suspect_deaths(const struct record_word *word, uint64_t request)
{
	uint64_t value;

	if (!record_word_get(word, &value) || low(value) != low(request))
		return 0;
	return (uint32_t)(value >> ID_BITS);
}

/* In a signal's handler. All deaths of the session are counted together: two requests that end
 * daemons by turns would never have enough. */
static void note(void *who, uint64_t what, bool hangs)
{
	struct session *s = who;
	struct record_word *word = atomic_load(&s->suspect);
	uint64_t value, deaths;

	if (!word || (hangs && what == SUSPECT_FAULT)) /* P2 */
		return;
	record_word_get(word, &value);
	deaths = min_t(uint64_t, (value >> ID_BITS) + 1, DEATHS_MAX);
	record_word_set(word, deaths << ID_BITS | low(what));
}

static void forget(struct session *s, void *unused)
{
	struct record_word *word;
	uint64_t value;

	(void)unused;
	mutex_lock(&s->lock); /* its record isn't another's meanwhile */
	word = s->ended ? NULL : atomic_load(&s->suspect);
	if (word && record_word_get(word, &value) && value)
		record_word_set(word, 0);
	mutex_unlock(&s->lock);
}

void suspects_forget(void)
{
	session_for_each(forget, NULL);
}

void suspects_init(void)
{
	heartbeat_on_blame(note);
}
