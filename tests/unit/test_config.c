/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config - what each source sets, which wins, and what each mistake is told
 */
#include "app/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/config_value.h"
#include "lib/test.h"

enum { ARGS_MAX = 8 };

struct outcome {
	struct config config;
	int           status;
	char         *err; /* what was printed; freed by outcome_fini */
	char          path[64];
};

/* Loads a file of this text (NULL: none), with further arguments ended by NULL. */
static void load(struct outcome *o, const char *text, const char *const *args)
{
	const char *argv[ARGS_MAX + 4] = { "mmbrokerd", "--socket=/tmp/s" };
	int    argc = 2, fd;
	size_t nr;
	FILE  *err = open_memstream(&o->err, &nr);

	strcpy(o->path, "/tmp/mmb-test-config-XXXXXX");
	fd = mkstemp(o->path);
	EXPECT(fd >= 0);
	if (text) {
		EXPECT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
		argv[argc++] = "--config";
		argv[argc++] = o->path;
	}
	close(fd);
	for (int i = 0; args && args[i]; i++)
		argv[argc++] = args[i];
	o->status = config_load(argc, (char **)(uintptr_t)argv, &o->config, err);
	fclose(err);
	unlink(o->path);
}

static void outcome_fini(struct outcome *o)
{
	config_fini(&o->config);
	free(o->err);
}

/* ---- values ---- */

