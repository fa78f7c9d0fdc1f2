/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_regions - what a region is: its pages, its name, its address, who may open it
 *
 * Not here    What is resident and what is granted (test_residency.c), advice (test_advise.c),
 *             read-only opens (test_readonly.c), nodes (test_nodes.c).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/stage.h"

enum { BYTES = 2 * MIB, PAGES = BYTES / PAGE };

static const char *const base_flags[] = { "--memory.reserve=96M", "--memory.pass_userfaultfd=all",
					  NULL };
static const char *const huge_flags[] = { "--memory.reserve=96M", "--memory.reserve_huge=64M",
					  "--memory.pass_userfaultfd=all", NULL };
static const struct setting base_setting = { .flags = base_flags };
static const struct setting huge_setting = { .flags = huge_flags };

enum { HUGE_STOCK_PAGES = 32 };

static void need_hugepages(void)
{
	if (!hugepages_get(HUGE_STOCK_PAGES))
		SKIP("64 MiB of free huge pages: vm.nr_hugepages is too low, and raising it "
		     "needs root");
	stage_set(&huge_setting);
}

static bool says(const char *part)
{
	bool found = strstr(mmb_error(), part);

	if (!found)
		printf("  \"%s\" doesn't mention \"%s\"\n", mmb_error(), part);
	return found;
}

/* ---- pages of both sizes ---- */

/* Reads zero first, keeps what is written, and is counted page by page. */
static void use_region(struct mmb_region *region, uint64_t page_size)
{
	struct mmb_region_stat stat = act_stat(region);
	size_t length = mmb_region_length(region);
	char *at = act_at(region);

	CLIENT_EXPECT_EQ(stat.length, length);
	CLIENT_EXPECT_EQ(stat.page_size, page_size);
	CLIENT_EXPECT_EQ(stat.resident, 0);
	CLIENT_EXPECT_EQ(stat.sessions, 1);
	CLIENT_EXPECT_EQ((uintptr_t)at % page_size, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, length, MMB_ADVISE_RANDOM), 0);
	at[page_size] = 1;
	stat = act_stat(region);
	CLIENT_EXPECT_EQ(stat.resident, page_size);
	CLIENT_EXPECT_EQ(stat.faults, 1);
	CLIENT_EXPECT_EQ(stat.write_faults, 1);
	at[page_size] = 0;
	CLIENT_EXPECT(is_zero(at, length));
	stamp(at, length, 7);
	CLIENT_EXPECT(is_stamped(at, length, 7));
	CLIENT_EXPECT_EQ(act_stat(region).resident, length);
}

static void small_pages(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	use_region(region, PAGE);
	mmb_region_close(region);
}

static void pages_of_4_kib(void)
{
	PLAY(ROLE(small_pages));
}

static struct mmb_region *huge_region(struct actor *a, const char *name, size_t bytes)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region = NULL;
	int error;

	error = name ? mmb_region_open(a->pool, name, bytes, MMB_REGION_CREATE, &options, &region)
		     : mmb_region_create(a->pool, bytes, &options, &region);
	if (error)
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	return region;
}

static void huge_pages(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, 0);
	region = huge_region(a, NULL, 4 * HUGE_PAGE);
	use_region(region, HUGE_PAGE);
	cue(1);
	await(2);
	mmb_region_close(region);
}

/* Beyond what there is: the sentence names the stock that would have to be larger. */
static void huge_refused(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region = NULL;
	bool has_stock = strstr(mmbctl(a->socket, "status --json"), "\"stock\":\"huge\"");

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 1024 * (size_t)MIB, &options, &region),
			 -ENOMEM);
	CLIENT_EXPECT(!region);
	CLIENT_EXPECT_EQ(!strstr(mmb_error(), "memory.reserve_huge"), !has_stock);
	CLIENT_EXPECT(strstr(mmb_error(), "memory.reserve"));
}

static void play_huge(const char *hugetlb)
{
	struct fixture *f = stage_begin();
	const char *regions;

	CAST(ROLE(huge_pages));
	EXPECT(cue_comes(1));
	regions = mmbctl(f->socket, "regions --json");
	EXPECT(regions && strstr(regions, hugetlb));
	cue(2);
	stage_end();
}

