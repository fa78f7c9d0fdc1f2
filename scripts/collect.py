#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""collect - one closing summary of everything that ./check ran

usage: collect.py RESULTS      a file of lines: BUILD<tab>LOG for a meson test run, where LOG is its
                               testlog.json, or BUILD<tab>=VERDICT<tab>NAME<tab>REASON for a step
                               of ./check itself (VERDICT: pass, fail, skip)

A test program prints "N passed, N failed, N skipped" last; those numbers are added up. One that
prints no such line counts as one test. What went wrong without a failed case counts as one failure.
A failed program's last lines are shown below its name.
Ends with the line "N passed, N failed, N skipped"; exit status 1 if anything failed or nothing ran.
"""
import json
import re
import sys
from dataclasses import dataclass, field

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
SKIPPED = re.compile(r"^\s*(?:skip(?:ped)?|SKIP(?:PED)?)\b[ :]*(.*)$", re.M)
FAILED = re.compile(r"^FAIL(?:ED)?\s+(.*)$", re.M)
SEED = re.compile(r"\bMMB_SEED=\d+")
GOOD = {"OK", "EXPECTEDFAIL", "SKIP"}
SAID_LINES, SAID_COLUMNS = 20, 300


@dataclass
class Sum:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list = field(default_factory=list)
    skips: list = field(default_factory=list)

    def fail(self, name, why, count=1):
        self.failed += count
        self.failures.append(f"{name}: {why}")

    def skip(self, name, reasons, count=1):
        self.skipped += count
        self.skips += [f"{name}: {reason}" for reason in reasons]


def said(output):
    """The last lines of a failed program, but for those about what went well."""
    lines = [line.rstrip() for line in output.split("\n") if line.strip()]
    lines = [line[:SAID_COLUMNS] for line in lines if not re.match(r"ok\b", line)]
    return "".join(f"\n      | {line}" for line in lines[-SAID_LINES:])


def last_line(text):
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[-1] if lines else "no reason given"


def add_program(total, name, test):
    output = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    closings = CLOSING.findall(output)
    passed, failed, skipped = map(int, closings[-1]) if closings else (0, 0, 0)
    reasons = [r.strip() for r in SKIPPED.findall(output) if r.strip()]
    total.passed += passed
    if skipped:
        missing = max(0, skipped - len(reasons))
        total.skip(name, reasons + ["no reason given"] * missing, skipped)
    if failed:
        seed = SEED.findall(output)
        cases = FAILED.findall(output) or [f"{failed} cases failed"]
        total.fail(name, "; ".join(cases + seed[:1]) + said(output), failed)
    if test["result"] == "SKIP" and not closings:
        total.skip(name, [last_line(output)])
    elif test["result"] not in GOOD and not failed:
        total.fail(name, f"{test['result'].lower()}, exit status {test.get('returncode')}" +
                   said(output))
    elif not closings:
        total.passed += 1


def add_log(total, build, path):
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            tests = [json.loads(line) for line in log if line.strip()]
    except (OSError, ValueError) as error:
        total.fail(build, f"no readable test log: {error}")
        return
    if not tests:
        total.fail(build, "no test ran")
    for test in tests:
        add_program(total, f"{build}: {test['name'].split(' / ')[-1]}", test)


def add_step(total, build, verdict, name, reason):
    if verdict == "=pass":
        total.passed += 1
    elif verdict == "=skip":
        total.skip(f"{build}: {name}", [reason])
    else:
        total.fail(f"{build}: {name}", reason)


def collect(lines):
    total = Sum()
    for line in lines:
        fields = line.rstrip("\n").split("\t")
        if len(fields) == 2:
            add_log(total, *fields)
        elif len(fields) == 4:
            add_step(total, *fields)
        elif fields != [""]:
            total.fail("check", f"unreadable result: {line!r}")
    return total


def main(path):
    with open(path, encoding="utf-8") as results:
        total = collect(results)
    for title, sentences in (("Failed", total.failures), ("Skipped", total.skips)):
        if sentences:
            print(f"{title}:")
        for sentence in sentences:
            print(f"  {sentence}")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
