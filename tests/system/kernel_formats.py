#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kernel_formats - what parses the kernel's files parses mmbctl's texts

Purpose     One strict grammar a file, with the kernel's columns. First it must accept this host's
            own /proc file, so that the grammar is the kernel's and not ours; then the broker's
            text. The broker's figures must agree with each other, the JSON with the text, and
            free(1), vmstat(8) must read the texts in the place of the kernel's files. Then the exit
            codes of mmbctl, and doctor with and without a broker.
Usage       kernel_formats.py [BUILD]; default $MMB_BUILD, then build. Exit status as tests/lib.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ORDERS = 11
EXIT_SKIPPED = 77
RESERVE = 64 << 20
MEMINFO = re.compile(r"([A-Z][A-Za-z0-9_()]*): +(\d+)( kB)?")
ZONE = re.compile(r"Node (\d+), zone ([ A-Za-z0-9]{8})")
STAT = re.compile(r"      ([a-z0-9_]+) +(\d+)")
WINDOW = re.compile(r"([0-9a-f]{8,16})-([0-9a-f]{8,16}) [r-][w-][x-][ps] [0-9a-f]{8,16} "
                    r"[0-9a-f]{2,}:[0-9a-f]{2,} \d+ (?: *(\S.*))?")
PAGES = ("free", "boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma")


class Skip(Exception):
    """This case can't be made here."""


