/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_verbs - sessions and verbs without memory behind them
 *
 * Locking     gate_lock for the gate, upcall_lock for what ipc installed; counters are atomic.
 */
#include "lib/fake_verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "client/latency.h"
#include "client/pressure.h"
#include "client/report.h"
#include "proto/methods.h"

struct fake_counts fake_counts;
uint64_t fake_suspect;

struct session {
	atomic_uint refs;
	atomic_bool ended;
	uint64_t    id;
};

static atomic_int      refused_code, refused_map;
static atomic_uint     nr_again;
static atomic_bool     offers;
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  gate_opened = PTHREAD_COND_INITIALIZER;
static bool            gate_closed;

static pthread_mutex_t          upcall_lock = PTHREAD_MUTEX_INITIALIZER;
static const struct upcall_ops *installed_ops;
static void                    *installed_context;

void fake_verbs_reset(void)
{
	memset(&fake_counts, 0, sizeof(fake_counts));
	fake_refuse_sessions(0);
	fake_refuse_maps(0);
	fake_ask_again(0);
	fake_gate(false);
	pthread_mutex_lock(&upcall_lock);
	installed_ops = NULL;
	pthread_mutex_unlock(&upcall_lock);
}

void fake_refuse_sessions(int code)
{
	atomic_store(&refused_code, code);
}

void fake_refuse_maps(int code)
{
	atomic_store(&refused_map, code);
}

void fake_ask_again(unsigned int nr)
{
	atomic_store(&nr_again, nr);
}

void fake_gate(bool closed)
{
	pthread_mutex_lock(&gate_lock);
	gate_closed = closed;
	pthread_cond_broadcast(&gate_opened);
	pthread_mutex_unlock(&gate_lock);
}

const struct upcall_ops *fake_upcalls(void **context)
{
	const struct upcall_ops *ops;

	pthread_mutex_lock(&upcall_lock);
	ops = installed_ops;
	*context = installed_context;
	pthread_mutex_unlock(&upcall_lock);
	return ops;
}

int refuse(struct refusal *why, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return code;
}

/* ---- sessions ---- */

int session_new(const struct peer *peer, struct session **out, struct refusal *why)
{
	int             code = atomic_load(&refused_code);
	struct session *s;

	if (code)
		return refuse(why, code, "the fake refuses %s", peer->name);
	s = calloc(1, sizeof(*s));
	CHECK(s);
	atomic_init(&s->refs, 1);
	s->id = 1 + atomic_fetch_add(&fake_counts.sessions_new, 1);
	*out = s;
	return 0;
}

void session_get(struct session *s)
{
	atomic_fetch_add(&s->refs, 1);
}

void session_put(struct session *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	atomic_fetch_add(&fake_counts.sessions_freed, 1);
	free(s);
}

uint64_t session_id(const struct session *s)
{
	return s->id;
}

void session_cut(struct session *s, int pidfd, int upcalls)
{
	(void)s;
	(void)pidfd;
	if (upcalls >= 0)
		close(upcalls);
}

void session_end(struct session *s, const char *reason)
{
	(void)reason;
	CHECK(!atomic_exchange(&s->ended, true));
	atomic_fetch_add(&fake_counts.sessions_ended, 1);
}

void session_set_upcalls(struct session *s, const struct upcall_ops *ops, void *context)
{
	(void)s;
	pthread_mutex_lock(&upcall_lock);
	installed_ops = ops;
	installed_context = context;
	pthread_mutex_unlock(&upcall_lock);
}

int session_fault_log_fd(struct session *s)
{
	int fd = memfd_create("fake-fault-log", MFD_CLOEXEC);

	(void)s;
	return fd < 0 ? -errno : fd;
}

int session_keep(struct session *s, int sock)
{
	return 0;
}

int session_keep_upcalls(struct session *s, int sock)
{
	return 0;
}

void session_count_upcall(struct session *s, uint64_t id)
{
}

bool session_is_attached(struct session *s)
{
	return true;
}

void session_work(struct session *s, uint64_t request)
{
	(void)s;
	(void)request;
}

uint32_t session_request_deaths(const struct session *s, uint64_t request)
{
	(void)s;
	return request == fake_suspect ? REQUEST_DEATHS_MAX : 0;
}

