/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service - what the main thread does while the daemon serves
 *
 * Purpose     Waits for signals, looks at the heartbeats, keeps the status line alive.
 *             SIGHUP reads the configuration anew. SIGTERM and SIGINT are a planned stop, SIGUSR2
 *             leaves everything to the next process, if somebody keeps it.
 * Locking     main thread only.
 */
#ifndef MMB_APP_SERVICE_H
#define MMB_APP_SERVICE_H

#include <signal.h>
#include <stdbool.h>

#include "app/reload.h"

/* Blocks the signals that are waited for, in this and all later threads. */
void service_block_signals(sigset_t *set);
/* One that asks for the end has come, and waits for service_wait(). */
bool service_is_to_end(void);
/* Ready: the service manager hears so. Returns the signal that ends the daemon. */
int service_wait(const sigset_t *set, struct reload *reload);

#endif
