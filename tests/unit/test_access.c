/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_access - mode bits, names, modes and policies
 */
#include "client/access.h"

#include <errno.h>
#include <string.h>

#include "lib/client_fixture.h"
#include "lib/test.h"
#include "mmbroker.h"

static const struct peer owner = { .uid = 10, .gid = 20 };
static const struct peer member = { .uid = 11, .gid = 99, .nr_groups = 2, .groups = { 7, 20 } };
static const struct peer same_gid = { .uid = 11, .gid = 20 };
static const struct peer stranger = { .uid = 12, .gid = 99 };
static const struct peer root = { .uid = 0, .gid = 0 };

static bool allowed(const struct peer *peer, uint32_t mode, uint32_t wanted)
{
	struct access_owner of = { .uid = 10, .gid = 20, .mode = mode };

	return access_allowed(peer, &of, wanted);
}

static void the_class_decides_as_for_files(void)
{
	EXPECT(allowed(&owner, 0600, ACCESS_READ | ACCESS_WRITE));
	EXPECT(!allowed(&member, 0600, ACCESS_READ));
	EXPECT(allowed(&member, 0640, ACCESS_READ));
	EXPECT(allowed(&same_gid, 0640, ACCESS_READ));
	EXPECT(!allowed(&member, 0640, ACCESS_READ | ACCESS_WRITE));
	EXPECT(!allowed(&stranger, 0660, ACCESS_READ));
	EXPECT(allowed(&stranger, 0604, ACCESS_READ));
	EXPECT(allowed(&stranger, 0606, ACCESS_READ | ACCESS_WRITE));
	EXPECT(!allowed(&stranger, 0602, ACCESS_READ | ACCESS_WRITE));
	EXPECT(allowed(&stranger, 0602, ACCESS_WRITE));
}

/* The first class that fits counts, not the best. */
static void a_better_class_doesnt_help(void)
{
	EXPECT(!allowed(&owner, 0066, ACCESS_READ));
	EXPECT(!allowed(&member, 0606, ACCESS_READ));
	EXPECT(allowed(&root, 0000, ACCESS_READ | ACCESS_WRITE));
}

static void names_are_short_printable_and_no_paths(void)
{
	static const char *const good[] = { "a", "pool-1", "a.b", "...", "\xc3\xa4", "!" };
	static const char *const bad[] = { "", ".", "..", "a/b", "a b", "\t", "a\x7f", "a\n" };
	char name[NAME_MAX_BYTES + 2];

	for (unsigned int i = 0; i < ARRAY_SIZE(good); i++)
		EXPECT_EQ(name_check("pool", good[i], &client_why), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_REFUSED(name_check("pool", bad[i], &client_why), -EINVAL, "pool");
	memset(name, 'x', sizeof(name));
	name[NAME_MAX_BYTES + 1] = '\0';
	EXPECT_REFUSED(name_check("region", name, &client_why), -EINVAL, "1 to 63 bytes");
	name[NAME_MAX_BYTES] = '\0';
	EXPECT_EQ(name_check("region", name, &client_why), 0);
}

static void modes_are_permission_bits(void)
{
	uint32_t mode = 0;

	EXPECT_EQ(mode_check(&mode, &client_why), 0);
	EXPECT_EQ(mode, 0600);
	mode = 0777;
	EXPECT_EQ(mode_check(&mode, &client_why), 0);
	mode = 01600;
	EXPECT_REFUSED(mode_check(&mode, &client_why), -EINVAL, "0777");
	mode = UINT32_MAX;
	EXPECT_REFUSED(mode_check(&mode, &client_why), -EINVAL, "0777");
	mode = 0066; /* its owner could never use it again */
	EXPECT_REFUSED(mode_check(&mode, &client_why), -EINVAL, "owner");
}

static void policies_name_nodes_that_exist(void)
{
	static const struct {
		struct node_policy nodes;
		int r;
		const char *words;
	} table[] = {
		{ { MMB_NODE_LOCAL, 0 }, 0, "" },
		{ { MMB_NODE_PREFERRED, 2 }, 0, "" },
		{ { MMB_NODE_INTERLEAVE, 3 }, 0, "" },
		{ { MMB_NODE_INTERLEAVE, 0 }, 0, "" },
		{ { MMB_NODE_BIND, 3 }, 0, "" },
		{ { MMB_NODE_BIND, 0 }, -EINVAL, "needs a node mask" },
		{ { MMB_NODE_BIND, 4 }, -EINVAL, "it has 2" },
		{ { MMB_NODE_LOCAL, 1ull << 63 }, -EINVAL, "it has 2" },
		{ { MMB_NODE_INTERLEAVE + 1, 1 }, -EINVAL, "doesn't exist" },
		{ { UINT32_MAX, 1 }, -EINVAL, "doesn't exist" },
	};

	client_begin(&(struct client_options){ .space.nr_nodes = 2 });
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		EXPECT_REFUSED(node_policy_check(&table[i].nodes, &client_why), table[i].r,
			       table[i].words);
	client_end();
}

static void a_long_sentence_is_cut(void)
{
	char name[2 * REFUSAL_BYTES];

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	EXPECT_EQ(refuse(&client_why, -EPERM, "%s", name), -EPERM);
	EXPECT_EQ(strlen(client_why.text), REFUSAL_BYTES - 1);
}

static const struct test_case cases[] = {
	{ "owner, group and others, as for files", the_class_decides_as_for_files },
	{ "the first class that fits counts; root may", a_better_class_doesnt_help },
	{ "names are short, printable and no paths", names_are_short_printable_and_no_paths },
	{ "modes are permission bits, 0 is 0600", modes_are_permission_bits },
	{ "policies name nodes that exist", policies_name_nodes_that_exist },
	{ "a long sentence is cut", a_long_sentence_is_cut },
};
TEST_MAIN(cases)
