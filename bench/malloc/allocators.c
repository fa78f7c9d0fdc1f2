/* SPDX-License-Identifier: Apache-2.0 */
/* allocators - see allocators.h */
#include "malloc/allocators.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bench.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

const struct allocator allocators[ALLOCATORS] = {
	{ "ours", NULL, NULL },
	{ "glibc", NULL, NULL },
	{ "jemalloc", "libjemalloc.so.2", "libjemalloc2" },
	{ "mimalloc", "libmimalloc.so.2", "libmimalloc2.0" },
	{ "tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4" },
};

/* Each runs as it comes, whatever a test runner has set. */
static const char *const settings[] = { "GLIBC_TUNABLES", "MALLOC_PERTURB_", "MALLOC_CHECK_",
					"MALLOC_ARENA_MAX", "MALLOC_CONF" };

const struct allocator *allocator_find(const char *name)
{
	for (unsigned int i = 0; i < ALLOCATORS; i++) {
		if (strcmp(allocators[i].name, name) == 0)
			return &allocators[i];
	}
	return NULL;
}

void allocator_prepare(const struct allocator *a)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		unsetenv(settings[i]);
	if (a != NULL && a->library != NULL)
		setenv("LD_PRELOAD", a->library, 1);
	else
		unsetenv("LD_PRELOAD");
}

bool allocator_prepared(const struct allocator *a)
{
	const char *preloaded = getenv("LD_PRELOAD");

	return a->library == NULL ||
	       (preloaded != NULL && strstr(preloaded, a->library) != NULL);
}

static int is_loaded(struct dl_phdr_info *info, size_t bytes, void *library)
{
	return strstr(info->dlpi_name, library) != NULL;
}

int allocator_possible(const struct allocator *a)
{
	if (HAS_SANITIZER && a->library != NULL)
		return bench_because(BENCH_SKIP, "this build has a sanitizer's malloc");
	return 0;
}

int allocator_check(const struct allocator *a)
{
	if (a->library == NULL)
		return 0;
	if (dl_iterate_phdr(is_loaded, (void *)a->library) == 0)
		return bench_because(BENCH_SKIP, "%s can't be preloaded: package %s", a->library,
				     a->package);
	return 0;
}