static void pages_of_2_mib_on_hugetlb(void)
{
	need_hugepages();
	play_huge("\"hugetlb\":true");
	PLAY(ROLE(huge_refused));
}

static void pages_of_2_mib_without_hugetlb(void)
{
	stage_set(&base_setting);
	play_huge("\"hugetlb\":false");
	PLAY(ROLE(huge_refused));
}

static void huge_words(struct actor *a)
{
	static const struct {
		size_t length;
		uint32_t page_size;
	} wrong[] = {
		{ HUGE_PAGE + PAGE, HUGE_PAGE },
		{ PAGE, HUGE_PAGE },
		{ PAGE + 1, PAGE },
		{ BYTES, 8192 },
		{ BYTES, 1 },
		{ 0, PAGE },
		{ SIZE_MAX & ~(size_t)(PAGE - 1), PAGE },
	};
	struct mmb_region_options options = { .size = sizeof(options) };
	struct mmb_region *region = NULL;

	act_pool(a, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		options.page_size = wrong[i].page_size;
		CLIENT_EXPECT_EQ(mmb_region_create(a->pool, wrong[i].length, &options, &region),
				 -EINVAL);
		CLIENT_EXPECT(!region && mmb_error()[0]);
	}
}

static void lengths_and_page_sizes(void)
{
	PLAY(ROLE(huge_words));
}

/* ---- names, sharing ---- */

static void share_first(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_common_pool(a);
	region = act_named(a, "shared", BYTES);
	at = act_at(region);
	stamp(at, BYTES / 2, 1);
	atomic_store(&board->number[0], (uintptr_t)at);
	cue(1);
	await(2);
	CLIENT_EXPECT(is_stamped(at, BYTES / 2, 1));
	CLIENT_EXPECT(is_stamped(at + BYTES / 2, BYTES / 2, 2));
	CLIENT_EXPECT_EQ(act_stat(region).sessions, 2);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	cue(3);
	await(4);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "shared"), 0);
}

static void share_second(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	act_common_pool(a);
	await(1);
	region = act_named(a, "shared", 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mmb_region_length(region), BYTES);
	CLIENT_EXPECT_EQ((uintptr_t)at, atomic_load(&board->number[0]));
	CLIENT_EXPECT(is_stamped(at, BYTES / 2, 1));
	stamp(at + BYTES / 2, BYTES / 2, 2);
	cue(2);
	await(3);
	mmb_region_close(region);
	cue(4);
}

static void shared_at_one_address(void)
{
	PLAY(ROLE(share_first), ROLE(share_second));
}

static void open_rules(struct actor *a)
{
	struct mmb_region_options options = { .size = sizeof(options), .page_size = HUGE_PAGE };
	struct mmb_region *region, *other = NULL;
	const unsigned int both = MMB_REGION_CREATE | MMB_REGION_EXCL;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, 0, NULL, &other), -ENOENT);
	CLIENT_EXPECT(says("r"));
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", 0, 0, NULL, &other), -ENOENT);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", 0, MMB_REGION_CREATE, NULL, &other),
			 -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, MMB_REGION_EXCL, NULL, &other),
			 -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, 1u << 30, NULL, &other), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, both, NULL, &region), 0);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, both, NULL, &other), -EEXIST);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", 2 * BYTES, MMB_REGION_CREATE, NULL, &other),
			 -EINVAL);
	CLIENT_EXPECT(says("2097152"));
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES - PAGE, 0, NULL, &other), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES + 1, 0, NULL, &other), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, 0, &options, &other), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "", BYTES, both, NULL, &other), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "a/b", BYTES, both, NULL, &other), -EINVAL);
	CLIENT_EXPECT(!other);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "r", BYTES, MMB_REGION_CREATE, NULL, &other), 0);
	CLIENT_EXPECT_EQ(mmb_region_length(other), BYTES);
}

static void create_excl_and_mismatches(void)
{
	PLAY(ROLE(open_rules));
}

