/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_maps - the windows of one session in the format of smaps
 *
 * Meaning     Rss is what is resident in the window, whether or not the client has touched it. A
 *             page is shared with each other window that shows it, in any session.
 * Locking     the session's map while its windows are noted; no lock while words are looked at, so
 *             that a client with terabytes doesn't wait for that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/heartbeat.h"
#include "client/pool_region.h"
#include "client/report.h"
#include "client/session.h"
#include "client/text_format.h"

enum { MORE_WINDOWS = 64, LOOK_PAGES = 4096 };

struct noted {
	struct region *region; /* referenced */
	const struct mm *mm;
	struct page_range pages;
	uint64_t start;
	bool readonly;
	enum window_advice advice;
};

struct maps {
	uint64_t id;
	struct session *found; /* referenced */
	struct noted *windows;
	uint32_t nr, room;
	bool full;
};

static void match_session(struct session *s, void *arg)
{
	struct maps *m = arg;

	if (s->id == m->id && !m->found) {
		m->found = s;
		session_get(s);
	}
}

static void note_window(const struct window *w, void *arg)
{
	struct maps *m = arg;

	m->full |= m->nr == m->room;
	if (m->full)
		return;
	region_get(w->region);
	m->windows[m->nr++] = (struct noted){
		.region = w->region,
		.mm = w->mm,
		.pages = { w->page, w->range.length >> w->region->page_shift },
		.start = w->range.start,
		.readonly = w->readonly,
		.advice = w->advice,
	};
}

static void forget_windows(struct maps *m)
{
	while (m->nr)
		region_put(m->windows[--m->nr].region);
	free(m->windows);
	m->windows = NULL;
}

/* More may come while memory is asked for. */
static int note_windows(struct maps *m, struct mm *mm)
{
	do {
		forget_windows(m);
		m->room = mm->nr_windows + MORE_WINDOWS;
		m->full = false;
		m->windows = calloc(m->room, sizeof(m->windows[0]));
		if (!m->windows)
			return -ENOMEM;
		mm_for_each_window(mm, note_window, m);
	} while (m->full);
	return 0;
}

/* Where the pages of another window that shows some of the same begin and end. */
struct edge {
	uint64_t page;
	int64_t step;
};

struct edges {
	struct edge *at;
	uint32_t nr, room;
};

static int by_page(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return x->page < y->page ? -1 : x->page > y->page;
}

static void add_edges_locked(const struct noted *n, struct edges *e)
{
	const struct window *w;

	list_for_each_entry(w, &n->region->windows, region_link) {
		uint64_t pages = w->range.length >> n->region->page_shift;

		if (w->mm == n->mm && w->range.start == n->start)
			continue;
		e->at[e->nr++] = (struct edge){ w->page, 1 };
		e->at[e->nr++] = (struct edge){ w->page + pages, -1 };
	}
}

/* Of all other windows of the region. More may come while memory is asked for. */
static int find_edges(const struct noted *n, struct edges *e)
{
	struct region *region = n->region;
	bool fits;

	*e = (struct edges){ 0 };
	do {
		e->room = 2 * region->nr_windows + MORE_WINDOWS;
		free(e->at);
		e->at = calloc(e->room, sizeof(e->at[0]));
		if (!e->at)
			return -ENOMEM;
		mutex_lock(&region->lock);
		fits = 2 * region->nr_windows <= e->room;
		if (fits)
			add_edges_locked(n, e);
		mutex_unlock(&region->lock);
	} while (!fits);
	qsort(e->at, e->nr, sizeof(e->at[0]), by_page);
	return 0;
}

static void count_resident(struct text_window *out, uint64_t word, uint64_t bytes, uint64_t others)
{
	out->resident += bytes;
	out->locked += word & WORD_LOCKED ? bytes : 0;
	out->shared += others ? bytes : 0;
	out->proportional += bytes / (others + 1);
}

static void count_words(const struct noted *n, const struct edges *e, struct text_window *out)
{
	uint64_t bytes = region_page_bytes(n->region);
	uint64_t end = n->pages.first + n->pages.nr, look = 0, others = 0;
	uint32_t edge = 0;

	for (uint64_t i = n->pages.first; i < end; i++) {
		uint64_t word;

		if (i >= look) {
			heartbeat_touch();
			i = max_t(uint64_t, i, region_next_used(n->region, i));
			look = i + LOOK_PAGES;
		}
		if (i >= end)
			return;
		while (edge < e->nr && e->at[edge].page <= i)
			others += (uint64_t)e->at[edge++].step;
		word = word_load(&n->region->words[i]);
		out->swapped += word_state(word) == PAGE_SWAPPED ? bytes : 0;
		if (word_state(word) == PAGE_PRESENT)
			count_resident(out, word, bytes, others);
	}
}

static int print_window(const struct noted *n, FILE *out)
{
	const struct region *region = n->region;
	const struct pool_region *pr = region->owner;
	struct edges edges;
	struct text_window t = {
		.start = n->start,
		.end = n->start + (n->pages.nr << region->page_shift),
		.offset = n->pages.first << region->page_shift,
		.id = pr->id,
		.page_size = region_page_bytes(region),
		.writable = !n->readonly,
		.is_shared = !n->readonly,
		.hugetlb = region_is_hugetlb(region),
		.sequential = n->advice == WINDOW_SEQUENTIAL,
		.random = n->advice == WINDOW_RANDOM,
	};
	int r = find_edges(n, &edges);

	if (r)
		return r;
	count_words(n, &edges, &t);
	free(edges.at);
	snprintf(t.name, sizeof(t.name), "%s/%s", pr->pool->name[0] ? pr->pool->name : "(private)",
		 region->name[0] ? region->name : "(unnamed)");
	text_smaps(out, &t);
	return 0;
}

static int print_maps(struct maps *m, char **text)
{
	struct session *s = m->found;
	size_t length;
	struct mm *mm = NULL;
	FILE *out = open_memstream(text, &length);
	int r = 0;

	if (!out)
		return -ENOMEM;
	mutex_lock(&s->lock);
	if (!s->ended && s->mm && mm_get(s->mm))
		mm = s->mm;
	mutex_unlock(&s->lock);
	if (mm) {
		r = note_windows(m, mm);
		for (uint32_t i = 0; i < m->nr && !r; i++)
			r = print_window(&m->windows[i], out);
		forget_windows(m);
		mm_put(mm);
	}
	if (fclose(out))
		r = -ENOMEM;
	if (r) {
		free(*text);
		*text = NULL;
	}
	return r;
}

int report_maps(uint64_t session, const struct peer *reader, char **out, struct refusal *why)
{
	struct maps m = { .id = session };
	int r;

	*out = NULL;
	session_for_each(match_session, &m);
	if (!m.found)
		return refuse(why, -ENOENT,
			      "there is no session %llu; 'mmbctl sessions' lists them",
			      (unsigned long long)session);
	if (!reader->admin && reader->uid != m.found->peer.uid)
		r = refuse(why, -EACCES,
			   "the maps of session %llu are for its uid, root and the admin group",
			   (unsigned long long)session);
	else
		r = print_maps(&m, out);
	session_put(m.found);
	return r == -ENOMEM ? refuse(why, r, "no memory for the report") : r;
}
