#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""service - what the service manager, the journal and an administrator see of a daemon

Purpose     A daemon with a notification socket, a journal's socket and a configuration file of the
            test's: readiness, status line, reload, log level, drain, watchdog.
Usage       service.py BUILD; exit status as tests/lib.
"""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

DEADLINE = 60
WATCHDOG_S = 4


def expect(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


def wait_for(condition, what, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what}")


def datagrams(sock):
    """What lies in a datagram socket."""
    found = []
    while True:
        try:
            found.append(sock.recv(65536).decode(errors="replace"))
        except BlockingIOError:
            return found


class Daemon:
    """One mmbrokerd, its notifications and its log."""

    def __init__(self, build, program="daemon/mmbrokerd", config="", journal=False, environ=None):
        self.build = build
        self.folder = tempfile.mkdtemp(prefix="mmb-service-")
        self.socket = self.folder + "/mmbroker.sock"
        self.config = self.folder + "/mmbrokerd.conf"
        self.write_config(config)
        self.said, self.logged = [], []
        self.notify = self.datagram_socket("notify")
        self.journal = self.datagram_socket("journal") if journal else None
        env = self.environment(environ or {})
        self.stderr = open(self.folder + "/log", "wb")
        if journal:
            st = os.fstat(self.stderr.fileno())
            env |= {"JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}",
                    "MMB_JOURNAL_SOCKET": self.folder + "/journal"}
        self.process = self.start(self.command(program), env)
        self.clients = []
        try:
            self.wait_ready()
        except AssertionError:
            self.end()
            raise

    def start(self, command, env):
        return subprocess.Popen(command, env=env, stderr=self.stderr)

    def environment(self, more):
        env = {name: value for name, value in os.environ.items() if not name.startswith("MMB_")}
        return env | {"NOTIFY_SOCKET": self.folder + "/notify", **more}

    def command(self, program):
        return [os.path.join(self.build, program), "--config", self.config, "--socket",
                self.socket]

    def wait_ready(self):
        self.wait_notified("READY=1")

    def datagram_socket(self, name):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(f"{self.folder}/{name}")
        sock.setblocking(False)
        return sock

    def write_config(self, text):
        with open(self.config, "w", encoding="utf-8") as out:
            out.write("[memory]\nreserve = 64M\n" + text)

    def notifications(self):
        self.said += [line for text in datagrams(self.notify) for line in text.split("\n")]
        return self.said

    def wait_notified(self, line):
        """Waits for a line that begins so, and forgets what was said up to it."""
        def found():
            for i, said in enumerate(self.notifications()):
                if said.startswith(line):
                    del self.said[:i + 1]
                    return said
            expect(self.process.poll() is None, f"the daemon ended: {self.log()}")
            return None
        return wait_for(found, f"{line} from the daemon")

    def log(self):
        with open(self.folder + "/log", encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_log(self, text):
        wait_for(lambda: text in self.log(), f"'{text}' in the log")

    def ctl(self, *arguments, status=0):
        done = subprocess.run([os.path.join(self.build, "tools/mmbctl"), "--socket", self.socket,
                               *arguments], capture_output=True, text=True, timeout=DEADLINE,
                              check=False)
        expect(done.returncode == status, f"mmbctl {' '.join(arguments)}: status "
               f"{done.returncode}, {done.stdout}{done.stderr}")
        return done.stdout if status == 0 else done.stderr

    def watermark(self):
        """The low mark of the first zone, pages."""
        return int(re.search(r"^ +low +(\d+)$", self.ctl("zoneinfo"), re.M).group(1))

    def client(self, *arguments):
        client = Client(self, *arguments)
        self.clients.append(client)
        return client

    def kill(self):
        self.process.kill()

    def end(self):
        for client in self.clients:
            client.end()
        if self.process.poll() is None:
            self.kill()
        self.process.wait()
        self.stderr.close()
        self.notify.close()
        if self.journal:
            self.journal.close()
        shutil.rmtree(self.folder)


class Client:
    """tests/system/service_client.c"""

    def __init__(self, daemon, *arguments):
        self.process = subprocess.Popen(
            [os.path.join(daemon.build, "tests/system/service_client"), daemon.socket, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.first = self.process.stdout.readline().strip()

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def status_line_lives(build):
    """The manager hears of readiness, sees one line that follows what happens, and of the stop"""
    daemon = Daemon(build)
    try:
        first = daemon.wait_notified("STATUS=")
        expect(re.match(r"STATUS=0 sessions, 0 regions, \d+ of 64 MiB in use, 0 faults/s$", first),
               first)
        daemon.client("16")
        daemon.wait_notified("STATUS=1 sessions, 1 regions, ")
        daemon.process.terminate()
        daemon.wait_notified("STOPPING=1")
        expect(daemon.process.wait(DEADLINE) == 0, "a stop is no failure")
    finally:
        daemon.end()


def reload_takes_what_it_can(build):
    """A reload puts live keys into force, names the others, and refuses mistakes as a whole"""
    daemon = Daemon(build, config="[log]\nlevel = notice\n[limits]\nsessions = 3\n")
    try:
        expect(daemon.ctl("log-level").strip() == "notice", "the file's level")
        expect(daemon.ctl("reload") == "nothing has changed\n", "nothing changed")
        daemon.wait_notified("RELOADING=1")
        expect(int(daemon.wait_notified("MONOTONIC_USEC=").split("=")[1]) > 0, "with the time")
        daemon.wait_notified("READY=1")
        low = daemon.watermark()
        daemon.write_config("reserve_mode = account\nwatermark_scale_factor = 2000\n"
                            "[log]\nlevel = debug\n[limits]\nsessions = 1\n"
                            "[control]\nworkers = 3\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_notified("RELOADING=1")
        daemon.wait_notified("READY=1")
        daemon.wait_log("reload: control.workers: 2 -> 3, which takes effect at the next start")
        daemon.wait_log("reload: limits.sessions: 3 -> 1")
        expect(daemon.ctl("log-level").strip() == "debug", "the new level")
        expect(daemon.watermark() > 10 * low, f"the zones' watermarks: {daemon.watermark()}")
        expect(daemon.client("4").first == "ready", "one session is allowed")
        expect("limits.sessions" in daemon.client("4").first, "a second one isn't")
        expect(daemon.ctl("reload") == "control.workers: 2 -> 3, at the next start\n", "again")
        expect(json.loads(daemon.ctl("reload", "--json")) ==
               {"schema": 1, "refused": False,
                "report": ["control.workers: 2 -> 3, at the next start"]}, "the same as JSON")
        daemon.write_config("[limits]\nsessions = 9\nfrobs = 1\n[log]\nlevel = loud\n")
        said = daemon.ctl("reload", status=1)
        expect("frobs" in said and "loud" in said, f"both mistakes are told: {said}")
        expect("limits.sessions" in daemon.client("4").first, "nothing of it is in force")
        expect(daemon.ctl("log-level").strip() == "debug", "nothing of it is in force")
    finally:
        daemon.end()


def log_level_changes(build):
    """mmbctl log-level shows and sets the level; a reload of the same file leaves it alone"""
    daemon = Daemon(build)
    try:
        expect(daemon.ctl("log-level").strip() == "info", "the default")
        expect(daemon.ctl("log-level", "error").strip() == "error", "it is set")
        expect(json.loads(daemon.ctl("log-level", "--json")) == {"schema": 1, "level": "error"},
               "the same as JSON")
        daemon.ctl("log-level", "loud", status=1)
        daemon.ctl("reload")
        expect(daemon.ctl("log-level").strip() == "error", "it stays")
        if os.geteuid() == 0:
            os.chmod(daemon.folder, 0o755)
            os.chmod(daemon.socket, 0o666)
            as_nobody = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                 os.path.join(build, "tools/mmbctl"), "--socket", daemon.socket, "log-level",
                 "debug"], capture_output=True, text=True, timeout=DEADLINE, check=False)
            expect(as_nobody.returncode in (4, 126, 127), f"a stranger may not: {as_nobody}")
        expect(daemon.ctl("log-level").strip() == "error", "it stays")
    finally:
        daemon.end()


def drain_waits_for_clients(build):
    """A drain lets nobody in, and answers when the last client has left; tools get in"""
    daemon = Daemon(build)
    try:
        client = daemon.client("64", "kept")
        client.ask("fill")
        drain = subprocess.Popen([os.path.join(build, "tools/mmbctl"), "--socket", daemon.socket,
                                  "drain", "50"], stdout=subprocess.PIPE, text=True)
        daemon.wait_log("drain_begin")
        expect("drained" in daemon.client("4").first, "nobody gets in")
        expect(client.ask("check") == "good", "who is in is served")
        expect(drain.poll() is None, "the drain waits")
        client.end()
        said, _ = drain.communicate(timeout=DEADLINE)
        expect(said == "drained: 1 sessions left by themselves, 0 were ended\n", said)
        expect("draining: no session gets in" in daemon.ctl("status"), "status tells")
        daemon.ctl("verify")
        expect("kept" in daemon.ctl("regions"), "a region without sessions stays")
        expect("drained" in daemon.client("4").first, "still nobody gets in")
    finally:
        daemon.end()


def drain_ends_who_stays(build):
    """After a drain's time clients that stay get SIGBUS with a cause, never zeros"""
    daemon = Daemon(build)
    try:
        clients = [daemon.client("64", "shared"), daemon.client("64")]
        for client in clients:
            client.ask("fill")
        said = daemon.ctl("drain", "0.2")
        expect(said == "drained: 0 sessions left by themselves, 2 were ended\n", said)
        for client in clients:
            told = client.ask("check")
            expect(told.startswith("sigbus the broker has been stopped"), told)
            told = client.ask("ping")
            expect(told.startswith("gone ") and "drained" in told, told)
            told = client.ask("close")
            expect(told == "closed", told)
        daemon.ctl("verify")
        expect("shared" not in daemon.ctl("regions"), "what was destroyed has no name")
        daemon.process.terminate()
        expect(daemon.process.wait(DEADLINE) == 0, "a stop is no failure")
    finally:
        daemon.end()


