#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs_agree - manual pages, --help, completions and the protocol's page say what the code says

usage: docs_agree.py ROOT [BUILD]     one line a check, then "N passed, N failed, N skipped"

Each check yields sentences about differences. Checks of programs need BUILD; what isn't built and
mandoc, if it isn't installed, are skipped.
"""
import os
import re
import shutil
import subprocess
import sys


class Skip(Exception):
    """This check can't be made here."""


class Docs:
    """The texts that are compared."""

    def __init__(self, root, build):
        self.root = root
        self.build = build

    def path(self, name):
        return os.path.join(self.root, name)

    def text(self, name):
        if not os.path.exists(self.path(name)):
            raise Skip(f"{name} doesn't exist")
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def man_pages(self):
        return sorted(os.listdir(self.path("docs/man")))

    def run(self, program, *arguments):
        path = os.path.join(self.build or "", program)
        if not self.build or not os.path.exists(path):
            raise Skip(f"{program} isn't built")
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=20,
                              check=False)
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


def differences(here, there, where_here, where_there):
    for name in sorted(set(here) - set(there)):
        yield f"{name} is in {where_here} and not in {where_there}"
    for name in sorted(set(there) - set(here)):
        yield f"{name} is in {where_there} and not in {where_here}"
    if not here:
        yield f"found nothing in {where_here}"


def section(page, title):
    """The text of one .Sh section of a manual page."""
    found = re.search(rf"^\.Sh {title}$(.*?)(?=^\.Sh |\Z)", page, re.S | re.M)
    return found.group(1) if found else ""


# ---- mmbctl ----

def table_verbs(docs):
    """Verb to operand, of the table in tools/verbs.c."""
    table = re.search(r"const struct verb\s+verbs\[\] = \{(.*?)^\};",
                      docs.text("tools/verbs.c"), re.S | re.M).group(1)
    rows = re.split(r"\{ \.name = ", table)[1:]
    return {re.match(r'"([\w-]+)"', row).group(1):
            (re.findall(r'\.operand = "(\w+)"', row) or [None])[0] for row in rows}


def table_options(docs):
    """Option to operand, of the table in tools/verbs.c."""
    rows = re.findall(r"\{ '(\w)', \"([\w-]+)\", (NULL|\"\w+\"),", docs.text("tools/verbs.c"))
    return {f"-{letter} --{name}": None if operand == "NULL" else operand.strip('"')
            for letter, name, operand in rows}


def named(table):
    return [f"{name} {operand}" if operand else name for name, operand in table.items()]


def manual_verbs(docs):
    """The manual has each verb with its operand."""
    page = section(docs.text("docs/man/mmbctl.1"), "DESCRIPTION")
    rows = re.findall(r"^\.It Cm ([\w-]+)(?:(?: Op)? Ar (\w+))?$", page, re.M)
    yield from differences(named(table_verbs(docs)), named(dict((v, o or None) for v, o in rows)),
                           "tools/verbs.c", "mmbctl(1)")


def manual_options(docs):
    """The manual has each option, and its synopsis too."""
    page = docs.text("docs/man/mmbctl.1")
    rows = re.findall(r"^\.It Fl (\w) , Fl Fl ([\w-]+)(?: Ar (\w+))?$", page, re.M)
    there = {f"-{letter} --{name}": operand or None for letter, name, operand in rows}
    yield from differences(named(table_options(docs)), named(there), "tools/verbs.c", "mmbctl(1)")
    synopsis = section(page, "SYNOPSIS")
    shown = {letter: None for letter in re.search(r"^\.Op Fl (\w+)$", synopsis, re.M).group(1)}
    shown.update(re.findall(r"^\.Op Fl (\w) Ar (\w+)$", synopsis, re.M))
    short = {name[1]: operand for name, operand in table_options(docs).items()}
    yield from differences(named(short), named(shown), "tools/verbs.c", "mmbctl(1)'s synopsis")


