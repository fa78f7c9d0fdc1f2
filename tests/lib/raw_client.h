/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_client - speaks the protocol by hand, rightly or wrongly
 *
 * Purpose     What a client can do over the socket without libmmbroker in the way: connect, send
 *             any bytes with any descriptors, say HELLO, attach a userfaultfd, open regions, map
 *             them. Nothing here ends the process or prints; every wait has a deadline.
 * Invariants  C1  a receive waits RAW_PATIENCE_S at most; then it is -ETIMEDOUT.
 *             C2  reply, body and error belong to the last packet received.
 * Locking     none; one thread a struct raw.
 * Not here    Expectations about the answers (the tests).
 */
#ifndef MMB_TESTS_LIB_RAW_CLIENT_H
#define MMB_TESTS_LIB_RAW_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "mmbroker.h"
#include "proto/fault_log.h"
#include "proto/wire.h"

enum { RAW_PATIENCE_S = 10, RAW_ERROR_BYTES = 512 };

struct raw {
	int                   sock, log_fd, upcall, device; /* -1: none */
	int                   uffd;
	bool                  user_mode_only;
	uint64_t              uffd_features; /* 0: all that are useful; set before raw_attach */
	uint64_t              session, next_id;
	uint32_t              pool, member; /* of the last raw_pool */
	struct mmb_fault_log *log;
	/* The last packet received. */
	struct wire_packet    reply;
	const void           *body; /* unpacked, NULL with an error */
	char                  error[RAW_ERROR_BYTES];
	int                   fds[MMB_PACKET_FDS]; /* the caller's to close */
	uint32_t              nr_fds;
	struct wire_scratch   scratch;
	_Alignas(16) uint8_t  memory[WIRE_SCRATCH_BYTES];
	uint8_t               bytes[MMB_PACKET_MAX], out[MMB_PACKET_MAX];
};

/* All of these: 0 or -errno. A code of the daemon comes back as it is; raw_refused() tells it
 * from an error of the socket. -ECONNRESET: the daemon has ended the session. */
void raw_init(struct raw *r);
int raw_connect(struct raw *r, const char *path);
/* Closes everything, also what the last reply brought. */
void raw_close(struct raw *r);

/* Any bytes; fds may be more than a packet can take, up to the kernel's 253. */
int raw_send(struct raw *r, const void *bytes, size_t nr);
int raw_send_fds(struct raw *r, const void *bytes, size_t nr, const int *fds, uint32_t nr_fds);
/* A well-formed packet; its id is r->next_id afterwards. */
int raw_request(struct raw *r, uint32_t method, const void *body);
int raw_request_fds(struct raw *r, uint32_t method, const void *body, const int *fds,
		    uint32_t nr_fds);
/* A packet in r->out; its length. */
ssize_t raw_encode(struct raw *r, uint32_t method, const void *body);
int raw_recv(struct raw *r);
/* The answer to the last request: raw_request, raw_recv. */
int raw_call(struct raw *r, uint32_t method, const void *body);
int raw_call_fds(struct raw *r, uint32_t method, const void *body, const int *fds,
		 uint32_t nr_fds);
/* The last call failed because the daemon said so, with a sentence. */
bool raw_refused(const struct raw *r, int code);
/* Reads on until the daemon hangs up; false if it doesn't. */
bool raw_ends(struct raw *r);

int raw_hello(struct raw *r, const char *name);
/* A session of mmbctl's kind. */
int raw_hello_control(struct raw *r);
/* A userfaultfd as the library opens it, not attached. -errno. */
int raw_uffd(struct raw *r);
int raw_attach(struct raw *r);
/* Connect, HELLO, ATTACH. */
int raw_session(struct raw *r, const char *path, const char *name);

/* name NULL: a private pool. Sets r->pool. max 0: no limit. */
int raw_pool(struct raw *r, const char *name, uint64_t max);

struct raw_region {
	uint32_t handle, page_size, flags;
	uint64_t length;
	bool     hugetlb, created;
	int      fd; /* the caller's */
	char    *at; /* NULL: not mapped */
};
struct raw_region_want {
	const char *name; /* NULL: unnamed */
	uint64_t    length, address;
	uint32_t    page_size, flags, mode;
};
/* Asks, receives the descriptor, doesn't map. */
int raw_region_ask(struct raw *r, const struct raw_region_want *want, struct raw_region *out);
/* And maps and registers it where it belongs. */
int raw_region_open(struct raw *r, const struct raw_region_want *want, struct raw_region *out);
/* An unnamed region of 4 KiB pages. */
int raw_region(struct raw *r, uint64_t length, struct raw_region *out);
int raw_region_close(struct raw *r, struct raw_region *region);
int raw_advise(struct raw *r, const struct raw_region *region, uint64_t offset, uint64_t length,
	       uint32_t advice);

/* The runs land in `out`; the number that came, or -errno. */
int raw_pages(struct raw *r, uint32_t order, uint32_t gfp, uint32_t count, uint64_t *out);
int raw_pages_free(struct raw *r, uint32_t order, uint64_t *addresses, uint32_t nr);
/* Maps the windows of r->pool's arena; the first one's descriptor in *fd (NULL: closed). */
int raw_arena(struct raw *r, int *fd);

/* Leases of r->pool: their number, or -errno. */
int raw_lease(struct raw *r, uint32_t units, uint32_t count, uint64_t *out);
int raw_return(struct raw *r, const uint64_t *addresses, const uint32_t *units, uint32_t nr);
/* units[] all 1. */
int raw_return_units(struct raw *r, const uint64_t *addresses, uint32_t nr);
/* The slab map of the first window of r->pool: mapped, and its descriptor in *fd (NULL: closed).
 * The pages of headers, one a pageblock, begin at *at; *window is the arena window's address. */
struct raw_slab_map {
	char    *at;
	uint64_t bytes, window;
};
int raw_slab_map(struct raw *r, struct raw_slab_map *out, int *fd);
/* The number of the cache, or -errno. */
int raw_cache_open(struct raw *r, const char *name, uint32_t object, uint32_t align);
int raw_pool_close(struct raw *r);
int raw_pool_stat(struct raw *r, Mmb__Wire__PoolStatReply *out);

/* Reads or writes one byte. -EFAULT: SIGBUS came instead. */
int raw_read_byte(const char *at, char *value);
int raw_write_byte(char *at, char value);
/* The newest record of the session's fault log that covers the address, or NULL. */
const struct mmb_fault_record *raw_fault_record(const struct raw *r, const char *at);

#endif
