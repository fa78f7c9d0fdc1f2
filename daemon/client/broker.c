/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker - the order of boot
 *
 * Order       host features, topology, nodes; tables and sections; stocks; the reserve (hold);
 *             memblock over each node's first pageblock of the daemon's own memory, and its
 *             hand-over to the buddy; caches of objects; threads.
 * Crash       a daemon that dies before broker_start returns has served nobody: its memfds go
 *             with it.
 */
#include "client/broker.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/log.h"
#include "client/address.h"
#include "client/arena_ahead.h"
#include "client/fault_log.h"
#include "client/hugetlb_audit.h"
#include "client/keeper.h"
#include "client/resume.h"
#include "client/session.h"
#include "mm/balance/swap_area.h"
#include "mm/balance/swap_io.h"
#include "mm/map/swap.h"
#include "mm/obj/own.h"
#include "mm/obj/slab.h"
#include "mm/obj/slub_spec.h"
#include "mm/phys/guard.h"
#include "mm/phys/memblock.h"
#include "mm/phys/node.h"
#include "mm/phys/record.h"
#include "mm/phys/section_file.h"
#include "mm/space/ahead.h"
#include "mm/space/evacuate.h"
#include "mm/space/lane.h"
#include "mm/space/reclaim.h"
#include "os/hugepages.h"
#include "os/keep.h"
#include "os/last_close.h"
#include "os/os.h"
#include "os/process.h"

enum {
	HOLD_STEP = 128, /* pageblocks that are taken before a stop is looked for: 0.1 s or so */
	OWN_BOOT_BYTES = PAGEBLOCK_SIZE, /* a node's part of pool 0 that memblock manages */
	AHEAD_THREADS_MAX = 8,
};

/* Never more than that of a node's base stock becomes the daemon's own. */
/* Beyond the 4 GiB, a pair of pageblocks for the next section to share a page of tables with. */
static const uint64_t own_span_bytes = (4ull << 30) + (2 * PAGEBLOCK_SIZE);

/* Pool 0: the daemon's own memory. Its root lies in memory that memblock allocated at boot, and
 * stays reserved. */
struct own_root {
	uint64_t magic;
	uint64_t version;
	uint32_t nr_nodes;
	uint32_t sections[MAX_NUMNODES]; /* ids */
};
enum { OWN_ROOT_VERSION = 1 };
static const uint64_t own_root_magic = 0x544f4f52424d4dull;

struct broker broker;

static struct memblock boot_memory;
static struct pool_zones own_zones;
static struct section *own_sections[MAX_NUMNODES];
static struct own_root *own_root;

/* ---- nodes ---- */

static int discover_nodes(struct refusal *why)
{
	int r = topology_discover(&broker.topology);

	if (r == -EINVAL)
		return refuse(why, r,
			      "hwloc makes no topology of '%s'; expected in HWLOC_SYNTHETIC levels "
			      "like \"node:2 core:2 pu:1\", in HWLOC_XMLFILE a file of lstopo's",
			      broker.topology.source);
	if (!r)
		r = nodes_init(&broker.topology);
	return r ? refuse(why, r,
			  "hwloc finds no NUMA node with memory (HWLOC_SYNTHETIC, HWLOC_XMLFILE: "
			  "%s)", strerror(-r))
		 : 0;
}

/* ---- stocks ---- */

/* A node's part of a total: by its memory, in whole pageblocks. */
static uint64_t node_share(uint64_t bytes, int node)
{
	uint64_t all = 0;

	for (int i = 0; i < nr_nodes; i++)
		all += node_data[i].bytes;
	if (!all)
		return round_down(bytes / (uint64_t)nr_nodes, PAGEBLOCK_SIZE) >> PAGE_SHIFT;
	return round_down((uint64_t)((__uint128_t)bytes * node_data[node].bytes / all),
			  PAGEBLOCK_SIZE) >>
	       PAGE_SHIFT;
}

/* What the host could give to that stock: now, or if nobody else used any of it. */
static uint64_t host_frames(int node, enum stock_kind kind, bool now)
{
	/* A lone node is the whole host, whose own figures count all its memory. */
	bool binds = broker.topology.binds && nr_nodes > 1;
	int os_node = binds ? node_data[node].os_node : OS_NODE_ANY;
	struct hugepages huge;
	struct host_memory memory;

	if (kind == STOCK_HUGE)
		return hugepages_read(os_node, &huge)
			       ? 0 : (now ? huge.free : huge.total) * PAGEBLOCK_PAGES;
	return host_memory_read(os_node, &memory)
		       ? 0 : (now ? memory.available : memory.total) >> PAGE_SHIFT;
}

