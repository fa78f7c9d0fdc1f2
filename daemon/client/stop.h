/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop - what a planned stop of the daemon leaves in its clients: SIGBUS, never zeros, never a hang
 */
#ifndef MMB_CLIENT_STOP_H
#define MMB_CLIENT_STOP_H

#include "client/session.h"

/* Punches everything the session can see and poisons its windows, with a cause. The session has
 * ended and no lane polls it; its regions lose their names, so that nobody opens what is left. */
void session_poison(struct session *s, struct mm *mm);

#endif
