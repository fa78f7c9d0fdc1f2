/* SPDX-License-Identifier: Apache-2.0 */
/* client - see client.h */
#include "stress/client.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

const struct stress_operation stress_operations[] = {
	{ "region create or close", 6, stress_region_toggle },
	{ "region write", 24, stress_region_write },
	{ "region check", 24, stress_region_check },
	{ "region advise", 8, stress_region_advise },
	{ "region lock or unlock", 4, stress_region_lock },
	{ "region stat", 2, stress_region_stat },
	{ "region read(2), write(2)", 6, stress_region_io },
	{ "region entries dropped", 6, stress_region_zap },
	{ "region with two threads", 1, stress_region_race },
	{ "region half unmapped", 1, stress_region_unmap },
	{ "clone", 4, stress_clone },
	{ "snapshot", 3, stress_clone_snapshot },
	{ "snapshots at one instant", 2, stress_clone_many },
	{ "rollback", 2, stress_clone_rollback },
	{ "shared open or close", 6, stress_shared_toggle },
	{ "shared write", 16, stress_shared_write },
	{ "shared check", 16, stress_shared_check },
	{ "shared dontneed", 4, stress_shared_drop },
	{ "shared unlink", 1, stress_shared_unlink },
	{ "page run", 40, stress_run_toggle },
	{ "page run burst", 4, stress_run_burst },
	{ "object", 60, stress_object_toggle },
	{ "private object", 40, stress_object_private },
	{ "object resized", 12, stress_object_resize },
	{ "object passed", 40, stress_object_pass },
	{ "objects in bulk", 8, stress_object_bulk },
	{ "cached object", 8, stress_object_cached },
	{ "mempool", 2, stress_object_mempool },
	{ "trim", 1, stress_object_trim },
	{ "reconnect", 1, stress_reconnect },
	{ "private pool anew", 1, stress_pool_private },
	{ "shrinker", 2, stress_shrinker },
	{ "pool stat", 2, stress_pool_stat },
	{ "mistakes", 4, stress_mistakes },
	{ "greed", 1, stress_greed },
	{ "fork", 1, stress_fork },
};
const unsigned int stress_nr_operations = sizeof(stress_operations) / sizeof(stress_operations[0]);

enum { HOLDER_US = 10000 };

static struct stress_client *client; /* of this process, for its signal handler */

/* ---- for operations ---- */

int stress_fail(struct stress_client *c, const char *format, ...)
{
	char what[STRESS_TEXT - 120];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	snprintf(c->slot->text, sizeof(c->slot->text), "client %u, life %u, step %llu, %s: %s",
		 c->index, c->life, (unsigned long long)c->slot->step, c->slot->operation, what);
	return STRESS_FAILED;
}

int stress_accept(struct stress_client *c, int code, const char *what)
{
	if (code == -ENOMEM)
		c->slot->refused++;
	return code == 0 || code == -ENOMEM ? 0 : stress_expect(c, code, 0, what);
}

int stress_expect(struct stress_client *c, int code, int wanted, const char *what)
{
	if (code == wanted)
		return 0;
	return stress_fail(c, "%s gave %d, expected %d (%s)", what, code, wanted, mmb_error());
}

uint64_t stress_object(struct stress_client *c)
{
	return c->shared->seed + ((uint64_t)c->index << 56) + ((uint64_t)c->life << 36) +
	       ++c->objects;
}

/* ---- a connection ---- */

int stress_connect(struct stress_client *c)
{
	int failed = stress_expect(c, mmb_open(c->shared->socket, NULL, &c->mmb), 0, "mmb_open");

	if (failed == 0)
		failed = stress_expect(c, mmb_pool_open(c->mmb, STRESS_POOL, MMB_POOL_CREATE, NULL,
							&c->pool), 0, "mmb_pool_open");
	if (failed == 0)
		failed = stress_expect(c, mmb_pool_open(c->mmb, "mine", MMB_POOL_PRIVATE, NULL,
							&c->own), 0, "mmb_pool_open, private");
	if (failed == 0)
		failed = stress_objects_connect(c);
	return failed;
}

static int forget_regions(struct stress_client *c, struct stress_region *all, unsigned int nr)
{
	int failed = 0;

	for (unsigned int i = 0; i < nr && failed == 0; i++) {
		struct stress_region *r = &all[i];

		if (r->region == NULL)
			continue;
		failed = stress_range_check(c, r, stress_range_pick(c, r, r->pages));
		if (i % 2)
			mmb_region_close(r->region);
		stress_region_drop(r);
	}
	return failed;
}

/* Half of the handles are closed, the others end with the connection. */
int stress_disconnect(struct stress_client *c)
{
	int failed = stress_runs_forget(c, NULL);

	if (failed == 0)
		failed = stress_objects_disconnect(c);
	if (failed == 0)
		failed = forget_regions(c, c->regions, STRESS_REGIONS);
	if (failed == 0)
		failed = forget_regions(c, c->named, STRESS_SHARED);
	if (failed != 0)
		return failed;
	mmb_pool_close(c->own);
	mmb_close(c->mmb);
	return 0;
}

/* ---- a life ---- */

/* Nothing here is ever lost: a page that can't be had is a broken promise. */
static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	struct mmb_fault_info why = { .size = sizeof(why) };
	int code = mmb_fault_info(info->si_addr, &why);

	stress_fail(client, "SIGBUS at %p: %s (region \"%s\" offset %#llx, error %d)",
		    info->si_addr, code ? "no record" : why.cause, why.region,
		    (unsigned long long)why.offset, why.error);
	_exit(STRESS_FAILED);
}

static const struct stress_operation *pick_operation(struct stress_client *c)
{
	unsigned int total = 0, chosen, i = 0;

	for (unsigned int k = 0; k < stress_nr_operations; k++)
		total += stress_operations[k].weight;
	chosen = stress_pick(c, total);
	while (chosen >= stress_operations[i].weight)
		chosen -= stress_operations[i++].weight;
	return &stress_operations[i];
}

/* The random numbers of a step depend on nothing that happened before it. */
static int do_step(struct stress_client *c)
{
	struct stress_slot *slot = c->slot;
	const struct stress_operation *operation;
	int failed;

	c->random = random_mix(c->shared->seed + ((uint64_t)c->index << 48) +
			       ((uint64_t)c->life << 32) + slot->step);
	operation = pick_operation(c);
	slot->operation = operation->name;
	failed = operation->run(c);
	slot->step++;
	slot->done++;
	return failed;
}

void stress_client_main(struct stress_shared *shared, unsigned int index, unsigned int life)
{
	static struct stress_client self;
	struct sigaction bus = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	struct stress_client *c = &self;
	int failed;

	client = c;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGBUS, &bus, NULL);
	c->shared = shared;
	c->slot = &shared->slots[index];
	c->index = index;
	c->life = life;
	c->slot->step = 0;
	c->slot->operation = "connecting";
	failed = stress_connect(c);
	while (failed == 0 && !shared->finish)
		failed = do_step(c);
	if (failed == 0) {
		c->slot->operation = "leaving";
		failed = stress_disconnect(c);
	}
	_exit(failed);
}

/* Clients may all be dead or between two connections for a moment, also at the end, and the
 * addresses that they have told are still good. */
void stress_holder_main(struct stress_shared *shared)
{
	struct stress_client c = { .shared = shared, .slot = &shared->slots[0] };
	int failed;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	failed = stress_connect(&c);
	shared->held = true;
	while (failed == 0 && !shared->all_gone)
		usleep(HOLDER_US);
	_exit(failed);
}
