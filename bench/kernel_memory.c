/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_memory - see kernel_memory.h */
#include "kernel_memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/child.h"

enum { CHILD_MS = 60000 };

static int touch_again(struct touch *touch, size_t bytes, struct sample *out)
{
	char *first = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (first == MAP_FAILED)
		return bench_because(-errno, "mmap of %zu MiB, shared: %s", bytes >> 20,
				     strerror(errno));
	memset(first, 1, bytes);
	/* Of 0 bytes that are mapped: the same memory once more. */
	touch->base = mremap(first, 0, bytes, MREMAP_MAYMOVE);
	if (touch->base == MAP_FAILED || madvise(touch->base, bytes, MADV_POPULATE_WRITE) != 0)
		return bench_because(-errno, "mapping %zu MiB again: %s", bytes >> 20,
				     strerror(errno));
	return touch_run(touch, out);
}

static int touch_kernel(void *arg, struct sample *out)
{
	const struct kernel_args *args = arg;
	struct touch touch = args->touch;
	size_t bytes = touch.page * touch.pages;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (args->huge ? MAP_HUGETLB : MAP_NORESERVE);

	if (args->mapped_again)
		return touch_again(&touch, bytes, out);
	touch.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (touch.base == MAP_FAILED)
		return bench_because(args->huge ? BENCH_SKIP : -errno, "mmap of %zu MiB%s: %s",
				     bytes >> 20, args->huge ? " of hugepages" : "",
				     strerror(errno));
	if (!args->huge && madvise(touch.base, bytes, MADV_NOHUGEPAGE) != 0)
		return bench_because(-errno, "MADV_NOHUGEPAGE: %s", strerror(errno));
	return touch_run(&touch, out);
}

int kernel_side(struct bench *b, const void *arg, struct sample *out)
{
	struct kernel_args args = *(const struct kernel_args *)arg;

	return child_run(touch_kernel, &args, CHILD_MS, out);
}

static uint64_t read_hugepages(const char *name)
{
	char path[128];
	unsigned long long value = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", name);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

uint64_t kernel_hugepages_free(void)
{
	uint64_t free_now = read_hugepages("free_hugepages");
	uint64_t reserved = read_hugepages("resv_hugepages");

	return free_now > reserved ? free_now - reserved : 0;
}
