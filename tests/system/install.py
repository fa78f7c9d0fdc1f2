#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""install - what `ninja install` leaves is complete, usable, and as hardened as it claims

Usage       install.py BUILD; exit status as tests/lib. Installs below a DESTDIR of its own.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

EXPOSURE_MAX = 2.5
PROGRAMS = ("sbin/mmbrokerd", "bin/mmbctl")
OTHERS = ("include/mmbroker.h", "lib/systemd/system/mmbrokerd.service",
          "lib/systemd/system/mmbrokerd.socket", "lib/systemd/system/mmbroker-hugepages.service",
          "lib/systemd/catalog/mmbroker.catalog", "lib/sysusers.d/mmbroker.conf",
          "lib/tmpfiles.d/mmbroker.conf", "lib/udev/rules.d/60-mmbroker.rules",
          "libexec/mmbroker/drain-at-stop", "libexec/mmbroker/reserve-hugepages",
          "share/man/man1/mmbctl.1", "share/man/man3/libmmbroker.3",
          "share/man/man5/mmbrokerd.conf.5", "share/man/man7/mmbroker.7",
          "share/man/man7/mmbroker-protocol.7", "share/man/man8/mmbrokerd.8",
          "share/bash-completion/completions/mmbctl", "share/zsh/site-functions/_mmbctl")


class Skip(Exception):
    """This case can't be made here."""


def expect(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


def run(*command, check=True, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False,
                          **options)
    expect(not check or done.returncode == 0,
           f"{' '.join(command)}: status {done.returncode}: {done.stdout}{done.stderr}")
    return done


def needs(program):
    if not shutil.which(program):
        raise Skip(f"{program} isn't installed")


class Installed:
    """A tree that `meson install` made."""

    def __init__(self, build):
        self.dest = tempfile.mkdtemp(prefix="mmb-install-")
        self.build = build
        self.install()
        options = run("meson", "introspect", "--buildoptions", build).stdout
        self.prefix = re.search(r'"name": "prefix", "value": "([^"]*)"', options).group(1)
        self.root = self.dest + self.prefix

    def install(self):
        env = os.environ | {"DESTDIR": self.dest}
        run("meson", "install", "-C", self.build, "--no-rebuild", env=env)

    def find(self, pattern):
        found = glob.glob(f"{self.dest}/**/{pattern}", recursive=True)
        expect(found, f"{pattern} isn't installed")
        return found[0]

    def units(self):
        return [self.find(name) for name in ("mmbrokerd.service", "mmbrokerd.socket",
                                             "mmbroker-hugepages.service")]

    def close(self):
        shutil.rmtree(self.dest)


def everything_is_there(tree):
    """Programs, library, header, units, user, device rule, catalogue, manual, completions"""
    for name in PROGRAMS + OTHERS:
        expect(os.path.exists(f"{tree.root}/{name}"), f"{name} isn't installed")
    for name in PROGRAMS:
        expect(os.access(f"{tree.root}/{name}", os.X_OK), f"{name} can't be run")
    tree.find("libmmbroker.so.0")
    extra = {os.path.basename(path) for path in glob.glob(f"{tree.dest}/**/*", recursive=True)}
    expect("mmbrokerd-inject" not in extra and "libconfig.a" not in extra, "a test's is installed")


def nothing_is_left_to_fill_in(tree):
    """Installed files name no place of the build, and no @place@ is left in them"""
    for path in tree.units() + glob.glob(f"{tree.root}/libexec/mmbroker/*"):
        with open(path, encoding="utf-8") as text:
            text = text.read()
        expect(not re.search(r"@\w+@", text), f"{path}: a place isn't filled in")
        expect(tree.dest not in text and tree.build not in text, f"{path} names the build")


def administrators_file_stays(tree):
    """A configuration that is there already is left as it is"""
    path = tree.find("mmbrokerd.conf")
    run(f"{tree.root}/sbin/mmbrokerd", "--config", path, "--socket", "/tmp/s", "--check-config")
    with open(path, "w", encoding="utf-8") as out:
        out.write("# mine\n")
    tree.install()
    with open(path, encoding="utf-8") as text:
        expect(text.read() == "# mine\n", "it was replaced")


def programs_can_be_built(tree):
    """A program is built and linked by what pkg-config says"""
    needs("pkg-config")
    folder = os.path.dirname(tree.find("mmbroker.pc"))
    env = os.environ | {"PKG_CONFIG_PATH": folder, "PKG_CONFIG_SYSROOT_DIR": tree.dest}
    flags = run("pkg-config", "--cflags", "--libs", "mmbroker", env=env).stdout.split()
    source = os.path.join(os.path.dirname(__file__), "../../examples/hello.c")
    run("cc", source, "-o", tree.dest + "/hello", *flags)
    run(tree.dest + "/hello", check=False, env=os.environ | {
        "MMB_SOCKET": tree.dest + "/none",
        "LD_LIBRARY_PATH": os.path.dirname(tree.find("libmmbroker.so.0"))})


def exposure_is_low(tree):
    """The service's exposure is at most 2.5"""
    needs("systemd-analyze")
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager",
               tree.find("mmbrokerd.service"), check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if not found and "unrecognized" in done.stderr:
        raise Skip("this systemd-analyze can't look at files")
    expect(found, done.stdout + done.stderr)
    print(f"# exposure {found.group(1)}")
    expect(float(found.group(1)) <= EXPOSURE_MAX, f"it is {found.group(1)}")


def units_are_understood(tree):
    """The service manager understands every line of the units"""
    needs("systemd-analyze")
    # The programs that they name have to be there under their own names.
    changed = tempfile.mkdtemp(dir=tree.dest)
    paths = []
    for unit in tree.units():
        with open(unit, encoding="utf-8") as text:
            text = re.sub(rf"(?<==)([-+]?){tree.prefix}/", rf"\1{tree.root}/", text.read())
        paths.append(os.path.join(changed, os.path.basename(unit)))
        with open(paths[-1], "w", encoding="utf-8") as out:
            out.write(text)
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths,
               check=False)
    about = [line for line in done.stderr.splitlines() if "mmbroke" in line]
    expect(not about, "\n".join(about))


