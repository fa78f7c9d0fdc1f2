/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_value - the key table at run time, and one key's value from text
 *
 * Purpose     What each type accepts, and the sentence that says so.
 * Invariants  a value that is refused leaves the configuration as it was.
 * Locking     none.
 */
#ifndef MMB_APP_CONFIG_VALUE_H
#define MMB_APP_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

#include "app/config.h"

enum config_type {
	CONFIG_SIZE,
	CONFIG_RESERVE,
	CONFIG_DURATION,
	CONFIG_ENUM,
	CONFIG_INT,
	CONFIG_MODE,
	CONFIG_STRING,
};

struct config_key {
	const char      *section, *name;
	enum config_type type;
	const char      *fallback, *allowed;
	bool             live; /* takes effect on reload */
	const char      *help;
	size_t           offset; /* of the field in struct config */
};

enum {
#define X(section, key, type, fallback, allowed, when, help) CONFIG_KEY_##section##_##key,
	CONFIG_KEYS(X)
#undef X
	NR_CONFIG_KEYS,
	CONFIG_STRING_MAX = 255,
	CONFIG_EXPECTED_BYTES = 256,
};

extern const struct config_key config_keys[NR_CONFIG_KEYS];

/* Index of a key, or -1. */
int config_key_find(const char *section, const char *name);
/* 0, -ENOMEM, or -EINVAL. */
int config_value_set(struct config *config, const struct config_key *key, const char *text);
/* The value in the key's own syntax; "\"\"" for an empty text. */
void config_value_text(const struct config *config, const struct config_key *key,
		       char out[CONFIG_EXPECTED_BYTES]);
bool config_value_same(const struct config *a, const struct config *b,
		       const struct config_key *key);
/* Takes the value over from another configuration; texts change places. */
void config_value_move(struct config *to, struct config *from, const struct config_key *key);
/* "a whole number from 1 to 16" */
void config_value_expected(const struct config_key *key, char out[CONFIG_EXPECTED_BYTES]);

#endif