/* Whether memory that is advised to huge pages gets them. */
static bool host_has_huge_shmem(void)
{
	enum shmem_huge mode = shmem_huge_mode();

	return mode == SHMEM_HUGE_ALWAYS || mode == SHMEM_HUGE_WITHIN_SIZE ||
	       mode == SHMEM_HUGE_ADVISE || mode == SHMEM_HUGE_FORCE;
}

static int refuse_stock(int r, const struct stock_request *want, bool now, struct refusal *why)
{
	const char *key = want->kind == STOCK_HUGE ? "memory.reserve_huge" : "memory.reserve";

	if (r == -ENOMEM && want->kind == STOCK_HUGE)
		return refuse(why, r,
			      "%s wants %llu hugepages of 2 MiB on node %d and the host has %llu "
			      "%s; 'sysctl vm.nr_hugepages=N' makes more, or lower the key",
			      key, (unsigned long long)(want->reserve / PAGEBLOCK_PAGES),
			      want->node,
			      (unsigned long long)(want->available / PAGEBLOCK_PAGES),
			      now ? "free" : "in all");
	if (r == -ENOMEM)
		return refuse(why, r,
			      "%s wants %llu MiB on node %d and the host has %llu MiB %s; lower "
			      "the key%s",
			      key, (unsigned long long)(want->reserve >> 8), want->node,
			      (unsigned long long)(want->available >> 8),
			      now ? "available" : "in all", now ? " or free memory" : "");
	if (r)
		return refuse(why, r, "%s gives node %d %llu MiB; it needs at least 8 MiB", key,
			      want->node, (unsigned long long)(want->reserve >> 8));
	return 0;
}

static int init_stock(int node, enum stock_kind kind, uint64_t bytes, struct refusal *why)
{
	struct stock_request want = {
		.node = node,
		.os_node = broker.topology.binds ? node_data[node].os_node : OS_NODE_ANY,
		.kind = kind,
		.mode = broker.hold ? STOCK_HOLD : STOCK_ACCOUNT,
		.reserve = node_share(bytes, node),
		/* After a restart what there is isn't available, and the broker's all the same. */
		.available = broker.resumes ? UINT64_MAX : host_frames(node, kind, true),
		.quick = !host_has_huge_shmem(),
	};

	return refuse_stock(stock_init(&want), &want, true, why);
}

/* Beyond it the kernel would end the daemon while the reserve is filled, without a word. */
static int check_limit(const struct broker_config *config, struct refusal *why)
{
	uint64_t limit = host_memory_limit();

	if (!config->hold || broker.resumes || config->reserve < limit)
		return 0;
	return refuse(why, -ENOMEM,
		      "memory.reserve wants %llu MiB, and the daemon's memory cgroup allows %llu "
		      "MiB; lower the key or raise the limit",
		      (unsigned long long)(config->reserve >> 20),
		      (unsigned long long)(limit >> 20));
}

static int init_stocks(const struct broker_config *config, struct refusal *why)
{
	int r = check_limit(config, why);

	for (int node = 0; node < nr_nodes && !r; node++) {
		r = init_stock(node, STOCK_BASE, config->reserve, why);
		if (!r && config->reserve_huge)
			r = init_stock(node, STOCK_HUGE, config->reserve_huge, why);
	}
	return r;
}

int broker_check_reserve(const struct broker_config *config, enum stock_kind kind, bool now,
			 struct refusal *why)
{
	uint64_t bytes = kind == STOCK_HUGE ? config->reserve_huge : config->reserve;
	int r = discover_nodes(why);

	if (!r && now && kind == STOCK_BASE)
		r = check_limit(config, why);
	for (int node = 0; node < nr_nodes && !r; node++) {
		struct stock_request want = { .node = node, .kind = kind,
					      .reserve = node_share(bytes, node),
					      .available = host_frames(node, kind, now) };

		if (bytes || kind == STOCK_BASE)
			r = refuse_stock(stock_check(&want), &want, now, why);
	}
	return r;
}

/* ---- hold: the reserve is taken for real, by several threads ---- */

struct hold_part {
	struct work work;
	int node, error;
	enum stock_kind kind;
	uint64_t first, nr; /* pageblocks */
	bool (*is_unwanted)(void);
};

static void populate_part(struct work *work)
{
	struct hold_part *part = container_of(work, struct hold_part, work);
	uint64_t step;

	for (; part->nr && !part->error; part->first += step, part->nr -= step) {
		step = min_t(uint64_t, part->nr, HOLD_STEP);
		part->error = part->is_unwanted && part->is_unwanted()
				      ? -EINTR
				      : stock_hold_populate(part->node, part->kind, part->first,
							    step);
	}
}

