/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_broker - a scripted broker for tests of libclient
 *
 * Invariants  B1  A held request keeps its packet until it is released; its connection goes on
 *                 reading meanwhile.
 *             B2  frames[] has the order + 1 of a granted run at its first frame, else 0; busy[]
 *                 is set for all its frames, and leased[] for those of leased units.
 */
#include "fake_broker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_broker_state.h"
#include "proto/fault_log.h"
#include "proto/printable.h"
#include "proto/slab_map.h"
#include "proto/wire.h"

/* Where nothing else comes by itself, and ThreadSanitizer lets a program map. */
#define FAKE_ADDRESSES 0x7e9000000000ull
#define FAKE_KEY       0x9e3779b97f4a7c15ull

/* ---- replies ---- */

struct answer {
	struct peer            *peer;
	struct wire_packet      head;
	const ProtobufCMessage *request;
	int                     fds[MMB_PACKET_FDS];
	uint32_t                nr_fds;
};

static void send_answer(struct answer *a, const ProtobufCMessage *body)
{
	uint8_t bytes[MMB_PACKET_MAX];
	ssize_t length = wire_encode(&a->head, body, bytes, sizeof(bytes));

	must(length > 0, "encode");
	wire_send(a->peer->sock, bytes, (size_t)length,
		  (struct wire_fds){ .fds = a->fds, .nr = a->nr_fds }, 0);
	while (a->nr_fds)
		close(a->fds[--a->nr_fds]);
}

static void refuse(struct answer *a, int code, const char *words)
{
	a->head.code = code;
	a->head.error = words;
	a->head.error_bytes = strlen(words);
	send_answer(a, NULL);
}

static void answer_empty(struct fake_broker *b, struct answer *a)
{
	/* With id 0 only a refusal is an answer. */
	if (a->head.id)
		send_answer(a, NULL);
}

static int memory(const char *name, size_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	must(fd >= 0 && !ftruncate(fd, (off_t)bytes), "memfd");
	return fd;
}

/* What is sent for a file of ours. */
static int copy_of(const struct fake_broker *b, enum broker_short what, int fd)
{
	return b->shorter == what ? memory("short", 0) : dup(fd);
}

static void answer_upcalls(struct fake_broker *b, struct answer *a)
{
	int pair[2];

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	a->peer->upcall = pair[0];
	a->fds[a->nr_fds++] = pair[1];
	send_answer(a, NULL);
}

static void lease_units(struct fake_broker *b, uint32_t first, uint32_t units, bool leased)
{
	memset(&b->busy[first * UNIT_FRAMES], leased, (size_t)units * UNIT_FRAMES);
	memset(&b->leased[first], leased, units);
	b->units_out += leased ? units : 0u - units;
}

/* Unit 0, which nobody has yet. */
static void fill_offer(struct fake_broker *b, struct answer *a, Mmb__Wire__PoolOffer *offer)
{
	struct slab_header header = { .offered = b->offer != OFFER_WITHDRAWN };

	must(pwrite(b->slab_map, &header, sizeof(header), 0) == sizeof(header), "slab map");
	lease_units(b, 0, 1, true);
	offer->pool = b->offer == OFFER_NO_HANDLE ? 0 : ++b->handles;
	offer->member = b->handles;
	offer->key = FAKE_KEY;
	offer->arena->address = b->arena_address;
	offer->arena->length = BROKER_ARENA_BYTES;
	offer->unit = b->arena_address + (b->offer == OFFER_OUTSIDE ? BROKER_ARENA_BYTES : 0);
	if (b->offer == OFFER_NO_ARENA)
		offer->arena = NULL;
	a->fds[a->nr_fds++] = copy_of(b, SHORT_ARENA, b->arena);
	if (b->offer != OFFER_FEW_FDS)
		a->fds[a->nr_fds++] = copy_of(b, SHORT_SLAB_MAP, b->slab_map);
}

