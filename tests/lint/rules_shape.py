# SPDX-License-Identifier: Apache-2.0
"""rules_shape - sizes of files and functions, columns, tabs

How it is counted: a file's lines as wc -l; a function's from the first line of its signature to
its closing brace; nesting as the number of control structures around the deepest statement, with
or without braces, where an else-if chain counts once; columns with tabs of 8.
"""
import re

from csource import nesting
from rules import CHECKED, Problem, rule

FILE_LINES = 800
FUNCTION_LINES = 70
PARAMETERS = 6
LEVELS = 4
COLUMNS = 100
LINED = (".c", ".h", ".py", ".build", ".proto", ".sh", "run", "check", "main-job")


@rule(f"no source file is longer than {FILE_LINES} lines")
def file_size(tree):
    for path in tree.paths(".c", ".h", ".py", own=True):
        yield CHECKED
        lines = tree.files[path].count("\n")
        if lines > FILE_LINES:
            yield Problem(path, lines, f"{lines} lines; more than {FILE_LINES}")


def functions(tree):
    for path in tree.c_paths():
        for function in tree.source(path).functions:
            yield path, function


@rule(f"no function is longer than {FUNCTION_LINES} lines")
def function_size(tree):
    for path, function in functions(tree):
        yield CHECKED
        if function.lines > FUNCTION_LINES:
            yield Problem(path, function.first, f"{function.name} has {function.lines} lines; "
                          f"more than {FUNCTION_LINES}")


@rule(f"no function has more than {PARAMETERS} parameters")
def parameters(tree):
    for path, function in functions(tree):
        yield CHECKED
        if len(function.parameters) > PARAMETERS:
            yield Problem(path, function.first, f"{function.name} has "
                          f"{len(function.parameters)} parameters; more than {PARAMETERS}")


@rule(f"no function nests deeper than {LEVELS} levels")
def levels(tree):
    for path, function in functions(tree):
        yield CHECKED
        deepest = nesting(function.tokens)
        if deepest > LEVELS:
            yield Problem(path, function.first, f"{function.name} nests {deepest} levels; "
                          f"more than {LEVELS}")


@rule(f"no line is longer than {COLUMNS} columns")
def columns(tree):
    for path in tree.paths(*LINED, own=True):
        yield CHECKED
        for number, line in enumerate(tree.files[path].split("\n"), 1):
            width = len(line.expandtabs(8))
            if width > COLUMNS:
                yield Problem(path, number, f"{width} columns; more than {COLUMNS}")


@rule("C is indented by tabs, no line ends in blanks, each file ends in one newline")
def blanks(tree):
    for path in tree.paths(*LINED, ".md", own=True):
        yield CHECKED
        text = tree.files[path]
        if not text.endswith("\n") or text.endswith("\n\n"):
            yield Problem(path, text.count("\n") + 1, "doesn't end in exactly one newline")
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                yield Problem(path, number, "ends in blanks")
            if path.endswith((".c", ".h")) and re.match(r"\t* {8}", line):
                yield Problem(path, number, "is indented by blanks")
