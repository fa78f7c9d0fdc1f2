/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range_alloc - search by the largest gap of each subtree
 *
 * Invariants  see range_alloc.h. The room after the last range belongs to no node; it is looked at
 *             last.
 */
#include "base/range_alloc.h"

#include <errno.h>

#define range_of(ptr) rb_entry_safe(ptr, struct range, node)

static bool compute_max_gap(struct rb_node *node)
{
	struct range *r = range_of(node), *left = range_of(node->left),
		     *right = range_of(node->right);
	uint64_t max = r->gap;

	if (left && left->max_gap > max)
		max = left->max_gap;
	if (right && right->max_gap > max)
		max = right->max_gap;
	if (max == r->max_gap)
		return false;
	r->max_gap = max;
	return true;
}

void range_alloc_init(struct range_alloc *ra, uint64_t start, uint64_t end)
{
	CHECK(start <= end);
	*ra = (struct range_alloc){ .start = start, .end = end, .nr_free = end - start };
}

struct range *range_next(const struct range *r)
{
	return range_of(rb_next(&r->node));
}

struct range *range_find_from(const struct range_alloc *ra, uint64_t at)
{
	struct range *found = NULL, *r = range_of(ra->root.node);

	while (r) {
		if (r->start + r->length > at) {
			found = r;
			r = range_of(r->node.left);
		} else {
			r = range_of(r->node.right);
		}
	}
	return found;
}

struct range *range_find(const struct range_alloc *ra, uint64_t at)
{
	struct range *r = range_find_from(ra, at);

	return r && r->start <= at ? r : NULL;
}

static void set_gap(struct range *r, uint64_t gap)
{
	r->gap = gap;
	rb_propagate(&r->node, compute_max_gap);
}

static uint64_t end_before(const struct range_alloc *ra, const struct range *r)
{
	struct range *prev = range_of(r ? rb_prev(&r->node) : rb_last(&ra->root));

	return prev ? prev->start + prev->length : ra->start;
}

/* Records [start, start + length), which is free and lies in the gap before `next`. */
static void insert(struct range_alloc *ra, struct range *r, struct range *next)
{
	struct rb_node **link = &ra->root.node, *parent = NULL;

	r->gap = r->start - end_before(ra, next);
	r->max_gap = 0;
	while (*link) {
		parent = *link;
		link = r->start < range_of(parent)->start ? &parent->left : &parent->right;
	}
	rb_link_node(&r->node, parent, link);
	rb_insert_augmented(&r->node, &ra->root, compute_max_gap);
	if (next)
		set_gap(next, next->start - (r->start + r->length));
	ra->nr_free -= r->length;
	ra->nr_ranges++;
}

/* Does the gap [low, high) hold the wanted part? *start is where. */
static bool fits(const struct range_request *want, uint64_t low, uint64_t high, uint64_t *start)
{
	uint64_t skip;

	if (low < want->low)
		low = want->low;
	if (high > want->high)
		high = want->high;
	if (low >= high)
		return false;
	skip = low % want->align ? want->align - low % want->align : 0;
	if (skip >= high - low || high - low - skip < want->length)
		return false;
	*start = low + skip;
	return true;
}

static bool subtree_may_fit(const struct rb_node *node, uint64_t length)
{
	return node && rb_entry(node, struct range, node)->max_gap >= length;
}

/* Leftmost range of the subtree that has a gap of at least `length` before it. */
static struct range *leftmost_gap(struct rb_node *node, uint64_t length)
{
	while (node) {
		struct range *r = range_of(node);

		if (subtree_may_fit(node->left, length))
			node = node->left;
		else if (r->gap >= length)
			return r;
		else
			node = subtree_may_fit(node->right, length) ? node->right : NULL;
	}
	return NULL;
}

/* The next one in order after r. */
static struct range *next_gap(struct range *r, uint64_t length)
{
	struct rb_node *node = &r->node, *parent;

	if (subtree_may_fit(node->right, length))
		return leftmost_gap(node->right, length);
	for (parent = rb_parent(node); parent; node = parent, parent = rb_parent(node)) {
		if (node != parent->left)
			continue;
		if (range_of(parent)->gap >= length)
			return range_of(parent);
		if (subtree_may_fit(parent->right, length))
			return leftmost_gap(parent->right, length);
	}
	return NULL;
}

/* First candidate whose gap reaches above want->low. */
static struct range *first_gap(const struct range_alloc *ra, const struct range_request *want)
{
	struct range *r;

	if (want->low <= ra->start)
		return leftmost_gap(ra->root.node, want->length);
	r = range_find_from(ra, want->low);
	if (!r || r->gap >= want->length)
		return r;
	return next_gap(r, want->length);
}

int range_alloc_within(struct range_alloc *ra, struct range *r, const struct range_request *want)
{
	struct range *next;

	if (want->length == 0 || want->align == 0)
		return -EINVAL;
	for (next = first_gap(ra, want); next; next = next_gap(next, want->length)) {
		if (next->start - next->gap >= want->high)
			return -ENOSPC;
		if (fits(want, next->start - next->gap, next->start, &r->start))
			break;
	}
	if (!next && !fits(want, end_before(ra, NULL), ra->end, &r->start))
		return -ENOSPC;
	r->length = want->length;
	insert(ra, r, next);
	return 0;
}

int range_alloc(struct range_alloc *ra, struct range *r, uint64_t length, uint64_t align)
{
	struct range_request want = {
		.length = length, .align = align, .low = ra->start, .high = ra->end,
	};

	return range_alloc_within(ra, r, &want);
}

int range_alloc_at(struct range_alloc *ra, struct range *r, uint64_t start, uint64_t length)
{
	struct range *next;

	if (length == 0 || start < ra->start || start >= ra->end || length > ra->end - start)
		return -EINVAL;
	next = range_find_from(ra, start);
	if (next && next->start < start + length)
		return -EEXIST;
	r->start = start;
	r->length = length;
	insert(ra, r, next);
	return 0;
}

void range_free(struct range_alloc *ra, struct range *r)
{
	struct range *next = range_next(r);

	CHECK(r->length > 0);
	rb_erase_augmented(&r->node, &ra->root, compute_max_gap);
	if (next)
		set_gap(next, next->gap + r->length + r->gap);
	ra->nr_free += r->length;
	ra->nr_ranges--;
	r->length = 0;
}

void range_alloc_validate(const struct range_alloc *ra, struct validation *v)
{
	uint64_t at = ra->start, busy = 0, nr = rb_validate(&ra->root, v);

	for (struct range *r = range_of(rb_first(&ra->root)); r; r = range_next(r)) {
		struct range *left = range_of(r->node.left), *right = range_of(r->node.right);
		uint64_t      max = r->gap;

		validation_expect(v, r->length > 0, "range at %#llx is empty",
				  (unsigned long long)r->start);
		validation_expect(v, r->start >= at, "range at %#llx overlaps the one before",
				  (unsigned long long)r->start);
		validation_compare(v, r->start - at, r->gap, "gap before range %#llx",
				   (unsigned long long)r->start);
		max = left && left->max_gap > max ? left->max_gap : max;
		max = right && right->max_gap > max ? right->max_gap : max;
		validation_compare(v, max, r->max_gap, "largest gap below range %#llx",
				   (unsigned long long)r->start);
		at = r->start + r->length;
		busy += r->length;
	}
	validation_expect(v, at <= ra->end, "the last range ends beyond the span");
	validation_compare(v, ra->end - ra->start - busy, ra->nr_free, "free units of a span");
	validation_compare(v, nr, ra->nr_ranges, "ranges of a span");
}
