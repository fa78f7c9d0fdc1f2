/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_file - see disk_file.h
 */
#include "os/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heartbeat.h"
#include "base/types.h"

enum { MAGIC_BYTES = 8, LOOK_BYTES = 1 << 20, SETTLE_TRIES = 400 };

static const struct timespec settle_pause = { .tv_nsec = 5 * 1000 * 1000 };

struct opening {
	const struct disk_file_request *request;
	struct disk_file               *out;
	const char                     *why;
	struct stat                     st;
};

static int refuse_with(struct opening *o, int error, const char *why)
{
	o->why = why;
	return error;
}

static int try_open(const char *path, int flags)
{
	/* NONBLOCK: a FIFO would keep us waiting. */
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | flags, 0600);

	return fd < 0 ? -errno : fd;
}

static int open_failed(struct opening *o, int error)
{
	switch (error) {
	case -ELOOP:
		return refuse_with(o, error, "is a symbolic link; name what it points to");
	case -EISDIR:
		return refuse_with(o, error, "is a directory; name a file in it");
	case -EBUSY:
		return refuse_with(o, error, "is in use (mounted, or swapped to already)");
	case -ETXTBSY:
		return refuse_with(o, error, "is in use: the kernel swaps to it, or it is running");
	case -ENOENT:
		return refuse_with(o, error, "can't be made: its folder doesn't exist");
	case -EACCES:
	case -EPERM:
		return refuse_with(o, error, "can't be opened by the daemon's user");
	case -EROFS:
		return refuse_with(o, error, "is on a file system that is read-only");
	case -ENOSPC:
		return refuse_with(o, error, "can't be made: the file system is full");
	default:
		return refuse_with(o, error, "can't be opened");
	}
}

/* O_DIRECT comes later: a file system without it should be told apart from a bad path. */
static int open_it(struct opening *o)
{
	int  fd = try_open(o->request->path, 0);
	bool can_be_made = fd == -ENOENT && o->request->bytes;

	if (fd == -ENOENT && !can_be_made)
		return refuse_with(o, fd, "doesn't exist; with a size it would be made");
	if (can_be_made) {
		fd = try_open(o->request->path, O_CREAT | O_EXCL);
		o->out->made = fd >= 0;
	}
	if (fd < 0)
		return open_failed(o, fd);
	o->out->kept = fd;
	if (fstat(fd, &o->st))
		return -errno;
	o->out->bytes_before = (uint64_t)o->st.st_size;
	return 0;
}

static int check_seclusion(struct opening *o)
{
	if (o->st.st_mode & 077)
		return refuse_with(o, -EPERM, "can be read by others; chmod 600 it");
	if (o->st.st_nlink != 1)
		return refuse_with(o, -EPERM, "has more than one name, or none");
	return 0;
}

/* Newer kernels have direct I/O in memory, too. */
static int check_file_system(struct opening *o, const struct statfs *fs)
{
	uint32_t type = (uint32_t)fs->f_type;

	if (type == TMPFS_MAGIC || type == RAMFS_MAGIC || type == HUGETLBFS_MAGIC)
		return refuse_with(o, -EOPNOTSUPP,
				   "is on a file system in memory, where it takes what it frees; "
				   "name one on a disk");
	return 0;
}

static int check_file(struct opening *o)
{
	struct statfs fs;
	int           r;

	if (o->st.st_uid != geteuid())
		return refuse_with(o, -EPERM, "belongs to another user than the daemon's");
	r = check_seclusion(o);
	if (!r && fstatfs(o->out->kept, &fs) == 0)
		r = check_file_system(o, &fs);
	if (r)
		return r;
	if (flock(o->out->kept, LOCK_EX | LOCK_NB))
		return refuse_with(o, errno == EWOULDBLOCK ? -EBUSY : -errno,
				   "is in use by a broker already");
	return 0;
}

static int check_device(struct opening *o)
{
	struct stat st;
	int         exclusive;

	/* Without CREAT, O_EXCL asks for a device that nobody has claimed. */
	exclusive = try_open(o->request->path, O_EXCL);
	if (exclusive < 0)
		return open_failed(o, exclusive);
	close(o->out->kept);
	o->out->kept = exclusive;
	o->out->is_device = true;
	if (fstat(exclusive, &st) || !S_ISBLK(st.st_mode) || st.st_rdev != o->st.st_rdev)
		return refuse_with(o, -EBUSY, "became something else meanwhile");
	return 0;
}

static int refuse_kind(struct opening *o)
{
	if (S_ISLNK(o->st.st_mode))
		return open_failed(o, -ELOOP);
	if (S_ISDIR(o->st.st_mode))
		return open_failed(o, -EISDIR);
	return refuse_with(o, -EINVAL, "is neither a regular file nor a block device");
}