static uint64_t host_memory(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void defaults_are_the_documented_ones(void)
{
	struct outcome o;

	load(&o, NULL, NULL);
	EXPECT_EQ(o.status, EX_OK);
	EXPECT_EQ(o.config.action, CONFIG_RUN);
	EXPECT_EQ(o.config.memory_reserve, (host_memory() / 100 * 25) >> 21 << 21);
	EXPECT_EQ(o.config.memory_reserve_huge, 0);
	EXPECT_EQ(o.config.memory_reserve_mode, RESERVE_ACCOUNT);
	EXPECT_EQ(o.config.memory_fault_deadline, 60000);
	EXPECT_EQ(o.config.memory_pass_userfaultfd, 0);
	EXPECT_EQ(o.config.memory_fault_threads, 0);
	EXPECT_EQ(o.config.memory_watermark_scale_factor, 10);
	EXPECT_EQ(o.config.socket_mode, 0660);
	EXPECT(strcmp(o.config.socket_group, "") == 0);
	EXPECT(strcmp(o.config.socket_path, "/tmp/s") == 0);
	EXPECT_EQ(o.config.limits_requests_in_flight, 64);
	EXPECT_EQ(o.config.limits_upcall_deadline, 5000);
	EXPECT_EQ(o.config.control_workers, 2);
	EXPECT_EQ(strlen(o.err), 0);
	outcome_fini(&o);
}

static void file_sets_every_type(void)
{
	struct outcome o;

	load(&o,
	     "# a comment\n"
	     "; another\n"
	     "\n"
	     "[memory]\n"
	     "reserve = 1536M ; of which some is used\n"
	     "  reserve_huge=2g\n"
	     "reserve_mode = hold\n"
	     "fault_deadline = 1500ms\r\n"
	     "[socket]\n"
	     "\tmode = 0600\n"
	     "group = users\n"
	     "[limits]\n"
	     "sessions = 5\n"
	     "hello_deadline = 2m\n"
	     "[log]\n"
	     "level = debug",
	     NULL);
	EXPECT_EQ(o.status, EX_OK);
	EXPECT_EQ(o.config.memory_reserve, UINT64_C(1536) << 20);
	EXPECT_EQ(o.config.memory_reserve_huge, UINT64_C(2) << 30);
	EXPECT_EQ(o.config.memory_reserve_mode, RESERVE_HOLD);
	EXPECT_EQ(o.config.memory_fault_deadline, 1500);
	EXPECT_EQ(o.config.socket_mode, 0600);
	EXPECT(strcmp(o.config.socket_group, "users") == 0);
	EXPECT_EQ(o.config.limits_sessions, 5);
	EXPECT_EQ(o.config.limits_hello_deadline, 120000);
	EXPECT_EQ(o.config.log_level, 4);
	outcome_fini(&o);
}

static void later_source_wins(void)
{
	const char *const flags[] = { "--limits.sessions=3", "--log.level=debug",
				      "--socket", "/tmp/other", NULL };
	struct outcome    o;

	setenv("MMB_LIMITS_SESSIONS", "2", 1);
	setenv("MMB_CONTROL_WORKERS", "7", 1);
	setenv("MMB_SOCKET", "/tmp/the-library's", 1);
	load(&o, "[limits]\nsessions = 1\nsessions_per_uid = 9\n[control]\nworkers = 1\n", flags);
	unsetenv("MMB_LIMITS_SESSIONS");
	unsetenv("MMB_CONTROL_WORKERS");
	unsetenv("MMB_SOCKET");
	EXPECT_EQ(o.status, EX_OK);
	EXPECT_EQ(o.config.limits_sessions, 3);
	EXPECT_EQ(o.config.control_workers, 7);
	EXPECT_EQ(o.config.limits_sessions_per_uid, 9);
	EXPECT(strcmp(o.config.socket_path, "/tmp/other") == 0);
	outcome_fini(&o);
}

static void percentages_are_of_the_host(void)
{
	const char *const flags[] = { "--memory.reserve=10%", "--memory.reserve_huge=100%", NULL };
	struct outcome    o;

	load(&o, NULL, flags);
	EXPECT_EQ(o.status, EX_OK);
	EXPECT(o.config.memory_reserve <= host_memory() / 10);
	EXPECT(o.config.memory_reserve + (4 << 20) >= host_memory() / 10);
	EXPECT_EQ(o.config.memory_reserve % (2 << 20), 0);
	outcome_fini(&o);
}

static void questions_are_answered_without_running(void)
{
	const char *const check[] = { "--check-config", NULL };
	struct outcome    o;

	load(&o, "[memory]\nreserve = 1G\n", check);
	EXPECT_EQ(o.status, EX_OK);
	EXPECT_EQ(o.config.action, CONFIG_CHECK);
	outcome_fini(&o);
	load(&o, "[memory]\nreserve = 1X\n", check);
	EXPECT_EQ(o.status, EX_CONFIG);
	outcome_fini(&o);
}

static void default_socket_follows_the_rule(void)
{
	char *path;

	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	path = config_default_socket();
	EXPECT(strcmp(path, geteuid() == 0 ? "/run/mmbroker/mmbroker.sock"
					   : "/run/user/7/mmbroker/mmbroker.sock") == 0);
	free(path);
}

static void dumps_name_every_key(void)
{
	static const char *const formats[] = { "markdown", "mdoc" };

	for (int f = 0; f < 2; f++) {
		char  *text;
		size_t nr;
		FILE  *out = open_memstream(&text, &nr);

		EXPECT_EQ(config_dump_keys(formats[f], out), 0);
		fclose(out);
		for (int i = 0; i < NR_CONFIG_KEYS; i++)
			EXPECT(strstr(text, config_keys[i].name) != NULL);
		free(text);
	}
	EXPECT_EQ(config_dump_keys("html", stdout), -EINVAL);
}

/* ---- mistakes ---- */

enum source { IN_FILE, IN_FLAG, IN_ENVIRONMENT };

static const struct mistake {
	enum source source;
	const char *text; /* the file, the flag, or NAME=VALUE */
	const char *parts[4]; /* all of them are told */
} mistakes[] = {
	{ IN_FILE, "[memory]\nreserv = 1G\n",
	  { ":2: there is no key memory.reserv", "did you mean memory.reserve?" } },
	{ IN_FILE, "[memory]\n\n\nreserve_mod = hold\n",
	  { ":4: there is no key memory.reserve_mod", "memory.reserve_mode" } },
	{ IN_FILE, "[memory]\nelephant = 1\n",
	  { ":2: there is no key memory.elephant", "its keys are reserve, reserve_huge" } },
	{ IN_FILE, "[memory]\npath = /x\n", { ":2: there is no key memory.path", "socket.path" } },
	{ IN_FILE, "[memroy]\nreserve = 1G\n",
	  { ":1: there is no section [memroy]", ":2: there is no key memroy.reserve",
	    "the sections are memory, swap, socket, log, limits, control", "memory.reserve?" } },
	{ IN_FILE, "[swap]\nsize = much\n", { ":2: swap.size can't be \"much\"" } },
	{ IN_FILE, "[swap]\nio = fast\n", { "expected one of auto, threads" } },
	{ IN_FILE, "[swap]\nsize = 1G\n", { ":2: swap.size says", "expected swap.path, too" } },
	{ IN_ENVIRONMENT, "MMB_SWAP_SIZE=1G", { "environment MMB_SWAP_SIZE: swap.size says" } },
	{ IN_FILE, "reserve = 1G\n", { ":1: reserve = ... stands before any [section]" } },
	{ IN_FILE, "[memory]\nreserve 1G\n",
	  { ":2: expected [section], key = value, or a comment after #" } },
	{ IN_FILE, "[memory] reserve = 1G\n",
	  { ":1: expected nothing behind [section]; its keys stand in lines of their own" } },
	{ IN_FILE, "[memory]\n[nothing]\n[log] # of events\n",
	  { ":2: there is no section [nothing]; the sections are memory, swap, socket, log" } },
	{ IN_FILE, "[memory\nreserve = 1G\n", { ":1: a section is written [name]" } },
	{ IN_FILE, "[memory]\nreserve = 1G\nreserve = 2G\n",
	  { ":3: memory.reserve was set before, in line 2" } },
	{ IN_FILE, "[memory]\nreserve = 1G\n[log]\nlevel = info\n[memory]\nreserve = 1G\n",
	  { ":6: memory.reserve was set before, in line 2" } },
	{ IN_FILE, "[memory]\nreserve =\n", { ":2: memory.reserve can't be \"\"", "bytes" } },
	{ IN_FILE, "[memory]\nreserve = lots\n", { ":2: memory.reserve can't be \"lots\"; expected "
						   "bytes, with K, M, G or T", "25%" } },
	{ IN_FILE, "[memory]\nreserve = 1.5G\n", { ":2: memory.reserve can't be \"1.5G\"" } },
	{ IN_FILE, "[memory]\nreserve = -1G\n", { ":2: memory.reserve can't be \"-1G\"" } },
	{ IN_FILE, "[memory]\nreserve = 1GB\n", { ":2: memory.reserve can't be \"1GB\"" } },
	{ IN_FILE, "[memory]\nreserve = 101%\n", { ":2: memory.reserve can't be \"101%\"" } },
	{ IN_FILE, "[memory]\nreserve = 99999999999T\n", { ":2: memory.reserve can't be" } },
	{ IN_FILE, "[memory]\nreserve = 1G # comment\n",
	  { ":2: memory.reserve can't be \"1G # comment\"" } },
	{ IN_FILE, "[memory]\nreserve_mode = maybe\n",
	  { ":2: memory.reserve_mode can't be \"maybe\"; expected one of account, hold" } },
	{ IN_FILE, "[memory]\nreserve_mode = hol\n", { "expected one of account, hold" } },
	{ IN_FILE, "[memory]\nfault_deadline = 5h\n",
	  { ":2: memory.fault_deadline can't be \"5h\"; expected a time such as 500ms",
	    "from 100ms to 60m" } },
	{ IN_FILE, "[memory]\nfault_deadline = 1ms\n", { "from 100ms to 60m" } },
	{ IN_FILE, "[memory]\nfault_threads = 17\n", { "a whole number from 0 to 16" } },
	{ IN_FILE, "[memory]\nslub_debug = FZ;xQ,session\n",
	  { ":2: memory.slub_debug can't be \"FZ;xQ,session\"; expected letters of FZPU and" } },
	{ IN_FILE, "[socket]\nmode = 0999\n",
	  { ":2: socket.mode can't be \"0999\"; expected octal permission bits" } },
	{ IN_FILE, "[socket]\nmode = 7777\n", { "at most 0777" } },
	{ IN_FILE, "[control]\nworkers = 0\n",
	  { ":2: control.workers can't be \"0\"; expected a whole number from 1 to 16" } },
	{ IN_FILE, "[control]\nworkers = 2x\n", { "expected a whole number from 1 to 16" } },
	{ IN_FILE, "[limits]\nspan_per_uid = 1M\n", { "such as 512M, from 1G to 16T" } },
	{ IN_FILE, "[socket]\ngroup = no-such\nadmin_group = 99999999999\n",
	  { ":2: socket.group: there is no group 'no-such'", ":3: socket.admin_group: there is" } },
	{ IN_FILE, "[socket]\ngroup = -18446744073709551615\n",
	  { ":2: socket.group: there is no group '-1844" } },
	{ IN_ENVIRONMENT, "MMB_SOCKET_GROUP=no-such",
	  { "environment MMB_SOCKET_GROUP: socket.group: there is no group" } },
	{ IN_FILE, "[log]\nlevel = loud\n",
	  { "expected one of error, warning, notice, info, debug" } },
	{ IN_FILE, "[log]\nlevel = loud\n[control]\nworkers = no\n", { ":2: ", ":4: " } },
	{ IN_FLAG, "--memory.reserve=x", { "--memory.reserve: memory.reserve can't be \"x\"" } },
	{ IN_FLAG, "--memory.reserv=1G", { "there is no key memory.reserv", "memory.reserve?" } },
	{ IN_FLAG, "--memory.reserve", { "expected --section.key=VALUE", "--help" } },
	{ IN_FLAG, "--reserve=1G", { "--reserve=1G: unknown argument" } },
	{ IN_FLAG, "start", { "start: unknown argument" } },
	{ IN_FLAG, "--config", { "--config: a value is missing" } },
	{ IN_FLAG, "--show", { "--show: a value is missing" } },
	{ IN_FLAG, "--show=reserve", { "--show=reserve: expected the name of a key" } },
	{ IN_FLAG, "--dump-keys=html", { "expected markdown or mdoc" } },
	{ IN_ENVIRONMENT, "MMB_MEMORY_RESERVE=x",
	  { "environment MMB_MEMORY_RESERVE: memory.reserve can't be \"x\"" } },
	{ IN_ENVIRONMENT, "MMB_MEMORY_RESERV=1G",
	  { "environment MMB_MEMORY_RESERV: there is no key memory.reserv", "memory.reserve?" } },
	{ IN_ENVIRONMENT, "MMB_SWAP_SIZE=x",
	  { "environment MMB_SWAP_SIZE: swap.size can't be \"x\"" } },
};

static void load_mistake(struct outcome *o, const struct mistake *m)
{
	const char *const args[] = { m->text, NULL };
	char              variable[64];

	if (m->source == IN_FILE) {
		load(o, m->text, NULL);
	} else if (m->source == IN_FLAG) {
		load(o, NULL, args);
	} else {
		snprintf(variable, sizeof(variable), "%s", m->text);
		*strchr(variable, '=') = '\0';
		setenv(variable, strchr(m->text, '=') + 1, 1);
		load(o, NULL, NULL);
		unsetenv(variable);
	}
}

static void every_mistake_is_told_with_its_place(void)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		const struct mistake *m = &mistakes[i];
		struct outcome        o;

		load_mistake(&o, m);
		EXPECT_EQ(o.status, m->source == IN_FLAG ? EX_USAGE : EX_CONFIG);
		EXPECT(strncmp(o.err, "mmbrokerd: ", 11) == 0);
		for (int p = 0; p < 4 && m->parts[p]; p++) {
			if (!strstr(o.err, m->parts[p]))
				printf("  mistake %zu: no \"%s\" in: %s", i, m->parts[p], o.err);
			EXPECT(strstr(o.err, m->parts[p]) != NULL);
		}
		/* What wasn't wrong is as it was. */
		EXPECT_EQ(o.config.socket_mode, 0660);
		EXPECT_EQ(o.config.control_workers, 2);
		outcome_fini(&o);
	}
}

