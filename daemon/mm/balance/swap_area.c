/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_area - the header block, the table of areas, swapon and swapoff
 *
 * Purpose     See swap_area.h.
 * Locking     changes (outermost) for swapon and swapoff; table_lock (leaf) for what reports read.
 * Crash       swapon: a file without a header is empty and is used by the next swapon; one with it
 *             is ours. An area is there from its record on, and until that goes: of what is kept
 *             without one no word names a slot.
 */
#include "mm/balance/swap_area.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/log.h"
#include "mm/balance/swap_io.h"
#include "mm/map/swap.h"
#include "mm/phys/record.h"
#include "os/disk.h"
#include "os/disk_file.h"
#include "os/keep.h"

static const char header_magic[] = "MMBSWAP1";
enum { HEADER_VERSION = 1, UUID_BYTES = 16, ERRORS_MAX = 64 };

/* Block 0 of an area. */
struct swap_header {
	char     magic[8];
	uint32_t version, header_bytes;
	uint64_t nr_slots;
	uint8_t  uuid[UUID_BYTES];
	uint32_t area;
	int16_t  priority;
	uint8_t  is_device, reserved[5];
	char     path[SWAP_PATH_BYTES];
	uint8_t  padding[PAGE_SIZE - 64 - SWAP_PATH_BYTES];
	uint64_t sum; /* of what is before it */
};

static_assert(sizeof(struct swap_header) == PAGE_SIZE, "the header is the first slot");
static_assert(sizeof(((struct swap_record *)NULL)->path) == SWAP_PATH_BYTES, "its path fits");

/* c: fixed while used   t: table_lock   a: atomic */
struct entry {
	bool             used;     /* (t) */
	struct disk_file file;     /* (c) */
	int16_t          priority; /* (c) */
	struct swap_record *record; /* (c) */
	char             path[SWAP_PATH_BYTES]; /* (c) */
	_Atomic int      state;    /* (a) enum swap_state */
	_Atomic bool     settled;  /* (a) A3 */
	_Atomic uint64_t errors[SWAP_CHECKSUM_WRONG + 1]; /* (a) by enum swap_fault */
};

static struct entry table[SWAP_AREAS_MAX];
static struct mutex changes, table_lock;
static _Atomic(const struct swap_hooks *) hooks;

static int refuse_swap(char why[SWAP_WHY_BYTES], int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse_swap(char why[SWAP_WHY_BYTES], int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, SWAP_WHY_BYTES, format, args);
	va_end(args);
	return error;
}

void swap_set_hooks(const struct swap_hooks *wanted)
{
	atomic_store(&hooks, wanted);
}

static int tell_capacity(void)
{
	const struct swap_hooks *h = atomic_load(&hooks);

	return h && h->capacity ? h->capacity(swap_capacity()) : 0;
}

/* ---- the header block ---- */

static uint64_t header_sum(const struct swap_header *header)
{
	return XXH3_64bits(header, offsetof(struct swap_header, sum));
}

static struct swap_header *new_header(void)
{
	void *header;

	if (posix_memalign(&header, PAGE_SIZE, sizeof(struct swap_header)))
		return NULL;
	memset(header, 0, sizeof(struct swap_header));
	return header;
}

static int write_header(uint32_t area, uint64_t nr_slots)
{
	const struct entry *entry = &table[area];
	struct swap_header *header = new_header();
	struct disk_io      io = { .fd = entry->file.fd, .write = true, .memory = header,
				   .bytes = sizeof(*header) };
	int                 r;

	if (!header)
		return -ENOMEM;
	memcpy(header->magic, header_magic, sizeof(header->magic));
	header->version = HEADER_VERSION;
	header->header_bytes = sizeof(*header);
	header->nr_slots = nr_slots;
	header->area = area;
	header->priority = entry->priority;
	header->is_device = entry->file.is_device;
	memcpy(header->path, entry->path, sizeof(header->path));
	r = getrandom(header->uuid, UUID_BYTES, 0) == UUID_BYTES ? 0 : -EIO;
	header->sum = header_sum(header);
	if (!r) {
		disk_run(&io);
		r = io.result < 0 ? (int)io.result : io.result == io.bytes ? 0 : -EIO;
	}
	if (!r && fdatasync(entry->file.fd))
		r = -errno;
	free(header);
	return r;
}