static bool is_printable(const char *name)
{
	while (printable_length(name))
		name += printable_length(name);
	return !*name;
}

static void answer_hello(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__HelloRequest *request = (const void *)a->request;
	Mmb__Wire__HelloReply reply = MMB__WIRE__HELLO_REPLY__INIT;
	Mmb__Wire__PoolOffer offer = MMB__WIRE__POOL_OFFER__INIT;
	Mmb__Wire__ArenaWindow arena = MMB__WIRE__ARENA_WINDOW__INIT;

	if (!is_printable(request->name)) {
		refuse(a, -EINVAL, "a name that can't be printed");
		return;
	}
	snprintf(b->client, sizeof(b->client), "%s", request->name);
	a->fds[0] = memory("fault-log", MMB_FAULT_LOG_BYTES);
	a->peer->log = mmap(NULL, MMB_FAULT_LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			    a->fds[0], 0);
	must(a->peer->log != MAP_FAILED, "fault log");
	must(b->shorter != SHORT_FAULT_LOG || !ftruncate(a->fds[0], 0), "fault log");
	a->nr_fds = 1;
	reply.version = MMB_PROTOCOL_VERSION;
	reply.session = b->nr_peers;
	reply.has_fault_log = true;
	offer.arena = &arena;
	if (b->offer != OFFER_NONE && request->features & MMB_FEATURE_POOL_OFFER) {
		reply.offer = &offer;
		fill_offer(b, a, &offer);
	}
	send_answer(a, &reply.base);
}

static void answer_pool_open(struct fake_broker *b, struct answer *a)
{
	Mmb__Wire__PoolOpenReply reply = MMB__WIRE__POOL_OPEN_REPLY__INIT;

	reply.pool = ++b->handles;
	reply.member = b->handles;
	reply.key = FAKE_KEY;
	send_answer(a, &reply.base);
}

static void answer_pool_stat(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__PoolRequest *request = (const void *)a->request;
	Mmb__Wire__PoolStatReply reply = MMB__WIRE__POOL_STAT_REPLY__INIT;

	reply.arena = BROKER_ARENA_BYTES;
	reply.sessions = b->nr_peers;
	/* So that a caller can tell whether it got its own reply. */
	reply.refused = request->pool;
	send_answer(a, &reply.base);
}

static void answer_arena_open(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__ArenaOpenRequest *request = (const void *)a->request;
	Mmb__Wire__ArenaOpenReply reply = MMB__WIRE__ARENA_OPEN_REPLY__INIT;
	Mmb__Wire__ArenaWindow window = MMB__WIRE__ARENA_WINDOW__INIT;
	Mmb__Wire__ArenaWindow *windows[] = { &window };

	reply.total = b->scattered ? b->scattered : 1;
	if (request->first < reply.total) {
		window.length = BROKER_ARENA_BYTES / reply.total;
		window.address = b->arena_address + request->first * window.length;
		reply.windows = windows;
		reply.n_windows = 1;
		a->fds[a->nr_fds++] = copy_of(b, SHORT_ARENA, b->arena);
	}
	send_answer(a, &reply.base);
}

static bool is_free(const struct fake_broker *b, uint32_t first, uint32_t nr)
{
	return !memchr(&b->busy[first], true, nr);
}

static void mark(struct fake_broker *b, uint32_t first, uint32_t order, bool busy)
{
	b->frames[first] = busy ? (uint8_t)(order + 1) : 0;
	memset(&b->busy[first], busy, 1u << order);
	if (busy)
		b->frames_out += 1u << order;
	else
		b->frames_out -= 1u << order;
}

static void answer_pages_alloc(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__PagesAllocRequest *request = (const void *)a->request;
	Mmb__Wire__PagesAllocReply reply = MMB__WIRE__PAGES_ALLOC_REPLY__INIT;
	uint64_t addresses[MMB_PAGES_BATCH];
	uint32_t i, nr = 1u << request->order;

	reply.addresses = addresses;
	for (i = 0; i + nr <= FRAMES && reply.n_addresses < request->count; i += nr) {
		if (!is_free(b, i, nr))
			continue;
		mark(b, i, request->order, true);
		addresses[reply.n_addresses++] = b->arena_address + i * 4096ull;
	}
	if (reply.n_addresses)
		send_answer(a, &reply.base);
	else
		refuse(a, -ENOMEM, "the arena is full");
}

