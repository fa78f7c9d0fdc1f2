#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""supervise - who starts the next daemon: after a hang, a refusal, a mistake

Purpose     A daemon under its own supervisor whose threads hang or whose program is replaced, and
            one whose service manager doesn't read what it is told.
Usage       supervise.py BUILD; exit status as tests/lib.
"""
import concurrent.futures
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from service import Daemon, DEADLINE, expect, run_cases, wait_for

WATCHDOG_S = 4
SHORT_OF = 70  # descriptors: from those that are kept to what all of it takes
INJECT = "tests/system/mmbrokerd-inject"
NEXT_RELEASE = b"next"  # inject_daemon.c
EVICTING = ("WAITER_TURN", "KSWAPD_TURN", "PAGEOUT_TURN")


class Supervised(Daemon):
    """mmbrokerd --supervise, without a service manager"""

    def __init__(self, build, program, environ=None, config=""):
        super().__init__(build, program=program, environ=environ, config=config)

    def command(self, program):
        return super().command(program) + ["--supervise"]

    def environment(self, environ):
        env = super().environment(environ)
        del env["NOTIFY_SOCKET"]
        return env

    def wait_ready(self):
        self.wait_log("ready: serving on")

    def worker(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="ascii") as children:
            found = children.read().split()
        return int(found[0]) if found else 0

    def kill(self):
        worker = self.worker()
        self.process.kill()
        if worker:
            os.kill(worker, signal.SIGKILL)

    def times(self, text):
        return self.log().count(text)

    def wait_times(self, text, times):
        wait_for(lambda: self.times(text) >= times, f"'{text}' {times} times in the log")


class Outputless(Supervised):
    """The same of whoever starts it with no standard descriptor open"""

    def command(self, program):
        return ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *super().command(program)]

    def wait_ready(self):
        wait_for(lambda: os.path.exists(self.socket), "the socket")


def lost_nothing(client):
    """Its process stands again where it was."""
    expect(client.ask("check") == "good", "its memory")
    expect(client.ask("ping") == "pong", "its session")


def swap_config(folder):
    return f"[swap]\npath = {folder}/swap\nsize = 64M\n"


def work_for(daemon, point):
    """For the thread that is to hang, which may not have heard the signal yet."""
    if point == "QUEUE_TURN":
        daemon.client("4").end()  # what it had is given back
    subprocess.run([os.path.join(daemon.build, "tools/mmbctl"), "--socket", daemon.socket, "-t",
                    "1", "vmstat"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=DEADLINE, check=False)


def hang_is_ended(build, point):
    """Two clients; where the thread evicts, beyond their pool's limit."""
    environ = {"WATCHDOG_USEC": str(WATCHDOG_S * 1000000)}
    if point != "MAIN":
        environ["MMB_INJECT"] = f"{point}:1:hang"
    folder = tempfile.mkdtemp(prefix="mmb-swap-", dir="/var/tmp")
    evicts = point in EVICTING
    daemon = Supervised(build, INJECT, environ, swap_config(folder) if evicts else "")
    try:
        pages = "2048" if evicts else "64"
        client = daemon.client(pages)
        expect(client.ask("fill") == "filled", "a client fills its memory")
        late = daemon.client(pages)
        if evicts:
            expect(late.ask("fill") == "filled", "so does another")
            daemon.ctl("pool", "set", "service", "max=6M", "swap_max=32M")
        worker = daemon.worker()
        begin = time.monotonic()
        os.kill(worker, signal.SIGSTOP if point == "MAIN" else signal.SIGRTMIN + 1)
        word, answer = ("pageouts", "out") if point == "PAGEOUT_TURN" else ("fill", "filled")
        late.process.stdin.write(word + "\n")
        late.process.stdin.flush()

        def another_daemon():
            work_for(daemon, point)
            return daemon.worker() not in (0, worker)

        wait_for(another_daemon, f"another daemon after {point}")
        seconds = time.monotonic() - begin
        expect(late.process.stdout.readline().strip() == answer, "what it waited for")
        lost_nothing(client)
        lost_nothing(late)
        daemon.ctl("verify")
        return seconds
    finally:
        daemon.end()
        shutil.rmtree(folder)


