#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_mistakes - what mmbctl says to words that are wrong, and where it looks for a broker

Purpose     Each refusal names the word that was wrong and what was expected; nothing is done by
            halves. Without a named socket the user's broker comes first, and the system's where
            none answers or it may not be asked.
Usage       test_mistakes.py [BUILD]; default $MMB_BUILD, then build. Exit status as tests/lib.
"""
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile

from kernel_formats import Broker, Skip, expect, run_all

USAGE, NOT_RUNNING, DENIED, NOBODY, EX_CONFIG = 2, 3, 4, 65534, 78
SYSTEM = "/run/mmbroker/mmbroker.sock"


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


def help_tells_what_a_refusal_refers_to(broker):
    """help of a verb names the words that its refusals send the reader to help for"""
    told = broker.ctl("help", "pool")
    for word in ("min", "low", "high", "max", "swap_max", "overcommit", "mode", "uid", "gid",
                 "force"):
        expect(word in told, f"{word} isn't in {told}")
    told = broker.ctl("help", "region")
    for form in ("ls [POOL]", "clone POOL REGION NAME", "rollback POOL REGION SNAPSHOT",
                 "rm POOL REGION"):
        expect(form in told, f"{form} isn't in {told}")


def manual_has_each_timeout(broker):
    """mmbctl(1) tells how long each verb waits, as help of the verb does"""
    verbs = re.findall(r"^  ([a-z-]+)", broker.ctl("help").split("Options:")[0], re.M)
    with open(os.path.join(os.path.dirname(__file__), "../../docs/man/mmbctl.1"),
              encoding="utf-8") as f:
        option = re.search(r"Fl t , Fl Fl timeout.*?(?=\.It)", f.read(), re.S)[0]
    expect(len(verbs) > 20, f"{verbs}")
    for verb in verbs:
        wait = re.search(r"gives up after (\d+) s", broker.ctl("help", verb))
        if wait and wait[1] != "5":
            expect(re.search(rf"{wait[1]} for(?:\n\.Cm [^\n]*|\nand)*?\n\.Cm [^\n]*\b{verb}\b",
                             option), f"{verb}: {wait[1]} isn't in {option}")


def is_sanitized(program):
    """Such a program wants address space of its own first."""
    with open(program, "rb") as f:
        code = f.read()
    return b"__asan_init" in code or b"__tsan_init" in code


def a_limit_of_address_space_is_told(broker):
    """a daemon that gets no address space says which limit that is"""
    limit = 256 << 20
    done = subprocess.run(
        [broker.daemon_path, "--socket", broker.socket + "-2", "--memory.reserve=64M"], timeout=60,
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    expect(done.returncode == EX_CONFIG and "ulimit -v" in done.stderr, f"{done}")


def come_with_a_stop():
    """The signal waits for the program that is executed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    os.kill(os.getpid(), signal.SIGTERM)


def a_stop_ends_the_taking_of_the_reserve(broker):
    """a daemon that is told to end while it takes its reserve doesn't take all of it first"""
    done = subprocess.run(
        [broker.daemon_path, "--socket", broker.socket + "-2", "--memory.reserve=64M",
         "--memory.reserve_mode=hold"], timeout=60, capture_output=True, text=True, check=False,
        preexec_fn=come_with_a_stop)
    expect(done.returncode == 0 and "notice: stopping: " in done.stderr, f"{done}")
    expect("ready: " not in done.stderr and "stock: " not in done.stderr, f"{done}")


def search(broker, folder, user=None):
    env = {name: value for name, value in os.environ.items() if name != "MMB_SOCKET"}
    env["XDG_RUNTIME_DIR"] = folder
    more = {"user": user, "group": user, "extra_groups": []} if user else {}
    return subprocess.run([broker.ctl_path, "status"], timeout=60, capture_output=True, text=True,
                          check=False, env=env, **more)


# ---- what isn't the broker that was expected ----

HELLO, RESUMED, MINUS_EUSERS = 1, 68, (1 << 64) - 87


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def unasked(method, code=0, words=b""):
    """A packet with id 0."""
    return (b"\x08" + varint(method) + (b"\x18" + varint(code) if code else b"") +
            (b"\x22" + varint(len(words)) + words if words else b""))