/* ---- its record ---- */

static int make_record(uint32_t area)
{
	struct entry       *entry = &table[area];
	struct swap_record *record;
	void               *fresh;
	int                 r = record_new(RECORD_SWAP, &fresh);

	if (r)
		return r;
	record = fresh;
	record->nr_slots = entry->file.bytes >> PAGE_SHIFT;
	record->area = area;
	record->is_device = entry->file.is_device;
	record->priority = entry->priority;
	memcpy(record->path, entry->path, sizeof(record->path));
	record_commit(RECORD_SWAP, record);
	entry->record = record;
	return 0;
}

struct finding {
	uint32_t            area;
	struct swap_record *record;
};

static void compare_area(void *record, void *arg)
{
	struct swap_record *r = record;
	struct finding     *f = arg;

	if (r->area == f->area)
		f->record = r;
}

static struct swap_record *record_of(uint32_t area)
{
	struct finding f = { .area = area };

	record_for_each(RECORD_SWAP, compare_area, &f);
	return f.record;
}

/* ---- swapon ---- */

static void fill_entry(uint32_t area, const char *path, const struct disk_file *file,
		       int16_t priority)
{
	struct entry *entry = &table[area];

	mutex_lock(&table_lock);
	*entry = (struct entry){ .used = true, .file = *file, .priority = priority,
				 .settled = true };
	snprintf(entry->path, sizeof(entry->path), "%s", path);
	mutex_unlock(&table_lock);
}

static void clear_entry(uint32_t area)
{
	mutex_lock(&table_lock);
	table[area].used = false;
	mutex_unlock(&table_lock);
	disk_file_close(&table[area].file);
}

static int make_area(const struct swap_on_request *request, struct disk_file *file,
		     uint32_t *area, char why[SWAP_WHY_BYTES])
{
	struct swap_area_request want = { .nr_slots = file->bytes >> PAGE_SHIFT,
					  .priority = request->priority };
	int r = swap_area_add(&want, area);

	if (r == -ENOSPC)
		return refuse_swap(why, r, "there are %d swap areas already", SWAP_AREAS_MAX);
	if (r)
		return refuse_swap(why, r,
				   "the reserve has no room for the tables of %s: %llu KiB wanted",
				   request->path,
				   (unsigned long long)(want.nr_slots * SLOT_RECORD_BYTES >> 10));
	return 0;
}

static struct disk_file_request disk_request(const struct swap_on_request *request)
{
	return (struct disk_file_request){
		.path = request->path,
		.bytes = request->bytes,
		.bytes_min = SWAP_AREA_BYTES_MIN,
		.bytes_max = swap_slots_max() << PAGE_SHIFT,
		.magic = header_magic,
	};
}

int swap_look(const struct swap_on_request *request, char why[SWAP_WHY_BYTES])
{
	struct disk_file_request look = disk_request(request);
	const char *reason;
	int         r;

	look.bytes_max = UINT64_MAX; /* of a broker that runs */
	r = disk_file_look(&look, &reason);
	return r ? refuse_swap(why, r, "%.180s %s", request->path, reason) : 0;
}

static int open_area(const struct swap_on_request *request, struct disk_file *file,
		     char why[SWAP_WHY_BYTES])
{
	struct disk_file_request open = disk_request(request);
	const char *reason;
	int         r;

	if (strlen(request->path) >= SWAP_PATH_BYTES)
		return refuse_swap(why, -ENAMETOOLONG, "the path has more than %d bytes",
				   SWAP_PATH_BYTES - 1);
	r = disk_file_open(&open, file, &reason);
	return r ? refuse_swap(why, r, "%.180s %s", request->path, reason) : 0;
}

