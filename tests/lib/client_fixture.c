/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_fixture - see client_fixture.h
 *
 * Userfaultfds  session_attach() asks uffd_accept() about the descriptor, the one question about it
 *               that doesn't go through the os table: the linker wraps it here.
 */
#include "lib/client_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "client/address.h"
#include "client/report.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/phys/node.h"
#include "mm/space/lane_watch.h"
#include "mmbroker.h"
#include "os/uffd_features.h"
#include "proto/uffd_compat.h"

enum { PID_OF_NOBODY = 0x3ffffff0, TOUCHES_MAX = 4, PATIENCE = 20 };

struct client_told client_told;
struct refusal client_why;

static uint64_t offered = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;

int __wrap_uffd_accept(int fd, uint64_t *features);
int __real_uffd_accept(int fd, uint64_t *features);

/* A fake one reads as a client's; anything else is looked at as it is. */
int __wrap_uffd_accept(int fd, uint64_t *features)
{
	struct os_uffd_event events[OS_UFFD_EVENTS];

	if (os->uffd_read(fd, events, OS_UFFD_EVENTS) < 0)
		return __real_uffd_accept(fd, features);
	*features = offered;
	return 0;
}

void client_begin(const struct client_options *options)
{
	static const struct client_options defaults;
	static const struct limits usual = {
		.sessions = CLIENT_SESSIONS,
		.sessions_per_uid = CLIENT_SESSIONS_PER_UID,
		.regions_per_session = CLIENT_REGIONS_PER_SESSION,
		.regions_per_uid = CLIENT_REGIONS_PER_UID,
		.pools_per_uid = CLIENT_POOLS_PER_UID,
		.span_per_uid = 1ull << 40,
	};
	struct space_options space = options ? options->space : defaults.space;
	struct fault_config fault = {
		.deadline_ns = space.deadline_ns ? space.deadline_ns : 1000000000,
		.can_poison = !space.cannot_poison,
		.log_fault = session_log_fault,
		.end_client = session_end_client,
	};

	log_set_level(LOG_WARNING);
	space.config = &fault;
	space.metadata = true;
	space_begin(&space);
	client_told = (struct client_told){ 0 };
	addresses_init();
	accounts_init(options && options->limits.sessions ? &options->limits : &usual);
	pool_regions_init();
	lane_watch_init();
	EXPECT_EQ(pools_init(), 0);
	EXPECT_EQ(sessions_init(), 0);
}

static bool has_settled(void *unused)
{
	regions_flush();
	return !account_total(ACCOUNT_POOLS) && !pool_count();
}

void client_settle(void)
{
	space_settle();
	if (!session_count())
		EXPECT(test_wait(has_settled, NULL, PATIENCE));
}

void client_end(void)
{
	EXPECT_EQ(session_count(), 0);
	client_settle();
	EXPECT_EQ(pool_count(), 0);
	EXPECT_EQ(pool_region_live(), 0);
	for (int kind = 0; kind < NR_ACCOUNT_KINDS; kind++)
		EXPECT_EQ(account_total((enum account_kind)kind), 0);
	sessions_fini();
	pools_fini();
	lane_watch_fini();
	space_end();
}

/* ---- clients ---- */

static bool zap(void *context, const struct mapped_range *ranges, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		fake_uffd_zap(client_uffd(context), ranges[i].address, ranges[i].length);
	client_told.nr_zaps++;
	client_told.last_zap = ranges[nr - 1];
	return true;
}

static bool orphans(void *context, uint32_t pool, uint32_t member)
{
	if (client_told.deaf)
		return false;
	client_told.nr_orphans++;
	client_told.orphans_pool = pool;
	client_told.orphans_of = member;
	return true;
}

static void pressure(void *context, const struct pressure_call *call)
{
	client_told.nr_pressures++;
	client_told.pressure = *call;
	client_told.pressed = context;
}

static void be_killed(void *context, const char *reason)
{
	client_told.nr_kills++;
	client_told.killed = context;
	snprintf(client_told.reason, sizeof(client_told.reason), "%s", reason);
}

static const struct upcall_ops upcalls = { .zap = zap,
					  .pressure = pressure,
					  .orphans = orphans,
					  .kill = be_killed };

struct session *client_connect(uid_t uid, struct refusal *why, int *error)
{
	struct peer peer = { .pid = PID_OF_NOBODY, .uid = uid, .gid = uid, .name = "test" };
	struct session *s = NULL;

	*error = session_new(&peer, &s, why);
	if (!*error)
		session_set_upcalls(s, &upcalls, s);
	return s;
}

struct session *client_session(uid_t uid)
{
	struct attach_args args = { .uffd = fake_uffd_new() };
	struct refusal why = { "" };
	int error;
	struct session *s = client_connect(uid, &why, &error);

	EXPECT_EQ(error, 0);
	EXPECT_EQ(session_attach(s, &args, &why), 0);
	return s;
}

struct session *client_operator(void)
{
	struct peer peer = { .pid = PID_OF_NOBODY, .admin = true, .control = true, .name = "tool" };
	struct session *s = NULL;
	struct refusal why = { "" };

	EXPECT_EQ(session_new(&peer, &s, &why), 0);
	return s;
}

void client_leave(struct session *s)
{
	session_end(s, "a test");
	session_put(s);
}

int client_unlink(struct session *s, uint32_t pool, const char *name, struct refusal *why)
{
	return verb_region_unlink(
		s, &(struct region_unlink_args){ .pool = pool, .name = name }, why);
}