def expect(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


# ---- grammars: each takes a text, raises AssertionError, and returns what it read ----

def parse_meminfo(text):
    found = {}
    for line in text.splitlines():
        row = MEMINFO.fullmatch(line)
        expect(row, f"meminfo: {line!r}")
        name, value, unit = row.groups()
        width = 8 if unit else 5
        begin = f"{name}:".ljust(19 if not unit else 16)
        expect(line.startswith(begin + value.rjust(width)), f"meminfo's columns: {line!r}")
        found[name] = int(value) << 10 if unit else int(value)
    return found


def parse_buddyinfo(text):
    found = {}
    for line in text.splitlines():
        row = re.fullmatch(r"Node (\d+), zone ([ A-Za-z0-9]{8}) ((?: *\d+ ){%d})" % ORDERS, line)
        expect(row, f"buddyinfo: {line!r}")
        counts = row.group(3).split()
        expect(row.group(3) == "".join(f"{n:>6} " for n in counts), f"columns: {line!r}")
        found[int(row.group(1)), row.group(2).strip()] = [int(n) for n in counts]
    return found


def parse_pagetypeinfo(text):
    lines = text.split("\n")
    expect(re.fullmatch(r"Page block order: \d+", lines[0]), lines[0])
    expect(re.fullmatch(r"Pages per block:  \d+", lines[1]) and not lines[2], lines[1:3])
    title = "Free pages count per migrate type at order".ljust(43) + " "
    expect(lines[3] == title + "".join(f"{n:>6} " for n in range(ORDERS)), lines[3])
    end = lines.index("", 3)
    found = {}
    for line in lines[4:end]:
        row = re.fullmatch(r"Node ([ \d]{4}), zone ([ \w]{8}), type ([ \w]{12}) (.*)", line)
        expect(row, f"pagetypeinfo: {line!r}")
        counts = row.group(4).replace(">", " ").split()
        expect(len(counts) == ORDERS and line.endswith(" "), f"pagetypeinfo: {line!r}")
        key = int(row.group(1)), row.group(2).strip()
        found.setdefault(key, {})[row.group(3).strip()] = [int(n) for n in counts]
    expect(lines[end + 1].startswith("Number of blocks type "), lines[end + 1])
    types = lines[end + 1][22:].split()
    blocks = {}
    for line in filter(None, lines[end + 2:]):
        row = re.fullmatch(r"Node (\d+), zone ([ \w]{8}) ((?: *\d+ )+)", line)
        expect(row and len(row.group(3)) == 13 * len(types), f"pagetypeinfo: {line!r}")
        blocks[int(row.group(1)), row.group(2).strip()] = dict(
            zip(types, map(int, row.group(3).split())))
    expect(set(blocks) == set(found), "pagetypeinfo: the tables have different zones")
    return found, blocks


def read_rows(lines):
    """Takes statistics off the front."""
    rows = {}
    while lines and (row := STAT.fullmatch(lines[0])):
        name, value = row.groups()
        expect(lines.pop(0) == f"      {name:<12} {value}", f"zoneinfo's columns: {name}")
        rows[name] = int(value)
    return rows


def parse_pagesets(lines):
    cpus = []
    while lines and re.fullmatch(r"    cpu: \d+", lines[0]):
        cpu = {"cpu": int(lines.pop(0).split()[1])}
        while lines and (row := re.fullmatch(r" {14}(count|high|batch|high_min|high_max): +(\d+)",
                                             lines[0])):
            expect(lines[0] == " " * 14 + f"{row.group(1)}:".ljust(10) + row.group(2), lines[0])
            cpu[row.group(1)] = int(row.group(2))
            lines.pop(0)
        expect(re.fullmatch(r"  vm stats threshold: \d+", lines.pop(0)), "threshold")
        cpus.append(cpu)
    return cpus


def parse_zone(lines):
    """One zone of zoneinfo; takes its lines off the front."""
    head = ZONE.fullmatch(lines.pop(0))
    expect(head, "zoneinfo: no zone")
    zone = {"key": (int(head.group(1)), head.group(2).strip()), "node_stats": {}}
    if lines[0] == "  per-node stats":
        lines.pop(0)
        zone["node_stats"] = read_rows(lines)
    zone["pages"] = {}
    for name in PAGES:
        begin = ("  pages free" if name == "free" else "        " + name).ljust(17)
        if lines[0].startswith(begin) and lines[0][17:].isdigit():
            zone["pages"][name] = int(lines.pop(0)[17:])
    expect(set(PAGES) - set(zone["pages"]) <= {"promo", "boost"}, f"zoneinfo: {zone}")
    expect(re.fullmatch(r"        protection: \(\d+(, \d+)*\)", lines[0]), lines[0])
    lines.pop(0)
    zone["stats"] = read_rows(lines)
    if zone["pages"]["present"]:
        expect(lines.pop(0) == "  pagesets", "zoneinfo: no pagesets")
        zone["pagesets"] = parse_pagesets(lines)
        expect(re.fullmatch(r"  node_unreclaimable:  \d+", lines.pop(0)), "node_unreclaimable")
        expect(re.fullmatch(r"  start_pfn:           \d+", lines.pop(0)), "start_pfn")
    return zone


def parse_zoneinfo(text):
    lines, zones = text.splitlines(), {}
    while lines:
        zone = parse_zone(lines)
        zones[zone["key"]] = zone
    return zones


def parse_vmstat(text):
    rows = [re.fullmatch(r"([a-z0-9_]+) (\d+)", line) for line in text.splitlines()]
    expect(rows and all(rows), "vmstat: not a name and a number in each line")
    return {row.group(1): int(row.group(2)) for row in rows}


def parse_smaps(text):
    windows = []
    for line in text.splitlines():
        head = WINDOW.fullmatch(line)
        if head:
            expect(not head.group(3) or line.index(head.group(3), 40) >= 73, f"column: {line!r}")
            windows.append({"start": int(head.group(1), 16), "end": int(head.group(2), 16)})
            continue
        row = re.fullmatch(r"(\w+): +(\d+)( kB)?|VmFlags:(?: \w\w)+ ?|ProtectionKey: +\d+", line)
        expect(row and windows, f"smaps: {line!r}")
        if row.group(1) and row.group(3):
            expect(line == f"{row.group(1) + ':':16}{row.group(2):>8} kB", f"smaps: {line!r}")
            windows[-1][row.group(1)] = int(row.group(2)) << 10
    return windows


def parse_slabinfo(text):
    title, legend, *rows = text.splitlines()
    expect(title == "slabinfo - version: 2.1", title)
    expect(legend.startswith("# name            <active_objs> <num_objs> <objsize>"), legend)
    found = {}
    for line in rows:
        row = re.fullmatch(r"(\S+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) : tunables +0 +0 +0 : "
                           r"slabdata +(\d+) +(\d+) +(\d+)", line)
        expect(row, f"slabinfo: {line!r}")
        name, *numbers = row.groups()
        active, total, size, per_slab, pages, busy, slabs, avail = map(int, numbers)
        shape = "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4} : tunables {:>4} {:>4} {:>4} : " \
                "slabdata {:>6} {:>6} {:>6}"
        expect(line == shape.format(name, active, total, size, per_slab, pages, 0, 0, 0, busy,
                                    slabs, avail), f"slabinfo's columns: {line!r}")
        expect(active <= total <= slabs * per_slab and busy <= slabs, f"slabinfo: {line!r}")
        expect(size * per_slab <= pages * 4096, f"slabinfo: {line!r}")
        found[name] = {"active_objs": active, "num_objs": total, "objsize": size,
                       "objperslab": per_slab, "pagesperslab": pages}
    return found


GRAMMARS = {"slabinfo": parse_slabinfo,
            "meminfo": parse_meminfo, "buddyinfo": parse_buddyinfo, "zoneinfo": parse_zoneinfo,
            "pagetypeinfo": parse_pagetypeinfo, "vmstat": parse_vmstat}


# ---- the broker ----

class Broker:
    """A private mmbrokerd and mmbctl beside it."""

    def __init__(self, build):
        self.build = build
        self.daemon_path = os.path.join(build, "daemon/mmbrokerd")
        self.ctl_path = os.path.join(build, "tools/mmbctl")
        self.folder = tempfile.mkdtemp(prefix="mmb-formats-")
        self.socket = os.path.join(self.folder, "mmbroker.sock")
        self.process = None
        self.asked = set()

    def start(self, reserve=RESERVE):
        log = os.path.join(self.folder, "log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [self.daemon_path, "--socket", self.socket, f"--memory.reserve={reserve}",
                 "--memory.reserve_huge=0", "--memory.reserve_mode=account"],
                stderr=out, stdout=out)
        for _ in range(1200):
            if os.path.exists(self.socket):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        with open(log, encoding="utf-8", errors="replace") as out:
            raise RuntimeError(f"mmbrokerd doesn't serve: {out.read()}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def once_for_leaks(self, asked):
        """Where mmbctl is sanitized, it looks for leaks when it is asked so for the first time"""
        if asked not in self.asked:
            self.asked.add(asked)
            return None
        options = os.environ.get("ASAN_OPTIONS", "")
        return dict(os.environ, ASAN_OPTIONS=f"{options}:detect_leaks=0")

    def ctl(self, *arguments, code=0):
        env = self.once_for_leaks((arguments, code))
        done = subprocess.run([self.ctl_path, "--socket", self.socket, *arguments], timeout=60,
                              capture_output=True, text=True, check=False, env=env)
        expect(done.returncode == code, f"mmbctl {' '.join(arguments)}: exit status "
               f"{done.returncode} instead of {code}: {done.stderr}")
        return done.stdout if code == 0 or done.stdout else done.stderr

    def json(self, *arguments):
        rows = [json.loads(line) for line in self.ctl(*arguments, "--json").splitlines()]
        expect(all(row.get("schema") == 1 for row in rows), f"{arguments}: schema")
        return rows


# ---- cases ----

def host_files(_broker):
    """the grammars accept this kernel's own files"""
    read = 0
    for name, parse in GRAMMARS.items():
        try:
            with open("/proc/" + name, encoding="utf-8") as f:
                parse(f.read())
                read += 1
        except (PermissionError, FileNotFoundError):
            continue
    with open("/proc/self/smaps", encoding="utf-8") as f:
        parse_smaps(f.read())
    expect(read, "no file could be read")


def broker_texts(broker):
    """the grammars accept the broker's texts"""
    for name, parse in GRAMMARS.items():
        expect(parse(broker.ctl(name)), f"{name}: nothing read")


def figures_agree(broker):
    """the broker's texts agree with each other"""
    memory = parse_meminfo(broker.ctl("meminfo"))
    expect(memory["MemTotal"] == RESERVE, f"MemTotal {memory['MemTotal']}")
    expect(memory["MemAvailable"] <= memory["MemFree"] <= memory["MemTotal"], f"{memory}")
    expect(memory["Committed_AS"] <= memory["CommitLimit"], f"{memory}")
    buddy = parse_buddyinfo(broker.ctl("buddyinfo"))
    free, _ = parse_pagetypeinfo(broker.ctl("pagetypeinfo"))
    zones = parse_zoneinfo(broker.ctl("zoneinfo"))
    expect(set(buddy) == set(free) == set(zones), "the texts have different zones")
    for key, zone in zones.items():
        pages = zone["pages"]
        expect(pages["managed"] <= pages["present"] <= pages["spanned"], f"{key}: {pages}")
        expect(pages["free"] == zone["stats"].get("nr_free_pages", 0), f"{key}: free")
    expect(any(zone["pages"]["present"] for zone in zones.values()), "no zone has memory")


def json_agrees(broker):
    """JSON says what the text says, in bytes"""
    text = parse_meminfo(broker.ctl("meminfo"))
    [row] = broker.json("meminfo")
    for name in ("MemTotal", "CommitLimit", "HugePages_Total", "Hugepagesize"):
        expect(row[name] == text[name], f"{name}: {row[name]} and {text[name]}")
    expect(set(row) - {"schema"} == set(text), "meminfo's names")
    [row] = broker.json("vmstat")
    expect(set(row) - {"schema"} == set(parse_vmstat(broker.ctl("vmstat"))), "vmstat's names")
    buddy = {(row["node"], row["zone"]): row["free"] for row in broker.json("buddyinfo")}
    expect(set(buddy) == set(parse_buddyinfo(broker.ctl("buddyinfo"))), "buddyinfo's zones")
    expect(all(len(counts) == ORDERS for counts in buddy.values()), "buddyinfo's orders")
    zones = parse_zoneinfo(broker.ctl("zoneinfo"))
    for row in broker.json("zoneinfo"):
        zone = zones[row["node"], row["zone"]]
        expect(set(row["pages"]) == set(zone["pages"]), f"{row['zone']}'s pages")
        expect(set(row.get("stats", {})) == set(zone["stats"]), f"{row['zone']}'s stats")
        expect(set(row.get("node_stats", {})) == set(zone["node_stats"]), "node_stats")
    caches = {row["name"]: row for row in broker.json("slabinfo")}
    for name, row in parse_slabinfo(broker.ctl("slabinfo")).items():
        expect(caches[name]["objsize"] == row["objsize"], f"{name}'s objsize")
        expect("alloc_fastpath" in caches[name]["statistics"], f"{name}'s statistics")
    free, blocks = parse_pagetypeinfo(broker.ctl("pagetypeinfo"))
    for row in broker.json("pagetypeinfo"):
        key = row["node"], row["zone"]
        expect(row["type"] in free[key], f"{row}")
        expect(row["pageblocks"] == blocks[key][row["type"]], f"{row}")


def lists(broker):
    """status, lists and verify answer, for people and as JSON"""
    [status] = broker.json("status")
    expect(status["stocks"] and status["pid"] == broker.process.pid, f"{status}")
    expect(status["stocks"][0]["reserve"] <= RESERVE, f"{status['stocks']}")
    expect(f"pid {broker.process.pid}" in broker.ctl("status"), "status")
    for verb in ("pools", "sessions", "regions"):
        broker.json(verb)
        expect(broker.ctl(verb).splitlines()[0].split()[0] == "ID", verb)
    expect("no pool is named" in broker.ctl("regions", "--pool", "none", code=1), "an error")
    [verified] = broker.json("verify")
    expect(verified["checked"] > 0 and verified["differences"] == 0, f"{verified}")


def environment_for(library):
    """A sanitized library wants its runtime loaded first, and this program isn't sanitized."""
    linked = subprocess.run(["ldd", library], text=True, capture_output=True, check=True).stdout
    runtimes = re.findall(r"lib[at]san\S* => (\S+)", linked)
    if not runtimes:
        return None
    return dict(os.environ, LD_PRELOAD=" ".join(runtimes), ASAN_OPTIONS="detect_leaks=0")


HOLDING = """
pool, named, own = (ctypes.c_void_p() for _ in range(3))
must(lib.mmb_pool_open(mmb, b"formats", 1, None, ctypes.byref(pool)) == 0)
must(lib.mmb_region_open(pool, b"named", ctypes.c_size_t(8 << 20), 1, None,
                         ctypes.byref(named)) == 0)
must(lib.mmb_region_create(pool, ctypes.c_size_t(1 << 20), None, ctypes.byref(own)) == 0)
ctypes.memset(lib.mmb_region_address(named), 1, 4 << 20)
must(lib.mmb_region_lock(own, ctypes.c_size_t(0), ctypes.c_size_t(1 << 16)) == 0)
must(lib.mmb_alloc_pages(pool, 2, 0))
"""
PASSING = """
pool = ctypes.c_void_p()
must(lib.mmb_pool_open(mmb, None, 4, None, ctypes.byref(pool)) == 0)
for _ in range(100):
    must(lib.mmb_alloc_pages(pool, 2, 0))
"""


def client_process(library, socket, ready, work):
    """A child that has done its work and holds what it has until its stdin ends."""
    script = """
import ctypes, sys
lib = ctypes.CDLL(sys.argv[1])
for name in ("mmb_error", "mmb_region_address", "mmb_alloc_pages"):
    getattr(lib, name).restype = ctypes.c_char_p if name == "mmb_error" else ctypes.c_void_p
def must(good):
    if not good:
        sys.exit(lib.mmb_error().decode())
mmb = ctypes.c_void_p()
must(lib.mmb_open(sys.argv[2].encode(), None, ctypes.byref(mmb)) == 0)
""" + work + """
print("ready", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", script, library, socket], text=True,
                               env=environment_for(library), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"the client: {process.communicate()[1]}")
    ready.append(process)


def with_client(broker):
    """a client's memory shows in lists, maps and texts, and they agree"""
    library = os.path.join(broker.build, "libclient/libmmbroker.so")
    if not os.path.exists(library):
        raise Skip("libmmbroker isn't built")
    processes = []
    client_process(library, broker.socket, processes, HOLDING)
    try:
        check_client(broker)
    finally:
        processes[0].stdin.close()
        processes[0].wait(20)


def counters_stay(broker):
    """vmstat's counters never go back, also when a pool goes"""
    counters = []
    for _ in range(3):
        processes = []
        client_process(os.path.join(broker.build, "libclient/libmmbroker.so"), broker.socket,
                       processes, PASSING)
        counters.append(parse_vmstat(broker.ctl("vmstat")))
        processes[0].stdin.close()
        processes[0].wait(20)
        for _ in range(200):
            if not broker.json("pools"):
                break
            time.sleep(0.05)
        expect(not broker.json("pools"), "the pool stays")
        counters.append(parse_vmstat(broker.ctl("vmstat")))
    for before, after in zip(counters, counters[1:]):
        for name, value in before.items():
            expect(name.startswith("nr_") or after[name] >= value,
                   f"{name} was {value} and is {after[name]}")
    expect(counters[-1]["pgalloc_normal"] - counters[0]["pgalloc_normal"] >= 2 * 100 * 4,
           f"{counters}")


def zones_and_buddies(broker):
    """Both texts of one moment: the daemon moves pages by itself, and the texts come one by one"""
    zones = parse_zoneinfo(broker.ctl("zoneinfo", "--pool", "formats"))
    for _ in range(200):
        buddy = parse_buddyinfo(broker.ctl("buddyinfo", "--pool", "formats"))
        before, zones = zones, parse_zoneinfo(broker.ctl("zoneinfo", "--pool", "formats"))
        if zones == before:
            break
        time.sleep(0.05)
    expect(zones == before, f"zones don't come to rest: {before} and {zones}")
    return zones, buddy


def check_client(broker):
    """What is made ahead may still come while the texts are read: then all are read again"""
    for _ in range(200):
        rows = broker.json("regions", "--pool", "formats")
        wrong = None
        try:
            check_texts(broker, {row["name"]: row for row in rows})
        except AssertionError as error:
            wrong = error
        if broker.json("regions", "--pool", "formats") == rows:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the regions don't come to rest")
    if wrong:
        raise wrong


def check_texts(broker, regions):
    [pool] = [row for row in broker.json("pools") if row["name"] == "formats"]
    told = broker.ctl("region", "rollback", "formats", "nothing", "named", code=1)
    expect("mmbctl regions lists them" in told, told)
    expect(set(regions) == {"named", ""}, f"{regions}")
    expect(regions["named"]["resident"] >= 4 << 20 and regions[""]["locked"] == 1 << 16,
           f"{regions}")
    [session] = [row for row in broker.json("sessions") if row["regions"] == 2]
    windows = parse_smaps(broker.ctl("maps", str(session["id"])))
    expect(sorted(w["Size"] for w in windows) == [1 << 20, 8 << 20], f"{windows}")
    expect(sum(w["Rss"] for w in windows) == sum(r["resident"] for r in regions.values()),
           f"{windows}")
    rows = broker.json("maps", str(session["id"]))
    expect([row["Rss"] for row in rows] == [w["Rss"] for w in windows], f"{rows}")
    expect({row["name"].split("/")[0] for row in rows} == {"formats"}, f"{rows}")
    memory = parse_meminfo(broker.ctl("meminfo", "--pool", "formats"))
    expect(memory["Shmem"] == regions["named"]["resident"], f"{memory}")
    expect(memory["AnonPages"] == regions[""]["resident"], f"{memory}")
    expect(memory["Mlocked"] == 1 << 16, f"{memory}")
    expect(memory["Committed_AS"] == pool["committed"], f"{memory}")
    zones, buddy = zones_and_buddies(broker)
    normal = [zone for (_, name), zone in zones.items() if name == "Normal"]
    movable = [zone for (_, name), zone in zones.items() if name == "Movable"]
    expect(sum(zone["pages"]["present"] for zone in normal) << 12 == pool["arena"], f"{normal}")
    expect(sum(zone["pages"]["present"] for zone in movable) << 12 ==
           sum(region["resident"] for region in regions.values()), f"{movable}")
    free = sum(count << order for counts in buddy.values() for order, count in enumerate(counts))
    expect(free == sum(zone["pages"]["free"] for zone in zones.values()), "free pages")
    events = parse_vmstat(broker.ctl("vmstat", "--pool", "formats"))
    expect(events["pgalloc_normal"] >= 4 and "pgfault" not in events, f"{events}")


def procps(broker):
    """free and vmstat read the texts in the place of the kernel's files"""
    unshare, free, vmstat = (shutil.which(name) for name in ("unshare", "free", "vmstat"))
    if not unshare or not free or not vmstat:
        raise Skip("unshare, free or vmstat isn't installed")
    for name in ("meminfo", "vmstat", "slabinfo"):
        with open(os.path.join(broker.folder, name), "w", encoding="utf-8") as out:
            out.write(broker.ctl(name))
    script = ("set -e; for f in meminfo vmstat slabinfo; do mount --bind \"$0/$f\" /proc/$f; done; "
              "echo MOUNTED; free -b; vmstat -s; vmstat -m; "
              "! command -v slabtop >/dev/null || slabtop -o")
    flags = "-m" if os.geteuid() == 0 else "-rm"
    done = subprocess.run([unshare, flags, "sh", "-c", script, broker.folder], text=True,
                          capture_output=True, check=False, timeout=30)
    if "MOUNTED" not in done.stdout:
        raise Skip(f"no bind mounts here: {done.stderr.strip()}")
    expect(done.returncode == 0, f"free or vmstat: {done.stderr}")
    total = re.search(r"^Mem: +(\d+)", done.stdout, re.M)
    expect(total and int(total.group(1)) == RESERVE, f"free: {done.stdout}")
    total = re.search(r"^ *(\d+) K total memory", done.stdout, re.M)
    expect(total and int(total.group(1)) == RESERVE >> 10, f"vmstat: {done.stdout}")
    expect(re.search(r"^kmalloc-8 +\d+ +\d+ +8 +512$", done.stdout, re.M), f"{done.stdout}")


def refusals(broker):
    """exit codes: 1 refused by the broker, 2 usage"""
    expect("nobody" in broker.ctl("meminfo", "--pool", "nobody", code=1), "the pool is named")
    expect("ENOENT" in broker.ctl("maps", "999999", code=1), "the errno is named")
    for wrong in (("nonsense",), ("maps",), ("maps", "x"), ("status", "x"),
                  ("--pool", "a", "status"), ("--json", "help"),
                  ("--timeout", "0", "status"), ("--nonsense",), ()):
        broker.ctl(*wrong, code=2)


def timeout(broker):
    """exit code 5: a broker that doesn't answer in time"""
    broker.process.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        broker.ctl("status", "--timeout", "0.3", code=5)
        expect(time.monotonic() - begun < 10, "--timeout was not kept")
    finally:
        broker.process.send_signal(signal.SIGCONT)


def doctor(broker):
    """doctor names a cure for whatever isn't well, with a broker and without"""
    systemd = os.path.exists("/run/systemd/system")
    for running in (True, False):
        if not running:
            broker.stop()
        done = subprocess.run([broker.ctl_path, "--socket", broker.socket, "doctor", "--json"],
                              capture_output=True, text=True, check=False, timeout=60)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        failed = any(row["level"] == "fail" for row in rows)
        expect(done.returncode == (1 if failed else 0), f"exit status {done.returncode}")
        for row in rows:
            expect(row["sentence"] and (row["level"] == "ok") == (row["fix"] == ""), f"{row}")
            expect(systemd or not re.search("systemctl|journalctl", row["fix"]),
                   f"this host has no systemd: {row}")
        names = {row["check"] for row in rows}
        expect({"kernel", "userfaultfd", "hugepages", "shmem_enabled", "memlock", "nofile",
                "max_map_count", "overcommit", "socket"} <= names, f"{names}")
        level = {row["check"]: row["level"] for row in rows}["socket"]
        expect(level == ("ok" if running else "warn"), f"socket: {level}")


def not_running(broker):
    """exit code 3: no broker"""
    expect("mmbrokerd" in broker.ctl("status", code=3), "what to do is said")
    environment = dict(os.environ, MMB_SOCKET=os.path.join(broker.folder, "absent"))
    done = subprocess.run([broker.ctl_path, "pools"], env=environment, capture_output=True,
                          text=True, check=False)
    expect(done.returncode == 3 and "absent" in done.stderr, f"MMB_SOCKET: {done.stderr}")


# In this order: the last two end the broker.
CASES = (host_files, broker_texts, figures_agree, json_agrees, lists, counters_stay, with_client,
         procps, refusals, timeout, doctor, not_running)


def run_case(case, broker):
    try:
        case(broker)
        print(f"ok   {case.__doc__}")
        return "ok"
    except Skip as reason:
        print(f"skip {case.__doc__}: {reason}")
        return "skip"
    except Exception as error:  # whatever it is, the other cases still run
        print(f"FAIL {case.__doc__}\n     {type(error).__name__}: {error}")
        return "FAIL"


def run_all(broker, cases):
    """Exit status of a test of these cases, on a broker that is there for them."""
    if not os.path.exists(broker.daemon_path) or not os.path.exists(broker.ctl_path):
        print("0 passed, 0 failed, 1 skipped\nmmbrokerd or mmbctl isn't built")
        return EXIT_SKIPPED
    try:
        broker.start()
        results = [run_case(case, broker) for case in cases]
    finally:
        broker.stop()
        shutil.rmtree(broker.folder, ignore_errors=True)
    print(f"{results.count('ok')} passed, {results.count('FAIL')} failed, "
          f"{results.count('skip')} skipped")
    return 1 if "FAIL" in results else 0


def main(build):
    return run_all(Broker(build), CASES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MMB_BUILD", "build")))