static void answer_pages_free(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__PagesFreeRequest *request = (const void *)a->request;
	size_t i;

	for (i = 0; i < request->n_addresses; i++) {
		uint64_t frame = (request->addresses[i] - b->arena_address) / 4096;

		if (frame >= FRAMES || b->frames[frame] != request->order + 1) {
			refuse(a, -EINVAL, "that is no run of yours");
			return;
		}
	}
	for (i = 0; i < request->n_addresses; i++)
		mark(b, (uint32_t)((request->addresses[i] - b->arena_address) / 4096),
		     request->order, false);
	send_answer(a, NULL);
}

static void answer_slab_map(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__SlabMapRequest *request = (const void *)a->request;
	Mmb__Wire__SlabMapReply reply = MMB__WIRE__SLAB_MAP_REPLY__INIT;
	Mmb__Wire__SlabMapWindow window = MMB__WIRE__SLAB_MAP_WINDOW__INIT;
	Mmb__Wire__SlabMapWindow *windows[] = { &window };

	reply.total = b->scattered ? b->scattered : 1;
	if (request->first < reply.total) {
		window.length = BROKER_ARENA_BYTES / reply.total;
		window.address = b->arena_address + request->first * window.length;
		if (b->stretched)
			window.length = b->stretched;
		reply.windows = windows;
		reply.n_windows = 1;
		a->fds[a->nr_fds++] = copy_of(b, SHORT_SLAB_MAP, b->slab_map);
	}
	must(!b->stretched || !ftruncate(b->slab_map, (off_t)b->stretched), "slab map");
	send_answer(a, &reply.base);
}

static void exaggerate(struct fake_broker *b, struct answer *a)
{
	Mmb__Wire__SlabLeaseReply reply = MMB__WIRE__SLAB_LEASE_REPLY__INIT;
	uint64_t addresses[MMB_PACKET_MAX / sizeof(uint64_t)];

	reply.addresses = addresses;
	while (reply.n_addresses < b->exaggerated)
		addresses[reply.n_addresses++] = b->arena_address;
	b->exaggerated = 0;
	send_answer(a, &reply.base);
}

/* Spans begin at multiples of the power of two that holds them. */
static void answer_slab_lease(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__SlabLeaseRequest *request = (const void *)a->request;
	Mmb__Wire__SlabLeaseReply reply = MMB__WIRE__SLAB_LEASE_REPLY__INIT;
	uint64_t addresses[MMB_PAGES_BATCH];
	uint32_t units = request->units, step = 1;

	if (b->exaggerated) {
		exaggerate(b, a);
		return;
	}
	while (step < units)
		step *= 2;
	reply.addresses = addresses;
	for (uint32_t i = 0; i + units <= UNITS && reply.n_addresses < request->count; i += step) {
		if (!is_free(b, i * UNIT_FRAMES, units * UNIT_FRAMES) ||
		    (b->units_limit && b->units_out + units > b->units_limit))
			continue;
		lease_units(b, i, units, true);
		addresses[reply.n_addresses++] = b->arena_address + i * (uint64_t)SLAB_UNIT_BYTES;
	}
	if (reply.n_addresses)
		send_answer(a, &reply.base);
	else
		refuse(a, -ENOMEM, "the arena is full");
}

