/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_list - the embedded list
 */
#include "base/list.h"
#include "lib/test.h"

struct item {
	int              value;
	struct list_head link;
};

static struct item items[4] = { { .value = 1 }, { .value = 2 }, { .value = 3 }, { .value = 4 } };

static int digits(const struct list_head *head)
{
	struct item *i;
	int          number = 0;

	list_for_each_entry(i, head, link)
		number = number * 10 + i->value;
	return number;
}

static void fill(struct list_head *head, int from, int to)
{
	list_init(head);
	for (int i = from; i <= to; i++)
		list_add_tail(&items[i - 1].link, head);
}

static void keeps_order(void)
{
	struct list_head head;

	fill(&head, 1, 3);
	EXPECT_EQ(digits(&head), 123);
	list_add(&items[3].link, &head);
	EXPECT_EQ(digits(&head), 4123);
	EXPECT(list_first_entry(&head, struct item, link) == &items[3]);
	EXPECT(list_last_entry(&head, struct item, link) == &items[2]);
}

static void removed_entry_points_to_itself(void)
{
	struct list_head head;

	fill(&head, 1, 3);
	list_del(&items[1].link);
	EXPECT_EQ(digits(&head), 13);
	EXPECT(list_empty(&items[1].link));
	list_del(&items[1].link);
	EXPECT_EQ(digits(&head), 13);
}

static void walk_survives_removal(void)
{
	struct list_head head;
	struct item     *i, *next;

	fill(&head, 1, 4);
	list_for_each_entry_safe(i, next, &head, link)
		if (i->value % 2 == 0)
			list_del(&i->link);
	EXPECT_EQ(digits(&head), 13);
	list_for_each_entry_safe(i, next, &head, link)
		list_del(&i->link);
	EXPECT(list_empty(&head));
}

static void splice_moves_everything(void)
{
	struct list_head to, from;

	fill(&to, 1, 2);
	fill(&from, 3, 4);
	list_splice_tail(&from, &to);
	EXPECT_EQ(digits(&to), 1234);
	EXPECT(list_empty(&from));
	list_splice_tail(&from, &to);
	EXPECT_EQ(digits(&to), 1234);
}

static const struct test_case cases[] = {
	{ "a list keeps the order of its entries", keeps_order },
	{ "a removed entry points to itself and may be removed again",
	  removed_entry_points_to_itself },
	{ "a safe walk may remove the entry it stands on", walk_survives_removal },
	{ "splicing moves all entries and empties the source", splice_moves_everything },
};
TEST_MAIN(cases)
