/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file - settings from a file of [section] and key = value lines
 *
 * Purpose     Reads with inih, but counts the lines itself, so that each mistake names its own,
 *             and looks at each line before inih does, which would join, cut or skip some
 *             silently.
 * Locking     none.
 */
#ifndef MMB_APP_CONFIG_FILE_H
#define MMB_APP_CONFIG_FILE_H

#include "app/config_mistake.h"

/* Mistakes go to the sink; -errno if the file can't be read, or isn't one: a pipe is as good, if
 * somebody writes to it. */
int config_file_read(struct config_sink *sink, const char *path);
/* What that error means. */
const char *config_file_why(int error);

#endif