uint32_t client_pool(struct session *s, const char *name, uint32_t flags)
{
	struct pool_open_args args = { .name = name, .flags = flags };
	struct refusal why = { "" };
	struct pool_opened opened = { 0 };

	EXPECT_EQ(verb_pool_open(s, &args, &opened, &why), 0);
	EXPECT(opened.handle != 0);
	EXPECT(opened.member != 0);
	return opened.handle;
}

int client_open_pool(struct session *s, const struct pool_open_args *args, uint32_t *handle)
{
	struct pool_opened opened;
	int r = verb_pool_open(s, args, &opened, &client_why);

	*handle = r ? 0 : opened.handle;
	return r;
}

int client_uffd(const struct session *s)
{
	return s->mm->uffd;
}

void client_map(struct session *s, struct region_opened *opened)
{
	fake_uffd_window(client_uffd(s), opened->address, opened->length, opened->fd, 0);
	os->close(opened->fd);
	opened->fd = -1;
}

struct region_opened client_region(struct session *s, uint32_t pool, const char *name,
				   uint64_t length, uint32_t flags)
{
	struct region_open_args args = {
		.pool = pool, .name = name, .length = length, .flags = flags
	};
	struct region_opened opened;
	struct refusal why = { "" };

	EXPECT_EQ(verb_region_open(s, &args, &opened, &why), 0);
	client_map(s, &opened);
	return opened;
}

enum client_touched client_touch(struct session *s, uint64_t address)
{
	int uffd = client_uffd(s);

	for (int i = 0; i < TOUCHES_MAX; i++) {
		if (fake_uffd_poisoned(uffd, address))
			return TOUCH_SIGBUS;
		if (fake_uffd_mapped(uffd, address))
			return TOUCH_MAPPED;
		space_fault(s->mm, address, 0);
	}
	return TOUCH_WAITS;
}

/* ---- what must come back ---- */

void client_count(struct client_counts *out)
{
	struct fake_os_counts host;
	struct stock_snapshot s;

	fake_os_count(&host);
	*out = (struct client_counts){
		.sessions = session_count(),
		.pools = pool_count(),
		.regions = pool_region_live(),
		.sections = section_count(),
		.metadata = meta_bytes(),
		.files = host.files,
		.file_bytes = host.present,
	};
	for (int kind = 0; kind < NR_ACCOUNT_KINDS; kind++)
		out->charged[kind] = account_total((enum account_kind)kind);
	for (int i = 0; i < nr_nodes * NR_STOCK_KINDS; i++) {
		if (!stock_snapshot(i / NR_STOCK_KINDS, (enum stock_kind)(i % NR_STOCK_KINDS), &s))
			continue;
		out->committed += s.committed;
		out->present += s.present;
	}
}

/* Descriptors that came with a session are closed by threads of their own, soon. */
static bool has_as_many_files(void *expected)
{
	struct client_counts now;

	client_count(&now);
	return now.files == ((const struct client_counts *)expected)->files;
}

void client_expect_counts(const struct client_counts *expected)
{
	struct client_counts now;

	test_wait(has_as_many_files, (void *)(uintptr_t)expected, 20);
	client_count(&now);
	EXPECT_EQ(now.sessions, expected->sessions);
	EXPECT_EQ(now.pools, expected->pools);
	EXPECT_EQ(now.regions, expected->regions);
	EXPECT_EQ(now.sections, expected->sections);
	EXPECT_EQ(now.metadata, expected->metadata);
	EXPECT_EQ(now.committed, expected->committed);
	EXPECT_EQ(now.present, expected->present);
	EXPECT_EQ(now.files, expected->files);
	EXPECT_EQ(now.file_bytes, expected->file_bytes);
	for (int kind = 0; kind < NR_ACCOUNT_KINDS; kind++)
		EXPECT_EQ(now.charged[kind], expected->charged[kind]);
}

void client_expect_valid(void)
{
	static struct validation v;

	report_verify(&v);
	for (uint64_t i = 0; i < v.nr_differences && i < VALIDATION_REPORTS; i++)
		fprintf(stderr, "# %s\n", v.reports[i]);
	EXPECT(v.nr_checked > 0);
	EXPECT_EQ(v.nr_differences, 0);
}

void client_expect_words(const char *words)
{
	if (!strstr(client_why.text, words))
		printf("  the sentence: %s\n", client_why.text);
	EXPECT(strstr(client_why.text, words) != NULL);
}

void client_end_two(struct session *a, struct session *b, const struct client_counts *expected)
{
	client_expect_valid();
	client_leave(a);
	client_leave(b);
	client_settle();
	client_expect_counts(expected);
	client_end();
}

void client_begin_two(struct session **a, struct session **b, struct client_counts *before)
{
	client_begin(&(struct client_options){ .space = { .nr_nodes = 1 } });
	client_count(before);
	*a = client_session(1000);
	*b = client_session(2000);
}

void client_share_pool(uid_t uid, struct session **a, uint32_t *pool_a, struct session **b,
		       uint32_t *pool_b)
{
	*a = client_session(uid);
	*b = client_session(uid);
	*pool_a = client_pool(*a, "p", MMB_POOL_CREATE);
	*pool_b = client_pool(*b, "p", 0);
}

struct pool *client_pool_of(struct session *s, uint32_t handle)
{
	struct pool_handle *ph = session_pool(s, handle, &client_why);
	struct pool *pool = ph->pool;

	pool_handle_put(ph);
	return pool;
}
