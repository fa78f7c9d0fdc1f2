/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_ours - a region in a pool with a limit
 *
 * Purpose     The broker's contestant. CPU time is this process's and the daemon's together; what
 *             was written is read from the daemon's own I/O counter, not from what it says.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/clock.h"
#include "mmbroker.h"
#include "region.h"
#include "swap/player.h"

enum { OUT_MS_MAX = 60000, OUT_US = 200, OUT_LEFT = 64 };

struct ours {
	struct mmb        *mmb;
	struct mmb_pool   *pool;
	struct mmb_region *region;
};

static int ours_take(struct player *p)
{
	static struct ours ours;
	struct mmb_pool_options limits = { .size = sizeof(limits), .max = p->limit };
	struct mmb_region_options options = { .size = sizeof(options), .page_size = p->page };
	int error = mmb_open(p->socket, NULL, &ours.mmb);

	if (error != 0)
		return region_complain(error, "mmb_open");
	error = mmb_pool_open(ours.mmb, p->pool, MMB_POOL_PRIVATE, &limits, &ours.pool);
	if (error != 0)
		return region_complain(error, "mmb_pool_open");
	error = mmb_region_create(ours.pool, p->bytes, &options, &ours.region);
	if (error != 0)
		return region_complain(error == -ENOMEM ? BENCH_SKIP : error, "mmb_region_create");
	p->base = mmb_region_address(ours.region);
	p->private = &ours;
	return 0;
}

static int resident(const struct ours *ours, uint64_t *bytes)
{
	struct mmb_region_stat stat = { .size = sizeof(stat) };
	int error = mmb_region_stat(ours->region, &stat);

	*bytes = stat.resident;
	return error != 0 ? region_complain(error, "mmb_region_stat") : 0;
}

/* Whether the call waits or not: until it is out. */
static int ours_out(struct player *p)
{
	struct ours *ours = p->private;
	uint64_t deadline = clock_ns() + OUT_MS_MAX * 1000000ull, left = 0;
	int error;

	do {
		error = mmb_region_advise(ours->region, 0, p->bytes, MMB_ADVISE_PAGEOUT);
		if (error != 0)
			return region_complain(error, "MMB_ADVISE_PAGEOUT");
		error = resident(ours, &left);
		if (error != 0 || left <= p->bytes / OUT_LEFT)
			return error;
		clock_sleep_until(clock_ns() + OUT_US * 1000);
	} while (clock_ns() < deadline);
	return bench_because(-EBUSY, "%llu MiB stay after MMB_ADVISE_PAGEOUT",
			     (unsigned long long)left >> 20);
}

/* Entries dropped in the only window there is: what a page that was aged is like. */
static int ours_cold(struct player *p)
{
	struct ours *ours = p->private;
	int error = mmb_region_advise(ours->region, 0, p->bytes, MMB_ADVISE_COLD);

	if (error != 0)
		return region_complain(error, "MMB_ADVISE_COLD");
	return madvise(p->base, p->bytes, MADV_DONTNEED) == 0 ?
		       0 : bench_because(-errno, "madvise: %s", strerror(errno));
}

static uint64_t ours_cpu(struct player *p)
{
	uint64_t ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
	clockid_t daemon;

	if (p->daemon > 0 && clock_getcpuclockid(p->daemon, &daemon) == 0)
		ns += clock_read_ns(daemon);
	return ns;
}

static int ours_written(struct player *p, uint64_t *pages)
{
	char path[64], line[128];
	uint64_t bytes = 0;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)p->daemon);
	f = fopen(path, "re");
	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "write_bytes: %" SCNu64, &bytes) == 1;
	if (f != NULL)
		fclose(f);
	*pages = bytes / WORKLOAD_PAGE;
	return found ? 0 : bench_because(BENCH_SKIP, "%s can't be read", path);
}

const struct player_memory memory_ours = {
	.take = ours_take,
	.out = ours_out,
	.empty = ours_out,
	.cold = ours_cold,
	.cpu_ns = ours_cpu,
	.written = ours_written,
};
