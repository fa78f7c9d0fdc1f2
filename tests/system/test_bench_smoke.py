#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_bench_smoke - every suite of mmb-bench runs and speaks the format it promises

Purpose     Runs `mmb-bench SUITE --quick --json` for each suite on a private broker and checks
            each line: one JSON object with exactly the keys of API.md, numbers that agree with
            each other, at least one comparison, no case that failed. Goals are not judged: the
            sizes are too small for that.
Usage       test_bench_smoke.py [BUILD FOLDER], default build.
"""
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

from service import wait_for

KEYS = ["suite", "case", "metric", "unit", "value", "peer", "peer_value", "ratio", "goal", "met"]
SUITES = ["pages", "objects", "fault", "rpc", "start", "death", "overhead", "malloc", "swap",
          "clone", "stress"]
SECONDS = 300
SEED = "1234567"


def find_bench():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "build")
    return os.path.join(build, "bench", "mmb-bench")


def check_line(suite, text):
    """A sentence about what is wrong, or None."""
    try:
        line = json.loads(text)
    except ValueError as error:
        return f"no JSON: {error}: {text!r}"
    if list(line) != KEYS:
        return f"keys {list(line)}"
    if line["suite"] != suite or not line["case"] or not line["metric"]:
        return f"nameless: {text}"
    if line["metric"].startswith("failed: "):
        return f"{line['case']} {line['metric']}"
    if line["metric"].startswith("skipped: "):
        return None if line["value"] is None and line["met"] is None else f"skipped, yet: {text}"
    if not isinstance(line["value"], (int, float)):
        return f"no value: {text}"
    if (line["goal"] is None) != (line["met"] is None):
        return f"goal without verdict: {text}"
    if line["goal"] is not None and line["met"] != (line["ratio"] >= line["goal"]):
        return f"the verdict contradicts the ratio: {text}"
    if line["peer_value"] and line["value"]:
        ratios = line["peer_value"] / line["value"], line["value"] / line["peer_value"]
        if min(abs(line["ratio"] / r - 1) for r in ratios) > 0.001:
            return f"the ratio is of other numbers: {text}"
    return None


def run_suite(bench, suite):
    """Problems found, and whether the host can't run it."""
    done = subprocess.run([bench, suite, "--quick", "--json", "--seed", SEED],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=SECONDS, check=False)
    lines = done.stdout.splitlines()
    problems = [p for p in (check_line(suite, line) for line in lines) if p]
    if not lines:
        problems.append("no line of output")
    if done.returncode != 0:
        problems.append(f"exit status {done.returncode}: {done.stderr.strip()[-400:]}")
    return problems


def check_usage(bench):
    """Wrong use is told apart from failure: exit status 64 and the usage."""
    problems = []
    for args in (["nonsense"], [], ["rpc", "--rounds", "many"], ["rpc", "--rounds"],
                 ["malloc", "--one", "pair-16"], ["rpc", "--one", "x", "--allocator", "ours"],
                 ["rpc", "--quick", "--only", "nothing"]):
        done = subprocess.run([bench, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=SECONDS, check=False)
        if done.returncode != 64 or "usage: mmb-bench" not in done.stderr:
            problems.append(f"{args}: exit status {done.returncode}, expected 64 and the usage")
    return problems


def check_killed(bench):
    """One that is killed leaves no file behind."""
    with tempfile.TemporaryDirectory(prefix="mmb-killed-", dir="/tmp") as folder:
        with subprocess.Popen([bench, "stress", "--quick"], env=os.environ | {"TMPDIR": folder},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bench_run:
            try:
                wait_for(lambda: any(os.path.exists(f"{folder}/{name}/socket")
                                     for name in os.listdir(folder)), "a broker")
            finally:
                bench_run.kill()
        wait_for(lambda: not os.listdir(folder), f"what is left to go: {os.listdir(folder)}")
    return []


def verdict(name, check):
    """Printed; whether there are problems."""
    try:
        problems = check()
    except subprocess.TimeoutExpired:
        problems = [f"not done after {SECONDS} s"]
    except AssertionError as error:
        problems = [str(error)]
    text = "".join(f"    {problem}\n" for problem in problems)
    print(f"{'ok' if not problems else 'FAILED'}: mmb-bench {name}\n{text}", end="")
    return bool(problems)


def main():
    bench = find_bench()
    if not os.access(bench, os.X_OK):
        print(f"skipped: no {bench}")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    # The one that waits for the disk most runs beside the others.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        beside = pool.submit(verdict, "swap", lambda: run_suite(bench, "swap"))
        failed = verdict("usage", lambda: check_usage(bench))
        failed += verdict("killed", lambda: check_killed(bench))
        for suite in SUITES:
            failed += suite != "swap" and verdict(suite, lambda s=suite: run_suite(bench, s))
        failed += beside.result()
    print(f"{len(SUITES) + 2 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