def hand_over_leaves_everything(build):
    """SIGUSR2 leaves all to the next process if somebody keeps it, and is a stop otherwise"""
    for store in ("100", ""):
        daemon = Daemon(build, config="[limits]\nsessions = 8\n", environ={"FDSTORE": store})
        # A manager reads: descriptors wait for room.
        reader = threading.Thread(target=wait_for, daemon=True, args=(
            lambda d=daemon: d.notifications() and d.process.poll() is not None, "its end"))
        reader.start()
        try:
            client = daemon.client("64")
            client.ask("fill")
            daemon.process.send_signal(signal.SIGUSR2)
            expect(daemon.process.wait(DEADLINE) == 0, "neither is a failure")
            reader.join()
            expect(("handed_over" in daemon.log()) == bool(store), daemon.log())
            expect(("stopping" in daemon.log()) != bool(store), daemon.log())
            told = client.ask("check")
            if store:
                expect(told == "good", f"what is there stays: {told}")
            else:
                expect(told.startswith("sigbus the broker has been stopped"), told)
        finally:
            daemon.end()


def limits_fit_the_store(build):
    """A daemon whose manager can't keep all sessions that it allows says so, and where"""
    try:
        Daemon(build, config="[limits]\nsessions = 10\n", environ={"FDSTORE": "100"}).end()
        raise AssertionError("it starts with more sessions than can be kept")
    except AssertionError as ended:
        expect("mmbrokerd.conf:4: limits.sessions: 10 sessions" in str(ended) and
               "FileDescriptorStoreMax" in str(ended), str(ended))
    daemon = Daemon(build, config="[limits]\nsessions = 9\n", environ={"FDSTORE": "100"})
    try:
        daemon.write_config("[limits]\nsessions = 11\n")
        expect("which has room for 100" in daemon.ctl("reload"), "reload says so, too")
    finally:
        daemon.end()