def every_hang_is_ended(build):
    """A hang of any kind of worker costs less than twice the watchdog's period, and no byte"""
    points = ("CONTROL_TURN", "WORK_TURN", "QUEUE_TURN", "LANE_TURN", "KEEPER_TURN", "MAIN",
              *EVICTING)
    with concurrent.futures.ThreadPoolExecutor(len(points)) as pool:
        took = list(pool.map(lambda point: hang_is_ended(build, point), points))
    for point, seconds in zip(points, took):
        print(f"# {point}: another daemon after {seconds:.1f} s")
        if seconds >= 2 * WATCHDOG_S:  # so many at once may lack CPUs: by itself it mustn't
            seconds = hang_is_ended(build, point)
            print(f"# {point}: by itself after {seconds:.1f} s")
        expect(seconds < 2 * WATCHDOG_S, f"{point}: {seconds:.1f} s")


def stopped_supervisor_judges_nobody(build):
    """A supervisor that was stopped for long doesn't take its child for dead"""
    daemon = Supervised(build, INJECT, {"WATCHDOG_USEC": str(WATCHDOG_S * 1000000)})
    try:
        worker = daemon.worker()
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * WATCHDOG_S)
        daemon.process.send_signal(signal.SIGCONT)
        time.sleep(WATCHDOG_S / 4)
        expect(daemon.worker() == worker, daemon.log())
    finally:
        daemon.end()


def closed_outputs_cost_nothing(build):
    """Who has no standard error logs into nothing that the next daemon needs"""
    daemon = Outputless(build, INJECT)
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        worker = daemon.worker()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: daemon.worker() not in (0, worker), "another daemon")
        lost_nothing(client)
        daemon.ctl("verify")
        for fd in range(3):
            expect(os.readlink(f"/proc/{daemon.worker()}/fd/{fd}") == "/dev/null", f"{fd}")
        # The socket of a tool must not be taken for its output either.
        done = subprocess.run(["sh", "-c", '"$@" >&-', "sh",
                               os.path.join(build, "tools/mmbctl"), "--socket", daemon.socket,
                               "sessions", "--json"], timeout=DEADLINE, capture_output=True,
                              text=True, check=False)
        expect(done.returncode == 1 and "stdout" in done.stderr, done.stderr)
        expect('"bad_messages":0' in daemon.ctl("status", "--json"), "no bad message")
    finally:
        daemon.end()


def release(daemon, program, end):
    """The program's file is replaced by another release, in one step."""
    with open(os.path.join(daemon.build, INJECT), "rb") as file:
        contents = file.read()
    with open(program + ".new", "wb") as file:
        file.write(contents + end)
    os.chmod(program + ".new", 0o755)
    os.rename(program + ".new", program)


@contextlib.contextmanager
def program_of_its_own(build):
    """A daemon whose program's file can be replaced, and a client with memory."""
    folder = tempfile.mkdtemp(prefix="mmb-program-")
    program = folder + "/mmbrokerd"
    shutil.copy(os.path.join(build, INJECT), program)
    daemon = Supervised(build, program)
    try:
        client = daemon.client("64")
        client.ask("fill")
        yield daemon, program, client
    finally:
        daemon.end()
        shutil.rmtree(folder)


def release_that_refuses_changes_nothing(build):
    """A release that doesn't understand the state leaves it to the one that was there before"""
    with program_of_its_own(build) as (daemon, program, client):
        release(daemon, program, NEXT_RELEASE)
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.wait_times("ready: serving on", 2)
        expect("is of another version" in daemon.log(), daemon.log())
        expect("state_refused" in daemon.log(), daemon.log())
        lost_nothing(client)
        expect(os.readlink(f"/proc/{daemon.worker()}/exe").endswith(" (deleted)"), "the old one")
        os.kill(daemon.worker(), signal.SIGKILL)
        daemon.wait_times("ready: serving on", 3)
        lost_nothing(client)
        expect(daemon.times("state_refused") == 1, "the new one isn't asked at each death")
        release(daemon, program, b"this")
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.wait_times("ready: serving on", 4)
        lost_nothing(client)
        expect(os.readlink(f"/proc/{daemon.worker()}/exe") == program, "the new one")
        daemon.ctl("verify")


def end_worker(daemon, number):
    """Ends the child by that signal, and waits until another one serves."""
    served = daemon.times("ready: serving on")
    os.kill(daemon.worker(), number)
    daemon.wait_times("ready: serving on", served + 1)