static int hold_stock(struct workqueue *queue, int node, enum stock_kind kind,
		      bool (*is_unwanted)(void))
{
	struct hold_part parts[AHEAD_THREADS_MAX] = { 0 };
	uint64_t blocks = stock_hold_blocks(node, kind);
	uint64_t share = blocks / broker.nr_cpus + 1;
	int r = 0;

	for (uint32_t i = 0; i < min_t(uint32_t, broker.nr_cpus, AHEAD_THREADS_MAX); i++) {
		uint64_t first = min_t(uint64_t, i * share, blocks);

		parts[i] = (struct hold_part){ .node = node,
					       .kind = kind,
					       .first = first,
					       .is_unwanted = is_unwanted,
					       .nr = min_t(uint64_t, share, blocks - first) };
		work_init(&parts[i].work, populate_part);
		if (parts[i].nr)
			workqueue_add(queue, &parts[i].work);
	}
	workqueue_flush(queue);
	for (int i = 0; i < AHEAD_THREADS_MAX && !r; i++)
		r = parts[i].error;
	return r;
}

static int hold_reserve(bool (*is_unwanted)(void), struct refusal *why)
{
	struct workqueue queue;
	struct stock_snapshot unused;
	int r = workqueue_init(&queue, "mmb-hold",
			       min_t(uint32_t, broker.nr_cpus, AHEAD_THREADS_MAX));

	if (r)
		return refuse(why, r, "no thread to populate the reserve");
	for (int node = 0; node < nr_nodes && !r; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS && !r; kind++)
			if (stock_snapshot(node, (enum stock_kind)kind, &unused))
				r = hold_stock(&queue, node, (enum stock_kind)kind,
					       is_unwanted);
	workqueue_fini(&queue);
	return r ? refuse(why, r,
			  "the reserve can't be populated: %s; lower memory.reserve or "
			  "memory.reserve_huge, or use memory.reserve_mode=account",
			  strerror(-r))
		 : 0;
}

/* ---- pool 0 ---- */

static void *boot_phys_to_virt(uint64_t address)
{
	return direct_map + address;
}

static int add_own_section(int node, uint64_t span)
{
	struct section_request want = { .name = "own",
					.nr_frames = span >> PAGE_SHIFT,
					.kind = STOCK_BASE,
					.type = SECTION_META,
					.node = node,
					.map = true };

	return section_add(&want, &own_sections[node]);
}

static int boot_node(int node)
{
	struct section *section = own_sections[node];
	struct zone_request want = {
		.type = ZONE_NORMAL, .node = node, .pool = 0, .section = section
	};
	uint64_t frames = OWN_BOOT_BYTES >> PAGE_SHIFT;
	int r = stock_commit(node, STOCK_BASE, frames);

	if (r)
		return r;
	r = stock_take(node, STOCK_BASE, frames);
	if (!r)
		r = stock_populate(&(struct stock_populate_request){
			.section = section, .length = OWN_BOOT_BYTES, .node = node });
	if (!r)
		r = zone_new(&want, &own_zones.normal[node]);
	if (!r)
		r = zone_boot_add(own_zones.normal[node], section->pfn, (uint32_t)frames);
	if (!r)
		r = memblock_add_node(&boot_memory, (uint64_t)section->pfn << PAGE_SHIFT,
				      OWN_BOOT_BYTES, node, MEMBLOCK_NONE);
	return r;
}

static void hand_over(void *unused, uint64_t start_pfn, uint64_t end_pfn, int node)
{
	zone_boot_free(own_zones.normal[node], (uint32_t)start_pfn,
		       (uint32_t)(end_pfn - start_pfn));
}

static int make_own_root(void)
{
	own_root = memblock_alloc(&boot_memory, sizeof(*own_root), CACHELINE);
	if (!own_root)
		return -ENOMEM;
	own_root->magic = own_root_magic;
	own_root->version = OWN_ROOT_VERSION;
	own_root->nr_nodes = (uint32_t)nr_nodes;
	for (int node = 0; node < nr_nodes; node++)
		own_root->sections[node] = own_sections[node]->id;
	return 0;
}

static int boot_own_memory(void)
{
	int r = 0;

	memblock_init(&boot_memory, boot_phys_to_virt);
	memblock_allow_resize(&boot_memory);
	for (int node = 0; node < nr_nodes && !r; node++)
		r = boot_node(node);
	if (!r)
		r = make_own_root();
	if (!r)
		memblock_free_all(&boot_memory, hand_over, NULL);
	return r;
}

