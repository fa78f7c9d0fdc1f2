#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_run - the promises of ./run, kept on a copy of the tree in a folder with blanks in its name

usage: test_run.py ROOT
The copy is what a fresh clone is: no build folder. It runs without a terminal, from another
folder, to its end, and again until it is interrupted.
"""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NR_HUGEPAGES = "/proc/sys/vm/nr_hugepages"
SETTINGS = [NR_HUGEPAGES, "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count",
            "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
            "/proc/sys/vm/unprivileged_userfaultfd"]
RUN_SECONDS = 400


def settings():
    found = {}
    for path in SETTINGS:
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                found[path] = f.read()
    return found


def processes_of(folder):
    """pid -> program, of the processes whose program lies in the folder."""
    found = {}
    for exe in glob.glob("/proc/[0-9]*/exe"):
        try:
            program = os.readlink(exe)
        except OSError:
            continue
        if program.startswith(folder + "/"):
            found[int(exe.split("/")[2])] = program
    return found


def left_overs(tree, before):
    """What a run has left behind, as sentences."""
    if settings() != before["settings"]:
        yield f"settings changed: {before['settings']} -> {settings()}"
    processes = processes_of(tree)
    if processes:
        yield f"processes are left: {processes}"
    new = set(glob.glob("/tmp/mmbroker.*")) - before["scratch"]
    if new:
        yield f"folders are left: {sorted(new)}"


def situation():
    return {"settings": settings(), "scratch": set(glob.glob("/tmp/mmbroker.*"))}


def start(tree):
    # What is promised doesn't need a fast program, and this one is built in half the time.
    environment = {**os.environ, "CI": "true", "CFLAGS": "-O0 -g0"}
    return subprocess.Popen([os.path.join(tree, "run")], cwd="/", env=environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)


def tells_what_it_cannot_write(tree):
    if os.geteuid() != 0:
        return
    done = subprocess.run([tree + "/run"], user=65534, group=65534, extra_groups=[], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_SECONDS,
                          check=False)
    if done.returncode != 73 or done.stderr.count("\n") != 1 or "that is yours" not in done.stderr:
        yield f"exit status {done.returncode}: {done.stderr}"


def runs_to_its_end(tree):
    before = situation()
    process = start(tree)
    output, _ = process.communicate(timeout=RUN_SECONDS)
    print(output)
    if process.returncode != 0:
        yield f"exit status {process.returncode}"
    for words in ("  checked ", "  lost ", "faults served", "  verified "):
        if words not in output:
            yield f"doesn't say {words!r}"
    yield from left_overs(tree, before)


def cleans_up_after(number):
    def check(tree):
        before = situation()
        process = start(tree)
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline and process.poll() is None and \
                not any("mmbrokerd" in program for program in processes_of(tree).values()):
            time.sleep(0.05)
        time.sleep(1.0)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        if process.returncode != 128 + number:
            yield f"exit status {process.returncode}; its output was {output}"
        yield from left_overs(tree, before)
    return check


CHECKS = [
    ("who may not write into the tree is told so", tells_what_it_cannot_write),
    ("a fresh copy, in a path with blanks, from another folder, without a terminal, does the job",
     runs_to_its_end),
    ("Ctrl-C leaves no process, no folder and no changed setting",
     cleans_up_after(signal.SIGINT)),
    ("SIGTERM leaves no process, no folder and no changed setting",
     cleans_up_after(signal.SIGTERM)),
]


def main(root):
    failed = 0
    with tempfile.TemporaryDirectory(prefix="mmb test ") as folder:
        os.chmod(folder, 0o755)
        tree = os.path.join(os.path.realpath(folder), "a copy")
        shutil.copytree(root, tree, symlinks=True,
                        ignore=shutil.ignore_patterns("build*", ".git", "__pycache__"))
        for promise, check in CHECKS:
            faults = list(check(tree))
            failed += bool(faults)
            print(f"{'FAIL' if faults else 'ok':4} {promise}")
            for fault in faults:
                print(f"     {fault}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
