/* SPDX-License-Identifier: Apache-2.0 */
/* run - see run.h */
#include "malloc/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/bench.h"

enum { PAGE = 4096 };

void *run_scratch(struct run *r, size_t bytes)
{
	size_t length = (bytes + PAGE - 1) / PAGE * PAGE;
	void *map = mmap(NULL, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (map == MAP_FAILED) {
		perror("mmb-bench: mmap");
		exit(EXIT_FAILURE);
	}
	r->scratch += length;
	return map;
}

int run_no_memory(size_t bytes)
{
	return bench_because(-ENOMEM, "no memory for %zu bytes", bytes);
}

int run_overwritten(const void *at, size_t bytes)
{
	return bench_because(-EIO, "an object of %zu bytes at %p holds something else", bytes, at);
}
