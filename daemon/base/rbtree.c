/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rbtree - rotations, and the two repair walks
 *
 * Invariants  see rbtree.h. A rotation keeps the set of nodes below the pair, so only the two
 *             nodes' augmented values change in it.
 */
#include "base/rbtree.h"

enum { RED = 0, BLACK = 1 };

static bool is_red(const struct rb_node *node)
{
	return node && (node->parent_color & BLACK) == RED;
}

static void set_parent(struct rb_node *node, struct rb_node *parent)
{
	node->parent_color = (uintptr_t)parent | (node->parent_color & BLACK);
}

static void set_color(struct rb_node *node, unsigned int color)
{
	node->parent_color = (node->parent_color & ~(uintptr_t)BLACK) | color;
}

/* Makes parent (or the root) point to fresh instead of old. */
static void change_child(struct rb_root *root, struct rb_node *parent, struct rb_node *old,
			 struct rb_node *fresh)
{
	if (!parent)
		root->node = fresh;
	else if (parent->left == old)
		parent->left = fresh;
	else
		parent->right = fresh;
}

static bool compute_nothing(struct rb_node *node)
{
	return false;
}

/* The right child comes up, down goes left below it. */
static void rotate_left(struct rb_root *root, struct rb_node *down, rb_compute_fn compute)
{
	struct rb_node *up = down->right, *parent = rb_parent(down);

	down->right = up->left;
	if (up->left)
		set_parent(up->left, down);
	up->left = down;
	set_parent(up, parent);
	change_child(root, parent, down, up);
	set_parent(down, up);
	compute(down);
	compute(up);
}

static void rotate_right(struct rb_root *root, struct rb_node *down, rb_compute_fn compute)
{
	struct rb_node *up = down->left, *parent = rb_parent(down);

	down->left = up->right;
	if (up->right)
		set_parent(up->right, down);
	up->right = down;
	set_parent(up, parent);
	change_child(root, parent, down, up);
	set_parent(down, up);
	compute(down);
	compute(up);
}

void rb_propagate(struct rb_node *node, rb_compute_fn compute)
{
	while (node && compute(node))
		node = rb_parent(node);
}

/* node is red and its parent may be red too. */
static void repair_insert(struct rb_node *node, struct rb_root *root, rb_compute_fn compute)
{
	while (is_red(rb_parent(node))) {
		struct rb_node *parent = rb_parent(node), *grand = rb_parent(parent);
		bool            on_left = parent == grand->left;
		struct rb_node *uncle = on_left ? grand->right : grand->left;

		if (is_red(uncle)) {
			set_color(parent, BLACK);
			set_color(uncle, BLACK);
			set_color(grand, RED);
			node = grand;
			continue;
		}
		if (on_left && node == parent->right) {
			rotate_left(root, parent, compute);
			parent = node;
		} else if (!on_left && node == parent->left) {
			rotate_right(root, parent, compute);
			parent = node;
		}
		set_color(parent, BLACK);
		set_color(grand, RED);
		if (on_left)
			rotate_right(root, grand, compute);
		else
			rotate_left(root, grand, compute);
		break;
	}
	set_color(root->node, BLACK);
}

void rb_insert_augmented(struct rb_node *node, struct rb_root *root, rb_compute_fn compute)
{
	set_color(node, RED);
	compute(node);
	rb_propagate(rb_parent(node), compute);
	repair_insert(node, root, compute);
}

void rb_insert_color(struct rb_node *node, struct rb_root *root)
{
	set_color(node, RED);
	repair_insert(node, root, compute_nothing);
}

/* The subtree at child (perhaps empty), a left child of parent, lacks one black node. Returns the
 * node at which to go on, or NULL when done. */
static struct rb_node *repair_short_left(struct rb_node *parent, struct rb_root *root,
					 rb_compute_fn compute)
{
	struct rb_node *sibling = parent->right;

	if (is_red(sibling)) {
		set_color(sibling, BLACK);
		set_color(parent, RED);
		rotate_left(root, parent, compute);
		sibling = parent->right;
	}
	if (!is_red(sibling->left) && !is_red(sibling->right)) {
		set_color(sibling, RED);
		return parent;
	}
	if (!is_red(sibling->right)) {
		set_color(sibling->left, BLACK);
		set_color(sibling, RED);
		rotate_right(root, sibling, compute);
		sibling = parent->right;
	}
	set_color(sibling, is_red(parent) ? RED : BLACK);
	set_color(parent, BLACK);
	set_color(sibling->right, BLACK);
	rotate_left(root, parent, compute);
	return NULL;
}