static void say_on(uint32_t area, const struct disk_file *file)
{
	int refused = swap_io_engine() == DISK_URING ? disk_uring_probe() : 0;
	bool threads = refused || swap_io_engine() == DISK_THREADS;

	log_emit(LOG_NOTICE, "swap_on", "%s: %llu MiB, priority %d, %s, through %s%s%s",
		 table[area].path, (unsigned long long)(file->bytes >> 20), table[area].priority,
		 file->is_device ? "device" : "file", threads ? "threads" : "io_uring",
		 refused ? "; io_uring is refused: " : "", refused ? strerror(-refused) : "");
}

static int keep_area(uint32_t area, int fd)
{
	int r = keep_fd(KEEP_SWAP + area, fd);

	if (r)
		return r;
	r = make_record(area);
	if (r)
		keep_drop(KEEP_SWAP + area);
	return r;
}

/* Nothing of it has been used. */
static void give_up_area(uint32_t area)
{
	disk_file_undo(&table[area].file, table[area].path);
	clear_entry(area);
	swap_area_remove(area);
}

static int swap_on_locked(const struct swap_on_request *request, char why[SWAP_WHY_BYTES])
{
	struct disk_file file;
	uint32_t         area;
	int              r = open_area(request, &file, why);

	if (r)
		return r;
	r = make_area(request, &file, &area, why);
	if (r) {
		disk_file_undo(&file, request->path);
		return r;
	}
	fill_entry(area, request->path, &file, request->priority);
	r = write_header(area, file.bytes >> PAGE_SHIFT);
	if (r) {
		give_up_area(area);
		return refuse_swap(why, r, "%.180s can't be written to: %s", request->path,
				   strerror(-r));
	}
	r = keep_area(area, file.kept);
	if (r) {
		give_up_area(area);
		return refuse_swap(why, r, "%.180s can't be kept for a restart: %s", request->path,
				   strerror(-r));
	}
	say_on(area, &file);
	swap_area_accept(area, true);
	tell_capacity();
	return 0;
}

int swap_on(const struct swap_on_request *request, char why[SWAP_WHY_BYTES])
{
	int r;

	mutex_lock(&changes);
	r = swap_on_locked(request, why);
	mutex_unlock(&changes);
	return r;
}

/* What the last daemon was writing goes on; who reads needn't care. */
static int take_up_file(struct disk_file *file, int kept, bool *settled)
{
	int r = disk_file_resume(file, kept);

	if (!r)
		r = disk_file_try_settle(file);
	*settled = !r;
	return r == -EAGAIN ? 0 : r;
}

/* Of what is kept, or recorded, and not both. */
static int forget_area(uint32_t area, struct swap_record *record, int fd)
{
	record_free(RECORD_SWAP, record);
	if (fd >= 0) {
		keep_drop(KEEP_SWAP + area);
		close(fd);
	}
	return -ENOENT;
}

/* Who has nothing there lives on. */
static void take_up_dead(uint32_t area, int error)
{
	atomic_store(&table[area].state, SWAP_DEAD);
	log_emit(LOG_ERR, "swap_dead",
		 "%s: it can't be opened and locked once more (%s); nothing more is written there",
		 table[area].path, strerror(-error));
}

int swap_on_resumed(uint32_t area, int fd, char why[SWAP_WHY_BYTES])
{
	struct swap_record      *record = record_of(area);
	struct disk_file         file;
	struct swap_area_request want = { .resumed = true, .number = area };
	bool                     settled;
	int                      r, unsure;

	if (!record || fd < 0)
		return forget_area(area, record, fd);
	want.nr_slots = record->nr_slots;
	want.priority = (int16_t)record->priority;
	r = swap_area_add(&want, &area);
	if (r)
		return refuse_swap(why, r, "swap area %u can't be taken up again: %s", area,
				   strerror(-r));
	unsure = take_up_file(&file, fd, &settled);
	file.bytes = record->nr_slots << PAGE_SHIFT;
	file.is_device = record->is_device;
	fill_entry(area, record->path, &file, (int16_t)record->priority);
	table[area].record = record;
	atomic_store(&table[area].settled, settled);
	if (unsure)
		take_up_dead(area, unsure);
	return 0;
}

