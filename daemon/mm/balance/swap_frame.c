/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_frame - see swap_frame.h
 */
#include "mm/balance/swap_frame.h"

#include <errno.h>
#include <sys/mman.h>

#include "mm/phys/guard.h"
#include "os/os.h"

static int write_through_window(struct section *section, uint64_t offset, const void *from,
				uint64_t bytes)
{
	uint64_t start = round_down(offset, PAGEBLOCK_SIZE);
	uint64_t length = round_up(offset + bytes, PAGEBLOCK_SIZE) - start;
	char    *window = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			       section->fd, (off_t)start);
	int      r;

	if (window == MAP_FAILED)
		return -ENOMEM;
	r = guarded_copy(window + (offset - start), from, bytes);
	munmap(window, length);
	return r;
}

int swap_frame_write(struct section *section, uint64_t offset, const void *from, uint64_t bytes)
{
	if (section->kind != STOCK_HUGE)
		return os->write(section->fd, offset, from, bytes);
	if (section->mapped)
		return guarded_copy((char *)section_virt(section) + offset, from, bytes);
	return write_through_window(section, offset, from, bytes);
}
