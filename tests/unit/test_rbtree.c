/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rbtree - the tree against its own rules and sums
 */
#include "base/rbtree.h"
#include "lib/test.h"

enum { NODES = 2000 };

struct item {
	struct rb_node node;
	uint64_t       key, sum; /* sum: of all keys in the subtree */
	bool           inserted;
};

static struct item items[NODES];

#define item_of(ptr) rb_entry_safe(ptr, struct item, node)

static bool compute_sum(struct rb_node *node)
{
	struct item *i = item_of(node), *left = item_of(node->left), *right = item_of(node->right);
	uint64_t     sum = i->key + (left ? left->sum : 0) + (right ? right->sum : 0);
	bool         changed = sum != i->sum;

	i->sum = sum;
	return changed;
}

static void link_item(struct rb_root *root, struct item *i)
{
	struct rb_node **link = &root->node, *parent = NULL;

	while (*link) {
		parent = *link;
		link = i->key < item_of(parent)->key ? &parent->left : &parent->right;
	}
	rb_link_node(&i->node, parent, link);
}

/* Order, colours, sums. */
static void expect_sound(const struct rb_root *root, uint64_t nr, uint64_t sum)
{
	struct validation v = { 0 };
	struct rb_node   *node;
	uint64_t          seen = 0, added = 0;

	EXPECT_EQ(rb_validate(root, &v), nr);
	EXPECT_EQ(v.nr_differences, 0);
	for (node = rb_first(root); node; node = rb_next(node), seen++) {
		struct item *i = item_of(node);

		added += i->key;
		EXPECT(!compute_sum(node));
		EXPECT(!rb_next(node) || item_of(rb_next(node))->key >= i->key);
		EXPECT(!rb_next(node) || rb_prev(rb_next(node)) == node);
	}
	EXPECT_EQ(seen, nr);
	EXPECT_EQ(added, sum);
	EXPECT_EQ(root->node ? item_of(root->node)->sum : 0, sum);
}

static void stays_sound(void)
{
	struct rb_root root = RB_ROOT;
	uint64_t       state = test_seed(), nr = 0, sum = 0;

	for (int step = 0; step < 20000; step++) {
		struct item *i = &items[test_random(&state) % NODES];

		if (i->inserted) {
			rb_erase_augmented(&i->node, &root, compute_sum);
			nr--;
			sum -= i->key;
		} else {
			i->key = test_random(&state) % 500;
			link_item(&root, i);
			rb_insert_augmented(&i->node, &root, compute_sum);
			nr++;
			sum += i->key;
		}
		i->inserted = !i->inserted;
		if (step % 500 == 0)
			expect_sound(&root, nr, sum);
	}
	expect_sound(&root, nr, sum);
}

static void plain_tree_empties(void)
{
	struct rb_root    root = RB_ROOT;
	struct validation v = { 0 };

	EXPECT(!rb_first(&root) && !rb_last(&root));
	for (int i = 0; i < NODES; i++) {
		items[i].key = (uint64_t)i;
		link_item(&root, &items[i]);
		rb_insert_color(&items[i].node, &root);
	}
	EXPECT_EQ(rb_validate(&root, &v), NODES);
	EXPECT_EQ(item_of(rb_first(&root))->key, 0);
	EXPECT_EQ(item_of(rb_last(&root))->key, NODES - 1);
	for (int i = 0; i < NODES; i += 2)
		rb_erase(&items[i].node, &root);
	EXPECT_EQ(rb_validate(&root, &v), NODES / 2);
	for (int i = 1; i < NODES; i += 2)
		rb_erase(&items[i].node, &root);
	EXPECT(!root.node);
	EXPECT_EQ(v.nr_differences, 0);
}

static void replaced_node_stands_in(void)
{
	struct rb_root    root = RB_ROOT;
	struct validation v = { 0 };
	struct item       fresh = { .key = 3 };

	for (int i = 0; i < 8; i++) {
		items[i].key = (uint64_t)i;
		link_item(&root, &items[i]);
		rb_insert_color(&items[i].node, &root);
	}
	rb_replace_node(&items[3].node, &fresh.node, &root);
	EXPECT_EQ(rb_validate(&root, &v), 8);
	EXPECT(rb_next(&items[2].node) == &fresh.node);
	EXPECT(rb_prev(&items[4].node) == &fresh.node);
	EXPECT_EQ(v.nr_differences, 0);
}

static void changed_entry_propagates(void)
{
	struct rb_root root = RB_ROOT;

	for (int i = 0; i < 100; i++) {
		items[i].key = (uint64_t)i;
		link_item(&root, &items[i]);
		rb_insert_augmented(&items[i].node, &root, compute_sum);
	}
	EXPECT_EQ(item_of(root.node)->sum, 4950);
	items[99].key = 199;
	rb_propagate(&items[99].node, compute_sum);
	EXPECT_EQ(item_of(root.node)->sum, 5050);
}

static const struct test_case cases[] = {
	{ "random insertions and erasures keep order, balance and augmented sums",
	  stays_sound },
	{ "a plain tree stays balanced in ascending order and empties", plain_tree_empties },
	{ "a replaced node has its victim's neighbours", replaced_node_stands_in },
	{ "a changed entry reaches the root's augmented value", changed_entry_propagates },
};
TEST_MAIN(cases)