def journal_has_fields(build):
    """The journal gets the daemon's events with their fields, and stderr stays empty"""
    daemon = Daemon(build, journal=True)
    try:
        client = daemon.client("4")
        client.end()
        events = []

        def ended():
            events.extend(datagrams(daemon.journal))
            return [e for e in events if "MMB_EVENT=session_end\n" in e]

        event = wait_for(ended, "the event of the session's end")[0]
        expect(f"\nMMB_CLIENT_PID={client.process.pid}\n" in event, event)
        expect(re.search(r"^MMB_SESSION=\d+\nMMB_CLIENT_PID=\d+\nMMB_CLIENT_UID=\d+$", event,
                         re.M), event)
        ready = [e for e in events if "MMB_EVENT=ready\n" in e][0]
        expect(re.search(r"^MESSAGE_ID=[0-9a-f]{32}$", ready, re.M), ready)
        expect("PRIORITY=6\nSYSLOG_IDENTIFIER=mmbrokerd\n" in ready, ready)
        expect(daemon.log() == "", "stderr is for a journal that isn't there")
    finally:
        daemon.end()


def hang_is_told(build, point):
    daemon = Daemon(build, program="tests/system/mmbrokerd-inject",
                    environ={"WATCHDOG_USEC": str(WATCHDOG_S * 1000000),
                             "MMB_INJECT": f"{point}:1:hang"})
    try:
        daemon.wait_notified("WATCHDOG=1")
        client = daemon.client("64")
        begin = time.monotonic()
        daemon.process.send_signal(signal.SIGRTMIN + 1)
        # Work for a lane and for a work thread.
        client.process.stdin.write("fill\n")
        client.process.stdin.flush()
        subprocess.Popen([os.path.join(build, "tools/mmbctl"), "--socket", daemon.socket, "-t",
                          "1", "vmstat"], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL).wait(DEADLINE)
        daemon.wait_notified("WATCHDOG=trigger")
        return time.monotonic() - begin
    finally:
        daemon.end()