def manual_exit_codes(docs):
    """The manual has each exit code."""
    codes = re.findall(r"^\tCTL_\w+ = (\d+)", docs.text("tools/verbs.h"), re.M)
    page = section(docs.text("docs/man/mmbctl.1"), "EXIT STATUS")
    yield from differences(codes, re.findall(r"^\.It (\d+)$", page, re.M), "tools/verbs.h",
                           "mmbctl(1)")


def help_output(docs):
    """mmbctl --help shows verbs and options."""
    shown = docs.run("tools/mmbctl", "--help")
    verbs = [f"{verb} {operand}" if operand else verb for verb, operand in
             re.findall(r"^  (\w[\w-]*)(?: \[?(\w+)\]?)? {2,}\S", shown, re.M)]
    yield from differences(named(table_verbs(docs)), verbs, "tools/verbs.c", "mmbctl --help")
    options = {f"-{letter} --{name}": operand or None for letter, name, operand in
               re.findall(r"^  -(\w), --([\w-]+)(?: (\w+))? {2,}\S", shown, re.M)}
    yield from differences(named(table_options(docs)), named(options), "tools/verbs.c",
                           "mmbctl --help")


def completions(docs):
    """Completions know every verb and option, and bash can read its one."""
    bash = docs.run("tools/mmbctl", "completion", "bash")
    verbs = re.search(r"local verbs='([^']*)'", bash).group(1).split()
    options = re.search(r"local options='([^']*)'", bash).group(1).split()
    yield from differences(table_verbs(docs), verbs, "tools/verbs.c", "the bash completion")
    yield from differences([name.split()[1] for name in table_options(docs)], options,
                           "tools/verbs.c", "the bash completion")
    checked = subprocess.run(["bash", "-n"], input=bash, text=True, capture_output=True,
                             check=False)
    if checked.returncode:
        yield f"bash: {checked.stderr.strip()}"
    zsh = docs.run("tools/mmbctl", "completion", "zsh")
    yield from differences(table_verbs(docs), re.findall(r"^\t\t'([\w-]+):", zsh, re.M)[:-2],
                           "tools/verbs.c", "the zsh completion")


# ---- configuration ----

def table_keys(docs):
    """section.key to (default, allowed), of config_keys.h."""
    text = re.sub(r"\s*\\\n\s*", " ", docs.text("daemon/app/config_keys.h"))
    rows = re.findall(r'X\((\w+), (\w+), \w+, "([^"]*)", "([^"]*)", \w+, *"[^"]*"\)', text)
    return {f"{part}.{key}": (default, allowed) for part, key, default, allowed in rows}


def manual_keys(docs):
    """The manual has each key with its default and what it may be."""
    keys = table_keys(docs)
    page = docs.text("docs/man/mmbrokerd.conf.5")
    there = {}
    for part, body in re.findall(r"^\.Ss Section (\w+)$(.*?)^\.El$", page, re.S | re.M):
        for key, what in re.findall(r"^\.It Cm (\w+) No = .*?$(.*?)(?=^\.It |\Z)", body,
                                    re.S | re.M):
            there[f"{part}.{key}"] = what
    yield from differences(keys, there, "config_keys.h", "mmbrokerd.conf(5)")
    for key in set(keys) & set(there):
        default, allowed = keys[key]
        shown = re.search(r"^Default:\n\.Li (\S+) \.$", there[key], re.M)
        if (shown.group(1) if shown else "") != default:
            yield f"{key}: the default is '{default}', mmbrokerd.conf(5) says otherwise"
        span = re.search(r"^Between (\S+) and (\S+)\.$", there[key], re.M)
        words = re.search(r"^One of\n((?:\.Cm .*\n)+)", there[key], re.M)
        said = ".." .join(span.groups()) if span else "|".join(
            re.findall(r"^\.Cm (\w+) [.,]$", words.group(1), re.M)) if words else ""
        if said != allowed:
            yield f"{key}: allowed is '{allowed}', mmbrokerd.conf(5) says '{said}'"


