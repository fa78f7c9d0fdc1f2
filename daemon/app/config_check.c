/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_check - see config_check.h
 */
#include "app/config_check.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>

#include "client/broker.h"
#include "ipc/server.h"
#include "mm/balance/swap_area.h"

static int tell(const struct config *config, const char *before, const char *sentence)
{
	char place[CONFIG_PLACE_BYTES];

	config_place_of(config, sentence, place);
	fprintf(stderr, "mmbrokerd: %s%s%s\n", before, place, sentence);
	return EX_CONFIG;
}

static int check_reserves(const struct config *config)
{
	const struct broker_config want = {
		.reserve = config->memory_reserve,
		.reserve_huge = config->memory_reserve_huge,
		.hold = config->memory_reserve_mode == RESERVE_HOLD,
	};
	struct refusal why;
	int status = EX_OK;

	for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
		if (broker_check_reserve(&want, (enum stock_kind)kind, false, &why))
			status = tell(config, "", why.text);
		else if (broker_check_reserve(&want, (enum stock_kind)kind, true, &why))
			tell(config, "no mistake, but a start right now would fail: ", why.text);
	}
	return status;
}

static int check_swap(const struct config *config)
{
	struct swap_on_request swap = { .path = config->swap_path, .bytes = config->swap_size };
	char why[SWAP_WHY_BYTES], sentence[SWAP_WHY_BYTES + 16];

	if (!config->swap_path[0] || !swap_look(&swap, why))
		return EX_OK;
	snprintf(sentence, sizeof(sentence), "swap.path: %s", why);
	return tell(config, "", sentence);
}

static int check_socket(const struct config *config)
{
	char why[SERVER_ERROR_BYTES], sentence[SERVER_ERROR_BYTES + 16];
	int r = server_look(config->socket_path, why);

	if (!r)
		return EX_OK;
	snprintf(sentence, sizeof(sentence), "socket.path: %s", why);
	if (r != -EACCES)
		return tell(config, "", sentence);
	tell(config, "no mistake, but a start by this user would fail: ", sentence);
	return EX_OK;
}

int config_check(const struct config *config)
{
	int reserves = check_reserves(config), swap = check_swap(config);
	int place = check_socket(config);

	return reserves ? reserves : swap ? swap : place;
}
