/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload - reads the configuration anew and puts into force what can change in a running daemon
 *
 * Invariants  R1  all or nothing: a configuration with a mistake changes nothing.
 *             R2  a key whose value is as before isn't touched, so that what was set meanwhile (the
 *                 log level) stays.
 *             R3  a key that needs a restart is named, and named again by each reload, until then.
 * Locking     one lock around a reload; any thread but a worker.
 */
#ifndef MMB_APP_RELOAD_H
#define MMB_APP_RELOAD_H

#include <stddef.h>

#include "app/config.h"
#include "ipc/server.h"

struct reload {
	int argc;
	char **argv;            /* of main, for the flags */
	struct config *config;  /* in force */
	struct server *server;  /* NULL: not yet */
};

void reload_init(struct reload *reload);
/* For struct server_hooks and SIGHUP; context is a struct reload. report: a line for each key that
 * differs, or the mistakes. */
int reload_run(void *context, char *report, size_t room);
/* The part of the options that a reload can change. */
void reload_fill_live(const struct config *config, struct server_options *options);
/* Puts the log level of a configuration into force. */
void reload_log_level(const struct config *config);

#endif
