/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file - lines looked at, counted, and handed to inih
 *
 * Invariants  I1  inih sees each line once, as a line of its own, or an empty one in its place.
 * Locking     none.
 */
#include "app/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_FILE_MAX = 1 << 20, CONFIG_PIPE_MS = 2000 };

struct reader {
	struct config_sink *sink;
	const char         *path;
	FILE               *file;
	char               *line; /* getline's */
	size_t              room;
	unsigned int        nr; /* of the line, from 1 */
	bool                bad; /* the last line was a mistake already */
	int                 error;
	unsigned int        seen[NR_CONFIG_KEYS]; /* line of each key; 0: not yet */
};

static void mistake(struct reader *r, const char *what)
{
	char place[512];

	snprintf(place, sizeof(place), "%s:%u", r->path, r->nr);
	config_mistake(r->sink, place, "%s", what);
	r->bad = true;
}

static void mistake_length(struct reader *r, int most)
{
	char what[80];

	snprintf(what, sizeof(what), "this line is too long; expected at most %d bytes", most);
	mistake(r, what);
}

/* inih asks a handler about keys only: an unknown section without any would pass. */
static void check_section(struct reader *r, const char *text)
{
	char        name[128], what[512];
	size_t      nr = strcspn(text + 1, "]");
	const char *after = text + 1 + nr, *before = "";
	int         at;

	if (*after != ']' || nr >= sizeof(name)) {
		mistake(r, "a section is written [name]");
		return;
	}
	after += 1 + strspn(after + 1, " \t\r\n");
	if (*after && !strchr("#;", *after))
		mistake(r, "expected nothing behind [section]; its keys stand in lines of their "
			   "own");
	snprintf(name, sizeof(name), "%.*s", (int)nr, text + 1);
	at = snprintf(what, sizeof(what), "there is no section [%s]; the sections are ", name);
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		const char *section = config_keys[i].section;

		if (strcmp(section, name) == 0)
			return;
		if (i > 0 && strcmp(section, config_keys[i - 1].section) == 0)
			continue;
		at += snprintf(what + at, sizeof(what) - (size_t)at, "%s%s", before, section);
		before = ", ";
	}
	mistake(r, what);
}

/* A line for inih, which wants fgets. One with a mistake is shown to it as an empty line. */
static char *read_line(char *out, int room, void *stream)
{
	struct reader *r = stream;
	ssize_t        nr = getline(&r->line, &r->room, r->file);
	const char    *text;

	if (nr < 0) {
		r->error = ferror(r->file) ? -errno : 0;
		return NULL;
	}
	r->nr++;
	r->bad = false;
	/* Leading blanks would make inih take the line for a continuation of the last value. */
	text = r->line + strspn(r->line, " \t");
	if (strlen(r->line) != (size_t)nr)
		mistake(r, "there is a NUL byte in this line");
	else if (text[0] && strchr("#;", text[0]))
		text = "\n";
	else if (strlen(text) >= (size_t)room)
		mistake_length(r, room - 2); /* its end, and a NUL */
	else if (text[0] == '[')
		check_section(r, text);
	else if (text[0] && !strchr("#;\r\n", text[0]) && !strchr(text, '='))
		mistake(r, "expected [section], key = value, or a comment after #");
	snprintf(out, (size_t)room, "%s", r->bad && text[0] != '[' ? "\n" : text);
	return out;
}

static int take_setting(void *user, const char *section, const char *name, const char *value)
{
	struct reader        *r = user;
	char                  place[512];
	struct config_setting s = { place, section, name, value };
	int                   key;

	snprintf(place, sizeof(place), "%s:%u", r->path, r->nr);
	if (!section[0]) {
		config_mistake(r->sink, place, "%s = ... stands before any [section]", name);
		return 1;
	}
	key = config_setting_key(r->sink, &s);
	if (key >= 0 && r->seen[key])
		config_mistake(r->sink, place, "%s.%s was set before, in line %u", section, name,
			       r->seen[key]);
	else if (key >= 0)
		config_setting_apply(r->sink, key, &s);
	if (key >= 0)
		r->seen[key] = r->nr;
	return 1;
}

/* 0, or why what was opened isn't read: that might never end. */
static int check_kind(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct stat   st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (S_ISREG(st.st_mode))
		return st.st_size > CONFIG_FILE_MAX ? -EFBIG : 0;
	if (!S_ISFIFO(st.st_mode))
		return -ENODEV;
	return poll(&wait, 1, CONFIG_PIPE_MS) > 0 ? 0 : -ETIMEDOUT;
}

static int open_file(const char *path, FILE **out)
{
	/* A pipe that nobody writes to opens at once so. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int error = fd < 0 ? -errno : check_kind(fd);

	if (!error && fcntl(fd, F_SETFL, 0))
		error = -errno;
	if (!error) {
		*out = fdopen(fd, "r");
		error = *out ? 0 : -errno;
	}
	if (error && fd >= 0)
		close(fd);
	return error;
}

const char *config_file_why(int error)
{
	switch (error) {
	case -ENODEV:
		return "it is neither a file nor a pipe";
	case -EFBIG:
		return "it has more than 1 MiB, which is no configuration";
	case -ETIMEDOUT:
		return "it is a pipe that nobody writes to";
	default:
		return strerror(-error);
	}
}

int config_file_read(struct config_sink *sink, const char *path)
{
	struct reader r = { .sink = sink, .path = path };
	int           line, error = open_file(path, &r.file);

	if (error)
		return error;
	line = ini_parse_stream(read_line, &r, take_setting, &r);
	/* What inih alone minds; the checks before it leave very little. */
	if (line > 0 && !sink->nr_mistakes) {
		r.nr = (unsigned int)line;
		mistake(&r, "expected [section], key = value, or a comment after #");
	} else if (line < 0) {
		r.error = -ENOMEM;
	}
	fclose(r.file);
	free(r.line);
	return r.error;
}