def manual_daemon_options(docs):
    """mmbrokerd(8) has each option that mmbrokerd --help shows."""
    shown = docs.run("daemon/mmbrokerd", "--help")
    options = re.findall(r"^  (--[\w-]+)(?: \S+)? {2,}\S", shown.split("\n[", 1)[0], re.M)
    page = section(docs.text("docs/man/mmbrokerd.8"), "DESCRIPTION")
    there = ["--" + name for name in re.findall(r"^\.It Fl Fl ([a-z-]+)(?: |$)", page, re.M)]
    yield from differences(options, there, "mmbrokerd --help", "mmbrokerd(8)")


# ---- the library ----

def header_functions(docs):
    """Function to number of parameters, of the public header."""
    text = re.sub(r"/\*.*?\*/", "", docs.text("include/mmbroker.h"), flags=re.S)
    rows = re.findall(r"^[a-z][\w \t*]*?[ *](mmb_\w+)\(([^)]*)\);", text, re.S | re.M)
    return {name: 0 if arguments.strip() == "void" else arguments.count(",") + 1
            for name, arguments in rows}


def manual_functions(docs):
    """The manual declares each function with its parameters and describes it."""
    page = docs.text("docs/man/libmmbroker.3")
    rows = re.findall(r"^\.Fn (mmb_\w+) (.*)$", section(page, "SYNOPSIS"), re.M)
    there = {name: 0 if arguments == "void" else arguments.count('"') // 2
             for name, arguments in rows}
    here = header_functions(docs)
    yield from differences(here, there, "mmbroker.h", "libmmbroker(3)")
    for name in set(here) & set(there):
        if here[name] != there[name]:
            yield f"{name} has {here[name]} parameters, in libmmbroker(3) {there[name]}"
    told = re.findall(r"^\.Fn (mmb_\w+)", section(page, "DESCRIPTION"), re.M)
    yield from differences(here, told, "mmbroker.h", "libmmbroker(3)'s description")


def manual_constants(docs):
    """The manual names each constant of the public header."""
    text = re.sub(r"/\*.*?\*/", "", docs.text("include/mmbroker.h"), flags=re.S)
    constants = {name for body in re.findall(r"enum \{(.*?)\}", text, re.S)
                 for name in re.findall(r"\b(MMB_\w+)", body)}
    page = docs.text("docs/man/libmmbroker.3")
    for name in sorted(constants - set(re.findall(r"\bMMB_\w+", page))):
        yield f"{name} of mmbroker.h isn't in libmmbroker(3)"
    if not constants:
        yield "found no constant in mmbroker.h"


def symbol_map(docs):
    """The library exports exactly the header's functions."""
    exported = re.findall(r"^\s*(mmb_\w+);", docs.text("libclient/libmmbroker.map"), re.M)
    yield from differences(header_functions(docs), exported, "mmbroker.h", "libmmbroker.map")


# ---- the protocol ----

def protocol_methods(docs):
    """docs/protocol.md lists every method under its access class, and every upcall."""
    table = docs.text("proto/methods.h")
    rows = re.findall(r"X\(\d+, (\w+), \w+, \w+, \d+, (\w+)\)", table)
    page = docs.text("docs/protocol.md")
    access = page[page.index("## Who may call what"):page.index("## Long answers")]
    there = [f"{method} {kind}" for kind, methods in
             re.findall(r"^\| ([A-Z]+) \| .*? \| (.*?) \|$", access, re.M)
             for method in methods.split(", ")]
    yield from differences([" ".join(row) for row in rows], there, "methods.h", "docs/protocol.md")
    upcalls = re.findall(r"X\(\d+, (\w+), \w+\)", table)
    told = page[page.index("## Upcalls"):page.index("## Who may call what")]
    yield from differences(upcalls, re.findall(r"^\| ([A-Z]+) \|", told, re.M), "methods.h",
                           "docs/protocol.md")