uint64_t broker_metadata_bytes(void)
{
	return meta_bytes() + ((own_present() + stock_buffer_frames()) << PAGE_SHIFT) +
	       arenas_ahead_bytes();
}

/* ---- assembly ---- */

static int probe_host(struct refusal *why)
{
	char missing[160];
	cpu_set_t allowed;
	int r = uffd_features_probe(uffd_hidden, &broker.features);

	if (r || !uffd_features_sufficient(&broker.features, missing, sizeof(missing)))
		return refuse(why, r ? r : -ENOSYS,
			      "this kernel's userfaultfd lacks: %s; full service "
			      "needs Linux 6.6 (mmbctl doctor says more)",
			      r ? "everything" : missing);
	r = discover_nodes(why);
	if (r)
		return r;
	os_bind_nodes(&broker.topology);
	uffd_use_features(&broker.features);
	process_set_cpu_nodes(broker.topology.cpu_node, ARRAY_SIZE(broker.topology.cpu_node));
	broker.nr_cpus =
		sched_getaffinity(0, sizeof(allowed), &allowed) ? 1 : (uint32_t)CPU_COUNT(&allowed);
	return 0;
}

static int boot_memory_floor(const struct broker_config *config, struct refusal *why)
{
	struct meta_request meta = { .span_frames = META_SPAN_FRAMES,
				     .base = (void *)META_BASE,
				     .direct_map_base = (void *)DIRECT_MAP_BASE };
	int r;

	broker.resumes = resume_is_due();
	if (broker.resumes) {
		r = resume_memory(&meta, why);
		if (r)
			return r;
	} else {
		r = meta_init(&meta);
		if (r)
			return refuse(why, r, "no address space for the daemon's tables: %s%s",
				      strerror(-r),
				      r == -EFBIG ? "; files in memory count as files, so "
						    "ulimit -f must be unlimited" :
				      r == -ENOMEM ? "; it is much space and little memory, so "
						     "ulimit -v must be unlimited" : "");
		section_init();
	}
	swap_init();
	swap_areas_init();
	r = records_pin();
	for (int node = 0; node < nr_nodes && !r; node++)
		r = add_own_section(node, own_span_bytes);
	if (r)
		return refuse(why, r, "no memfd for the daemon's own memory: %s", strerror(-r));
	r = init_stocks(config, why);
	/* At a resume what was held still is, and clients wait: the keeper's thread fetches the
	 * rest, and locks it. */
	if (!r && broker.hold && !broker.resumes)
		r = hold_reserve(config->is_unwanted, why);
	if (r)
		return r;
	r = stock_charge_metadata(0);
	if (!r)
		r = boot_own_memory();
	if (r)
		return refuse(why, r,
			      "the reserve is too small for the daemon's own memory; raise "
			      "memory.reserve");
	for (int node = 0; node < nr_nodes; node++)
		own_set_zone(node, own_zones.normal[node]);
	r = slab_init(&(struct slab_setup){ .nr_cpus = broker.nr_cpus,
					    .debug = config->slub_debug });
	if (r == -EINVAL)
		return refuse(why, r, "memory.slub_debug can't be \"%s\"; expected %s",
			      config->slub_debug, slub_spec_expected);
	if (r)
		return refuse(why, r, "no memory for the caches of objects: %s", strerror(-r));
	return 0;
}

static int start_threads(const struct broker_config *config, struct refusal *why)
{
	struct fault_config fault = {
		.deadline_ns = config->fault_deadline_ms * 1000000,
		.can_share = broker.features.continue_wp,
		.can_poison = broker.features.poison,
		.log_fault = session_log_fault,
		.end_client = session_end_client,
		.ask_remap = session_ask_remap,
		.is_late = session_is_late,
	};
	struct lanes_request lanes = { .nr_fast = config->fault_threads, .pin = true };
	int r;

	addresses_init();
	accounts_init(&config->limits);
	mm_table_init();
	pool_regions_init();
	hugetlb_audit_init();
	fault_init(&fault);
	reclaim_init(&(struct reclaim_config){ .drop_entries = session_drop_entries });
	evacuate_init();
	r = last_close_start();
	if (!r)
		r = mm_closers_start();
	if (!r)
		r = regions_init();
	if (!r)
		r = pools_init();
	if (!r)
		r = sessions_init();
	if (!r)
		fault_logs_keep(FAULT_LOGS_READY_MAX);
	if (!r)
		section_files_keep(SECTION_FILES_READY_MAX);
	if (!r && broker.resumes) {
		r = resume_objects(why);
		if (r)
			return r;
	}
	if (!r)
		stock_keep_credit();
	if (!r)
		arenas_ahead_keep(true);
	if (!r)
		r = ahead_init(min_t(uint32_t, broker.nr_cpus, AHEAD_THREADS_MAX));
	if (!r)
		r = waiters_start(fault_wait);
	if (!r)
		r = kswapd_start();
	if (!r)
		r = pageout_start();
	if (!r)
		r = lanes_start(&lanes);
	if (!r)
		r = keeper_start();
	if (r == -EMFILE)
		return refuse(why, r, "too few files may be open for the daemon's threads: raise "
				      "'ulimit -n', or LimitNOFILE of the unit");
	return r ? refuse(why, r, "a thread can't be started: %s", strerror(-r)) : 0;
}

