/* SPDX-License-Identifier: Apache-2.0 */
/* duel - see duel.h */
#include "swap/duel.h"

#include <stdlib.h>
#include <string.h>

#include "kernel_memory.h"

#define MIB           (1ull << 20)
#define SWAP          (4096 * MIB)
#define SWAP_QUICK    (768 * MIB)
#define RESERVE       (2048 * MIB)
#define RESERVE_QUICK (512 * MIB)
#define HUGEPAGE      (2 * MIB)

static const char *disk_folder(void)
{
	const char *folder = getenv("TMPDIR");

	return folder != NULL ? folder : "/var/tmp";
}

/* Half of the free hugepages, as for the other suites. */
static int start_broker(struct duel *c)
{
	struct bench *b = c->b;
	struct broker_config config = {
		.reserve = b->quick ? RESERVE_QUICK : RESERVE,
		.reserve_huge = kernel_hugepages_free() / 2 * HUGEPAGE,
		.mode = "account",
		.swap_path = c->kernel_swap.broker,
		.swap_size = b->quick ? SWAP_QUICK : SWAP,
	};
	int error;

	if (b->socket != NULL)
		return 0;
	error = broker_start(&c->broker, &config);
	if (error == 0)
		b->socket = c->broker.socket;
	return error;
}

static void make_players(struct duel *c)
{
	const struct player ours = { .name = "mmbroker", .memory = &memory_ours,
				     .socket = c->b->socket, .pool = "bench",
				     .daemon = c->broker.pid };
	const struct player kernel = { .name = "kernel", .memory = &memory_kernel };

	c->ours = ours;
	c->our_neighbour = ours;
	c->our_neighbour.pool = "neighbour";
	c->kernel = kernel;
	c->kernel.group = &c->kernel_swap.groups[0];
	c->kernel_neighbour = kernel;
	c->kernel_neighbour.group = &c->kernel_swap.groups[1];
}

int duel_start(struct duel *c, struct bench *b)
{
	int error;

	memset(c, 0, sizeof(*c));
	c->b = b;
	error = kernel_swap_start(&c->kernel_swap, disk_folder(), b->quick ? SWAP_QUICK : SWAP);
	if (error != 0)
		return error;
	error = start_broker(c);
	if (error != 0) {
		kernel_swap_stop(&c->kernel_swap);
		return error;
	}
	make_players(c);
	return 0;
}

static void stop_players(struct duel *c)
{
	player_stop(&c->ours);
	player_stop(&c->kernel);
	player_stop(&c->our_neighbour);
	player_stop(&c->kernel_neighbour);
}

void duel_stop(struct duel *c)
{
	stop_players(c);
	if (c->broker.pid != 0) {
		if (broker_stop(&c->broker) != 0)
			bench_fail(c->b, "stopping", bench_reason());
		c->b->socket = NULL;
	}
	kernel_swap_stop(&c->kernel_swap);
}

static void resize(struct player *p, struct duel_size size)
{
	p->bytes = size.bytes;
	p->limit = size.limit;
	p->page = size.page;
	p->ran = false;
}

void duel_resize(struct duel *c, struct duel_size size, uint64_t neighbours)
{
	const struct duel_size beside = { neighbours, 2 * neighbours, size.page };

	stop_players(c);
	resize(&c->ours, size);
	resize(&c->kernel, size);
	resize(&c->our_neighbour, beside);
	resize(&c->kernel_neighbour, beside);
}

int duel_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct duel_order *o = arg;

	return player_do(o->player, &o->order, out);
}
