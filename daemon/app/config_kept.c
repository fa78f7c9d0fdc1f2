/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_kept - a text in a memfd, and a second name of it as the mark
 *
 * Locking     see config_kept.h.
 */
#include "app/config_kept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/config_mistake.h"
#include "app/config_value.h"
#include "base/log.h"
#include "os/keep.h"
#include "os/os.h"

/* A value has no control characters (config_value.c), so a line ends where it ends. */
enum { LINE_BYTES = 128 + CONFIG_STRING_MAX, TEXT_BYTES = NR_CONFIG_KEYS * LINE_BYTES };

static char *kept; /* what the last daemon went by; NULL: nothing. Fixed after choose */

static void write_value(const struct config *config, const struct config_key *key,
			char value[CONFIG_EXPECTED_BYTES])
{
	const void *field = (const char *)config + key->offset;

	if (key->type == CONFIG_STRING)
		snprintf(value, CONFIG_EXPECTED_BYTES, "%s", *(char *const *)field);
	else
		config_value_text(config, key, value);
}

static char *text_of(const struct config *config)
{
	char *text = malloc(TEXT_BYTES), value[CONFIG_EXPECTED_BYTES];
	size_t at = 0;

	for (int i = 0; text && i < NR_CONFIG_KEYS; i++) {
		write_value(config, &config_keys[i], value);
		at += (size_t)snprintf(text + at, TEXT_BYTES - at, "%s.%s=%s\n",
				       config_keys[i].section, config_keys[i].name, value);
	}
	return text;
}

static void read_line(struct config_sink *sink, char *line)
{
	struct config_setting s = { .place = "the last daemon's configuration", .section = line };
	char *dot = strchr(line, '.'), *equals = strchr(line, '=');
	int key;

	if (!dot || !equals || equals < dot) {
		config_mistake(sink, s.place, "expected section.key=value");
		return;
	}
	*dot = *equals = '\0';
	s.name = dot + 1;
	s.value = equals + 1;
	key = config_setting_key(sink, &s);
	if (key >= 0)
		config_setting_apply(sink, key, &s);
}

static int read_text(struct config *config, const char *from)
{
	struct config_sink sink = { .config = config, .err = stderr };
	char *text = strdup(from), *rest, *line;

	if (!text)
		return EX_OSERR;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		read_line(&sink, line);
	free(text);
	return sink.nr_mistakes ? EX_CONFIG : EX_OK;
}

static char *take_text(void)
{
	int fd = keep_take(KEEP_CONFIG);
	char *text = fd >= 0 ? calloc(1, TEXT_BYTES + 1) : NULL;

	if (text && pread(fd, text, TEXT_BYTES, 0) <= 0) {
		free(text);
		text = NULL;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

static bool take_mark(void)
{
	int fd = keep_take(KEEP_CONFIG_REFUSED);

	if (fd < 0)
		return false;
	close(fd);
	keep_drop(KEEP_CONFIG_REFUSED);
	return true;
}

int config_kept_choose(struct config *config, int status)
{
	bool refused = take_mark();

	kept = take_text();
	if (!kept && status != EX_OK && keep_has(KEEP_META))
		log_emit(LOG_ERR, "config_refused",
			 "the configuration has mistakes, and clients wait: mend it");
	if (!kept || (status == EX_OK && !refused))
		return status;
	log_emit(LOG_WARNING, "config_kept",
		 "%s; going by the one of the daemon that served last: mend it, and the next "
		 "start takes it",
		 status == EX_OK ? "the last start failed with another configuration"
				 : "the configuration has mistakes");
	return read_text(config, kept);
}

static int keep_text(const char *text, uint32_t key)
{
	int fd = os->memfd_new("config", TEXT_BYTES, 0), r;

	if (fd < 0)
		return fd;
	r = pwrite(fd, text, strlen(text), 0) < 0 ? -errno : keep_fd(key, fd);
	close(fd);
	return r;
}

void config_kept_refused(const struct config *config)
{
	char *text = kept ? text_of(config) : NULL;

	if (text && strcmp(text, kept) != 0 && keep_text(text, KEEP_CONFIG_REFUSED))
		log_emit(LOG_WARNING, "config_refused",
			 "the next start can't be told that this configuration failed");
	free(text);
}

int config_kept_keep(const struct config *config)
{
	char *text = keep_is_on() ? text_of(config) : NULL;
	int r = text ? keep_text(text, KEEP_CONFIG) : keep_is_on() ? -ENOMEM : 0;

	free(text);
	return r;
}
