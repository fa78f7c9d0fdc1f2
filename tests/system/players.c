/* SPDX-License-Identifier: Apache-2.0 */
/*
 * players - the steps of a hostile client's life, and how they are drawn
 *
 * Locking     none; a process a player.
 */
#include "system/players.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/types.h"

char players_swap[256];
static const char *const swap_path = players_swap + sizeof("--swap.path=") - 1;
static pid_t owner;

static void remove_swap(void)
{
	if (getpid() == owner)
		unlink(swap_path);
}

__attribute__((constructor)) static void name_swap(void)
{
	const char *folder = getenv("TMPDIR");

	snprintf(players_swap, sizeof(players_swap), "--swap.path=%.128s/mmb-test-swap-%d",
		 folder ? folder : "/var/tmp", (int)getpid());
	owner = getpid();
	atexit(remove_swap);
}

enum {
	STEPS_MAX = 600, DRAWS = 4, LIFE_S = 2,
	KEPT_POOLS = 4, KEPT_REGIONS = 12, KEPT_ADDRESSES = 64,
	REGION_PAGES_MAX = 64, REPEATED_MAX = 20, DEPTH_MAX = 3, METHODS_END = 64,
};
static char *const names[] = { "", "a", "b", "c", "d" };
static char *const pool_names[] = { "", "p", "q" };
static char *const words[] = { "", "a", "b", "p", "q", "no such", "\x80\xff", "..", "/dev/null" };

struct player {
	struct raw        r;
	struct attack    *a;
	uint64_t          state;
	uint32_t          pools[KEPT_POOLS];
	struct raw_region regions[KEPT_REGIONS];
	uint64_t          addresses[KEPT_ADDRESSES];
};

static uint64_t any(struct player *p, uint64_t below)
{
	return test_random(&p->state) % below;
}

static bool once_in(struct player *p, uint64_t times)
{
	return !any(p, times);
}

static uint32_t any_pool(struct player *p)
{
	uint32_t pool = 0;

	if (once_in(p, 40))
		return (uint32_t)test_random(&p->state);
	for (int i = 0; i < DRAWS && !pool; i++)
		pool = p->pools[any(p, KEPT_POOLS)];
	return pool;
}

static struct raw_region *any_region(struct player *p)
{
	struct raw_region *region = &p->regions[any(p, KEPT_REGIONS)];

	for (int i = 1; i < DRAWS && !region->handle; i++)
		region = &p->regions[any(p, KEPT_REGIONS)];
	return region;
}

static uint64_t *any_address(struct player *p)
{
	return &p->addresses[any(p, KEPT_ADDRESSES)];
}

/* Waited for or not. The code, or what became of the connection. */
static int ask(struct player *p, uint32_t method, const void *body)
{
	if (once_in(p, 8))
		return raw_request(&p->r, method, body) ? -ECONNRESET : -EINPROGRESS;
	return raw_call(&p->r, method, body);
}

/* ---- messages of anything ---- */

static uint64_t any_number(struct player *p)
{
	static const uint64_t some[] = { 0, 1, 2, 4095, PAGE, 16 * PAGE, 2 << 20, 1ull << 31,
					 1ull << 32, 1ull << 43, 1ull << 47, 1ull << 63, ~0ull };

	switch (any(p, 6)) {
	case 0:
		return any_pool(p);
	case 1:
		return any_region(p)->handle;
	case 2:
		return *any_address(p);
	case 3:
		return some[any(p, ARRAY_SIZE(some))];
	case 4:
		return any(p, 64) * PAGE;
	default:
		return any(p, 16);
	}
}

static void *fill(struct player *p, const ProtobufCMessageDescriptor *d, int depth);