static int check_kind(struct opening *o)
{
	if (S_ISREG(o->st.st_mode))
		return check_file(o);
	if (S_ISBLK(o->st.st_mode))
		return check_device(o);
	return refuse_kind(o);
}

static int use_direct(struct opening *o)
{
	int flags = fcntl(o->out->kept, F_GETFL);

	if (flags < 0 || fcntl(o->out->kept, F_SETFL, (flags & ~O_NONBLOCK) | O_DIRECT))
		return refuse_with(o, -EOPNOTSUPP, "is on a file system without direct I/O");
	return 0;
}

/* ---- who writes to it ---- */

static int set_lock(int fd, int command)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, command, &whole) ? -errno : 0;
}

int disk_file_resume(struct disk_file *file, int kept)
{
	char link[32];
	int  fd;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", kept);
	fd = open(link, O_RDWR | O_CLOEXEC | O_NOCTTY | O_DIRECT);
	file->kept = kept;
	file->fd = fd < 0 ? kept : fd;
	return fd < 0 ? -errno : 0;
}

int disk_file_try_settle(const struct disk_file *file)
{
	int r = set_lock(file->fd, F_OFD_SETLK);

	return r == -EACCES ? -EAGAIN : r;
}

void disk_file_settle(const struct disk_file *file)
{
	int r;

	heartbeat_idle(); /* for the disk: os/disk.c */
	while ((r = set_lock(file->fd, F_OFD_SETLKW)))
		if (r != -EINTR)
			nanosleep(&settle_pause, NULL);
	heartbeat_touch();
}

int disk_file_settle_soon(const struct disk_file *file)
{
	int r;

	heartbeat_idle();
	for (int i = 0; (r = disk_file_try_settle(file)) == -EAGAIN && i < SETTLE_TRIES; i++)
		nanosleep(&settle_pause, NULL);
	heartbeat_touch();
	return r;
}

static int own(struct opening *o)
{
	int r = disk_file_resume(o->out, o->out->kept);

	if (r)
		return refuse_with(o, r, "can't be opened a second time");
	r = disk_file_settle_soon(o->out);
	if (r == -EAGAIN)
		return refuse_with(o, -EBUSY, "is still being written to by a broker that has "
					      "ended");
	return r ? refuse_with(o, r, "can't be locked") : 0;
}

/* ---- whose content it has ---- */

static bool all_zero(const char *bytes, size_t nr)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, nr - 1);
}

static int look_at(struct opening *o, char *bytes)
{
	ssize_t got = pread(o->out->kept, bytes, LOOK_BYTES, 0);
	bool    foreign;

	if (got < 0)
		return refuse_with(o, -errno, "can't be read");
	if (got >= MAGIC_BYTES && !memcmp(bytes, o->request->magic, MAGIC_BYTES))
		return 0;
	foreign = got && !all_zero(bytes, (size_t)got);
	if (!foreign && !o->out->is_device)
		foreign = lseek(o->out->kept, 0, SEEK_DATA) >= 0;
	if (foreign)
		return refuse_with(o, -EEXIST, "has other content; remove it, or wipe it first");
	return 0;
}

/* What is neither ours nor empty is somebody's. Of a device the first MiB decides, where every
 * file system and partition table has its mark; of a file any data. */
static int check_content(struct opening *o)
{
	void *bytes;
	int   r;

	if (o->out->made)
		return 0;
	if (posix_memalign(&bytes, PAGE_SIZE, LOOK_BYTES))
		return refuse_with(o, -ENOMEM, "can't be read: no memory");
	r = look_at(o, bytes);
	free(bytes);
	return r;
}

/* ---- size ---- */

static int check_bounds(struct opening *o, uint64_t want)
{
	if (want < o->request->bytes_min)
		return refuse_with(o, -EINVAL, "is too small: a swap area has at least 1 MiB");
	if (want > o->request->bytes_max)
		return refuse_with(o, -EFBIG, "is too large for a swap area: give a smaller size");
	return 0;
}

static int check_size(struct opening *o)
{
	uint64_t there = (uint64_t)o->st.st_size, want = o->request->bytes;
	int      r;

	if (o->out->is_device && ioctl(o->out->kept, BLKGETSIZE64, &there))
		return refuse_with(o, -errno, "doesn't tell its size");
	if (!want)
		want = there;
	if (o->out->is_device && want > there)
		return refuse_with(o, -EFBIG, "is smaller than the size given");
	r = check_bounds(o, want);
	if (!r)
		o->out->bytes = round_down(want, PAGE_SIZE);
	return r;
}

