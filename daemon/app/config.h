/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config - the daemon's configuration from defaults, file, environment and flags
 *
 * Purpose     config_load() fills struct config; later sources win in that order. Every mistake
 *             is reported with the place it stands at and what was expected there, and all of
 *             them in one run.
 * Invariants  G1  every field of struct config holds a value its key allows, whatever happened.
 * Locking     none: loaded once, before there are threads.
 * Not here    The keys (config_keys.h), what the values mean to each other and to the host.
 */
#ifndef MMB_APP_CONFIG_H
#define MMB_APP_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "app/config_keys.h"

enum reserve_mode { RESERVE_ACCOUNT, RESERVE_HOLD };

#define X(section, key, type, fallback, allowed, when, help) +1
enum { CONFIG_PLACE_BYTES = 320, CONFIG_PLACES = 0 CONFIG_KEYS(X) };
#undef X

/* What is left for the caller to do. */
enum config_action {
	CONFIG_RUN,
	CONFIG_CHECK, /* --check-config: say whether this would run */
	CONFIG_SHOW,  /* --show: print one key's value */
	CONFIG_DONE,  /* --help and the like have been answered */
};

#define CONFIG_C_SIZE     uint64_t
#define CONFIG_C_RESERVE  uint64_t
#define CONFIG_C_DURATION uint64_t
#define CONFIG_C_ENUM     uint32_t
#define CONFIG_C_INT      uint32_t
#define CONFIG_C_MODE     uint32_t
#define CONFIG_C_STRING   char *

/* One field a key: memory_reserve, socket_path, ... */
struct config {
#define X(section, key, type, fallback, allowed, when, help) CONFIG_C_##type section##_##key;
	CONFIG_KEYS(X)
#undef X
	enum config_action action;
	char              *file; /* --config, or NULL */
	int                shown; /* --show: index of the key */
	bool               supervise; /* --supervise: run the daemon in a child, restarted */
	int64_t            gid;       /* of socket.group, -1: none; not with --show */
	int64_t            admin_gid; /* of socket.admin_group */
	char              *places[CONFIG_PLACES]; /* where each was set, "FILE:LINE"; or NULL */
};

/* Returns an exit status of sysexits.h: EX_OK, EX_USAGE, EX_CONFIG, EX_NOINPUT, EX_OSERR.
 * Mistakes go to `err`, answers (--help, --version, --dump-keys) to stdout. config_fini() is due
 * in every case. */
int config_load(int argc, char **argv, struct config *out, FILE *err);
void config_fini(struct config *config);

/* For a mistake that shows only when the value is used: where the key was set that the sentence
 * begins with, "FILE:LINE: ". Empty if it was nowhere, or no key stands there. */
void config_place_of(const struct config *config, const char *sentence,
		     char place[CONFIG_PLACE_BYTES]);

/* $XDG_RUNTIME_DIR/mmbroker/mmbroker.sock for a user, /run/mmbroker/mmbroker.sock for root, freed
 * by the caller. NULL with errno ENOENT for a user without a runtime folder. */
char *config_default_socket(void);

/* The keys as a table for the manual. "markdown" or "mdoc"; -EINVAL. */
int config_dump_keys(const char *format, FILE *out);

#endif
