#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lint - the repository checks its own style

usage: lint.py ROOT [RULE...]      one line a rule, then "N passed, N failed, N skipped"
"""
import sys

import rules_config      # noqa: F401  each module registers its rules
import rules_floors      # noqa: F401
import rules_shape       # noqa: F401
import rules_twice       # noqa: F401
import rules_words       # noqa: F401
from rules import RULES, apply
from tree import Tree


def main(root, names):
    tree = Tree.of_folder(root)
    failed = 0
    for name in names or RULES:
        checked, problems = apply(name, tree)
        if not checked:
            problems.append("found nothing to check")
        verdict = "FAIL" if problems else "ok"
        failed += bool(problems)
        print(f"{verdict:4} {name}: {RULES[name][0]} ({checked} looked at)")
        for problem in problems:
            print(f"     {problem}")
    print(f"{len(names or RULES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