/* Every block now, so that none is missing later. */
static int take_blocks(struct opening *o)
{
	if (o->out->is_device)
		return 0;
	if (ftruncate(o->out->kept, (off_t)o->out->bytes))
		return refuse_with(o, -errno, "can't be given its size");
	while (fallocate(o->out->kept, 0, 0, (off_t)o->out->bytes)) {
		if (errno == EINTR)
			continue;
		if (errno == ENOSPC || errno == EDQUOT)
			return refuse_with(o, -ENOSPC, "doesn't fit its file system");
		return refuse_with(o, errno == EOPNOTSUPP ? -EOPNOTSUPP : -errno,
				   "can't be given its blocks in advance on this file system");
	}
	return fsync(o->out->kept) ? refuse_with(o, -errno, "can't be made durable") : 0;
}

void disk_file_undo(struct disk_file *file, const char *path)
{
	if (file->made)
		unlink(path);
	else if (file->kept >= 0 && !file->is_device && file->bytes_before < file->bytes)
		/* Failure leaves a larger file of ours. */
		CHECK(ftruncate(file->kept, (off_t)file->bytes_before) == 0 || errno);
	disk_file_close(file);
}

int disk_file_open(const struct disk_file_request *request, struct disk_file *out,
		   const char **why)
{
	struct opening o = { .request = request, .out = out, .why = "can't be used" };
	int            r;

	*out = (struct disk_file){ .fd = -1, .kept = -1 };
	if (request->path[0] != '/')
		r = refuse_with(&o, -EINVAL, "isn't an absolute path");
	else
		r = open_it(&o);
	if (!r)
		r = check_kind(&o);
	if (!r)
		r = use_direct(&o);
	if (!r)
		r = own(&o);
	if (!r)
		r = check_content(&o);
	if (!r)
		r = check_size(&o);
	if (!r)
		r = take_blocks(&o);
	if (r)
		disk_file_undo(out, request->path);
	*why = r ? o.why : NULL;
	return r;
}

/* ---- looking, and nothing else ---- */

static int look_at_folder(struct opening *o, struct statfs *fs)
{
	char       *folder = strdup(o->request->path);
	struct stat st;
	int         r = 0;

	if (!folder)
		return 0;
	folder[strrchr(folder, '/') == folder ? 1 : strrchr(folder, '/') - folder] = '\0';
	if (!o->request->bytes)
		r = refuse_with(o, -ENOENT, "doesn't exist; with a size it would be made");
	else if (stat(folder, &st))
		r = errno == EACCES ? 0 : open_failed(o, -ENOENT);
	else if (!S_ISDIR(st.st_mode))
		r = refuse_with(o, -ENOTDIR, "can't be made: its folder is none");
	if (!r && statfs(folder, fs))
		fs->f_type = 0;
	free(folder);
	return r;
}

static int look_at_room(struct opening *o, const struct statfs *fs)
{
	uint64_t there = (uint64_t)o->st.st_blocks * 512;
	uint64_t want = o->request->bytes ? o->request->bytes : (uint64_t)o->st.st_size;
	uint64_t block = (uint64_t)(fs->f_frsize ? fs->f_frsize : fs->f_bsize);
	int      r = check_bounds(o, want);

	if (!r && fs->f_type && fs->f_flags & ST_RDONLY)
		r = open_failed(o, -EROFS);
	if (!r && fs->f_type && want > there &&
	    (want - there) / block > (uint64_t)fs->f_bfree)
		r = refuse_with(o, -ENOSPC, "doesn't fit its file system");
	return r ? r : check_file_system(o, fs);
}

static int look(struct opening *o)
{
	struct statfs fs = { .f_type = 0 };
	int           r = 0;

	if (o->request->path[0] != '/')
		return refuse_with(o, -EINVAL, "isn't an absolute path");
	if (lstat(o->request->path, &o->st)) {
		o->st = (struct stat){ .st_mode = S_IFREG };
		if (errno != ENOENT && errno != ENOTDIR)
			return 0; /* not for these eyes */
		r = look_at_folder(o, &fs);
	} else if (S_ISBLK(o->st.st_mode)) {
		return 0;
	} else if (!S_ISREG(o->st.st_mode)) {
		return refuse_kind(o);
	} else {
		r = check_seclusion(o);
		if (statfs(o->request->path, &fs))
			fs.f_type = 0;
	}
	return r ? r : look_at_room(o, &fs);
}

int disk_file_look(const struct disk_file_request *request, const char **why)
{
	struct opening o = { .request = request, .why = "can't be used" };
	int            r = look(&o);

	*why = r ? o.why : NULL;
	return r;
}

void disk_file_close(struct disk_file *file)
{
	if (file->fd >= 0 && file->fd != file->kept)
		close(file->fd);
	if (file->kept >= 0)
		close(file->kept);
	file->fd = file->kept = -1;
}
