#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hits - a pageset hit executes no locked instruction and no fence

usage: hits.py LIBRARY      then "N passed, N failed, N skipped"

LIBRARY is pageset_hit.c as it is compiled for the daemon. Skipped where objdump isn't there or the
machine isn't an x86-64.
"""
import platform
import re
import shutil
import subprocess
import sys

FUNCTIONS = ("hit_of_alloc_pages", "hit_of_free_pages")
# xchg with memory is locked without saying so.
LOCKED = re.compile(r"\t(lock\b|xchg\s.*\(|[lms]fence\b|syscall\b)")


def disassemble(library):
    """The lines of each function."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], capture_output=True,
                          text=True, check=True).stdout
    found, name = {}, None
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(\w+)(?:\.\w+)*>:", line):
            name = head.group(1)
        elif name and ":\t" in line:
            found.setdefault(name, []).append(line.split(":", 1)[1])
    return found


def main():
    if not shutil.which("objdump") or platform.machine() != "x86_64":
        print("0 passed, 0 failed, 1 skipped")
        return 77
    found = disassemble(sys.argv[1])
    failed = 0
    for name in FUNCTIONS:
        lines = found.get(name, [])
        locked = [line.strip() for line in lines if LOCKED.search(line)]
        for line in locked:
            print(f"{name}: {line}")
        if len(lines) < 10:
            print(f"{name}: not found in {sys.argv[1]}")
        failed += bool(locked) or len(lines) < 10
    print(f"{len(FUNCTIONS) - failed} passed, {failed} failed, 0 skipped")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