/* What only the host can say, such as that there is no such group. */
static void mistakes_that_show_later_have_their_place_too(void)
{
	const char *const args[] = { "--swap.path=there", NULL };
	struct outcome    o;
	char              place[CONFIG_PLACE_BYTES], expected[CONFIG_PLACE_BYTES];

	load(&o, "[memory]\nreserve = 1G\n\n[swap]\npath = here\n", args);
	EXPECT_EQ(o.status, EX_OK);
	config_place_of(&o.config, "memory.reserve is too much", place);
	snprintf(expected, sizeof(expected), "%s:2: ", o.path);
	EXPECT(strcmp(place, expected) == 0);
	config_place_of(&o.config, "memory.reserve_huge is too much", place); /* nobody set it */
	EXPECT(!place[0]);
	config_place_of(&o.config, "swap.path: there isn't there", place);
	EXPECT(strcmp(place, "--swap.path: ") == 0);
	config_place_of(&o.config, "swap.path", place);
	EXPECT(strcmp(place, "--swap.path: ") == 0);
	config_place_of(&o.config, "there is no memory", place);
	EXPECT(!place[0]);
	outcome_fini(&o);
}

static void absent_file_is_no_input(void)
{
	const char *const args[] = { "--config=/nonexistent/mmbroker.conf", NULL };
	struct outcome    o;

	load(&o, NULL, args);
	EXPECT_EQ(o.status, EX_NOINPUT);
	EXPECT(strstr(o.err, "/nonexistent/mmbroker.conf: can't be read: No such file") != NULL);
	outcome_fini(&o);
}

