/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion - the verb that prints shell completions
 *
 * Purpose     Scripts for bash and zsh with the verbs, their summaries and the options of the
 *             one table. The build installs what this verb prints.
 * Invariants  C1  names of pools, which clients choose, are only completed when they are plain:
 *                 a script never lets one be read as shell.
 */
#include <stdio.h>
#include <string.h>

#include "tools/verbs.h"

static const char bash_end[] = "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
			       "\t\tcase ${COMP_WORDS[i]} in\n"
			       "\t\t-[spSt] | --socket | --pool | --session | --timeout)\n"
			       "\t\t\t((i++)) ;;\n"
			       "\t\t-*) ;;\n"
			       "\t\t*)\n"
			       "\t\t\tverb=${COMP_WORDS[i]}\n"
			       "\t\t\tbreak\n"
			       "\t\t\t;;\n"
			       "\t\tesac\n"
			       "\tdone\n"
			       "\tcase ${COMP_WORDS[COMP_CWORD - 1]} in\n"
			       "\t-s | --socket)\n"
			       "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
			       "\t\treturn\n"
			       "\t\t;;\n"
			       "\t-p | --pool)\n"
			       "\t\twords=$(mmbctl pools --json 2>/dev/null |\n"
			       "\t\t\tsed -n 's/.*\"name\":\"\\([A-Za-z0-9._-]*\\)\".*/\\1/p')\n"
			       "\t\t;;\n"
			       "\t-[St] | --session | --timeout) return ;;\n"
			       "\t*)\n"
			       "\t\tcase $cur:$verb in\n"
			       "\t\t-*) words=$options ;;\n"
			       "\t\t*:) words=$verbs ;;\n"
			       "\t\t*:help) words=$verbs ;;\n"
			       "\t\t*:completion) words='bash zsh' ;;\n"
			       "\t\t*:maps)\n"
			       "\t\t\twords=$(mmbctl sessions --json 2>/dev/null |\n"
			       "\t\t\t\tsed -n 's/.*\"id\":\\([0-9]*\\).*/\\1/p')\n"
			       "\t\t\t;;\n"
			       "\t\tesac\n"
			       "\t\t;;\n"
			       "\tesac\n"
			       "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
			       "}\n"
			       "complete -F _mmbctl mmbctl\n";

static void print_bash(void)
{
	printf("# bash completion for mmbctl, printed by 'mmbctl completion bash'\n"
	       "_mmbctl()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} verb='' words='' i\n"
	       "\tlocal verbs='");
	for (unsigned int i = 0; i < nr_verbs; i++)
		printf("%s%s", i ? " " : "", verbs[i].name);
	printf("'\n\tlocal options='");
	for (unsigned int i = 0; i < nr_options; i++)
		printf("%s--%s", i ? " " : "", options[i].name);
	printf("'\n\n%s", bash_end);
}

/* Inside single quotes and _arguments' own punctuation. */
static void put_zsh(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else if (strchr(":[]", *text))
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

static void print_zsh(void)
{
	printf("#compdef mmbctl\n# zsh completion for mmbctl, printed by 'mmbctl completion zsh'\n"
	       "_mmbctl_verbs()\n{\n\tlocal -a verbs=(\n");
	for (unsigned int i = 0; i < nr_verbs; i++) {
		printf("\t\t'%s:", verbs[i].name);
		put_zsh(verbs[i].summary);
		printf("'\n");
	}
	printf("\t)\n\t_describe verb verbs\n}\n_mmbctl()\n{\n\t_arguments \\\n");
	for (unsigned int i = 0; i < nr_options; i++) {
		const struct option_row *o = &options[i];

		printf("\t\t'(-%c --%s)'{-%c,--%s}'[", o->letter, o->name, o->letter, o->name);
		put_zsh(o->summary);
		printf("]%s%s%s' \\\n", o->operand ? ":" : "", o->operand ? o->operand : "",
		       o->letter == 's' ? ":_files"
		       : o->operand     ? ": "
					: "");
	}
	printf("\t\t'1:verb:_mmbctl_verbs' \\\n\t\t'2:argument: '\n}\n_mmbctl \"$@\"\n");
}

int run_completion(const struct invocation *in)
{
	if (strcmp(in->operand, "bash") == 0) {
		print_bash();
	} else if (strcmp(in->operand, "zsh") == 0) {
		print_zsh();
	} else {
		fprintf(stderr,
			"mmbctl: completion: '%s' is no shell known here; bash and zsh are\n",
			in->operand);
		return CTL_USAGE;
	}
	return CTL_DONE;
}
