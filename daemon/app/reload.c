/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload - compares two configurations key by key
 */
#include "app/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "app/config_kept.h"
#include "app/config_value.h"
#include "app/fdstore.h"
#include "app/notify.h"
#include "base/lock.h"
#include "base/log.h"
#include "client/account.h"
#include "mm/phys/zone.h"
#include "mm/space/fault.h"
#include "os/os.h"

static struct mutex reload_lock;

void reload_init(struct reload *reload)
{
	reload->server = NULL;
	mutex_init(&reload_lock, RANK_SESSIONS, "reload");
}

/* In the order of the words of log.level. */
static const enum log_level log_levels[] = { LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO,
					     LOG_DEBUG };

void reload_log_level(const struct config *config)
{
	log_set_level(log_levels[config->log_level]);
}

void reload_fill_live(const struct config *config, struct server_options *options)
{
	options->pass_userfaultfd = (enum pass_userfaultfd)config->memory_pass_userfaultfd;
	options->limits = (struct server_limits){
		.sessions = config->limits_sessions,
		.sessions_per_uid = config->limits_sessions_per_uid,
		.requests_in_flight = config->limits_requests_in_flight,
		.upcall_deadline_ms = config->limits_upcall_deadline,
		.hello_deadline_ms = config->limits_hello_deadline,
	};
}

static void apply(const struct reload *reload, bool level_changed)
{
	const struct config *config = reload->config;
	struct server_options options;
	struct limits limits = *limits_get();

	limits.sessions = config->limits_sessions;
	limits.sessions_per_uid = config->limits_sessions_per_uid;
	limits.regions_per_session = config->limits_regions_per_session;
	limits.regions_per_uid =
		fdstore_share(config->limits_sessions, config->limits_regions_per_uid);
	limits.span_per_uid = config->limits_span_per_uid;
	accounts_set_limits(&limits);
	fault_set_deadline(config->memory_fault_deadline * 1000000);
	zones_set_watermark_scale(config->memory_watermark_scale_factor);
	if (level_changed)
		reload_log_level(config);
	server_options_init(&options);
	reload_fill_live(config, &options);
	if (reload->server)
		server_reconfigure(reload->server, &options);
}

/* One key that differs: a line for the log and the report. */
static void tell(const struct config_key *key, const struct config *before,
		 const struct config *after, FILE *out)
{
	char was[CONFIG_EXPECTED_BYTES], is[CONFIG_EXPECTED_BYTES];

	config_value_text(before, key, was);
	config_value_text(after, key, is);
	fprintf(out, "%s.%s: %s -> %s%s\n", key->section, key->name, was, is,
		key->live ? "" : ", at the next start");
	log_emit(key->live ? LOG_NOTICE : LOG_WARNING, "reload", "%s.%s: %s -> %s%s", key->section,
		 key->name, was, is, key->live ? "" : ", which takes effect at the next start");
}

static unsigned int take_over(struct reload *reload, struct config *fresh, FILE *out)
{
	const struct config_key *level = &config_keys[CONFIG_KEY_log_level];
	bool level_changed = !config_value_same(reload->config, fresh, level);
	char why[FDSTORE_WHY_BYTES];
	unsigned int nr = 0;

	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		const struct config_key *key = &config_keys[i];

		if (config_value_same(reload->config, fresh, key))
			continue;
		tell(key, reload->config, fresh, out);
		nr++;
		if (key->live)
			config_value_move(reload->config, fresh, key);
	}
	if (nr)
		apply(reload, level_changed);
	if (nr && config_kept_keep(reload->config))
		fprintf(out, "the next daemon can't be told: it starts with the file alone\n");
	if (!fdstore_holds(reload->config->limits_sessions, why)) {
		fprintf(out, "%s\n", why);
		log_emit(LOG_WARNING, "store_small", "%s", why);
	}
	return nr;
}

/* Each mistake is a line of the log, too. */
static void log_mistakes(char *mistakes)
{
	char *rest, *line = strtok_r(mistakes, "\n", &rest);

	for (; line; line = strtok_r(NULL, "\n", &rest))
		log_emit(LOG_ERR, "reload_refused", "%s", line);
	log_emit(LOG_ERR, "reload_refused", "the configuration stays as it was");
}

static int run_locked(struct reload *reload, FILE *out)
{
	struct config fresh;
	unsigned int nr = 0;
	int status = config_load(reload->argc, reload->argv, &fresh, out);

	if (status == EX_OK) {
		nr = take_over(reload, &fresh, out);
		if (!nr)
			fprintf(out, "nothing has changed\n");
		log_emit(LOG_NOTICE, "reload", "configuration read again: %u keys differ", nr);
	}
	config_fini(&fresh);
	return status == EX_OK ? 0 : -EINVAL;
}

static void notify_begin(void)
{
	char state[64];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)(os->now_ns() / 1000));
	notify_show(state);
}

int reload_run(void *context, char *report, size_t room)
{
	struct reload *reload = context;
	char *text = NULL;
	size_t length;
	FILE *out;
	int error;

	mutex_lock(&reload_lock);
	notify_begin();
	out = open_memstream(&text, &length);
	error = out ? run_locked(reload, out) : -ENOMEM;
	if (out && fclose(out))
		error = -ENOMEM;
	snprintf(report, room, "%s", text ? text : "out of memory");
	if (error && text)
		log_mistakes(text);
	free(text);
	notify_ready();
	mutex_unlock(&reload_lock);
	return error;
}
