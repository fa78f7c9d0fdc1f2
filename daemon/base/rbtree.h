/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rbtree - red-black tree with embedded nodes and augmented values
 *
 * Purpose     The owner searches and links by itself (rb_link_node), the tree rebalances. An
 *             augmented tree keeps in every entry a value computed from its subtree (a maximum, a
 *             sum): the owner gives one function that recomputes an entry from its two children.
 * Invariants  T1  the root is black, a red node has black children.
 *             T2  every path from the root to a leaf has the same number of black nodes.
 * Locking     the tree's owner says.
 * After       Cormen, Leiserson, Rivest, Stein: Introduction to Algorithms, chapter 13.
 */
#ifndef MMB_BASE_RBTREE_H
#define MMB_BASE_RBTREE_H

#include "base/check.h"
#include "base/types.h"

struct rb_node {
	uintptr_t       parent_color; /* parent's address; bit 0: black */
	struct rb_node *left, *right;
};

struct rb_root {
	struct rb_node *node;
};

/* Recomputes node's augmented value; returns true if it changed. */
typedef bool (*rb_compute_fn)(struct rb_node *node);

#define RB_ROOT ((struct rb_root){ NULL })
#define rb_entry(ptr, type, member) container_of(ptr, type, member)
#define rb_entry_safe(ptr, type, member) \
	({ __typeof__(ptr) ptr_ = (ptr); ptr_ ? rb_entry(ptr_, type, member) : NULL; })

static inline struct rb_node *rb_parent(const struct rb_node *node)
{
	return (struct rb_node *)(node->parent_color & ~(uintptr_t)1);
}

/* Hangs node under parent at *link (an empty child pointer of it, or the root's pointer). */
static inline void rb_link_node(struct rb_node *node, struct rb_node *parent,
				struct rb_node **link)
{
	node->parent_color = (uintptr_t)parent;
	node->left = node->right = NULL;
	*link = node;
}

/* Rebalances after rb_link_node. */
void rb_insert_color(struct rb_node *node, struct rb_root *root);
void rb_erase(struct rb_node *node, struct rb_root *root);

/* The same with augmented values. The node's own fields are already set. */
void rb_insert_augmented(struct rb_node *node, struct rb_root *root, rb_compute_fn compute);
void rb_erase_augmented(struct rb_node *node, struct rb_root *root, rb_compute_fn compute);
/* After an entry's own fields changed: recomputes from there towards the root. */
void rb_propagate(struct rb_node *node, rb_compute_fn compute);

/* Puts fresh where victim was; the keys must compare alike. Augmented values are the caller's. */
void rb_replace_node(struct rb_node *victim, struct rb_node *fresh, struct rb_root *root);

struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_last(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *node);
struct rb_node *rb_prev(const struct rb_node *node);

/* Checks T1, T2 and parent pointers. Returns the number of nodes. */
uint64_t rb_validate(const struct rb_root *root, struct validation *v);

#endif