static void fill_one(struct player *p, const ProtobufCFieldDescriptor *f, void *at, int depth)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_INT32:
		*(uint32_t *)at = (uint32_t)any_number(p);
		break;
	case PROTOBUF_C_TYPE_UINT64:
		*(uint64_t *)at = any_number(p);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = once_in(p, 2);
		break;
	case PROTOBUF_C_TYPE_STRING:
		*(char **)at = words[any(p, ARRAY_SIZE(words))];
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		*(void **)at = depth < DEPTH_MAX ? fill(p, f->descriptor, depth + 1) : NULL;
		break;
	default:
		break;
	}
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
	if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
		return sizeof(void *);
	return f->type == PROTOBUF_C_TYPE_UINT64 ? sizeof(uint64_t)
	       : f->type == PROTOBUF_C_TYPE_BOOL ? sizeof(protobuf_c_boolean)
						 : sizeof(uint32_t);
}

static void fill_repeated(struct player *p, const ProtobufCFieldDescriptor *f, char *message,
			  int depth)
{
	size_t nr = any(p, REPEATED_MAX);
	char  *list = calloc(nr + 1, sizeof(uint64_t));

	for (size_t i = 0; i < nr; i++)
		fill_one(p, f, list + i * size_of(f), depth);
	*(size_t *)(void *)(message + f->quantifier_offset) = nr;
	*(void **)(void *)(message + f->offset) = list;
}

/* Nobody frees it: a life is short. */
static void *fill(struct player *p, const ProtobufCMessageDescriptor *d, int depth)
{
	char *message = calloc(1, d->sizeof_message);

	d->message_init((ProtobufCMessage *)(void *)message);
	for (unsigned int i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			fill_repeated(p, f, message, depth);
		else if (f->type != PROTOBUF_C_TYPE_MESSAGE || once_in(p, 2))
			fill_one(p, f, message + f->offset, depth);
	}
	return message;
}

/* But for what only root may call, or what would end the session at once. */
static int anything(struct player *p)
{
	uint32_t                  number = 1 + (uint32_t)any(p, METHODS_END - 1);
	const struct wire_method *m = wire_method(number);

	if (!m || m->access == WIRE_ADMIN || m->access == WIRE_FIRST || m->nr_fds ||
	    number == MMB_METHOD_LOG_LEVEL)
		return 0;
	return ask(p, number, fill(p, m->request, 0));
}

/* ---- steps that mean something ---- */

static int open_pool(struct player *p)
{
	Mmb__Wire__PoolOpenRequest     m = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	const Mmb__Wire__PoolOpenReply *reply;
	int                            error;

	m.name = pool_names[any(p, ARRAY_SIZE(pool_names))];
	m.flags = m.name[0] ? MMB_POOL_CREATE : MMB_POOL_PRIVATE;
	m.mode = 0666;
	m.max = once_in(p, 3) ? 1 << 20 : 0;
	error = ask(p, MMB_METHOD_POOL_OPEN, &m);
	if (error)
		return error;
	reply = p->r.body;
	p->pools[any(p, KEPT_POOLS)] = reply->pool;
	return 0;
}

static int close_pool(struct player *p)
{
	Mmb__Wire__PoolRequest m = MMB__WIRE__POOL_REQUEST__INIT;

	m.pool = any_pool(p);
	if (!once_in(p, 4))
		return ask(p, MMB_METHOD_POOL_STAT, &m);
	for (int i = 0; i < KEPT_POOLS && !once_in(p, 4); i++)
		if (p->pools[i] == m.pool)
			p->pools[i] = 0;
	return ask(p, MMB_METHOD_POOL_CLOSE, &m);
}

