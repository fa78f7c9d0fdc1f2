/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_help - the key table as text, for people
 *
 * Locking     none.
 */
#include "app/config_help.h"

#include <errno.h>
#include <string.h>

#include "app/config_value.h"

static bool begins_section(int i)
{
	return i == 0 || strcmp(config_keys[i].section, config_keys[i - 1].section) != 0;
}

static void help_key(FILE *out, const struct config_key *k)
{
	char flag[128], expected[CONFIG_EXPECTED_BYTES];

	snprintf(flag, sizeof(flag), "--%s.%s=%s", k->section, k->name, k->fallback);
	config_value_expected(k, expected);
	fprintf(out, "  %-36s %s\n  %-36s   %s\n", flag, k->help, "", expected);
}

void config_help(FILE *out)
{
	fputs("Usage: mmbrokerd [--config FILE] [--socket PATH] [--SECTION.KEY=VALUE ...]\n"
	      "\n"
	      "Serves the memory of this host to the programs that connect, in the foreground,\n"
	      "until SIGTERM or SIGINT. Logs to stderr.\n"
	      "\n"
	      "  --config FILE                        read settings from this file; after a '-'\n"
	      "                                       it may be absent\n"
	      "  --socket PATH                        the same as --socket.path=PATH\n"
	      "  --supervise                          restart the daemon when it dies\n"
	      "  --check-config                       say what is wrong with the keys, and exit\n"
	      "  --show SECTION.KEY                   print what this key would be, and exit\n"
	      "  --dump-keys markdown|mdoc            print the table of keys, and exit\n"
	      "  --version                            print the version, and exit\n"
	      "  --help                               print this, and exit\n"
	      "\n"
	      "Each key may stand in the file, in the environment as MMB_SECTION_KEY, and here;\n"
	      "the later of these wins. Keys with their defaults:\n",
	      out);
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		if (begins_section(i))
			fprintf(out, "\n[%s]\n", config_keys[i].section);
		help_key(out, &config_keys[i]);
	}
}

static void markdown_key(FILE *out, const struct config_key *k)
{
	char expected[CONFIG_EXPECTED_BYTES];

	config_value_expected(k, expected);
	fprintf(out, "| `%s.%s` | %s%s%s | %s | %s | %s |\n", k->section, k->name,
		k->fallback[0] ? "`" : "", k->fallback[0] ? k->fallback : "empty",
		k->fallback[0] ? "`" : "", expected, k->live ? "on reload" : "at start", k->help);
}

static void dump_markdown(FILE *out)
{
	fputs("| key | default | expected | takes effect | meaning |\n"
	      "|---|---|---|---|---|\n", out);
	for (int i = 0; i < NR_CONFIG_KEYS; i++)
		markdown_key(out, &config_keys[i]);
}

static void mdoc_key(FILE *out, const struct config_key *k)
{
	char expected[CONFIG_EXPECTED_BYTES];

	config_value_expected(k, expected);
	fprintf(out, ".It Cm %s\n%c%s.\nExpected: %s.\n", k->name,
		k->help[0] >= 'a' && k->help[0] <= 'z' ? k->help[0] - 'a' + 'A' : k->help[0],
		k->help + 1, expected);
	if (k->fallback[0])
		fprintf(out, "Default:\n.Cm %s .\n", k->fallback);
	if (k->live)
		fputs("Takes effect on reload.\n", out);
}

static void dump_mdoc(FILE *out)
{
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		if (begins_section(i))
			fprintf(out, "%s.Ss [%s]\n.Bl -tag -width Ds\n", i ? ".El\n" : "",
				config_keys[i].section);
		mdoc_key(out, &config_keys[i]);
	}
	fputs(".El\n", out);
}

int config_dump_keys(const char *format, FILE *out)
{
	static const struct {
		const char *name;
		void (*dump)(FILE *out);
	} formats[] = { { "markdown", dump_markdown }, { "mdoc", dump_mdoc } };

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(formats[i].name, format) == 0) {
			formats[i].dump(out);
			return 0;
		}
	}
	return -EINVAL;
}
