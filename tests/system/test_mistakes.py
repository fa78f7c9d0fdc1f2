#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_mistakes - what mmbctl says to words that are wrong

Purpose     Each refusal names the word that was wrong and what was expected; nothing is done by
            halves.
Usage       test_mistakes.py [BUILD]; default $MMB_BUILD, then build. Exit status as tests/lib.
"""
import os
import shutil
import subprocess
import sys

from kernel_formats import EXIT_SKIPPED, Broker, expect, run_case

USAGE = 2


def refused(broker, words, *says):
    done = subprocess.run([broker.ctl_path, "--socket", broker.socket, *words], timeout=60,
                          capture_output=True, text=True, check=False)
    expect(done.returncode == USAGE, f"{words}: {done.returncode} {done.stderr}")
    for part in says:
        expect(part in done.stderr, f"{words} says {done.stderr!r}, not {part!r}")


def words_for_pools_are_told(broker):
    """a wrong word for a pool is named, with what was expected, and no pool is made"""
    refused(broker, ["pool", "make"], "'make'", "create, set and rm")
    refused(broker, ["pool", "create"], "a name after 'create'")
    for word, wrong, says in (
            ("max=x", "max wants", "a size as 512M"), ("swap_max=", "swap_max wants", "or none"),
            ("mode=999", "'999'", "octal"), ("uid=root", "'root'", "a number"),
            ("overcommit=yes", "'yes'", "fail or kill"), ("=1M", "'=1M'", "KEY=VALUE"),
            ("maxx=1M", "'maxx=1M'", "swap_max, overcommit"), ("forced", "'forced'", "force")):
        refused(broker, ["pool", "create", "spoilt", word], wrong, says)
    refused(broker, ["pool", "create", "spoilt", "max=1M", "max=2M"], "before", "'max=2M'")
    expect(" spoilt " not in broker.ctl("pools"), "a pool was made")


CASES = (words_for_pools_are_told,)


def main(build):
    broker = Broker(os.path.abspath(build))
    if not os.path.exists(broker.daemon_path) or not os.path.exists(broker.ctl_path):
        print("0 passed, 0 failed, 1 skipped\nmmbrokerd or mmbctl isn't built")
        return EXIT_SKIPPED
    try:
        broker.start()
        results = [run_case(case, broker) for case in CASES]
    finally:
        broker.stop()
        shutil.rmtree(broker.folder, ignore_errors=True)
    print(f"{results.count('ok')} passed, {results.count('FAIL')} failed, "
          f"{results.count('skip')} skipped")
    return 1 if "FAIL" in results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MMB_BUILD", "build")))