def ask_another(broker, behave, *words):
    """mmbctl's exit status and words, with behave(connection) as the broker that it asks."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen(1)
            asks = subprocess.Popen([broker.ctl_path, "--socket", path, *words],
                                    stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            connection = listener.accept()[0]
            connection.settimeout(60)
            behave(connection)
            connection.close()
            _, told = asks.communicate(timeout=60)
            return asks.returncode, told


def why_a_connection_isnt_wanted_is_told(broker):
    """the reason with which a connection is turned away is told, whoever is quicker"""
    turned_away = unasked(HELLO, MINUS_EUSERS, b"all seats are taken")

    def before_it_asks(connection):
        connection.send(turned_away)

    def with_its_request_unread(connection):
        select.select([connection], [], [], 60)
        connection.send(turned_away)

    for behave in (before_it_asks, with_its_request_unread):
        code, told = ask_another(broker, behave, "status")
        expect(code == 1 and "all seats are taken (EUSERS)" in told, f"{behave}: {code} {told}")


def a_restart_meanwhile_is_told(broker):
    """a broker that was restarted before it answered is no stranger"""
    code, told = ask_another(broker, lambda connection: connection.send(unasked(RESUMED)),
                             "status")
    expect(code == 1 and "was restarted" in told, f"{code} {told}")


def a_broker_that_hangs_up_is_told(broker):
    """a broker that hangs up, with or without having read what it was asked"""
    for behave in (lambda connection: None, lambda connection: connection.recv(1000),
                   lambda connection: select.select([connection], [], [], 60)):
        code, told = ask_another(broker, behave, "status")
        expect(code == 1 and "ended the session" in told, f"{code} {told}")


def a_drain_waits_for_a_broker_that_listens_only(broker):
    """how long a drain may take is no time to wait for a broker that doesn't greet"""
    def reads_to_the_end(connection):
        while connection.recv(1000):
            pass

    code, told = ask_another(broker, reads_to_the_end, "--timeout", "0.2", "drain",
                             "3600")
    expect(code == 5 and "within 200 ms" in told, f"{code} {told}")


def what_is_empty_is_no_name(broker):
    """an empty socket or pool, as of a variable that isn't set, doesn't mean the default ones"""
    for option in ("--socket", "--pool"):
        refused(broker, [option, "", "regions"], option)


def a_stranger_is_told(broker):
    """what answers something else, or to nothing, isn't taken for a broker"""
    for answer in (b"HTTP/1.1 400 Bad Request", unasked(RESUMED + 1), unasked(HELLO)):
        code, told = ask_another(broker, lambda connection, answer=answer: connection.send(answer),
                                 "status")
        expect(code == 1 and "doesn't speak mmbroker's protocol" in told, f"{code} {told}")


def both_places_are_looked_at(broker):
    """the socket of a user's broker that died doesn't hide the system's"""
    if os.path.exists(SYSTEM):
        raise Skip("this host has a broker of its own")
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "mmbroker"))
        path = os.path.join(folder, "mmbroker/mmbroker.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
            stale.bind(path)
        done = search(broker, folder)
        expect(done.returncode == NOT_RUNNING and f"{path} or {SYSTEM}" in done.stderr, done)
        done = search(broker, os.path.join(folder, "nothing"))
        expect(done.returncode == NOT_RUNNING and f" or {SYSTEM}" in done.stderr, done)


def a_users_own_broker_is_found(broker):
    """the user's broker is asked where it answers"""
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "mmbroker"))
        os.symlink(broker.socket, os.path.join(folder, "mmbroker/mmbroker.sock"))
        done = search(broker, folder)
        expect(done.returncode == 0 and "mmbrokerd" in done.stdout, done)


def a_closed_folder_is_told(broker):
    """a runtime folder that may not be looked into is named, where no other broker answers"""
    if os.geteuid() or os.path.exists(SYSTEM):
        raise Skip("only root becomes somebody else, and the host may have no broker of its own")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        try:
            done = search(broker, folder, NOBODY)
        except PermissionError:
            raise Skip("others can't execute what was built") from None
        expect(done.returncode == DENIED and folder in done.stderr, done)


CASES = (words_for_pools_are_told, help_tells_what_a_refusal_refers_to, manual_has_each_timeout,
         a_stop_ends_the_taking_of_the_reserve, a_limit_of_address_space_is_told,
         why_a_connection_isnt_wanted_is_told,
         a_restart_meanwhile_is_told, a_broker_that_hangs_up_is_told, a_stranger_is_told,
         a_drain_waits_for_a_broker_that_listens_only, what_is_empty_is_no_name,
         both_places_are_looked_at, a_users_own_broker_is_found, a_closed_folder_is_told)


def cases_for(broker):
    """Not looked at before it is known that there is such a program."""
    sanitized = is_sanitized(broker.daemon_path)
    for case in CASES:
        if not sanitized or case is not a_limit_of_address_space_is_told:
            yield case


def main(build):
    broker = Broker(os.path.abspath(build))
    return run_all(broker, cases_for(broker))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MMB_BUILD", "build")))
