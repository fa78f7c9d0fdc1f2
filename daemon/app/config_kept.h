/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_kept - the configuration of the daemon that served last
 *
 * Purpose     Where clients wait, a mistake in the configuration must not cost them their memory.
 *             A daemon that serves keeps what it goes by beside its descriptors (os/keep.h). The
 *             next one falls back to that, with a warning, if its own has a mistake, and after one
 *             whose start failed with a configuration that differs.
 * Invariants  A1  what is kept has every key, one a line: "section.key=value".
 *             A2  the mark of a failure is for one start: if that fails, too, the one behind it
 *                 tries the file again, which an administrator may have mended.
 * Crash       the mark and the text are descriptors of the keeper's, each replaced in one step.
 * Locking     config_kept_keep() under its caller's; the others at the start, by one thread.
 */
#ifndef MMB_APP_CONFIG_KEPT_H
#define MMB_APP_CONFIG_KEPT_H

#include "app/config.h"

/* After fdstore_init(). status is what config_load() said. EX_OK, or that: nothing is kept that
 * could stand in for it. */
int config_kept_choose(struct config *config, int status);
/* Nobody could be served with this one. */
void config_kept_refused(const struct config *config);
/* It is in force. Negative errno. */
int config_kept_keep(const struct config *config);

#endif
