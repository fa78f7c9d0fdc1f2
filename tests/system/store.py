#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""store - a service manager that hands over a socket, and keeps descriptors for the next daemon

Purpose     What systemd does, in a few lines: it listens for the daemon, takes what is sent to its
            notification socket into a store, and passes all of that to the next process by name.
Usage       store.py BUILD; exit status as tests/lib.
"""
import array
import os
import re
import signal
import socket
import subprocess
import sys
import threading

from service import Daemon, DEADLINE, expect, run_cases, wait_for

ROOM = 400
ENVIRONMENT_MAX = 128 * 1024  # bytes of one string


class Store(threading.Thread):
    """The manager's end of the notification socket: descriptors by name, in their order."""

    def __init__(self, notify):
        super().__init__(daemon=True)
        self.notify, self.over, self.lines, self.kept = notify, False, [], []
        self.polled = []

    def run(self):
        while not self.over:
            try:
                self.take()
            except BlockingIOError:
                threading.Event().wait(0.002)

    def take(self):
        text, ancillary, _, _ = self.notify.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
        lines = text.decode(errors="replace").split("\n")
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        names = [line[len("FDNAME="):] for line in lines if line.startswith("FDNAME=")]
        if "FDSTOREREMOVE=1" in lines:
            self.remove(names[0])
        if "FDSTORE=1" in lines:
            expect(len(fds) == 1 and len(names) == 1, f"one descriptor and its name: {lines}")
            if "FDPOLL=0" not in lines:
                self.polled.append(names[0])
            self.kept.append((names[0], fds[0]))
        self.lines += lines

    def remove(self, name):
        for kept in [kept for kept in self.kept if kept[0] == name]:
            os.close(kept[1])
            self.kept.remove(kept)

    def names(self):
        return [name for name, _ in self.kept]

    def end(self):
        self.over = True
        self.join()
        for _, fd in self.kept:
            os.close(fd)


# Runs the program after it with the descriptors that are named first as 3 and up.
LAUNCH = """
import fcntl, os, sys
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 500) for fd in sys.argv[1].split(",")]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Kept(Daemon):
    """mmbrokerd as its unit has it: with a socket that listens already, and a store."""

    def __init__(self, build):
        self.store = None
        super().__init__(build, config="[limits]\nsessions = 20\n")

    def datagram_socket(self, name):
        sock = super().datagram_socket(name)
        self.store = Store(sock)
        self.store.start()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.socket)
        self.listener.listen(64)
        return sock

    def notifications(self):
        found, self.store.lines = self.store.lines, []
        self.said += found
        return self.said

    def start(self, command, env):
        names = ["mmbrokerd.socket", *self.store.names()]
        fds = [self.listener.fileno(), *(fd for _, fd in self.store.kept)]
        text = ":".join(names)
        expect(len("LISTEN_FDNAMES=" + text) < ENVIRONMENT_MAX, "the names fit one string")
        env = env | {"FDSTORE": str(ROOM), "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": text}
        return subprocess.Popen([sys.executable, "-c", LAUNCH, ",".join(map(str, fds)), *command],
                                env=env, stderr=self.stderr, pass_fds=fds)

    def another(self, failures=0):
        """The next process, when this one has ended; after some that fail."""
        self.process.wait(DEADLINE)
        for _ in range(failures):
            failed = self.start(self.command("daemon/mmbrokerd"), self.environment({}))
            expect(failed.wait(DEADLINE) != 0, "what can't serve ends")
        self.process = self.start(self.command("daemon/mmbrokerd"), self.environment({}))
        self.wait_ready()

    def end(self):
        self.store.end()
        super().end()
        self.listener.close()


def lost_nothing(client):
    expect(client.ask("check") == "good", "its memory")
    expect(client.ask("ping") == "pong", "its session")


def first_client_is_served(build):
    """A client that connects before the daemon runs waits in the manager's socket, and is served"""
    daemon = Kept(build)
    try:
        daemon.process.terminate()
        expect(daemon.process.wait(DEADLINE) == 0, "a stop is no failure")
        expect(os.path.exists(daemon.socket), "the manager's socket stays")
        early = []
        thread = threading.Thread(target=lambda: early.append(daemon.client("16")), daemon=True)
        thread.start()
        daemon.another()
        thread.join(DEADLINE)
        expect(early and early[0].first == "ready", f"{early and early[0].first}")
        expect(early[0].ask("fill") == "filled" and early[0].ask("check") == "good", "its memory")
    finally:
        daemon.end()


def next_daemon_goes_on(build):
    """What a manager keeps by short names is all that the next daemon needs, after any end"""
    daemon = Kept(build)
    try:
        clients = [daemon.client("64", "shared"), daemon.client("64")]
        for client in clients:
            expect(client.ask("fill") == "filled", client.first)
        for number in (signal.SIGKILL, signal.SIGUSR2, signal.SIGKILL):
            daemon.process.send_signal(number)
            daemon.another()
            for client in clients:
                lost_nothing(client)
                expect(client.ask("fill") == "filled", "it goes on")
            daemon.ctl("verify")
        names = daemon.store.names()
        expect(len(names) > 10 and len(set(names)) == len(names), f"one each: {names}")
        expect(all(re.fullmatch(r"[A-Za-z0-9_-]{1,3}", name) for name in names), f"{names}")
        expect(not daemon.store.polled, f"the manager would drop some: {daemon.store.polled}")
        before = len(names)
        for client in clients:
            client.end()
        wait_for(lambda: len(daemon.store.kept) <= before - 8, "what is over leaves the store")
    finally:
        daemon.end()


def mistake_costs_nobody_memory(build):
    """With a configuration that can't be the next daemon goes by the last one's"""
    daemon = Kept(build)
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        daemon.write_config("[limits]\nsessions = many\n")
        daemon.process.kill()
        daemon.another()
        lost_nothing(client)
        daemon.write_config(f"[swap]\npath = {daemon.folder}/none/swap\nsize = 64M\n"
                            "[limits]\nsessions = 20\n")
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.another(failures=1)
        lost_nothing(client)
        expect(daemon.log().count("config_kept") == 2, daemon.log())
        daemon.write_config("[limits]\nsessions = 20\n")
        daemon.process.kill()
        daemon.another()
        expect(daemon.log().count("config_kept") == 2, "the file that is mended")
        lost_nothing(client)
        daemon.ctl("verify")
    finally:
        daemon.end()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(run_cases((first_client_is_served, next_daemon_goes_on, mistake_costs_nobody_memory),
                       sys.argv[1]))
