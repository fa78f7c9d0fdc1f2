/* SPDX-License-Identifier: Apache-2.0 */
/* subject - see subject.h */
#include "clone/subject.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/random.h"

static uint64_t mark_of(uint64_t page)
{
	return random_mix(page + 7) | 1;
}

/* The first word is for those who write; the marks come after it. */
void subject_fill(const struct subject *s)
{
	for (uint64_t page = 0; page < s->bytes / SUBJECT_SMALL; page++) {
		uint64_t *words = (uint64_t *)(void *)(s->base + page * SUBJECT_SMALL);

		words[0] = mark_of(page);
		words[SUBJECT_SMALL / sizeof(*words) - 1] = mark_of(page);
	}
}

static int check_page(const char *at, uint64_t page)
{
	const volatile uint64_t *words = (const uint64_t *)(const void *)at;

	if (words[0] == mark_of(page) &&
	    words[SUBJECT_SMALL / sizeof(*words) - 1] == mark_of(page))
		return 0;
	return bench_because(-EIO, "page %llu of the copy isn't what the original's was",
			     (unsigned long long)page);
}

int subject_check(const struct subject *s, const char *copy)
{
	int error = 0;

	for (uint64_t page = 0; page < s->bytes / SUBJECT_SMALL && error == 0; page++)
		error = check_page(copy + page * SUBJECT_SMALL, page);
	return error;
}

int subject_pour(const struct subject *s, const char *from, int fd)
{
	char *block = mmap(NULL, SUBJECT_BLOCK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error = 0;

	if (block == MAP_FAILED)
		return bench_because(-errno, "mmap: %s", strerror(errno));
	for (uint64_t at = 0; at < s->bytes && error == 0; at += SUBJECT_BLOCK) {
		memcpy(block, from + at, SUBJECT_BLOCK);
		for (uint64_t in = 0; in < SUBJECT_BLOCK && error == 0; in += SUBJECT_SMALL)
			error = check_page(block + in, (at + in) / SUBJECT_SMALL);
		if (error == 0 && pwrite(fd, block, SUBJECT_BLOCK, (off_t)at) != SUBJECT_BLOCK)
			error = bench_because(-EIO, "writing the copy: %s", strerror(errno));
	}
	munmap(block, SUBJECT_BLOCK);
	return error;
}
