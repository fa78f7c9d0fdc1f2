/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_mistake - where a setting came from, and how a mistake in it is told
 *
 * Purpose     One form for all sources: "mmbrokerd: PLACE: what was wrong; what was expected".
 * Locking     none.
 */
#ifndef MMB_APP_CONFIG_MISTAKE_H
#define MMB_APP_CONFIG_MISTAKE_H

#include "app/config_value.h"

struct config_sink {
	struct config *config;
	FILE          *err;
	unsigned int   nr_mistakes;
};

/* One setting at its place. */
struct config_setting {
	const char *place; /* "FILE:LINE", "environment MMB_...", "--section.key" */
	const char *section, *name, *value;
};

void config_mistake(struct config_sink *sink, const char *place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Index of the key, or -1 after a mistake that names the nearest keys. */
int config_setting_key(struct config_sink *sink, const struct config_setting *s);
/* Takes the value, or tells what was expected. */
void config_setting_apply(struct config_sink *sink, int key, const struct config_setting *s);

#endif