def protocol_limits(docs):
    """docs/protocol.md and mmbroker-protocol(7) have the protocol's numbers."""
    limits = dict(re.findall(r"^\t(MMB_(?:PACKET|PAGES|NAME)_\w+) = (\d+)",
                             docs.text("proto/methods.h"), re.M))
    if not limits:
        yield "found no limit in methods.h"
    for page in ("docs/protocol.md", "docs/man/mmbroker-protocol.7"):
        for name, value in limits.items():
            if not re.search(rf"\b{value}\b", docs.text(page)):
                yield f"{page} doesn't have {name}, {value}"


def protocol_errors(docs):
    """docs/protocol.md explains each code with which the daemon refuses a request."""
    codes = set()
    for folder in ("daemon/client", "daemon/ipc"):
        for name in sorted(os.listdir(docs.path(folder))):
            if name.endswith(".c"):
                codes |= set(re.findall(r"\brefuse\([^,;]+,\s*-(E[A-Z]+)",
                                        docs.text(f"{folder}/{name}")))
    page = docs.text("docs/protocol.md")
    told = re.findall(r"`-(E[A-Z]+)`", page[page.index("## Errors"):])
    if len(codes) < 10:
        yield f"found {codes} only"
    for code in sorted(codes - set(told)):
        yield f"docs/protocol.md doesn't tell what {code} means"


# ---- the pages themselves ----

def pages_name_keys(docs):
    """A key that a page names exists."""
    keys = table_keys(docs)
    sections = "|".join(sorted({key.split(".")[0] for key in keys}))
    for page in ["README.md"] + ["docs/" + name for name in sorted(os.listdir(docs.path("docs")))
                                 if name.endswith(".md")]:
        for name in re.findall(rf"(?<![\w./-])(?:{sections})\.[a-z_]+\b(?!\()", docs.text(page)):
            if name not in keys and not name.endswith((".c", ".h", ".md")):
                yield f"{page} names {name}, which is no key"


def pages_installed(docs):
    """docs/meson.build installs every page."""
    yield from differences(docs.man_pages(),
                           re.findall(r"'man/([\w.-]+)'", docs.text("docs/meson.build")),
                           "docs/man", "docs/meson.build")


def pages_refer(docs):
    """Pages of ours that are referred to exist."""
    ours = {page.rsplit(".", 1)[0]: page.rsplit(".", 1)[1] for page in docs.man_pages()}
    for page in docs.man_pages():
        for name, number in re.findall(r"^\.Xr (\S+) (\d)", docs.text("docs/man/" + page), re.M):
            if name.startswith(("mmb", "libmmb")) and ours.get(name) != number:
                yield f"{page} refers to {name}({number}), which doesn't exist"


def pages_lint(docs):
    """mandoc finds nothing to warn of."""
    mandoc = shutil.which("mandoc")
    if not mandoc:
        raise Skip("mandoc isn't installed")
    for page in docs.man_pages():
        path = docs.path("docs/man/" + page)
        done = subprocess.run([mandoc, "-T", "lint", "-W", "warning", path],
                              capture_output=True, text=True, check=False)
        yield from filter(None, done.stdout.splitlines())


CHECKS = (manual_verbs, manual_options, manual_exit_codes, help_output, completions, manual_keys,
          manual_daemon_options, manual_functions, manual_constants, symbol_map, protocol_methods,
          protocol_limits, protocol_errors, pages_name_keys, pages_installed, pages_refer,
          pages_lint)


def main(root, build=None):
    docs = Docs(root, build)
    count = {"ok": 0, "FAIL": 0, "skip": 0}
    for check in CHECKS:
        try:
            faults = list(check(docs))
            verdict = "FAIL" if faults else "ok"
        except Skip as reason:
            faults, verdict = [str(reason)], "skip"
        count[verdict] += 1
        print(f"{verdict:4} {check.__name__.replace('_', ' ')}: {check.__doc__}")
        for fault in faults:
            print(f"     {fault}")
    print(f"{count['ok']} passed, {count['FAIL']} failed, {count['skip']} skipped")
    return 1 if count["FAIL"] else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:3]))
