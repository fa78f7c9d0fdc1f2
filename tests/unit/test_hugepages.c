/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hugepages - parsing the host's files, from a pretended root
 */
#include "os/hugepages.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/test.h"
#include "os/os.h"

static char root[64];

/* Writes a file below the pretended root, making its directories. */
static void put(const char *path, const char *text)
{
	char  full[256], *slash;
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (slash = strchr(full + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	file = fopen(full, "w");
	EXPECT(file != NULL);
	fputs(text, file);
	fclose(file);
}

static void begin(void)
{
	strcpy(root, "/tmp/mmb-test-host-XXXXXX");
	EXPECT(mkdtemp(root) != NULL);
	host_files_set_root(root);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void end(void)
{
	host_files_set_root("");
	nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void hugepages_of_host_and_node(void)
{
	struct hugepages h;
	int              host, node, absent;

	begin();
#define HOST "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define NODE "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/"
	put(HOST "nr_hugepages", "64\n");
	put(HOST "free_hugepages", "60\n");
	put(HOST "resv_hugepages", "5\n");
	put(HOST "surplus_hugepages", "2\n");
	put(HOST "nr_overcommit_hugepages", "9\n");
	put(NODE "nr_hugepages", "32\n");
	put(NODE "free_hugepages", "31\n");
	put(NODE "surplus_hugepages", "1\n");
	host = hugepages_read(OS_NODE_ANY, &h);
	EXPECT(!host && h.total == 64 && h.free == 60 && h.resv == 5 && h.surplus == 2);
	EXPECT_EQ(h.overcommit, 9);
	node = hugepages_read(1, &h);
	EXPECT(!node && h.total == 32 && h.free == 31 && h.resv == 0 && h.surplus == 1);
	absent = hugepages_read(0, &h);
	EXPECT_EQ(absent, -ENOENT);
	end();
}

static void memory_of_host_and_node(void)
{
	struct host_memory m;

	begin();
	put("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:         300 kB\n"
			     "MemAvailable:    700 kB\nHugePages_Total:      64\n");
	put("/sys/devices/system/node/node0/meminfo",
	    "Node 0 MemTotal:       500 kB\nNode 0 MemFree:  100 kB\n"
	    "Node 0 FilePages:      80 kB\nNode 0 Shmem:  30 kB\n");
	EXPECT_EQ(host_memory_read(OS_NODE_ANY, &m), 0);
	EXPECT(m.total == 1000 << 10 && m.free == 300 << 10 && m.available == 700 << 10);
	EXPECT_EQ(host_memory_read(0, &m), 0);
	EXPECT(m.total == 500 << 10 && m.free == 100 << 10 && m.available == 150 << 10);
	EXPECT(host_memory_read(7, &m) < 0);
	end();
}

static void limit_of_the_cgroups(void)
{
	uint64_t none, own, above, unified;

	begin();
	none = host_memory_limit();
	put("/proc/self/cgroup", "5:cpu:/a/b\n4:memory:/a/b\n0::/c\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "3000\n");
	own = host_memory_limit();
	put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2000\n");
	above = host_memory_limit();
	put("/sys/fs/cgroup/memory.max", "max\n");
	put("/sys/fs/cgroup/c/memory.max", "1000\n");
	unified = host_memory_limit();
	EXPECT_EQ(none, UINT64_MAX);
	EXPECT_EQ(own, 3000);
	EXPECT_EQ(above, 2000);
	EXPECT_EQ(unified, 1000);
	end();
}

static void shmem_modes(void)
{
	static const char file[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

	begin();
	EXPECT_EQ(shmem_huge_mode(), SHMEM_HUGE_UNKNOWN);
	put(file, "always within_size advise [never] deny force\n");
	EXPECT_EQ(shmem_huge_mode(), SHMEM_HUGE_NEVER);
	put(file, "[always] within_size advise never deny force\n");
	EXPECT_EQ(shmem_huge_mode(), SHMEM_HUGE_ALWAYS);
	put(file, "always within_size [advise] never deny force\n");
	EXPECT_EQ(shmem_huge_mode(), SHMEM_HUGE_ADVISE);
	EXPECT(!strcmp(shmem_huge_name(SHMEM_HUGE_ADVISE), "advise"));
	put(file, "nothing of the kind\n");
	EXPECT_EQ(shmem_huge_mode(), SHMEM_HUGE_UNKNOWN);
	end();
}

static void shmem_refusal(void)
{
	static const char all[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	static const char one[] =
		"/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/shmem_enabled";

	begin();
	EXPECT(!shmem_huge_is_refused());
	put(all, "always within_size advise [never] deny force\n");
	EXPECT(shmem_huge_is_refused());
	put(one, "always [inherit] within_size advise never\n");
	EXPECT(shmem_huge_is_refused());
	put(one, "always inherit within_size [advise] never\n");
	EXPECT(!shmem_huge_is_refused());
	put(one, "always inherit within_size advise [never]\n");
	EXPECT(shmem_huge_is_refused());
	put(all, "always within_size [advise] never deny force\n");
	EXPECT(!shmem_huge_is_refused());
	end();
}

static void this_host(void)
{
	struct host_memory m;

	EXPECT_EQ(host_memory_read(OS_NODE_ANY, &m), 0);
	EXPECT(m.total > 0 && m.free <= m.total && m.available <= m.total);
}

static const struct test_case cases[] = {
	{ "hugepages of the host and of a node", hugepages_of_host_and_node },
	{ "available memory of the host and of a node", memory_of_host_and_node },
	{ "the least limit of this cgroup and those above it", limit_of_the_cgroups },
	{ "the mode of huge pages for shmem", shmem_modes },
	{ "shared memory may get no huge pages", shmem_refusal },
	{ "this host has memory", this_host },
};
TEST_MAIN(cases)