def death_loop_slows_down(build):
    """Daemons that die again and again come back, not so fast that nobody else gets on"""
    daemon = Supervised(build, "daemon/mmbrokerd")
    try:
        client = daemon.client("8")
        expect(client.ask("fill") == "filled", client.first)
        deaths = 0  # one before the supervisor has heard that it serves isn't counted
        while daemon.times("death_loop") == 0:
            expect(deaths < 30, daemon.log())
            begin = time.monotonic()
            end_worker(daemon, signal.SIGABRT)
            deaths += 1
        expect(deaths > 10, "so many before the first pause")
        expect(time.monotonic() - begin > 0.6, "a pause")
        end_worker(daemon, signal.SIGKILL)
        expect(daemon.times("death_loop") == 1, "it comes from outside")
        lost_nothing(client)
    finally:
        daemon.end()


def mistake_costs_nobody_memory(build):
    """With a configuration that can't be, at a death or a hand-over, the last one stays in force"""
    daemon = Supervised(build, INJECT)
    mistakes = (
        ("a mistake", lambda: daemon.write_config("reserve_mode = borrow\n"),
         ".conf:3: memory.reserve_mode can't be"),
        ("what the host refuses", lambda: daemon.write_config(
            f"[swap]\npath = {daemon.folder}/none/swap\nsize = 64M\n"), "swap.path"),
        ("a group that isn't there", lambda: daemon.write_config("[socket]\ngroup = no-such\n"),
         ".conf:4: socket.group: there is no group 'no-such'"),
        ("no file", lambda: os.unlink(daemon.config), "can't be read"),
    )
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        for fell_back, (what, make, told) in enumerate(mistakes, 1):
            make()
            for number in (signal.SIGKILL, signal.SIGUSR2):
                end_worker(daemon, number)
                lost_nothing(client)
            expect(daemon.times("config_kept") == 2 * fell_back, f"{what}: {daemon.log()}")
            expect(told in daemon.log(), f"{what}: {daemon.log()}")
        daemon.write_config("[limits]\nsessions = 77\n")
        expect("limits.sessions: 1024 -> 77" in daemon.ctl("reload"), "a reload takes the file")
        os.unlink(daemon.config)
        end_worker(daemon, signal.SIGKILL)
        daemon.write_config("[limits]\nsessions = 77\n")
        expect(daemon.ctl("reload") == "nothing has changed\n", "what a reload set is kept, too")
        end_worker(daemon, signal.SIGKILL)
        expect(daemon.times("config_kept") == 2 * len(mistakes) + 1, "the file that is mended")
        lost_nothing(client)
        daemon.ctl("verify")
    finally:
        daemon.end()


def start_that_fails_is_tried_again(build):
    """A program that can't serve now, whatever it says, is started until it can"""
    with program_of_its_own(build) as (daemon, program, client):
        serving = daemon.worker()
        os.rename(program, program + ".good")
        for tries, status in ((3, 78), (3, 71)):
            with open(program + ".bad", "w", encoding="ascii") as bad:
                bad.write(f"#!/bin/sh\nexit {status}\n")
            os.chmod(program + ".bad", 0o755)
            os.rename(program + ".bad", program)
            if serving:  # the next ones end by themselves
                os.kill(serving, signal.SIGKILL)
                serving = 0
            daemon.wait_times(f"ended with status {status} before it served", tries)
        daemon.wait_log("start_again: clients wait; another try in 40 ms")
        os.rename(program + ".good", program)
        daemon.wait_times("ready: serving on", 2)
        lost_nothing(client)
        daemon.ctl("verify")


def name_that_has_gone_is_given_again(build):
    """A socket whose file somebody has removed costs nobody memory, and the next daemon makes it"""
    daemon = Supervised(build, INJECT)
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        os.unlink(daemon.socket)
        end_worker(daemon, signal.SIGKILL)
        lost_nothing(client)
        expect(daemon.client("4").first == "ready", "a session of whoever comes now")
        end_worker(daemon, signal.SIGKILL)
        lost_nothing(client)
        daemon.ctl("verify")
    finally:
        daemon.end()


def open_to(pid):
    """One more than the highest descriptor of the process."""
    return 1 + max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))


def doctor_knows_who_starts_it_again(build):
    """On a host with systemd doctor sees whether a broker has a supervisor of its own"""
    host = ["unshare", "-m", "sh", "-c",
            'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@"', "sh"]
    can = subprocess.run([*host, "true"], capture_output=True, check=False).returncode == 0
    for kind, says in ((Supervised, "a supervisor of its own"), (Daemon, "nobody starts it again")):
        daemon = kind(build, INJECT)
        try:
            done = subprocess.run([*(host if can else []), os.path.join(build, "tools/mmbctl"),
                                   "--socket", daemon.socket, "doctor"], capture_output=True,
                                  text=True, timeout=DEADLINE, check=False)
            expect(says in done.stdout or not can and "no systemd" in done.stdout,
                   f"{says}: {done.stdout}{done.stderr}")
            # One that systemd doesn't run isn't cured by it, unless it is to run it from now on.
            expect(kind is Daemon or "systemctl" not in done.stdout, done.stdout)
        finally:
            daemon.end()