def every_hang_is_told(build):
    """A hang of any kind of worker reaches the manager within twice the watchdog's period"""
    points = ("CONTROL_TURN", "WORK_TURN", "LANE_TURN", "KEEPER_TURN")
    with concurrent.futures.ThreadPoolExecutor(len(points)) as pool:
        told = list(pool.map(lambda point: hang_is_told(build, point), points))
    for point, seconds in zip(points, told):
        print(f"# {point}: told after {seconds:.1f} s")
        expect(seconds < 2 * WATCHDOG_S, f"{point}: told after {seconds:.1f} s")


def unwatched_supervisor_sees_an_end(build):
    """Without a manager to tell, who hangs ends by SIGABRT"""
    daemon = Daemon(build, program="tests/system/mmbrokerd-inject",
                    environ={"MMB_INJECT": "KEEPER_TURN:1:hang"})
    try:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MMB_", "NOTIFY"))}
        env |= {"WATCHDOG_USEC": "8000000", "MMB_INJECT": "KEEPER_TURN:1:hang",
                "MMB_INJECT_NOW": "1"}
        done = subprocess.run([os.path.join(build, "tests/system/mmbrokerd-inject"), "--socket",
                               daemon.folder + "/other", "--memory.reserve=64M"], env=env,
                              timeout=DEADLINE, capture_output=True, text=True, check=False)
        expect(done.returncode == -signal.SIGABRT, f"{done.returncode}: {done.stderr}")
        expect("critical: worker_hung: keeper has not moved" in done.stderr, done.stderr)
    finally:
        daemon.end()


class FileLimited(Daemon):
    """A daemon with a soft limit of 1 MiB a file"""

    def start(self, command, env):
        # The log and what clients have are short.
        return subprocess.Popen(["prlimit", "--fsize=1048576:", *command], env=env,
                                stderr=self.stderr)


def limits_of_files_are_told(build):
    """ulimit -f is raised where it can be, and otherwise named, as memory counts as files"""
    daemon = FileLimited(build)
    try:
        daemon.ctl("verify")
        done = subprocess.run(["prlimit", "--fsize=1048576:1048576",
                               os.path.join(build, "daemon/mmbrokerd"), "--socket",
                               daemon.folder + "/other"], timeout=DEADLINE, capture_output=True,
                              text=True, check=False)
        expect(done.returncode not in (0, -signal.SIGXFSZ) and "ulimit -f" in done.stderr,
               f"{done.returncode}: {done.stderr}")
    finally:
        daemon.end()


CASES = (status_line_lives, reload_takes_what_it_can, log_level_changes, drain_waits_for_clients,
         drain_ends_who_stays, limits_fit_the_store, journal_has_fields,
         hand_over_leaves_everything, every_hang_is_told, unwatched_supervisor_sees_an_end,
         limits_of_files_are_told)


def run_cases(cases, build):
    count = {"passed": 0, "FAILED": 0}
    for case in cases:
        try:
            case(build)
            verdict, why = "passed", ""
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            verdict, why = "FAILED", f": {error}"
        count[verdict] += 1
        print(f"{verdict:8} {case.__doc__}{why}", flush=True)
    print(f"{count['passed']} passed, {count['FAILED']} failed, 0 skipped")
    return 1 if count["FAILED"] else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(run_cases(CASES, sys.argv[1]))