static void answer_slab_return(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__SlabReturnRequest *request = (const void *)a->request;

	must(request->n_addresses == request->n_units, "as many units as addresses");
	for (size_t i = 0; i < request->n_addresses; i++) {
		uint64_t unit = (request->addresses[i] - b->arena_address) / SLAB_UNIT_BYTES;

		for (uint32_t j = 0; j < request->units[i]; j++) {
			if (unit + j >= UNITS || !b->leased[unit + j]) {
				refuse(a, -EINVAL, "that is no leased unit");
				return;
			}
		}
		lease_units(b, (uint32_t)unit, request->units[i], false);
	}
	send_answer(a, NULL);
}

static void answer_cache_open(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__CacheOpenRequest *request = (const void *)a->request;
	Mmb__Wire__CacheOpenReply reply = MMB__WIRE__CACHE_OPEN_REPLY__INIT;
	uint32_t i;

	for (i = 0; i < b->nr_caches && strcmp(b->caches[i].name, request->name); i++)
		;
	must(i < CACHES_MAX, "room for a cache");
	reply.created = i == b->nr_caches;
	if (reply.created) {
		snprintf(b->caches[i].name, sizeof(b->caches[i].name), "%s", request->name);
		b->caches[i].object = request->object;
		b->caches[i].align = request->align;
		b->nr_caches++;
	}
	if (b->caches[i].object != request->object || b->caches[i].align != request->align) {
		refuse(a, -EINVAL, "the cache has other objects");
		return;
	}
	b->caches[i].nr_opens++;
	reply.cache = i + 1;
	reply.object = request->object;
	reply.align = request->align;
	send_answer(a, &reply.base);
}

static void answer_cache_close(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__CacheRequest *request = (const void *)a->request;
	struct fake_cache *cache = &b->caches[request->cache - 1];

	if (!request->cache || request->cache > b->nr_caches || !cache->nr_opens) {
		refuse(a, -EBADF, "that is no cache of yours");
		return;
	}
	cache->nr_opens--;
	send_answer(a, NULL);
}

static void answer_region(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__RegionOpenRequest *request = (const void *)a->request;
	Mmb__Wire__RegionOpenReply reply = MMB__WIRE__REGION_OPEN_REPLY__INIT;

	reply.region = ++b->handles;
	reply.address = request->address ? request->address : b->region_address;
	reply.length = request->length;
	reply.page_size = request->page_size ? request->page_size : REGION_PAGE;
	reply.flags = request->flags & 4;
	reply.evictable = b->swap;
	a->fds[a->nr_fds++] = memory("region", b->shorter == SHORT_REGION ? 0 : request->length);
	send_answer(a, &reply.base);
}

static void tell_clone(struct fake_broker *b, struct answer *a, uint32_t handle,
		       Mmb__Wire__RegionOpenReply *reply)
{
	mmb__wire__region_open_reply__init(reply);
	reply->region = handle;
	reply->address = b->region_address;
	reply->length = BROKER_CLONE_BYTES;
	reply->page_size = REGION_PAGE;
	if (b->clone != CLONE_NO_FD)
		a->fds[a->nr_fds++] = memory("clone", BROKER_CLONE_BYTES);
}

static void answer_region_map(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__RegionRequest *request = (const void *)a->request;
	Mmb__Wire__RegionOpenReply reply;

	tell_clone(b, a, request->region, &reply);
	send_answer(a, &reply.base);
}

static void answer_region_clone(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__RegionCloneRequest *request = (const void *)a->request;
	Mmb__Wire__RegionCloneReply reply = MMB__WIRE__REGION_CLONE_REPLY__INIT;
	Mmb__Wire__RegionOpenReply first;
	uint32_t handles[64];

	reply.regions = handles;
	while (reply.n_regions < request->n_clones)
		handles[reply.n_regions++] = ++b->handles;
	if (request->map && b->clone != CLONE_UNTOLD) {
		tell_clone(b, a, handles[0] + (b->clone == CLONE_FOREIGN), &first);
		reply.opened = &first;
	}
	send_answer(a, &reply.base);
}

static void answer_window(struct fake_broker *b, struct answer *a)
{
	const Mmb__Wire__WindowRequest *request = (const void *)a->request;

	b->window = request->address;
	send_answer(a, NULL);
}