static void open_twice(struct actor *a)
{
	struct mmb_region *one, *two;
	char *first, *second;

	act_pool(a, 0);
	one = act_named(a, "twice", BYTES);
	two = act_named(a, "twice", 0);
	first = act_at(one);
	second = act_at(two);
	CLIENT_EXPECT(first + BYTES <= second || second + BYTES <= first);
	stamp(first, BYTES / 2, 3);
	stamp(second + BYTES / 2, BYTES / 2, 4);
	CLIENT_EXPECT(is_stamped(second, BYTES / 2, 3));
	CLIENT_EXPECT(is_stamped(first + BYTES / 2, BYTES / 2, 4));
	CLIENT_EXPECT_EQ(act_stat(one).resident, BYTES);
	mmb_region_close(one);
	CLIENT_EXPECT_EQ(mmb_region_advise(two, 0, PAGE, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT(is_zero(second, PAGE));
	CLIENT_EXPECT(is_stamped(second + BYTES / 2, BYTES / 2, 4));
	CLIENT_EXPECT_EQ(touch_write(first, 1), SIGSEGV);
	mmb_region_close(two);
}

static void twice_in_one_process(void)
{
	PLAY(ROLE(open_twice));
}

static void unlink_while_open(struct actor *a)
{
	struct mmb_region *old, *young;

	act_common_pool(a);
	old = act_named(a, "n", BYTES);
	stamp(act_at(old), BYTES, 5);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "n"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "n"), -ENOENT);
	young = act_named(a, "n", 2 * BYTES);
	CLIENT_EXPECT(is_zero(act_at(young), 2 * BYTES));
	CLIENT_EXPECT(is_stamped(act_at(old), BYTES, 5));
	mmb_region_close(old);
	stamp(act_at(young), 2 * BYTES, 6);
	mmb_region_close(young);
	mmb_pool_close(a->pool);
	cue(1);
}

/* The name has kept the region, and the region its pool. */
static void open_what_was_left(struct actor *a)
{
	struct mmb_region *region;

	await(1);
	act_common_pool(a);
	region = act_named(a, "n", 0);
	CLIENT_EXPECT_EQ(act_stat(region).sessions, 1);
	CLIENT_EXPECT(is_stamped(act_at(region), 2 * BYTES, 6));
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "n"), 0);
}

static void unlink_and_persistence(void)
{
	PLAY(ROLE(unlink_while_open), ROLE(open_what_was_left));
}

static void write_and_die(struct actor *a)
{
	act_common_pool(a);
	stamp(act_at(act_named(a, "kept", BYTES)), BYTES, 8);
	stamp(act_at(act_region(a, BYTES, 0)), BYTES, 9);
	cue(1);
	raise(SIGKILL);
}

static bool is_one_region(void *arg)
{
	struct broker_counters now;

	return fixture_read(arg, &now) && now.regions == 1 && now.sessions == 1;
}

static void inherit(struct actor *a)
{
	struct mmb_region *region;

	act_common_pool(a);
	region = act_named(a, "kept", 0);
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 8));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "kept"), 0);
}

static void named_survive_a_kill(void)
{
	struct fixture *f = stage_begin();

	CAST(ROLE(write_and_die, .status = -SIGKILL));
	EXPECT(cue_comes(1));
	EXPECT(test_wait(is_one_region, f, 10));
	CAST(ROLE(inherit));
	stage_end();
}

/* ---- addresses ---- */

static void *own_mapping(void *at, size_t bytes)
{
	void *place = mmap(at, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	CLIENT_EXPECT(place == at);
	return place;
}

/* Free in this process, and no place where the kernel, the broker or a sanitizer puts anything. */
static char *free_range(void)
{
	char *at = mmap((void *)(uintptr_t)0x120000000000, BYTES, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CLIENT_EXPECT(at != MAP_FAILED);
	munmap(at, BYTES);
	return at;
}

static void choose_address(struct actor *a)
{
	struct mmb_region_options options = { .size = sizeof(options), .mode = 0666 };
	struct mmb_region *region = NULL;
	char *wanted = free_range(), *taken;

	act_common_pool(a);
	options.address = wanted + 1;
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES, &options, &region), -EINVAL);
	taken = own_mapping(wanted, PAGE);
	*taken = 42;
	options.address = taken;
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES, &options, &region), -EADDRNOTAVAIL);
	CLIENT_EXPECT(!region);
	CLIENT_EXPECT_EQ(*taken, 42);
	munmap(taken, PAGE);
	CLIENT_EXPECT_EQ(
		mmb_region_open(a->pool, "placed", BYTES, MMB_REGION_CREATE, &options, &region), 0);
	CLIENT_EXPECT(act_at(region) == wanted);
	stamp(wanted, BYTES, 1);
	atomic_store(&board->number[0], (uintptr_t)wanted);
	cue(1);
	await(2);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "placed"), 0);
}

