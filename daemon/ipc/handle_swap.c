/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_swap - swapon and swapoff, on a work thread: they take as long as the disk does
 */
#include "client/verbs.h"
#include "ipc/dispatch.h"
#include "ipc/server_state.h"

int handle_SWAPON(struct request *r)
{
	const Mmb__Wire__SwaponRequest *m = r->message;
	struct swapon_args args = { .path = m->path, .bytes = m->bytes, .priority = m->priority };
	int                error = verb_swapon(&args, &r->why);

	return error ? error : reply_empty(r);
}

int handle_SWAPOFF(struct request *r)
{
	const Mmb__Wire__SwapoffRequest *m = r->message;
	int                              error = verb_swapoff(m->path, &r->why);

	return error ? error : reply_empty(r);
}