void swap_area_settle(uint32_t area)
{
	struct entry *entry = &table[area];

	if (atomic_load_explicit(&entry->settled, memory_order_acquire))
		return;
	disk_file_settle(&entry->file);
	atomic_store(&entry->settled, true);
}

/* ---- swapoff ---- */

static bool names_file(const char *path, int fd)
{
	struct stat a, b;

	if (lstat(path, &a) || fstat(fd, &b))
		return false;
	if (S_ISBLK(a.st_mode))
		return S_ISBLK(b.st_mode) && a.st_rdev == b.st_rdev;
	return S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The file that is there, or one that was there when it became an area. */
static int find_area(const char *path)
{
	for (int i = 0; i < SWAP_AREAS_MAX; i++)
		if (table[i].used && names_file(path, table[i].file.fd))
			return i;
	for (int i = 0; i < SWAP_AREAS_MAX; i++)
		if (table[i].used && !strcmp(table[i].path, path))
			return i;
	return -ENOENT;
}

/* The promises fit, or it wouldn't have begun: what overcommits has none. */
static int refuse_rest(uint32_t area, int error, char why[SWAP_WHY_BYTES])
{
	struct swap_area_stat stat;

	swap_area_stat(area, &stat);
	return refuse_swap(why, error, "%llu KiB there couldn't be brought back: %s",
			   (unsigned long long)stat.nr_used << (PAGE_SHIFT - 10),
			   error == -ENOMEM ? "memory, or the max of a pool that overcommits, has "
					      "no room for them; raise that max, end some of its "
					      "clients, or add another area first"
					    : strerror(-error));
}

static int bring_back(uint32_t area, char why[SWAP_WHY_BYTES])
{
	const struct swap_hooks *h = atomic_load(&hooks);
	struct swap_area_stat    stat;
	int                      r = tell_capacity();

	if (r)
		return refuse_swap(why, r, "more has been promised than the reserve and the other "
					   "swap areas hold; end some clients, or add another area "
					   "first");
	r = h && h->evacuate ? h->evacuate(area) : 0;
	if (r)
		return refuse_rest(area, r, why);
	swap_area_stat(area, &stat);
	if (stat.nr_used)
		return refuse_swap(why, -EBUSY, "%llu KiB are still in use",
				   (unsigned long long)stat.nr_used << (PAGE_SHIFT - 10));
	if (atomic_load(&table[area].settled))
		return 0;
	r = disk_file_settle_soon(&table[area].file);
	return r == -EAGAIN ? refuse_swap(why, -EBUSY, "a daemon that has ended is still writing "
						       "there")
			    : 0;
}

static int swap_off_locked(const char *path, char why[SWAP_WHY_BYTES])
{
	int area = find_area(path);
	int state, r;

	if (area < 0)
		return refuse_swap(why, area, "%.180s is not a swap area", path);
	state = atomic_exchange(&table[area].state, SWAP_LEAVING);
	swap_area_accept((uint32_t)area, false);
	r = bring_back((uint32_t)area, why);
	if (r) {
		atomic_store(&table[area].state, state);
		swap_area_accept((uint32_t)area, state != SWAP_DEAD);
		tell_capacity();
		return r;
	}
	record_free(RECORD_SWAP, table[area].record);
	swap_area_remove((uint32_t)area);
	log_emit(LOG_NOTICE, "swap_off", "%s", table[area].path);
	keep_drop(KEEP_SWAP + (uint32_t)area);
	clear_entry((uint32_t)area);
	return 0;
}

int swap_off(const char *path, char why[SWAP_WHY_BYTES])
{
	int r;

	mutex_lock(&changes);
	r = swap_off_locked(path, why);
	mutex_unlock(&changes);
	return r;
}

/* ---- what goes wrong ---- */

static bool is_gone(int error)
{
	return error == -ENODEV || error == -ENXIO || error == -ESHUTDOWN;
}

static void set_state(uint32_t area, enum swap_state to, int error)
{
	static const char *const events[] = { [SWAP_DEGRADED] = "swap_degraded",
					      [SWAP_DEAD] = "swap_dead" };
	int                      seen = atomic_load(&table[area].state);

	do {
		if (seen >= (int)to)
			return;
	} while (!atomic_compare_exchange_weak(&table[area].state, &seen, (int)to));
	log_emit(LOG_ERR, events[to], "%s: %s; %s", table[area].path, strerror(-error),
		 to == SWAP_DEAD ? "nothing more is written there"
				 : "blocks that can't be written are left out");
	if (to == SWAP_DEAD) {
		swap_area_accept(area, false);
		tell_capacity();
	}
}

void swap_area_fault(uint32_t area, enum swap_fault fault, int error)
{
	uint64_t nr = atomic_fetch_add(&table[area].errors[fault], 1) + 1;

	if (fault == SWAP_READ_FAILED)
		log_emit_limited(LOG_ERR, "swap_read_error", "%s: %s", table[area].path,
				 strerror(-error));
	if (fault == SWAP_CHECKSUM_WRONG)
		log_emit_limited(LOG_WARNING, "swap_checksum",
				 "%s: a block is not what was written there", table[area].path);
	if (is_gone(error) || (fault == SWAP_WRITE_FAILED && nr >= ERRORS_MAX))
		set_state(area, SWAP_DEAD, error);
	else if (fault == SWAP_WRITE_FAILED)
		set_state(area, SWAP_DEGRADED, error);
}

void swap_area_repeat(uint32_t area, bool write, uint64_t bytes, int error)
{
	log_emit_limited(LOG_WARNING, "swap_repeat",
			 "%s: %s of %llu KiB failed (%s) and is made again block by block",
			 table[area].path, write ? "a write" : "a read",
			 (unsigned long long)bytes >> 10, strerror(-error));
}

/* ---- the rest ---- */

int swap_area_fd(uint32_t area)
{
	return table[area].file.fd;
}

bool swap_area_report(uint32_t area, struct swap_report *out)
{
	const struct entry   *entry = &table[area];
	struct swap_area_stat stat;
	bool                  used;

	if (area >= SWAP_AREAS_MAX || !swap_area_stat(area, &stat))
		return false;
	mutex_lock(&table_lock);
	used = entry->used;
	*out = (struct swap_report){
		.is_device = entry->file.is_device,
		.state = (enum swap_state)atomic_load(&entry->state),
		.priority = entry->priority,
		.bytes = (stat.nr_slots - 1) << PAGE_SHIFT,
		.used = stat.nr_used << PAGE_SHIFT,
		.bad = stat.nr_bad << PAGE_SHIFT,
		.write_errors = entry->errors[SWAP_WRITE_FAILED],
		.read_errors = entry->errors[SWAP_READ_FAILED],
		.checksum_errors = entry->errors[SWAP_CHECKSUM_WRONG],
	};
	memcpy(out->path, entry->path, sizeof(out->path));
	mutex_unlock(&table_lock);
	return used;
}

void swap_areas_init(void)
{
	mutex_init(&changes, RANK_SWAP_CHANGES, "swapon");
	mutex_init(&table_lock, RANK_LEAF, "swap table");
}

void swap_areas_fini(void)
{
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++)
		if (table[i].used)
			clear_entry(i);
	mutex_fini(&changes);
	mutex_fini(&table_lock);
}