static void answer_sync(struct fake_broker *b, struct answer *a)
{
	Mmb__Wire__SyncReply reply = MMB__WIRE__SYNC_REPLY__INIT;

	reply.first = a->head.id;
	reply.attached = true;
	send_answer(a, &reply.base);
}

static void answer_region_stat(struct fake_broker *b, struct answer *a)
{
	Mmb__Wire__RegionStatReply reply = MMB__WIRE__REGION_STAT_REPLY__INIT;

	reply.faults = 7;
	send_answer(a, &reply.base);
}

static void (*const answers[BROKER_METHODS])(struct fake_broker *b, struct answer *a) = {
	[MMB_METHOD_HELLO] = answer_hello,
	[MMB_METHOD_ATTACH] = answer_empty,
	[MMB_METHOD_POOL_OPEN] = answer_pool_open,
	[MMB_METHOD_POOL_CLOSE] = answer_empty,
	[MMB_METHOD_POOL_STAT] = answer_pool_stat,
	[MMB_METHOD_ARENA_OPEN] = answer_arena_open,
	[MMB_METHOD_PAGES_ALLOC] = answer_pages_alloc,
	[MMB_METHOD_PAGES_FREE] = answer_pages_free,
	[MMB_METHOD_SLAB_MAP] = answer_slab_map,
	[MMB_METHOD_SLAB_LEASE] = answer_slab_lease,
	[MMB_METHOD_SLAB_RETURN] = answer_slab_return,
	[MMB_METHOD_CACHE_OPEN] = answer_cache_open,
	[MMB_METHOD_CACHE_CLOSE] = answer_cache_close,
	[MMB_METHOD_REGION_CREATE] = answer_region,
	[MMB_METHOD_REGION_OPEN] = answer_region,
	[MMB_METHOD_WINDOW] = answer_window,
	[MMB_METHOD_REGION_CLOSE] = answer_empty,
	[MMB_METHOD_REGION_UNLINK] = answer_empty,
	[MMB_METHOD_REGION_ADVISE] = answer_empty,
	[MMB_METHOD_REGION_LOCK] = answer_empty,
	[MMB_METHOD_REGION_UNLOCK] = answer_empty,
	[MMB_METHOD_REGION_STAT] = answer_region_stat,
	[MMB_METHOD_REGION_CLONE] = answer_region_clone,
	[MMB_METHOD_REGION_MAP] = answer_region_map,
	[MMB_METHOD_UPCALLS] = answer_upcalls,
	[MMB_METHOD_SYNC] = answer_sync,
};

/* ---- requests ---- */

static void answer_locked(struct fake_broker *b, const struct held *h)
{
	static uint8_t memory_for_requests[WIRE_SCRATCH_BYTES] __attribute__((aligned(16)));
	struct answer a = { .peer = h->peer };
	struct wire_packet packet;
	struct wire_scratch scratch;
	ProtobufCMessage *request;

	wire_scratch_init(&scratch, memory_for_requests, sizeof(memory_for_requests));
	must(!wire_decode(h->bytes, h->length, &packet), "decode");
	must(!wire_unpack(&packet, wire_method(packet.method)->request, &scratch, &request),
	     "body");
	a.request = request;
	a.head = (struct wire_packet){ .method = packet.method, .id = packet.id };
	if (b->confused)
		a.head.id += 1000;
	b->confused = false;
	if (b->code[packet.method])
		refuse(&a, b->code[packet.method], b->words[packet.method]);
	else
		answers[packet.method](b, &a);
}