def user_is_made(tree):
    """sysusers makes the user and its group"""
    needs("systemd-sysusers")
    root = tempfile.mkdtemp(dir=tree.dest)
    os.makedirs(root + "/etc")
    done = run("systemd-sysusers", "--root=" + root, f"{tree.root}/lib/sysusers.d/mmbroker.conf",
               check=False)
    if done.returncode and os.geteuid():
        raise Skip("only root may make users")
    with open(root + "/etc/passwd", encoding="utf-8") as passwd:
        expect(re.search(r"^mmbroker:", passwd.read(), re.M), done.stderr)


def catalogue_explains_the_ids(tree):
    """The catalogue has a text for each message id, and no others"""
    with open(tree.find("mmbroker.catalog"), encoding="utf-8") as text:
        there = set(re.findall(r"^-- ([0-9a-f]{32})$", text.read(), re.M))
    ids = os.path.join(os.path.dirname(__file__), "../../daemon/base/log_ids.h")
    with open(ids, encoding="utf-8") as text:
        here = set(re.findall(r'X\(\w+, +"([0-9a-f]{32})"\)', text.read()))
    expect(here and here == there, f"they differ: {here ^ there}")


def hugepages_are_asked_for_by_node(tree):
    """The early oneshot raises each node's number to its share, and never lowers one"""
    nodes = tempfile.mkdtemp(dir=tree.dest)
    for node, memory in ((0, 3000000), (1, 1000000)):
        os.makedirs(f"{nodes}/node{node}/hugepages/hugepages-2048kB")
        with open(f"{nodes}/node{node}/meminfo", "w", encoding="utf-8") as out:
            out.write(f"Node {node} MemTotal:       {memory} kB\n")
        with open(f"{nodes}/node{node}/hugepages/hugepages-2048kB/nr_hugepages", "w",
                  encoding="utf-8") as out:
            out.write("30\n" if node else "0\n")
    script = tree.dest + "/reserve"
    with open(tree.find("reserve-hugepages"), encoding="utf-8") as text:
        text = text.read().replace(f"{tree.prefix}/sbin", f"{tree.root}/sbin")
    with open(script, "w", encoding="utf-8") as out:
        out.write(text)
    run("sh", script, env=os.environ | {"MMBROKER_NODES": nodes,
                                        "MMB_MEMORY_RESERVE_HUGE": "160M"})
    numbers = []
    for node in (0, 1):
        with open(f"{nodes}/node{node}/hugepages/hugepages-2048kB/nr_hugepages",
                  encoding="utf-8") as number:
            numbers.append(int(number.read()))
    expect(60 <= numbers[0] <= 62 and numbers[1] == 30, f"{numbers}")


def clients_are_drained_at_a_stop_only(tree):
    """A stop drains; a restart doesn't, nor does a broker that has ended by itself"""
    folder = tempfile.mkdtemp(dir=tree.dest)
    drained, jobs = folder + "/drained", folder + "/jobs"
    for name, text in (("mmbctl", f'echo "$*" >>{drained}'), ("systemctl", f"cat {jobs}")):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as out:
            out.write(f"#!/bin/sh\n{text}\n")
        os.chmod(f"{folder}/{name}", 0o755)
    with open(tree.find("drain-at-stop"), encoding="utf-8") as text:
        text = text.read().replace(f"{tree.prefix}/bin", folder)
    with open(folder + "/stop", "w", encoding="utf-8") as out:
        out.write(text)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    for job, main, drains in (("restart", "4711", False), ("start", None, False),
                              ("restart", None, False), ("stop", "4711", True)):
        with open(jobs, "w", encoding="utf-8") as out:
            out.write(f"12 other.service start waiting\n13 mmbrokerd.service {job} running\n")
        run("sh", folder + "/stop", "/run/s", env=env | ({"MAINPID": main} if main else {}))
        expect(os.path.exists(drained) == drains, f"{job}, MAINPID {main}: drained or not")
    with open(drained, encoding="utf-8") as text:
        expect(text.read() == "--socket /run/s drain 30\n", "drained otherwise")


CASES = (everything_is_there, nothing_is_left_to_fill_in, programs_can_be_built, exposure_is_low,
         units_are_understood, user_is_made, catalogue_explains_the_ids,
         hugepages_are_asked_for_by_node, clients_are_drained_at_a_stop_only,
         administrators_file_stays)


def main(build):
    count = {"passed": 0, "FAILED": 0, "skip": 0}
    tree = Installed(build)
    for case in CASES:
        why = ""
        try:
            case(tree)
            verdict = "passed"
        except Skip as reason:
            verdict, why = "skip", f": {reason}"
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            verdict, why = "FAILED", f": {error}"
        count[verdict] += 1
        print(f"{verdict:8} {case.__doc__}{why}", flush=True)
    tree.close()
    print(f"{count['passed']} passed, {count['FAILED']} failed, {count['skip']} skipped")
    return 1 if count["FAILED"] else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
