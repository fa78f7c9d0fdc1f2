#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""inflight - descriptors that clients ask for and leave in their sockets

Purpose     A daemon with few descriptors and without privileges, under its supervisor and under a
            service manager with a store, and a client that asks for hundreds and takes none: the
            kernel counts them against the daemon's user, who must still serve others, and give the
            next daemon what it needs.
Usage       inflight.py BUILD; exit status as tests/lib.
"""
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys

from service import DEADLINE, expect, run_cases, wait_for
from store import Kept
from supervise import Supervised

DESCRIPTORS = 1024  # RLIMIT_NOFILE of the daemon
CONNECTIONS, ARENAS = 8, 300  # of the hostile client: far more than that
NOBODY, HOSTILE = 65534, 65533  # uids, if the test may choose
BATCH = 200  # descriptors in a message
HELLO, POOL_OPEN, ARENA_OPEN = 1, 4, 7
IS_ROOT = os.geteuid() == 0


def become(uid):
    if IS_ROOT:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


# ---- a client that is no library

def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def parse(packet):
    """Numbers and texts of one message by field."""
    at, found = 0, {}

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = packet[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(packet):
        tag = read()
        value = read()
        if tag & 7 == 2:
            at, value = at + value, packet[at:at + value]
        found.setdefault(tag >> 3, value)
    return found


class Raw:
    """One connection."""

    def __init__(self, path):
        self.last = 0
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(path)

    def send(self, method, body):
        self.last += 1
        self.sock.send(number(1, method) + number(2, self.last) + text(5, body))

    def call(self, method, body):
        self.send(method, body)
        packet, _, _, _ = self.sock.recvmsg(16384, 0)  # descriptors are thrown away
        reply = parse(packet)
        expect(3 not in reply, f"{method}: {reply.get(4)}")
        return parse(reply.get(5, b""))

    def hello(self):
        return self.call(HELLO, number(1, 1) + number(2, 1) + number(3, 3) + text(4, b"raw") +
                         number(6, 1))


def hoard(path):
    """What the hostile client does: it asks, and never reads. Returns its connections."""
    kept = []
    for _ in range(CONNECTIONS):
        try:
            raw = Raw(path)
            raw.hello()
            pool = raw.call(POOL_OPEN, text(1, b"") + number(2, 4))[1]
        except (AssertionError, OSError):
            break
        kept.append(raw)
        raw.sock.setblocking(False)
        for _ in range(ARENAS):
            try:
                raw.send(ARENA_OPEN, number(1, pool))
            except OSError:
                break
    return kept


class Hostile:
    """In a process of its own."""

    def __init__(self, path):
        ready, begun = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(ready)
            try:
                become(HOSTILE)
                kept = hoard(path)
                os.write(begun, bytes([len(kept)]))
                signal.pause()
            finally:
                os._exit(1)
        os.close(begun)
        self.connections = os.read(ready, 1)
        os.close(ready)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Crowded:
    """The daemon's own user sends itself more than the daemon may have on their way."""

    def __init__(self):
        ready, begun = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
                become(NOBODY)
                pairs = []
                for _ in range(DESCRIPTORS // BATCH + 2):
                    pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                    socket.send_fds(pairs[-1][0], [b"x"], [0] * BATCH)
                os.write(begun, b"x")
                signal.pause()
            finally:
                os._exit(1)
        os.close(begun)
        expect(os.read(ready, 1) == b"x", "the crowd is there")
        os.close(ready)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


# ---- daemons without privileges

class Poor:
    """Of a Daemon: few descriptors, no privileges, and everybody may connect."""

    def start(self, command, env):
        program = self.folder + "/mmbrokerd"  # where the build lies it may not be let in
        shutil.copy(command[0], program)
        for name in ("notify", "mmbroker.sock"):
            if os.path.exists(self.folder + "/" + name):
                os.chmod(self.folder + "/" + name, 0o666)
        become_poor = [shutil.which("prlimit"), f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
        if IS_ROOT:
            os.chmod(self.folder, 0o755)
            os.chown(self.folder, NOBODY, NOBODY)
            become_poor += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                            "--bounding-set=-all"]
        return super().start([*become_poor, program, *command[1:], "--socket.mode=0666",
                              "--limits.sessions=80"], env)


class PoorSupervised(Poor, Supervised):
    """Its own supervisor keeps what the next one needs."""

    def __init__(self, build):
        super().__init__(build, "daemon/mmbrokerd")

    def die(self):
        before = self.times("ready: serving on")
        os.kill(self.worker(), signal.SIGKILL)
        self.wait_times("ready: serving on", before + 1)


class PoorKept(Poor, Kept):
    """A service manager's store does."""

    def die(self):
        self.process.kill()
        self.another()


def is_served(daemon):
    client = daemon.client("64")
    served = client.first == "ready" and client.ask("fill") == "filled"
    client.end()
    return served


def lost_nothing(client):
    expect(client.ask("check") == "good", "its memory")
    expect(client.ask("ping") == "pong", "its session")


def ends(daemon):
    """It hears of the end."""
    daemon.process.terminate()
    expect(daemon.process.wait(DEADLINE) == 0, daemon.log())


def doctor_says(daemon):
    """Whatever it thinks of this host."""
    return subprocess.run([os.path.join(daemon.build, "tools/mmbctl"), "--socket", daemon.socket,
                           "doctor", "--json"], capture_output=True, text=True, timeout=DEADLINE,
                          check=False).stdout


def others_are_served(build, form):
    daemon = form(build)
    hostile = None
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        hostile = Hostile(daemon.socket)
        wait_for(lambda: "descriptors_unread" in daemon.log(), "a share that is used up")
        status = json.loads(daemon.ctl("status", "--json"))
        most = status["unread_descriptors_max"]
        expect(most == DESCRIPTORS // 2, f"of {most}")
        expect(most // 4 < status["unread_descriptors"] <= most // 2 + 8, f"{status}")
        doctor = [json.loads(line) for line in doctor_says(daemon).splitlines()]
        expect([f["level"] for f in doctor if f["check"] == "unread"] == ["warn"], f"{doctor}")
        for _ in range(2):
            lost_nothing(client)
            # Where all are one user they have one share.
            expect(is_served(daemon) or not IS_ROOT, daemon.log())
            daemon.die()
        lost_nothing(client)
        daemon.ctl("verify")
        expect("worker_hung" not in daemon.log(), daemon.log())
        expect("descriptors_in_flight" not in daemon.log(), daemon.log())
        hostile.end()
        hostile = None
        wait_for(lambda: is_served(daemon), "service for all")
        ends(daemon)
    finally:
        if hostile:
            hostile.end()
        daemon.end()


def crowd_is_outlived(build, form):
    daemon = form(build)
    crowd = None
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        crowd = Crowded()
        for _ in range(3):
            expect(not is_served(daemon), "nothing can be kept, and nobody is told otherwise")
        daemon.wait_log("descriptors_in_flight")
        lost_nothing(client)
        daemon.die()
        lost_nothing(client)
        expect(not is_served(daemon), "still")
        expect("worker_hung" not in daemon.log(), daemon.log())
        crowd.end()
        crowd = None
        wait_for(lambda: is_served(daemon), "service for all")
        ends(daemon)
    finally:
        if crowd:
            crowd.end()
        daemon.end()


def supervised_serves_others(build):
    """A client that leaves descriptors unread takes nothing from others, nor the next daemon"""
    others_are_served(build, PoorSupervised)


def kept_serves_others(build):
    """The same under a service manager"""
    others_are_served(build, PoorKept)


def supervised_outlives_a_crowd(build):
    """While its user may send no descriptor a daemon refuses, hangs nowhere, and has successors"""
    crowd_is_outlived(build, PoorSupervised)


def kept_outlives_a_crowd(build):
    """The same under a service manager"""
    crowd_is_outlived(build, PoorKept)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(run_cases((supervised_serves_others, kept_serves_others, supervised_outlives_a_crowd,
                        kept_outlives_a_crowd), sys.argv[1]))
