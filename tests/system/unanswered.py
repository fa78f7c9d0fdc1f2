#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""unanswered - a file system that doesn't answer holds up no daemon, nor the next one

Purpose     A descriptor of FUSE that a client sends is closed by the daemon, and close() waits for
            the file system's answer, unkillable: a daemon that is killed meanwhile is never gone.
            The supervisor starts another one all the same.
Usage       unanswered.py BUILD; exit status as tests/lib. Needs root, and /dev/fuse.
"""
import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading

from service import DEADLINE, expect, run_cases, wait_for
from supervise import Supervised, lost_nothing

GETATTR, OPEN, FLUSH, INIT = 3, 14, 25, 26
ENOSYS = 38
WATCHDOG_US = 2000000
SEND = """
import array, os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
fd = os.open(sys.argv[2], os.O_RDONLY)
s.sendmsg([b'x' * 32], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [fd]))])
print('sent', flush=True)
time.sleep(600)
"""


class SilentFile:
    """One regular file of FUSE, whose FLUSH is answered at the end only"""

    def __init__(self, path):
        self.path, self.flushes, self.over = path, [], False
        with open(path, "w", encoding="ascii"):
            pass
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=100644,user_id=0,group_id=0".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"none", path.encode(), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount")
        self.umount = lambda: libc.umount2(path.encode(), 2)
        threading.Thread(target=self.serve, daemon=True).start()

    def answer(self, unique, body=b"", error=0):
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError:
            pass  # who asked is gone

    def serve(self):
        attributes = struct.pack("<QII6Q10I", 60, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o100644, 1, 0,
                                 0, 0, 4096, 0)
        while True:
            try:
                request = os.read(self.device, 1 << 17)
            except OSError:
                return
            opcode, unique = struct.unpack_from("<IQ", request, 4)
            if opcode == INIT:
                self.answer(unique, struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 8, 8, 65536, 1,
                                                0, 0, 0, *[0] * 7))
            elif opcode == GETATTR:
                self.answer(unique, attributes)
            elif opcode == OPEN:
                self.answer(unique, struct.pack("<QIi", 1, 0, 0))
            elif opcode == FLUSH and not self.over:
                self.flushes.append(unique)
            elif opcode not in (2, 36, 42):  # FORGET, INTERRUPT and BATCH_FORGET have no answer
                self.answer(unique, error=0 if opcode == 18 else ENOSYS)

    def end(self):
        self.over = True
        for unique in self.flushes:
            self.answer(unique)
        self.umount()


def closer_waits(pid):
    """A thread of the daemon's is in the close."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as comm:
                name = comm.read()
            with open(f"/proc/{pid}/task/{task}/wchan", encoding="ascii") as wchan:
                where = wchan.read()
        except OSError:
            continue
        if name == "mmb-closer\n" and where.startswith(("request_wait", "__fuse", "fuse_")):
            return True
    return False


def next_daemon_serves(build):
    """A daemon that a file system keeps from being gone is followed by another"""
    daemon = Supervised(build, "daemon/mmbrokerd", {"WATCHDOG_USEC": str(WATCHDOG_US)})
    file = SilentFile(daemon.folder + "/silent")
    sender = subprocess.Popen([sys.executable, "-c", SEND, daemon.socket, file.path],
                              stdout=subprocess.PIPE)
    try:
        expect(sender.stdout.readline() == b"sent\n", "it is sent")
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        worker = daemon.worker()
        wait_for(lambda: closer_waits(worker), "a closer that waits")
        os.kill(worker, signal.SIGKILL)
        daemon.wait_log("daemon_left")
        lost_nothing(client)
        expect(closer_waits(worker), "it waits still")
        daemon.ctl("verify")
        client.end()
        file.end()
        wait_for(lambda: not os.path.exists(f"/proc/{worker}"), "the first one is reaped")
    finally:
        file.end()
        sender.kill()
        sender.wait()
        daemon.end()


def last_worker(daemon):
    path = f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children"
    with open(path, encoding="ascii") as children:
        return int(children.read().split()[-1])


def planned_end_stays_one(build):
    """A hand-over, and a stop, of a daemon that isn't gone is no death; 18 of them may be left"""
    # A sanitizer that looks for leaks at the end waits for the thread that doesn't come.
    daemon = Supervised(build, "daemon/mmbrokerd", {"WATCHDOG_USEC": str(WATCHDOG_US),
                                                    "ASAN_OPTIONS": "detect_leaks=0"})
    file = SilentFile(daemon.folder + "/silent")
    senders = []

    def leave(number):
        senders.append(subprocess.Popen([sys.executable, "-c", SEND, daemon.socket, file.path],
                                        stdout=subprocess.PIPE))
        expect(senders[-1].stdout.readline() == b"sent\n", "it is sent")
        worker = last_worker(daemon)
        wait_for(lambda: closer_waits(worker), "a closer that waits")
        served = daemon.times("ready: serving on")
        os.kill(worker if number == signal.SIGKILL else daemon.process.pid, number)
        if number != signal.SIGTERM:
            daemon.wait_times("ready: serving on", served + 1)

    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        leave(signal.SIGUSR2)
        lost_nothing(client)
        expect(daemon.times("handed_over: the daemon hands over") == 1, daemon.log())
        expect(daemon.times("daemon_died") == 0, daemon.log())
        for _ in range(16):
            leave(signal.SIGKILL)
        lost_nothing(client)
        leave(signal.SIGTERM)
        expect(daemon.process.wait(timeout=DEADLINE) == 0, daemon.log())
        expect(daemon.times("daemon_left") == 18, daemon.log())
    finally:
        file.end()
        for sender in senders:
            sender.kill()
            sender.wait()
            sender.stdout.close()
        daemon.end()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        print("skipped  all cases: needs root, and /dev/fuse\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    sys.exit(run_cases((next_daemon_serves, planned_end_stays_one), sys.argv[1]))
