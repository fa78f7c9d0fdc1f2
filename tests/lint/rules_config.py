# SPDX-License-Identifier: Apache-2.0
"""rules_config - the table of configuration keys is the only place that knows a default
"""
import re

from rules import CHECKED, Problem, rule

TABLE = "daemon/app/config_keys.h"
ROW = re.compile(r'^\s*X\((\w+), (\w+), (\w+), "([^"]*)"', re.M)


@rule("a key stands once in the table, and a default named elsewhere is the table's")
def defaults(tree):
    rows = ROW.findall(tree.files.get(TABLE, ""))
    keys = {}
    for section, key, _, value in rows:
        yield CHECKED
        if f"{section}.{key}" in keys:
            yield Problem(TABLE, 1, f"{section}.{key} stands twice")
        keys[f"{section}.{key}"] = value
    for path in tree.paths():
        if path == TABLE:
            continue
        for number, line in enumerate(tree.files[path].split("\n"), 1):
            if not re.search(r"\bdefaults?\b", line):
                continue
            for name in set(re.findall(r"\b[a-z]+\.[a-z_]+\b", line)) & keys.keys():
                if keys[name] and keys[name] not in line:
                    yield Problem(path, number, f"names a default of {name} that isn't "
                                  f"{keys[name]}")
