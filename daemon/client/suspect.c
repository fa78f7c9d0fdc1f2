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
static void note(void *who, uint64_t what)
{
	const struct session *s = who;
	uint64_t value, deaths;

	if (!s->suspect)
		return;
	record_word_get(s->suspect, &value);
	deaths = min_t(uint64_t, (value >> ID_BITS) + 1, DEATHS_MAX);
	record_word_set(s->suspect, deaths << ID_BITS | low(what));
}

void suspects_init(void)
{
	heartbeat_on_blame(note);
}
