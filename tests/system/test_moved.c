/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_moved - a window has moved in the client, and the daemon has read of it, but not dealt with
 *              it yet
 *
 * Purpose     What is write-protected meanwhile is protected where the window was, and the client
 *             goes on writing where it is: no clone may show that, and nothing of it may be lost
 *             when the page is written out.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "system/swap_scene.h"

enum { BYTES = 1 * MIB, RESERVE_MIB = 64, SWAP_MIB = 32, OUTS = 8 };

/* Of each daemon, which begins with this case: what moves first is dealt with after 1.5 s. */
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
};

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
	pthread_t thread;
	char *at;

	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	memset(act_at(region), 0, BYTES);
	at = move(region);
	w.at = (_Atomic uint64_t *)(void *)at;
	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, write_on, &w), 0);
	for (int i = 0; i < OUTS; i++)
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_PAGEOUT), 0);
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	CLIENT_EXPECT_EQ(w.nr_lost, 0);
	CLIENT_EXPECT_EQ(munmap(at, BYTES), 0);
	mmb_region_close(region);
}

static void nothing_is_lost_by_writing_out(void)
{
	be_slow();
	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	PLAY(ROLE(write_out_what_moved));
}

static const struct test_case cases[] = {
	{ "a clone shows nothing that was written after it where the window has moved to",
	  a_clone_is_none_of_what_comes_later },
	{ "what is written there while the page goes out isn't lost",
	  nothing_is_lost_by_writing_out },
	STAGE_STOPS,
};
TEST_MAIN(cases)
