/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region - the verb region: snapshots of regions by name, and the way back
 *
 * Purpose     One request each; ls is the list of the verb regions.
 * Not here    Who may do it, and what a clone costs: the broker says so.
 */
#include <stdio.h>
#include <string.h>

#include "tools/rpc.h"

enum { PAIRS_MAX = 64 };

static int wrong(const char *wants)
{
	fprintf(stderr, "mmbctl: region: wants %s; 'mmbctl help region', mmbctl(1)\n", wants);
	return CTL_USAGE;
}

static int clone(const struct invocation *in)
{
	Mmb__Wire__NamedCloneRequest m = MMB__WIRE__NAMED_CLONE_REQUEST__INIT;
	char                        *regions[PAIRS_MAX], *names[PAIRS_MAX];
	unsigned int                 nr = in->nr_words / 2;

	if (in->nr_words < 3 || in->nr_words % 2 == 0 || nr > PAIRS_MAX)
		return wrong("clone POOL REGION NAME [REGION NAME]...");
	for (unsigned int i = 0; i < nr; i++) {
		regions[i] = in->words[1 + 2 * i];
		names[i] = in->words[2 + 2 * i];
	}
	m.pool = in->words[0];
	m.n_regions = m.n_names = nr;
	m.regions = regions;
	m.names = names;
	return rpc_order(in, MMB_METHOD_NAMED_CLONE, &m.base);
}

static int rollback(const struct invocation *in)
{
	Mmb__Wire__NamedRollbackRequest m = MMB__WIRE__NAMED_ROLLBACK_REQUEST__INIT;

	if (in->nr_words != 3)
		return wrong("rollback POOL REGION SNAPSHOT");
	m.pool = in->words[0];
	m.region = in->words[1];
	m.snapshot = in->words[2];
	return rpc_order(in, MMB_METHOD_NAMED_ROLLBACK, &m.base);
}

static int rm(const struct invocation *in)
{
	Mmb__Wire__NamedUnlinkRequest m = MMB__WIRE__NAMED_UNLINK_REQUEST__INIT;

	if (in->nr_words != 2)
		return wrong("rm POOL REGION");
	m.pool = in->words[0];
	m.region = in->words[1];
	return rpc_order(in, MMB_METHOD_NAMED_UNLINK, &m.base);
}

static int ls(const struct invocation *in)
{
	struct invocation list = *in;

	if (in->nr_words > 1)
		return wrong("ls [POOL]");
	if (in->nr_words == 1)
		list.pool = in->words[0];
	list.verb = verb_find("regions");
	return run_regions(&list);
}

int run_region(const struct invocation *in)
{
	static const struct {
		const char *name;
		int (*run)(const struct invocation *in);
	} actions[] = { { "ls", ls }, { "clone", clone }, { "rollback", rollback }, { "rm", rm } };

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(actions[i].name, in->operand) == 0)
			return actions[i].run(in);
	return wrong("ls, clone, rollback or rm");
}