/* The second one has something at the common address: it gets another place and loses nothing. */
static void come_second(struct actor *a)
{
	struct mmb_region *region;
	char *blocked;

	act_common_pool(a);
	await(1);
	blocked = own_mapping((void *)(uintptr_t)atomic_load(&board->number[0]), PAGE);
	*blocked = 42;
	region = act_named(a, "placed", 0);
	CLIENT_EXPECT((uintptr_t)act_at(region) != atomic_load(&board->number[0]));
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	mmb_region_close(region);
	CLIENT_EXPECT_EQ(*blocked, 42);
	cue(2);
}

static void addresses(void)
{
	PLAY(ROLE(choose_address), ROLE(come_second));
}

/* ---- mode bits ---- */

static const struct {
	const char *name;
	uint32_t mode;
	int read, write; /* what a stranger gets */
} doors[] = {
	{ "private", 0600, -EACCES, -EACCES },
	{ "public", 0644, 0, -EACCES },
	{ "open", 0666, 0, 0 },
	{ "unset", 0, -EACCES, -EACCES },
	{ "group", 0660, -EACCES, -EACCES },
	{ "blind", 0622, -EACCES, -EACCES },
};
enum { NR_DOORS = sizeof(doors) / sizeof(doors[0]) };

static void make_doors(struct actor *a)
{
	struct mmb_region *region[NR_DOORS];

	act_common_pool(a);
	for (size_t i = 0; i < NR_DOORS; i++) {
		struct mmb_region_options options = { .size = sizeof(options),
						      .mode = doors[i].mode };

		CLIENT_EXPECT_EQ(mmb_region_open(a->pool, doors[i].name, BYTES, MMB_REGION_CREATE,
						 &options, &region[i]),
				 0);
		stamp(act_at(region[i]), PAGE, i);
	}
	cue(1);
	await(2);
	for (size_t i = 0; i < NR_DOORS; i++)
		CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, doors[i].name), 0);
}

static void try_doors(struct actor *a)
{
	struct mmb_region *region;

	await(1);
	act_common_pool(a);
	for (size_t i = 0; i < NR_DOORS; i++) {
		int error = mmb_region_open(a->pool, doors[i].name, 0, MMB_REGION_READONLY, NULL,
					    &region);

		CLIENT_EXPECT_EQ(error, doors[i].read);
		CLIENT_EXPECT(!error || says(doors[i].name));
		CLIENT_EXPECT(error || is_stamped(act_at(region), PAGE, i));
		if (!error)
			mmb_region_close(region);
		error = mmb_region_open(a->pool, doors[i].name, 0, 0, NULL, &region);
		CLIENT_EXPECT_EQ(error, doors[i].write);
		if (!error)
			mmb_region_close(region);
		CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, doors[i].name), -EACCES);
	}
	cue(2);
}

static void mode_bits(void)
{
	need_root("becoming another user");
	PLAY(ROLE(make_doors), ROLE(try_doors, .nobody = true));
}

static const struct test_case cases[] = {
	{ "a region of 4 KiB pages reads zero, keeps what is written, counts its pages",
	  pages_of_4_kib },
	{ "a length that is no number of pages, or a page size unknown, is -EINVAL",
	  lengths_and_page_sizes },
	{ "a named region is at one address in two processes, and what one writes the other reads",
	  shared_at_one_address },
	{ "CREATE, EXCL, length 0 and every mismatch as for files", create_excl_and_mismatches },
	{ "a region opened twice in one process has two addresses and one content",
	  twice_in_one_process },
	{ "an unlinked region lives until its last close; a name keeps the region without users",
	  unlink_and_persistence },
	{ "a killed client's unnamed regions go, named ones stay as they were",
	  named_survive_a_kill },
	{ "a region comes where it is wanted, or elsewhere if it must, or not at all", addresses },
	{ "mode bits decide what another user may open", mode_bits },
	{ "a region of 2 MiB pages on hugetlb", pages_of_2_mib_on_hugetlb },
	{ "a region of 2 MiB pages without a huge stock works, and mmbctl says so",
	  pages_of_2_mib_without_hugetlb },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&base_setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
