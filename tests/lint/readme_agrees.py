#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""readme_agrees - README.md shows what the tree holds

The client program it shows is examples/hello.c, letter by letter and of some twenty lines; every
file and folder it names exists; every command of ours it shows is built or stands in the tree; its
packages are those that ./run installs; its figures are those of docs/measured.md.
"""
import os
import re
import sys

PROGRAMS = {"mmbrokerd": "daemon", "mmbctl": "tools", "mmb-bench": "bench"}
HELLO_LINES = 24


def blocks(readme, language):
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", readme, re.S | re.M)
    return [text for name, text in fences if name == language]


def client_program(root, readme):
    with open(os.path.join(root, "examples/hello.c"), encoding="utf-8") as f:
        text = f.read()
    program = text[text.index("#include"):]
    shown = blocks(readme, "c")
    if program not in shown:
        yield "the client program in README.md isn't examples/hello.c"
    if program.count("\n") > HELLO_LINES:
        yield f"examples/hello.c has {program.count(chr(10))} lines; more than {HELLO_LINES}"


def named_files(root, readme):
    links = re.findall(r"\]\(([^)#:]+)\)", readme)
    if not links:
        yield "README.md links no file"
    for path in links:
        if not os.path.exists(os.path.join(root, path)):
            yield f"README.md links {path}, which doesn't exist"


def shown_commands(root, readme):
    commands = re.findall(r"^(?:\$ |# )?(\./?[\w./-]+|build/[\w./-]+)", "\n".join(
        blocks(readme, "sh")), re.M)
    if not commands:
        yield "README.md shows no command"
    for command in commands:
        folder = PROGRAMS.get(os.path.basename(command))
        path = folder if command.startswith("build/") and folder else command
        if not os.path.exists(os.path.join(root, path)):
            yield f"README.md shows {command}, which nothing makes"


def packages(root, readme):
    with open(os.path.join(root, "scripts/setup.sh"), encoding="utf-8") as f:
        installed = re.search(r"^packages_build=\((.*?)\)", f.read(), re.S | re.M)
    if not installed:
        yield "scripts/setup.sh lists no packages"
    elif installed.group(1).split() not in [block.split() for block in blocks(readme, "")]:
        yield "README.md lists other packages than scripts/setup.sh installs"


def measured(root, readme):
    """The part between the marks is the same in both files; before there are figures, README.md
    says that there are none."""
    marked = re.compile(r"^<!-- measured -->\n(.*?)^<!-- /measured -->$", re.S | re.M)
    here, path = marked.findall(readme), os.path.join(root, "docs/measured.md")
    if len(here) != 1:
        yield "README.md has no part between <!-- measured --> and <!-- /measured -->"
    elif os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            if marked.findall(f.read()) != here:
                yield "the figures in README.md aren't those of docs/measured.md"
    elif "Not measured yet" not in here[0]:
        yield "README.md has figures and docs/measured.md doesn't exist"


def main(root):
    with open(os.path.join(root, "README.md"), encoding="utf-8") as f:
        readme = f.read()
    failed = 0
    checks = (client_program, named_files, shown_commands, packages, measured)
    for check in checks:
        faults = list(check(root, readme))
        failed += bool(faults)
        print(f"{'FAIL' if faults else 'ok':4} {check.__name__.replace('_', ' ')}")
        for fault in faults:
            print(f"     {fault}")
    print(f"{len(checks) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
