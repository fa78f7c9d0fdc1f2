/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config - gathers the settings from all sources
 *
 * Purpose     See config.h. The command line is read twice: first for what says where the file is
 *             and what is only a question, then, last, for its settings.
 * Locking     none.
 */
#include "app/config.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/config_file.h"
#include "app/config_help.h"
#include "app/config_mistake.h"
#include "base/check.h"
#include "base/types.h"

extern char **environ;

char *config_default_socket(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char       *path;
	int         nr;

	if (geteuid() == 0)
		return strdup("/run/mmbroker/mmbroker.sock");
	if (!runtime || !runtime[0]) {
		errno = ENOENT;
		return NULL;
	}
	nr = asprintf(&path, "%s/mmbroker/mmbroker.sock", runtime);
	return nr < 0 ? NULL : path;
}

static void set_defaults(struct config *config)
{
	memset(config, 0, sizeof(*config));
	for (int i = 0; i < NR_CONFIG_KEYS; i++)
		CHECK(!config_value_set(config, &config_keys[i], config_keys[i].fallback));
}

void config_fini(struct config *config)
{
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		if (config_keys[i].type == CONFIG_STRING)
			free(*(char **)((char *)config + config_keys[i].offset));
		free(config->places[i]);
	}
	free(config->file);
	memset(config, 0, sizeof(*config));
}

void config_place_of(const struct config *config, const char *sentence,
		     char place[CONFIG_PLACE_BYTES])
{
	place[0] = '\0';
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		const struct config_key *key = &config_keys[i];
		size_t                   section = strlen(key->section), name = strlen(key->name);

		if (config->places[i] && !strncmp(sentence, key->section, section) &&
		    sentence[section] == '.' && !strncmp(sentence + section + 1, key->name, name) &&
		    strchr(": ", sentence[section + 1 + name])) { /* or its end */
			snprintf(place, CONFIG_PLACE_BYTES, "%s: ", config->places[i]);
			return;
		}
	}
}

/* ---- the environment ---- */

/* MMB_SECTION_KEY split at the section, if that is one of ours; lower case. */
static bool split_variable(const char *variable, char *name, size_t room, struct config_setting *s)
{
	char *key;

	if (strncmp(variable, "MMB_", 4) != 0 || !strchr(variable, '='))
		return false;
	snprintf(name, room, "%s", variable + 4);
	name[strcspn(name, "=")] = '\0';
	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	key = strchr(name, '_');
	if (!key)
		return false;
	*key++ = '\0';
	s->section = name;
	s->name = key;
	s->value = strchr(variable, '=') + 1;
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		if (strcmp(config_keys[i].section, name) == 0)
			return true;
	}
	return false;
}

static void read_environment(struct config_sink *sink)
{
	for (char **v = environ; *v; v++) {
		char                  name[128], place[160];
		struct config_setting s = { .place = place };
		int                   key;

		if (!split_variable(*v, name, sizeof(name), &s))
			continue;
		snprintf(place, sizeof(place), "environment %.*s",
			 (int)min_t(size_t, strcspn(*v, "="), 128), *v);
		key = config_setting_key(sink, &s);
		if (key >= 0)
			config_setting_apply(sink, key, &s);
	}
}

/* ---- the command line ---- */

struct command_line {
	int    argc;
	char **argv;
	int    at;
	FILE  *err;
	bool   bad;
};

static void usage_mistake(struct command_line *line, const char *what)
{
	fprintf(line->err, "mmbrokerd: %s: %s; mmbrokerd --help lists what there is\n",
		line->argv[line->at], what);
	line->bad = true;
}

/* The value of --NAME VALUE or --NAME=VALUE if that is the argument; else NULL. */
static const char *option_value(struct command_line *line, const char *name)
{
	const char *arg = line->argv[line->at];
	size_t      nr = strlen(name);

	if (strncmp(arg, name, nr) != 0 || (arg[nr] && arg[nr] != '='))
		return NULL;
	if (arg[nr] == '=')
		return arg + nr + 1;
	if (line->at + 1 < line->argc)
		return line->argv[++line->at];
	usage_mistake(line, "a value is missing");
	return "";
}

