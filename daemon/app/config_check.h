/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_check - what a start would find wrong with a configuration, without starting
 *
 * Purpose     --check-config, behind config_load(): reserves beside what the host has, the swap
 *             area, the place of the socket. Nothing is made or taken, and what a running broker
 *             uses is no mistake: what may be otherwise in a moment, or for another user, is told
 *             and not counted.
 * Locking     none.
 * Not here    Values by themselves (config.h), what the kernel can do (broker_start(), doctor).
 */
#ifndef MMB_APP_CONFIG_CHECK_H
#define MMB_APP_CONFIG_CHECK_H

#include "app/config.h"

/* EX_OK, or EX_CONFIG with sentences on stderr. */
int config_check(const struct config *config);

#endif