void session_count_request(struct session *s)
{
	(void)s;
	atomic_fetch_add(&fake_counts.requests, 1);
}

int session_attach(struct session *s, const struct attach_args *args, struct refusal *why)
{
	struct stat file;

	(void)s;
	/* A pipe is a test's descriptor of the wrong kind. */
	if (!fstat(args->uffd, &file) && S_ISFIFO(file.st_mode))
		return refuse(why, -EPROTO, "a pipe");
	atomic_fetch_add(&fake_counts.attached, 1);
	close(args->uffd);
	return 0;
}

/* ---- verbs ---- */

static void seen(const struct session *s)
{
	CHECK(s);
	if (atomic_load(&s->ended))
		atomic_fetch_add(&fake_counts.after_end, 1);
}

static void seen_slow(const struct session *s)
{
	seen(s);
	atomic_fetch_add(&fake_counts.slow, 1);
	pthread_mutex_lock(&gate_lock);
	while (gate_closed)
		pthread_cond_wait(&gate_opened, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
}

static int check_handle(uint32_t handle, uint32_t expected, struct refusal *why)
{
	return handle == expected ? 0 : refuse(why, -EINVAL, "there is no handle %u", handle);
}

int verb_pool_open(struct session *s, const struct pool_open_args *args, struct pool_opened *out,
		   struct refusal *why)
{
	seen(s);
	if (strcmp(args->name, "forbidden") == 0)
		return refuse(why, -EACCES, "the pool forbidden is not yours");
	*out = (struct pool_opened){ .handle = FAKE_POOL, .member = FAKE_MEMBER, .key = FAKE_KEY };
	return 0;
}

int verb_pool_close(struct session *s, uint32_t handle, struct refusal *why)
{
	seen_slow(s);
	return check_handle(handle, FAKE_POOL, why);
}

int verb_pool_stat(struct session *s, uint32_t handle, struct pool_stat *out, struct refusal *why)
{
	seen(s);
	memset(out, 0, sizeof(*out));
	out->committed = 4096;
	out->sessions = 3;
	return check_handle(handle, FAKE_POOL, why);
}

int verb_pool_set(struct session *s, const char *name, uint32_t set,
		  const struct pool_limits *limits, struct refusal *why)
{
	seen(s);
	return set == MMB_POOL_SET_MAX && limits->max == 4096 && !strcmp(name, "fake") ? 0
	       : refuse(why, -EINVAL, "other limits than the fake's");
}

int verb_pool_create(struct session *s, const struct pool_create_args *args, struct refusal *why)
{
	seen(s);
	return args->pool.limits.max == 4096 && args->uid == 77 ? 0
	       : refuse(why, -EINVAL, "another pool than the fake's");
}

int verb_trim(struct session *s, const char *name, uint64_t bytes, uint64_t *freed,
	      struct refusal *why)
{
	seen(s);
	*freed = bytes;
	return strcmp(name, "fake") ? refuse(why, -ENOENT, "no pool %s", name) : 0;
}

int verb_pool_rm(struct session *s, const char *name, bool force, struct refusal *why)
{
	seen(s);
	return force ? 0 : refuse(why, -ENOTEMPTY, "%s isn't empty", name);
}

int verb_arena_open(struct session *s, uint32_t handle, uint32_t first, struct arena_opened *out,
		    struct refusal *why)
{
	seen(s);
	if (check_handle(handle, FAKE_POOL, why))
		return -EINVAL;
	out->total = 5;
	for (out->nr = 0; out->nr < ARENA_WINDOWS && first + out->nr < out->total; out->nr++) {
		out->windows[out->nr] = (struct arena_window){
			.address = FAKE_ADDRESS + ((uint64_t)(first + out->nr) << 32),
			.length = 1 << 30,
			.node = first + out->nr,
			.fd = session_fault_log_fd(s),
		};
	}
	return 0;
}

int verb_pages_alloc(struct session *s, const struct pages_args *args, uint32_t *got,
		     struct refusal *why)
{
	seen_slow(s);
	if (atomic_load(&nr_again)) {
		atomic_fetch_sub(&nr_again, 1);
		return -EAGAIN;
	}
	for (*got = 0; *got < args->nr; (*got)++)
		args->addresses[*got] = FAKE_ADDRESS + ((uint64_t)*got << (12 + args->order % 16));
	return check_handle(args->pool, FAKE_POOL, why);
}

int verb_pages_free(struct session *s, const struct pages_args *args, struct refusal *why)
{
	seen(s);
	return check_handle(args->pool, FAKE_POOL, why);
}

int verb_slab_map(struct session *s, uint32_t handle, uint32_t first, struct slab_mapped *out,
		  struct refusal *why)
{
	seen(s);
	if (check_handle(handle, FAKE_POOL, why))
		return -EINVAL;
	out->total = 5;
	for (out->nr = 0; out->nr < ARENA_WINDOWS && first + out->nr < out->total; out->nr++)
		out->windows[out->nr] = (struct slab_window){
			.address = FAKE_ADDRESS + ((uint64_t)(first + out->nr) << 32),
			.length = 1 << 30,
			.fd = session_fault_log_fd(s),
		};
	return 0;
}

int verb_slab_lease(struct session *s, const struct lease_args *args, uint32_t *got,
		    struct refusal *why)
{
	if (args->at_once)
		seen(s);
	else
		seen_slow(s);
	if (!args->nr || args->nr > MMB_PAGES_BATCH)
		return refuse(why, -EINVAL, "%u leases in one request", args->nr);
	if (atomic_load(&nr_again)) {
		atomic_fetch_sub(&nr_again, 1);
		return -EAGAIN;
	}
	for (*got = 0; *got < args->nr; (*got)++)
		args->addresses[*got] = FAKE_ADDRESS + ((uint64_t)*got << 16) * args->units;
	return check_handle(args->pool, FAKE_POOL, why);
}

void fake_offer_pools(bool offered)
{
	atomic_store(&offers, offered);
}

int verb_pool_offer(struct session *s, const struct request_past *past, struct offered *out)
{
	seen(s);
	if (!atomic_load(&offers))
		return -EAGAIN;
	*out = (struct offered){
		.opened = { FAKE_POOL, FAKE_MEMBER, FAKE_KEY },
		.arena = { FAKE_ADDRESS, 1 << 30, true, 0, session_fault_log_fd(s) },
		.map_fd = session_fault_log_fd(s),
		.unit = FAKE_ADDRESS + past->id * 65536,
	};
	return 0;
}

void verb_slab_leased(struct session *s, uint32_t pool)
{
	(void)s;
	(void)pool;
}

int verb_slab_return(struct session *s, const struct slab_return_args *args, struct refusal *why)
{
	uint64_t units = 0;

	for (uint32_t i = 0; i < args->nr; i++)
		units += args->units[i];
	if (units > FAKE_MANY_UNITS)
		seen_slow(s);
	else
		seen(s);
	return check_handle(args->pool, FAKE_POOL, why);
}

int verb_cache_open(struct session *s, const struct cache_open_args *args,
		    struct cache_opened *out, struct refusal *why)
{
	seen(s);
	*out = (struct cache_opened){ .cache = 1,
				      .object = args->object,
				      .align = args->align,
				      .flags = args->flags,
				      .created = true };
	return check_handle(args->pool, FAKE_POOL, why);
}

int verb_cache_close(struct session *s, uint32_t pool, uint32_t cache, struct refusal *why)
{
	seen(s);
	if (cache != 1)
		return refuse(why, -EBADF, "there is no cache %u", cache);
	return check_handle(pool, FAKE_POOL, why);
}

int verb_region_open(struct session *s, const struct region_open_args *args,
		     struct region_opened *out, struct refusal *why)
{
	if (args->flags & 24)
		seen_slow(s);
	else
		seen(s);
	if (check_handle(args->pool, FAKE_POOL, why))
		return -EINVAL;
	*out = (struct region_opened){
		.handle = FAKE_REGION,
		.page_size = 4096,
		.flags = args->flags,
		.address = FAKE_ADDRESS,
		.length = args->length,
		.created = true,
		.fd = session_fault_log_fd(s),
		.base_fd = -1,
	};
	return 0;
}

bool frames_settling(void)
{
	return false;
}

bool frames_at_rest(void)
{
	return false;
}

void frames_settle(void)
{
}

bool frames_idle(void)
{
	return false;
}

bool verb_region_release(struct session *s, const struct region_open_args *args)
{
	(void)args;
	seen(s);
	return false;
}

bool verb_clone_release(struct session *s, const struct region_clone_request *want)
{
	(void)want;
	seen_slow(s);
	return false;
}

int verb_region_window(struct session *s, uint32_t handle, uint64_t address, struct refusal *why)
{
	(void)address;
	seen(s);
	return check_handle(handle, FAKE_REGION, why);
}

int verb_region_close(struct session *s, uint32_t handle, struct refusal *why)
{
	seen(s);
	return check_handle(handle, FAKE_REGION, why);
}

int verb_region_unmake(struct session *s, uint32_t handle, struct refusal *why)
{
	return verb_region_close(s, handle, why);
}

int verb_region_clone(struct session *s, const struct region_clone_request *want,
		      uint32_t *handles, struct refusal *why)
{
	seen_slow(s);
	for (uint32_t i = 0; i < want->nr; i++) {
		if (check_handle(want->clones[i].region, FAKE_REGION, why))
			return -EBADF;
		handles[i] = FAKE_REGION;
	}
	return 0;
}

int verb_region_rollback(struct session *s, const struct region_rollback_args *args, bool *poisoned,
			 struct refusal *why)
{
	seen_slow(s);
	*poisoned = false;
	return check_handle(args->region, FAKE_REGION, why);
}

int verb_region_map(struct session *s, uint32_t handle, struct region_opened *out,
		    struct refusal *why)
{
	seen(s);
	if (check_handle(handle, FAKE_REGION, why))
		return -EBADF;
	if (atomic_load(&refused_map))
		return atomic_load(&refused_map);
	*out = (struct region_opened){
		.handle = FAKE_REGION,
		.page_size = 4096,
		.address = FAKE_ADDRESS,
		.length = 4096,
		.fd = session_fault_log_fd(s),
		.base_fd = -1,
	};
	return 0;
}

int verb_region_unlink(struct session *s, const struct region_unlink_args *args,
		       struct refusal *why)
{
	seen(s);
	return check_handle(args->pool, FAKE_POOL, why);
}

int verb_region_advise(struct session *s, const struct region_range_args *args,
		       struct refusal *why)
{
	seen_slow(s);
	return check_handle(args->region, FAKE_REGION, why);
}

int verb_region_lock(struct session *s, const struct region_range_args *args, struct refusal *why)
{
	seen_slow(s);
	return check_handle(args->region, FAKE_REGION, why);
}

int verb_region_unlock(struct session *s, const struct region_range_args *args,
		       struct refusal *why)
{
	seen_slow(s);
	return check_handle(args->region, FAKE_REGION, why);
}

int verb_region_stat(struct session *s, uint32_t handle, struct region_stat *out,
		     struct refusal *why)
{
	seen(s);
	memset(out, 0, sizeof(*out));
	out->page_size = 4096;
	out->faults = 11;
	return check_handle(handle, FAKE_REGION, why);
}

int verb_named_clone(struct session *s, const struct named_clone_args *args, struct refusal *why)
{
	seen_slow(s);
	return strcmp(args->pool, "fake") ? refuse(why, -ENOENT, "no pool %s", args->pool) : 0;
}

bool verb_named_release(struct session *s, const struct named_clone_args *args)
{
	(void)args;
	seen_slow(s);
	return false;
}

int verb_named_rollback(struct session *s, const char *pool, const char *region,
			const char *snapshot, struct refusal *why)
{
	seen_slow(s);
	return strcmp(pool, "fake") ? refuse(why, -ENOENT, "no pool %s", pool) : 0;
}

int verb_named_unlink(struct session *s, const char *pool, const char *region,
		      struct refusal *why)
{
	seen(s);
	return strcmp(pool, "fake") ? refuse(why, -ENOENT, "no pool %s", pool) : 0;
}

bool region_stat_is_slow(struct session *s, uint32_t handle)
{
	return false;
}

/* ---- reports ---- */

void report_status(struct status_report *out)
{
	memset(out, 0, sizeof(*out));
	out->reserve_mode = "account";
	out->topology = "fake";
	out->pools = FAKE_NR_POOLS;
	out->nr_stocks = ARRAY_SIZE(out->stocks);
	for (uint32_t i = 0; i < out->nr_stocks; i++)
		out->stocks[i] = (struct stock_report){ .node = i, .stock = "base",
							.reserve = UINT64_MAX };
}

/* Entries of the largest size, so that a page of them is as big as it gets. */
static void fill_name(char name[NAME_MAX_BYTES + 1])
{
	memset(name, 'n', NAME_MAX_BYTES);
	name[NAME_MAX_BYTES] = '\0';
}

/* Ids run from 1 to FAKE_NR_POOLS. */
static uint32_t page_of(uint64_t after, uint32_t max, uint64_t *next)
{
	uint64_t left = after < FAKE_NR_POOLS ? FAKE_NR_POOLS - after : 0;
	uint32_t nr = min_t(uint32_t, left, max);

	*next = nr < left ? after + nr : 0;
	return nr;
}

uint32_t report_pools(uint64_t after, struct pool_report *out, uint32_t max, uint64_t *next)
{
	uint32_t nr = page_of(after, max, next);

	for (uint32_t i = 0; i < nr; i++) {
		memset(&out[i], 0xff, sizeof(out[i]));
		out[i].id = after + i + 1;
		out[i].is_private = true;
		fill_name(out[i].name);
	}
	return nr;
}

uint32_t report_sessions(uint64_t after, struct session_report *out, uint32_t max, uint64_t *next)
{
	uint32_t nr = page_of(after, max, next);

	for (uint32_t i = 0; i < nr; i++) {
		memset(&out[i], 0xff, sizeof(out[i]));
		out[i].id = after + i + 1;
		out[i].user_mode_only = true;
		out[i].state = "ending";
		fill_name(out[i].name);
	}
	return nr;
}

uint32_t report_regions(uint64_t after, const char *pool, struct region_report *out, uint32_t max,
			uint64_t *next)
{
	uint32_t nr = page_of(after, max, next);

	(void)pool;
	for (uint32_t i = 0; i < nr; i++) {
		memset(&out[i], 0xff, sizeof(out[i]));
		out[i].id = after + i + 1;
		out[i].hugetlb = true;
		fill_name(out[i].name);
		fill_name(out[i].pool);
	}
	return nr;
}

int report_check_pool(const char *pool, struct refusal *why)
{
	(void)pool, (void)why;
	return 0;
}

static char *make_text(void)
{
	char *text = malloc(FAKE_TEXT_LINES * 40 + 1), *at = text;

	CHECK(text);
	atomic_fetch_add(&fake_counts.texts, 1);
	for (int i = 0; i < FAKE_TEXT_LINES; i++)
		at += sprintf(at, "line %06d of a text that is so long..\n", i);
	return text;
}

int report_text(enum report_text what, const char *pool, char **out, struct refusal *why)
{
	(void)what;
	if (strcmp(pool, "absent") == 0)
		return refuse(why, -ENOENT, "there is no pool absent");
	*out = make_text();
	return 0;
}

int report_slabinfo(const char *pool, bool statistics, char **out, struct refusal *why)
{
	return report_text(TEXT_VMSTAT, pool, out, why);
}

int report_maps(uint64_t session, const struct peer *reader, char **out, struct refusal *why)
{
	(void)reader;
	if (session == 0)
		return refuse(why, -ENOENT, "there is no session 0");
	*out = make_text();
	return 0;
}

int report_latency(bool buckets, char **out, struct refusal *why)
{
	*out = strdup("operation\n");
	return *out ? 0 : refuse(why, -ENOMEM, "no memory");
}

int report_pressure(const char *pool, uint64_t session, char **out, struct refusal *why)
{
	*out = strdup("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
	return *out ? 0 : refuse(why, -ENOMEM, "no memory");
}

void report_verify(struct validation *v)
{
	validation_compare(v, 1, 1, "the fake's truth");
	validation_compare(v, 1, 2, "the fake's lie");
}

int report_swaps(bool details, char **out, struct refusal *why)
{
	return report_text(TEXT_VMSTAT, "", out, why);
}

int verb_swapon(const struct swapon_args *args, struct refusal *why)
{
	return strcmp(args->path, "/fake") == 0 ? 0 : refuse(why, -ENOENT, "there is no file");
}

int verb_swapoff(const char *path, struct refusal *why)
{
	return strcmp(path, "/fake") == 0 ? 0 : refuse(why, -ENOENT, "there is no such area");
}
