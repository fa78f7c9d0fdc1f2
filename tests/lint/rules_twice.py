# SPDX-License-Identifier: Apache-2.0
"""rules_twice - what stands twice, what stands nowhere else, what isn't guarded
"""
import collections
import os
import re

from rules import CHECKED, Problem, rule

# A static function that stands twice is a copy, and so is a body of this many tokens, whatever its
# name. Small functions with outside linkage may be alike: a test's stand-ins are.
SAME_TOKENS = 40
FIELD = re.compile(r"^\t+[A-Za-z_][^;]*;")
LOCK_FIELD = re.compile(r"\t+(struct mutex|pthread_(mutex|cond)_t)\s")
KEYED = re.compile(r"/\*[^*]*\(([A-Za-z](?:,\s*[A-Za-z])*)\)")


@rule("no helper is written twice")
def duplicates(tree):
    bodies = collections.defaultdict(list)
    for path in tree.c_paths():
        for function in tree.source(path).functions:
            yield CHECKED
            body = tuple(function.tokens)
            bodies[body].append((path, function))
    for body, places in bodies.items():
        first_path, first = places[0]
        for path, function in places[1:]:
            if len(body) >= SAME_TOKENS or \
                    function.name == first.name and function.is_static and first.is_static:
                yield Problem(path, function.first, f"{function.name} is {first.name} of "
                              f"{first_path}:{first.first} again")


@rule("every file of daemon/mm has a test that names it")
def tested(tree):
    tests = {p: tree.files[p] for p in tree.paths(".c", ".py", ".h", under="tests/")}
    for path in tree.paths(".c", under="daemon/mm/"):
        yield CHECKED
        stem = os.path.basename(path)[:-2]
        header = path[len("daemon/"):-2] + ".h"
        in_name = re.compile(r"(^|_)" + re.escape(stem) + r"($|_)")
        if not any(in_name.search(os.path.basename(p).rsplit(".", 1)[0])
                   or f'"{header}"' in text
                   or f"{stem}.c" in text and re.search(rf"\b{re.escape(stem)}\.c\b", text)
                   for p, text in tests.items()):
            yield Problem(path, 1, f"no test names {stem}.c or includes {header}")


def structs(text):
    """(line, everything before, body) of each struct definition in column 0."""
    for match in re.finditer(r"^(?:static )?struct \w*[^;{}()]*\{\n(.*?)^\}", text, re.S | re.M):
        yield text.count("\n", 0, match.start()) + 1, text[:match.start()], match.group(1)


def unguarded(body, explained):
    """(line offset, sentence) of each field that doesn't say what guards it."""
    for offset, text in enumerate(body.split("\n"), 1):
        if not FIELD.match(text) or LOCK_FIELD.match(text):
            continue
        key = KEYED.search(text)
        if key and not set(re.findall("[A-Za-z]", key.group(1))) <= explained:
            yield offset, f"key letter ({key.group(1)}) isn't explained above"
        elif not key and "/*" not in text:
            yield offset, "no key letter: " + text.strip()


@rule("in a struct with a lock, each field has its key letter or says in words what guards it")
def guarded(tree):
    for path in tree.c_paths("daemon/"):
        for line, before, body in structs(tree.files[path]):
            if not re.search(r"^\tstruct mutex\s+\w", body, re.M):
                continue
            yield CHECKED
            explained = set(re.findall(r"\b([A-Za-z]):", before))
            for offset, sentence in unguarded(body, explained):
                yield Problem(path, line + offset, sentence)


@rule("every C file is built")
def orphans(tree):
    for path in tree.paths(".c"):
        yield CHECKED
        folder, name = os.path.split(path)
        mentioned = False
        while not mentioned:
            build = tree.files.get(os.path.join(folder, "meson.build"), "")
            inside = os.path.relpath(path, folder or ".")
            ways = {inside, inside[:-2], name[:-2], name[:-2].removeprefix("test_")}
            mentioned = any(f"'{way}'" in build for way in ways)
            if not folder:
                break
            folder = os.path.dirname(folder)
        if not mentioned:
            yield Problem(path, 1, "no meson.build names it")