static int open_region(struct player *p)
{
	static const uint32_t flags[] = { 0, 0, MMB_REGION_POPULATE, MMB_REGION_LOCKED,
					  MMB_REGION_READONLY };
	struct raw_region_want want = {
		.name = names[any(p, ARRAY_SIZE(names))],
		.length = (1 + any(p, REGION_PAGES_MAX)) * PAGE,
		.mode = 0666,
		.flags = flags[any(p, ARRAY_SIZE(flags))],
	};
	struct raw_region *region = &p->regions[any(p, KEPT_REGIONS)];

	if (once_in(p, 20)) {
		want.page_size = HUGE_PAGE;
		want.length = HUGE_PAGE;
	}
	if (!want.name[0])
		want.name = NULL;
	else if (once_in(p, 2))
		want.length = 0;
	else
		want.flags |= MMB_REGION_CREATE;
	if (region->at || region->fd >= 0)
		raw_region_close(&p->r, region);
	p->r.pool = any_pool(p);
	return raw_region_open(&p->r, &want, region);
}

static int close_region(struct player *p)
{
	struct raw_region       *region = &p->regions[any(p, KEPT_REGIONS)];
	Mmb__Wire__RegionRequest m = MMB__WIRE__REGION_REQUEST__INIT;

	if (once_in(p, 2))
		return raw_region_close(&p->r, region);
	m.region = region->handle; /* and its memory stays mapped */
	m.unmake = once_in(p, 2);
	return ask(p, MMB_METHOD_REGION_CLOSE, &m);
}

static int clone_some(struct player *p)
{
	Mmb__Wire__RegionCloneRequest         m = MMB__WIRE__REGION_CLONE_REQUEST__INIT;
	Mmb__Wire__RegionCloneRequest__Clone  parts[4], *list[4];
	const Mmb__Wire__RegionCloneReply    *reply;
	int                                   error;

	m.n_clones = 1 + any(p, ARRAY_SIZE(parts));
	m.clones = list;
	m.map = once_in(p, 2);
	for (size_t i = 0; i < m.n_clones; i++) {
		mmb__wire__region_clone_request__clone__init(list[i] = &parts[i]);
		parts[i].region = any_region(p)->handle;
		parts[i].pool = once_in(p, 3) ? any_pool(p) : 0;
		parts[i].name = names[any(p, ARRAY_SIZE(names))];
		parts[i].flags = once_in(p, 4) ? MMB_REGION_READONLY : 0;
	}
	error = ask(p, MMB_METHOD_REGION_CLONE, &m);
	reply = error ? NULL : p->r.body;
	for (size_t i = 0; reply && i < reply->n_regions; i++) {
		struct raw_region *region = &p->regions[any(p, KEPT_REGIONS)];

		if (!region->at)
			*region = (struct raw_region){ .handle = reply->regions[i], .fd = -1 };
	}
	return error;
}

static int roll_back(struct player *p)
{
	Mmb__Wire__RegionRollbackRequest m = MMB__WIRE__REGION_ROLLBACK_REQUEST__INIT;

	m.region = any_region(p)->handle;
	m.snapshot = any_region(p)->handle;
	return ask(p, MMB_METHOD_REGION_ROLLBACK, &m);
}

static int unlink_one(struct player *p)
{
	Mmb__Wire__RegionUnlinkRequest m = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;

	m.pool = any_pool(p);
	m.name = names[any(p, ARRAY_SIZE(names))];
	return ask(p, MMB_METHOD_REGION_UNLINK, &m);
}

static int advise(struct player *p)
{
	static const uint32_t methods[] = { MMB_METHOD_REGION_ADVISE, MMB_METHOD_REGION_ADVISE,
					    MMB_METHOD_REGION_LOCK, MMB_METHOD_REGION_UNLOCK };
	Mmb__Wire__RegionRangeRequest m = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	struct raw_region            *region = any_region(p);
	uint64_t                      pages = max_t(uint64_t, region->length / PAGE, 1);

	m.region = region->handle;
	m.offset = any(p, pages) * PAGE;
	m.length = (1 + any(p, pages - m.offset / PAGE)) * PAGE;
	m.advice = (uint32_t)any(p, MMB_ADVISE_HUGEPAGE + 1);
	return ask(p, methods[any(p, ARRAY_SIZE(methods))], &m);
}