static void take_request(struct peer *peer, const struct wire_message *message)
{
	struct fake_broker *b = peer->broker;
	struct held h = { .peer = peer, .length = message->length, .bytes = message->bytes };
	struct wire_packet packet;

	must(!wire_decode(message->bytes, message->length, &packet), "decode");
	must(packet.method < BROKER_METHODS && answers[packet.method], "known method");
	h.method = packet.method;
	pthread_mutex_lock(&b->lock);
	while (b->deaf)
		pthread_cond_wait(&b->changed, &b->lock);
	b->count[packet.method]++;
	b->disorder |= packet.id && packet.id <= peer->last_id;
	if (packet.id)
		peer->last_id = packet.id;
	if (b->hold[packet.method]) {
		must(b->nr_held < HELD_MAX, "room to hold a request");
		h.bytes = malloc(h.length);
		must(h.bytes, "malloc");
		memcpy(h.bytes, message->bytes, h.length);
		b->held[b->nr_held++] = h;
	} else {
		answer_locked(b, &h);
	}
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

static void *peer_main(void *arg)
{
	struct peer *peer = arg;
	uint8_t bytes[MMB_PACKET_MAX];
	struct wire_message message = { .bytes = bytes, .capacity = sizeof(bytes) };

	while (wire_recv(peer->sock, &message, 0) > 0) {
		wire_discard_fds(&message);
		take_request(peer, &message);
	}
	return NULL;
}

static void *listener_main(void *arg)
{
	struct fake_broker *b = arg;
	int sock;

	while ((sock = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct peer *peer;

		pthread_mutex_lock(&b->lock);
		must(b->nr_peers < PEERS_MAX, "room for a connection");
		peer = &b->peers[b->nr_peers++];
		peer->broker = b;
		peer->sock = sock;
		peer->upcall = -1;
		must(!pthread_create(&peer->thread, NULL, peer_main, peer), "thread");
		pthread_mutex_unlock(&b->lock);
	}
	return NULL;
}

/* ---- start and stop ---- */

struct fake_broker *broker_start(void)
{
	struct fake_broker *b = calloc(1, sizeof(*b));
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	must(b, "calloc");
	strcpy(b->directory, "/tmp/fake-broker-XXXXXX");
	must(mkdtemp(b->directory), "mkdtemp");
	snprintf(b->path, sizeof(b->path), "%s/socket", b->directory);
	strcpy(address.sun_path, b->path);
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->changed, NULL);
	b->arena = memory("arena", BROKER_ARENA_BYTES);
	/* Granted pages are present: nobody serves faults here. */
	must(!fallocate(b->arena, 0, 0, BROKER_ARENA_BYTES), "fallocate");
	b->slab_map = memory("slab-map", UNITS * sizeof(struct slab_header));
	b->arena_address = FAKE_ADDRESSES;
	b->region_address = FAKE_ADDRESSES + BROKER_ARENA_BYTES;
	b->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	must(!bind(b->listener, (struct sockaddr *)&address, sizeof(address)), "bind");
	must(!listen(b->listener, PEERS_MAX), "listen");
	must(!pthread_create(&b->thread, NULL, listener_main, b), "thread");
	return b;
}

static void end_peer(struct peer *peer)
{
	shutdown(peer->sock, SHUT_RDWR);
	pthread_join(peer->thread, NULL);
	close(peer->sock);
	if (peer->upcall >= 0)
		close(peer->upcall);
	if (peer->log)
		munmap(peer->log, MMB_FAULT_LOG_BYTES);
}

void broker_hide(struct fake_broker *b)
{
	unlink(b->path);
	rmdir(b->directory);
}

void broker_stop(struct fake_broker *b)
{
	uint32_t i;

	shutdown(b->listener, SHUT_RDWR);
	pthread_join(b->thread, NULL);
	close(b->listener);
	for (i = 0; i < b->nr_peers; i++)
		end_peer(&b->peers[i]);
	for (i = 0; i < b->nr_held; i++)
		free(b->held[i].bytes);
	close(b->arena);
	close(b->slab_map);
	broker_hide(b);
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

const char *broker_path(const struct fake_broker *b)
{
	return b->path;
}

uint64_t broker_arena_address(const struct fake_broker *b)
{
	return b->arena_address;
}

uint64_t broker_region_address(const struct fake_broker *b)
{
	return b->region_address;
}

/* ---- the script ---- */

void broker_hold(struct fake_broker *b, uint32_t method)
{
	pthread_mutex_lock(&b->lock);
	b->hold[method] = true;
	pthread_mutex_unlock(&b->lock);
}

void broker_release(struct fake_broker *b, uint32_t method)
{
	uint32_t i, kept = 0;

	pthread_mutex_lock(&b->lock);
	b->hold[method] = false;
	for (i = 0; i < b->nr_held; i++) {
		if (b->held[i].method != method) {
			b->held[kept++] = b->held[i];
			continue;
		}
		answer_locked(b, &b->held[i]);
		free(b->held[i].bytes);
	}
	b->nr_held = kept;
	pthread_mutex_unlock(&b->lock);
}

bool broker_wait_count(struct fake_broker *b, uint32_t method, uint32_t nr)
{
	struct timespec until;
	bool there;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_SECONDS;
	pthread_mutex_lock(&b->lock);
	while (b->count[method] < nr)
		if (pthread_cond_timedwait(&b->changed, &b->lock, &until) == ETIMEDOUT)
			break;
	there = b->count[method] >= nr;
	pthread_mutex_unlock(&b->lock);
	return there;
}

void broker_refuse(struct fake_broker *b, uint32_t method, int code, const char *words)
{
	pthread_mutex_lock(&b->lock);
	b->code[method] = code;
	snprintf(b->words[method], sizeof(b->words[method]), "%s", words);
	pthread_mutex_unlock(&b->lock);
}

void broker_swap(struct fake_broker *b)
{
	pthread_mutex_lock(&b->lock);
	b->swap = true;
	pthread_mutex_unlock(&b->lock);
}

void broker_confuse(struct fake_broker *b)
{
	pthread_mutex_lock(&b->lock);
	b->confused = true;
	pthread_mutex_unlock(&b->lock);
}

void broker_exaggerate(struct fake_broker *b, uint32_t nr)
{
	pthread_mutex_lock(&b->lock);
	b->exaggerated = nr;
	pthread_mutex_unlock(&b->lock);
}

void broker_offer(struct fake_broker *b, enum broker_offer how)
{
	pthread_mutex_lock(&b->lock);
	b->offer = how;
	pthread_mutex_unlock(&b->lock);
}

void broker_clone(struct fake_broker *b, enum broker_clone how)
{
	pthread_mutex_lock(&b->lock);
	b->clone = how;
	pthread_mutex_unlock(&b->lock);
}

void broker_place_regions(struct fake_broker *b, uint64_t address)
{
	pthread_mutex_lock(&b->lock);
	b->region_address = address;
	pthread_mutex_unlock(&b->lock);
}

static uint64_t read_locked(struct fake_broker *b, const uint64_t *wide, const uint32_t *narrow)
{
	uint64_t value;

	pthread_mutex_lock(&b->lock);
	value = wide ? *wide : *narrow;
	pthread_mutex_unlock(&b->lock);
	return value;
}

uint32_t broker_count(struct fake_broker *b, uint32_t method)
{
	return (uint32_t)read_locked(b, NULL, &b->count[method]);
}

uint32_t broker_units_out(struct fake_broker *b)
{
	return (uint32_t)read_locked(b, NULL, &b->units_out);
}

void broker_limit_units(struct fake_broker *b, uint32_t units)
{
	pthread_mutex_lock(&b->lock);
	b->units_limit = units;
	pthread_mutex_unlock(&b->lock);
}

bool broker_in_order(struct fake_broker *b)
{
	bool order;

	pthread_mutex_lock(&b->lock);
	order = !b->disorder;
	pthread_mutex_unlock(&b->lock);
	return order;
}

uint32_t broker_frames_out(struct fake_broker *b)
{
	return (uint32_t)read_locked(b, NULL, &b->frames_out);
}

uint64_t broker_last_window(struct fake_broker *b)
{
	return read_locked(b, &b->window, NULL);
}