/* --section.key=VALUE, or its short form --socket PATH. */
static bool split_flag(struct command_line *line, char *name, size_t room, struct config_setting *s)
{
	const char *arg = line->argv[line->at], *dot, *equals;

	s->value = option_value(line, "--socket");
	if (s->value) {
		s->place = "--socket";
		s->section = "socket";
		s->name = "path";
		return true;
	}
	dot = strchr(arg, '.');
	equals = strchr(arg, '=');
	if (strncmp(arg, "--", 2) != 0 || !dot || (equals && equals < dot))
		return false;
	snprintf(name, room, "%.*s", (int)(equals ? equals - arg : (long)strlen(arg)), arg);
	s->place = name;
	s->value = equals ? equals + 1 : NULL;
	return true;
}

static void apply_flag(struct config_sink *sink, struct command_line *line,
		       struct config_setting *s)
{
	char  section[128];
	char *dot;
	int   key;

	if (!s->value) {
		usage_mistake(line, "expected --section.key=VALUE");
		return;
	}
	if (!s->section) {
		snprintf(section, sizeof(section), "%s", s->place + 2);
		dot = strchr(section, '.');
		*dot = '\0';
		s->section = section;
		s->name = dot + 1;
	}
	key = config_setting_key(sink, s);
	if (key >= 0)
		config_setting_apply(sink, key, s);
}

static void take_shown(struct config *out, struct command_line *line, const char *name)
{
	char  section[64];
	char *dot;

	snprintf(section, sizeof(section), "%s", name);
	dot = strchr(section, '.');
	if (dot)
		*dot = '\0';
	out->shown = dot ? config_key_find(section, dot + 1) : -1;
	if (out->shown < 0)
		usage_mistake(line, "expected the name of a key, such as memory.reserve");
	else if (out->action == CONFIG_RUN)
		out->action = CONFIG_SHOW;
}

/* Settings are applied when there is a sink, and skipped otherwise. */
static void read_argument(struct config *out, struct command_line *line, struct config_sink *sink)
{
	const char           *arg = line->argv[line->at], *value;
	char                  name[128];
	struct config_setting s = { 0 };

	if (split_flag(line, name, sizeof(name), &s)) {
		if (sink)
			apply_flag(sink, line, &s);
		return;
	}
	value = option_value(line, "--config");
	if (value) {
		free(out->file);
		out->file = strdup(value);
		return;
	}
	value = option_value(line, "--show");
	if (value) {
		if (!line->bad)
			take_shown(out, line, value);
		return;
	}
	value = option_value(line, "--dump-keys");
	if (value && sink) {
		if (config_dump_keys(value, stdout))
			usage_mistake(line, "expected markdown or mdoc");
	}
	if (value || strcmp(arg, "--help") == 0 || strcmp(arg, "--version") == 0)
		out->action = CONFIG_DONE;
	else if (strcmp(arg, "--supervise") == 0)
		out->supervise = true;
	else if (strcmp(arg, "--check-config") == 0)
		out->action = out->action == CONFIG_DONE ? CONFIG_DONE : CONFIG_CHECK;
	else
		usage_mistake(line, "unknown argument");
	if (sink && strcmp(arg, "--help") == 0)
		config_help(stdout);
	else if (sink && strcmp(arg, "--version") == 0)
		puts("mmbrokerd " MMB_VERSION);
}

static void read_command_line(struct config *out, struct command_line *line,
			      struct config_sink *sink)
{
	for (line->at = 1; line->at < line->argc; line->at++)
		read_argument(out, line, sink);
}

/* ---- all of it ---- */