static int move_window(struct player *p)
{
	Mmb__Wire__WindowRequest m = MMB__WIRE__WINDOW_REQUEST__INIT;

	m.region = any_region(p)->handle;
	m.address = once_in(p, 2) ? (uintptr_t)any_region(p)->at : any_number(p);
	return ask(p, MMB_METHOD_WINDOW, &m);
}

static int take_pages(struct player *p)
{
	uint64_t got[16];
	uint32_t units[16];
	int      nr;

	p->r.pool = any_pool(p);
	if (once_in(p, 2))
		nr = raw_pages(&p->r, (uint32_t)any(p, 5), (uint32_t)any(p, 64),
			       1 + (uint32_t)any(p, 16), got);
	else
		nr = raw_lease(&p->r, 1 + (uint32_t)any(p, 3), 1 + (uint32_t)any(p, 16), got);
	for (int i = 0; i < nr && i < (int)ARRAY_SIZE(got); i++)
		*any_address(p) = got[i];
	for (size_t i = 0; i < ARRAY_SIZE(got); i++) {
		got[i] = *any_address(p);
		units[i] = 1 + (uint32_t)any(p, 2);
	}
	if (nr == -ECONNRESET)
		return nr;
	if (once_in(p, 2))
		return raw_pages_free(&p->r, (uint32_t)any(p, 5), got, 1 + (uint32_t)any(p, 3));
	return raw_return(&p->r, got, units, 1 + (uint32_t)any(p, 3));
}

/* Scribbles into the slab map, and punches it. */
static int spoil_map(struct player *p)
{
	struct raw_slab_map map = { 0 };
	int                 fd = -1, error;

	p->r.pool = any_pool(p);
	error = raw_slab_map(&p->r, &map, &fd);
	if (error)
		return error;
	if (once_in(p, 2))
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(any(p, 16) * PAGE), PAGE);
	else
		fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)(any(p, 16) * PAGE), PAGE);
	munmap(map.at, map.bytes);
	close(fd);
	return 0;
}

static int touch(struct player *p)
{
	struct raw_region *region = any_region(p);
	char               byte;

	if (!region->at)
		return 0;
	for (int i = 0; i < 8; i++) {
		char *at = region->at + any(p, region->length / PAGE) * PAGE;

		if (once_in(p, 2) || region->flags & MMB_REGION_READONLY)
			raw_read_byte(at, &byte);
		else
			raw_write_byte(at, 1);
	}
	return 0;
}

