/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_moved - a window isn't any more where the daemon has found it a moment ago
 *
 * Purpose     One that has moved in the client, of which the daemon has read and not dealt with it
 *             yet: what is write-protected meanwhile is protected where the window was, and the
 *             client goes on writing where it is. No clone may show that, and nothing of it may be
 *             lost when the page is written out. And one that was closed while its pages were made
 *             ahead: where another region is now, none of them is mapped for the first.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/swap_scene.h"

enum { BYTES = 1 * MIB, RESERVE_MIB = 64, SWAP_MIB = 32, OUTS = 8 };

/* Of each daemon, which begins with this case, since no other has the same setting: what moves
 * first is dealt with after 1.5 s. */
static void be_slow(void)
{
	EXPECT(!setenv("MMB_INJECT", "CHANGE_READ:1:rest", 1) && !setenv("MMB_INJECT_NOW", "1", 1));
}

/* The region is mapped there from now on. */
static char *move(struct mmb_region *region)
{
	char *to = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CLIENT_EXPECT(to != MAP_FAILED);
	CLIENT_EXPECT(mremap(act_at(region), BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
		      to);
	return to;
}

static void clone_what_moved(struct actor *a)
{
	struct mmb_region *region, *clone;
	char *at;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	at = move(region);
	clone = act_clone(region, NULL, 0);
	stamp(at, BYTES, 2);
	CLIENT_EXPECT(is_stamped(act_at(clone), BYTES, 1));
	CLIENT_EXPECT(is_stamped(at, BYTES, 2));
	CLIENT_EXPECT_EQ(munmap(at, BYTES), 0);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void a_clone_is_none_of_what_comes_later(void)
{
	static const char *const flags[] = { "--memory.reserve=64M", NULL };
	static const struct setting setting = { .flags = flags };

	be_slow();
	stage_set(&setting);
	PLAY(ROLE(clone_what_moved));
}

/* ---- writing out ---- */

struct writer {
	_Atomic uint64_t *at;
	atomic_bool stop;
	uint64_t nr_lost;
	pthread_t thread;
};

/* Moves a region of zeroes, and writes there until write_no_more(). */
static void write_where_it_moved(struct writer *w, struct mmb_region *region,
				 void *(*write)(void *writer))
{
	memset(act_at(region), 0, BYTES);
	w->at = (_Atomic uint64_t *)(void *)move(region);
	CLIENT_EXPECT_EQ(pthread_create(&w->thread, NULL, write, w), 0);
}

static void write_no_more(struct writer *w)
{
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
}

static void *write_on(void *argument)
{
	struct writer *w = argument;

	for (uint64_t n = 1; !atomic_load(&w->stop); n++) {
		w->nr_lost += atomic_load(w->at) != n - 1;
		atomic_store(w->at, n);
	}
	return NULL;
}

static void write_out_what_moved(struct actor *a)
{
	struct mmb_region *region;
	struct writer w = { 0 };

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	write_where_it_moved(&w, region, write_on);
	for (int i = 0; i < OUTS; i++)
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_PAGEOUT), 0);
	write_no_more(&w);
	CLIENT_EXPECT_EQ(w.nr_lost, 0);
	CLIENT_EXPECT_EQ(munmap((void *)w.at, BYTES), 0);
	mmb_region_close(region);
}

static void nothing_is_lost_by_writing_out(void)
{
	be_slow();
	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	PLAY(ROLE(write_out_what_moved));
}

/* ---- rollback ---- */

/* The first page is never behind the last. */
static void *write_both_ends(void *argument)
{
	struct writer *w = argument;

	for (uint64_t n = 1; !atomic_load(&w->stop); n++) {
		atomic_store(w->at, n);
		atomic_store(w->at + (BYTES - 4096) / sizeof(*w->at), n);
	}
	return NULL;
}

static void roll_back_to_what_moved(struct actor *a)
{
	struct mmb_region *region, *snapshot;
	struct writer w = { 0 };
	uint64_t *shown;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	snapshot = act_region(a, BYTES, 0);
	write_where_it_moved(&w, snapshot, write_both_ends);
	CLIENT_EXPECT_EQ(mmb_region_rollback(region, snapshot), 0);
	write_no_more(&w);
	shown = (uint64_t *)(void *)act_at(region);
	CLIENT_EXPECT(shown[0] >= shown[(BYTES - 4096) / sizeof(*shown)]);
	CLIENT_EXPECT_EQ(munmap((void *)w.at, BYTES), 0);
	mmb_region_close(snapshot);
	mmb_region_close(region);
}

static void a_rollback_is_of_one_instant(void)
{
	static const char *const flags[] = { "--memory.reserve=64M", NULL };
	static const struct setting setting = { .flags = flags };

	be_slow();
	stage_set(&setting);
	PLAY(ROLE(roll_back_to_what_moved));
}

/* ---- closed ---- */

enum { DAEMON, LARGE = 16 * MIB, ARMED_US = 100000, REST_US = 2500000 };

static struct mmb_region *placed(struct actor *a, uint32_t flags)
{
	struct mmb_region_options options = { .size = sizeof(options), .flags = flags,
					      .address = (void *)(uintptr_t)0x120000000000 };
	struct mmb_region *region;

	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, LARGE, &options, &region), 0);
	CLIENT_EXPECT(act_at(region) == options.address);
	return region;
}

static void follow_one_that_was_closed(struct actor *a)
{
	struct mmb_region *region, *clone;

	act_pool(a, 0);
	region = placed(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, LARGE, MMB_ADVISE_SEQUENTIAL), 0);
	CLIENT_EXPECT_EQ(kill((pid_t)atomic_load(&board->number[DAEMON]), SIGRTMIN + 1), 0);
	usleep(ARMED_US);
	*act_at(region) = 1; /* blocks after it are to be mapped ahead */
	usleep(ARMED_US);
	mmb_region_close(region);
	region = placed(a, MMB_REGION_POPULATE);
	clone = act_clone(region, NULL, 0);
	usleep(REST_US);
	stamp(act_at(region), LARGE, 1);
	CLIENT_EXPECT(is_zero(act_at(clone), LARGE));
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void what_comes_late_is_mapped_nowhere(void)
{
	static const char *const rest[] = { "MMB_INJECT=QUEUE_TURN:1:rest", NULL };
	static const char *const flags[] = { "--memory.reserve=128M", NULL };
	static const struct setting setting = { flags, rest };
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	atomic_store(&board->number[DAEMON], (uint64_t)f->pid);
	CAST(ROLE(follow_one_that_was_closed));
	EXPECT(stage_ended(0));
	stage_end();
}

static const struct test_case cases[] = {
	{ "pages made ahead of a closed region aren't mapped into the one that is there now",
	  what_comes_late_is_mapped_nowhere },
	{ "a clone shows nothing that was written after it where the window has moved to",
	  a_clone_is_none_of_what_comes_later },
	{ "a rollback to what has moved is one instant of it", a_rollback_is_of_one_instant },
	{ "what is written there while the page goes out isn't lost",
	  nothing_is_lost_by_writing_out },
	STAGE_STOPS,
};
TEST_MAIN(cases)
