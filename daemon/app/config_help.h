/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_help - --help and the manual's list of keys, from the key table
 */
#ifndef MMB_APP_CONFIG_HELP_H
#define MMB_APP_CONFIG_HELP_H

#include <stdio.h>

void config_help(FILE *out);

#endif
