/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access - who may use a pool or a region: mode bits against SO_PEERCRED
 */
#ifndef MMB_CLIENT_ACCESS_H
#define MMB_CLIENT_ACCESS_H

#include "client/verbs.h"

struct access_owner {
	uid_t uid;
	gid_t gid;
	uint32_t mode;
};

enum { ACCESS_READ = 4, ACCESS_WRITE = 2 };

bool access_allowed(const struct peer *peer, const struct access_owner *owner, uint32_t wanted);
/* Pool and region names: 1 to 63 bytes, printable, no '/', not "." or "..". */
int name_check(const char *what, const char *name, struct refusal *why);
/* Only permission bits, and the owner must be able to use it. 0 becomes 0600. */
int mode_check(uint32_t *mode, struct refusal *why);
int node_policy_check(const struct node_policy *nodes, struct refusal *why);

#endif
