/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_file - a file or block device that becomes a swap area
 *
 * Purpose     Opens or makes it, refuses what is not ours to write on, takes all its blocks.
 * Invariants  F1  nothing is written to, and no block taken from, what is refused; a file made
 *                 by a call that fails is gone again.
 *             F2  nobody else has it open for the same purpose: files are locked (flock), devices
 *                 opened exclusively.
 *             F3  a file is a regular one, not reached by a symbolic link, of the daemon's user,
 *                 with one name and for nobody else's eyes (0600).
 *             F4  each process reads and writes through an open file description of its own, which
 *                 it has locked (an OFD lock) before the first write after disk_file_open(). What
 *                 it began by io_uring goes on after its end and holds that description, and so
 *                 the lock, until nothing of it is left.
 * Not here    The header's contents (balance/swap_area.c).
 */
#ifndef MMB_OS_DISK_FILE_H
#define MMB_OS_DISK_FILE_H

#include <stdbool.h>
#include <stdint.h>

struct disk_file_request {
	const char *path;  /* absolute */
	uint64_t    bytes; /* 0: all of what is there */
	uint64_t    bytes_min, bytes_max;
	const char *magic; /* of 8 bytes: begins what is ours already */
};

struct disk_file {
	int      fd;   /* direct I/O, this process's own */
	int      kept; /* what outlives the process: has F2's claim, and nothing is written by it */
	uint64_t bytes;
	bool     is_device;
	uint64_t bytes_before; /* F1: what it had when it was opened */
	bool     made;         /* F1: by disk_file_open() */
};

/* 0 or a negative errno; *why then says what was wrong and what to do (a constant text).
 * -EISDIR, -ELOOP, -EBUSY (in use), -EEXIST (foreign content), -EINVAL, -EFBIG, -ENOSPC, -EPERM,
 * -EOPNOTSUPP (no direct I/O, no room in advance, or in memory), and what open(2) gives. */
int disk_file_open(const struct disk_file_request *request, struct disk_file *out,
		   const char **why);
/* What of that can be told without opening or making anything, by whoever: not whose it is, what is
 * in it, nor who uses it. 0 too where this user may not look. */
int disk_file_look(const struct disk_file_request *request, const char **why);
/* In the next process, with what outlived the last one: makes file->fd. A negative errno: it can't
 * be opened any more, and file->fd is `kept`, only to be read from. */
int disk_file_resume(struct disk_file *file, int kept);
/* 0: nothing that a process before this one began is under way any more, and the file is locked.
 * -EAGAIN: something is. Another negative errno: can't be found out. */
int disk_file_try_settle(const struct disk_file *file);
/* Waits for that, as long as the disk takes. */
void disk_file_settle(const struct disk_file *file);
/* -EAGAIN after two seconds. */
int disk_file_settle_soon(const struct disk_file *file);
void disk_file_close(struct disk_file *file);
/* The same, and the file is as long as it was before disk_file_open(), or gone (F1). */
void disk_file_undo(struct disk_file *file, const char *path);

#endif
