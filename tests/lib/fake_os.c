/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_os - files and address space of the pretended host
 *
 * Invariants  O1  file->present is the number of pages with a node, times the page size.
 *             O2  used[node][kind] is the sum over all files.
 * Locking     fake_lock; the clock is atomic.
 */
#include "lib/fake_os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/inject.h"
#include "base/types.h"
#include "lib/fake_os_internal.h"

enum { FDS_MAX = 8192, START_NS = 1000000000 };

struct span {
	uintptr_t         start;
	uint64_t          length;
	struct fake_file *file; /* of a mapping */
};

struct span_list {
	struct span *items;
	uint32_t     nr, room;
};

static struct {
	struct fake_file *files[FDS_MAX]; /* by descriptor */
	struct fake_file *orphans;          /* without descriptors, kept by mappings */
	struct span_list  reserved, mapped, locked;
	uint64_t          limit[MAX_NUMNODES][2];
	uint64_t          used[MAX_NUMNODES][2];
	_Atomic uint64_t  now;
} host;

pthread_mutex_t      fake_lock = PTHREAD_MUTEX_INITIALIZER;
struct fake_os_calls fake_calls;

/* ---- lists of address ranges ---- */

static void span_add(struct span_list *list, const struct span *s)
{
	if (list->nr == list->room) {
		list->room = list->room ? list->room * 2 : 64;
		list->items = realloc(list->items, list->room * sizeof(*s));
		CHECK(list->items);
	}
	list->items[list->nr++] = *s;
}

/* Takes [start, + length) out of every span, cutting where needed. */
static void span_cut(struct span_list *list, uintptr_t start, uint64_t length)
{
	for (uint32_t i = list->nr; i-- > 0;) {
		struct span s = list->items[i], low = s, high = s;

		if (s.start >= start + length || s.start + s.length <= start)
			continue;
		list->items[i] = list->items[--list->nr];
		if (s.start < start) {
			low.length = start - s.start;
			span_add(list, &low);
		}
		if (s.start + s.length > start + length) {
			high.start = start + length;
			high.length = s.start + s.length - high.start;
			span_add(list, &high);
		}
	}
}

static bool span_covers(const struct span_list *list, uintptr_t start, uint64_t length)
{
	for (uint32_t i = 0; i < list->nr; i++)
		if (list->items[i].start <= start &&
		    start + length <= list->items[i].start + list->items[i].length)
			return true;
	return false;
}

static uint64_t span_bytes(const struct span_list *list)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < list->nr; i++)
		bytes += list->items[i].length;
	return bytes;
}

/* ---- files ---- */

struct fake_file *fake_file_of(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? host.files[fd] : NULL;
}

bool fake_page_present(const struct fake_file *file, uint64_t offset)
{
	return file->node[offset / file->page] != 0;
}

static struct fake_file *file_new(const char *name, uint64_t bytes, unsigned flags)
{
	struct fake_file *file = calloc(1, sizeof(*file));
	uint64_t          nr;

