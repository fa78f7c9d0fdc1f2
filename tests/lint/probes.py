#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""probes - the USDT probes that libmmbroker's probe.h promises are in the built library

usage: probes.py LIBRARY PROBE_H BUILT     then "N passed, N failed, N skipped"

Skipped where readelf isn't there. BUILT is "true" if the library was built with
<sys/sdt.h>; else it must have no note at all.
"""
import re
import shutil
import subprocess
import sys


def promised(header):
    with open(header, encoding="utf-8") as f:
        table = f.read().split("there are none.", 1)[1].split("*/", 1)[0]
    return set(re.findall(r"^ \*\s{15}(\w+)\s", table, re.M))


def noted(library):
    out = subprocess.run(["readelf", "-n", library], capture_output=True, text=True, check=True)
    return set(re.findall(r"Provider: mmbroker\s+Name: (\w+)", out.stdout))


def main():
    library, header, built = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
    if not shutil.which("readelf"):
        print("0 passed, 0 failed, 1 skipped")
        return 77
    want, have = promised(header), noted(library)
    if not built:
        want = set()
    for name in sorted(want ^ have):
        print(f"probe {name} is {'not in the library' if name in want else 'not in probe.h'}")
    failed = want != have or not promised(header)
    print(f"{int(not failed)} passed, {int(failed)} failed, 0 skipped")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
