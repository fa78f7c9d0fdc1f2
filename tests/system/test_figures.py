#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_figures - what mmbctl tells of memory and swap against what a client has done

Purpose     A client that knows which pages it wrote, read back, cloned and closed; the broker's
            texts and lists must agree with that and with each other: swapped and resident pages,
            faults and their latency, commit with swap, clones of a closed region.
Usage       test_figures.py [BUILD]; default $MMB_BUILD, then build. Exit status as tests/lib.
"""
import os
import re
import shutil
import subprocess
import sys
import time

from kernel_formats import (EXIT_SKIPPED, Broker, Skip, client_process, expect, parse_meminfo,
                            parse_smaps, parse_vmstat, parse_zoneinfo, run_case)

MIB = 1 << 20
RESERVE, SWAP, LIMIT, LENGTH = 64 * MIB, 96 * MIB, 16 * MIB, 32 * MIB

# Each page has its number in it, and is read back in an order that isn't a streak.
WORK = """
LENGTH, NR = %d, %d
def region(pool, size):
    r = ctypes.c_void_p()
    must(lib.mmb_region_create(pool, ctypes.c_size_t(size), None, ctypes.byref(r)) == 0)
    words = ctypes.cast(lib.mmb_region_address(r), ctypes.POINTER(ctypes.c_uint64))
    for page in range(size // 4096):
        words[page * 512] = page + 1
        words[page * 512 + 1] = ~page & 0xffffffff
    return r, words
pool, other, clone = (ctypes.c_void_p() for _ in range(3))
must(lib.mmb_pool_open(mmb, b"figures", 0, None, ctypes.byref(pool)) == 0)
must(lib.mmb_pool_open(mmb, b"clones", 1, None, ctypes.byref(other)) == 0)
big, words = region(pool, LENGTH)
for i in range(NR):
    page = i * 1237 %% (LENGTH // 4096)
    must(words[page * 512] == page + 1)
origin, _ = region(other, 4 << 20)
must(lib.mmb_region_clone(origin, None, ctypes.byref(clone)) == 0)
lib.mmb_region_close(origin)
""" % (LENGTH, 2000)


class Swapping(Broker):
    """With a swap file on a disk, and a pool that is smaller than what its client writes."""

    def __init__(self, build):
        super().__init__(build)
        self.disk = os.path.join(os.getcwd(), f"mmb-figures-{os.getpid()}")
        os.mkdir(self.disk)
        self.client = []

    def swap_on(self):
        done = subprocess.run([self.ctl_path, "--socket", self.socket, "swapon",
                               os.path.join(self.disk, "swap"), str(SWAP)], text=True,
                              capture_output=True, check=False, timeout=60)
        if done.returncode:
            raise Skip(f"no swap area here: {done.stderr}")

    def remove(self):
        for client in self.client:
            client.stdin.close()
            client.wait(60)
        self.stop()
        shutil.rmtree(self.disk, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def rest(self):
        """Until nothing moves any more: what texts say of one moment then stays."""
        before = None
        for _ in range(200):
            now = [self.ctl(verb, "--json") for verb in ("regions", "pools", "swaps")]
            if now == before:
                return
            before = now
            time.sleep(0.3)
        raise AssertionError(f"the broker doesn't come to rest: {before}")


def of_pool(broker, name):
    [pool] = [row for row in broker.json("pools") if row["name"] == name]
    return pool


def pages_are_resident_or_swapped(broker):
    """what was written is resident or swapped out, in lists, maps and texts alike"""
    broker.swap_on()
    broker.ctl("pool", "create", "figures", f"max={LIMIT}", "mode=0666")
    client_process(os.path.join(broker.build, "libclient/libmmbroker.so"), broker.socket,
                   broker.client, WORK)
    broker.rest()
    [region] = broker.json("regions", "--pool", "figures")
    expect(region["resident"] + region["swapped"] == LENGTH, f"{region}")
    expect(region["refaults"] > 0 and region["swapped"] >= LENGTH - LIMIT, f"{region}")
    [session] = [row for row in broker.json("sessions") if row["regions"] == 2]
    windows = [w for w in parse_smaps(broker.ctl("maps", str(session["id"])))
               if w["Size"] == LENGTH]
    expect(sum(w["Swap"] for w in windows) == region["swapped"], f"{windows} {region}")
    expect(sum(w["Rss"] for w in windows) == region["resident"], f"{windows} {region}")
    pool = of_pool(broker, "figures")
    expect(pool["swapped"] == region["swapped"], f"{pool} {region}")
    memory = parse_meminfo(broker.ctl("meminfo", "--pool", "figures"))
    expect(memory["AnonPages"] == region["resident"], f"{memory}")
    used = memory["SwapTotal"] - memory["SwapFree"]
    expect(memory["SwapTotal"] == SWAP - 4096, f"{memory}")
    expect(used == region["swapped"] + memory["SwapCached"], f"{memory} {region}")
    [area] = broker.json("swaps")
    expect(area["used"] == used, f"{area} {memory}")


def a_peak_is_told(broker):
    """what a pool had in memory at most is within its max, and not less than what it has"""
    pool = of_pool(broker, "figures")
    expect(pool["resident"] <= pool["peak"] <= LIMIT < 2 * pool["peak"], f"{pool}")
    rows = broker.ctl("pools").splitlines()
    column = rows[0].index("PEAK") + len("PEAK")
    [row] = [row for row in rows if " figures " in row]
    number, unit = row[:column].split()[-2:]
    scale = {"KiB": 1 << 10, "MiB": 1 << 20}[unit]
    expect(abs(float(number) * scale - pool["peak"]) <= scale / 10, f"{rows} {pool}")


def commit_has_swap_in_it(broker):
    """nobody has committed more than may be"""
    for words in ((), ("--pool", "figures")):
        memory = parse_meminfo(broker.ctl("meminfo", *words))
        expect(memory["Committed_AS"] <= memory["CommitLimit"], f"{words} {memory}")
        expect(memory["MemAvailable"] <= memory["MemTotal"], f"{words} {memory}")
    expect(LIMIT < memory["Committed_AS"] == LENGTH, f"{memory}")
    expect(LIMIT < memory["CommitLimit"] < LIMIT + SWAP, f"{memory}")


def faults_have_a_latency_each(broker):
    """each fault is in the histogram once, and those that read from swap are major ones"""
    events = parse_vmstat(broker.ctl("vmstat"))
    rows = {row["operation"]: row for row in broker.json("latency") if "count" in row}
    expect(rows["fault"]["count"] == events["pgfault"], f"{rows} {events}")
    expect(events["pgfault"] == sum(row["faults"] for row in broker.json("sessions")),
           f"{events}")
    [region] = broker.json("regions", "--pool", "figures")
    expect(0 < events["pgmajfault"] <= region["refaults"], f"{events} {region}")
    expect(region["refaults"] == events["workingset_refault_anon"], f"{events} {region}")
    # A page that went before its client, slow to run, had written to it is zero: nothing is read.
    expect(0 < events["pswpin"] <= region["refaults"], f"{events} {region}")
    expect(events["pgpgin"] == 4 * events["pswpin"], f"{events}")
    expect(events["pgpgout"] == 4 * events["pswpout"], f"{events}")


def lists_of_ages_agree(broker):
    """active and inactive are the same in each text"""
    memory, events = parse_meminfo(broker.ctl("meminfo")), parse_vmstat(broker.ctl("vmstat"))
    nodes = [zone["node_stats"] for zone in parse_zoneinfo(broker.ctl("zoneinfo")).values()]
    for age in ("active", "inactive"):
        name = f"nr_{age}_anon"
        expect(events[name] * 4096 == memory[f"{age.title()}(anon)"], f"{memory} {events}")
        expect(events[name] == sum(node.get(name, 0) for node in nodes), f"{nodes} {events}")
    expect(events["nr_active_anon"] + events["nr_inactive_anon"] + events["nr_unevictable"] ==
           events["nr_anon_pages"] + events["nr_shmem"], f"{events}")


def a_closed_origin_is_not_forgotten(broker):
    """what a clone inherits of a closed region is in each total"""
    pool = of_pool(broker, "clones")
    [clone] = broker.json("regions", "--pool", "clones")
    expect(clone["charged"] == pool["resident"] - pool["arena"] == 4 * MIB, f"{clone} {pool}")
    memory = parse_meminfo(broker.ctl("meminfo", "--pool", "clones"))
    expect(memory["AnonPages"] == 4 * MIB, f"{memory}")
    zones = parse_zoneinfo(broker.ctl("zoneinfo", "--pool", "clones"))
    expect(sum(zone["pages"]["present"] for (_, name), zone in zones.items()
               if name == "Movable") == 1024, f"{zones}")
    [status] = broker.json("status")
    expect(status["spanned"] == LENGTH + 2 * 4 * MIB, f"{status}")


def a_swap_max_of_nothing_is_0(broker):
    """a pool that may swap nothing out is listed with 0, one without a limit with none"""
    broker.ctl("pool", "create", "fixed", "max=4M", "swap_max=0")
    broker.ctl("pool", "create", "free", "max=4M")
    rows = broker.ctl("pools")
    for name, limit in (("fixed", "0"), ("free", "none")):
        row = re.search(rf" {name} .* none +none +none +4.0 MiB +(.*?) +0 +0 +0$", rows, re.M)
        expect(row and row[1] == limit, rows)


CASES = (pages_are_resident_or_swapped, a_peak_is_told, commit_has_swap_in_it,
         faults_have_a_latency_each, lists_of_ages_agree, a_closed_origin_is_not_forgotten,
         a_swap_max_of_nothing_is_0)


def main(build):
    broker = Swapping(os.path.abspath(build))
    try:
        broker.start(RESERVE)
        results = [run_case(CASES[0], broker)]
        if results[0] == "skip":
            print("0 passed, 0 failed, 1 skipped\nno swap area can be made here")
            return EXIT_SKIPPED
        results += [run_case(case, broker) for case in CASES[1:]]
    finally:
        broker.remove()
    print(f"{results.count('ok')} passed, {results.count('FAIL')} failed, 0 skipped")
    return 1 if "FAIL" in results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MMB_BUILD", "build")))
