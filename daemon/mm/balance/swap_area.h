/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_area - swap areas come, fail and go
 *
 * Purpose     swapon: opens a file or device, writes its header, makes its slots. swapoff: asks for
 *             everything to be brought back, then closes it. Counts what the disk did wrong, and
 *             gives up an area that does little else.
 * Invariants  A1  an area's descriptor is open while one of its slots is in use.
 *             A2  an area is DEGRADED from its first failed write on, and DEAD (no new slots; what
 *                 it holds is still read) when writes keep failing or the device has gone. What a
 *                 client can provoke (a checksum that doesn't match) changes neither.
 *             A3  nothing is written to an area before all has ended that daemons before this one
 *                 began to write there: it could come later, into a slot that has been given anew.
 * Locking     swap_on and swap_off one at a time (a mutex of rank SWAP_CHANGES); everything else at
 *             any time.
 * Not here    Slots (map/swap.h), I/O (swap_io.h), who brings pages back (the hooks' owner).
 */
#ifndef MMB_BALANCE_SWAP_AREA_H
#define MMB_BALANCE_SWAP_AREA_H

#include <stdbool.h>
#include <stdint.h>

enum { SWAP_PATH_BYTES = 1024, SWAP_WHY_BYTES = 256, SWAP_AREA_BYTES_MIN = 1 << 20 };

struct swap_on_request {
	const char *path;
	uint64_t    bytes; /* 0: what is there */
	int16_t     priority;
};

enum swap_state { SWAP_ON, SWAP_DEGRADED, SWAP_DEAD, SWAP_LEAVING };

struct swap_report {
	char            path[SWAP_PATH_BYTES];
	bool            is_device;
	enum swap_state state;
	int16_t         priority;
	uint64_t        bytes, used, bad; /* bytes; without the header */
	uint64_t        write_errors, read_errors, checksum_errors;
};

/* What others do when areas come and go. */
struct swap_hooks {
	/* The areas that accept can hold `slots` now. When an area is to leave it is asked before:
	 * -ENOMEM if more has been promised than would be left, and it stays. */
	int (*capacity)(uint64_t slots);
	/* Brings back everything whose word names a slot of the area, which gives no new ones. 0 or
	 * -ENOMEM, -EINTR, ...: what is back is back, and the area goes on as before. */
	int (*evacuate)(uint32_t area);
};

/* NULL: nobody uses swap. The hooks stay until they are replaced. */
void swap_set_hooks(const struct swap_hooks *hooks);

void swap_areas_init(void);
/* Closes all areas, whatever they hold: nobody will ask for it. */
void swap_areas_fini(void);

/* 0 or a negative errno and a sentence. May take long (as long as fallocate does). */
int swap_on(const struct swap_on_request *request, char why[SWAP_WHY_BYTES]);
/* Whether swap_on() would take it, as far as that shows from outside; nothing is changed. */
int swap_look(const struct swap_on_request *request, char why[SWAP_WHY_BYTES]);
/* As long as it takes to read everything back. -ENOENT: no such area; -ENOMEM: no room. */
int swap_off(const char *path, char why[SWAP_WHY_BYTES]);
/* False: no area has that number. */
bool swap_area_report(uint32_t area, struct swap_report *out);

/* At resume: the area of that number is in this open file, as its record says; the disk isn't
 * asked. Claim its slots, then swap_area_accept(). -ENOENT: there is none, and fd is closed. */
int swap_on_resumed(uint32_t area, int fd, char why[SWAP_WHY_BYTES]);

/* ---- for swap_io.c ---- */

/* Of an area one of whose slots is in use. */
int swap_area_fd(uint32_t area);
/* Before a slot of it is written to: A3. Waits as long as the disk takes. */
void swap_area_settle(uint32_t area);
enum swap_fault { SWAP_WRITE_FAILED, SWAP_READ_FAILED, SWAP_CHECKSUM_WRONG };
/* The disk failed for nr slots; error says how. */
void swap_area_fault(uint32_t area, enum swap_fault fault, int error);
/* A request of several slots failed, and each is tried alone: what then works leaves only this. */
void swap_area_repeat(uint32_t area, bool write, uint64_t bytes, int error);

#endif