def doctor_looks_at_a_broker_that_hangs(build):
    """To start another one cures no broker that is there and doesn't answer"""
    daemon = Daemon(build, INJECT)
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        done = subprocess.run([os.path.join(build, "tools/mmbctl"), "--socket", daemon.socket,
                               "--timeout", "1", "doctor"], capture_output=True, text=True,
                              timeout=DEADLINE, check=False)
        expect("no answer" in done.stdout and "mmbrokerd --supervise" not in done.stdout and
               ("journalctl" in done.stdout or f"{daemon.socket}.lock" in done.stdout),
               f"{done.stdout}{done.stderr}")
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
        daemon.end()


def supervisor_waits_for_descriptors(build):
    """A supervisor that can't start the next daemon now does so later"""
    daemon = Supervised(build, INJECT)
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        pid = daemon.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_to(pid) - 2, before[1]))
        os.kill(daemon.worker(), signal.SIGKILL)
        daemon.wait_log("not_started")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        daemon.wait_times("ready: serving on", 2)
        lost_nothing(client)
        daemon.ctl("verify")
    finally:
        daemon.end()


def shortage_of_descriptors_is_waited_for(build):
    """Whatever the next daemon has no descriptors for, the one after that goes on where it was"""
    with program_of_its_own(build) as (daemon, program, client):
        clients = [client] + [daemon.client("4") for _ in range(3)]
        for client in clients[1:]:
            expect(client.ask("fill") == "filled", client.first)
        short, least = 0, open_to(daemon.process.pid)
        os.rename(program, program + ".good")
        for limit in range(least, least + SHORT_OF):
            served, tried = daemon.times("ready: serving on"), daemon.times("start_again")
            with open(program + ".low", "w", encoding="ascii") as low:
                low.write(f"#!/bin/sh\nulimit -n {limit}\nexec {program}.good \"$@\"\n")
            os.chmod(program + ".low", 0o755)
            os.rename(program + ".low", program)
            os.kill(daemon.worker(), signal.SIGKILL)
            wait_for(lambda: daemon.times("ready: serving on") > served or
                     daemon.times("start_again") > tried, "what becomes of it")
            short += daemon.times("start_again") > tried
            os.unlink(program)
            os.link(program + ".good", program)
            daemon.wait_times("ready: serving on", served + 1)
            for client in clients:
                lost_nothing(client)
        expect(short, "some limit is too low")
        daemon.ctl("verify")


class Reader(threading.Thread):
    """A manager that reads what it is told, while `on`."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.broker, self.on, self.over = daemon, True, False

    def run(self):
        while not self.over:
            if self.on:
                self.broker.notifications()
            time.sleep(0.005)


def manager_that_does_not_read(build):
    """A manager that reads nothing holds up nobody who has a session, and no thread"""
    daemon = Daemon(build, config="[limits]\nsessions = 80\n", environ={"FDSTORE": "400"})
    reader = Reader(daemon)
    reader.start()
    try:
        client = daemon.client("64")
        expect(client.ask("fill") == "filled", client.first)
        reader.on = False
        late = [daemon.client("4") for _ in range(4)]
        expect(any(c.first.startswith("failed") for c in late), f"{[c.first for c in late]}")
        begin = time.monotonic()
        lost_nothing(client)
        daemon.ctl("status")
        daemon.ctl("reload")
        expect(time.monotonic() - begin < 20, "nobody waits for the manager")
        daemon.wait_log("manager_stalled")
        reader.on = True
        wait_for(lambda: daemon.client("4").first == "ready", "a session, once it reads again")
    finally:
        reader.over = True
        reader.join()
        daemon.end()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(run_cases((every_hang_is_ended, stopped_supervisor_judges_nobody,
                        closed_outputs_cost_nothing, release_that_refuses_changes_nothing,
                        death_loop_slows_down, mistake_costs_nobody_memory,
                        start_that_fails_is_tried_again, doctor_knows_who_starts_it_again,
                        doctor_looks_at_a_broker_that_hangs,
                        name_that_has_gone_is_given_again,
                        supervisor_waits_for_descriptors, shortage_of_descriptors_is_waited_for,
                        manager_that_does_not_read),
                       sys.argv[1]))
