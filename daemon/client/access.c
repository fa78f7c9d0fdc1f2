/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access - mode bits, names, modes and policies, checked
 *
 * Not here    What the answers are used for (verbs_*.c).
 */
#include "client/access.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mm/phys/node.h"
#include "mmbroker.h"

int refuse(struct refusal *why, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return code;
}

static bool in_group(const struct peer *peer, gid_t gid)
{
	if (peer->gid == gid)
		return true;
	for (uint32_t i = 0; i < peer->nr_groups; i++)
		if (peer->groups[i] == gid)
			return true;
	return false;
}

bool access_allowed(const struct peer *peer, const struct access_owner *owner, uint32_t wanted)
{
	uint32_t bits;

	if (peer->uid == 0)
		return true;
	if (peer->uid == owner->uid)
		bits = owner->mode >> 6;
	else if (in_group(peer, owner->gid))
		bits = owner->mode >> 3;
	else
		bits = owner->mode;
	return (bits & wanted) == wanted;
}

int name_check(const char *what, const char *name, struct refusal *why)
{
	size_t length = strlen(name);

	if (!length || length > NAME_MAX_BYTES)
		return refuse(why, -EINVAL, "the name of a %s has 1 to %d bytes, this one %zu",
			      what, NAME_MAX_BYTES, length);
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return refuse(why, -EINVAL, "'%s' can't be the name of a %s", name, what);
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)name[i] <= ' ' || name[i] == '/' || name[i] == 0x7f)
			return refuse(why, -EINVAL,
				      "the name of a %s has no '/', space or control characters",
				      what);
	return 0;
}

int mode_check(uint32_t *mode, struct refusal *why)
{
	if (!*mode)
		*mode = 0600;
	if (*mode & ~0777u)
		return refuse(why, -EINVAL, "mode %#o has more than the permission bits 0777",
			      *mode);
	if (!(*mode & 0400))
		return refuse(why, -EINVAL, "mode %04o keeps even the owner out", *mode);
	return 0;
}

int node_policy_check(const struct node_policy *nodes, struct refusal *why)
{
	uint64_t known = nr_nodes == 64 ? UINT64_MAX : (1ull << nr_nodes) - 1;

	if (nodes->policy > MMB_NODE_INTERLEAVE)
		return refuse(why, -EINVAL, "node policy %u doesn't exist; it is 0 to %d",
			      nodes->policy, MMB_NODE_INTERLEAVE);
	if (nodes->mask & ~known)
		return refuse(why, -EINVAL,
			      "node mask %#llx names nodes that this host hasn't: it has %d",
			      (unsigned long long)nodes->mask, nr_nodes);
	if (nodes->policy == MMB_NODE_BIND && !nodes->mask)
		return refuse(why, -EINVAL, "binding to nodes needs a node mask");
	return 0;
}