/* The mirror image. */
static struct rb_node *repair_short_right(struct rb_node *parent, struct rb_root *root,
					  rb_compute_fn compute)
{
	struct rb_node *sibling = parent->left;

	if (is_red(sibling)) {
		set_color(sibling, BLACK);
		set_color(parent, RED);
		rotate_right(root, parent, compute);
		sibling = parent->left;
	}
	if (!is_red(sibling->left) && !is_red(sibling->right)) {
		set_color(sibling, RED);
		return parent;
	}
	if (!is_red(sibling->left)) {
		set_color(sibling->right, BLACK);
		set_color(sibling, RED);
		rotate_left(root, sibling, compute);
		sibling = parent->left;
	}
	set_color(sibling, is_red(parent) ? RED : BLACK);
	set_color(parent, BLACK);
	set_color(sibling->left, BLACK);
	rotate_right(root, parent, compute);
	return NULL;
}

static void repair_erase(struct rb_node *child, struct rb_node *parent, struct rb_root *root,
			 rb_compute_fn compute)
{
	while (parent && !is_red(child)) {
		child = child == parent->left ? repair_short_left(parent, root, compute)
					      : repair_short_right(parent, root, compute);
		if (!child)
			return;
		parent = rb_parent(child);
	}
	if (child)
		set_color(child, BLACK);
}

/* Puts node's successor, which has no left child, in its place. Returns the node under which a
 * child moved up; *moved is that child. */
static struct rb_node *replace_by_successor(struct rb_node *node, struct rb_root *root,
					    struct rb_node **moved, bool *lost_black)
{
	struct rb_node *successor = node->right, *below;

	while (successor->left)
		successor = successor->left;
	*lost_black = !is_red(successor);
	*moved = successor->right;
	below = rb_parent(successor);
	if (below == node) {
		below = successor;
	} else {
		below->left = successor->right;
		if (successor->right)
			set_parent(successor->right, below);
		successor->right = node->right;
		set_parent(node->right, successor);
	}
	successor->left = node->left;
	set_parent(node->left, successor);
	change_child(root, rb_parent(node), node, successor);
	successor->parent_color = node->parent_color;
	return below;
}

void rb_erase_augmented(struct rb_node *node, struct rb_root *root, rb_compute_fn compute)
{
	struct rb_node *below = rb_parent(node), *moved;
	bool            lost_black = !is_red(node);

	if (node->left && node->right) {
		below = replace_by_successor(node, root, &moved, &lost_black);
	} else {
		moved = node->left ? node->left : node->right;
		if (moved)
			set_parent(moved, below);
		change_child(root, below, node, moved);
	}
	for (struct rb_node *n = below; n; n = rb_parent(n))
		compute(n);
	if (lost_black)
		repair_erase(moved, below, root, compute);
}

void rb_erase(struct rb_node *node, struct rb_root *root)
{
	rb_erase_augmented(node, root, compute_nothing);
}

void rb_replace_node(struct rb_node *victim, struct rb_node *fresh, struct rb_root *root)
{
	*fresh = *victim;
	if (fresh->left)
		set_parent(fresh->left, fresh);
	if (fresh->right)
		set_parent(fresh->right, fresh);
	change_child(root, rb_parent(victim), victim, fresh);
}

struct rb_node *rb_first(const struct rb_root *root)
{
	struct rb_node *node = root->node;

	while (node && node->left)
		node = node->left;
	return node;
}

struct rb_node *rb_last(const struct rb_root *root)
{
	struct rb_node *node = root->node;

	while (node && node->right)
		node = node->right;
	return node;
}

struct rb_node *rb_next(const struct rb_node *node)
{
	struct rb_node *parent;

	if (node->right) {
		node = node->right;
		while (node->left)
			node = node->left;
		return (struct rb_node *)node;
	}
	for (parent = rb_parent(node); parent && node == parent->right; parent = rb_parent(node))
		node = parent;
	return parent;
}

struct rb_node *rb_prev(const struct rb_node *node)
{
	struct rb_node *parent;

	if (node->left) {
		node = node->left;
		while (node->right)
			node = node->right;
		return (struct rb_node *)node;
	}
	for (parent = rb_parent(node); parent && node == parent->left; parent = rb_parent(node))
		node = parent;
	return parent;
}

static unsigned int blacks_above(const struct rb_node *node)
{
	unsigned int nr = 0;

	for (; node; node = rb_parent(node))
		nr += !is_red(node);
	return nr;
}

uint64_t rb_validate(const struct rb_root *root, struct validation *v)
{
	uint64_t     nr = 0;
	unsigned int height = 0;

	validation_expect(v, !is_red(root->node), "rbtree: the root is red");
	for (struct rb_node *n = rb_first(root); n; n = rb_next(n)) {
		nr++;
		validation_expect(v, !is_red(n) || !(is_red(n->left) || is_red(n->right)),
				  "rbtree: red node %p has a red child", (void *)n);
		validation_expect(v, (!n->left || rb_parent(n->left) == n) &&
					     (!n->right || rb_parent(n->right) == n),
				  "rbtree: a child of %p has another parent", (void *)n);
		if (n->left && n->right)
			continue;
		if (!height)
			height = blacks_above(n);
		validation_compare(v, blacks_above(n), height, "rbtree: blacks above %p",
				   (void *)n);
	}
	return nr;
}