static void folder_is_no_input(void)
{
	const char *const args[] = { "--config=/tmp", NULL };
	struct outcome    o;

	load(&o, NULL, args);
	EXPECT_EQ(o.status, EX_NOINPUT);
	outcome_fini(&o);
}

static void load_only(struct outcome *o, const char *path)
{
	char              flag[128];
	const char *const args[] = { flag, NULL };

	snprintf(flag, sizeof(flag), "--config=%s", path);
	load(o, NULL, args);
}

/* What has no end, or waits for somebody who never comes. */
static void what_is_no_file_is_no_input(void)
{
	char           folder[] = "/tmp/mmb-test-config-XXXXXX", path[64];
	struct outcome o;

	load_only(&o, "/dev/zero");
	EXPECT_EQ(o.status, EX_NOINPUT);
	EXPECT(strstr(o.err, "/dev/zero: can't be read: it is neither a file nor a pipe"));
	outcome_fini(&o);
	EXPECT(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/pipe", folder);
	EXPECT_EQ(mkfifo(path, 0600), 0);
	load_only(&o, path);
	EXPECT_EQ(o.status, EX_NOINPUT);
	EXPECT(strstr(o.err, "it is a pipe that nobody writes to"));
	outcome_fini(&o);
	unlink(path);
	snprintf(path, sizeof(path), "%s/large", folder);
	EXPECT_EQ(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	EXPECT_EQ(truncate(path, 2 << 20), 0);
	load_only(&o, path);
	EXPECT_EQ(o.status, EX_NOINPUT);
	EXPECT(strstr(o.err, "it has more than 1 MiB"));
	outcome_fini(&o);
	unlink(path);
	rmdir(folder);
}

/* As a shell's <(...) is. */
static void a_pipe_is_as_good(void)
{
	static const char text[] = "[limits]\nsessions = 77\n";
	struct outcome    o;
	char              path[64];
	int               ends[2];

	EXPECT_EQ(pipe(ends), 0);
	EXPECT_EQ(write(ends[1], text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
	snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
	close(ends[1]);
	load_only(&o, path);
	EXPECT_EQ(o.status, EX_OK);
	EXPECT_EQ(o.config.limits_sessions, 77);
	outcome_fini(&o);
	close(ends[0]);
}

/* The text at `at` of a file, between two settings. */
static void load_around(struct outcome *o, const char *at, size_t nr)
{
	char  text[2048];
	size_t used = (size_t)sprintf(text, "[log]\nlevel = info\n");

	memcpy(text + used, at, nr);
	strcpy(text + used + nr, "\n[control]\nworkers = 1\n");
	load(o, text, NULL);
}

static void line_that_is_too_long_is_one_mistake(void)
{
	char           line[1000];
	struct outcome o;

	memset(line, 'x', sizeof(line));
	line[3] = '=';
	load_around(&o, line, sizeof(line));
	EXPECT_EQ(o.status, EX_CONFIG);
	EXPECT(strstr(o.err, ":3: this line is too long; expected at most 198 bytes") != NULL);
	EXPECT(strchr(o.err, '\n')[1] == '\0');
	EXPECT_EQ(o.config.control_workers, 1);
	outcome_fini(&o);
}

static void comment_may_be_as_long_as_it_likes(void)
{
	char           line[1000];
	struct outcome o;

	memset(line, 'x', sizeof(line));
	line[0] = '#';
	load_around(&o, line, sizeof(line));
	EXPECT_EQ(o.status, EX_OK);
	EXPECT_EQ(o.config.control_workers, 1);
	outcome_fini(&o);
}

/* Early in boot a directory's groups aren't there yet. */
static void key_is_shown_without_its_group(void)
{
	const char *const args[] = { "--socket.group=no-such", "--show", "memory.reserve_huge",
				     NULL };
	struct outcome    o;

	load(&o, NULL, args);
	EXPECT_EQ(o.status, EX_OK);
	outcome_fini(&o);
}

static void socket_path_must_fit_an_address(void)
{
	char              flag[200] = "--socket=/";
	const char *const args[] = { flag, NULL };
	struct outcome    o;

	memset(flag + 10, 'p', 102);
	load(&o, NULL, args);
	EXPECT_EQ(o.status, EX_OK);
	outcome_fini(&o);
	strcat(flag, "p");
	load(&o, NULL, args);
	EXPECT_EQ(o.status, EX_USAGE);
	EXPECT(strstr(o.err, "at most 103 bytes") != NULL);
	outcome_fini(&o);
}

static void absent_file_may_be_allowed(void)
{
	const char *const args[] = { "--config", "-/nonexistent/mmbrokerd.conf", NULL };
	struct outcome    o;

	load(&o, NULL, args);
	EXPECT_EQ(o.status, EX_OK);
	outcome_fini(&o);
	load(&o, "[log]\nlevel = loud\n", NULL);
	EXPECT_EQ(o.status, EX_CONFIG);
	outcome_fini(&o);
}

/* Each value is written in its key's own syntax, and reads back as itself. */
static void values_are_written_as_they_are_read(void)
{
	char           text[CONFIG_EXPECTED_BYTES];
	struct outcome o, again;

	load(&o, "[memory]\nreserve = 3G\nreserve_mode = hold\nfault_deadline = 1500ms\n"
		 "slub_debug = FZ\n[socket]\nmode = 0600\n[limits]\nsessions = 7\n", NULL);
	load(&again, NULL, NULL);
	EXPECT_EQ(o.status, EX_OK);
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		const struct config_key *key = &config_keys[i];

		config_value_text(&o.config, key, text);
		if (strcmp(text, "\"\"") != 0)
			EXPECT_EQ(config_value_set(&again.config, key, text), 0);
		EXPECT(config_value_same(&o.config, &again.config, key));
	}
	config_value_text(&o.config, &config_keys[CONFIG_KEY_memory_fault_deadline], text);
	EXPECT(!strcmp(text, "1500ms"));
	config_value_text(&o.config, &config_keys[CONFIG_KEY_socket_mode], text);
	EXPECT(!strcmp(text, "0600"));
	config_value_move(&again.config, &o.config, &config_keys[CONFIG_KEY_memory_slub_debug]);
	EXPECT(!strcmp(again.config.memory_slub_debug, "FZ"));
	outcome_fini(&o);
	outcome_fini(&again);
}

static const struct test_case cases[] = {
	{ "a file after '-' may be absent", absent_file_may_be_allowed },
	{ "values are written as they are read", values_are_written_as_they_are_read },
	{ "defaults are the documented ones", defaults_are_the_documented_ones },
	{ "a file sets every type", file_sets_every_type },
	{ "the later source wins", later_source_wins },
	{ "percentages are of the host", percentages_are_of_the_host },
	{ "questions are answered without running", questions_are_answered_without_running },
	{ "the default socket follows the rule", default_socket_follows_the_rule },
	{ "dumps name every key", dumps_name_every_key },
	{ "every mistake is told with its place", every_mistake_is_told_with_its_place },
	{ "mistakes that show later have their place, too",
	  mistakes_that_show_later_have_their_place_too },
	{ "an absent file is no input", absent_file_is_no_input },
	{ "a folder is no input", folder_is_no_input },
	{ "what is no file, or has no end, is no input", what_is_no_file_is_no_input },
	{ "a pipe is as good as a file", a_pipe_is_as_good },
	{ "a line that is too long is one mistake", line_that_is_too_long_is_one_mistake },
	{ "a comment may be as long as it likes", comment_may_be_as_long_as_it_likes },
	{ "a key is shown without its group", key_is_shown_without_its_group },
	{ "a socket's path must fit an address", socket_path_must_fit_an_address },
};

TEST_MAIN(cases)
