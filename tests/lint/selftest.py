#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""selftest - every rule finds what was planted for it, and is silent on a clean tree

Each rule has planted trees: the clean tree with some files replaced or added, and a piece of the
sentence the rule must say. A rule without one fails here, as does one that passes on nothing.
"""
import sys

import rules_config      # noqa: F401
import rules_floors      # noqa: F401
import rules_shape       # noqa: F401
import rules_twice       # noqa: F401
import rules_words       # noqa: F401
from rules import RULES, apply
from tree import Tree

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def c(name, body):
    return f"{SPDX}/*\n * {name} - a planted file\n */\n{body}"


BUDDY = ('#include "mm/phys/buddy.h"\n#include "base/list.h"\n\n/* buddy_merge() undoes it. */\n'
         "int buddy_split(int order)\n{\n\treturn order - 1;\n}\n\n"
         "int buddy_merge(int order)\n{\n\treturn order + 1;\n}\n")
KEYS = '#define KEYS(X) \\\n\tX(memory, reserve, RESERVE, "25%", "", RESTART, "how much")\n'
CLEAN = {
    "include/mmbroker.h": c("mmbroker", "#include <stddef.h>\nint mmb_open(void);\n"),
    "daemon/meson.build": "lib = ['base/list.c', 'mm/phys/buddy.c', 'os/ring.c', 'os/kept.c']\n",
    "daemon/base/list.h": c("list", "int list_length(int n);\n"),
    "daemon/base/list.c": c("list", '#include "base/list.h"\n\nint list_length(int n)\n'
                                    "{\n\treturn n;\n}\n"),
    "daemon/mm/phys/buddy.h": c("buddy", '#include "base/list.h"\n\n/* c: fixed  z: lock */\n'
                                "struct buddy {\n\tstruct mutex lock;\n\tint free; /* (z) */\n};\n"
                                "int buddy_split(int order);\nint buddy_merge(int order);\n"),
    "daemon/mm/phys/buddy.c": c("buddy", BUDDY),
    "daemon/os/ring.c": c("ring", "#include <liburing.h>\n"),
    "daemon/os/kept.c": SPDX + "/*\n * kept - a planted file\n * Crash       nothing\n */\n"
                        "void kept(void)\n{\n\tkeep_drop(1);\n}\n",
    "libclient/meson.build": "lib = ['heap.c']\n",
    "libclient/heap.c": c("heap", '#include "mmbroker.h"\n'),
    "daemon/app/config_keys.h": c("config_keys", KEYS),
    "tests/unit/test_buddy.c": c("test_buddy", '#include "mm/phys/buddy.h"\n'),
    "tests/unit/meson.build": "tests = {'test_buddy': []}\n",
}
IFS = "\tif (order)\n" * 5
LONG = "\torder++;\n" * 70
COPY = "\treturn order * order + order / 2 - order % 7 + (order << 2) - (order >> 1) " \
       "+ order * 3 + order * 5 + order * 7 + order * 9;\n"

# rule -> [(files, what the rule must say)]
PLANTED = {
    "floors": [
        ({"daemon/base/list.h": c("list", '#include "mm/phys/buddy.h"\n')}, "floor 0 includes"),
        ({"daemon/base/list.h": c("list", '#include "mmbroker.h"\n')}, "begin at floor 6"),
        ({"daemon/base/list.h": c("list", '#include "base/gone.h"\n')}, "no file"),
        ({"daemon/extra/x.c": c("x", "")}, "no floor"),
        ({"daemon/base/list.h": c("list", '#include "../../libclient/heap.h"\n'),
          "libclient/heap.h": c("heap", "")}, "the daemon includes"),
    ],
    "borders": [
        ({"libclient/heap.c": c("heap", '#include "base/list.h"\n')}, "may not include daemon/"),
        ({"examples/x.c": c("x", '#include "proto/x.h"\n'), "proto/x.h": c("x", "")},
         "may not include proto/"),
        ({"include/mmbroker.h": c("mmbroker", '#include "proto/x.h"\n'),
          "proto/x.h": c("x", "")}, "may not include"),
    ],
    "libraries": [
        ({"daemon/base/list.c": c("list", "#include <liburing.h>\n")}, "belongs to daemon/os"),
        ({"daemon/os/ring.c": c("ring", "#include <event2/event.h>\n")}, "belongs to daemon/ipc"),
    ],
    "circles": [
        ({"daemon/base/a.h": c("a", '#include "base/b.h"\n'),
          "daemon/base/b.h": c("b", '#include "base/a.h"\n')}, "circle: "),
    ],
    "public": [({"include/inner.h": c("inner", "")}, "only mmbroker.h")],
    "file-size": [({"daemon/base/list.h": c("list", "int x;\n" * 800)}, "more than 800")],
    "function-size": [
        ({"daemon/base/list.c": c("list", f"int f(int order)\n{{\n{LONG}}}\n")}, "f has 73 lines"),
    ],
    "parameters": [
        ({"daemon/base/list.c": c("list", "int f(int a, int b, int c, int d, int e,\n"
                                  "      int (*g)(int, int), int h)\n{\n}\n")}, "7 parameters"),
    ],
    "levels": [
        ({"daemon/base/list.c": c("list", f"int f(int order)\n{{\n{IFS}\t\treturn 1;\n}}\n")},
         "nests 5 levels"),
        ({"daemon/base/list.c": c("list", "void f(int o)\n{\n\tfor (;;) {\n\t\tswitch (o) {\n"
                                  "\t\tcase 1:\n\t\t\tdo {\n\t\t\t\tlist_for_each_entry(a, b, c)\n"
                                  "\t\t\t\t\tif (o) {\n\t\t\t\t\t\to++;\n\t\t\t\t\t}\n"
                                  "\t\t\t} while (o);\n\t\t}\n\t}\n}\n")}, "nests 5 levels"),
    ],
    "columns": [({"daemon/base/list.h": c("list", "\t" * 12 + "int x;\n")}, "102 columns")],
    "blanks": [
        ({"daemon/base/list.h": c("list", "int x; \n")}, "ends in blanks"),
        ({"daemon/base/list.h": c("list", "        int x;\n")}, "indented by blanks"),
        ({"daemon/base/list.h": c("list", "int x;\n\n")}, "one newline"),
        ({"daemon/base/list.h": c("list", "int x;")}, "one newline"),
    ],
    "unfinished": [
        ({"daemon/base/list.h": c("list", "/* TODO: more */\n")}, "says TODO"),
        ({"docs/x.md": "This is not yet implemented.\n"}, "not yet implemented"),
        ({"daemon/base/list.h": c("list", "#if 0\nint x;\n#endif\n")}, "dead code"),
    ],
    "machine-paths": [
        ({"docs/x.md": "see /home/someone/x\n"}, "names /home/someone/"),
        ({"daemon/base/list.h": c("list", "/* in /tmp/build-x */\n")}, "names /tmp/build"),
    ],
    "head-comment": [
        ({"daemon/base/list.h": "int x;\n"}, "no SPDX"),
        ({"daemon/base/list.h": SPDX + "int x;\n"}, "no head comment"),
    ],
    "crash": [({"daemon/os/ring.c": c("ring", "int f(int fd)\n{\n\treturn keep_fd(1, fd);\n}\n")},
               "says what a crash leaves")],
    "vague-names": [({"daemon/base/common.h": c("common", "")}, "says nothing")],
    "banners": [({"daemon/base/list.h": c("list", "/* ------------ lists */\n")}, "banner")],
    "named-functions": [
        ({"daemon/base/list.h": c("list", "/* see list_gone() */\n")}, "list_gone() exists"),
        ({"README.md": "Call mmb_vanish(x).\n"}, "mmb_vanish() exists"),
    ],
    "duplicates": [
        ({"daemon/os/ring.c": c("ring", "static int half(int n)\n{\n\treturn n / 2;\n}\n"),
          "daemon/base/list.c": c("list", "static int half(int n)\n{\n\treturn n / 2;\n}\n")},
         "half is half of"),
        ({"daemon/os/ring.c": c("ring", f"int f(int order)\n{{\n{COPY}}}\n"),
          "daemon/base/list.c": c("list", f"int g(int order)\n{{\n{COPY}}}\n")}, "again"),
    ],
    "tested": [({"daemon/mm/phys/pcp.c": c("pcp", "")}, "no test names pcp.c")],
    "guarded": [
        ({"daemon/mm/phys/buddy.h": c("buddy", "/* c: fixed */\nstruct buddy {\n"
          "\tstruct mutex lock;\n\tint free;\n};\n")}, "no key letter"),
        ({"daemon/mm/phys/buddy.h": c("buddy", "/* c: fixed */\nstruct buddy {\n"
          "\tstruct mutex lock;\n\tint free; /* (z) */\n};\n")}, "isn't explained above"),
    ],
    "defaults": [
        ({"README.md": "The default of memory.reserve is 10%.\n"}, "that isn't 25%"),
        ({"daemon/app/config_keys.h": c("config_keys", KEYS + KEYS)}, "stands twice"),
    ],
    "orphans": [({"daemon/base/left.c": c("left", "")}, "no meson.build names it")],
}


def faults_of(name):
    """What is wrong with one rule, as sentences."""
    if not PLANTED.get(name):
        yield "has no planted violation"
    if apply(name, Tree({}))[0]:
        yield "found something to check in an empty tree"
    checked, problems = apply(name, Tree(CLEAN))
    if not checked:
        yield "found nothing to check in the clean tree"
    for problem in problems:
        yield f"dislikes the clean tree: {problem}"
    for files, words in PLANTED.get(name, []):
        said = [str(p) for p in apply(name, Tree({**CLEAN, **files}))[1]]
        if not any(words in sentence for sentence in said):
            yield f"didn't say {words!r} of {', '.join(files)}, but {said}"


def main():
    failed = 0
    for name in RULES:
        faults = list(faults_of(name))
        failed += bool(faults)
        print(f"{'FAIL' if faults else 'ok':4} {name} finds what was planted")
        for fault in faults:
            print(f"     {fault}")
    for name in PLANTED.keys() - RULES.keys():
        failed += 1
        print(f"FAIL {name} is planted and is no rule")
    print(f"{len(RULES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
