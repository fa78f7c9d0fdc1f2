/* SPDX-License-Identifier: Apache-2.0 */
/*
 * methods - the table of the protocol's methods
 *
 * Purpose     The only place that names a method: number, name, request, reply, who may call it.
 *             The daemon's dispatcher, the library and mmbctl are all generated from it.
 * Columns     number, NAME, request message, reply message, descriptors with the request, access.
 * Access      FIRST  before HELLO            SESSION  after HELLO, with memory
 *             READ   anybody after HELLO     ADMIN    root, the daemon's uid, the admin group
 */
#ifndef MMB_PROTO_METHODS_H
#define MMB_PROTO_METHODS_H

#define MMB_METHODS(X)                                                                  \
	X(1, HELLO, hello_request, hello_reply, 0, FIRST)                               \
	X(2, PING, empty, empty, 0, READ)                                               \
	X(3, ATTACH, attach_request, empty, 1, SESSION)                                 \
	X(4, POOL_OPEN, pool_open_request, pool_open_reply, 0, SESSION)                 \
	X(5, POOL_CLOSE, pool_request, empty, 0, SESSION)                               \
	X(6, POOL_STAT, pool_request, pool_stat_reply, 0, SESSION)                      \
	X(7, ARENA_OPEN, arena_open_request, arena_open_reply, 0, SESSION)              \
	X(8, PAGES_ALLOC, pages_alloc_request, pages_alloc_reply, 0, SESSION)           \
	X(9, PAGES_FREE, pages_free_request, empty, 0, SESSION)                         \
	X(10, REGION_CREATE, region_open_request, region_open_reply, 0, SESSION)        \
	X(11, REGION_OPEN, region_open_request, region_open_reply, 0, SESSION)          \
	X(12, WINDOW, window_request, empty, 0, SESSION)                                \
	X(13, REGION_CLOSE, region_request, empty, 0, SESSION)                          \
	X(14, REGION_UNLINK, region_unlink_request, empty, 0, SESSION)                  \
	X(15, REGION_ADVISE, region_range_request, empty, 0, SESSION)                   \
	X(16, REGION_LOCK, region_range_request, empty, 0, SESSION)                     \
	X(17, REGION_UNLOCK, region_range_request, empty, 0, SESSION)                   \
	X(18, REGION_STAT, region_request, region_stat_reply, 0, SESSION)               \
	X(19, SLAB_MAP, slab_map_request, slab_map_reply, 0, SESSION)                   \
	X(20, SLAB_LEASE, slab_lease_request, slab_lease_reply, 0, SESSION)             \
	X(21, SLAB_RETURN, slab_return_request, empty, 0, SESSION)                      \
	X(22, CACHE_OPEN, cache_open_request, cache_open_reply, 0, SESSION)             \
	X(23, CACHE_CLOSE, cache_request, empty, 0, SESSION)                            \
	X(24, UPCALLS, empty, empty, 0, SESSION)                                        \
	X(25, SYNC, empty, sync_reply, 0, SESSION)                                      \
	X(26, REGION_CLONE, region_clone_request, region_clone_reply, 0, SESSION)       \
	X(27, REGION_ROLLBACK, region_rollback_request, region_rollback_reply, 0, SESSION) \
	X(28, REGION_MAP, region_request, region_open_reply, 0, SESSION)                \
	X(32, STATUS, empty, status_reply, 0, READ)                                     \
	X(33, POOLS, list_request, list_reply, 0, READ)                                 \
	X(34, SESSIONS, list_request, list_reply, 0, READ)                              \
	X(35, REGIONS, list_request, list_reply, 0, READ)                               \
	X(36, MEMINFO, text_request, text_reply, 0, READ)                               \
	X(37, BUDDYINFO, text_request, text_reply, 0, READ)                             \
	X(38, ZONEINFO, text_request, text_reply, 0, READ)                              \
	X(39, PAGETYPEINFO, text_request, text_reply, 0, READ)                          \
	X(40, VMSTAT, text_request, text_reply, 0, READ)                                \
	X(41, MAPS, text_request, text_reply, 0, READ)                                  \
	X(42, VERIFY, empty, verify_reply, 0, ADMIN)                                    \
	X(43, SLABINFO, text_request, text_reply, 0, READ)                              \
	X(44, NAMED_CLONE, named_clone_request, empty, 0, READ)                         \
	X(45, NAMED_ROLLBACK, named_rollback_request, empty, 0, READ)                   \
	X(46, NAMED_UNLINK, named_unlink_request, empty, 0, READ)                       \
	X(50, POOL_SET, pool_set_request, empty, 0, READ)                               \
	X(51, POOL_CREATE, pool_create_request, empty, 0, ADMIN)                        \
	X(52, POOL_RM, pool_rm_request, empty, 0, READ)                                 \
	X(53, PRESSURE, text_request, text_reply, 0, READ)                              \
	X(54, TRIM, trim_request, trim_reply, 0, ADMIN)                                 \
	X(55, LATENCY, text_request, text_reply, 0, READ)                               \
	X(57, SWAPS, text_request, text_reply, 0, READ)                                 \
	X(58, SWAPON, swapon_request, empty, 0, ADMIN)                                  \
	X(59, SWAPOFF, swapoff_request, empty, 0, ADMIN)                                \
	X(60, LOG_LEVEL, log_level_request, log_level_reply, 0, READ)                   \
	X(61, DRAIN, drain_request, drain_reply, 0, ADMIN)                              \
	X(62, RELOAD, empty, reload_reply, 0, ADMIN)

#define MMB_UPCALLS(X)                                                                  \
	X(64, ZAP, zap_request)                                                         \
	X(65, PRESSURE, pressure_request)                                               \
	X(66, GOODBYE, goodbye_request)                                                 \
	X(67, ORPHANS, orphans_request)                                                 \
	X(68, RESUMED, empty)                                                        \
	X(69, REMAP, remap_request)

enum mmb_method {
#define X(number, name, request, reply, fds, access) MMB_METHOD_##name = number,
	MMB_METHODS(X)
#undef X
};

enum mmb_upcall {
#define X(number, name, request) MMB_UPCALL_##name = number,
	MMB_UPCALLS(X)
#undef X
};

enum {
	MMB_PROTOCOL_VERSION = 1,
	MMB_PACKET_MAX = 16384, /* bytes of one encoded Packet; both sides' buffers */
	MMB_PACKET_FDS = 4,     /* descriptors in one message, either way */
	MMB_PAGES_BATCH = 512,  /* page runs in one request */
	MMB_NAME_MAX = 63,      /* bytes of a pool's, region's or client's name */
};

/* Which limits POOL_SET changes. */
enum {
	MMB_POOL_SET_MIN = 1 << 0,
	MMB_POOL_SET_LOW = 1 << 1,
	MMB_POOL_SET_HIGH = 1 << 2,
	MMB_POOL_SET_MAX = 1 << 3,
	MMB_POOL_SET_SWAP_MAX = 1 << 4,
	MMB_POOL_SET_ALL = (1 << 5) - 1,
};

enum {
	MMB_FEATURE_UPCALLS = 1 << 0,
	MMB_FEATURE_FAULT_LOG = 1 << 1,
	MMB_FEATURE_POISON = 1 << 2, /* the kernel can poison: SIGBUS with a cause */
	MMB_FEATURE_POOL_OFFER = 1 << 3, /* a private pool may come with HELLO's reply */
};

#endif