static const char *lock_text(const struct stock_snapshot *s)
{
	if (s->hold && !s->locked)
		return ", not locked against swap (needs CAP_IPC_LOCK or a higher LimitMEMLOCK)";
	return s->bare ? ", being locked against swap" : "";
}

static void log_stocks(void)
{
	struct stock_snapshot s;
	bool huge = false;

	for (int node = 0; node < nr_nodes; node++) {
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
			if (!stock_snapshot(node, (enum stock_kind)kind, &s))
				continue;
			huge |= kind == STOCK_HUGE;
			log_emit(LOG_INFO, "stock", "node %d: %s stock of %llu MiB, %s%s", node,
				 kind == STOCK_HUGE ? "huge" : "base",
				 (unsigned long long)(s.reserve >> 8),
				 s.hold ? "held" : "counted only",
				 lock_text(&s));
		}
	}
	if (!huge)
		log_emit(
			LOG_NOTICE, "no_hugepages",
			"arenas and 2 MiB pages come from shared memory advised to huge pages; for "
			"hugepages set vm.nr_hugepages and memory.reserve_huge");
	if (!broker.hold)
		log_emit(LOG_NOTICE, "account_mode",
			 "the reserve is only counted: other programs can take the memory; "
			 "memory.reserve_mode=hold takes it at start");
}

/* Crash: a daemon that dies before this has left nothing to resume, unless it resumes itself. */
static int keep_metadata(struct refusal *why)
{
	int r = broker.resumes ? 0 : keep_fd(KEEP_META, meta_fd());

	return r ? refuse(why, r, "the metadata can't be kept for a restart: %s", strerror(-r)) : 0;
}

/* A resumed daemon has it already. */
static bool is_swap_area(const char *path)
{
	struct swap_report report;

	for (uint32_t area = 0; area < SWAP_AREAS_MAX; area++)
		if (swap_area_report(area, &report) && strcmp(report.path, path) == 0)
			return true;
	return false;
}

/* As --check-config finds, no other time would help. */
static bool is_wrong_path(int error)
{
	switch (-error) {
	case ENOENT:
	case EACCES:
	case EPERM:
	case EROFS:
	case EEXIST:
	case ENAMETOOLONG:
	case ENOSPC:
		return true;
	default:
		return false;
	}
}

static int start_swap(const struct broker_config *config, struct refusal *why)
{
	struct swap_on_request request = { .path = config->swap_path,
					   .bytes = config->swap_bytes };
	char sentence[SWAP_WHY_BYTES];
	int r;

	swap_io_set_engine(config->swap_by_threads ? DISK_THREADS : DISK_URING);
	if (!config->swap_path || is_swap_area(config->swap_path))
		return 0;
	r = swap_on(&request, sentence);
	if (!broker.resumes && is_wrong_path(r))
		r = -EINVAL;
	return r ? refuse(why, r, "swap.path: %s", sentence) : 0;
}

int broker_start(const struct broker_config *config, struct refusal *why)
{
	int r;

	broker.hold = config->hold;
	broker.started_ns = os->now_ns();
	cpu_slot_register(0);
	guard_init();
	r = probe_host(why);
	if (!r)
		r = boot_memory_floor(config, why);
	if (!r)
		r = start_threads(config, why);
	if (!r)
		r = keep_metadata(why);
	if (!r)
		r = start_swap(config, why);
	if (!r)
		log_stocks();
	return r;
}

void broker_stopping(void)
{
	sessions_stopping();
}

void broker_stop(void)
{
	keeper_stop();
	hugetlb_audit_stop();
	lanes_stop();
	waiters_stop();
	fault_drop_parked();
	ahead_fini();
	sessions_fini();
	pageout_stop();
	kswapd_stop();
	regions_fini();
	reclaim_fini();
	pools_fini();
	section_files_keep(0);
	fault_fini();
	mm_closers_stop();
	last_close_stop();
	swap_areas_fini();
}