	CHECK(file);
	file->bytes = bytes;
	file->page = flags & OS_HUGETLB ? PAGEBLOCK_SIZE : PAGE_SIZE;
	file->backing = memfd_create(name, MFD_CLOEXEC);
	CHECK(file->backing >= 0 && ftruncate(file->backing, (off_t)bytes) == 0);
	nr = round_up(bytes / file->page, PAGE_SIZE);
	file->node = mmap(NULL, nr, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(file->node != MAP_FAILED);
	return file;
}

static int fd_new(struct fake_file *file)
{
	int fd = fcntl(file->backing, F_DUPFD_CLOEXEC, 3);

	CHECK(fd >= 0 && fd < FDS_MAX);
	host.files[fd] = file;
	file->nr_fds++;
	return fd;
}

static void set_absent(struct fake_file *file, uint64_t index)
{
	uint8_t node = file->node[index];

	if (!node)
		return;
	file->node[index] = 0;
	file->present -= file->page;
	host.used[node - 1][file->page != PAGE_SIZE] -= file->page;
}

static void set_present(struct fake_file *file, uint64_t index, int node)
{
	if (file->node[index])
		return;
	file->node[index] = (uint8_t)(node + 1);
	file->present += file->page;
	file->high = max_t(uint64_t, file->high, index + 1);
	host.used[node][file->page != PAGE_SIZE] += file->page;
}

static bool is_mapped(const struct fake_file *file)
{
	for (uint32_t i = 0; i < host.mapped.nr; i++)
		if (host.mapped.items[i].file == file)
			return true;
	return false;
}

static void file_free(struct fake_file *file)
{
	for (uint64_t i = 0; i < file->high; i++)
		set_absent(file, i);
	fake_uffd_forget_file(file);
	munmap(file->node, round_up(file->bytes / file->page, PAGE_SIZE));
	close(file->backing);
	free(file);
}

static void free_unmapped_orphans(void)
{
	struct fake_file **link = &host.orphans;

	while (*link) {
		struct fake_file *file = *link;

		if (is_mapped(file)) {
			link = &file->next_orphan;
			continue;
		}
		*link = file->next_orphan;
		file_free(file);
	}
}

static void fd_close(int fd)
{
	struct fake_file *file = host.files[fd];

	host.files[fd] = NULL;
	close(fd);
	if (--file->nr_fds)
		return;
	file->next_orphan = host.orphans;
	host.orphans = file;
	free_unmapped_orphans();
}

static bool in_length(const struct fake_file *file, uint64_t offset, uint64_t length)
{
	return file && length && offset <= file->bytes && length <= file->bytes - offset;
}

static bool in_file(const struct fake_file *file, uint64_t offset, uint64_t length)
{
	return in_length(file, offset, length) && is_aligned(offset, file->page) &&
	       is_aligned(length, file->page);
}

static int fake_memfd_new(const char *name, uint64_t bytes, unsigned flags)
{
	int fd, error = INJECT(MEMFD_NEW);

	if (error)
		return error;
	if (!bytes || bytes % (flags & OS_HUGETLB ? PAGEBLOCK_SIZE : PAGE_SIZE))
		return -EINVAL;
	pthread_mutex_lock(&fake_lock);
	fake_calls.memfd_new++;
	fd = fd_new(file_new(name, bytes, flags));
	pthread_mutex_unlock(&fake_lock);
	return fd;
}

/* Both give one more descriptor of the file; the fake doesn't tell read-only ones apart. */
static int fake_dup(int fd)
{
	int copy, error = INJECT(REOPEN);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	copy = fake_file_of(fd) ? fd_new(fake_file_of(fd)) : -EBADF;
	pthread_mutex_unlock(&fake_lock);
	return copy;
}

static void fake_close(int fd)
{
	pthread_mutex_lock(&fake_lock);
	if (fake_file_of(fd)) {
		fd_close(fd);
	} else { /* a userfaultfd, or a descriptor the test made */
		fake_uffd_forget(fd);
		close(fd);
	}
	pthread_mutex_unlock(&fake_lock);
}

static int populate_locked(struct fake_file *file, uint64_t offset, uint64_t length, int node)
{
	uint64_t first = offset / file->page, last = (offset + length) / file->page, wanted = 0;
	bool     huge = file->page != PAGE_SIZE;

	for (uint64_t i = first; i < last; i++)
		wanted += file->node[i] ? 0 : file->page;
	if (wanted > host.limit[node][huge] - min_t(uint64_t, host.used[node][huge],
						    host.limit[node][huge]))
		return huge ? -ENOSPC : -ENOMEM;
	if (fallocate(file->backing, 0, (off_t)offset, (off_t)length))
		return -errno;
	for (uint64_t i = first; i < last; i++)
		set_present(file, i, node);
	return 0;
}

static int populate(int fd, uint64_t offset, uint64_t length, int node, uint64_t *calls)
{
	struct fake_file *file;
	int               error = INJECT(POPULATE);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	(*calls)++;
	file = fake_file_of(fd);
	if (!in_file(file, offset, length) || node >= MAX_NUMNODES)
		error = -EINVAL;
	else
		error = populate_locked(file, offset, length, node == OS_NODE_ANY ? 0 : node);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

static int fake_populate(int fd, uint64_t offset, uint64_t length, int node)
{
	return populate(fd, offset, length, node, &fake_calls.populate);
}

static int fake_populate_huge(int fd, uint64_t offset, uint64_t length, int node)
{
	if (!is_aligned(offset, PAGEBLOCK_SIZE) || !is_aligned(length, PAGEBLOCK_SIZE))
		return -EINVAL;
	return populate(fd, offset, length, node, &fake_calls.populate_huge);
}

static int fake_populate_mapped(int fd, uint64_t offset, uint64_t length, int node, void *mapped)
{
	bool covered;

	pthread_mutex_lock(&fake_lock);
	covered = span_covers(&host.mapped, (uintptr_t)mapped, length);
	pthread_mutex_unlock(&fake_lock);
	CHECK(covered);
	return populate(fd, offset, length, node, &fake_calls.populate_mapped);
}

static int fake_populate_cleared(int fd, uint64_t offset, uint64_t length, int node)
{
	return populate(fd, offset, length, node, &fake_calls.populate_cleared);
}

static int punch_locked(int fd, uint64_t offset, uint64_t length)
{
	struct fake_file *file = fake_file_of(fd);

	if (!in_file(file, offset, length))
		return -EINVAL;
	if (fallocate(file->backing, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)length))
		return -errno;
	for (uint64_t i = offset / file->page; i < (offset + length) / file->page; i++)
		set_absent(file, i);
	fake_uffd_forget_pages(file, offset, length);
	return 0;
}

static int fake_punch(int fd, uint64_t offset, uint64_t length)
{
	int error = INJECT(PUNCH);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.punch++;
	error = punch_locked(fd, offset, length);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

static int64_t fake_allocated(int fd)
{
	int64_t bytes = INJECT(ALLOCATED);

	if (bytes)
		return bytes;
	pthread_mutex_lock(&fake_lock);
	bytes = fake_file_of(fd) ? (int64_t)fake_file_of(fd)->present : -EBADF;
	pthread_mutex_unlock(&fake_lock);
	return bytes;
}

/* Of what is present, anything may have been touched. */
static int64_t fake_next_touched(int fd, uint64_t from)
{
	struct fake_file *file;
	int64_t           found;

	pthread_mutex_lock(&fake_lock);
	file = fake_file_of(fd);
	found = file ? -ENXIO : -EBADF;
	for (uint64_t i = file ? from / file->page : 0; file && i < file->high; i++)
		if (file->node[i]) {
			found = (int64_t)(i * file->page);
			break;
		}
	pthread_mutex_unlock(&fake_lock);
	return found;
}

static int64_t fake_next_present(int fd, uint64_t from)
{
	int64_t found = INJECT(NEXT_PRESENT);

	return found ? found : fake_next_touched(fd, from);
}

static int fake_write(int fd, uint64_t offset, const void *from, uint64_t length)
{
	struct fake_file *file;
	int               error = 0;

	pthread_mutex_lock(&fake_lock);
	file = fake_file_of(fd);
	if (!in_length(file, offset, length))
		error = -EIO;
	else if (file->page == PAGE_SIZE) /* writing makes the pages, as in shared memory */
		error = populate_locked(file, round_down(offset, PAGE_SIZE),
					round_up(offset + length, PAGE_SIZE) -
						round_down(offset, PAGE_SIZE), 0);
	if (!error && pwrite(file->backing, from, length, (off_t)offset) != (ssize_t)length)
		error = -EIO;
	pthread_mutex_unlock(&fake_lock);
	return error;
}

static int fake_read(int fd, uint64_t offset, void *to, uint64_t length)
{
	struct fake_file *file;
	int               error = 0;

	pthread_mutex_lock(&fake_lock);
	file = fake_file_of(fd);
	if (!in_length(file, offset, length) || /* the kernel reads any part of a huge page */
	    pread(file->backing, to, length, (off_t)offset) != (ssize_t)length)
		error = -EIO;
	pthread_mutex_unlock(&fake_lock);
	return error;
}

static int copy_locked(const struct os_copy *c)
{
	struct fake_file *from = fake_file_of(c->from), *to = fake_file_of(c->to);
	ssize_t           length = (ssize_t)c->length;
	char             *bytes;
	int               error;

	if (!in_file(from, c->from_offset, c->length) || !in_file(to, c->offset, c->length))
		return -EINVAL;
	error = populate_locked(to, c->offset, c->length, c->node == OS_NODE_ANY ? 0 : c->node);
	if (error)
		return error;
	bytes = malloc(c->length);
	CHECK(bytes && pread(from->backing, bytes, c->length, (off_t)c->from_offset) == length &&
	      pwrite(to->backing, bytes, c->length, (off_t)c->offset) == length);
	free(bytes);
	return 0;
}

static int fake_copy(const struct os_copy *c)
{
	int error = INJECT(POPULATE);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.copy++;
	error = copy_locked(c);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

static bool fake_has_hole(int fd, uint64_t offset, uint64_t length)
{
	struct fake_file *file;
	bool              hole = false;

	pthread_mutex_lock(&fake_lock);
	fake_calls.has_hole++;
	file = fake_file_of(fd);
	for (uint64_t at = offset; file && at < offset + length; at += file->page)
		hole |= at / file->page >= file->high || !file->node[at / file->page];
	pthread_mutex_unlock(&fake_lock);
	return hole;
}

/* ---- address space ---- */

static int fake_reserve(void *hint, uint64_t length, void **out)
{
	int         error = INJECT(RESERVE);
	struct span s = { .length = length };

	if (error)
		return error;
	*out = mmap(hint, length, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (hint ? MAP_FIXED_NOREPLACE : 0),
		    -1, 0);
	if (*out == MAP_FAILED)
		return -errno;
	s.start = (uintptr_t)*out;
	pthread_mutex_lock(&fake_lock);
	span_add(&host.reserved, &s);
	pthread_mutex_unlock(&fake_lock);
	return 0;
}

static int map_locked(void *address, uint64_t length, int fd, uint64_t offset)
{
	struct fake_file *file = fake_file_of(fd);
	struct span       s = { .start = (uintptr_t)address, .length = length, .file = file };

	if (!in_file(file, offset, length) || !is_aligned(s.start, file->page) ||
	    !span_covers(&host.reserved, s.start, length))
		return -EINVAL;
	if (mmap(address, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 file->backing, (off_t)offset) == MAP_FAILED)
		return -errno;
	span_cut(&host.mapped, s.start, length);
	span_add(&host.mapped, &s);
	free_unmapped_orphans();
	return 0;
}

static int fake_map(void *address, uint64_t length, int fd, uint64_t offset)
{
	int error = INJECT(MAP);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.map++;
	error = map_locked(address, length, fd, offset);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

static int unmap_locked(void *address, uint64_t length)
{
	uintptr_t start = (uintptr_t)address;

	if (!span_covers(&host.reserved, start, length))
		return -EINVAL;
	if (mmap(address, length, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	span_cut(&host.mapped, start, length);
	span_cut(&host.locked, start, length);
	free_unmapped_orphans();
	return 0;
}

static int fake_unmap(void *address, uint64_t length)
{
	int error = INJECT(UNMAP);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	fake_calls.unmap++;
	error = unmap_locked(address, length);
	pthread_mutex_unlock(&fake_lock);
	return error;
}

/* Nothing is locked really: only counted. */
static int fake_memory_lock(void *address, uint64_t length)
{
	struct span s = { .start = (uintptr_t)address, .length = length };
	int         error = INJECT(LOCK);

	if (error)
		return error;
	pthread_mutex_lock(&fake_lock);
	span_cut(&host.locked, s.start, length);
	span_add(&host.locked, &s);
	pthread_mutex_unlock(&fake_lock);
	return 0;
}

uint64_t fake_os_passing_ns(void)
{
	static _Atomic uint64_t now_ns = 10000000000ull;

	return atomic_fetch_add(&now_ns, 10000);
}

static uint64_t fake_now_ns(void)
{
	return atomic_load(&host.now);
}

const struct os_ops os_fake = {
	.memfd_new = fake_memfd_new,
	.reopen_readonly = fake_dup,
	.dup = fake_dup,
	.close = fake_close,
	.populate = fake_populate,
	.populate_huge = fake_populate_huge,
	.populate_mapped = fake_populate_mapped,
	.populate_cleared = fake_populate_cleared,
	.copy = fake_copy,
	.punch = fake_punch,
	.allocated = fake_allocated,
	.next_present = fake_next_present,
	.next_touched = fake_next_touched,
	.read = fake_read,
	.write = fake_write,
	.has_hole = fake_has_hole,
	.reserve = fake_reserve,
	.map = fake_map,
	.unmap = fake_unmap,
	.lock = fake_memory_lock,
	.uffd_continue = fake_uffd_continue,
	.uffd_wake = fake_uffd_wake,
	.uffd_poison = fake_uffd_poison,
	.uffd_poison_absent = fake_uffd_poison_absent,
	.uffd_continue_protected = fake_uffd_continue_protected,
	.uffd_protect = fake_uffd_protect,
	.uffd_unprotect = fake_uffd_unprotect,
	.uffd_read = fake_uffd_read,
	.now_ns = fake_now_ns,
};

/* ---- the test's side ---- */

static void clear_host(void)
{
	fake_uffd_reset();
	for (uint32_t i = 0; i < host.reserved.nr; i++)
		munmap((void *)host.reserved.items[i].start, host.reserved.items[i].length);
	host.reserved.nr = host.mapped.nr = host.locked.nr = 0;
	free_unmapped_orphans();
	for (int fd = 0; fd < FDS_MAX; fd++)
		if (host.files[fd])
			fd_close(fd);
	memset(host.used, 0, sizeof(host.used));
	memset(host.limit, 0xff, sizeof(host.limit));
	fake_calls = (struct fake_os_calls){ 0 };
	atomic_store(&host.now, START_NS);
}

void fake_os_install(void)
{
	pthread_mutex_lock(&fake_lock);
	clear_host();
	pthread_mutex_unlock(&fake_lock);
	os = &os_fake;
}

void fake_os_remove(void)
{
	pthread_mutex_lock(&fake_lock);
	clear_host();
	pthread_mutex_unlock(&fake_lock);
	os = &os_linux;
}

void fake_os_set_limit(int node, uint64_t base_bytes, uint64_t huge_bytes)
{
	pthread_mutex_lock(&fake_lock);
	host.limit[node][0] = base_bytes;
	host.limit[node][1] = huge_bytes;
	pthread_mutex_unlock(&fake_lock);
}

uint64_t fake_os_used(int node, bool huge)
{
	uint64_t bytes;

	pthread_mutex_lock(&fake_lock);
	bytes = host.used[node][huge];
	pthread_mutex_unlock(&fake_lock);
	return bytes;
}

void fake_topology(struct topology *out, unsigned int nr, uint64_t bytes)
{
	*out = (struct topology){ .nr_nodes = nr, .nr_cpus = nr, .source = "fake" };
	memset(out->cpu_node, -1, sizeof(out->cpu_node));
	for (unsigned int i = 0; i < nr; i++) {
		out->nodes[i].os_index = (int)i;
		out->nodes[i].bytes = bytes;
		out->nodes[i].nr_cpus = 1;
		out->cpu_node[i] = (int8_t)i;
		for (unsigned int j = 0; j < nr; j++)
			out->nodes[i].distance[j] = i == j ? 10 : 20;
	}
}

/* The first descriptor of each file stands for it. */
static bool is_first_fd(int fd)
{
	for (int other = 0; other < fd; other++)
		if (host.files[other] == host.files[fd])
			return false;
	return true;
}

void fake_os_count(struct fake_os_counts *out)
{
	*out = (struct fake_os_counts){ 0 };
	pthread_mutex_lock(&fake_lock);
	for (int fd = 0; fd < FDS_MAX; fd++)
		out->files += host.files[fd] != NULL;
	for (int node = 0; node < MAX_NUMNODES; node++)
		out->present += host.used[node][0] + host.used[node][1];
	out->reservations = host.reserved.nr;
	out->mappings = host.mapped.nr;
	out->locked = span_bytes(&host.locked);
	pthread_mutex_unlock(&fake_lock);
}

void fake_os_calls(struct fake_os_calls *out)
{
	pthread_mutex_lock(&fake_lock);
	*out = fake_calls;
	pthread_mutex_unlock(&fake_lock);
}

bool fake_os_present(int fd, uint64_t offset)
{
	return fake_os_page_node(fd, offset) != OS_NODE_ANY;
}

int fake_os_page_node(int fd, uint64_t offset)
{
	struct fake_file *file;
	int               node;

	pthread_mutex_lock(&fake_lock);
	file = fake_file_of(fd);
	CHECK(file && offset < file->bytes);
	node = (int)file->node[offset / file->page] - 1;
	pthread_mutex_unlock(&fake_lock);
	return node;
}

static uint64_t really(const struct fake_file *file)
{
	struct stat st;

	CHECK(fstat(file->backing, &st) == 0);
	return (uint64_t)st.st_blocks * 512;
}

uint64_t fake_os_allocated_really(int fd)
{
	uint64_t bytes;

	pthread_mutex_lock(&fake_lock);
	bytes = really(fake_file_of(fd));
	pthread_mutex_unlock(&fake_lock);
	return bytes;
}

void fake_os_validate(struct validation *v)
{
	uint64_t used = 0, present = 0;

	pthread_mutex_lock(&fake_lock);
	for (int fd = 0; fd < FDS_MAX; fd++) {
		struct fake_file *file = host.files[fd];

		if (!file || !is_first_fd(fd))
			continue;
		present += file->present;
		validation_compare(v, really(file), file->present,
				   "fake os: bytes of file %d (recomputed: what the kernel has)",
				   fd);
	}
	for (int node = 0; node < MAX_NUMNODES; node++) {
		used += host.used[node][0] + host.used[node][1];
		validation_expect(v, host.used[node][0] <= host.limit[node][0] &&
					     host.used[node][1] <= host.limit[node][1],
				  "fake os: node %d gave more than its limit", node);
	}
	validation_compare(v, present, used, "fake os: bytes of all files");
	pthread_mutex_unlock(&fake_lock);
}

void fake_os_conjure(int fd, uint64_t offset)
{
	struct fake_file *file;

	pthread_mutex_lock(&fake_lock);
	file = fake_file_of(fd);
	CHECK(file);
	CHECK(populate_locked(file, round_down(offset, file->page), file->page, 0) == 0);
	pthread_mutex_unlock(&fake_lock);
}

void fake_os_client_punch(int fd, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&fake_lock);
	CHECK(punch_locked(fd, offset, length) == 0);
	pthread_mutex_unlock(&fake_lock);
}

void fake_os_advance_ns(uint64_t ns)
{
	atomic_fetch_add(&host.now, ns);
}