/* Group name or number to a gid; "" is -1; -ENOENT. */
static int find_group(const char *name, int64_t *gid)
{
	struct group  entry, *found = NULL;
	char          strings[4096], *end;
	unsigned long number;

	*gid = -1;
	if (!name[0])
		return 0;
	number = strtoul(name, &end, 10); /* which takes blanks and signs, too */
	if (isdigit((unsigned char)name[0]) && *end == '\0' && number < UINT32_MAX) {
		*gid = (int64_t)number;
		return 0;
	}
	if (getgrnam_r(name, &entry, strings, sizeof(strings), &found) || !found)
		return -ENOENT;
	*gid = found->gr_gid;
	return 0;
}

static void settle_group(struct config_sink *sink, int key, const char *name, int64_t *gid)
{
	const struct config_key *k = &config_keys[key];
	const char              *place = sink->config->places[key];
	char                     full[64];

	if (!find_group(name, gid))
		return;
	snprintf(full, sizeof(full), "%s.%s", k->section, k->name);
	config_mistake(sink, place ? place : full,
		       "%s: there is no group '%s'; expected a group's name or number", full, name);
}

static void settle_socket(struct config_sink *sink)
{
	struct config *config = sink->config;
	const char    *place = config->places[CONFIG_KEY_socket_mode];
	char          *path;

	if (!(config->socket_mode & 0222))
		config_mistake(sink, place ? place : "socket.mode",
			       "socket.mode %04o lets nobody connect; expected a bit for writing, "
			       "as in 0660", config->socket_mode);
	if (config->socket_path[0])
		return;
	path = config_default_socket();
	if (!path) {
		config_mistake(sink, "socket.path",
			       "there is no default, because XDG_RUNTIME_DIR is not set; give "
			       "--socket PATH");
		return;
	}
	if (config_value_set(config, &config_keys[CONFIG_KEY_socket_path], path))
		config_mistake(sink, "XDG_RUNTIME_DIR",
			       "%s is too long for a socket; give --socket PATH", path);
	free(path);
}

/* A key that says nothing without another one. */
static void settle_swap(struct config_sink *sink)
{
	const struct config *config = sink->config;
	const char          *place = config->places[CONFIG_KEY_swap_size];

	if (config->swap_size && !config->swap_path[0])
		config_mistake(sink, place ? place : "swap.size",
			       "swap.size says how large a swap area shall be, but there is none; "
			       "expected swap.path, too");
}

int config_load(int argc, char **argv, struct config *out, FILE *err)
{
	struct command_line line = { .argc = argc, .argv = argv, .err = err };
	struct config_sink  sink = { .config = out, .err = err };
	unsigned int        before;
	int                 error = 0;

	set_defaults(out);
	read_command_line(out, &line, NULL);
	if (line.bad)
		return EX_USAGE;
	if (out->action == CONFIG_DONE) {
		read_command_line(out, &line, &sink);
		return line.bad || sink.nr_mistakes ? EX_USAGE : EX_OK;
	}
	if (out->file)
		error = config_file_read(&sink, out->file + (out->file[0] == '-'));
	if (error && !(error == -ENOENT && out->file[0] == '-')) {
		config_mistake(&sink, out->file, "can't be read: %s", config_file_why(error));
		return EX_NOINPUT;
	}
	read_environment(&sink);
	before = sink.nr_mistakes;
	read_command_line(out, &line, &sink);
	if (line.bad || sink.nr_mistakes > before)
		return EX_USAGE;
	settle_socket(&sink);
	settle_swap(&sink);
	/* Early in boot, where one key is asked for, groups of a directory aren't there yet. */
	if (out->action != CONFIG_SHOW) {
		settle_group(&sink, CONFIG_KEY_socket_group, out->socket_group, &out->gid);
		settle_group(&sink, CONFIG_KEY_socket_admin_group, out->socket_admin_group,
			     &out->admin_gid);
	}
	return sink.nr_mistakes ? EX_CONFIG : EX_OK;
}
