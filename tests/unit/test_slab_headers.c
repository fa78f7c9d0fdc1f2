/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slab_headers - what stands in the slab map of a shared pool, and what the daemon makes of it
 */
#include <errno.h>

#include "base/types.h"
#include "client/pool.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "os/os.h"

enum { UID = 1000 };

static struct session *a, *b;
static uint32_t pool_a, pool_b; /* the same pool */
static struct client_counts before;
static struct slab_mapped mapped;
static struct slab_header *headers; /* of the first pageblock */

static void begin(void)
{
	void *at;

	client_begin(NULL);
	client_count(&before);
	client_share_pool(UID, &a, &pool_a, &b, &pool_b);
	EXPECT_EQ(verb_slab_map(a, pool_a, 0, &mapped, &client_why), 0);
	EXPECT_EQ(os->reserve(NULL, PAGE_SIZE, &at), 0);
	EXPECT_EQ(os->map(at, PAGE_SIZE, mapped.windows[0].fd, 0), 0);
	headers = at;
}

static void end(void)
{
	client_expect_valid();
	os->unmap(headers, PAGE_SIZE);
	os->close(mapped.windows[0].fd);
	client_end_two(a, b, &before);
}

static struct slab_header *header_of(uint64_t address)
{
	return &headers[(address - mapped.windows[0].address) >> SLAB_UNIT_SHIFT];
}

static uint64_t owner_in(uint64_t address)
{
	return header_of(address)->shared >> 32;
}

/* One unit, of the first pageblock. */
static uint64_t lease_unit(struct session *s, uint32_t pool)
{
	uint64_t address = 0;
	struct lease_args args = { .pool = pool, .units = 1, .nr = 1, .addresses = &address };
	uint32_t got = 0;

	EXPECT_EQ(verb_slab_lease(s, &args, &got, &client_why), 0);
	EXPECT(got == 1 && address - mapped.windows[0].address < PAGEBLOCK_SIZE);
	return address;
}

static void return_unit(struct session *s, uint32_t pool, uint64_t address, bool again)
{
	static const uint32_t one = 1;
	struct slab_return_args args = { .pool = pool, .nr = 1, .addresses = &address,
					 .units = &one, .past = { .id = 1, .again = again } };

	EXPECT_EQ(verb_slab_return(s, &args, &client_why), 0);
}

static uint64_t units_leased(void)
{
	struct pool_stat stat;

	EXPECT_EQ(verb_pool_stat(b, pool_b, &stat, &client_why), 0);
	return stat.leased >> SLAB_UNIT_SHIFT;
}

/* The answer was lost with a daemon. What b returns is what a has leased, and b taken over. */
static void a_lost_return_of_what_was_taken_over_is_made_once(void)
{
	uint64_t of_a, of_b, own;
	struct slab_header *h;

	begin();
	own = lease_unit(b, pool_b);
	of_b = owner_in(own);
	h = header_of(lease_unit(a, pool_a));
	of_a = h->shared >> 32;
	EXPECT(of_a && of_b && of_a != of_b);
	own = mapped.windows[0].address + ((uint64_t)(h - headers) << SLAB_UNIT_SHIFT);
	/* Returned before, and leased since. */
	return_unit(b, pool_b, own, true);
	EXPECT_EQ(units_leased(), 2);
	/* Taken over, and in use. */
	h->shared = of_b << 32;
	return_unit(b, pool_b, own, true);
	EXPECT_EQ(units_leased(), 2);
	/* Another one's return, and what somebody has taken over since. */
	h->given = (uint32_t)of_a;
	return_unit(b, pool_b, own, true);
	h->given = (uint32_t)of_b;
	h->shared = of_a << 32;
	return_unit(b, pool_b, own, true);
	EXPECT_EQ(units_leased(), 2);
	client_expect_valid();
	h->shared = of_b << 32;
	return_unit(b, pool_b, own, true);
	EXPECT_EQ(units_leased(), 1);
	EXPECT(!h->shared && !h->given);
	return_unit(b, pool_b, own, true);
	EXPECT_EQ(units_leased(), 1);
	end();
}

/* A client that comes before all is free leases beside it, so that the page of headers stays. */
static void what_has_ended_leaves_no_header(void)
{
	struct pool *pool;
	uint64_t old, fresh;

	begin();
	pool = client_pool_of(a, pool_a);
	old = lease_unit(a, pool_a);
	header_of(old)->kind = SLAB_OBJECTS;
	header_of(old)->given = 1;
	EXPECT(leases_end(&pool->leases));
	fresh = lease_unit(b, pool_b);
	EXPECT(owner_in(old) && fresh != old);
	leases_free_ended(pool);
	EXPECT(!header_of(old)->shared && !header_of(old)->kind && !header_of(old)->given);
	EXPECT(owner_in(fresh));
	return_unit(b, pool_b, fresh, false);
	end();
}

static const struct test_case cases[] = {
	{ "units that have ended leave no headers beside those that are leased since",
	  what_has_ended_leaves_no_header },
	{ "a lost return of what was taken over from another is made once",
	  a_lost_return_of_what_was_taken_over_is_made_once },
};
TEST_MAIN(cases)
