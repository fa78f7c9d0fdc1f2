/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_swap - swapon and swapoff
 *
 * Crash       see mm/balance/swap_area.c and mm/space/evacuate.h.
 * Not here    Who may ask for it (ipc), what a file must be like (os/disk_file.c).
 */
#include <errno.h>
#include <string.h>

#include "client/verbs.h"
#include "mm/balance/swap_area.h"

static int check_path(const char *path, struct refusal *why)
{
	if (!path[0] || strlen(path) >= SWAP_PATH_BYTES)
		return refuse(why, -EINVAL, "the path has %zu bytes; 1 to %d are allowed",
			      strlen(path), SWAP_PATH_BYTES - 1);
	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return refuse(why, -EINVAL, "the path has a control character");
	return 0;
}

int verb_swapon(const struct swapon_args *args, struct refusal *why)
{
	struct swap_on_request request = { .path = args->path, .bytes = args->bytes,
					   .priority = (int16_t)args->priority };
	char sentence[SWAP_WHY_BYTES];
	int  r = check_path(args->path, why);

	if (r)
		return r;
	if (args->priority < INT16_MIN || args->priority > INT16_MAX)
		return refuse(why, -EINVAL, "the priority is %d; %d to %d are allowed",
			      args->priority, INT16_MIN, INT16_MAX);
	r = swap_on(&request, sentence);
	return r ? refuse(why, r, "%s", sentence) : 0;
}

int verb_swapoff(const char *path, struct refusal *why)
{
	char sentence[SWAP_WHY_BYTES];
	int  r = check_path(path, why);

	if (r)
		return r;
	r = swap_off(path, sentence);
	return r ? refuse(why, r, "%s", sentence) : 0;
}
