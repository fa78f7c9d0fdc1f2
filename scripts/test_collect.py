#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_collect - the closing summary adds up, and nothing that failed gets lost in it"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = [
    ("numbers of a program are added", [("OK", 0, "x\n3 passed, 0 failed, 0 skipped\n")], [],
     "3 passed, 0 failed, 0 skipped", 0),
    ("a program without a closing line is one test", [("OK", 0, "fine\n")], [],
     "1 passed, 0 failed, 0 skipped", 0),
    ("failed cases are counted", [("FAIL", 1, "FAILED  it grows\n4 passed, 2 failed, 0 skipped\n")],
     [],
     "4 passed, 2 failed, 0 skipped", 1),
    ("a crash after good cases is a failure", [("FAIL", -11, "4 passed, 0 failed, 0 skipped\n")],
     [], "4 passed, 1 failed, 0 skipped", 1),
    ("a timeout is a failure", [("TIMEOUT", -15, "")], [], "0 passed, 1 failed, 0 skipped", 1),
    ("skipped cases come with their reasons",
     [("OK", 0, "skip grows: no huge pages\n1 passed, 0 failed, 1 skipped\n")], [],
     "1 passed, 0 failed, 1 skipped", 0),
    ("a skipped program is one skip", [("SKIP", 77, "no root\n"), ("OK", 0, "")], [],
     "1 passed, 0 failed, 1 skipped", 0),
    ("nothing that ran is a failure", [], [], "0 passed, 1 failed, 0 skipped", 1),
    ("steps are counted", [("OK", 0, "")], ["b\t=pass\tbuild\t", "b\t=fail\trun\twhy",
                                            "b\t=skip\ttsan\tno compiler"],
     "2 passed, 1 failed, 1 skipped", 1),
]
REASONS = ("t: it grows", "grows: no huge pages", "no root", "tsan: no compiler", "run: why")


def collect(folder, tests, steps):
    log, results = os.path.join(folder, "log"), os.path.join(folder, "results")
    with open(log, "w", encoding="utf-8") as f:
        for result, status, output in tests:
            f.write(json.dumps({"name": "mmbroker:unit / t", "result": result,
                                "returncode": status, "stdout": output}) + "\n")
    with open(results, "w", encoding="utf-8") as f:
        f.write("\n".join([f"b\t{log}"] + steps) + "\n")
    return subprocess.run([sys.executable, os.path.join(HERE, "collect.py"), results],
                          capture_output=True, text=True, check=False)


def main():
    failed, said = 0, ""
    for promise, tests, steps, closing, status in CASES:
        with tempfile.TemporaryDirectory() as folder:
            got = collect(folder, tests, steps)
        good = got.stdout.split("\n")[-2:] == [closing, ""] and got.returncode == status
        failed += not good
        said += got.stdout
        print(f"{'ok' if good else 'FAIL':4} {promise}")
        if not good:
            print(got.stdout + got.stderr)
    missing = [reason for reason in REASONS if reason not in said]
    failed += bool(missing)
    print(f"{'FAIL' if missing else 'ok':4} reasons are told", *missing)
    print(f"{len(CASES) + 1 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