static int spoil_file(struct player *p)
{
	struct raw_region *region = any_region(p);
	uint64_t           at;

	if (region->fd < 0 || !region->length)
		return 0;
	at = any(p, region->length / PAGE) * PAGE;
	fallocate(region->fd,
		  once_in(p, 2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_KEEP_SIZE,
		  (off_t)at, PAGE);
	if (region->at && once_in(p, 2))
		madvise(region->at + at, PAGE, MADV_DONTNEED);
	return 0;
}

/* Acknowledges what comes on the upcall socket: rightly, twice, or in vain. */
static int answer(struct player *p)
{
	uint8_t       bytes[MMB_PACKET_MAX];
	struct pollfd ready = { .fd = p->r.upcall, .events = POLLIN };
	ssize_t       nr;

	if (p->r.upcall < 0 || poll(&ready, 1, 0) <= 0)
		return 0;
	nr = recv(p->r.upcall, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (nr <= 0)
		return 0;
	if (once_in(p, 30))
		bytes[any(p, (uint64_t)nr)] ^= 1;
	send(p->r.upcall, bytes, (size_t)nr, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (once_in(p, 4))
		send(p->r.upcall, bytes, (size_t)nr, MSG_DONTWAIT | MSG_NOSIGNAL);
	return 0;
}

static int by_name(struct player *p)
{
	Mmb__Wire__NamedCloneRequest    clone = MMB__WIRE__NAMED_CLONE_REQUEST__INIT;
	Mmb__Wire__NamedRollbackRequest back = MMB__WIRE__NAMED_ROLLBACK_REQUEST__INIT;
	Mmb__Wire__PoolSetRequest       set = MMB__WIRE__POOL_SET_REQUEST__INIT;
	char                           *of = names[1 + any(p, ARRAY_SIZE(names) - 1)];
	char                           *to = names[1 + any(p, ARRAY_SIZE(names) - 1)];

	clone.pool = back.pool = set.name = pool_names[1 + any(p, 2)];
	clone.regions = &of;
	clone.names = &to;
	clone.n_regions = clone.n_names = 1;
	back.region = to;
	back.snapshot = of;
	set.set = MMB_POOL_SET_MAX | MMB_POOL_SET_SWAP_MAX;
	set.max = once_in(p, 2) ? 0 : any(p, 512) * PAGE;
	set.swap_max = once_in(p, 2) ? 0 : any(p, 512) * PAGE;
	switch (any(p, 3)) {
	case 0:
		return ask(p, MMB_METHOD_NAMED_CLONE, &clone);
	case 1:
		return ask(p, MMB_METHOD_NAMED_ROLLBACK, &back);
	default:
		return ask(p, MMB_METHOD_POOL_SET, &set);
	}
}

/* ---- lives ---- */

typedef int (*step_fn)(struct player *p);
static const step_fn steps[] = {
	open_pool, close_pool, open_region, open_region, open_region, close_region, clone_some,
	clone_some, roll_back, unlink_one, advise, advise, advise, advise, move_window, take_pages,
	take_pages, spoil_map, touch, touch, touch, touch, touch, spoil_file, answer, answer,
	by_name, anything, anything,
};

static void live(struct attack *a, uint64_t seed)
{
	static struct player p;
	int                  error;

	p = (struct player){ .a = a, .state = seed };
	for (size_t i = 0; i < KEPT_REGIONS; i++)
		p.regions[i].fd = -1;
	/* Who has lied about its windows may fault at a page of its own for ever. */
	alarm(LIFE_S);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	error = raw_session(&p.r, a->socket, "player");
	for (int i = 0; i < KEPT_POOLS && !error; i++)
		open_pool(&p);
	for (int i = 0; i < KEPT_REGIONS && !error; i++)
		open_region(&p);
	for (uint64_t left = any(&p, STEPS_MAX); left && error != -ECONNRESET; left--)
		error = steps[any(&p, ARRAY_SIZE(steps))](&p);
	if (once_in(&p, 2))
		raise(SIGKILL);
	if (once_in(&p, 2))
		raw_close(&p.r);
	_exit(0);
}

pid_t player_begin(struct attack *a, uint64_t *state)
{
	uint64_t seed = test_random(state);
	pid_t    pid = fork();

	if (!pid)
		live(a, seed);
	return pid;
}

void players_end_names(struct attack *a)
{
	Mmb__Wire__PoolRmRequest m = MMB__WIRE__POOL_RM_REQUEST__INIT;
	Mmb__Wire__NamedUnlinkRequest region = MMB__WIRE__NAMED_UNLINK_REQUEST__INIT;

	attack_connect(a);
	CLIENT_EXPECT_EQ(raw_hello_control(&a->r), 0);
	m.force = true;
	for (size_t i = 1; i < ARRAY_SIZE(pool_names); i++) {
		region.pool = m.name = pool_names[i];
		for (size_t k = 0; k < ARRAY_SIZE(words); k++) {
			region.region = words[k];
			raw_call(&a->r, MMB_METHOD_NAMED_UNLINK, &region);
		}
		for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
			region.region = names[k];
			raw_call(&a->r, MMB_METHOD_NAMED_UNLINK, &region);
		}
		raw_call(&a->r, MMB_METHOD_POOL_RM, &m);
	}
}
