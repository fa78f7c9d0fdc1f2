/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello - the smallest client: one demand-paged region, opened by name
 *
 * Start it twice: the second process finds what the first one wrote.
 */
#include <mmbroker.h>
#include <stdio.h>

int main(void)
{
	struct mmb *broker;
	struct mmb_pool *pool;
	struct mmb_region *region;

	if (mmb_open(NULL, NULL, &broker) ||
	    mmb_pool_open(broker, "hello", MMB_POOL_CREATE, NULL, &pool) ||
	    mmb_region_open(pool, "visits", 64 << 20, MMB_REGION_CREATE, NULL, &region)) {
		fprintf(stderr, "hello: %s\n", mmb_error());
		return 1;
	}
	unsigned long *visits = mmb_region_address(region); /* zero when it is new */
	printf("visit %lu to 64 MiB at %p\n", ++*visits, (void *)visits);
	mmb_close(broker); /* the region has a name: it stays */
	return 0;
}
