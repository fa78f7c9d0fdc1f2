#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""broker_summary - `mmbctl status --json` on stdin, two lines for people on stdout"""
import json
import sys


def size(number):
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            return f"{number:.4g} {unit}"
        number /= 1024


def main():
    status = json.load(sys.stdin)
    stocks = [f"{size(s['reserve'])} {s['stock']}" for s in status["stocks"] if s["reserve"]]
    print(f"  broker    {status['faults']:,} faults served, p50 {status['fault_p50_ns'] / 1e3:.1f}"
          f" us, p99 {status['fault_p99_ns'] / 1e3:.1f} us; {status['requests']:,} requests, "
          f"{status['poisoned']} pages poisoned")
    print(f"            reserve {' and '.join(stocks)} ({status['reserve_mode']}); metadata "
          f"{size(status['metadata'])}; up {status['uptime_ns'] / 1e9:.1f} s")


if __name__ == "__main__":
    main()
