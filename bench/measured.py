#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""measured - mmb-bench --json on standard input, the README's table on standard output

usage: for s in pages fault rpc start death overhead malloc swap clone; do
           build/bench/mmb-bench $s --json; done | bench/measured.py [README.md docs/measured.md]

With file names the text between their `measured` marks is replaced. A ratio above 1 is better for
the broker; rows without a goal are left out, but for those that show what the bare mechanism under
a row with a goal does itself.
"""
import datetime
import json
import platform
import re
import sys

UNITS = {"ns": [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns")], "ms": [(1, "ms")]}


def human(value, unit):
    for factor, name in UNITS.get(unit, []):
        if value >= factor:
            return f"{value / factor:.3g} {name}"
    return f"{value:,.4g} {unit}".strip()


def is_floor(r):
    how = r"fallocate|COPY|touch and|read, write|WRITEPROTECT|CONTINUE of|two calls"
    return re.search(rf", (\d threads of|{how})", f"{r['case']}, {r['metric']}") is not None


def row(r):
    if r["goal"] is None:
        verdict = "the bare mechanism"
    else:
        verdict = f"{r['goal']:.3g} " + ("met" if r["met"] else "**missed**")
    return (f"| {r['suite']} | {r['case']}, {r['metric']} | {human(r['value'], r['unit'])} "
            f"| {r['peer']}: {human(r['peer_value'], r['unit'])} "
            f"| {r['ratio']:.3g} | {verdict} |")


def table(rows):
    suites = " ".join(dict.fromkeys(r["suite"] for r in rows))
    kernel = platform.release().split("-")[0]
    with open("/proc/sys/vm/nr_hugepages", encoding="ascii") as f:
        huge = int(f.read())
    lines = [f"Linux {kernel}, {platform.machine()}, a virtual machine with two CPUs that halts "
             "idle ones.",
             f"Made on {datetime.date.today()}, with {huge:,} huge pages set aside (`sysctl "
             f"vm.nr_hugepages={huge}`).",
             "Each row is a ratio within one run, medians of interleaved rounds; above 1 is better "
             "for the broker.",
             "",
             f"Command: `for s in {suites}; do build/bench/mmb-bench $s --json; done | "
             "bench/measured.py`",
             "",
             "| suite | case | ours | peer | ratio | goal |",
             "|---|---|---|---|---|---|"]
    return "\n".join(lines + [row(r) for r in rows]) + "\n"


def main():
    rows = [json.loads(line) for line in sys.stdin if line.startswith("{")]
    rows = [r for r in rows if r.get("ratio") is not None and
            (r.get("goal") is not None or is_floor(r))]
    if not rows:
        sys.exit("measured: no row with a goal on standard input; use mmb-bench SUITE --json")
    text = table(rows)
    if len(sys.argv) == 1:
        sys.stdout.write(text)
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as f:
            old = f.read()
        new, marks = re.subn(r"(<!-- measured -->\n).*?(<!-- /measured -->)",
                             lambda m: m.group(1) + text + m.group(2), old, flags=re.S)
        if marks != 1:
            sys.exit(f"measured: {name} has {marks} pairs of measured marks, and needs one")
        with open(name, "w", encoding="utf-8") as f:
            f.write(new)


if __name__ == "__main__":
    main()
