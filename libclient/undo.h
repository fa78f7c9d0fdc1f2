/* SPDX-License-Identifier: Apache-2.0 */
/*
 * undo - the reply to a request that nobody waits for any more
 *
 * Purpose     A call that timed out may still succeed. What it then opened or allocated is known
 *             to nobody here, so it is closed or freed again.
 */
#ifndef MMB_LIBCLIENT_UNDO_H
#define MMB_LIBCLIENT_UNDO_H

#include "call.h"

/* The reply is in the call. Frees the call, or sends it once more as the undoing request. No lock
 * is held. */
void undo_late_reply(struct mmb *mmb, struct call *call);

#endif
