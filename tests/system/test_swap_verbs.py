#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_swap_verbs - swapon, swapoff and swaps of mmbctl, and swap.path of mmbrokerd

Purpose     What may become a swap area and what may not, each refusal with a sentence; areas come
            and go while the broker runs; a file system without room; the kernel's format of
            swaps. As root also: file systems and devices of the test's own.
Usage       test_swap_verbs.py [BUILD]; default $MMB_BUILD, then build. Exit status as tests/lib.
"""
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
EX_CONFIG = 78
TITLE = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"


class Skip(Exception):
    """This case can't be made here."""


def expect(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


class Broker:
    """A private daemon in a folder on a disk."""

    def __init__(self, build):
        self.folder = tempfile.mkdtemp(prefix="mmb-swap-", dir=os.getcwd())
        self.socket = os.path.join(tempfile.mkdtemp(prefix="mmb-"), "socket")
        build = os.path.abspath(build)
        self.programs = {name: os.path.join(build, path) for name, path in
                         (("ctl", "tools/mmbctl"), ("daemon", "daemon/mmbrokerd"))}
        self.process = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def flags(self, *more):
        return [self.programs["daemon"], "--socket", self.socket, "--memory.reserve=64M", *more]

    def start(self, *more):
        log = open(self.path("log"), "wb")
        self.process = subprocess.Popen(self.flags(*more), stderr=log)
        log.close()
        deadline = time.monotonic() + 60
        while not os.path.exists(self.socket):
            expect(self.process.poll() is None and time.monotonic() < deadline,
                   open(self.path("log"), errors="replace").read())
            time.sleep(0.02)

    def log(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()

    def stop(self):
        if not self.process:
            return
        self.process.terminate()
        status = self.process.wait(60)
        self.process = None
        expect(status == 0, f"the daemon ended with {status}: {self.log()}")

    def ctl(self, *words, cwd=None):
        return subprocess.run([self.programs["ctl"], "--socket", self.socket, *words], cwd=cwd,
                              capture_output=True, text=True, timeout=120, check=False)

    def good(self, *words, **more):
        done = self.ctl(*words, **more)
        expect(done.returncode == 0, f"{words}: {done.returncode} {done.stderr}")
        return done.stdout

    def refused(self, *words, says, code=1):
        done = self.ctl(*words)
        expect(done.returncode == code, f"{words}: {done.returncode} {done.stderr}")
        expect(says in done.stderr, f"{words} says {done.stderr!r}, not {says!r}")

    def areas(self):
        return [json.loads(line) for line in self.good("swaps", "--json").splitlines()]

    def remove(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(os.path.dirname(self.socket), ignore_errors=True)


def direct_io(b):
    try:
        fd = os.open(b.path("probe"), os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
        os.close(fd)
    except OSError:
        raise Skip("this folder's file system has no direct I/O") from None
    os.unlink(b.path("probe"))


def areas_come_and_go(b):
    expect(b.good("swaps") == TITLE + "\n", b.good("swaps"))
    b.good("swapon", "one", "8M", cwd=b.folder)
    b.good("swapon", b.path("two words"), "4M", "7")
    for name, size in (("one", 8), ("two words", 4)):
        st = os.stat(b.path(name))
        expect(stat.S_IMODE(st.st_mode) == 0o600 and st.st_size == size * MIB, st)
        expect(st.st_blocks * 512 >= size * MIB, f"{name} has holes")
    areas = {a["filename"]: a for a in b.areas()}
    expect(set(areas) == {b.path("one"), b.path("two words")}, areas)
    expect(areas[b.path("one")]["size"] == 8 * MIB - 4096, areas)
    expect(areas[b.path("two words")]["priority"] == 7, areas)
    expect(all(a["used"] == 0 and a["state"] == "on" for a in areas.values()), areas)
    total = [line for line in b.good("meminfo").splitlines() if line.startswith("SwapTotal")]
    expect(total and int(total[0].split()[1]) == 12 * 1024 - 8, total)
    b.refused("swapon", b.path("one"), says="in use")
    b.good("swapoff", b.path("one"))
    b.refused("swapoff", b.path("one"), says="is not a swap area")
    b.good("swapon", b.path("one"))  # what was ours may be again
    b.good("swapoff", "one", cwd=b.folder)
    b.good("swapoff", b.path("two words"))
    expect(b.areas() == [], "areas are left")
    expect("swap_on" in b.log() and "swap_off" in b.log(), b.log())


def a_path_is_that_of_the_file_that_is_there(b):
    path = b.path("replaced")
    b.good("swapon", path, "4M")
    os.unlink(path)
    b.good("swapon", path, "8M")
    b.good("swapoff", path)
    expect([a["size"] for a in b.areas()] == [4 * MIB - 4096], b.areas())
    b.good("swapoff", path)  # the one that was deleted
    expect(b.areas() == [], "areas are left")


def one_too_many_leaves_nothing(b):
    names = [b.path(f"area{i}") for i in range(8)]
    for name in names:
        b.good("swapon", name, "4M")
    b.refused("swapon", b.path("ninth"), "4M", says="there are 8 swap areas already")
    expect(not os.path.exists(b.path("ninth")), "a refused file was made")
    with open(b.path("ninth"), "wb"):
        os.chmod(b.path("ninth"), 0o600)
    b.refused("swapon", b.path("ninth"), "4M", says="there are 8 swap areas already")
    expect(os.path.getsize(b.path("ninth")) == 0, "a refused file has grown")
    for name in names:
        b.good("swapoff", name)


def rows_are_the_kernels(b):
    """The widths of the kernel's format, as mm/swapfile.c prints it."""
    long_path = b.path("x" * 60)
    for path in (b.path("a"), long_path):
        b.good("swapon", path, "4M")
    lines = b.good("swaps").splitlines()
    expect(lines[0] == TITLE, lines[0])
    for path, line in zip((b.path("a"), long_path), lines[1:]):
        blanks = " " * max(40 - len(path), 1)
        expect(line == f"{path}{blanks}file\t\t4092\t\t0\t\t0", repr(line))
    for path in (b.path("a"), long_path):
        b.good("swapoff", path)


def what_is_not_ours_stays(b):
    thesis = b.path("thesis")
    with open(thesis, "w", encoding="ascii") as f:
        f.write("somebody's" * 1000)
    os.chmod(thesis, 0o600)
    b.refused("swapon", thesis, "4M", says="has other content")
    expect(os.path.getsize(thesis) == 10000, "the file was changed")
    os.symlink(thesis, b.path("link"))
    b.refused("swapon", b.path("link"), "4M", says="symbolic link")
    b.refused("swapon", b.folder, "4M", says="is a directory")
    os.mkfifo(b.path("fifo"), 0o600)
    b.refused("swapon", b.path("fifo"), "4M", says="neither a regular file nor a block device")
    b.refused("swapon", "/dev/null", "4M", says="neither a regular file nor a block device")
    with open(b.path("open"), "wb"):
        os.chmod(b.path("open"), 0o644)
    b.refused("swapon", b.path("open"), "4M", says="read by others", code=4)
    b.refused("swapon", b.path("nothing"), says="doesn't exist")
    b.refused("swapon", b.path("no/folder"), "4M", says="folder doesn't exist")
    b.refused("swapon", b.path("small"), "100K", says="too small")
    expect(not os.path.exists(b.path("small")), "a refused file was made")
    b.refused("swapon", "/" + "x/" * 700, "4M", says="1023 are allowed")
    b.refused("swapon", b.path("a\nb"), "4M", says="control character")
    b.refused("swapon", b.path("x"), "4X", says="a size is", code=2)
    b.refused("swapon", b.path("x"), "4M", "high", says="a priority is", code=2)
    b.refused("swapon", b.path("x"), "4M", "1", "2", says="one argument too many", code=2)
    b.refused("swapoff", "/proc/swaps", says="is not a swap area")


def configured_at_the_start(b):
    b.stop()
    path = b.path("configured")
    b.start(f"--swap.path={path}", "--swap.size=8M", "--swap.io=threads")
    areas = b.areas()
    expect(len(areas) == 1 and areas[0]["filename"] == path, areas)
    expect("through threads" in b.log(), b.log())
    b.stop()
    b.start(f"--swap.path={path}")  # as large as it is
    expect(b.areas()[0]["size"] == 8 * MIB - 4096, b.areas())
    b.stop()
    open_file = b.path("open-to-all")
    with open(open_file, "wb"):
        os.chmod(open_file, 0o644)
    for path, says in (("/", "is a directory"), (b.path("none/swap"), "its folder doesn't exist"),
                       (open_file, "can be read by others")):
        done = subprocess.run(b.flags(f"--swap.path={path}", "--swap.size=8M"), text=True,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        expect(done.returncode == EX_CONFIG and says in done.stderr, done)
    b.start()


def looked_at_before_the_start(b):
    """--check-config says what a start would, and makes nothing."""
    whole = os.statvfs(b.folder)
    plenty = whole.f_blocks * whole.f_frsize // MIB + 64  # others may give room back meanwhile
    good, open_file = b.path("looked-at"), b.path("look-open")
    with open(open_file, "wb") as f:
        os.chmod(open_file, 0o644)
        f.truncate(4 * MIB)
    os.symlink(open_file, b.path("look-link"))
    for path, size, says in (
            ("swap", "8M", "isn't an absolute path"), (good, None, "doesn't exist; with a size"),
            (b.path("none/swap"), "8M", "its folder doesn't exist"),
            (b.path("look-open/swap"), "8M", "its folder is none"), (b.folder, "8M", "a directory"),
            (b.path("look-link"), "8M", "symbolic link"), ("/dev/null", "8M", "neither a regular"),
            (open_file, "4M", "read by others"), (good, "100K", "too small"),
            (good, f"{plenty}M", "doesn't fit"), (good, "8M", None)):
        words = [f"--swap.path={path}"] + ([f"--swap.size={size}"] if size else [])
        done = subprocess.run(b.flags(*words, "--check-config"), stderr=subprocess.PIPE, text=True,
                              timeout=60, check=False)
        expect(done.returncode == (EX_CONFIG if says else 0), f"{words}: {done}")
        expect(says is None or f"--swap.path: swap.path: {path} " in done.stderr, done.stderr)
        expect(says is None or says in done.stderr, f"{done.stderr!r} doesn't say {says!r}")
        expect(not os.path.exists(good), "a file was made")


def mounted(b, name, *words):
    if os.geteuid():
        raise Skip("only root mounts")
    folder = b.path(name)
    os.mkdir(folder)
    done = subprocess.run(["mount", *words, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(f"mount: {done.stderr.strip()}")
    return folder


def unmount(folder):
    subprocess.run(["umount", folder], check=True)


def a_full_file_system(b):
    image = b.path("image")
    with open(image, "wb") as f:
        f.truncate(32 * MIB)
    if not shutil.which("mkfs.ext4"):
        raise Skip("no mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    folder = mounted(b, "full", "-o", "loop", image)
    try:
        b.refused("swapon", os.path.join(folder, "swap"), "64M", says="doesn't fit")
        expect(os.listdir(folder) == ["lost+found"], os.listdir(folder))
        b.good("swapon", os.path.join(folder, "swap"), "8M")
        b.good("swapoff", os.path.join(folder, "swap"))
    finally:
        unmount(folder)


def a_file_system_in_memory(b):
    folder = mounted(b, "memory", "-t", "tmpfs", "none")
    path = os.path.join(folder, "swap")
    try:
        b.refused("swapon", path, "8M", says="file system in memory")
        expect(os.listdir(folder) == [], "a refused file was made")
        done = subprocess.run(b.flags(f"--swap.path={path}", "--swap.size=8M", "--check-config"),
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        expect(done.returncode == EX_CONFIG and "in memory" in done.stderr, done)
    finally:
        b.ctl("swapoff", path)
        unmount(folder)


def a_block_device(b):
    image = b.path("disk")
    with open(image, "wb") as f:
        f.truncate(16 * MIB)
    if os.geteuid() or not shutil.which("losetup"):
        raise Skip("only root makes loop devices")
    done = subprocess.run(["losetup", "--show", "-f", image], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise Skip(f"losetup: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        b.good("swapon", device)
        area = b.areas()[0]
        expect(area["type"] == "partition" and area["size"] == 16 * MIB - 4096, area)
        b.refused("swapon", device, says="in use")
        b.good("swapoff", device)
        with open(device, "r+b") as f:
            f.seek(8192)
            f.write(b"a file system")
        b.good("swapon", device)  # our header is there
        b.good("swapoff", device)
        with open(device, "r+b") as f:
            f.write(bytes(4096))
        b.refused("swapon", device, says="has other content")
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


CASES = [direct_io, areas_come_and_go, a_path_is_that_of_the_file_that_is_there,
         one_too_many_leaves_nothing, rows_are_the_kernels, what_is_not_ours_stays,
         configured_at_the_start, looked_at_before_the_start, a_full_file_system,
         a_file_system_in_memory, a_block_device]


def main(build):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    broker = Broker(build)
    try:
        broker.start()
        for case in CASES:
            try:
                case(broker)
                result, why = "passed", ""
            except Skip as skip:
                result, why = "skipped", f": {skip}"
                if case is direct_io:
                    print(f"skipped everything{why}")
                    return 77
            except AssertionError as error:
                result, why = "failed", f": {error}"
            counts[result] += 1
            print(f"{result:8} {case.__name__.replace('_', ' ')}{why}")
        broker.stop()
    finally:
        broker.remove()
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MMB_BUILD", "build")))
